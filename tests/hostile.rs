//! Apps that don't keep to the protocol: handled, or closed with a code, and nobody else suffers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{io::Write as _, time::Duration};

use callgate::model::CallState;
use callgate_wire::v1::{self, ErrorCode, to_app, to_gateway::Message};
use common::{
    PASSWORD, TestGateway, USERS,
    raw::{RawClient, frame},
    scripted::call,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
};

async fn dashboard(gateway: &TestGateway, instance: &str) -> RawClient {
    let mut client = RawClient::clear(gateway.clear()).await;
    client.open_scram("dashboard", instance, PASSWORD).await.unwrap();
    client
}

async fn assert_alive(gateway: &TestGateway) {
    let mut client = dashboard(gateway, "witness").await;
    client.monitor("1001").await;
    client.send(Message::Close(v1::Close { reason: None })).await;
    client.closed().await;
}

fn list(request_id: u64) -> Vec<u8> {
    frame(request_id, Message::ListDevices(v1::ListDevices::default()))
}

#[tokio::test]
async fn r41a_a_frame_that_lies_about_its_length_closes_with_a_code() {
    let gateway = TestGateway::start().await;
    for length in [5 * 1024u32, 64 * 1024, u32::MAX] {
        let mut client = RawClient::clear(gateway.clear()).await;
        client.send_bytes(&length.to_be_bytes()).await;
        assert_eq!(client.closed().await, Some(ErrorCode::FrameTooLarge), "{length} before open");
    }
    let mut client = dashboard(&gateway, "1").await;
    client.send_bytes(&(64 * 1024 + 1u32).to_be_bytes()).await;
    assert_eq!(client.closed().await, Some(ErrorCode::FrameTooLarge));
    assert_alive(&gateway).await;
    gateway.finish().await;
}

#[tokio::test]
async fn r41a_five_kibibytes_before_open_are_too_many_even_in_a_good_message() {
    let gateway = TestGateway::start().await;
    let mut client = RawClient::clear(gateway.clear()).await;
    let hello = v1::Hello { software: "x".repeat(5 * 1024), ..Default::default() };
    let _ = client.try_send_bytes(&frame(1, Message::Hello(hello))).await;
    assert_eq!(client.closed().await, Some(ErrorCode::FrameTooLarge));
    gateway.finish().await;
}

