//! Both recorded calls through a gateway, as an app on the TLS door and an app on the clear door hear them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{collections::BTreeMap, fs, path::PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use callgate::{
    model::{Address, SwitchName},
    switch::{
        Switch,
        capture::Capture,
        feed::{FeedConfig, HepFeed},
        replay::{Replay, Speed},
        tracker::TrackerLimits,
    },
};
use callgate_wire::v1::{self, Indicator, MediaDirection, StopCause, event};
use common::{PASSWORD, TestGateway, leaks, raw::RawClient};

fn capture(call: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(call).join("call.pcap")
}

/// The recorded call as a switch; from now on its keys are searched for.
fn switch(call: &str) -> Box<dyn Switch> {
    for key in keys_in(&fs::read(capture(call)).unwrap()) {
        leaks::watch_key(&key);
    }
    let address = |text: &str| text.parse::<Address>().unwrap();
    let name: SwitchName = "asterisk".parse().unwrap();
    let feed = HepFeed::new(FeedConfig {
        name: name.clone(),
        pbxes: vec![address("udp:127.0.0.1:15060")],
        devices: [("127.0.0.1:16010", "1001"), ("127.0.0.1:16020", "1002")]
            .map(|(phone, name)| (address(phone), name.parse().unwrap()))
            .into(),
        password: None,
        first_id: 1,
        limits: TrackerLimits::default(),
    });
    Box::new(Replay::new(name, Capture::open(&capture(call)).unwrap(), feed, Speed::AtOnce))
}

/// Every key in SDES lines of the capture, found without the code under test.
fn keys_in(capture: &[u8]) -> Vec<Vec<u8>> {
    let marker = b"inline:";
    let starts = capture.windows(marker.len()).enumerate().filter(|(_, window)| window == marker);
    let keys: std::collections::BTreeSet<_> =
        starts.map(|(at, _)| BASE64_STANDARD.decode(&capture[at + marker.len()..][..40]).unwrap()).collect();
    assert_eq!(keys.len(), 4, "two legs, two directions");
    keys.into_iter().collect()
}

/// All events of both phones, until both calls have ended.
async fn hear(client: &mut RawClient) -> Vec<v1::Event> {
    let (mut events, mut ended) = (Vec::new(), 0);
    while ended < 2 {
        let event = client.next_event().await;
        if let Some(event::Body::CallState(state)) = &event.body {
            ended += usize::from(state.state() == v1::CallState::Ended);
        }
        events.push(event);
    }
    events
}

/// Plays a call to an app that may have keys and to one on the clear door.
async fn play(call: &str) -> (Vec<v1::Event>, Vec<v1::Event>) {
    let mut gateway = TestGateway::start().await;
    let mut recorder = RawClient::tls(gateway.tls(), gateway.tls_client("recorder", "1")).await;
    recorder.open("recorder", "1").await.unwrap();
    let mut dashboard = RawClient::clear(gateway.clear()).await;
    dashboard.open_scram("dashboard", "1", PASSWORD).await.unwrap();
    for device in ["1001", "1002"] {
        recorder.monitor(device).await;
        dashboard.monitor(device).await;
    }
    gateway.attach(switch(call));
    let heard = (hear(&mut recorder).await, hear(&mut dashboard).await);
    // The search is not blind: the keys did come by the TLS door.
    let keys = keys_in(&fs::read(capture(call)).unwrap());
    assert!(keys.iter().all(|key| leaks::find_key(key, &recorder.received).is_some()));
    gateway.finish().await;
    heard
}

fn media(events: &[v1::Event]) -> impl Iterator<Item = (&str, &v1::MediaOpened)> {
    events.iter().filter_map(|event| match &event.body {
        Some(event::Body::MediaOpened(opened)) => Some((event.device.as_str(), opened)),
        _ => None,
    })
}

#[tokio::test]
async fn a_basic_call_has_four_streams_with_four_keys() {
    let (recorder, dashboard) = play("asterisk22-basic").await;
    let streams: Vec<_> = media(&recorder)
        .map(|(device, opened)| (device, opened.direction(), opened.destination.as_str(), opened.generation))
        .collect();
    let (sent, received) = (MediaDirection::Sent, MediaDirection::Received);
    for expected in [
        ("1001", sent, "127.0.0.1:20212", 1),
        ("1001", received, "127.0.0.1:21114", 1),
        ("1002", sent, "127.0.0.1:20110", 1),
        ("1002", received, "127.0.0.1:22046", 1),
    ] {
        assert!(streams.contains(&expected), "{expected:?} in {streams:?}");
    }
    assert_eq!(streams.len(), 4);
    assert!(media(&recorder).all(|(_, opened)| opened.indicator() == Indicator::KeysAvailable));

    // R17: the app on the clear door sees the same events, and of each stream how it stands.
    assert_eq!(recorder.len(), dashboard.len());
    assert!(media(&dashboard).all(|(_, o)| o.indicator() == Indicator::UserNotAuthorized && o.keys.is_none()));
    let numbers = |events: &[v1::Event]| {
        let mut numbers: Vec<_> =
            events.iter().map(|event| (event.device.clone(), event.number, event.class_number)).collect();
        numbers.sort();
        numbers
    };
    assert_eq!(numbers(&recorder), numbers(&dashboard));
}

#[tokio::test]
async fn r22_over_hold_and_resume_the_same_generation_goes_on() {
    let (recorder, _) = play("asterisk22-hold").await;
    let mut opened: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for (_, media) in media(&recorder) {
        let keys = media.keys.as_ref().unwrap();
        opened.entry(&media.stream).or_default().push((media.generation, keys.keys[0].key.clone()));
    }
    assert_eq!(opened.len(), 4);
    for (stream, times) in &opened {
        assert!(times.iter().all(|time| *time == times[0] && time.0 == 1), "{stream} keeps generation and key");
    }
    assert!(opened.values().any(|times| times.len() == 2), "one stream was held and flows again");

    let held = recorder.iter().filter(
        |event| matches!(&event.body, Some(event::Body::MediaStopped(stopped)) if stopped.cause() == StopCause::Hold),
    );
    assert!(held.count() > 0);
    let states: Vec<_> = recorder
        .iter()
        .filter(|event| event.device == "1001")
        .filter_map(|event| match &event.body {
            Some(event::Body::CallState(state)) => Some(state.state()),
            _ => None,
        })
        .collect();
    use v1::CallState::{Alerting, Connected, Dialing, Ended, Held};
    assert_eq!(states, [Dialing, Alerting, Connected, Held, Connected, Ended]);
}
