//! Both doors of a running gateway, over real sockets, with a switch that reports what the test tells it to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use callgate::model::{CallState, StopCause};
use callgate_wire::v1::{self, ErrorCode, Indicator, UnavailableReason, to_app, to_gateway::Message};
use common::{
    ALL_THREE, PASSWORD, TestGateway, TestUser, USERS,
    leaks::{self, find_key},
    raw::RawClient,
    scripted::{call, fresh_key},
};
use tokio::net::TcpSocket;

const BOTH_DOORS: &str = "lenient_doors = true\n";

async fn recorder(gateway: &TestGateway, instance: &str) -> RawClient {
    let mut client = RawClient::tls(gateway.tls(), gateway.tls_client("recorder", instance)).await;
    client.open("recorder", instance).await.unwrap();
    client
}

async fn dashboard(gateway: &TestGateway, instance: &str) -> RawClient {
    let mut client = RawClient::clear(gateway.clear()).await;
    client.open_scram("dashboard", instance, PASSWORD).await.unwrap();
    client
}

#[tokio::test]
async fn r16_the_key_goes_to_the_session_that_may_have_it_and_to_no_other() {
    let gateway = TestGateway::start().await;
    let key = fresh_key();
    let mut recorder = recorder(&gateway, "1").await;
    let mut viewer = RawClient::tls(gateway.tls(), gateway.tls_client("viewer", "1")).await;
    viewer.open("viewer", "1").await.unwrap();
    let mut dashboard = dashboard(&gateway, "1").await;
    for client in [&mut recorder, &mut viewer, &mut dashboard] {
        client.monitor("1001").await;
    }

    let call = call("1001", 1);
    gateway.script.say(vec![call.state(CallState::Connected), call.opened(1, 1, Some(&key))]).await;

    let opened = recorder.next_media_opened().await;
    assert_eq!((opened.indicator(), opened.rule.as_str()), (Indicator::KeysAvailable, "R16"));
    let keys = opened.keys.unwrap();
    assert_eq!([&keys.keys[0].key[..], &keys.keys[0].salt[..]].concat(), key);
    assert_eq!(opened.suite, "AES_CM_128_HMAC_SHA1_80");

    for client in [&mut viewer, &mut dashboard] {
        let opened = client.next_media_opened().await;
        assert_eq!((opened.indicator(), opened.keys), (Indicator::UserNotAuthorized, None));
        assert_eq!(opened.suite, "AES_CM_128_HMAC_SHA1_80", "everything but the keys");
        assert_eq!(find_key(&key, &client.received), None);
    }
    // The search would have found it.
    assert_eq!(find_key(&key, &recorder.received), Some("as it is"));
    gateway.finish().await;
}

#[tokio::test]
async fn r16_no_key_leaves_by_the_clear_door_whoever_asks() {
    let users = [TestUser { name: "dashboard", groups: ALL_THREE, devices: &["1001"] }];
    let gateway = TestGateway::start_with(&users, BOTH_DOORS).await;
    let key = fresh_key();
    let mut client = dashboard(&gateway, "1").await;
    client.monitor("1001").await;
    gateway.script.say(vec![call("1001", 1).opened(1, 1, Some(&key))]).await;
    let opened = client.next_media_opened().await;
    assert_eq!((opened.indicator(), opened.reason()), (Indicator::KeysUnavailable, UnavailableReason::Door));
    assert_eq!(find_key(&key, &client.received), None);
    gateway.finish().await;
}

#[tokio::test]
async fn r2_in_non_secure_mode_there_is_no_tls_door_and_no_key() {
    let users = [TestUser { name: "dashboard", groups: ALL_THREE, devices: &["1001"] }];
    let gateway = TestGateway::start_with(&users, "mode = \"non-secure\"\n").await;
    assert_eq!(gateway.gateway.tls_address(), None);
    let key = fresh_key();
    let mut client = dashboard(&gateway, "1").await;
    client.monitor("1001").await;
    gateway.script.say(vec![call("1001", 1).opened(1, 1, Some(&key))]).await;
    let opened = client.next_media_opened().await;
    assert_eq!((opened.indicator(), opened.reason()), (Indicator::KeysUnavailable, UnavailableReason::Mode));
    gateway.finish().await;
}

