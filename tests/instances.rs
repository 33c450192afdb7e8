//! One instance, one running session (R12): who is probed, who stays, and who takes over. Sessions that end with their
//! certificates (R32), by a clock that may jump (R42a). And open sessions as administration sees and closes them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime},
};

use callgate::{
    cti::{Clock, Which},
    model::Door,
    trust::{Fingerprint, Issued, Record},
};
use callgate_sdk::client::{Connector, Identity, Roots};
use callgate_wire::v1::{self, ErrorCode, Indicator, event, open_request::Authentication, to_app, to_gateway::Message};
use common::{
    CLEAR, PASSWORD, SECURE, TestGateway, TestUser, USERS, leaks,
    raw::{self, RawClient},
    scripted::{call, fresh_key},
    tls_client,
};
use rustls::ClientConfig;
use time::OffsetDateTime;
use tokio::task::JoinSet;

/// As short as a probe gets.
const QUICK: &str = "[limits]\nprobe_seconds = 1\n";
/// For tests in which nobody answers late: a test on a machine that is busy must not take a live app for a dead one.
const PATIENT: &str = "[limits]\nprobe_seconds = 4\n";

async fn connect(gateway: &TestGateway, config: &Arc<ClientConfig>) -> RawClient {
    RawClient::tls(gateway.tls(), Arc::clone(config)).await
}

/// An open session, and the settings that it was opened with.
async fn recorder(gateway: &TestGateway) -> (RawClient, Arc<ClientConfig>) {
    let config = gateway.tls_client("recorder", "1");
    let mut client = connect(gateway, &config).await;
    client.open("recorder", "1").await.unwrap();
    (client, config)
}

fn settings(gateway: &TestGateway, issued: &Issued) -> Arc<ClientConfig> {
    tls_client(&gateway.ca_pem(), &issued.certificate_pem, &issued.key_pem)
}

async fn probed(client: &mut RawClient) -> v1::Probe {
    client
        .wait_for(|message| match message {
            to_app::Message::Probe(probe) => Some(probe),
            _ => None,
        })
        .await
}

/// Reads on to the end: how many keys came, how many probes, and why it ended.
async fn rest(client: &mut RawClient) -> (usize, usize, Option<ErrorCode>) {
    let (mut keys, mut probes, mut code) = (0, 0, None);
    while let Some(message) = client.next().await {
        match message.message.unwrap() {
            to_app::Message::Event(v1::Event { body: Some(event::Body::MediaOpened(opened)), .. }) => {
                keys += usize::from(opened.keys.is_some());
            }
            to_app::Message::Probe(_) => probes += 1,
            to_app::Message::Close(close) => code = Some(close.reason.unwrap().code()),
            _ => {}
        }
    }
    (keys, probes, code)
}

#[tokio::test]
async fn r12_a_first_session_that_answers_goes_on_and_the_second_is_refused_with_an_alarm() {
    let gateway = TestGateway::start_with(USERS, PATIENT).await;
    let (mut first, config) = recorder(&gateway).await;
    first.monitor("1001").await;
    // An app of before doesn't know the probe, and is alive if it says anything.
    let answers = [Message::ProbeAnswer(v1::ProbeAnswer {}), Message::Heartbeat(v1::Heartbeat {})];
    for answer in answers {
        let mut second = connect(&gateway, &config).await;
        let (opened, probe) = tokio::join!(second.open("recorder", "1"), async {
            let probe = probed(&mut first).await;
            first.send(answer).await;
            probe
        });
        assert_eq!(opened.unwrap_err(), ErrorCode::InstanceAlreadyOpen);
        assert_eq!(probe.within_milliseconds, 4000);
    }
    let key = fresh_key();
    gateway.script.say(vec![call("1001", 1).opened(1, 1, Some(&key))]).await;
    assert_eq!(first.next_media_opened().await.indicator(), Indicator::KeysAvailable);
    let alarm = ["WARN", "another connection of an instance was refused", "user=\"recorder\"", "refused=1"];
    assert!(leaks::logged_lines(&alarm) >= 1);
    assert!(leaks::logged_lines(&["code=\"INSTANCE_ALREADY_OPEN\"", "which is alive"]) >= 1);
    gateway.finish().await;
}

