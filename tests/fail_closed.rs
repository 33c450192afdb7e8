//! No key without its record (R21): a trail that fails, between real sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::sync::Arc;

use callgate::{
    audit::{Kind, Trail},
    model::{CallState, StopCause},
};
use callgate_wire::v1::{self, ErrorCode, Indicator, UnavailableReason, event, to_app, to_gateway};
use common::{
    TestGateway, TestUser, USERS,
    raw::RawClient,
    scripted::{call, fresh_key},
    trail::{Outage, TestTrail},
};

/// Two threads, so that the two sessions of a user can live on different ones.
const TWO_WORKERS: &str = "[limits]\nworkers = 2\n";

/// An app that knows what is on record when it gets something.
struct App {
    client: RawClient,
    session: String,
    trail: Arc<TestTrail>,
    keys: usize,
    unrecordable: usize,
    unauthorized: usize,
    numbers: [u64; 2],
}

impl App {
    async fn open(gateway: &TestGateway, trail: &Arc<TestTrail>, user: &str, instance: &str) -> Self {
        let mut client = RawClient::tls(gateway.tls(), gateway.tls_client(user, instance)).await;
        let session = client.open(user, instance).await.unwrap().session;
        for device in DEVICES {
            client.monitor(device).await;
        }
        let trail = Arc::clone(trail);
        Self { client, session, trail, keys: 0, unrecordable: 0, unauthorized: 0, numbers: [0; 2] }
    }

    /// Reads to the end of its calls. Each event comes in its place, and each key after its record.
    async fn read(&mut self, last: u64) {
        while self.numbers != [last; 2] {
            let event = self.client.next_event().await;
            let device = DEVICES.iter().position(|device| *device == event.device).unwrap();
            self.numbers[device] += 1;
            assert_eq!(event.number, self.numbers[device], "an event is missing or out of order: {event:?}");
            if let Some(event::Body::MediaOpened(opened)) = event.body {
                self.take(&opened);
            }
        }
    }

    fn take(&mut self, opened: &v1::MediaOpened) {
        let reason = (opened.indicator(), opened.reason(), opened.rule.as_str());
        match (&opened.keys, reason) {
            (Some(keys), (Indicator::KeysAvailable, ..)) => {
                self.keys += 1;
                let fingerprint = self.trail.fingerprint(&opened.suite, keys);
                let recorded = self.count(Kind::Disclosed, |kept| kept == fingerprint);
                assert!(recorded > 0, "a key came before its record: {}", opened.stream);
            }
            (None, (Indicator::KeysUnavailable, UnavailableReason::AuditUnavailable, "R21")) => self.unrecordable += 1,
            (None, (Indicator::UserNotAuthorized, ..)) => self.unauthorized += 1,
            other => panic!("{other:?}"),
        }
    }

    /// How many records of this kind name it, with such a fingerprint.
    fn count(&self, kind: Kind, is: impl Fn(&str) -> bool) -> usize {
        let records = self.trail.records();
        records
            .iter()
            .filter(|kept| kept.kind == kind && kept.names(&self.session) && is(kept.field("fingerprint")))
            .count()
    }

    /// All that it got and didn't get is on record, once, and nothing else is.
    fn check_records(&self) {
        let refused = |code: &str| {
            let records = self.trail.records();
            let is = |kept: &&common::trail::Kept| kept.kind == Kind::KeyRefused && kept.field("code") == code;
            records.iter().filter(is).filter(|kept| kept.names(&self.session)).count()
        };
        assert_eq!(self.count(Kind::Disclosed, |_| true), self.keys);
        assert_eq!(refused("KEYS_UNAVAILABLE_AUDIT_UNAVAILABLE"), self.unrecordable);
        assert_eq!(refused("KEYS_USER_NOT_AUTHORIZED"), self.unauthorized);
        assert_eq!(self.count(Kind::Withheld, |_| true), 0);
        assert_eq!(self.count(Kind::Opened, |_| true), 1);
    }
}

