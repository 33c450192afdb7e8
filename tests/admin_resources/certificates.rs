//! The ledger: what is listed, imported and revoked, which session that closes, and the CRL.

use std::{fs, path::Path};

use callgate::trust::{Ca, Issued, Ledger, Validity, records_of_file};
use callgate_wire::v1::ErrorCode;
use rustls::AlertDescription;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use x509_parser::{prelude::FromDer, revocation_list::CertificateRevocationList};

use crate::{
    common::{USERS, alert},
    rig::Rig,
};

const OTHER_CA: &str = "[tls]\nclient_ca = \"clients.pem\"\nclient_crl = [\"other.crl\"]\n";
const OWN_CA: &str = "[tls]\nown_ca = \"ca.pem\"\nown_ca_key = \"ca.key\"\n";

fn path_of(issued: &Issued) -> String {
    format!("/v1/certificates/{}", hex(&issued.sha256))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Another CA, which the gateway takes certificates of, and its CRL.
fn other_ca(folder: &Path) -> Ca {
    let now = OffsetDateTime::now_utc();
    let ca = Ca::make("Other CA", Validity::days(now, 100).unwrap()).unwrap();
    let own = fs::read_to_string(folder.join("ca.pem")).unwrap();
    fs::write(folder.join("clients.pem"), own + ca.certificate_pem()).unwrap();
    fs::write(folder.join("other.jsonl"), "").unwrap();
    fs::write(folder.join("other.crl"), ca.crl(&[], 1, now, now + Duration::days(9)).unwrap().to_pem()).unwrap();
    ca
}

fn issue(ca: &Ca, folder: &Path, instance: &str) -> Issued {
    let now = OffsetDateTime::now_utc();
    let ledger = Ledger::open(folder.join("other.jsonl")).unwrap();
    let validity = Validity::days(now, 30).unwrap();
    ca.issue_app(&"recorder".parse().unwrap(), &instance.parse().unwrap(), validity, now, &ledger).unwrap()
}

#[tokio::test]
async fn r3_r12_r15_a_revoked_certificate_closes_its_own_session_and_no_other() {
    let rig = Rig::start(USERS, "").await;
    let issued = rig.issue("recorder", "1").await;
    let mut session = rig.session_by(&issued, "recorder", "1").await;
    let mut others = [rig.session("recorder", "2").await, rig.session("viewer", "1").await];
    // An answer says that the session has come to its worker.
    session.monitor("1001").await;
    for other in &mut others {
        other.monitor("1001").await;
    }
    let read = rig.get(&path_of(&issued)).await;
    let certificate = read.ok(200);
    assert_eq!((&certificate["user"], &certificate["state"]), (&json!("recorder"), &json!("valid")));
    assert_eq!((&certificate["origin"], &certificate["crl"]), (&json!("issued"), &Value::Null));

    let revoke = format!("{}/revoke", path_of(&issued));
    for wrong in ["", "  ", "two\nlines", &"x".repeat(513)] {
        let refused = rig.post(&revoke, json!({ "reason": wrong })).await;
        assert_eq!(refused.refused(), (422, "FIELD_INVALID".into()), "{wrong:?}");
    }
    let done = rig.post(&revoke, json!({ "reason": "key compromise: laptop lost" })).await;
    let revoked = done.ok(200);
    assert_eq!((&revoked["item"]["state"], &revoked["done"]["effect"]["closed"]), (&json!("revoked"), &json!(1)));
    assert_eq!(revoked["item"]["revoked"]["reason"], "key compromise: laptop lost");
    assert_ne!(done.etag(), read.etag());
    assert_eq!(session.closed().await, Some(ErrorCode::CertificateRevoked));
    for other in &mut others {
        other.monitor("1002").await;
    }
    let tls = rig.gateway.tls_address().unwrap();
    assert_eq!(alert(tls, rig.client(&issued)).await, AlertDescription::CertificateRevoked);

    // For good: nothing is different by revoking it again.
    let again = rig.post(&revoke, json!({ "reason": "superseded" })).await.ok(200);
    assert_eq!(
        (&again["item"]["revoked"], &again["done"]["effect"]["closed"]),
        (&revoked["item"]["revoked"], &json!(0))
    );
    let unknown = format!("/v1/certificates/{}", "ab".repeat(32));
    assert_eq!(rig.get(&unknown).await.refused(), (404, "NOT_FOUND".into()));
    let nobody = rig.post(&format!("{unknown}/revoke"), json!({ "reason": "x" })).await;
    assert_eq!(nobody.refused(), (404, "NOT_FOUND".into()));
    assert_eq!(rig.get("/v1/certificates/abc").await.refused(), (400, "REQUEST_NOT_UNDERSTOOD".into()));
    rig.finish().await;
}

#[tokio::test]
async fn certificates_come_in_pages_and_by_their_filters() {
    let rig = Rig::start(USERS, "").await;
    for (user, instance) in [("recorder", "1"), ("recorder", "2"), ("viewer", "1"), ("dashboard", "1")] {
        rig.issue(user, instance).await;
    }
    let lost = rig.issue("viewer", "2").await;
    rig.post(&format!("{}/revoke", path_of(&lost)), json!({ "reason": "lost" })).await.ok(200);
    for (filter, count) in [
        ("", 5),
        ("?user=viewer", 2),
        ("?user=recorder&instance=2", 1),
        ("?instance=1", 3),
        ("?state=valid", 4),
        ("?state=revoked", 1),
        ("?state=expired", 0),
        ("?state=not-yet-valid", 0),
        ("?origin=issued", 5),
        ("?origin=imported", 0),
    ] {
        for limit in [1, 2, 500] {
            let list = format!("/v1/certificates{filter}");
            let mut seen = rig.fields(&list, "sha256", limit).await;
            let is_sorted = seen.is_sorted();
            seen.dedup();
            assert_eq!((seen.len(), is_sorted), (count, true), "{list} {limit}");
        }
    }
    assert_eq!(rig.get("/v1/certificates?state=lost").await.refused(), (400, "REQUEST_NOT_UNDERSTOOD".into()));
    rig.finish().await;
}

#[tokio::test]
async fn r11_an_imported_certificate_opens_as_its_user_and_its_crl_counts_as_it_was_said() {
    let mut other = None;
    let rig = Rig::start_in(USERS, OTHER_CA, |folder| other = Some(other_ca(folder))).await;
    let (other, folder) = (other.unwrap(), rig.folder.path());
    let app = issue(&other, folder, "7");
    let body =
        |no_crl: bool| json!({ "user": "recorder", "instance": "7", "pem": app.certificate_pem, "no_crl": no_crl });
    let keyed = [("Idempotency-Key", "import")];
    let made = rig.ask("POST", "/v1/certificates", &keyed, Some(body(false))).await;
    let item = made.ok(201)["item"].clone();
    assert_eq!(made.header("location"), Some(&*path_of(&app)));
    assert_eq!((&item["origin"], &item["state"]), (&json!("imported"), &json!("valid")));
    assert_eq!(item["crl"], json!({ "required": true, "against": null }));
    let again = rig.ask("POST", "/v1/certificates", &keyed, Some(body(false))).await;
    assert_eq!((again.ok(201)["item"].clone(), again.etag()), (item, made.etag()));
    let mut session = rig.session_by(&app, "recorder", "7").await;
    session.monitor("1001").await;

    // Sent again it changes how the CRL counts, and nothing else.
    assert_eq!(rig.post("/v1/certificates", body(false)).await.refused(), (409, "ALREADY_EXISTS".into()));
    let changed = rig.post("/v1/certificates", body(true)).await.ok(200);
    assert_eq!(changed["item"]["crl"]["required"], false);
    let mut theirs = body(true);
    theirs["user"] = "viewer".into();
    assert_eq!(rig.post("/v1/certificates", theirs).await.refused().0, 422, "it names recorder/7");
    session.monitor("1002").await;
    assert_eq!(rig.fields("/v1/certificates?origin=imported", "sha256", 5).await, [hex(&app.sha256)]);

    // What its CA has revoked isn't imported, whatever is said of its CRL.
    let gone = issue(&other, folder, "8");
    let now = OffsetDateTime::now_utc();
    let ledger = Ledger::open(folder.join("other.jsonl")).unwrap();
    let records = records_of_file(&ledger.records().unwrap()).unwrap();
    let revoked = records.values().filter(|record| record.instance.as_str() == "8").map(|r| r.revoked(now, ""));
    let crl = other.crl(&revoked.collect::<Vec<_>>(), 2, now, now + Duration::days(9)).unwrap();
    fs::write(folder.join("other.crl"), crl.to_pem()).unwrap();
    let gone = json!({ "user": "recorder", "instance": "8", "pem": gone.certificate_pem, "no_crl": true });
    assert_eq!(rig.post("/v1/certificates", gone).await.refused(), (422, "CERTIFICATE_REVOKED".into()));
    rig.finish().await;
}

#[tokio::test]
async fn r3_r33a_what_would_not_get_in_is_not_imported_and_no_private_key_is_told_back() {
    let rig = Rig::start(USERS, "").await;
    let now = OffsetDateTime::now_utc();
    let strange = Ca::make("Strange CA", Validity::days(now, 100).unwrap()).unwrap();
    fs::write(rig.folder.path().join("other.jsonl"), "").unwrap();
    let app = issue(&strange, rig.folder.path(), "1");
    let pem = &app.certificate_pem;
    let both = format!("{pem}{}", &*app.key_pem);
    for (user, pem, code) in [
        ("recorder", pem, "CERTIFICATE_UNKNOWN_ISSUER"),
        ("recorder", &strange.certificate_pem().to_owned(), "CERTIFICATE_WRONG_USAGE"),
        ("recorder", &"no certificate".to_owned(), "FIELD_INVALID"),
        ("recorder", &pem.replace('M', "!"), "FIELD_INVALID"),
        ("recorder", &both, "FIELD_INVALID"),
        ("recorder", &"x".repeat(40_000), "FIELD_INVALID"),
        ("a/b", pem, "FIELD_INVALID"),
    ] {
        let refused = rig.post("/v1/certificates", json!({ "user": user, "pem": pem })).await;
        assert_eq!(refused.refused(), (422, code.into()), "{pem}");
        let key = app.key_pem.lines().nth(1).unwrap();
        assert!(!String::from_utf8_lossy(&refused.body).contains(key));
    }
    assert_eq!(rig.fields("/v1/certificates", "sha256", 5).await, [""; 0]);
    // One of the gateway's own CA, whose line in the ledger is lost, can be taken back; but for nobody who isn't there.
    let own = rig.issue("recorder", "1").await;
    let taken = json!({ "user": "recorder", "pem": own.certificate_pem, "no_crl": true });
    assert_eq!(rig.post("/v1/certificates", taken).await.refused(), (409, "ALREADY_EXISTS".into()));
    let ca = Ca::load(&rig.folder.path().join("ca.pem"), &rig.folder.path().join("ca.key")).unwrap();
    let lost = issue(&ca, rig.folder.path(), "5");
    assert_eq!(rig.delete("/v1/users/recorder?cascade=true").await.ok(200)["revoked"], 1);
    let nobody = json!({ "user": "recorder", "instance": "5", "pem": lost.certificate_pem, "no_crl": true });
    assert_eq!(rig.post("/v1/certificates", nobody).await.refused(), (422, "FIELD_INVALID".into()));
    rig.finish().await;
}

#[tokio::test]
async fn r3_the_crl_has_what_was_revoked_at_once_as_der_or_pem() {
    let rig = Rig::start(USERS, OWN_CA).await;
    let (kept, lost) = (rig.issue("recorder", "1").await, rig.issue("recorder", "2").await);
    let read = |der: &[u8]| {
        let (rest, crl) = CertificateRevocationList::from_der(der).unwrap();
        assert!(rest.is_empty());
        let serials: Vec<String> = crl.iter_revoked_certificates().map(|revoked| hex(revoked.raw_serial())).collect();
        (crl.crl_number().unwrap().to_owned(), serials)
    };
    let before = rig.get("/v1/crl").await;
    assert_eq!(before.header("content-type"), Some("application/pkix-crl"));
    let (first, none) = read(&before.body);
    assert_eq!(none, [""; 0]);
    assert_eq!(rig.get("/v1/crl").await.body, before.body, "nothing has changed");

    rig.post(&format!("{}/revoke", path_of(&lost)), json!({ "reason": "superseded" })).await.ok(200);
    let after = rig.get("/v1/crl").await;
    let (second, revoked) = read(&after.body);
    assert!(second > first && revoked.len() == 1);
    let end = |serial: &str| revoked[0].trim_start_matches('0').ends_with(serial.trim_start_matches('0'));
    assert!(end(&lost.serial) && !end(&kept.serial));

    let accept = [("Accept", "text/html, application/x-pem-file;q=0.9")];
    let pem = rig.ask("GET", "/v1/crl", &accept, None).await;
    assert_eq!(pem.header("content-type"), Some("application/x-pem-file"));
    let (_, block) = x509_parser::pem::parse_x509_pem(&pem.body).unwrap();
    assert_eq!((block.label.as_str(), &block.contents), ("X509 CRL", &after.body));
    // Others can check it by the CA's certificate.
    let (_, ca) = x509_parser::pem::parse_x509_pem(&fs::read(rig.folder.path().join("ca.pem")).unwrap()).unwrap();
    let ca = ca.parse_x509().unwrap().public_key().raw.to_vec();
    let (_, key) = x509_parser::x509::SubjectPublicKeyInfo::from_der(&ca).unwrap();
    CertificateRevocationList::from_der(&after.body).unwrap().1.verify_signature(&key).unwrap();

    fs::write(rig.folder.path().join("ca.pem"), "no CA").unwrap();
    let broken = rig.get("/v1/crl").await;
    assert_eq!(broken.refused(), (404, "NOT_CONFIGURED".into()));
    rig.finish().await;
}

#[tokio::test]
async fn without_the_ca_s_key_the_crl_s_problem_names_the_settings() {
    let rig = Rig::start(USERS, "").await;
    let refused = rig.get("/v1/crl").await;
    assert_eq!(refused.refused(), (404, "NOT_CONFIGURED".into()));
    assert!(refused.json()["detail"].as_str().unwrap().contains("tls.own_ca and tls.own_ca_key"));
    rig.finish().await;
}