#[tokio::test]
async fn r12_the_sdk_answers_by_itself() {
    let gateway = TestGateway::start_with(USERS, PATIENT).await;
    let issued = gateway.issue("recorder", "1");
    let identity = Identity::from_pem(issued.certificate_pem.as_bytes(), issued.key_pem.as_bytes()).unwrap();
    let roots = Roots::from_pem(gateway.ca_pem().as_bytes()).unwrap();
    let connector = Connector::tls(gateway.tls().to_string(), "localhost", identity, roots);
    let (session, _events) = connector.open("recorder", "1").await.unwrap();
    let mut second = connect(&gateway, &settings(&gateway, &issued)).await;
    assert_eq!(second.open("recorder", "1").await.unwrap_err(), ErrorCode::InstanceAlreadyOpen);
    assert_eq!(session.closed(), None);
    let limits = session.limits();
    assert_eq!((limits.max_monitors, limits.max_requests_in_flight), (Some(10_000), Some(64)));
    assert_eq!((limits.max_queued_bytes, limits.probe), (Some(1 << 20), Some(Duration::from_secs(4))));
    gateway.finish().await;
}

#[tokio::test]
async fn r12_the_place_of_a_peer_that_vanished_is_taken_over() {
    let gateway = TestGateway::start_with(USERS, QUICK).await;
    // It neither reads nor writes any more, and no FIN comes of it: so a machine without power seems from here.
    let config = gateway.tls_client("recorder", "1");
    let mut first = connect(&gateway, &config).await;
    let old = first.open("recorder", "1").await.unwrap();
    first.monitor("1001").await;
    let mut second = connect(&gateway, &config).await;
    let opened = second.open("recorder", "1").await.unwrap();
    assert_ne!(opened.session, old.session);
    second.monitor("1001").await;
    let sessions = gateway.gateway.sessions().list().await;
    assert_eq!(sessions.iter().map(|open| &*open.session).collect::<Vec<_>>(), [&*opened.session]);

    let key = fresh_key();
    gateway.script.say(vec![call("1001", 1).opened(1, 1, Some(&key))]).await;
    assert_eq!(second.next_media_opened().await.indicator(), Indicator::KeysAvailable);
    // Should it come back, it hears why.
    assert_eq!(rest(&mut first).await, (0, 1, Some(ErrorCode::InstanceTakenOver)));
    assert_eq!(leaks::find_key(&key, &first.received), None);

    let logs = leaks::logs();
    let place = |parts: [&str; 2]| logs.lines().position(|line| parts.iter().all(|part| line.contains(part))).unwrap();
    let [old, new] = [old, opened].map(|opened| format!("session=\"{}\"", opened.session));
    let closed = logs.lines().nth(place(["record=\"closed\"", &old])).unwrap();
    assert!(closed.contains("code=\"INSTANCE_TAKEN_OVER\""), "{closed}");
    assert!(place(["record=\"closed\"", &old]) < place(["record=\"opened\"", &new]));
    gateway.finish().await;
}

#[tokio::test]
async fn r12_r21_keys_that_wait_for_a_session_that_is_taken_over_are_withheld() {
    const EVENTS: usize = 3000;
    let head = format!("{QUICK}queued_bytes_per_session = 67108864\n");
    let users = [TestUser { name: "keeper", groups: common::ALL_THREE, devices: &["1001"] }];
    let gateway = TestGateway::start_with(&users, &head).await;
    let config = gateway.tls_client("keeper", "1");
    let mut first = RawClient::tls_narrow(gateway.tls(), Arc::clone(&config)).await;
    first.open("keeper", "1").await.unwrap();
    first.monitor("1001").await;
    let (call, key) = (call("1001", 1), fresh_key());
    for _ in 0..EVENTS / 100 {
        gateway.script.say((0..100).map(|_| call.opened(1, 1, Some(&key))).collect()).await;
    }
    let mut witness = connect(&gateway, &gateway.tls_client("keeper", "2")).await;
    witness.open("keeper", "2").await.unwrap();
    // All events have passed the hub when this is answered.
    gateway.gateway.flush().await;
    witness.monitor("1001").await;

    let mut second = connect(&gateway, &config).await;
    second.open("keeper", "1").await.unwrap();
    let (keys, _, _) = rest(&mut first).await;
    let withheld = leaks::logged_lines(&["record=\"withheld\"", "user=\"keeper\"", "code=\"INSTANCE_TAKEN_OVER\""]);
    assert!(keys > 0 && withheld > 0, "{keys} {withheld}");
    assert_eq!(keys + withheld, EVENTS, "each key that was recorded left, or is on record as withheld");
    gateway.finish().await;
}