const DEVICES: [&str; 2] = ["1001", "1002"];

#[tokio::test]
async fn r21_whichever_write_fails_no_key_comes_without_its_record_and_all_is_recorded_when_it_heals() {
    const KEYED: usize = 15;
    let keys: Vec<_> = (0..2 * KEYED).map(|_| fresh_key()).collect();
    let (mut with, mut without, mut found_out) = (0, 0, 0);
    for at in 1..=50 {
        let trail = Arc::new(TestTrail::with(Outage { at, until_waiting: [1, 3, 8][at % 3] }));
        let gateway = TestGateway::start_recorded(USERS, TWO_WORKERS, Arc::clone(&trail) as Arc<dyn Trail>).await;
        let mut apps = Vec::new();
        for (user, instance) in [("recorder", "1"), ("recorder", "2"), ("viewer", "1")] {
            apps.push(App::open(&gateway, &trail, user, instance).await);
        }
        let mut events = Vec::new();
        for (generation, keys) in (1..).zip(keys.chunks(2)) {
            for (device, key) in DEVICES.into_iter().zip(keys) {
                let call = call(device, 1);
                events.extend([call.opened(1, generation, Some(key)), call.state(CallState::Connected)]);
            }
        }
        while !events.is_empty() {
            gateway.script.say(events.drain(..events.len().min(1 + at % 5)).collect()).await;
        }
        for app in &mut apps {
            app.read(2 * KEYED as u64).await;
        }
        trail.heal();
        found_out += trail.refused();
        apps.iter().for_each(App::check_records);
        assert!(apps[2].unauthorized == 2 * KEYED && apps[2].keys == 0);
        for app in &apps[..2] {
            assert_eq!(app.keys + app.unrecordable, 2 * KEYED);
            (with, without) = (with + app.keys, without + app.unrecordable);
        }
        drop(apps);
        if at == 50 {
            // Its search is for all.
            gateway.finish().await;
        } else {
            gateway.gateway.stop().await;
        }
    }
    assert!(with > 500 && without > 100, "{with} keys, {without} without");
    assert!(found_out > 5, "{found_out} times the trail closed when a key was to leave");
}

#[tokio::test]
async fn r17_r21_a_stream_stays_as_it_was_told_until_its_next_event() {
    let trail = Arc::new(TestTrail::default());
    let gateway = TestGateway::start_recorded(USERS, "", Arc::clone(&trail) as Arc<dyn Trail>).await;
    let mut app = App::open(&gateway, &trail, "recorder", "1").await;
    let (call, key) = (call("1001", 1), fresh_key());
    trail.close();
    gateway.script.say(vec![call.opened(1, 1, Some(&key))]).await;
    let told = app.client.next_media_opened().await;
    assert_eq!((told.reason(), told.generation), (UnavailableReason::AuditUnavailable, 1));
    assert_eq!(trail.refused(), 0, "it knew before");

    // Healing brings nothing by itself; what comes is judged anew, the same generation too.
    trail.heal();
    gateway.script.say(vec![call.stopped(1, 1, StopCause::Hold), call.opened(1, 1, Some(&key))]).await;
    let event = app.client.next_event().await;
    assert!(matches!(event.body, Some(event::Body::MediaStopped(_))), "{event:?}");
    let told = app.client.next_media_opened().await;
    app.take(&told);
    assert_eq!((told.generation, app.keys), (1, 1));
    assert_eq!(app.count(Kind::KeyRefused, |_| true), 1);
    gateway.finish().await;
}

