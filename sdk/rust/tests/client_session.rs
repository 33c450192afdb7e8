//! An open session: requests, typed events, gaps, back-pressure, and every way to end.

#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, dead_code, reason = "tests")]

#[path = "support/gateway.rs"]
mod support;

use std::time::{Duration, SystemTime};

use callgate_sdk::{
    Connector, Event, Events, Session,
    client::{
        CallState, CapabilityChange, Closed, EventClass, Indicator, MediaDirection, ProtocolError, RequestError,
        UnavailableReason,
    },
    wire::{
        FrameError,
        v1::{self, Error, ErrorCode, event::Body, to_app, to_gateway},
    },
};
use support::{PASSWORD, Peer, USER, call_event, listen};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};

/// Opens a session, and lets the gateway go on by `script`.
async fn open<F, T>(script: F) -> (Session, Events, JoinHandle<T::Output>)
where
    F: FnOnce(Peer<TcpStream>) -> T + Send + 'static,
    T: Future + Send + 'static,
    T::Output: Send,
{
    let (address, gateway) = listen(async |mut peer: Peer<TcpStream>| {
        peer.open_by_scram(30).await;
        peer
    })
    .await;
    let connector = Connector::clear(address, USER, PASSWORD).event_queue(4);
    let (session, events) = connector.open(USER, "desk1").await.unwrap();
    (session, events, tokio::spawn(script(gateway.await.unwrap())))
}

fn snapshot() -> v1::DeviceSnapshot {
    let call = v1::CallSnapshot {
        line: 1,
        state: v1::CallState::Connected.into(),
        security: v1::CallSecurity::Secure.into(),
        ..Default::default()
    };
    v1::DeviceSnapshot { device: "phone-1".into(), number: 9, calls: vec![call], calls_left_out: 0 }
}

#[tokio::test]
async fn all_pages_of_devices_are_listed() {
    let (session, _events, gateway) = open(async |mut peer| {
        for (token, next) in [("", "a"), ("a", "b"), ("b", "")] {
            let (id, to_gateway::Message::ListDevices(list)) = peer.request().await else { panic!() };
            assert_eq!((list.name_contains.as_str(), list.page_token.as_str()), ("phone", token));
            let line = v1::Line { line: 1, number: "100".into() };
            let device = v1::Device { name: format!("phone{next}"), lines: vec![line], description: String::new() };
            let list = v1::DeviceList { devices: vec![device], next_page_token: next.into() };
            peer.say(id, to_app::Message::DeviceList(list)).await;
        }
        let (id, _) = peer.request().await;
        peer.say(id, to_app::Message::DeviceList(v1::DeviceList { next_page_token: "x".into(), ..Default::default() }))
            .await;
    })
    .await;
    let devices = session.devices("phone").await.unwrap();
    assert_eq!(devices.iter().map(|device| device.name.as_str()).collect::<Vec<_>>(), ["phonea", "phoneb", "phone"]);
    assert_eq!(devices[0].lines[0].number, "100");
    let page = session.device_page("", 5, Some("t")).await.unwrap();
    assert_eq!((page.devices.len(), page.next.as_deref()), (0, Some("x")));
    gateway.await.unwrap();
}

#[tokio::test]
async fn monitor_snapshot_unmonitor_and_refusals() {
    let (session, _events, gateway) = open(async |mut peer| {
        let (id, to_gateway::Message::Monitor(monitor)) = peer.request().await else { panic!() };
        assert_eq!((monitor.device.as_str(), monitor.classes), ("phone-1", vec![3, 4]));
        let monitored = v1::Monitored { classes: vec![3, 4], snapshot: Some(snapshot()) };
        peer.say(id, to_app::Message::Monitored(monitored)).await;
        let (id, to_gateway::Message::Snapshot(_)) = peer.request().await else { panic!() };
        peer.say(id, to_app::Message::Snapshot(snapshot())).await;
        let (id, to_gateway::Message::Unmonitor(_)) = peer.request().await else { panic!() };
        let left = v1::Unmonitored { device: "phone-1".into(), classes: vec![4, 77] };
        peer.say(id, to_app::Message::Unmonitored(left)).await;
        let (id, _) = peer.request().await;
        let error = Some(Error::from(ErrorCode::DeviceUnknown));
        peer.say(id, to_app::Message::Refusal(v1::Refusal { error })).await;
        let (id, _) = peer.request().await;
        peer.say(id, to_app::Message::Unmonitored(v1::Unmonitored::default())).await;
        peer.read().await;
    })
    .await;
    let begun = session.monitor("phone-1", &[EventClass::Call, EventClass::Media]).await.unwrap();
    assert_eq!((begun.number, begun.calls[0].state), (9, CallState::Connected));
    assert_eq!(session.snapshot("phone-1").await.unwrap(), begun);
    let left = session.unmonitor("phone-1", &[EventClass::Call]).await.unwrap();
    assert_eq!(left, [EventClass::Media, EventClass::Unknown(77)]);
    let refused = session.monitor("phone-2", &[]).await.unwrap_err();
    assert!(matches!(refused, RequestError::Refused(refusal) if refusal.code() == Some(ErrorCode::DeviceUnknown)));
    let wrong = session.snapshot("phone-1").await.unwrap_err();
    assert_eq!(wrong, RequestError::Protocol(ProtocolError::Unexpected("DeviceSnapshot")));
    session.close().await;
    assert_eq!(session.snapshot("phone-1").await, Err(RequestError::Closed(Closed::ByApp)));
    gateway.await.unwrap();
}