#[tokio::test]
async fn r12_of_many_second_connections_one_takes_over_by_one_probe() {
    let gateway = TestGateway::start_with(USERS, QUICK).await;
    let (mut first, config) = recorder(&gateway).await;
    let mut tries = JoinSet::new();
    for _ in 0..8 {
        let mut second = connect(&gateway, &config).await;
        // The connection lives as long as its outcome: the winner stays.
        tries.spawn(async move { (second.open("recorder", "1").await, second) });
    }
    let outcomes = tries.join_all().await;
    let refused = outcomes.iter().filter(|(outcome, _)| outcome == &Err(ErrorCode::InstanceAlreadyOpen)).count();
    let opened = outcomes.iter().filter(|(outcome, _)| outcome.is_ok()).count();
    assert_eq!((opened, refused), (1, 7));
    assert_eq!(rest(&mut first).await, (0, 1, Some(ErrorCode::InstanceTakenOver)));
    assert_eq!(gateway.gateway.sessions().list().await.len(), 1);
    gateway.finish().await;
}

#[tokio::test]
async fn r12_who_has_gone_while_it_waited_takes_the_place_from_nobody() {
    let gateway = TestGateway::start_with(USERS, QUICK).await;
    let (mut first, config) = recorder(&gateway).await;
    // An app that has less patience than a probe takes, and tries again.
    let mut impatient = connect(&gateway, &config).await;
    impatient.hello().await;
    impatient.send(raw::open("recorder", "1", Authentication::Certificate(v1::CertificateAuth {}))).await;
    probed(&mut first).await;
    drop(impatient);
    let mut second = connect(&gateway, &config).await;
    second.open("recorder", "1").await.unwrap();
    assert_eq!(rest(&mut first).await.2, Some(ErrorCode::InstanceTakenOver));
    assert!(leaks::logged_lines(&["record=\"refused\"", "code=\"CONNECTION_LOST\""]) >= 1);
    gateway.finish().await;
}

#[tokio::test]
async fn r12_who_waits_gets_in_at_once_when_the_first_ends_by_itself() {
    let gateway = TestGateway::start_with(USERS, PATIENT).await;
    let (mut first, config) = recorder(&gateway).await;
    let mut second = connect(&gateway, &config).await;
    let (opened, ()) = tokio::join!(second.open("recorder", "1"), async {
        probed(&mut first).await;
        // As a rolling restart does; whether it says good-bye or not.
        drop(first);
    });
    second.monitor("1001").await;
    assert!(opened.is_ok());
    gateway.finish().await;
}

#[tokio::test]
async fn r12_a_renewed_certificate_is_the_same_instance_and_revoking_the_old_one_leaves_it_alone() {
    let mut gateway = TestGateway::start_with(USERS, QUICK).await;
    let (old, renewed) = (gateway.issue("recorder", "1"), gateway.issue("recorder", "1"));
    let mut first = connect(&gateway, &settings(&gateway, &old)).await;
    first.open("recorder", "1").await.unwrap();
    let mut second = connect(&gateway, &settings(&gateway, &renewed)).await;
    let (opened, _) = tokio::join!(second.open("recorder", "1"), async {
        probed(&mut first).await;
        first.send(Message::ProbeAnswer(v1::ProbeAnswer {})).await
    });
    assert_eq!(opened.unwrap_err(), ErrorCode::InstanceAlreadyOpen);
    let mut second = connect(&gateway, &settings(&gateway, &renewed)).await;
    second.open("recorder", "1").await.unwrap();
    assert_eq!(first.closed().await, Some(ErrorCode::InstanceTakenOver));

    let ledger = gateway.ledger();
    let revoke = |issued: &Issued| {
        let sha256 = Fingerprint(issued.sha256).to_hex();
        let record = ledger.records().unwrap().into_iter().find(|record| record.sha256 == sha256).unwrap();
        ledger.append(&Record::revocation(&record, OffsetDateTime::now_utc(), "renewed")).unwrap();
    };
    second.monitor("1001").await;
    revoke(&old);
    let same = gateway.config(USERS, QUICK);
    assert_eq!(gateway.reload(same.clone()).await.effect.closed, 0);
    second.monitor("1001").await;
    revoke(&renewed);
    assert_eq!(gateway.reload(same).await.effect.closed, 1);
    assert_eq!(second.closed().await, Some(ErrorCode::CertificateRevoked));
    gateway.finish().await;
}