#[tokio::test]
async fn bytes_that_are_no_message_close_with_a_code() {
    let gateway = TestGateway::start().await;
    let deep = [&8000u32.to_be_bytes()[..], &[0xa3, 0x06].repeat(4000)].concat();
    let cut_short = {
        let mut bytes = list(1);
        bytes[3] -= 1;
        bytes
    };
    for bytes in [deep, cut_short, vec![0, 0, 0, 2, 0xff, 0xff]] {
        let mut client = dashboard(&gateway, "1").await;
        client.send_bytes(&bytes).await;
        assert_eq!(client.closed().await, Some(ErrorCode::FrameMalformed));
    }
    let mut not_even_close = RawClient::clear(gateway.clear()).await;
    let _ = not_even_close.try_send_bytes(b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(not_even_close.closed().await, Some(ErrorCode::FrameTooLarge));
    gateway.finish().await;
}

#[tokio::test]
async fn two_requests_in_one_packet_and_one_byte_by_byte_are_answered() {
    let gateway = TestGateway::start().await;
    let mut client = dashboard(&gateway, "1").await;
    client.send_bytes(&[list(100), list(101)].concat()).await;
    for byte in list(102) {
        client.send_bytes(&[byte]).await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for request in 100..=102 {
        let answer = client.next().await.unwrap();
        assert_eq!(answer.reply_to, request);
        assert!(matches!(answer.message, Some(to_app::Message::DeviceList(_))));
    }
    gateway.finish().await;
}

#[tokio::test]
async fn requests_that_come_in_one_piece_with_the_open_are_answered() {
    let gateway = TestGateway::start().await;
    let mut client = RawClient::tls(gateway.tls(), gateway.tls_client("recorder", "1")).await;
    let hello = v1::Hello { versions: vec![v1::Version { major: 1, minor: 0 }], ..Default::default() };
    let authentication = v1::open_request::Authentication::Certificate(v1::CertificateAuth {});
    let open = common::raw::open("recorder", "1", authentication);
    client.send_bytes(&[frame(1, Message::Hello(hello)), frame(2, open), list(3), list(4)].concat()).await;
    let mut replies = Vec::new();
    for _ in 0..4 {
        replies.push(client.next().await.unwrap().reply_to);
    }
    assert_eq!(replies, [1, 2, 3, 4]);
    gateway.finish().await;
}

#[tokio::test]
async fn r41a_who_doesn_t_open_in_time_is_closed() {
    let gateway = TestGateway::start_with(USERS, "[limits]\nopen_seconds = 1\n").await;
    let mut silent = RawClient::clear(gateway.clear()).await;
    assert_eq!(silent.closed().await, Some(ErrorCode::OpenTimeout));
    let mut half = RawClient::clear(gateway.clear()).await;
    half.hello().await;
    assert_eq!(half.closed().await, Some(ErrorCode::OpenTimeout));
    // Stuck in the TLS handshake: nothing can be said, the connection just ends.
    let mut stuck = RawClient::clear(gateway.tls()).await;
    assert_eq!(stuck.closed().await, None);
    assert_alive(&gateway).await;
    gateway.finish().await;
}

#[tokio::test]
async fn r41a_connections_that_aren_t_open_are_bounded_and_the_oldest_makes_room() {
    let gateway = TestGateway::start_with(USERS, "[limits]\nopening_connections = 3\n").await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut client = RawClient::clear(gateway.clear()).await;
        client.hello().await;
        waiting.push(client);
    }
    assert_alive(&gateway).await;
    assert_eq!(waiting[0].closed().await, Some(ErrorCode::TooManyConnections));
    for (instance, later) in ["2", "3"].into_iter().zip(&mut waiting[1..]) {
        later.open_scram_after_hello("dashboard", instance, PASSWORD).await.unwrap();
    }
    gateway.finish().await;
}

#[tokio::test]
async fn r41a_who_says_nothing_is_displaced_and_its_address_is_not_locked_out() {
    let limits = "[limits]\nopening_connections = 3\ntries_per_source_per_minute = 3\n";
    let gateway = TestGateway::start_with(USERS, limits).await;
    for door in [gateway.tls(), gateway.gateway.clear_address().unwrap()] {
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(RawClient::clear(door).await);
        }
        for mut displaced in silent.drain(..17) {
            let told = (door != gateway.tls()).then_some(ErrorCode::TooManyConnections);
            assert_eq!(displaced.closed().await, told);
        }
    }
    assert_alive(&gateway).await;
    gateway.finish().await;
}

#[tokio::test]
async fn r21_a_flood_of_refusals_is_one_record_until_the_minute_is_over() {
    let gateway = TestGateway::start_with(USERS, "[limits]\ntries_per_source_per_minute = 1000000\n").await;
    for _ in 0..30 {
        let mut client = RawClient::clear(gateway.clear()).await;
        client.send_bytes(&u32::MAX.to_be_bytes()).await;
        assert_eq!(client.closed().await, Some(ErrorCode::FrameTooLarge));
    }
    let clear = gateway.gateway.clear_address().unwrap();
    gateway.finish().await;
    // The logs are those of all tests of this process, so no exact count.
    let logs = common::leaks::logs();
    let told =
        |record: &str| logs.lines().filter(|line| line.contains(record) && line.contains("FRAME_TOO_LARGE")).count();
    assert!(told("record=\"refused\"") < 30 && told("record=\"refused again\"") > 0, "{clear}");
    assert!(logs.lines().any(|line| line.contains("record=\"refused again\"") && line.contains("count=29")));
}

