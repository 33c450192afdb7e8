//! Certificates of other CAs at a whole gateway: what the ledger and the CRL of their CA say counts, also for who has a session
//! already (R3, R11, R15).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use callgate::{
    admin::{Actor, Administration, Seed},
    audit::LogTarget,
    config::Config,
    directory::{Cascade, Change, DeviceRecord, Of},
    gateway::{Gateway, Options},
    hub::Standing,
    model::{InstanceId, UserName},
    store::Memory,
    trust::{
        Ca, CertificateRecord, CrlCheck, Fingerprint, Issued, Ledger, NotAccepted, Operation, Record, TrustError,
        Validity, check_app, init, records_of_file,
    },
};
use callgate_wire::v1::ErrorCode;
use common::{TestGateway, USERS, config_text, leaks, raw::RawClient, tls_client};
use rustls::{AlertDescription, ClientConfig};
use time::{Duration, OffsetDateTime};

const WITHOUT_CA: &str = "";
const WITHOUT_CRL: &str = "[tls]\nclient_ca = \"clients.pem\"\n";
const WITH_CRL: &str = "[tls]\nclient_ca = \"clients.pem\"\nclient_crl = [\"other.crl\"]\n";

#[tokio::test]
async fn r11_a_certificate_of_another_ca_is_imported_only_if_it_would_get_in() {
    let gateway = TestGateway::start().await;
    let other = OtherCa::of(gateway.folder.path());
    let app = other.issue("1");
    let file = PathBuf::from("app.pem");
    let check = |head, instance: &str, crl| {
        let (user, instance): (UserName, InstanceId) = ("recorder".parse().unwrap(), instance.parse().unwrap());
        let files = gateway.config(USERS, head).tls;
        match check_app((&file, &app.certificate_pem), (&user, &instance), crl, &files, other.now) {
            Ok((fingerprint, _)) => Ok(fingerprint.to_hex()),
            Err(TrustError::NotAccepted { why, .. }) => Err(why),
            Err(error) => panic!("{error}"),
        }
    };
    let good = Ok(Fingerprint(app.sha256).to_hex());
    assert_eq!(check(WITHOUT_CA, "1", CrlCheck::None), Err(NotAccepted::UnknownIssuer));
    assert_eq!(check(WITHOUT_CRL, "1", CrlCheck::Required), Err(NotAccepted::CrlMissing));
    assert_eq!(check(WITHOUT_CRL, "1", CrlCheck::None), good);
    other.write_crl(&[], Duration::days(1));
    assert_eq!(check(WITH_CRL, "1", CrlCheck::Required), good);
    assert_eq!(check(WITH_CRL, "2", CrlCheck::Required), Err(NotAccepted::NameDisagrees));
    other.write_crl(&[], -Duration::days(1));
    assert_eq!(check(WITH_CRL, "1", CrlCheck::Required), Err(NotAccepted::CrlExpired));
    for crl in [CrlCheck::Required, CrlCheck::None] {
        other.write_crl(&[&app], Duration::days(1));
        assert_eq!(check(WITH_CRL, "1", crl), Err(NotAccepted::RevokedByCa), "what is on a CRL counts in any case");
    }
    gateway.finish().await;
}

#[tokio::test]
async fn r3_r11_r15_the_crl_of_its_ca_lets_an_imported_certificate_in_and_takes_its_session() {
    let mut gateway = TestGateway::start().await;
    let other = OtherCa::of(gateway.folder.path());
    let (app, without) = (other.issue("1"), other.issue("2"));
    other.write_crl(&[], Duration::days(1));
    let config = gateway.config(USERS, WITH_CRL);
    for (issued, instance, crl) in [(&app, "1", CrlCheck::Required), (&without, "2", CrlCheck::None)] {
        other.import(&gateway, &config, issued, instance, crl);
    }
    let (app, without) = (App::new(&gateway, &app, "1"), App::new(&gateway, &without, "2"));
    let unknown = AlertDescription::UnknownCA;

    // The ledger alone is not enough.
    app.refused(&gateway, unknown, NotAccepted::UnknownIssuer).await;
    gateway.reload(gateway.config(USERS, WITHOUT_CRL)).await;
    app.refused(&gateway, unknown, NotAccepted::CrlMissing).await;

    gateway.reload(config).await;
    let mut session = app.open(&gateway).await;
    let mut lasting = without.open(&gateway).await;
    let mut ours = RawClient::tls(gateway.tls(), gateway.tls_client("recorder", "3")).await;
    ours.open("recorder", "3").await.unwrap();
    // An answer says that the session has come to its worker.
    for session in [&mut session, &mut lasting, &mut ours] {
        session.monitor("1001").await;
    }

    // The one that is revoked loses its session, and nobody else does.
    other.write_crl(&[app.issued], Duration::days(1));
    let effect = gateway.reload(gateway.config(USERS, WITH_CRL)).await.effect;
    assert_eq!((effect.sessions, effect.closed), (2, 1));
    assert_eq!(session.closed().await, Some(ErrorCode::CertificateRevoked));
    for session in [&mut lasting, &mut ours] {
        session.monitor("1002").await;
    }
    app.refused(&gateway, AlertDescription::CertificateRevoked, NotAccepted::RevokedByCa).await;
    gateway.finish().await;
}

