//! A planned stop: sessions are told where to go, and have the time for it (R42).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use callgate_sdk::client::{Event, Events};
use callgate_wire::v1::{self, ErrorCode, Indicator, to_app, to_gateway::Message};
use common::{
    PASSWORD, TestGateway, USERS,
    raw::RawClient,
    scripted::{call, fresh_key},
    served::Served,
};
use tokio::net::TcpStream;

const OTHERS: [&str; 2] = ["cti2.example.org:2749", "[2001:db8::1]:2749"];

fn head(seconds: u32) -> String {
    format!("[stop]\ngateways = {OTHERS:?}\ndrain_seconds = {seconds}\n")
}

async fn told(session: &mut RawClient) -> v1::GatewayLeaving {
    let leaving = |message| match message {
        to_app::Message::GatewayLeaving(told) => Some(told),
        _ => None,
    };
    session.wait_for(leaving).await
}

#[tokio::test]
async fn r42_sessions_are_told_where_to_go_and_go_on_until_they_have_gone() {
    let mut gateway = TestGateway::start().await;
    assert_eq!(gateway.gateway.drain_time(), Duration::ZERO, "there is nowhere to go");
    gateway.gateway.drain().await;
    let config = gateway.config(USERS, &head(300));
    gateway.reload(config).await;
    assert_eq!(gateway.gateway.drain_time(), Duration::from_secs(300));

    let mut on_tls = RawClient::tls(gateway.tls(), gateway.tls_client("recorder", "1")).await;
    on_tls.open("recorder", "1").await.unwrap();
    on_tls.monitor("1001").await;
    let mut on_clear = RawClient::clear(gateway.clear()).await;
    on_clear.open_scram("dashboard", "1", PASSWORD).await.unwrap();
    on_clear.monitor("1001").await;
    let (tls, script, key) = (gateway.tls(), &gateway.script, fresh_key());
    let begun = Instant::now();
    let apps = async {
        for session in [&mut on_tls, &mut on_clear] {
            let told = told(session).await;
            assert_eq!((told.gateways.as_slice(), told.closes_in_seconds), (&OTHERS.map(String::from)[..], 300));
        }
        assert!(TcpStream::connect(tls).await.is_err(), "the door is closed");
        script.say(vec![call("1001", 1).opened(1, 1, Some(&key))]).await;
        assert_eq!(on_tls.next_media_opened().await.indicator(), Indicator::KeysAvailable);
        assert_eq!(on_clear.next_media_opened().await.indicator(), Indicator::UserNotAuthorized);
        for session in [&mut on_tls, &mut on_clear] {
            session.send(Message::Close(v1::Close { reason: None })).await;
            assert_eq!(session.closed().await, Some(ErrorCode::ClosedByApp));
        }
    };
    tokio::join!(gateway.gateway.drain(), apps);
    assert!(begun.elapsed() < Duration::from_secs(200), "it waits for nobody");
    gateway.finish().await;
}

#[tokio::test]
async fn r42_without_time_to_go_they_are_told_where_to_all_the_same() {
    let mut gateway = TestGateway::start_with(USERS, &head(0)).await;
    let mut session = RawClient::tls(gateway.tls(), gateway.tls_client("recorder", "1")).await;
    session.open("recorder", "1").await.unwrap();
    gateway.gateway.drain().await;
    assert_eq!(told(&mut session).await.gateways, OTHERS);
    let (closed, ()) = tokio::join!(session.closed(), gateway.finish());
    assert_eq!(closed, Some(ErrorCode::GatewayStopping));
}

#[tokio::test]
async fn r42_who_stays_is_closed_when_the_time_is_over() {
    let mut gateway = TestGateway::start_with(USERS, &head(1)).await;
    let mut session = RawClient::tls(gateway.tls(), gateway.tls_client("recorder", "1")).await;
    session.open("recorder", "1").await.unwrap();
    let begun = Instant::now();
    gateway.gateway.drain().await;
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(told(&mut session).await.closes_in_seconds, 1);
    let (closed, ()) = tokio::join!(session.closed(), gateway.finish());
    assert_eq!(closed, Some(ErrorCode::GatewayStopping));
}

#[tokio::test]
async fn r42_who_does_not_read_holds_up_nobody() {
    let mut gateway = TestGateway::start_with(USERS, &head(1)).await;
    let mut deaf = RawClient::tls_narrow(gateway.tls(), gateway.tls_client("recorder", "1")).await;
    deaf.open("recorder", "1").await.unwrap();
    deaf.monitor("1001").await;
    let mut reads = RawClient::tls(gateway.tls(), gateway.tls_client("recorder", "2")).await;
    reads.open("recorder", "2").await.unwrap();
    // More than its connection takes, and so what is told comes behind what waits.
    for id in 0..2_000 {
        gateway.script.say(vec![call("1001", id).opened(1, 1, Some(&fresh_key()))]).await;
    }
    let begun = Instant::now();
    gateway.gateway.drain().await;
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    assert_eq!(told(&mut reads).await.closes_in_seconds, 1);
    let (closed, ()) = tokio::join!(reads.closed(), gateway.finish());
    assert_eq!(closed, Some(ErrorCode::GatewayStopping));
    drop(deaf);
}

#[tokio::test]
async fn r42_a_second_signal_ends_the_time_to_go() {
    let mut served = Served::start(&format!("{}[doors]\nclear = \"closed\"\ntls = \"127.0.0.1:0\"", head(300)));
    let tls = served.log_line("door=\"tls\" address=");
    let (session, mut events) = served.recorder(tls).await;
    terminate(&served);
    let told = leaving(&mut events).await;
    assert_eq!((told.gateways.as_slice(), told.closes_in.as_secs()), (&OTHERS.map(String::from)[..], 300));
    served.log_line("sessions are told to go elsewhere sessions=1 seconds=300");
    assert_eq!(session.closed(), None);
    terminate(&served);
    while events.next().await.is_some() {}
    let closed = events.closed().unwrap().to_string();
    assert!(closed.contains("GATEWAY_STOPPING"), "{closed}");
    assert_eq!(served.finish().0, Some(0));
}

fn terminate(served: &Served) {
    let pid = served.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
}

async fn leaving(events: &mut Events) -> callgate_sdk::client::GatewayLeaving {
    loop {
        if let Event::GatewayLeaving(told) = events.next().await.expect("it is closed") {
            return told;
        }
    }
}
