//! Who gets through the TLS door's handshake (R3, R11): both sides in memory, in TLS 1.2 and 1.3.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on has failed"
)]

use std::{
    fs, io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::digest;
use callgate::{
    config::{Config, TlsFiles},
    model::Strength,
    trust::{
        Ca, CertificateIdentity, Clients, InitOptions, Issued, Ledger, Operation, Record, TlsPolicy, Validity, init,
        peer_identity, refusal, server_config_at,
    },
};
use callgate_wire::v1::ErrorCode;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Connection, HandshakeKind, RootCertStore, ServerConfig,
    ServerConnection, SupportedProtocolVersion,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject},
    server::ServerSessionMemoryCache,
    time_provider::TimeProvider,
    version::{TLS12, TLS13},
};
use time::{Duration, OffsetDateTime};

const DAY: u64 = 86_400;
const DOOR: TlsPolicy = TlsPolicy { strength: Strength::Low, clients: Clients::MustShow, protocols: &[] };
const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

#[test]
fn r3_a_good_certificate_gets_in_by_a_full_handshake_each_time() {
    let lab = Lab::new();
    let app = lab.issue("1", 365);
    for version in VERSIONS {
        let client = lab.client(version, Some(&app));
        for _ in 0..2 {
            let outcome = handshake(&lab.server, &client);
            assert_eq!(outcome.refused, None, "{version:?}");
            assert_eq!(outcome.kind, Some(HandshakeKind::Full), "{version:?}");
            assert_eq!(
                outcome.identity(&lab.ledger),
                Some(CertificateIdentity {
                    user: "recorder".parse().unwrap(),
                    instance: "1".parse().unwrap(),
                    sha256: app.sha256,
                    not_after_unix: app.not_after,
                })
            );
        }
    }
}

#[test]
fn r3_no_certificate() {
    let lab = Lab::new();
    lab.refuses(None, ErrorCode::CertificateMissing, AlertDescription::CertificateRequired);
}

#[test]
fn r3_an_unknown_issuer() {
    let (lab, other) = (Lab::new(), Lab::new());
    let app = other.issue("1", 365);
    lab.refuses(Some(&app), ErrorCode::CertificateUnknownIssuer, AlertDescription::UnknownCA);
}

#[test]
fn r3_an_expired_certificate() {
    let lab = Lab::new();
    let app = lab.issue("1", 2);
    lab.clock.advance(3 * DAY);
    lab.refuses(Some(&app), ErrorCode::CertificateExpired, AlertDescription::CertificateExpired);
}

#[test]
fn r3_a_certificate_that_is_not_valid_yet() {
    let lab = Lab::new();
    let app = lab.issue("1", 2);
    lab.clock.set(lab.clock.now() - DAY);
    lab.refuses(Some(&app), ErrorCode::CertificateNotYetValid, AlertDescription::CertificateExpired);
}

#[test]
fn r3_a_revoked_certificate() {
    let lab = Lab::new();
    let app = lab.issue("1", 365);
    lab.revoke(&app);
    lab.refuses(Some(&app), ErrorCode::CertificateRevoked, AlertDescription::CertificateRevoked);
}

#[test]
fn r3_a_certificate_for_servers_and_one_for_anything_also_if_the_ledger_knows_them() {
    let lab = Lab::new();
    for usages in [vec![ExtendedKeyUsagePurpose::ServerAuth], vec![]] {
        let app = lab.forge(usages, "callgate:recorder/1");
        lab.record(&app, "1");
        lab.refuses(Some(&app), ErrorCode::CertificateWrongUsage, AlertDescription::UnsupportedCertificate);
    }
}

#[test]
fn r3_a_good_chain_alone_is_not_enough() {
    let lab = Lab::new();
    let app = lab.forge(vec![ExtendedKeyUsagePurpose::ClientAuth], "callgate:recorder/1");
    lab.refuses(Some(&app), ErrorCode::CertificateNotInLedger, AlertDescription::CertificateUnknown);
    lab.record(&app, "1");
    assert_eq!(handshake(&lab.server, &lab.client(&TLS13, Some(&app))).refused, None, "the ledger knows it now");
}