#[tokio::test]
async fn r16_who_monitors_late_gets_the_next_generation_only() {
    let gateway = TestGateway::start().await;
    let (first, second) = (fresh_key(), fresh_key());
    let mut early = recorder(&gateway, "1").await;
    let mut late = recorder(&gateway, "2").await;
    early.monitor("1001").await;
    let call = call("1001", 1);
    gateway.script.say(vec![call.state(CallState::Connected), call.opened(1, 1, Some(&first))]).await;
    assert_eq!(early.next_media_opened().await.indicator(), Indicator::KeysAvailable);

    // R19: a snapshot, secure or not, and never a key.
    let monitored = late.monitor("1001").await;
    let snapshot = monitored.snapshot.unwrap();
    assert_eq!(snapshot.calls[0].security(), v1::CallSecurity::Secure);
    assert_eq!(snapshot.number, 2);
    assert_eq!(find_key(&first, &late.received), None);

    // R22: hold and resume keep the generation, so the late one stays late.
    gateway.script.say(vec![call.stopped(1, 1, StopCause::Hold), call.opened(1, 1, Some(&first))]).await;
    let resumed = early.next_media_opened().await;
    assert_eq!((resumed.indicator(), resumed.generation), (Indicator::KeysAvailable, 1));
    let resumed = late.next_media_opened().await;
    assert_eq!(
        (resumed.indicator(), resumed.reason(), resumed.generation),
        (Indicator::KeysUnavailable, UnavailableReason::MonitoredLate, 1)
    );

    gateway.script.say(vec![call.opened(1, 2, Some(&second))]).await;
    for client in [&mut early, &mut late] {
        let rekeyed = client.next_media_opened().await;
        assert_eq!((rekeyed.indicator(), rekeyed.generation), (Indicator::KeysAvailable, 2));
    }
    assert_eq!(find_key(&first, &late.received), None);
    gateway.finish().await;
}

#[tokio::test]
async fn r40_all_sessions_see_the_same_numbers_without_gaps() {
    let gateway = TestGateway::start().await;
    let mut on_tls = recorder(&gateway, "1").await;
    let mut on_clear = dashboard(&gateway, "1").await;
    on_tls.monitor("1001").await;
    on_clear.monitor("1001").await;
    let calls: Vec<_> = (1..=20).map(|id| call("1001", id)).collect();
    let events = calls.iter().flat_map(|call| [call.state(CallState::Offered), call.opened(1, 1, None), call.ended()]);
    gateway.script.say(events.collect()).await;

    let mut seen = Vec::new();
    for client in [&mut on_tls, &mut on_clear] {
        let mut numbers = Vec::new();
        for _ in 0..60 {
            let event = client.next_event().await;
            numbers.push((event.number, event.class(), event.class_number));
        }
        seen.push(numbers);
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].iter().map(|(number, ..)| *number).eq(1..=60));
    let class_numbers = |class| seen[0].iter().filter(move |(_, c, _)| *c == class).map(|(.., number)| *number);
    assert!(class_numbers(v1::EventClass::Call).eq(1..=40));
    assert!(class_numbers(v1::EventClass::Media).eq(1..=20));
    gateway.finish().await;
}

#[tokio::test]
async fn events_come_by_class_and_end_with_unmonitor() {
    let gateway = TestGateway::start().await;
    let mut client = recorder(&gateway, "1").await;
    let media_only = vec![v1::EventClass::Media.into()];
    client.send(Message::Monitor(v1::MonitorDevice { device: "1001".into(), classes: media_only })).await;
    client.wait_for(|message| matches!(message, to_app::Message::Monitored(_)).then_some(())).await;
    let call = call("1001", 1);
    gateway.script.say(vec![call.state(CallState::Offered), call.opened(1, 1, None)]).await;
    let event = client.next_event().await;
    assert_eq!((event.number, event.class()), (2, v1::EventClass::Media));

    client.send(Message::Unmonitor(v1::UnmonitorDevice { device: "1001".into(), classes: vec![] })).await;
    client.wait_for(|message| matches!(message, to_app::Message::Unmonitored(_)).then_some(())).await;
    gateway.script.say(vec![call.opened(1, 1, None)]).await;
    let snapshot = Message::Snapshot(v1::SnapshotDevice { device: "1001".into() });
    loop {
        client.send(snapshot.clone()).await;
        match client.next().await.unwrap().message.unwrap() {
            to_app::Message::Snapshot(snapshot) if snapshot.number == 3 => break,
            to_app::Message::Snapshot(_) => {}
            other => panic!("{other:?}"),
        }
    }
    gateway.finish().await;
}