#[tokio::test]
async fn events_are_typed_and_what_is_unknown_is_kept_or_skipped() {
    let (_session, mut events, _gateway) = open(async |mut peer| {
        peer.event(call_event(1, v1::CallState::Alerting)).await;
        // Nothing that a later version adds is an error: a new message, a new event, a new state.
        peer.raw(&[0, 0, 0, 4, 0xfa, 0x06, 1, 0]).await;
        peer.event(v1::Event { body: None, ..call_event(2, v1::CallState::Alerting) }).await;
        let mut later = call_event(3, v1::CallState::Ended);
        if let Some(Body::CallState(change)) = &mut later.body {
            (change.state, change.cause, change.sip_status) = (99, v1::EndCause::Rejected.into(), 486);
        }
        peer.event(later).await;
        let keys = v1::SrtpKeys {
            keys: vec![v1::SrtpKey { key: vec![1; 16].into(), salt: vec![2; 14].into(), ..Default::default() }],
            ..Default::default()
        };
        let opened = v1::MediaOpened {
            stream: "m-1".into(),
            direction: v1::MediaDirection::Sent.into(),
            generation: 1,
            destination: "10.0.0.1:4000".into(),
            likely_source: "[fe80::1]:5000".into(),
            media: "audio".into(),
            codecs: vec![v1::Codec { payload_type: 0, name: "PCMU".into(), clock_rate: 8000 }],
            indicator: v1::Indicator::KeysAvailable.into(),
            suite: "AES_CM_128_HMAC_SHA1_80".into(),
            keys: Some(keys),
            ..Default::default()
        };
        let media = |opened| v1::Event {
            class: 4,
            body: Some(Body::MediaOpened(opened)),
            ..call_event(1, v1::CallState::Held)
        };
        peer.event(media(opened.clone())).await;
        let indicator = v1::Indicator::KeysUnavailable.into();
        let refused = v1::MediaOpened { indicator, reason: 703, keys: None, ..opened };
        peer.event(v1::Event { class_number: 2, ..media(refused) }).await;
        peer.read().await;
    })
    .await;

    let Some(Event::CallState(head, change)) = events.next().await else { panic!() };
    assert_eq!((head.device.as_str(), head.line, head.class), ("phone-1", 1, EventClass::Call));
    assert_eq!((head.number, head.class_number, head.call.id.as_str()), (10, 1, "c-1"));
    assert_eq!(head.at, SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001));
    assert_eq!((change.state, change.cause, change.sip_status), (CallState::Alerting, None, None));
    assert!(matches!(events.next().await, Some(Event::Unknown(head)) if head.class_number == 2));
    let Some(Event::CallState(_, change)) = events.next().await else { panic!() };
    assert_eq!((change.state, change.sip_status), (CallState::Unknown(99), Some(486)));

    let Some(Event::MediaOpened(_, opened)) = events.next().await else { panic!() };
    assert_eq!(opened.destination, "10.0.0.1:4000".parse().unwrap());
    assert_eq!(opened.likely_source, Some("[fe80::1]:5000".parse().unwrap()));
    assert_eq!((opened.direction, opened.indicator), (MediaDirection::Sent, Indicator::KeysAvailable));
    assert!(!format!("{opened:?}").contains("1, 1, 1"));
    let keys = opened.keys.unwrap();
    assert_eq!((keys.keys[0].key.expose(), keys.keys[0].salt.expose()), (&[1; 16][..], &[2; 14][..]));
    #[cfg(feature = "media")]
    callgate_sdk::media::StreamDecryptor::new().add_generation(1, &opened.suite.unwrap(), &keys).unwrap();

    let Some(Event::MediaOpened(_, refused)) = events.next().await else { panic!() };
    assert_eq!(refused.indicator, Indicator::KeysUnavailable(UnavailableReason::MonitoredLate));
    assert_eq!(refused.keys, None);
}