#[test]
fn r11_a_name_of_ours_must_agree_with_the_ledger_and_others_are_ignored() {
    let lab = Lab::new();
    let app = lab.forge(vec![ExtendedKeyUsagePurpose::ClientAuth], "callgate:recorder/2");
    lab.record(&app, "1");
    lab.refuses(Some(&app), ErrorCode::CertificateInvalid, AlertDescription::CertificateUnknown);

    let app = lab.forge(vec![ExtendedKeyUsagePurpose::ClientAuth], "https://example.org/recorder/2");
    lab.record(&app, "1");
    let outcome = handshake(&lab.server, &lab.client(&TLS13, Some(&app)));
    assert_eq!(outcome.identity(&lab.ledger).unwrap().instance.as_str(), "1", "identity is what the ledger says");
}

#[test]
fn r3_nobody_gets_in_while_the_ledger_can_t_be_read() {
    let lab = Lab::new();
    let app = lab.issue("1", 365);
    let content = fs::read(lab.ledger.path()).unwrap();
    fs::write(lab.ledger.path(), "not a ledger\n").unwrap();
    lab.refuses(Some(&app), ErrorCode::Internal, AlertDescription::CertificateUnknown);
    fs::write(lab.ledger.path(), content).unwrap();
    assert_eq!(handshake(&lab.server, &lab.client(&TLS12, Some(&app))).refused, None);
}

#[test]
fn r3_a_client_that_would_resume_is_refused_once_its_certificate_is_revoked() {
    for version in VERSIONS {
        let lab = Lab::new();
        let app = lab.issue("1", 365);
        let client = lab.client_with_a_session(version, &app);
        assert_eq!(handshake(&lab.server, &client).kind, Some(HandshakeKind::Full), "no resumption, {version:?}");
        let client = lab.client_with_a_session(version, &app);
        lab.revoke(&app);
        let outcome = handshake(&lab.server, &client);
        assert_eq!(outcome.refused, Some(ErrorCode::CertificateRevoked), "{version:?}");
    }
}

#[test]
fn r3_a_client_that_would_resume_is_refused_once_its_certificate_has_expired() {
    for version in VERSIONS {
        let lab = Lab::new();
        let app = lab.issue("1", 2);
        let client = lab.client_with_a_session(version, &app);
        lab.clock.advance(3 * DAY);
        let outcome = handshake(&lab.server, &client);
        assert_eq!(outcome.refused, Some(ErrorCode::CertificateExpired), "{version:?}");
    }
}

#[test]
fn r3_a_certificate_revoked_after_its_handshake_is_nobody_s() {
    let lab = Lab::new();
    let app = lab.issue("1", 365);
    let outcome = handshake(&lab.server, &lab.client(&TLS13, Some(&app)));
    lab.revoke(&app);
    assert_eq!(outcome.identity(&lab.ledger), None);
}

