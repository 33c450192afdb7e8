//! What users need to open a session besides their groups: that they aren't locked, and on the TLS door a password if it is asked for.

use callgate_sdk::client::{Connector, Events, Identity, OpenError, Roots, Session};
use callgate_wire::v1::ErrorCode;
use serde_json::{Value, json};

use crate::{
    common::{PASSWORD, USERS, raw::RawClient},
    rig::Rig,
};

/// Writes the recorder with something different.
pub(crate) async fn put(rig: &Rig, what: &str, is: bool) -> Value {
    let read = rig.get("/v1/users/recorder").await;
    let mut user = read.ok(200);
    for shown in ["name", "associated", "has_password"] {
        user.as_object_mut().unwrap().remove(shown);
    }
    user[what] = is.into();
    let put = rig.put("/v1/users/recorder", read.etag(), user).await.ok(200);
    assert_eq!(put["item"][what], is);
    put["done"].clone()
}

/// A session of the recorder by a certificate of its own, and by a password if there is one.
async fn open(rig: &Rig, instance: &str, password: Option<&str>) -> Result<(Session, Events), OpenError> {
    let issued = rig.issue("recorder", instance).await;
    let identity = Identity::from_pem(issued.certificate_pem.as_bytes(), issued.key_pem.as_bytes()).unwrap();
    let roots = Roots::from_file(rig.folder.path().join("ca.pem")).unwrap();
    let address = rig.gateway.tls_address().unwrap().to_string();
    let connector = Connector::tls(address, "localhost", identity, roots);
    let connector = match password {
        Some(password) => connector.password(password),
        None => connector,
    };
    connector.open("recorder", instance).await
}

fn refused(opened: Result<(Session, Events), OpenError>) -> ErrorCode {
    match opened {
        Err(OpenError::Refused(refusal)) => refusal.code().unwrap(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
}

#[tokio::test]
async fn r14_r15_who_is_locked_is_closed_at_once_and_opens_on_no_door() {
    let rig = Rig::start(USERS, "").await;
    let mut session = rig.session("recorder", "1").await;
    let mut other = rig.session("viewer", "1").await;
    let done = put(&rig, "locked", true).await;
    assert_eq!((&done["effect"]["closed"], session.closed().await), (&1.into(), Some(ErrorCode::AuthenticationFailed)));
    assert_eq!(refused(open(&rig, "2", None).await), ErrorCode::AuthenticationFailed);
    assert_eq!(refused(open(&rig, "3", Some(PASSWORD)).await), ErrorCode::AuthenticationFailed);
    // Whether its door is the right one is no more told than that it is locked.
    let mut clear = RawClient::clear(rig.gateway.clear_address().unwrap()).await;
    assert_eq!(clear.open_scram("recorder", "1", PASSWORD).await.err(), Some(ErrorCode::AuthenticationFailed));
    other.monitor("1001").await;

    // Whoever doesn't know of the lock can't take it away.
    let read = rig.get("/v1/users/recorder").await;
    let old = json!({ "kind": "application", "description": "", "groups": [], "own_groups": [], "devices": [], "patterns": [] });
    assert_eq!(rig.put("/v1/users/recorder", read.etag(), old).await.status, 422);
    assert_eq!(rig.get("/v1/users/recorder").await.ok(200)["locked"], true);

    let explained = rig.get("/v1/explain?user=recorder&device=1001").await.ok(200);
    let said = explained["doors"][0]["opening"].as_array().unwrap();
    let locked = said.iter().find(|said| said["rule"] == "R14").unwrap();
    assert_eq!((&locked["holds"], &locked["mend"]), (&false.into(), &"callgate user unlock recorder".into()));

    put(&rig, "locked", false).await;
    open(&rig, "4", None).await.unwrap();
    let explained = rig.get("/v1/explain?user=recorder&device=1001&instance=nobody").await.ok(200);
    let notes = explained["notes"].to_string();
    assert!(notes.contains("another instance of the user has a certificate that counts: --instance 1"), "{notes}");
    rig.finish().await;
}

#[tokio::test]
async fn r14_r15_a_password_that_is_asked_for_besides_the_certificate_is_asked_for_at_once() {
    let rig = Rig::start(USERS, "").await;
    let mut without = rig.session("recorder", "1").await;
    let (with, _events) = open(&rig, "2", Some(PASSWORD)).await.unwrap();
    with.devices("").await.unwrap();
    let done = put(&rig, "password_on_tls", true).await;
    assert_eq!((&done["effect"]["closed"], without.closed().await), (&1.into(), Some(ErrorCode::PasswordRequired)));
    with.devices("").await.unwrap();
    assert_eq!(refused(open(&rig, "3", None).await), ErrorCode::PasswordRequired);
    assert_eq!(refused(open(&rig, "4", Some("wrong one")).await), ErrorCode::AuthenticationFailed);
    open(&rig, "5", Some(PASSWORD)).await.unwrap();

    // Without a password there is none that opens.
    rig.delete("/v1/users/recorder/password").await.ok(200);
    assert_eq!(refused(open(&rig, "6", Some(PASSWORD)).await), ErrorCode::AuthenticationFailed);
    let explained = rig.get("/v1/explain?user=recorder&device=1001").await.ok(200);
    let said = explained["doors"][0]["opening"].as_array().unwrap();
    let not_met: Vec<_> = said.iter().filter(|said| said["holds"] == false).map(|said| &said["mend"]).collect();
    assert_eq!(json!(not_met), json!(["callgate user set recorder --password"]));
    put(&rig, "password_on_tls", false).await;
    open(&rig, "7", None).await.unwrap();
    rig.finish().await;
}