#[tokio::test]
async fn r10_each_door_is_for_its_own_users() {
    let users = [
        TestUser { name: "recorder", groups: ALL_THREE, devices: &[] },
        TestUser { name: "dashboard", groups: common::CLEAR, devices: &[] },
        TestUser { name: "outsider", groups: &[], devices: &[] },
    ];
    let gateway = TestGateway::start_with(&users, "").await;
    let by_password = |user: &'static str| {
        let gateway = &gateway;
        async move { RawClient::clear(gateway.clear()).await.open_scram(user, "1", PASSWORD).await.err() }
    };
    assert_eq!(by_password("recorder").await, Some(ErrorCode::ConnectionOnInvalidPort));
    assert_eq!(by_password("outsider").await, Some(ErrorCode::CtiNotEnabled));
    assert_eq!(by_password("dashboard").await, None);
    let mut client = RawClient::tls(gateway.tls(), gateway.tls_client("dashboard", "1")).await;
    assert_eq!(client.open("dashboard", "1").await.err(), Some(ErrorCode::UserNotAuthorizedForSecurity));
    gateway.finish().await;
}

#[tokio::test]
async fn r11_r12_a_certificate_opens_its_own_instance_once() {
    let gateway = TestGateway::start().await;
    let config = gateway.tls_client("recorder", "1");
    let mut first = RawClient::tls(gateway.tls(), config.clone()).await;
    let opened = first.open("recorder", "1").await.unwrap();
    assert_eq!((opened.device_count, opened.heartbeat_seconds), (2, 30));
    assert!(opened.certificate_expires_unix_seconds > 1_700_000_000);

    let mut second = RawClient::tls(gateway.tls(), config.clone()).await;
    let (refused, _) = tokio::join!(second.open("recorder", "1"), async {
        first.wait_for(|message| matches!(message, to_app::Message::Probe(_)).then_some(())).await;
        first.send(Message::ProbeAnswer(v1::ProbeAnswer {})).await
    });
    assert_eq!(refused.err(), Some(ErrorCode::InstanceAlreadyOpen));
    let mut other = RawClient::tls(gateway.tls(), config.clone()).await;
    assert_eq!(other.open("recorder", "2").await.err(), Some(ErrorCode::CertificateIdentityMismatch));

    // The first session goes on, and once it is closed the instance is free.
    first.monitor("1001").await;
    first.send(Message::Close(v1::Close { reason: None })).await;
    assert_eq!(first.closed().await, Some(ErrorCode::ClosedByApp));
    let mut third = RawClient::tls(gateway.tls(), config).await;
    assert!(third.open("recorder", "1").await.is_ok());
    gateway.finish().await;
}

#[tokio::test]
async fn r13_a_user_without_devices_opens_and_has_none() {
    let users = [TestUser { name: "dashboard", groups: common::CLEAR, devices: &[] }];
    let gateway = TestGateway::start_with(&users, "").await;
    let mut client = RawClient::clear(gateway.clear()).await;
    assert_eq!(client.open_scram("dashboard", "1", PASSWORD).await.unwrap().device_count, 0);
    let request = client.send(Message::Monitor(v1::MonitorDevice { device: "1001".into(), classes: vec![] })).await;
    let answer = client.next().await.unwrap();
    assert_eq!(answer.reply_to, request);
    match answer.message.unwrap() {
        to_app::Message::Refusal(refusal) => {
            let error = refusal.error.unwrap();
            assert_eq!((error.code(), error.detail.as_str()), (ErrorCode::DeviceUnknown, "1001"));
        }
        other => panic!("{other:?}"),
    }
    gateway.finish().await;
}