#[tokio::test]
async fn r40_a_hole_in_the_class_numbers_is_told_before_the_event_after_it() {
    let (_session, mut events, _gateway) = open(async |mut peer| {
        for class_number in [5, 6, 9] {
            peer.event(call_event(class_number, v1::CallState::Held)).await;
        }
        peer.read().await;
    })
    .await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(match events.next().await.unwrap() {
            Event::Gap(gap) => -i64::try_from(gap.missed).unwrap(),
            event => i64::try_from(event.head().unwrap().class_number).unwrap(),
        });
    }
    assert_eq!(seen, [5, 6, -2, 9]);
}

#[tokio::test]
async fn r15_changed_rights_are_typed_and_what_was_out_of_service_has_no_gap() {
    let (_session, mut events, _gateway) = open(async |mut peer| {
        peer.event(call_event(5, v1::CallState::Held)).await;
        let changed = v1::CapabilityChanged {
            changes: vec![v1::CapabilityChange::Devices.into(), 99],
            groups: vec!["Standard CTI Enabled".into()],
            keys: true,
            device_count: 3,
            rights_version: 7,
        };
        peer.say(0, to_app::Message::CapabilityChanged(changed)).await;
        let device = call_event(0, v1::CallState::Held).device;
        let reason = Some(ErrorCode::DeviceOutOfService.into());
        let out = v1::DeviceOutOfService { device, lines: Vec::new(), reason };
        peer.say(0, to_app::Message::DeviceOutOfService(out)).await;
        peer.event(call_event(9, v1::CallState::Held)).await;
        peer.read().await;
    })
    .await;
    assert!(matches!(events.next().await, Some(Event::CallState(..))));
    let Some(Event::CapabilityChanged(changed)) = events.next().await else { panic!() };
    assert_eq!(changed.changes, [CapabilityChange::Devices, CapabilityChange::Unknown(99)]);
    assert_eq!((changed.keys, changed.device_count, changed.rights_version), (true, 3, 7));
    assert_eq!(changed.groups, ["Standard CTI Enabled"]);
    let Some(Event::DeviceOutOfService(out)) = events.next().await else { panic!() };
    assert_eq!((out.reason.code(), out.lines.len()), (Some(ErrorCode::DeviceOutOfService), 0));
    let next = events.next().await.unwrap();
    assert_eq!(next.head().unwrap().class_number, 9, "{next:?}");
}

#[tokio::test]
async fn requests_are_answered_while_the_event_queue_is_full() {
    let (session, mut events, _gateway) = open(async |mut peer| {
        for class_number in 1..=100 {
            peer.event(call_event(class_number, v1::CallState::Held)).await;
        }
        let (id, _) = peer.request().await;
        for class_number in 101..=200 {
            peer.event(call_event(class_number, v1::CallState::Held)).await;
        }
        peer.say(id, to_app::Message::Snapshot(snapshot())).await;
        let reason = Some(Error::from(ErrorCode::GatewayStopping));
        peer.say(0, to_app::Message::Close(v1::Close { reason })).await;
    })
    .await;
    let answer = timeout(Duration::from_secs(5), session.snapshot("phone-1")).await.unwrap();
    assert_eq!(answer.unwrap().number, 9);
    // Everything that came before the end is delivered, in order.
    for class_number in 1..=200 {
        assert_eq!(events.next().await.unwrap().head().unwrap().class_number, class_number);
    }
    assert_eq!(events.next().await, None);
    assert!(matches!(events.closed(), Some(Closed::ByGateway(_))));
}