#[tokio::test]
async fn r21_while_nothing_can_be_recorded_sessions_open_and_close_and_rights_are_taken() {
    let trail = Arc::new(TestTrail::default());
    let mut gateway = TestGateway::start_recorded(USERS, "", Arc::clone(&trail) as Arc<dyn Trail>).await;
    let mut app = App::open(&gateway, &trail, "recorder", "1").await;
    trail.close();
    let mut late = App::open(&gateway, &trail, "recorder", "2").await;
    let without: Vec<_> = USERS
        .iter()
        .skip(1)
        .map(|user| TestUser { name: user.name, groups: user.groups, devices: user.devices })
        .collect();
    let reloaded = gateway.reload(gateway.config(&without, "")).await;
    assert_eq!(reloaded.effect.closed, 2);
    for app in [&mut app, &mut late] {
        assert_eq!(app.client.closed().await, Some(ErrorCode::CtiNotEnabled));
        assert_eq!(app.count(Kind::Closed, |_| true), 0, "not on record yet");
    }
    trail.heal();
    for app in [&app, &late] {
        assert_eq!((app.count(Kind::Opened, |_| true), app.count(Kind::Closed, |_| true)), (1, 1));
    }
    gateway.finish().await;
}

#[tokio::test]
async fn r21_keys_that_are_on_record_and_wait_leave_though_the_trail_is_closed_or_are_withheld() {
    const EVENTS: usize = 3000;
    let head = "[limits]\nworkers = 1\nqueued_bytes_per_session = 67108864\n";
    let trail = Arc::new(TestTrail::default());
    let mut gateway = TestGateway::start_recorded(USERS, head, Arc::clone(&trail) as Arc<dyn Trail>).await;
    let mut narrow = RawClient::tls_narrow(gateway.tls(), gateway.tls_client("recorder", "1")).await;
    let session = narrow.open("recorder", "1").await.unwrap().session;
    narrow.monitor("1001").await;
    let (call, key) = (call("1001", 1), fresh_key());
    let flood = async || {
        for _ in 0..EVENTS / 100 {
            gateway.script.say((0..100).map(|_| call.opened(1, 1, Some(&key))).collect()).await;
        }
        // All have passed the hub when this is done, and the worker when a witness has its answer.
        gateway.gateway.flush().await;
        let mut witness = RawClient::tls(gateway.tls(), gateway.tls_client("recorder", "2")).await;
        witness.open("recorder", "2").await.unwrap();
        witness.monitor("1001").await;
        witness.send(to_gateway::Message::Close(v1::Close { reason: None })).await;
        witness.closed().await;
    };
    flood().await;
    trail.close();
    flood().await;
    // Its user loses the group: what waits is judged again.
    let users: Vec<_> = USERS
        .iter()
        .map(|user| TestUser { name: user.name, groups: common::SECURE, devices: user.devices })
        .take(1)
        .collect();
    let reloaded = gateway.reload(gateway.config(&users, head)).await;
    assert!(reloaded.effect.withheld > 0, "{reloaded:?}");

    let (mut keys, mut unrecordable, mut unauthorized) = (0, 0, 0);
    for _ in 0..2 * EVENTS {
        let opened = narrow
            .wait_for(|message| match message {
                to_app::Message::Event(v1::Event { body: Some(event::Body::MediaOpened(opened)), .. }) => Some(opened),
                _ => None,
            })
            .await;
        match (opened.indicator(), opened.reason()) {
            (Indicator::KeysAvailable, _) => keys += 1,
            (_, UnavailableReason::AuditUnavailable) => unrecordable += 1,
            (Indicator::UserNotAuthorized, _) => unauthorized += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((keys + unauthorized, unrecordable), (EVENTS, EVENTS));
    assert_eq!(unauthorized, reloaded.effect.withheld);
    trail.heal();
    let of = |kind| trail.records().iter().filter(|kept| kept.kind == kind && kept.names(&session)).count();
    assert_eq!((of(Kind::Disclosed), of(Kind::Withheld)), (EVENTS, unauthorized));
    assert_eq!(of(Kind::KeyRefused), EVENTS, "each refusal waited");
    gateway.finish().await;
}
