//! New settings are on record before anybody gets something by them, and what they take away waits for nothing (R21).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{fs, path::Path, sync::Arc};

use callgate::{
    admin::Journal,
    audit::Kind,
    config::Config,
    gateway::{Served, StartError, administration},
    trust::{Ca, Issued, Ledger, Validity, init},
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
    ]
    .concat();
    let mut recorded_now = recorded(&trail);
    let last = recorded_now.pop().unwrap();
    assert_eq!(recorded_now, expected);
    // Nothing listened for TLS: what is in its files is new.
    let mixed = format!("reload mode non-secure to mixed, {networks}, gateway certificate to ");
    assert!(last.starts_with(&mixed) && last.contains(", +client CA ") && last.ends_with(" failed"), "{last}");
    gateway.reload(gateway.config(USERS, "")).await;
    assert!(recorded(&trail).last().unwrap().starts_with("reload mode non-secure to mixed, door_networks"));
    let mut clear = RawClient::clear(gateway.clear()).await;
    clear.open_scram("dashboard", "1", PASSWORD).await.unwrap();
    gateway.finish().await;
}

fn config(folder: &Path, head: &str, admin: &str) -> Config {
    let config = format!(
        "{head}[metrics]\nlisten = \"closed\"\n[admin]\nlisten = \"{admin}\"\n[doors]\nclear = \"127.0.0.1:0\"\ntls = \"127.0.0.1:0\"\n"
    );
    let config = config_text(USERS, &config);
    Config::parse(&config, "test.toml", folder, std::iter::empty()).unwrap()
}

/// A gateway of the files in `folder`, which are made.
async fn serve(folder: &Path, head: &str, admin: &str, trail: &Arc<TestTrail>) -> Served {
    init(folder, &Default::default(), OffsetDateTime::now_utc()).unwrap();
    let config = config(folder, head, admin);
    let administration = administration(&config, trail.clone() as Arc<dyn Journal>).await.unwrap();
    Served::start(config, administration, trail.clone(), None).await.unwrap()
}

/// A certificate of an app that only the ledger's file knows.
fn issue(folder: &Path, instance: &str) -> Issued {
    let now = OffsetDateTime::now_utc();
    let ca = Ca::load(&folder.join("ca.pem"), &folder.join("ca.key")).unwrap();
    let ledger = Ledger::open(folder.join("ledger.jsonl")).unwrap();
    let validity = Validity::days(now, 30).unwrap();
    ca.issue_app(&"recorder".parse().unwrap(), &instance.parse().unwrap(), validity, now, &ledger).unwrap()
}

#[tokio::test]
async fn r21_non_secure_mode_waits_for_no_certificate_that_cannot_be_recorded() {
    common::leaks::watch_logs();
    let folder = tempfile::tempdir().unwrap();
    let trail = Arc::new(TestTrail::default());
    let mut gateway = serve(folder.path(), "", "closed", &trail).await;
    let start = recorded(&trail).pop().unwrap();
    assert!(start.starts_with("start mode mixed, lenient_doors false, ") && start.ends_with(" done"), "{start}");
    let issued = issue(folder.path(), "1");
    gateway.reload(config(folder.path(), "", "closed")).await.unwrap().acknowledged().await.unwrap();
    let tls = gateway.tls_address().unwrap();
    let ca = fs::read_to_string(folder.path().join("ca.pem")).unwrap();
    let mut session = RawClient::tls(tls, tls_client(&ca, &issued.certificate_pem, &issued.key_pem)).await;
    session.open("recorder", "1").await.unwrap();

    issue(folder.path(), "2");
    trail.close();
    // What the settings take away doesn't wait for the certificate that can't be given.
    let narrow = "door_networks = [\"127.0.0.0/8\"]\n";
    gateway.reload(config(folder.path(), narrow, "closed")).await.unwrap().acknowledged().await.unwrap();
    let non_secure = || config(folder.path(), &format!("{narrow}{NON_SECURE}"), "closed");
    let taken = gateway.reload(non_secure()).await.unwrap().acknowledged().await.unwrap();
    assert_eq!((taken.effect.closed, taken.only_mode), (1, false));
    assert_eq!(session.closed().await, Some(ErrorCode::ModeNonSecure));
    trail.heal();
    let all = recorded(&trail);
    assert!(all.contains(&"reload mode mixed to non-secure done".into()), "{all:?}");
    assert!(!all.iter().any(|record| record.contains("recorder/2") && record.ends_with("done")), "{all:?}");
    gateway.reload(non_secure()).await.unwrap().acknowledged().await.unwrap();
    assert!(recorded(&trail).iter().any(|record| record.contains("recorder/2") && record.ends_with("done")));
    gateway.stop().await;
    common::leaks::assert_no_key_in_logs();
}