#[tokio::test]
async fn r39_heartbeats_go_both_ways_and_silence_ends_the_session() {
    let head = "[heartbeat]\ndefault_seconds = 1\nmin_seconds = 1\nmax_seconds = 10\n";
    let gateway = TestGateway::start_with(USERS, head).await;
    let mut silent = dashboard(&gateway, "silent").await;
    let mut alive = dashboard(&gateway, "alive").await;
    let mut beats = 0;
    let code = loop {
        alive.send(Message::Heartbeat(v1::Heartbeat {})).await;
        match silent.next().await.unwrap().message.unwrap() {
            to_app::Message::Heartbeat(_) => beats += 1,
            to_app::Message::Close(close) => break close.reason.unwrap().code(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((code, beats > 0), (ErrorCode::HeartbeatTimeout, true));
    alive.monitor("1001").await;
    gateway.finish().await;
}

#[tokio::test]
async fn r42_sessions_are_told_that_the_gateway_stops() {
    let gateway = TestGateway::start().await;
    let mut on_tls = recorder(&gateway, "1").await;
    let mut on_clear = dashboard(&gateway, "1").await;
    let (on_tls, on_clear, ()) = tokio::join!(on_tls.closed(), on_clear.closed(), gateway.finish());
    assert_eq!((on_tls, on_clear), (Some(ErrorCode::GatewayStopping), Some(ErrorCode::GatewayStopping)));
}

#[tokio::test]
async fn r21_each_release_and_each_refusal_is_on_record() {
    let gateway = TestGateway::start().await;
    let key = fresh_key();
    let mut recorder = recorder(&gateway, "audited").await;
    let mut dashboard = dashboard(&gateway, "audited").await;
    recorder.monitor("1002").await;
    dashboard.monitor("1002").await;
    gateway.script.say(vec![call("1002", 77).opened(42, 1, Some(&key))]).await;
    recorder.next_media_opened().await;
    dashboard.next_media_opened().await;

    let logs = leaks::logs();
    let record = |kind: &str, user: &str| {
        let has = |line: &&str| {
            [" audit: ", kind, user, "device=\"1002\"", "stream=m000000000002a"].iter().all(|part| line.contains(part))
        };
        logs.lines().find(has).unwrap_or_else(|| panic!("no record {kind} of {user}")).to_owned()
    };
    let disclosed = record("record=\"disclosed\"", ":recorder:audited:tls\"");
    assert!(disclosed.contains("indicator=\"KEYS_AVAILABLE\"") && disclosed.contains("generation=1"), "{disclosed}");
    let withheld = record("record=\"refused\"", ":dashboard:audited:clear\"");
    assert!(withheld.contains("indicator=\"USER_NOT_AUTHORIZED\"") && withheld.contains("rule=\"R16\""), "{withheld}");
    let fingerprint = |line: &str| line.rsplit("fingerprint=").next().unwrap()[..16].to_owned();
    assert_eq!(fingerprint(&disclosed), fingerprint(&withheld), "one key, one fingerprint");
    gateway.finish().await;
}

#[tokio::test]
async fn r41a_a_snapshot_of_many_calls_fits_into_a_frame_and_says_how_many_it_left_out() {
    let gateway = TestGateway::start().await;
    let mut witness = dashboard(&gateway, "1").await;
    witness.monitor("1001").await;
    for first in (0..2000).step_by(100) {
        gateway.script.say((first..first + 100).map(|id| call("1001", id).state(CallState::Connected)).collect()).await;
    }
    while witness.next_event().await.number < 2000 {}
    let snapshot = witness.monitor("1001").await.snapshot.unwrap();
    assert_eq!((snapshot.number, snapshot.calls.len() + snapshot.calls_left_out as usize), (2000, 2000));
    assert!(snapshot.calls_left_out > 0);
    assert_eq!(snapshot.calls.last().unwrap().call.as_ref().unwrap().sip_call_id, "call-1999@test", "the newest stay");
    gateway.finish().await;
}

#[tokio::test]
async fn r5_who_is_in_no_network_of_the_doors_is_turned_away_before_any_handshake() {
    let gateway = TestGateway::start_with(USERS, "door_networks = [\"192.0.2.0/24\", \"127.0.0.2\"]\n").await;
    let mut foreign = RawClient::clear(gateway.gateway.clear_address().unwrap()).await;
    assert_eq!(foreign.closed().await, Some(ErrorCode::NetworkNotAllowed));
    let mut foreign = RawClient::clear(gateway.tls()).await;
    assert_eq!(foreign.closed().await, None, "nothing is said where a handshake would have to come first");
    assert!(foreign.received.is_empty());

    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let tcp = socket.connect(gateway.tls()).await.unwrap();
    let mut allowed = RawClient::tls_over(tcp, gateway.tls_client("recorder", "1")).await;
    allowed.open("recorder", "1").await.unwrap();
    gateway.finish().await;
}
