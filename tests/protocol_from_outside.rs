//! The protocol from outside: a client written from the `.proto`, the docs and the RFCs alone opens, lists, monitors and
//! reads keys. It uses neither the SDK nor `callgate-wire`; the gateway is real, and its switch says what the test wants.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;
mod outside;

use std::time::{Duration, Instant};

use callgate::model::{CallState, StopCause};
use common::{
    PASSWORD, TestGateway, USERS,
    scripted::{call, fresh_key},
    tls_client_by,
};
use outside::{Client, quoted, scram::Scram};

/// Numbers of `cti.proto`.
const EVENT_CLASS_MEDIA: u64 = 4;
const INDICATOR_USER_NOT_AUTHORIZED: u64 = 2;
const INDICATOR_KEYS_AVAILABLE: u64 = 4;
const STOP_CAUSE_HOLD: u64 = 1;
const UNKNOWN_REQUEST: u64 = 104;
const AUTHENTICATION_FAILED: u64 = 200;
const CERTIFICATE_IDENTITY_MISMATCH: u64 = 204;
const AUTHENTICATION_METHOD_REFUSED: u64 = 208;
const DEVICE_UNKNOWN: u64 = 400;
const CLOSED_BY_APP: u64 = 601;

const HELLO: &str = r#"hello { versions { major: 1 } software: "outsider 1.0" }"#;

async fn open_by_certificate(gateway: &TestGateway) -> Client {
    let mut client = Client::tls(gateway.tls(), gateway.tls_client("recorder", "outside1")).await;
    let welcome = client.ask(HELLO, "welcome").await;
    assert_eq!((welcome.number("welcome.version.major"), welcome.number("welcome.version.minor")), (1, 0));
    let open = r#"open { user: "recorder" instance: "outside1" certificate {} }"#;
    let result = client.ask(open, "open_result").await;
    assert_eq!(result.number("open_result.opened.device_count"), 2);
    assert!(result.number("open_result.opened.certificate_expires_unix_seconds") > 1_700_000_000);
    client
}

