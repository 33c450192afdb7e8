//! Settings that change while the gateway runs: what open sessions hear of it, and what `serve` says (R15).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{fs, process::Command, sync::Arc};

use callgate::{
    config::Config,
    directory::ScramVerifier,
    model::{CallRef, CallState},
    trust::{Operation, Record},
};
use callgate_wire::v1::{self, CapabilityChange, ErrorCode, Indicator, event, to_app, to_gateway::Message};
use common::{
    ALL_THREE, CLEAR, PASSWORD, SECURE, TestGateway, TestUser, USERS, leaks,
    raw::RawClient,
    scripted::{call, fresh_key},
    served::{Served, callgate},
    tls_client,
};
use time::OffsetDateTime;
use tokio::net::TcpStream;

const NO_HEAD: &str = "";

fn user(name: &'static str, groups: &'static [callgate::model::Group], devices: &'static [&'static str]) -> TestUser {
    TestUser { name, groups, devices }
}

async fn on_tls(gateway: &TestGateway, user: &str, instance: &str) -> RawClient {
    let mut client = RawClient::tls(gateway.tls(), gateway.tls_client(user, instance)).await;
    client.open(user, instance).await.unwrap();
    settled(client).await
}

async fn on_clear(gateway: &TestGateway, user: &str) -> RawClient {
    let mut client = RawClient::clear(gateway.clear()).await;
    client.open_scram(user, "1", PASSWORD).await.unwrap();
    settled(client).await
}

/// An answer says that the session has come to its worker, so that a change counts it.
async fn settled(mut client: RawClient) -> RawClient {
    client.send(Message::ListDevices(v1::ListDevices { page_size: 1, ..Default::default() })).await;
    client.wait_for(|message| matches!(message, to_app::Message::DeviceList(_)).then_some(())).await;
    client
}

async fn changed(client: &mut RawClient) -> v1::CapabilityChanged {
    client
        .wait_for(|message| match message {
            to_app::Message::CapabilityChanged(changed) => Some(changed),
            _ => None,
        })
        .await
}

