//! New settings are on record before anybody gets something by them, and what they take away waits for nothing (R21).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{fs, path::Path, sync::Arc};

use callgate::{
    admin::Journal,
    audit::Kind,
    config::Config,
    gateway::{Served, StartError, administration},
    trust::{Ca, Ledger, Validity, init},
};
use callgate_wire::v1::ErrorCode;
use common::{PASSWORD, TestGateway, USERS, config_text, raw::RawClient, tls_client, trail::TestTrail};
use time::OffsetDateTime;

/// What of administration is on record, as "verb detail outcome".
fn recorded(trail: &TestTrail) -> Vec<String> {
    let records = trail.records().into_iter().filter(|record| record.kind == Kind::Administration);
    records.map(|record| ["verb", "detail", "outcome"].map(|name| record.field(name).to_owned()).join(" ")).collect()
}

const LENIENT: &str = "lenient_doors = true\n";
const NON_SECURE: &str = "mode = \"non-secure\"\n";

#[tokio::test]
async fn r21_new_settings_are_on_record_and_the_same_ones_are_no_change() {
    let trail = Arc::new(TestTrail::default());
    let mut gateway = TestGateway::start_recorded(USERS, "", trail.clone()).await;
    gateway.reload(gateway.config(USERS, "")).await;
    assert_eq!(recorded(&trail), [""; 0]);
    gateway.reload(gateway.config(USERS, LENIENT)).await;
    gateway.reload(gateway.config(USERS, &format!("{LENIENT}{NON_SECURE}"))).await;
    assert_eq!(
        recorded(&trail),
        [
            "reload lenient_doors false to true begun",
            "reload lenient_doors false to true done",
            "reload mode mixed to non-secure begun",
            "reload mode mixed to non-secure done",
        ]
    );
    gateway.finish().await;
}

#[tokio::test]
async fn r21_while_nothing_can_be_recorded_settings_only_take_away() {
    let trail = Arc::new(TestTrail::default());
    let mut gateway = TestGateway::start_recorded(USERS, LENIENT, trail.clone()).await;
    trail.close();
    // Somebody more could connect, and somebody less.
    let wider = format!("{LENIENT}door_networks = [\"127.0.0.0/8\"]\n");
    gateway.reload(gateway.config(USERS, &wider)).await;
    let refused = gateway.gateway.reload(gateway.config(USERS, LENIENT)).await.err().expect("it grants");
    assert!(matches!(refused, StartError::NotRecorded(_)), "{refused}");
    assert!(refused.to_string().contains("AUDIT_UNAVAILABLE (815)"), "{refused}");
    gateway.reload(gateway.config(USERS, "door_networks = [\"127.0.0.0/8\"]\n")).await;
    let mut session = RawClient::tls(gateway.tls(), gateway.tls_client("recorder", "1")).await;
    session.open("recorder", "1").await.unwrap();

    // The old settings, and of the new ones only the mode.
    let reloaded = gateway.reload(gateway.config(USERS, &format!("{LENIENT}{NON_SECURE}"))).await;
    assert!(reloaded.only_mode && reloaded.effect.closed == 1, "{reloaded:?}");
    assert_eq!(session.closed().await, Some(ErrorCode::ModeNonSecure));
    assert!(tokio::net::TcpStream::connect(gateway.tls()).await.is_err());
    assert!(gateway.gateway.reload(gateway.config(USERS, "")).await.is_err(), "mixed again");
    assert_eq!(recorded(&trail), [""; 0]);

    trail.heal();
    let refused = |what: &str| vec![format!("reload {what} failed")];
    let taken = |what: &str| ["begun", "done"].map(|outcome| format!("reload {what} {outcome}")).to_vec();
    let networks = "door_networks [127.0.0.0/8] to []";
    let expected = [
        taken("door_networks [] to [127.0.0.0/8]"),
        refused(networks),
        taken("lenient_doors true to false"),
        refused(&format!("mode mixed to non-secure, lenient_doors false to true, {networks}")),
        taken("mode mixed to non-secure"),
        refused(&format!("mode non-secure to mixed, {networks}")),
    ]
    .concat();
    assert_eq!(recorded(&trail), expected);
    gateway.reload(gateway.config(USERS, "")).await;
    assert!(recorded(&trail).last().unwrap().starts_with("reload mode non-secure to mixed, door_networks"));
    let mut clear = RawClient::clear(gateway.clear()).await;
    clear.open_scram("dashboard", "1", PASSWORD).await.unwrap();
    gateway.finish().await;
}

fn config(folder: &Path, head: &str) -> Config {
    let config = format!(
        "{head}[metrics]\nlisten = \"closed\"\n[admin]\nlisten = \"closed\"\n[doors]\nclear = \"127.0.0.1:0\"\ntls = \"127.0.0.1:0\"\n"
    );
    let config = config_text(USERS, &config);
    Config::parse(&config, "test.toml", folder, std::iter::empty()).unwrap()
}

#[tokio::test]
async fn r21_non_secure_mode_waits_for_no_certificate_that_cannot_be_recorded() {
    common::leaks::watch_logs();
    let folder = tempfile::tempdir().unwrap();
    let now = OffsetDateTime::now_utc();
    init(folder.path(), &Default::default(), now).unwrap();
    let path = |name: &str| folder.path().join(name);
    let issue = |instance: &str| {
        let ca = Ca::load(&path("ca.pem"), &path("ca.key")).unwrap();
        let ledger = Ledger::open(path("ledger.jsonl")).unwrap();
        let validity = Validity::days(now, 30).unwrap();
        ca.issue_app(&"recorder".parse().unwrap(), &instance.parse().unwrap(), validity, now, &ledger).unwrap()
    };
    let issued = issue("1");
    let trail = Arc::new(TestTrail::default());
    let first = config(folder.path(), "");
    let administration = administration(&first, trail.clone() as Arc<dyn Journal>).await.unwrap();
    let mut gateway = Served::start(first, administration, trail.clone(), None).await.unwrap();
    let start = recorded(&trail).pop().unwrap();
    assert!(start.starts_with("start mode mixed, lenient_doors false, ") && start.ends_with(" done"), "{start}");
    let tls = gateway.tls_address().unwrap();
    let ca = fs::read_to_string(path("ca.pem")).unwrap();
    let mut session = RawClient::tls(tls, tls_client(&ca, &issued.certificate_pem, &issued.key_pem)).await;
    session.open("recorder", "1").await.unwrap();

    issue("2");
    trail.close();
    assert!(gateway.reload(config(folder.path(), "")).await.is_err(), "the certificate would count");
    let taken = gateway.reload(config(folder.path(), NON_SECURE)).await.unwrap().acknowledged().await.unwrap();
    assert_eq!((taken.effect.closed, taken.only_mode), (1, false));
    assert_eq!(session.closed().await, Some(ErrorCode::ModeNonSecure));
    trail.heal();
    assert_eq!(recorded(&trail).pop().unwrap(), "reload mode mixed to non-secure done");
    gateway.stop().await;
    common::leaks::assert_no_key_in_logs();
}