#[tokio::test]
async fn a_request_that_events_stand_in_the_way_of_fails_instead_of_waiting_for_ever() {
    let (session, mut events, _gateway) = open(async |mut peer| {
        for class_number in 1..=9_000 {
            peer.event(call_event(class_number, v1::CallState::Held)).await;
        }
        peer.request().await;
        peer.read().await;
    })
    .await;
    let stuck = timeout(Duration::from_secs(10), session.snapshot("phone-1")).await.unwrap();
    assert_eq!(stuck, Err(RequestError::EventsNotRead));
    for class_number in 1..=9_000 {
        assert_eq!(events.next().await.unwrap().head().unwrap().class_number, class_number);
    }
}

#[tokio::test]
async fn every_end_has_its_reason() {
    async fn end<F, T>(script: F) -> Closed
    where
        F: FnOnce(Peer<TcpStream>) -> T + Send + 'static,
        T: Future<Output = ()> + Send + 'static,
    {
        let (session, mut events, _gateway) = open(script).await;
        assert_eq!(timeout(Duration::from_secs(5), events.next()).await.unwrap(), None);
        assert_eq!(events.closed(), session.closed());
        events.closed().unwrap().clone()
    }

    let stopping = end(async |mut peer| {
        let reason = Some(Error::from(ErrorCode::GatewayStopping));
        peer.say(0, to_app::Message::Close(v1::Close { reason })).await;
    })
    .await;
    let Closed::ByGateway(refusal) = stopping else { panic!("{stopping}") };
    assert_eq!((refusal.code(), refusal.rule.as_str()), (Some(ErrorCode::GatewayStopping), "R42"));

    let too_large = end(async |mut peer| {
        peer.raw(&[0, 1, 0, 1, 0]).await;
        let (_, to_gateway::Message::Close(close)) = peer.request().await else { panic!() };
        assert_eq!(close.reason.unwrap().code(), ErrorCode::FrameTooLarge);
    })
    .await;
    let limit = FrameError::TooLarge { len: 65_537, limit: 65_536 };
    assert_eq!(too_large, Closed::Protocol(ProtocolError::Frame(limit)));

    let malformed = end(async |mut peer| {
        peer.raw(&[0, 0, 0, 2, 0x5a, 9]).await;
        peer.read().await;
    })
    .await;
    assert!(matches!(malformed, Closed::Protocol(ProtocolError::Frame(FrameError::Malformed { len: 2, .. }))));

    let cut = end(async |mut peer| peer.raw(&[0, 0, 0, 9, 0x5a]).await).await;
    assert!(matches!(&cut, Closed::ConnectionLost(text) if text.contains("middle of a frame")), "{cut}");
    let gone = end(async |_peer| {}).await;
    assert!(matches!(&gone, Closed::ConnectionLost(text) if text.contains("without a Close")), "{gone}");
}

#[tokio::test]
async fn closing_ends_requests_and_says_goodbye() {
    let (session, mut events, gateway) = open(async |mut peer: Peer<TcpStream>| {
        peer.request().await;
        peer.event(call_event(1, v1::CallState::Held)).await;
        let last = peer.request().await.1;
        assert_eq!(peer.read().await, None);
        last
    })
    .await;
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.snapshot("phone-1").await }
    });
    assert!(events.next().await.is_some());
    session.close().await;
    assert_eq!(waiting.await.unwrap(), Err(RequestError::Closed(Closed::ByApp)));
    assert_eq!((events.next().await, events.closed()), (None, Some(&Closed::ByApp)));
    assert!(matches!(gateway.await.unwrap(), to_gateway::Message::Close(_)));
}

#[tokio::test]
async fn either_handle_keeps_the_session_alone() {
    let (session, mut events, _gateway) = open(async |mut peer| {
        peer.event(call_event(1, v1::CallState::Held)).await;
        let (id, _) = peer.request().await;
        peer.say(id, to_app::Message::Snapshot(snapshot())).await;
        peer.event(call_event(2, v1::CallState::Held)).await;
        peer.read().await;
    })
    .await;
    assert!(events.next().await.is_some());
    session.snapshot("phone-1").await.unwrap();
    drop(session);
    assert!(events.next().await.is_some());

    let (session, events, _gateway) = open(async |mut peer| {
        for class_number in 1..=50 {
            peer.event(call_event(class_number, v1::CallState::Held)).await;
        }
        let (id, _) = peer.request().await;
        peer.say(id, to_app::Message::Snapshot(snapshot())).await;
        peer.read().await;
    })
    .await;
    drop(events);
    session.snapshot("phone-1").await.unwrap();
}
