//! Crowds: thousands of connections that go nowhere, a process short of files, and apps that stop reading. Good apps
//! don't notice.
//!
//! How quickly is asserted only with `CALLGATE_LONG=1`, which is for a machine that does nothing else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use callgate::model::CallState;
use callgate_wire::v1::ErrorCode;
use common::{
    TestGateway, USERS,
    held::{FEED, Held},
    raw::RawClient,
    scripted::call,
    served::{Served, quiet, under},
};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustls::{ClientConfig, ClientConnection};
use tokio::net::TcpSocket;

/// This process holds the other ends of all connections.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, rustix::process::Rlimit { current: limit.maximum, ..limit }).unwrap();
}

/// A connection that says its first word in the TLS handshake, and no other.
fn stuck_in_handshake(door: SocketAddr, config: Arc<ClientConfig>) -> TcpStream {
    let mut tls = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    let mut hello = Vec::new();
    tls.write_tls(&mut hello).unwrap();
    let mut tcp = TcpStream::connect(door).unwrap();
    tcp.write_all(&hello).unwrap();
    tcp
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r41a_2000_silent_connections_and_500_stuck_in_the_handshake_keep_no_good_app_out() {
    raise_open_files();
    let gateway = TestGateway::start().await;
    let door = gateway.tls();
    let stranger = gateway.tls_client("viewer", "stranger");
    let crowd = tokio::task::spawn_blocking(move || {
        let silent: Vec<_> = (0..2000).map(|_| TcpStream::connect(door).unwrap()).collect();
        let stuck: Vec<_> = (0..500).map(|_| stuck_in_handshake(door, Arc::clone(&stranger))).collect();
        (silent, stuck)
    });
    let crowd = crowd.await.unwrap();

    let mut slowest = Duration::ZERO;
    for n in 0..20 {
        let instance = format!("i{n}");
        let config = gateway.tls_client("recorder", &instance);
        let began = Instant::now();
        let mut app = RawClient::tls(door, config).await;
        app.open("recorder", &instance).await.unwrap();
        slowest = slowest.max(began.elapsed());
    }
    println!("the slowest of 20 apps opened in {slowest:?}");
    assert!(!common::is_long() || slowest < Duration::from_millis(200), "{slowest:?}");
    drop(crowd);
    gateway.finish().await;
}

#[tokio::test]
async fn r41a_with_64_files_and_100_silent_connections_an_app_opens_and_who_was_there_goes_on() {
    raise_open_files();
    let doors = "[doors]\nclear = \"127.0.0.1:0\"\ntls = \"127.0.0.1:0\"";
    for crowded in ["tls", "clear"] {
        let mut served = Served::start_with(doors, FEED, |serve| under("ulimit -n 64", &quiet(&serve)));
        // In the order in which they are announced.
        let feed = served.log_line("listens for HEP switch=pbx address=");
        let (clear, tls) = (served.log_line("door=\"clear\" address="), served.log_line("door=\"tls\" address="));
        let mut held = Held::open(&served, &feed, &tls).await;
        let stands_at = if crowded == "tls" { &tls } else { &clear };
        let silent: Vec<_> = (0..100).map(|_| TcpStream::connect(stands_at).unwrap()).collect();
        served.log_line("a connection could not be accepted");
        held.gets_keys().await;

        let began = Instant::now();
        let opened = served.instance("2", tls).await;
        println!("with a crowd at the {crowded} door an app opened in {:?}", began.elapsed());
        drop((opened, silent));
        held.gets_the_end().await;
        let (code, log) = served.stop();
        assert_eq!(code, Some(0), "{log}");
    }
}

/// How many sessions, and how many of them stop reading.
const SESSIONS: usize = 200;
const SLOW: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r41_20_of_200_stop_reading_and_the_others_get_all_in_order() {
    raise_open_files();
    let limits =
        "[heartbeat]\ndefault_seconds = 300\n[limits]\nsessions_per_user = 1000\nqueued_bytes_per_session = 65536\n";
    let gateway = TestGateway::start_with(USERS, limits).await;
    let mut apps = Vec::new();
    for n in 0..SESSIONS {
        let instance = format!("i{n}");
        let socket = TcpSocket::new_v4().unwrap();
        if n >= SESSIONS - SLOW {
            // Else the kernel would read megabytes for it.
            socket.set_recv_buffer_size(4096).unwrap();
        }
        let tcp = socket.connect(gateway.tls()).await.unwrap();
        let mut app = RawClient::tls_over(tcp, gateway.tls_client("viewer", &instance)).await;
        app.open("viewer", &instance).await.unwrap();
        app.monitor("1001").await;
        apps.push(app);
    }
    let mut slow = apps.split_off(SESSIONS - SLOW);

    // Before: all read.
    let (before, mut apps) = load(&gateway, apps, 0, 20, &mut slow, true).await;
    // From now on the slow ones read nothing, and the load goes on until each of them was told.
    let mut number = 20;
    let mut during = Vec::new();
    let memory = common::resident_kib();
    while told_slow() < SLOW {
        assert!(number < 10_000, "nobody is too slow");
        let (latencies, read) = load(&gateway, apps, number, 20, &mut slow, false).await;
        (apps, number) = (read, number + 20);
        during.extend(latencies);
    }
    let grown = common::resident_kib().saturating_sub(memory);
    let (before, during) = (p99(before), p99(during));
    println!("p99 before {before:?}, while {SLOW} of {SESSIONS} don't read {during:?}; {grown} KiB more");
    assert!(!common::is_long() || during.as_secs_f64() <= 1.5 * before.as_secs_f64(), "{before:?}, {during:?}");
    // 64 KiB each may wait, and as much again in sealed records; the rest is what the allocator keeps.
    assert!(grown < SLOW * 2 * 64 + 16 * 1024, "{grown} KiB");

    for mut app in slow {
        assert_eq!(app.closed().await, Some(ErrorCode::SlowConsumer));
    }
    let (_, apps) = load(&gateway, apps, number, 10, &mut [], false).await;
    assert_eq!(apps.len(), SESSIONS - SLOW);
    drop(apps);
    gateway.finish().await;
}

/// How many sessions were closed since they read too slowly.
fn told_slow() -> usize {
    common::leaks::logged_lines(&["record=\"closed\"", "SLOW_CONSUMER"])
}

/// Says `count` batches of events, each when all apps have the one before; returns how long each app waited for each.
async fn load(
    gateway: &TestGateway,
    mut apps: Vec<RawClient>,
    from: u64,
    count: u64,
    slow: &mut [RawClient],
    slow_read: bool,
) -> (Vec<Duration>, Vec<RawClient>) {
    const BATCH: u64 = 20;
    let call = call("1001", 1);
    let mut latencies = Vec::new();
    for round in from..from + count {
        let batch: Vec<_> = (0..BATCH).map(|_| call.state(CallState::Connected)).collect();
        let said = Instant::now();
        gateway.script.say(batch).await;
        let reading = apps.into_iter().map(|mut app| {
            tokio::spawn(async move {
                for n in 1..=BATCH {
                    assert_eq!(app.next_event().await.number, round * BATCH + n);
                }
                app.received.clear();
                (said.elapsed(), app)
            })
        });
        let reading: Vec<_> = reading.collect();
        apps = Vec::new();
        for app in reading {
            let (latency, app) = app.await.unwrap();
            latencies.push(latency);
            apps.push(app);
        }
        if slow_read {
            for app in &mut *slow {
                for n in 1..=BATCH {
                    assert_eq!(app.next_event().await.number, round * BATCH + n);
                }
            }
        }
    }
    (latencies, apps)
}

fn p99(mut latencies: Vec<Duration>) -> Duration {
    latencies.sort_unstable();
    latencies[latencies.len() * 99 / 100]
}