#[test]
fn r4_only_ecdhe_and_aead_is_offered_and_no_early_data() {
    let lab = Lab::new();
    for suite in &lab.server.crypto_provider().cipher_suites {
        let name = format!("{:?}", suite.suite());
        assert!(name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_"), "{name}");
        assert!(name.contains("_GCM_") || name.contains("CHACHA20_POLY1305"), "{name}");
    }
    assert_eq!(lab.server.max_early_data_size, 0);
    assert_eq!(lab.server.send_tls13_tickets, 0);
    assert!(!lab.server.ticketer.enabled());
    assert!(lab.server.require_ems, "TLS 1.2 is bound to its handshake (RFC 7627)");
}

/// A gateway's files in a folder, its TLS settings, and a clock to be set.
#[test]
fn r4_the_highest_level_takes_no_aes_128_and_the_others_do() {
    let lab = Lab::new();
    let app = lab.issue("1", 365);
    for (strength, suite, is_taken) in [
        (Strength::Low, "AES_128_GCM", true),
        (Strength::Medium, "AES_128_GCM", true),
        (Strength::High, "AES_128_GCM", false),
        (Strength::High, "AES_256_GCM", true),
        (Strength::High, "CHACHA20_POLY1305", true),
    ] {
        let server = lab.server_of(TlsPolicy::door(strength));
        for version in VERSIONS {
            let mut provider = rustls::crypto::aws_lc_rs::default_provider();
            provider.cipher_suites.retain(|offered| format!("{:?}", offered.suite()).contains(suite));
            let client = lab.client_by(provider, version, Some(&app));
            let refused = handshake(&server, &client).refused;
            let expected = (!is_taken).then_some(ErrorCode::HandshakeFailed);
            assert_eq!(refused, expected, "{strength:?} {suite} {version:?}");
        }
    }
}

#[test]
fn r4_over_http_a_certificate_may_be_left_out_below_the_highest_level_and_is_checked_if_shown() {
    let lab = Lab::new();
    let (app, revoked) = (lab.issue("1", 365), lab.issue("1", 365));
    lab.revoke(&revoked);
    for (strength, client, refused) in [
        (Strength::Low, None, None),
        (Strength::Medium, None, None),
        (Strength::High, None, Some(ErrorCode::CertificateMissing)),
        (Strength::Low, Some(&app), None),
        (Strength::Low, Some(&revoked), Some(ErrorCode::CertificateRevoked)),
        (Strength::High, Some(&app), None),
    ] {
        let server = lab.server_of(TlsPolicy::http(strength));
        for version in VERSIONS {
            let outcome = handshake(&server, &lab.client(version, client));
            assert_eq!(outcome.refused, refused, "{strength:?} {version:?}");
        }
    }
}

struct Lab {
    _folder: tempfile::TempDir,
    files: TlsFiles,
    ca: Ca,
    ledger: Arc<Ledger>,
    clock: Arc<Clock>,
    server: Arc<ServerConfig>,
}

struct App {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    sha256: [u8; 32],
    not_after: i64,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), &InitOptions::default(), OffsetDateTime::now_utc()).unwrap();
        let files = Config::load(folder.path().join("callgate.toml")).unwrap().tls;
        let ca = Ca::load(&folder.path().join("ca.pem"), &folder.path().join("ca.key")).unwrap();
        let ledger = Arc::new(Ledger::open(&files.ledger).unwrap());
        let clock = Arc::new(Clock(AtomicU64::new(UnixTime::now().as_secs())));
        let server = server_config_at(&files, Arc::clone(&ledger), DOOR, Arc::clone(&clock) as _).unwrap().server;
        Self { _folder: folder, files, ca, ledger, clock, server }
    }

    fn issue(&self, instance: &str, days: u32) -> App {
        let now = OffsetDateTime::now_utc();
        let validity = Validity::days(now, days).unwrap();
        let user = "recorder".parse().unwrap();
        App::new(&self.ca.issue_app(&user, &instance.parse().unwrap(), validity, now, &self.ledger).unwrap())
    }

    /// A certificate that the CA's key signed without the gateway.
    fn forge(&self, usages: Vec<ExtendedKeyUsagePurpose>, uri: &str) -> App {
        let ca_key = KeyPair::from_pem(&self.ca.key_pem()).unwrap();
        let issuer = Issuer::from_ca_cert_pem(self.ca.certificate_pem(), ca_key).unwrap();
        let mut params = CertificateParams::default();
        params.not_before = OffsetDateTime::now_utc() - Duration::days(1);
        params.not_after = OffsetDateTime::now_utc() + Duration::days(1);
        params.extended_key_usages = usages;
        params.subject_alt_names = vec![SanType::URI(uri.try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        App {
            chain: vec![certificate.der().clone()],
            key: PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
            sha256: digest::digest(&digest::SHA256, certificate.der()).as_ref().try_into().unwrap(),
            not_after: params.not_after.unix_timestamp(),
        }
    }

    fn record(&self, app: &App, instance: &str) {
        self.ledger.append(&line(app, Operation::Issued, instance)).unwrap();
    }

    fn revoke(&self, app: &App) {
        self.ledger.append(&line(app, Operation::Revoked, "1")).unwrap();
    }

    fn server_of(&self, policy: TlsPolicy) -> Arc<ServerConfig> {
        server_config_at(&self.files, Arc::clone(&self.ledger), policy, Arc::clone(&self.clock) as _).unwrap().server
    }

    fn client(&self, version: &'static SupportedProtocolVersion, app: Option<&App>) -> Arc<ClientConfig> {
        self.client_by(rustls::crypto::aws_lc_rs::default_provider(), version, app)
    }

    fn client_by(
        &self,
        provider: CryptoProvider,
        version: &'static SupportedProtocolVersion,
        app: Option<&App>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.files.client_ca).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match app {
            Some(app) => builder.with_client_auth_cert(app.chain.clone(), app.key.clone_key()).unwrap(),
            None => builder.with_no_client_auth(),
        })
    }

    /// A client that was here before, and holds sessions of a server with our certificate that does resume.
    fn client_with_a_session(&self, version: &'static SupportedProtocolVersion, app: &App) -> Arc<ClientConfig> {
        let mut careless = ServerConfig::clone(&self.server);
        careless.session_storage = ServerSessionMemoryCache::new(32);
        careless.send_tls13_tickets = 2;
        let careless = Arc::new(careless);
        let client = self.client(version, Some(app));
        assert_eq!(handshake(&careless, &client).kind, Some(HandshakeKind::Full));
        assert_eq!(handshake(&careless, &client).kind, Some(HandshakeKind::Resumed), "the client offers its session");
        // If this server gave sessions, too, they would be the newest ones.
        assert_eq!(handshake(&self.server, &client).refused, None);
        client
    }

    fn refuses(&self, app: Option<&App>, code: ErrorCode, alert: AlertDescription) {
        for version in VERSIONS {
            let outcome = handshake(&self.server, &self.client(version, app));
            assert_eq!(outcome.refused, Some(code), "{version:?}");
            // RFC 8446 section 4.4.2.4 has a word of its own for a missing certificate, RFC 5246 has not.
            let is_missing = alert == AlertDescription::CertificateRequired;
            let heard = outcome.alert.unwrap();
            assert!(heard == alert || is_missing, "{version:?}: {heard:?}");
        }
    }
}