#[tokio::test]
async fn r41a_failed_tries_of_a_source_are_bounded() {
    let gateway = TestGateway::start_with(USERS, "[limits]\ntries_per_source_per_minute = 3\n").await;
    for _ in 0..3 {
        let mut client = RawClient::clear(gateway.clear()).await;
        let failed = client.open_scram("dashboard", "1", "wrong").await.err();
        assert_eq!(failed, Some(ErrorCode::AuthenticationFailed));
    }
    let mut refused = RawClient::clear(gateway.clear()).await;
    assert_eq!(refused.closed().await, Some(ErrorCode::TooManyTries));
    gateway.finish().await;
}

#[tokio::test]
async fn r41_who_reads_too_slowly_is_told_and_closed_and_nobody_waits_for_it() {
    let gateway = TestGateway::start_with(USERS, "[limits]\nqueued_bytes_per_session = 65536\n").await;
    // Past the tap, which would read for it.
    let mut slow = RawClient::clear(gateway.gateway.clear_address().unwrap()).await;
    slow.open_scram("dashboard", "slow", PASSWORD).await.unwrap();
    slow.monitor("1001").await;
    let mut quick = dashboard(&gateway, "quick").await;
    quick.monitor("1001").await;

    let call = call("1001", 1);
    let batch: Vec<_> = (0..100).map(|_| call.state(CallState::Connected)).collect();
    for _ in 0..600 {
        if common::leaks::logs().contains("SLOW_CONSUMER") {
            break;
        }
        gateway.script.say(batch.clone()).await;
        for _ in 0..batch.len() {
            quick.next_event().await;
        }
    }
    assert_eq!(slow.closed().await, Some(ErrorCode::SlowConsumer));
    gateway.finish().await;
}

#[tokio::test]
async fn a_session_that_pauses_gets_all_in_order_on_both_doors() {
    let gateway = TestGateway::start_with(USERS, "[limits]\nqueued_bytes_per_session = 104857600\n").await;
    let mut on_clear = RawClient::clear(gateway.gateway.clear_address().unwrap()).await;
    on_clear.open_scram("dashboard", "1", PASSWORD).await.unwrap();
    let mut on_tls = RawClient::tls(gateway.tls(), gateway.tls_client("viewer", "1")).await;
    on_tls.open("viewer", "1").await.unwrap();
    on_clear.monitor("1001").await;
    on_tls.monitor("1001").await;

    // Far more than the buffers of both sockets hold.
    let call = call("1001", 1);
    let batch: Vec<_> = (0..1000).map(|_| call.state(CallState::Connected)).collect();
    for _ in 0..50 {
        gateway.script.say(batch.clone()).await;
    }
    for client in [&mut on_clear, &mut on_tls] {
        for number in 1..=50_000 {
            assert_eq!(client.next_event().await.number, number);
        }
    }
    gateway.finish().await;
}

#[tokio::test]
async fn r41a_more_requests_than_may_wait_are_answered_one_after_the_other() {
    let gateway = TestGateway::start_with(USERS, "[limits]\nrequests_in_flight = 4\n").await;
    let mut client = dashboard(&gateway, "1").await;
    let snapshot = |id| frame(id, Message::Snapshot(v1::SnapshotDevice { device: "1001".into() }));
    let requests: Vec<u8> = (1..=2000).flat_map(snapshot).collect();
    client.send_bytes(&requests).await;
    for request in 1..=2000 {
        assert_eq!(client.next().await.unwrap().reply_to, request);
    }
    gateway.finish().await;
}