async fn out_of_service(client: &mut RawClient) -> v1::DeviceOutOfService {
    client
        .wait_for(|message| match message {
            to_app::Message::DeviceOutOfService(out) => Some(out),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn r15_a_session_is_told_of_its_groups_and_goes_on_by_them() {
    let mut gateway = TestGateway::start().await;
    let mut recorder = on_tls(&gateway, "recorder", "1").await;
    let mut viewer = on_tls(&gateway, "viewer", "1").await;
    recorder.monitor("1001").await;
    viewer.monitor("1001").await;
    let (call, key) = (call("1001", 1), fresh_key());
    gateway.script.say(vec![call.opened(1, 1, Some(&key))]).await;
    assert_eq!(recorder.next_media_opened().await.indicator(), Indicator::KeysAvailable);

    let less = [user("recorder", SECURE, &["1001", "1002"]), user("viewer", ALL_THREE, &["1001", "1002"])];
    let reloaded = gateway.reload(gateway.config(&less, NO_HEAD)).await;
    assert_eq!(
        (reloaded.version, reloaded.effect.sessions, reloaded.effect.changed, reloaded.effect.closed),
        (2, 2, 2, 0)
    );
    let told = changed(&mut recorder).await;
    assert_eq!(told.changes, [CapabilityChange::Groups as i32]);
    assert_eq!((told.keys, told.groups.len(), told.device_count, told.rights_version), (false, 2, 2, 2));
    assert!(changed(&mut viewer).await.keys);

    // The same generation: the recorder may not have it any more, the viewer has monitored it from before.
    gateway.script.say(vec![call.opened(1, 1, Some(&key)), call.opened(1, 2, Some(&fresh_key()))]).await;
    for (client, indicator) in [(&mut recorder, Indicator::UserNotAuthorized), (&mut viewer, Indicator::KeysAvailable)]
    {
        for _ in 0..2 {
            assert_eq!(client.next_media_opened().await.indicator(), indicator);
        }
    }
    gateway.finish().await;
}

#[tokio::test]
async fn r15_what_doesn_t_concern_a_session_is_not_told_to_it() {
    let mut gateway = TestGateway::start().await;
    let mut dashboard = on_clear(&gateway, "dashboard").await;
    let users = [user("recorder", SECURE, &["1001"]), user("dashboard", CLEAR, &["1001", "1002"])];
    let reloaded = gateway.reload(gateway.config(&users, NO_HEAD)).await;
    assert_eq!((reloaded.effect.sessions, reloaded.effect.changed), (1, 0));
    dashboard.send(Message::ListDevices(v1::ListDevices::default())).await;
    assert!(matches!(dashboard.next().await.unwrap().message, Some(to_app::Message::DeviceList(_))));
    gateway.finish().await;
}

#[tokio::test]
async fn r15_who_loses_its_door_is_closed_with_the_code_of_who_may_not_open() {
    let mut gateway = TestGateway::start().await;
    let cases: [(&str, &'static [callgate::model::Group], ErrorCode); 4] = [
        ("recorder", CLEAR, ErrorCode::UserNotAuthorizedForSecurity),
        ("recorder", &[], ErrorCode::CtiNotEnabled),
        ("dashboard", SECURE, ErrorCode::ConnectionOnInvalidPort),
        ("dashboard", &[], ErrorCode::CtiNotEnabled),
    ];
    for (name, groups, code) in cases {
        let mut client = match name {
            "recorder" => on_tls(&gateway, name, "1").await,
            _ => on_clear(&gateway, name).await,
        };
        let mut witness = on_tls(&gateway, "viewer", "1").await;
        let users = USERS
            .iter()
            .map(|known| TestUser { groups: if known.name == name { groups } else { known.groups }, ..*known });
        let reloaded = gateway.reload(gateway.config(&users.collect::<Vec<_>>(), NO_HEAD)).await;
        assert_eq!((reloaded.effect.sessions, reloaded.effect.closed), (1, 1), "{name} {groups:?}");
        assert_eq!(client.closed().await, Some(code));
        witness.monitor("1001").await;
        witness.send(Message::Close(v1::Close { reason: None })).await;
        witness.closed().await;
        gateway.reload(gateway.config(USERS, NO_HEAD)).await;
    }
    // A user that is gone at all.
    let mut client = on_tls(&gateway, "recorder", "1").await;
    gateway.reload(gateway.config(&USERS[1..], NO_HEAD)).await;
    assert_eq!(client.closed().await, Some(ErrorCode::CtiNotEnabled));
    gateway.finish().await;
}

#[tokio::test]
async fn r15_a_revocation_closes_the_sessions_of_that_certificate_and_no_other() {
    let mut gateway = TestGateway::start().await;
    let mut revoked = on_tls(&gateway, "recorder", "1").await;
    let mut other = on_tls(&gateway, "recorder", "2").await;
    let ledger = gateway.ledger();
    let record = ledger.records().unwrap().into_iter().find(|record| record.instance == "1").unwrap();
    assert_eq!(record.op, Operation::Issued);
    ledger.append(&Record::revocation(&record, OffsetDateTime::now_utc(), "lost")).unwrap();
    let same = gateway.config(USERS, NO_HEAD);
    assert_eq!(gateway.reload(same.clone()).await.effect.closed, 1);
    assert_eq!(revoked.closed().await, Some(ErrorCode::CertificateRevoked));
    other.monitor("1001").await;

    // One that was issued since the ledger was read counts, before and after the next reload.
    let mut fresh = on_tls(&gateway, "recorder", "3").await;
    fresh.monitor("1001").await;
    assert_eq!(gateway.reload(same).await.effect.closed, 0);
    fresh.monitor("1001").await;
    gateway.finish().await;
}

#[tokio::test]
async fn r2_r15_the_tls_door_closes_and_opens_with_the_mode() {
    let mut gateway = TestGateway::start().await;
    let mut recorder = on_tls(&gateway, "recorder", "1").await;
    let mut half_open = RawClient::tls(gateway.tls(), gateway.tls_client("viewer", "1")).await;
    half_open.hello().await;
    let mut dashboard = on_clear(&gateway, "dashboard").await;

    let reloaded = gateway.reload(gateway.config(USERS, "mode = \"non-secure\"\n")).await;
    assert_eq!((reloaded.effect.sessions, reloaded.effect.closed, reloaded.after_restart.len()), (1, 1, 0));
    assert_eq!(recorder.closed().await, Some(ErrorCode::ModeNonSecure));
    assert_eq!(half_open.closed().await, None, "who is not open yet is cut off");
    assert_eq!(gateway.gateway.tls_address(), None);
    assert!(TcpStream::connect(gateway.tls()).await.is_err());
    dashboard.monitor("1001").await;

    gateway.reload(gateway.config(USERS, NO_HEAD)).await;
    let config = gateway.tls_client("recorder", "1");
    let mut recorder = RawClient::tls(gateway.gateway.tls_address().unwrap(), config).await;
    recorder.open("recorder", "1").await.unwrap();
    gateway.finish().await;
}

#[tokio::test]
async fn r13_r15_devices_go_out_of_service_and_new_ones_can_be_monitored() {
    let mut gateway = TestGateway::start().await;
    let mut recorder = on_tls(&gateway, "recorder", "1").await;
    recorder.monitor("1001").await;
    recorder.monitor("1002").await;
    let users = [user("recorder", ALL_THREE, &["1002", "1003"]), user("viewer", SECURE, &[])];
    gateway.reload(gateway.config(&users, NO_HEAD)).await;

    let told = changed(&mut recorder).await;
    assert_eq!((told.changes, told.device_count), (vec![CapabilityChange::Devices as i32], 2));
    let out = out_of_service(&mut recorder).await;
    assert_eq!((out.device.as_str(), out.lines.len()), ("1001", 0));
    assert_eq!(out.reason.unwrap().code(), ErrorCode::DeviceOutOfService);

    recorder.monitor("1003").await;
    let events = ["1001", "1002", "1003"].map(|device| call(device, 1).state(CallState::Connected));
    gateway.script.say(events.into()).await;
    assert_eq!(recorder.next_event().await.device, "1002");
    assert_eq!(recorder.next_event().await.device, "1003");
    let request = recorder.send(Message::Snapshot(v1::SnapshotDevice { device: "1001".into() })).await;
    let refused = recorder.next().await.unwrap();
    assert_eq!(refused.reply_to, request);
    assert!(matches!(refused.message, Some(to_app::Message::Refusal(_))));

    // It comes back, and its numbers go on where they are.
    gateway.reload(gateway.config(USERS, NO_HEAD)).await;
    assert_eq!(out_of_service(&mut recorder).await.device, "1003");
    assert_eq!(recorder.monitor("1001").await.snapshot.unwrap().number, 1);
    gateway.finish().await;
}

#[tokio::test]
async fn what_is_wrong_leaves_the_old_settings_in_force() {
    let mut gateway = TestGateway::start().await;
    let mut recorder = on_tls(&gateway, "recorder", "1").await;
    recorder.monitor("1001").await;
    let files = ["gateway.pem", "gateway.key", "ca.pem", "ledger.jsonl"];
    for file in files.map(|file| gateway.folder.path().join(file)) {
        let good = fs::read(&file).unwrap();
        fs::write(&file, "{}\n").unwrap();
        let config = gateway.config(&USERS[1..], NO_HEAD);
        let refused = gateway.gateway.reload(config).await.err().unwrap();
        assert!(refused.to_string().contains(file.to_str().unwrap()), "{refused}");
        fs::write(&file, good).unwrap();
    }
    gateway.script.say(vec![call("1001", 1).opened(1, 1, Some(&fresh_key()))]).await;
    assert_eq!(recorder.next_media_opened().await.indicator(), Indicator::KeysAvailable);
    gateway.finish().await;
}

#[tokio::test]
async fn what_takes_a_restart_is_named_until_there_was_one() {
    let mut gateway = TestGateway::start().await;
    let head = "[heartbeat]\ndefault_seconds = 20\n[limits]\nworkers = 7\n[doors]\nclear = \"closed\"\ntls = \"127.0.0.1:0\"\n";
    for _ in 0..2 {
        let reloaded = gateway.reload(gateway.config(USERS, head)).await;
        assert_eq!(reloaded.after_restart, ["doors.clear", "[heartbeat]", "[limits]"]);
    }
    assert!(gateway.reload(gateway.config(USERS, NO_HEAD)).await.after_restart.is_empty());
    on_clear(&gateway, "dashboard").await;
    gateway.finish().await;
}

#[tokio::test]
async fn r21_a_key_that_was_recorded_and_did_not_leave_is_on_record_as_withheld() {
    let mut gateway = TestGateway::start_with(USERS, "[limits]\nqueued_bytes_per_session = 67108864\n").await;
    let mut slow = RawClient::tls_narrow(gateway.tls(), gateway.tls_client("recorder", "slow")).await;
    slow.open("recorder", "slow").await.unwrap();
    slow.monitor("1002").await;
    let mut witness = on_clear(&gateway, "dashboard").await;
    witness.monitor("1002").await;
    let (call, key) = (call("1002", 5), fresh_key());
    for generation in 1..=320 {
        let mut event = call.opened(6, generation, Some(&key));
        event.call = Arc::new(CallRef { sip_call_id: "x".repeat(16 * 1024), ..(*event.call).clone() });
        gateway.script.say(vec![event]).await;
        witness.next_media_opened().await;
    }
    let without = [user("recorder", SECURE, &["1002"]), user("dashboard", CLEAR, &["1002"])];
    let withheld = gateway.reload(gateway.config(&without, "")).await.effect.withheld;
    assert!(withheld > 0);

    // It hears of those streams all the same, in order.
    let (mut with_key, mut number) = (0, 0);
    while let to_app::Message::Event(event) = slow.next().await.unwrap().message.unwrap() {
        number += 1;
        assert_eq!(event.number, number);
        let Some(event::Body::MediaOpened(opened)) = event.body else { panic!() };
        with_key += usize::from(opened.keys.is_some());
    }
    assert_eq!((number, with_key), (320, 320 - withheld));

    let logs = leaks::logs();
    let records = logs.lines().filter(|line| line.contains("record=\"withheld\"") && line.contains("instance=slow"));
    let records: Vec<_> = records.collect();
    assert_eq!(records.len(), withheld);
    for part in [
        "session=\"s",
        "user=\"recorder\"",
        "door=\"tls\"",
        "device=\"1002\"",
        "call=c0000000000005",
        "stream=m0000000000006",
        "generation=320",
        "suite=\"AES_CM_128_HMAC_SHA1_80\"",
        "indicator=\"USER_NOT_AUTHORIZED\"",
        "code=\"KEYS_USER_NOT_AUTHORIZED\"",
        "rule=\"R16\"",
        "fingerprint=",
    ] {
        assert!(records.last().unwrap().contains(part), "no {part} in {}", records.last().unwrap());
    }
    gateway.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r15_commands_change_rights_and_sighup_the_settings_and_both_say_when_it_is_in_effect() {
    let mut served = Served::start("[doors]\nclear = \"closed\"\ntls = \"127.0.0.1:0\"\n");
    let address = served.log_line("door=\"tls\" address=").parse().unwrap();
    let read = |file: &str| fs::read_to_string(served.folder.path().join(file)).unwrap();
    let config = tls_client(&read("ca.pem"), &read("recorder-1.pem"), &read("recorder-1.key"));
    let mut client = RawClient::tls(address, config).await;
    client.open("recorder", "1").await.unwrap();
    client.monitor("1001").await;

    let good = read("callgate.toml");
    let hang_up = |served: &Served| {
        let pid = served.child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    };
    // Before the call begins, so that all its keys come after the acknowledgement.
    let folder = served.folder.path().to_owned();
    let administer = |arguments: &[&str]| {
        let said = callgate(&folder, &[arguments, &["--folder", "."]].concat()).output().unwrap();
        String::from_utf8(said.stdout).unwrap()
    };
    let said = administer(&["user", "set", "recorder", "--remove-group", "srtp-keys"]);
    assert_eq!(said, "the user \"recorder\" is changed; 1 of 1 session told of it\n");
    assert!(!changed(&mut client).await.keys);
    assert_eq!(client.next_media_opened().await.indicator(), Indicator::UserNotAuthorized);

    // What stands of users in the file has filled the store once, and changes nothing any more.
    fs::write(served.folder.path().join("callgate.toml"), format!("lenient_doors = true\n{good}")).unwrap();
    hang_up(&served);
    assert_eq!(
        served.log_line("rights in effect"),
        "version=3 sessions=1 changed=0 closed=0 withheld=0 settings=\"lenient_doors false to true\""
    );

    fs::write(served.folder.path().join("callgate.toml"), good.replace("kind = \"replay\"", "kind = \"reply\""))
        .unwrap();
    hang_up(&served);
    let line = served.log_line("not taken: the old settings stay in force");
    assert!(line.contains("callgate.toml:") && line.contains("replay"), "{line}");
    assert!(!line.contains("\\n") && !line.contains(" | "), "one line, without the picture: {line}");

    fs::write(folder.join("callgate.toml"), good).unwrap();
    let said = administer(&["cert", "revoke", "--user", "recorder", "--instance", "1", "--reason", "lost"]);
    assert!(said.ends_with(" of recorder/1; 1 session closed\n"), "{said}");
    assert_eq!(client.closed().await, Some(ErrorCode::CertificateRevoked));
    assert_eq!(served.stop().0, Some(0));
}

#[tokio::test]
async fn r15_who_is_being_opened_is_judged_by_the_rights_of_now() {
    let mut gateway = TestGateway::start().await;
    let clear = gateway.clear();
    let without_groups = [user("dashboard", &[], &["1001"])];
    let config = gateway.config(&without_groups, NO_HEAD);
    let mut client = RawClient::clear(clear).await;
    client.hello().await;
    let opened = client.scram_while("dashboard", "1", PASSWORD, async || drop(gateway.reload(config).await)).await;
    assert_eq!(opened.err(), Some(ErrorCode::CtiNotEnabled));

    gateway.reload(gateway.config(USERS, NO_HEAD)).await;
    let config = gateway.config(USERS, "door_networks = [\"192.0.2.0/24\"]\n");
    let mut client = RawClient::clear(clear).await;
    client.hello().await;
    let opened = client.scram_while("dashboard", "1", PASSWORD, async || drop(gateway.reload(config).await)).await;
    assert_eq!(opened.err(), Some(ErrorCode::NetworkNotAllowed));

    // A new password, and one that stays while something else changes.
    gateway.reload(gateway.config(USERS, NO_HEAD)).await;
    let other = ScramVerifier::generate("another", 4096).unwrap().to_line();
    for (password, outcome) in [(None, None), (Some(&*other), Some(ErrorCode::AuthenticationFailed))] {
        let text = common::config_text(USERS, NO_HEAD);
        let line = text.lines().find(|line| line.starts_with("password = ")).unwrap();
        let text = match password {
            Some(other) => text.replace(line, &format!("password = {other:?}")),
            None => text,
        };
        let config = Config::parse(&text, "test.toml", gateway.folder.path(), std::iter::empty()).unwrap();
        let mut client = RawClient::clear(clear).await;
        client.hello().await;
        let opened = client.scram_while("dashboard", "1", PASSWORD, async || drop(gateway.reload(config).await)).await;
        assert_eq!(opened.err(), outcome);
    }
    gateway.finish().await;
}