impl App {
    fn new(issued: &Issued) -> Self {
        Self {
            chain: vec![CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap()],
            key: PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap(),
            sha256: issued.sha256,
            not_after: issued.validity.not_after.unix_timestamp(),
        }
    }
}

fn line(app: &App, op: Operation, instance: &str) -> Record {
    Record {
        op,
        serial: "00".into(),
        sha256: app.sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
        user: "recorder".into(),
        instance: instance.into(),
        not_before: "2026-01-01T00:00:00Z".into(),
        not_after: "2126-01-01T00:00:00Z".into(),
        at: "2026-01-01T00:00:00Z".into(),
        reason: "test".into(),
        foreign: None,
    }
}

#[derive(Debug)]
struct Clock(AtomicU64);

impl Clock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, seconds: u64) {
        self.0.store(seconds, Ordering::Relaxed);
    }

    fn advance(&self, seconds: u64) {
        self.set(self.now() + seconds);
    }
}

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(std::time::Duration::from_secs(self.now())))
    }
}

/// How a handshake ended.
struct Outcome {
    refused: Option<ErrorCode>,
    alert: Option<AlertDescription>,
    kind: Option<HandshakeKind>,
    server: ServerConnection,
}

impl Outcome {
    fn identity(&self, ledger: &Ledger) -> Option<CertificateIdentity> {
        peer_identity(&self.server, ledger)
    }
}