/// Opens by SCRAM, and returns the last answer and the signature that it must hold.
async fn open_by_password(client: &mut Client, password: &str) -> (outside::Received, String) {
    client.ask(HELLO, "welcome").await;
    let scram = Scram::new("dashboard", "fyko+d2lbbFgONRv9qkxdawL");
    let first = quoted(scram.client_first().as_bytes());
    let scram_auth = format!(r#"scram {{ mechanism: "SCRAM-SHA-256" initial_response: {first} }}"#);
    let open = format!(r#"open {{ user: "dashboard" instance: "wall" heartbeat_seconds: 1 {scram_auth} }}"#);
    let challenge = client.ask(&open, "auth_challenge").await;
    let server_first = String::from_utf8(challenge.bytes("auth_challenge.data")).unwrap();
    let proof = scram.prove(password, &server_first);
    let response = format!("auth_response {{ data: {} }}", quoted(proof.client_final.as_bytes()));
    (client.ask(&response, "open_result").await, proof.server_final)
}

/// The same on the TLS door, beside the certificate: `change` what the exchange is bound to, and the mechanism.
async fn open_by_both(
    client: &mut Client,
    (user, password): (&str, &str),
    mechanism: &str,
    change: impl Fn([u8; 32]) -> [u8; 32],
) -> (outside::Received, String) {
    client.ask(HELLO, "welcome").await;
    let scram = match mechanism {
        "SCRAM-SHA-256-PLUS" => Scram::bound(user, "fyko+d2lbbFgONRv9qkxdawL", change(client.exported.unwrap())),
        _ => Scram::new(user, "fyko+d2lbbFgONRv9qkxdawL"),
    };
    let first = quoted(scram.client_first().as_bytes());
    let scram_auth = format!(r#"scram {{ mechanism: "{mechanism}" initial_response: {first} }}"#);
    client.send(&format!(r#"open {{ user: "{user}" instance: "outside1" {scram_auth} }}"#)).await;
    let answer = client.next().await.unwrap();
    if answer.kind() == "open_result" {
        return (answer, String::new());
    }
    let server_first = String::from_utf8(answer.bytes("auth_challenge.data")).unwrap();
    let proof = scram.prove(password, &server_first);
    let response = format!("auth_response {{ data: {} }}", quoted(proof.client_final.as_bytes()));
    (client.ask(&response, "open_result").await, proof.server_final)
}

async fn close(mut client: Client) {
    client.send("close {}").await;
    loop {
        let message = client.next().await.expect("no Close");
        if message.kind() == "close" {
            assert_eq!(message.number("close.reason.code"), CLOSED_BY_APP);
            break;
        }
    }
    assert!(client.next().await.is_none(), "something follows Close");
}

#[tokio::test]
async fn r16_a_client_written_from_the_proto_opens_by_certificate_and_reads_a_key() {
    let gateway = TestGateway::start().await;
    let key = fresh_key();
    let mut client = open_by_certificate(&gateway).await;

    let list = client.ask("list_devices { page_size: 1 }", "device_list").await;
    assert_eq!(list.text("device_list.devices.0.name"), "1001");
    assert_eq!(list.number("device_list.devices.0.lines.0.line"), 1);
    let token = list.text("device_list.next_page_token");
    let rest = client.ask(&format!("list_devices {{ page_token: {token:?} }}"), "device_list").await;
    assert_eq!(rest.text("device_list.devices.0.name"), "1002");
    assert_eq!(rest.text("device_list.next_page_token"), "");

    let monitored = client.ask(r#"monitor { device: "1001" }"#, "monitored").await;
    assert_eq!(monitored.at("monitored.classes").as_list().unwrap().len(), 2);
    assert_eq!(monitored.number("monitored.snapshot.number"), 0);
    let refusal = client.ask(r#"monitor { device: "nobody" }"#, "refusal").await;
    assert_eq!(refusal.number("refusal.error.code"), DEVICE_UNKNOWN);
    assert!(!refusal.text("refusal.error.mend").is_empty());

    let call = call("1001", 1);
    gateway.script.say(vec![call.state(CallState::Connected), call.opened(1, 1, Some(&key))]).await;
    let connected = client.expect("event").await;
    assert_eq!((connected.number("reply_to"), connected.number("event.number")), (0, 1));
    assert!(connected.has("event.call_state"));
    let opened = client.expect("event").await;
    assert_eq!(opened.text("event.device"), "1001");
    assert_eq!(opened.number("event.class"), EVENT_CLASS_MEDIA);
    assert_eq!((opened.number("event.number"), opened.number("event.class_number")), (2, 1));
    assert_eq!(opened.number("event.media_opened.indicator"), INDICATOR_KEYS_AVAILABLE);
    assert_eq!(opened.text("event.media_opened.suite"), "AES_CM_128_HMAC_SHA1_80");
    let received = ["key", "salt"].map(|part| opened.bytes(&format!("event.media_opened.keys.keys.0.{part}")));
    assert_eq!(received.each_ref().map(Vec::len), [16, 14]);
    assert!(received.concat() == key, "the key is another one");

    // R22: after a hold the same generation goes on, and its event says so.
    gateway.script.say(vec![call.stopped(1, 1, StopCause::Hold), call.opened(1, 1, Some(&key))]).await;
    assert_eq!(client.expect("event").await.number("event.media_stopped.cause"), STOP_CAUSE_HOLD);
    let resumed = client.expect("event").await;
    assert_eq!(resumed.text("event.media_opened.stream"), opened.text("event.media_opened.stream"));
    assert_eq!(resumed.number("event.media_opened.generation"), 1);

    let snapshot = client.ask(r#"snapshot { device: "1001" }"#, "snapshot").await;
    assert_eq!(snapshot.number("snapshot.number"), 4);
    let unmonitored = client.ask(r#"unmonitor { device: "1001" }"#, "unmonitored").await;
    assert!(unmonitored.at("unmonitored.classes").as_list().unwrap().is_empty());
    close(client).await;
    gateway.finish().await;
}

#[tokio::test]
async fn r14_scram_by_hand_opens_the_clear_door_and_the_gateway_proves_itself() {
    let gateway = TestGateway::start().await;
    let key = fresh_key();
    let mut client = Client::clear(gateway.clear()).await;
    let (result, server_final) = open_by_password(&mut client, PASSWORD).await;
    assert_eq!(result.bytes("open_result.opened.scram_server_final"), server_final.as_bytes());
    assert_eq!(result.number("open_result.opened.certificate_expires_unix_seconds"), 0);

    client.ask(r#"monitor { device: "1001" classes: EVENT_CLASS_MEDIA }"#, "monitored").await;
    gateway.script.say(vec![call("1001", 1).opened(1, 1, Some(&key))]).await;
    let opened = client.expect("event").await;
    assert_eq!(opened.number("event.media_opened.indicator"), INDICATOR_USER_NOT_AUTHORIZED);
    assert!(!opened.has("event.media_opened.keys"));
    close(client).await;
    gateway.finish().await;
}

#[tokio::test]
async fn r14_a_wrong_password_is_refused_without_a_signature() {
    let gateway = TestGateway::start().await;
    let mut client = Client::clear(gateway.clear()).await;
    let (result, _) = open_by_password(&mut client, "wrong").await;
    assert_eq!(result.number("open_result.refused.code"), AUTHENTICATION_FAILED);
    assert!(!result.has("open_result.opened"));
    assert!(client.next().await.is_none(), "something follows the refusal");
    gateway.finish().await;
}

#[tokio::test]
async fn r14_scram_plus_by_hand_opens_the_tls_door_beside_the_certificate_and_only_on_its_own_connection() {
    const PLUS: &str = "SCRAM-SHA-256-PLUS";
    let gateway = TestGateway::start().await;
    for versions in [&[&rustls::version::TLS13][..], &[&rustls::version::TLS12]] {
        let connect = async || {
            let issued = gateway.issue("recorder", "outside1");
            let config = tls_client_by(&gateway.ca_pem(), &issued.certificate_pem, &issued.key_pem, versions);
            Client::tls(gateway.tls(), config).await
        };
        let mut client = connect().await;
        let (result, server_final) = open_by_both(&mut client, ("recorder", PASSWORD), PLUS, |bound| bound).await;
        assert_eq!(result.bytes("open_result.opened.scram_server_final"), server_final.as_bytes());
        assert!(result.number("open_result.opened.certificate_expires_unix_seconds") > 1_700_000_000);
        close(client).await;

        for (user, mechanism, password, other, code) in [
            ("recorder", PLUS, "wrong", false, AUTHENTICATION_FAILED),
            // Who is in the middle has another connection to each side.
            ("recorder", PLUS, PASSWORD, true, AUTHENTICATION_FAILED),
            ("recorder", "SCRAM-SHA-256", PASSWORD, false, AUTHENTICATION_METHOD_REFUSED),
            // Nobody tries other users' passwords by a certificate of its own, not even a right one.
            ("viewer", PLUS, PASSWORD, false, CERTIFICATE_IDENTITY_MISMATCH),
        ] {
            let mut client = connect().await;
            let change = |bound: [u8; 32]| if other { bound.map(|byte| !byte) } else { bound };
            let (result, _) = open_by_both(&mut client, (user, password), mechanism, change).await;
            assert_eq!(result.number("open_result.refused.code"), code, "{user} {mechanism} {password}");
        }
    }
    gateway.finish().await;
}

#[tokio::test]
async fn r39_heartbeats_keep_a_session_open() {
    let head = "[heartbeat]\ndefault_seconds = 1\nmin_seconds = 1\nmax_seconds = 10\n";
    let gateway = TestGateway::start_with(USERS, head).await;
    let mut client = Client::clear(gateway.clear()).await;
    let (result, _) = open_by_password(&mut client, PASSWORD).await;
    assert_eq!(result.number("open_result.opened.heartbeat_seconds"), 1);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(2500) {
        client.expect("heartbeat").await;
        client.send("heartbeat {}").await;
    }
    close(client).await;
    gateway.finish().await;
}

#[tokio::test]
async fn what_a_later_version_adds_is_skipped_or_refused_by_name() {
    let gateway = TestGateway::start().await;
    let mut client = open_by_certificate(&gateway).await;
    // request_id 77, then field 1000 (a message), which no version has.
    client.send_body(&[0x08, 77, 0xc2, 0x3e, 0]).await;
    let refusal = client.expect("refusal").await;
    assert_eq!((refusal.number("reply_to"), refusal.number("refusal.error.code")), (77, UNKNOWN_REQUEST));
    // The same unknown field beside a message that is known: request_id 78, snapshot of 1001.
    client.send_body(b"\x08\x4e\xc2\x3e\x00\x42\x06\x0a\x041001").await;
    assert_eq!(client.expect("snapshot").await.number("reply_to"), 78);
    gateway.finish().await;
}

#[test]
fn r14_scram_by_hand_gives_the_example_of_rfc_7677() {
    let scram = Scram::new("user", "rOprNGfwEbeRWgbNEkqO");
    assert_eq!(scram.client_first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
    let server_first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    let proof = scram.prove("pencil", server_first);
    assert!(proof.client_final.ends_with(",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="));
    assert_eq!(proof.server_final, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
}