#[tokio::test]
async fn r41_who_asks_much_at_once_gets_all_answers_however_late_it_reads() {
    const REQUESTS: u64 = 50_000;
    let head = "[limits]\nworkers = 1\nqueued_bytes_per_session = 65536\n";
    let gateway = TestGateway::start_unwatched(USERS, head).await;
    let mut other = dashboard(&gateway, "other").await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(65_536).unwrap();
    let tcp = socket.connect(gateway.gateway.clear_address().unwrap()).await.unwrap().into_std().unwrap();
    let mut to_gateway = TcpStream::from_std(tcp.try_clone().unwrap()).unwrap();
    let mut client = RawClient::clear_over(TcpStream::from_std(tcp).unwrap());
    client.open_scram("dashboard", "1", PASSWORD).await.unwrap();
    let requests: Vec<u8> = (1..=REQUESTS).flat_map(list).collect();
    let asking = tokio::spawn(async move { to_gateway.write_all(&requests).await });
    // With each of these the worker comes by the session that doesn't read: far more answers than there is room for.
    for _ in 0..1000 {
        other.monitor("1001").await;
    }
    for request in 1..=REQUESTS {
        assert_eq!(client.next().await.unwrap().reply_to, request);
    }
    asking.await.unwrap().unwrap();
    gateway.gateway.stop().await;
}

#[tokio::test]
async fn an_app_that_never_stops_sending_keeps_nobody_waiting() {
    let gateway = TestGateway::start().await;
    let mut flood = dashboard(&gateway, "flood").await;
    let mut good = dashboard(&gateway, "good").await;
    let flooding = tokio::spawn(async move {
        let heartbeats: Vec<u8> = (0..2000).flat_map(|_| frame(0, Message::Heartbeat(v1::Heartbeat {}))).collect();
        while flood.try_send_bytes(&heartbeats).await.is_ok() {}
    });
    for _ in 0..20 {
        good.monitor("1001").await;
    }
    assert!(!flooding.is_finished());
    flooding.abort();
    gateway.finish().await;
}

/// Sends zeros without a pause from a thread of its own, until nobody takes them. Returns how many were taken, of `most`.
fn flood(mut tcp: std::net::TcpStream, most: usize) -> tokio::task::JoinHandle<usize> {
    tcp.set_nonblocking(false).unwrap();
    tokio::task::spawn_blocking(move || {
        let (zeros, mut sent) = ([0; 64 * 1024], 0);
        while sent < most && tcp.write_all(&zeros).is_ok() {
            sent += zeros.len();
        }
        sent
    })
}

/// The gateway and the witness share one thread here, and all sessions the other: whoever keeps one shows.
#[tokio::test]
async fn r41a_who_goes_on_sending_after_the_end_keeps_no_thread() {
    const MOST: usize = 256 << 20;
    let head = "[limits]\nworkers = 1\ntries_per_source_per_minute = 1000000\n";
    let gateway = TestGateway::start_with(USERS, head).await;
    let clear = gateway.gateway.clear_address().unwrap();
    let mut floods = Vec::new();
    // Closed before it is open, at the clear door; a handshake that fails, at the other.
    let close = frame(1, Message::Close(v1::Close { reason: None }));
    for (door, first) in [(clear, close), (gateway.tls(), b"GET / HTTP/1.1\r\n\r\n".to_vec())] {
        let mut tcp = std::net::TcpStream::connect(door).unwrap();
        tcp.write_all(&first).unwrap();
        floods.push(flood(tcp, MOST));
    }
    // An open session, on the worker's thread.
    let tcp = std::net::TcpStream::connect(clear).unwrap();
    tcp.set_nonblocking(true).unwrap();
    let mut session = RawClient::clear_over(TcpStream::from_std(tcp.try_clone().unwrap()).unwrap());
    session.open_scram("dashboard", "flood", PASSWORD).await.unwrap();
    session.send(Message::Close(v1::Close { reason: None })).await;
    drop(session);
    floods.push(flood(tcp, MOST));

    assert_alive(&gateway).await;
    for flood in floods {
        let taken = flood.await.unwrap();
        assert!(taken < MOST, "it was listened to for as long as it spoke");
    }
    gateway.finish().await;
}

#[tokio::test]
async fn a_health_check_locks_nobody_out() {
    let gateway = TestGateway::start_with(USERS, "[limits]\ntries_per_source_per_minute = 3\n").await;
    for door in [gateway.tls(), gateway.clear()] {
        for _ in 0..10 {
            drop(RawClient::clear(door).await);
        }
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_alive(&gateway).await;
    gateway.finish().await;
}