#[tokio::test]
async fn r12_r15_who_has_waited_is_let_in_by_the_rights_of_then() {
    let mut gateway = TestGateway::start_with(USERS, PATIENT).await;
    let (mut first, config) = recorder(&gateway).await;
    let mut second = connect(&gateway, &config).await;
    let without = gateway.config(&USERS[1..], PATIENT);
    let (opened, ()) = tokio::join!(second.open("recorder", "1"), async {
        probed(&mut first).await;
        gateway.reload(without).await;
    });
    assert_eq!(opened.unwrap_err(), ErrorCode::CtiNotEnabled);
    assert_eq!(first.closed().await, Some(ErrorCode::CtiNotEnabled));
    gateway.reload(gateway.config(USERS, PATIENT)).await;
    let mut third = connect(&gateway, &config).await;
    assert!(third.open("recorder", "1").await.is_ok(), "the place was given back");
    gateway.finish().await;
}

#[tokio::test]
async fn r12_on_the_clear_door_an_instance_is_a_label_and_nobody_is_probed_for_it() {
    let users = [TestUser { name: "dashboard", groups: CLEAR, devices: &["1001"] }];
    let gateway = TestGateway::start_with(&users, QUICK).await;
    let mut first = RawClient::clear(gateway.clear()).await;
    let opened = first.open_scram("dashboard", "1", PASSWORD).await.unwrap();
    assert_eq!((opened.probe_milliseconds, opened.max_monitors), (0, 10_000));
    let mut second = RawClient::clear(gateway.clear()).await;
    let refused = second.open_scram("dashboard", "1", PASSWORD).await.unwrap_err();
    assert_eq!(refused, ErrorCode::InstanceAlreadyOpen);
    first.send(Message::Close(v1::Close { reason: None })).await;
    assert_eq!(rest(&mut first).await, (0, 0, Some(ErrorCode::ClosedByApp)));
    gateway.finish().await;
}

/// A wall clock that stands unless it is set.
fn fake_clock(start: i64) -> (Clock, Arc<AtomicI64>) {
    let unix = Arc::new(AtomicI64::new(start));
    let wall = Arc::clone(&unix);
    let read = move || SystemTime::UNIX_EPOCH + Duration::from_secs(wall.load(Ordering::Relaxed).try_into().unwrap());
    (Clock::by(read), unix)
}