/// Its CA decides who may administer by a certificate, with the doors' TLS or without.
#[tokio::test]
async fn r21_a_client_ca_that_only_the_administration_uses_is_on_record_too() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trail = Arc::new(TestTrail::default());
    let mut gateway = serve(folder.path(), NON_SECURE, "127.0.0.1:0", &trail).await;
    let start = recorded(&trail).pop().unwrap();
    assert!(start.contains("gateway certificate "), "{start}");

    init(other.path(), &Default::default(), OffsetDateTime::now_utc()).unwrap();
    let (own, more) = (folder.path().join("ca.pem"), fs::read_to_string(other.path().join("ca.pem")).unwrap());
    let both = fs::read_to_string(&own).unwrap() + &more;
    fs::write(&own, both).unwrap();
    let same = || config(folder.path(), NON_SECURE, "127.0.0.1:0");
    trail.close();
    assert!(matches!(gateway.reload(same()).await.err(), Some(StartError::NotRecorded(_))), "it grants");
    trail.heal();
    assert!(recorded(&trail).pop().unwrap().ends_with(" failed"));
    gateway.reload(same()).await.unwrap().acknowledged().await.unwrap();
    let done = recorded(&trail).pop().unwrap();
    assert!(done.starts_with("reload +client CA ") && done.ends_with(" done"), "{done}");
    gateway.stop().await;
}

/// The administration's TLS goes on by what it read before: what is in the files now can't be recorded.
#[tokio::test]
async fn r21_non_secure_mode_waits_for_no_client_ca_that_cannot_be_recorded() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let trail = Arc::new(TestTrail::default());
    let mut gateway = serve(folder.path(), "", "127.0.0.1:0", &trail).await;
    init(other.path(), &Default::default(), OffsetDateTime::now_utc()).unwrap();
    let both = [&folder, &other].map(|at| fs::read_to_string(at.path().join("ca.pem")).unwrap());
    fs::write(folder.path().join("ca.pem"), both.concat()).unwrap();
    trail.close();
    let non_secure = || config(folder.path(), NON_SECURE, "127.0.0.1:0");
    let taken = gateway.reload(non_secure()).await.unwrap().acknowledged().await.unwrap();
    assert!(taken.only_mode, "{taken:?}");
    assert_eq!(gateway.tls_address(), None);
    assert!(gateway.reload(non_secure()).await.is_err(), "the CA is one for the administration");
    trail.heal();
    let recorded = recorded(&trail);
    assert!(recorded.contains(&"reload mode mixed to non-secure done".into()), "{recorded:?}");
    assert!(
        recorded.last().unwrap().starts_with("reload +client CA ") && recorded.last().unwrap().ends_with(" failed")
    );
    gateway.stop().await;
}

#[tokio::test]
async fn r21_with_mixed_mode_come_the_certificate_and_the_client_cas() {
    let folder = tempfile::tempdir().unwrap();
    let trail = Arc::new(TestTrail::default());
    let mut gateway = serve(folder.path(), NON_SECURE, "closed", &trail).await;
    let start = recorded(&trail).pop().unwrap();
    assert!(!start.contains("certificate") && !start.contains("client CA"), "{start}");
    gateway.reload(config(folder.path(), "", "closed")).await.unwrap().acknowledged().await.unwrap();
    let reload = recorded(&trail).pop().unwrap();
    assert!(reload.starts_with("reload mode non-secure to mixed, gateway certificate to "), "{reload}");
    assert!(reload.contains(", +client CA ") && reload.ends_with(" done"), "{reload}");
    gateway.stop().await;
}