#[tokio::test]
async fn r11_a_crl_that_is_out_of_date_refuses_and_is_told_of_before() {
    let mut gateway = TestGateway::start().await;
    let other = OtherCa::of(gateway.folder.path());
    let app = other.issue("1");
    other.write_crl(&[], Duration::days(9));
    let config = gateway.config(USERS, WITH_CRL);
    other.import(&gateway, &config, &app, "1", CrlCheck::Required);
    let app = App::new(&gateway, &app, "1");

    let told = |words| leaks::logged_lines(&[words, &other.folder.join("other.crl").display().to_string()]);
    gateway.reload(config).await;
    assert_eq!((told("soon out of date"), told("CRL is out of date")), (0, 0));
    other.write_crl(&[], Duration::hours(2));
    gateway.reload(gateway.config(USERS, WITH_CRL)).await;
    assert_eq!((told("soon out of date"), told("CRL is out of date")), (1, 0));
    let mut session = app.open(&gateway).await;
    other.write_crl(&[], -Duration::hours(1));
    gateway.reload(gateway.config(USERS, WITH_CRL)).await;
    assert_eq!(told("CRL is out of date"), 1);
    app.refused(&gateway, AlertDescription::UnknownCA, NotAccepted::CrlExpired).await;
    // It isn't known to be revoked: who is in stays in.
    session.monitor("1001").await;
    gateway.finish().await;
}

#[tokio::test]
async fn r11_a_crl_of_nobody_and_one_that_is_none_are_not_taken() {
    let mut gateway = TestGateway::start().await;
    let other = OtherCa::of(gateway.folder.path());
    let stranger = Ca::make("Other CA", Validity::days(other.now, 30).unwrap()).unwrap();
    let forged = stranger.crl(&[], 1, other.now, other.now + Duration::days(1)).unwrap().to_pem();
    for (content, expected) in [
        (forged.as_bytes(), "the CRL is not signed by the CA in"),
        (b"".as_slice(), "there is no CRL in it"),
        (b"\x30\x82\x01", "is damaged: "),
    ] {
        other.file("other.crl", content);
        let error = gateway.gateway.reload(gateway.config(USERS, WITH_CRL)).await.err().unwrap().to_string();
        assert!(error.starts_with("`tls.client_crl`: ") && error.contains(expected), "{error}");
    }
    gateway.finish().await;
}

#[tokio::test]
async fn r11_r15_what_a_crl_revokes_stays_so_through_every_change_by_administration() {
    let folder = tempfile::tempdir().unwrap();
    init(folder.path(), &Default::default(), OffsetDateTime::now_utc()).unwrap();
    let other = OtherCa::of(folder.path());
    let app = other.issue("1");
    other.write_crl(&[], Duration::days(1));
    let config =
        || Config::parse(&config_text(USERS, WITH_CRL), "test.toml", folder.path(), std::iter::empty()).unwrap();
    let imported = records_of_file(&[other.checked(&config(), &app, "1", CrlCheck::Required)]).unwrap();
    let seed = Seed { directory: Arc::clone(&config().directory), ..Seed::default() };
    let (administration, _) = Administration::open(Arc::new(Memory::new()), Arc::new(LogTarget), seed).await.unwrap();
    let options = Options { ledger: Some(administration.ledger()), ..Options::default() };
    let mut gateway = Gateway::start_with(config(), options).await.unwrap();
    let live = gateway.live_rights();
    administration.go_live(live.clone());
    let standing = || live.current().rights.certificates.standing(&app.sha256);
    assert_eq!(administration.import(&Actor::Gateway, &imported).await.unwrap().added, 1);
    assert_eq!(standing(), Standing::Issued);

    other.write_crl(&[&app], Duration::days(1));
    gateway.reload(config()).await.unwrap().acknowledged().await.unwrap();
    assert_eq!(standing(), Standing::Revoked);
    let change = Change::PutDevice("1004".parse().unwrap(), DeviceRecord::default());
    administration.change(&Actor::Gateway, &change, Of::New, Cascade::Nothing).await.unwrap();
    assert_eq!(standing(), Standing::Revoked);
    gateway.stop().await;
}