/// Carries bytes from one to the other until both have nothing to say.
fn handshake(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>) -> Outcome {
    let mut client =
        Connection::from(ClientConnection::new(Arc::clone(client), "localhost".try_into().unwrap()).unwrap());
    let mut server = Connection::from(ServerConnection::new(Arc::clone(server)).unwrap());
    let (mut refused, mut alert) = (None, None);
    loop {
        let to_server = carry(&mut client, &mut server);
        if let Err(error) = &to_server {
            refused = refused.or(Some(refusal(error)));
        }
        let to_client = carry(&mut server, &mut client);
        if let Err(rustls::Error::AlertReceived(description)) = &to_client {
            alert = Some(*description);
        }
        if !matches!((&to_server, &to_client), (Ok(true), _) | (_, Ok(true))) {
            break;
        }
    }
    assert_eq!(refused.is_none(), !server.is_handshaking(), "either it is finished or refused");
    let Connection::Server(server) = server else { unreachable!() };
    Outcome { refused, alert, kind: server.handshake_kind().filter(|_| refused.is_none()), server }
}

/// Whether anything was said.
fn carry(from: &mut Connection, to: &mut Connection) -> Result<bool, rustls::Error> {
    let mut bytes = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut bytes).unwrap();
    }
    let said = !bytes.is_empty();
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        match to.read_tls(&mut rest) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Other => break,
            Err(error) => panic!("{error}"),
        }
        to.process_new_packets()?;
    }
    Ok(said)
}

#[test]
fn the_gateway_s_files_are_checked_when_they_are_loaded() {
    let lab = Lab::new();
    let folder = lab.files.certificate.parent().unwrap();
    let load = |files: &TlsFiles, clock: u64| {
        let clock = Arc::new(Clock(AtomicU64::new(clock)));
        server_config_at(files, Arc::clone(&lab.ledger), DOOR, clock).err().unwrap().to_string()
    };
    let name = |path: &Path| path.display().to_string();
    let now = lab.clock.now();
    let (certificate, key) = (name(&lab.files.certificate), name(&lab.files.key));

    let swapped =
        TlsFiles { certificate: lab.files.key.clone(), key: lab.files.certificate.clone(), ..lab.files.clone() };
    assert_eq!(
        load(&swapped, now),
        format!("{key}: a private key is in it where a certificate belongs: the two files look swapped")
    );
    let other = TlsFiles { key: folder.join("ca.key"), ..lab.files.clone() };
    assert_eq!(
        load(&other, now),
        format!("{certificate} and {} don't belong together: the key is not the certificate's", name(&other.key))
    );
    assert!(load(&lab.files, now + 826 * DAY).starts_with(&format!("{certificate}: the certificate expired on 2")));
    assert!(load(&lab.files, now - DAY).starts_with(&format!("{certificate}: the certificate is not valid before 2")));
    let missing = TlsFiles { client_ca: folder.join("none.pem"), ..lab.files.clone() };
    assert!(load(&missing, now).starts_with(&format!("{}: can't be read: ", name(&missing.client_ca))));
    let app = lab.issue("1", 1);
    let (pem, app_key) = (folder.join("app.pem"), folder.join("app.key"));
    fs::write(&pem, callgate_pem("CERTIFICATE", &app.chain[0])).unwrap();
    fs::write(&app_key, callgate_pem("PRIVATE KEY", app.key.secret_der())).unwrap();
    let client = TlsFiles { certificate: pem.clone(), key: app_key, ..lab.files.clone() };
    assert_eq!(
        load(&client, now),
        format!("{}: the certificate is not for TLS servers (extended key usage serverAuth)", name(&pem))
    );
}

fn callgate_pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}
