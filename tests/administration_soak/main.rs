//! Random administration against sessions that get the keys of a recorded call, again and again: no leak, no stuck session, and
//! every key that an app sees was on record before (R15, R21).
//!
//! It takes 5 seconds with 40 apps, and with `CALLGATE_LONG=1` ten minutes with 200. `CALLGATE_SOAK_SECONDS` sets another
//! time, and `CALLGATE_SOAK_JSON=1` prints the summary as one JSON object.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a test"
)]

#[path = "../common/mod.rs"]
mod common;

mod app;
mod operator;
mod trail;

use std::{
    env, fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use callgate::{
    admin::{Administration, Seed},
    config::Config,
    gateway::{Gateway, Options},
    model::Address,
    store::{self, Embedded},
    switch::{
        Switch,
        capture::Capture,
        feed::{FeedConfig, HepFeed},
        replay::{Replay, Speed},
        tracker::TrackerLimits,
    },
    trust::init,
};
use serde_json::json;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use operator::{Operator, USERS};
use trail::Trail;

/// How many apps there are for a long time, and for a short one.
const APPS: [usize; 2] = [200, 40];
/// How much the process may grow after its first fifth; KiB.
const SLACK: u64 = 48 * 1024;
/// How long all may take to be open again, and to have a key, when all of them may.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much faster than it was the call is played.
const SPEED: f64 = 20.0;

/// What has happened.
#[derive(Default)]
struct Counts {
    open: AtomicUsize,
    opened: AtomicU64,
    refused: AtomicU64,
    closed: AtomicU64,
    events: AtomicU64,
    keys: AtomicU64,
    /// Apps that have got a key since all of them may have some.
    satisfied: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_r21_under_random_administration_nothing_leaks_or_sticks_and_each_key_was_on_record() {
    let seconds = env::var("CALLGATE_SOAK_SECONDS").ok().map(|seconds| seconds.parse().unwrap());
    let seconds: u64 = seconds.unwrap_or(if common::is_long() { 600 } else { 5 });
    let apps = if seconds >= 60 { APPS[0] } else { APPS[1] };

    let folder = tempfile::tempdir().unwrap();
    init(folder.path(), &Default::default(), OffsetDateTime::now_utc()).unwrap();
    let mut config = Config::parse(&config_text(), "soak.toml", folder.path(), std::iter::empty()).unwrap();
    let (trail, counts) = (Arc::new(Trail::default()), Arc::new(Counts::default()));
    let store = Embedded::open(&folder.path().join("store"), store::Options::default()).unwrap();
    let seed = Seed { directory: Arc::clone(&config.directory), made_up: Arc::default() };
    let journal: Arc<dyn callgate::admin::Journal> = Arc::<Trail>::clone(&trail);
    let administration = Arc::new(Administration::open(Arc::new(store), journal, seed).await.unwrap().0);
    config.directory = Arc::clone(&administration.state().directory);
    let records: Arc<dyn callgate::audit::Trail> = Arc::<Trail>::clone(&trail);
    let options = Options { ledger: Some(administration.ledger()), trail: records, ..Options::default() };
    let mut gateway = Gateway::start_with(config, options).await.unwrap();
    administration.go_live(gateway.live_rights());
    let operator = Arc::new(Operator::new(administration, folder.path().into()));

    let end = CancellationToken::new();
    let address = gateway.tls_address().unwrap();
    let mut running = tokio::task::JoinSet::new();
    for number in 0..apps {
        let (operator, trail, counts) = (Arc::clone(&operator), Arc::clone(&trail), Arc::clone(&counts));
        running.spawn(app::run(address, number, operator, trail, counts, end.clone()));
    }
    let administers = tokio::spawn(Arc::clone(&operator).work(end.child_token()));
    // The call begins again as soon as it is over.
    let mut round = 0;
    let mut replay = |gateway: &mut Gateway| {
        round += 1;
        gateway.attach(call(round));
    };
    replay(&mut gateway);

    let (begin, whole) = (Instant::now(), Duration::from_secs(seconds));
    let (mut shown, mut first) = (0, None);
    while begin.elapsed() < whole {
        tokio::select! {
            ended = gateway.switch_ended() => {
                ended.unwrap().1.unwrap();
                replay(&mut gateway);
            }
            failed = running.join_next() => failed.unwrap().unwrap(),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
        let fifths = begin.elapsed().as_millis() * 10 / whole.as_millis().max(1);
        if fifths > shown {
            shown = fifths;
            let resident = resident_kib();
            println!("{:4} s: {}, {resident} KiB resident", begin.elapsed().as_secs(), told(&counts, &operator));
            if fifths >= 2 {
                let first = *first.get_or_insert(resident);
                assert!(resident <= first + SLACK, "memory grew from {first} to {resident} KiB");
            }
        }
    }

    // All may do everything again: who is stuck is found now.
    operator.stop_changing().await;
    operator.allow_all().await;
    counts.satisfied.store(0, Ordering::Relaxed);
    operator.everybody_counts();
    let until = Instant::now() + PATIENCE;
    while counts.satisfied.load(Ordering::Relaxed) < apps {
        assert!(
            Instant::now() < until,
            "stuck: {} of {apps} have a key, {}",
            counts.satisfied.load(Ordering::Relaxed),
            told(&counts, &operator)
        );
        tokio::select! {
            ended = gateway.switch_ended() => {
                ended.unwrap().1.unwrap();
                replay(&mut gateway);
            }
            failed = running.join_next() => failed.unwrap().unwrap(),
            () = tokio::time::sleep(Duration::from_millis(100)) => {}
        }
    }
    end.cancel();
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
    administers.await.unwrap();
    gateway.stop().await;
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (changes, refused) = operator.counts();
    assert!(load(&counts.keys) > 0 && changes > 0, "nothing happened: {}", told(&counts, &operator));
    assert_eq!(trail.open_sessions(), 0, "a session was opened on record, and not closed");
    let summary = json!({
        "seconds": begin.elapsed().as_secs(), "apps": apps, "changes": changes, "changes_refused": refused,
        "opened": load(&counts.opened), "refused": load(&counts.refused), "closed": load(&counts.closed),
        "events": load(&counts.events), "keys": load(&counts.keys), "resident_kib": resident_kib(),
        "keys_without_record": 0,
    });
    match env::var_os("CALLGATE_SOAK_JSON") {
        Some(_) => println!("{summary}"),
        None => println!("{}; each of the {} keys was on record before", told(&counts, &operator), load(&counts.keys)),
    }
}

fn told(counts: &Counts, operator: &Operator) -> String {
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (changes, refused) = operator.counts();
    format!(
        "{changes} changes and {refused} refused, {} sessions open of {} opened, {} closed, {} tries refused, {} events, {} keys",
        counts.open.load(Ordering::Relaxed),
        load(&counts.opened),
        load(&counts.closed),
        load(&counts.refused),
        load(&counts.events),
        load(&counts.keys),
    )
}

fn config_text() -> String {
    let mut text = String::from(
        "[doors]\nclear = \"closed\"\ntls = \"127.0.0.1:0\"\n[heartbeat]\ndefault_seconds = 5\n\
         [limits]\nworkers = 2\nsessions_per_user = 1000\ntries_per_source_per_minute = 1000000\n",
    );
    for user in USERS {
        text.push_str(&format!("[[user]]\nname = \"{user}\"\n"));
    }
    for (device, address) in operator::DEVICES {
        text.push_str(&format!("[[device]]\nname = \"{device}\"\naddresses = [\"{address}\"]\n"));
    }
    text
}

/// The recorded call, as another one each time.
fn call(round: u64) -> Box<dyn Switch> {
    let capture = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/asterisk22-basic/call.pcap");
    let devices = operator::DEVICES.map(|(name, address)| (address.parse().unwrap(), name.parse().unwrap()));
    let feed = HepFeed::new(FeedConfig {
        name: "asterisk".parse().unwrap(),
        pbxes: vec!["udp:127.0.0.1:15060".parse::<Address>().unwrap()],
        devices: devices.into(),
        password: None,
        first_id: round << 20,
        limits: TrackerLimits::default(),
    });
    let speed = Speed::times(SPEED).unwrap();
    Box::new(Replay::new("asterisk".parse().unwrap(), Capture::open(&capture).unwrap(), feed, speed))
}

/// The memory of this process, apps and all.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