/// A CA whose certificate is in the `clients.pem` of a gateway's folder. It keeps a ledger of its own.
struct OtherCa {
    ca: Ca,
    ledger: Ledger,
    folder: PathBuf,
    now: OffsetDateTime,
}

/// An app with a certificate of it, which the gateway's ledger has.
struct App<'a> {
    issued: &'a Issued,
    instance: &'static str,
    config: Arc<ClientConfig>,
}

impl OtherCa {
    fn of(folder: &Path) -> Self {
        let (folder, now) = (folder.to_owned(), OffsetDateTime::now_utc());
        let ca = Ca::make("Other CA", Validity::days(now, 100).unwrap()).unwrap();
        let own = fs::read_to_string(folder.join("ca.pem")).unwrap();
        fs::write(folder.join("clients.pem"), own + ca.certificate_pem()).unwrap();
        fs::write(folder.join("other.jsonl"), "").unwrap();
        let ledger = Ledger::open(folder.join("other.jsonl")).unwrap();
        Self { ca, ledger, folder, now }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, content).unwrap();
        path
    }

    fn issue(&self, instance: &str) -> Issued {
        let validity = Validity::days(self.now, 30).unwrap();
        let (user, instance) = ("recorder".parse().unwrap(), instance.parse().unwrap());
        self.ca.issue_app(&user, &instance, validity, self.now, &self.ledger).unwrap()
    }

    /// Its CRL of ten days with these on it, of which so much is left.
    fn write_crl(&self, revoked: &[&Issued], left: Duration) {
        let records = records_of_file(&self.ledger.records().unwrap()).unwrap();
        let revoked: Vec<CertificateRecord> =
            revoked.iter().map(|issued| records[&Fingerprint(issued.sha256)].revoked(self.now, "superseded")).collect();
        let next_update = self.now + left;
        let crl = self.ca.crl(&revoked, 1, next_update - Duration::days(10), next_update).unwrap();
        self.file("other.crl", crl.to_pem().as_bytes());
    }

    fn import(&self, gateway: &TestGateway, config: &Config, issued: &Issued, instance: &str, crl: CrlCheck) {
        gateway.ledger().append(&self.checked(config, issued, instance, crl)).unwrap();
    }

    fn checked(&self, config: &Config, issued: &Issued, instance: &str, crl: CrlCheck) -> Record {
        let (user, instance) = ("recorder".parse().unwrap(), instance.parse().unwrap());
        let text = (Path::new("app.pem"), issued.certificate_pem.as_str());
        let (fingerprint, record) = check_app(text, (&user, &instance), crl, &config.tls, self.now).unwrap();
        Record {
            op: Operation::Imported,
            serial: record.serial,
            sha256: fingerprint.to_hex(),
            user: record.user.to_string(),
            instance: record.instance.to_string(),
            not_before: record.not_before,
            not_after: record.not_after,
            at: record.added_at,
            reason: String::new(),
            foreign: record.foreign,
        }
    }
}

impl<'a> App<'a> {
    fn new(gateway: &TestGateway, issued: &'a Issued, instance: &'static str) -> Self {
        Self { issued, instance, config: tls_client(&gateway.ca_pem(), &issued.certificate_pem, &issued.key_pem) }
    }

    async fn open(&self, gateway: &TestGateway) -> RawClient {
        let mut client = RawClient::tls(gateway.tls(), Arc::clone(&self.config)).await;
        client.open("recorder", self.instance).await.unwrap();
        client
    }

    async fn refused(&self, gateway: &TestGateway, alert: AlertDescription, why: NotAccepted) {
        assert_eq!(common::alert(gateway.tls(), Arc::clone(&self.config)).await, alert, "{why}");
        let sha256 = Fingerprint(self.issued.sha256).to_hex();
        let (code, cause) = (format!("code=\"{}\"", why.code().as_str_name()), format!("cause=\"{why}\""));
        let owner = format!("owner=\"recorder/{}\"", self.instance);
        let told = ["record=\"refused\"", &code, &cause, &sha256, &owner];
        assert_eq!(leaks::logged_lines(&told), 1, "{told:?}");
    }
}