async fn warned(client: &mut RawClient) -> v1::CertificateExpires {
    client
        .wait_for(|message| match message {
            to_app::Message::CertificateExpires(told) => Some(told),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn r32_an_app_is_warned_of_the_end_of_its_certificate_and_closed_an_hour_after_it() {
    const MINUTE: i64 = 60;
    // The certificates of the tests last 30 days; TLS itself goes by the system's clock.
    let about = OffsetDateTime::now_utc().unix_timestamp() + 30 * 86_400 - 30 * MINUTE;
    let (clock, unix) = fake_clock(about);
    let gateway = TestGateway::start_by(USERS, QUICK, clock).await;
    let (mut app, _) = recorder(&gateway).await;
    let mut dashboard = RawClient::clear(gateway.clear()).await;
    dashboard.open_scram("dashboard", "1", PASSWORD).await.unwrap();

    let told = warned(&mut app).await;
    let ends = told.expires_unix_seconds;
    assert!((28 * MINUTE..=31 * MINUTE).contains(&told.seconds_left), "{told:?}");
    assert_eq!(told.closes_unix_seconds, ends + 60 * MINUTE);
    let listed = gateway.gateway.sessions().list().await;
    assert_eq!(listed.iter().map(|open| open.certificate_expires).collect::<Vec<_>>(), [Some(ends), None]);

    // Steps of less than an hour are no jumps.
    unix.store(ends + 5 * MINUTE, Ordering::Relaxed);
    let told = warned(&mut app).await;
    assert!((-6 * MINUTE..=-4 * MINUTE).contains(&told.seconds_left), "{told:?}");
    app.monitor("1001").await;
    unix.store(ends + 61 * MINUTE, Ordering::Relaxed);
    assert_eq!(app.closed().await, Some(ErrorCode::CertificateExpired));
    dashboard.monitor("1001").await;
    gateway.finish().await;
}

#[tokio::test]
async fn r42a_a_clock_that_jumps_raises_an_alarm_and_closes_nothing() {
    let (clock, unix) = fake_clock(OffsetDateTime::now_utc().unix_timestamp());
    let gateway = TestGateway::start_by(USERS, QUICK, clock).await;
    let (mut app, _) = recorder(&gateway).await;
    unix.fetch_add(60 * 86_400, Ordering::Relaxed);
    let jumped = || leaks::logged_lines(&["WARN", "the system's clock has jumped", "seconds="]);
    while jumped() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // An answer comes behind whatever the jump has caused, and nothing has.
    app.send(Message::ListDevices(v1::ListDevices::default())).await;
    let next = app.next().await.unwrap().message.unwrap();
    assert!(matches!(next, to_app::Message::DeviceList(_)), "{next:?}");
    gateway.finish().await;
}

#[tokio::test]
async fn r15_administration_lists_open_sessions_and_closes_some() {
    let users = [
        TestUser { name: "recorder", groups: common::ALL_THREE, devices: &["1001", "1002"] },
        TestUser { name: "viewer", groups: SECURE, devices: &["1001"] },
        TestUser { name: "dashboard", groups: CLEAR, devices: &["1001"] },
    ];
    let gateway = TestGateway::start_with(&users, QUICK).await;
    let sessions = gateway.gateway.sessions();
    assert!(sessions.list().await.is_empty());
    let begin = SystemTime::now();
    let mut clients = Vec::new();
    for (user, instance) in [("recorder", "1"), ("recorder", "2"), ("recorder", "3"), ("viewer", "1")] {
        let mut client = connect(&gateway, &gateway.tls_client(user, instance)).await;
        let opened = client.open(user, instance).await.unwrap();
        client.monitor("1001").await;
        clients.push((client, opened.session));
    }
    let mut dashboard = RawClient::clear(gateway.clear()).await;
    dashboard.open_scram("dashboard", "1", PASSWORD).await.unwrap();
    gateway.script.say(vec![call("1001", 1).opened(1, 1, Some(&fresh_key()))]).await;
    for (client, _) in &mut clients {
        client.next_media_opened().await;
    }

    let listed = sessions.list().await;
    let shown = |open: &callgate::cti::OpenSession| {
        (
            open.user.to_string(),
            open.instance.to_string(),
            open.door,
            open.monitored_devices,
            open.deliveries,
            open.denials,
        )
    };
    let row = |user: &str, instance: &str, door, numbers: (usize, u64, u64)| {
        (user.to_owned(), instance.to_owned(), door, numbers.0, numbers.1, numbers.2)
    };
    assert_eq!(
        listed.iter().map(shown).collect::<Vec<_>>(),
        [
            row("recorder", "1", Door::Tls, (1, 1, 0)),
            row("recorder", "2", Door::Tls, (1, 1, 0)),
            row("recorder", "3", Door::Tls, (1, 1, 0)),
            row("viewer", "1", Door::Tls, (1, 1, 1)),
            row("dashboard", "1", Door::Clear, (0, 0, 0)),
        ]
    );
    assert!(listed.iter().all(|open| open.peer.is_loopback() && open.opened_at >= begin && open.queued_bytes == 0));
    assert_eq!(listed.iter().map(|open| open.certificate_expires.is_some()).filter(|is| *is).count(), 4);
    assert_eq!(listed[0].session, clients[0].1);

    let code = ErrorCode::ClosedByAdministrator;
    let [name, user, instance] = ["recorder", "recorder", "2"];
    let instance = Which::Instance(user.parse().unwrap(), instance.parse().unwrap());
    for (which, closes) in [
        (Which::Session("s0".into()), 0..0),
        (Which::Session(clients[0].1.clone()), 0..1),
        (Which::Session(clients[0].1.clone()), 0..0),
        (instance, 1..2),
        (Which::User(name.parse().unwrap()), 2..3),
        (Which::User("nobody".parse().unwrap()), 0..0),
    ] {
        assert_eq!(sessions.close(&which, code).await, closes.len(), "{which:?}");
        for (client, _) in &mut clients[closes] {
            assert_eq!(client.closed().await, Some(code));
        }
    }
    assert_eq!(sessions.list().await.len(), 2);
    clients[3].0.monitor("1001").await;
    dashboard.monitor("1001").await;
    gateway.finish().await;
    assert!(sessions.list().await.is_empty(), "a gateway that has stopped has none");
    assert_eq!(sessions.close(&Which::User("viewer".parse().unwrap()), code).await, 0);
}
