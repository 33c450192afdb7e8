//! Bad certificates at the TLS door of a whole gateway, each refused for its own reason: what the app hears, what stands on
//! record, and what is counted (R3, R11, R43).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use aws_lc_rs::digest;
use callgate::trust::{Operation, Record};
use callgate_wire::v1::{self, ErrorCode, to_gateway::Message};
use common::{TestGateway, leaks, raw::RawClient};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256,
    PublicKeyData, RsaKeySize, SanType, SubjectPublicKeyInfo,
};
use rustls::{
    AlertDescription, ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::aws_lc_rs as provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};
use time::{Duration, OffsetDateTime};

/// A certificate that must not get in, and nothing but one thing is wrong with it.
struct Bad {
    what: &'static str,
    shown: Shown,
    code: ErrorCode,
    alert: AlertDescription,
    cause: &'static str,
    /// Under which word it is counted; none for no certificate, which has its code.
    reason: &'static str,
}

/// What an app shows.
struct Shown {
    /// The certificate, and what comes along with it; or nothing.
    chain: Vec<CertificateDer<'static>>,
    /// What it signs the handshake with.
    key: KeyPair,
    /// What the ledger says of it: whose it is, if it knows it.
    owner: Option<&'static str>,
}

#[test]
fn r3_r43_each_bad_certificate_is_refused_for_its_own_reason() {
    let counted = Counted::default();
    metrics::with_local_recorder(&counted, || {
        // One thread, so that the recorder is there wherever the door's tasks run.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let gateway = TestGateway::start().await;
            let lab = Lab::new(&gateway);
            let all = lab.bad_certificates();
            let mut expected = BTreeMap::new();
            for bad in &all {
                for version in [&TLS13, &TLS12] {
                    assert_eq!(
                        common::alert(gateway.tls(), lab.client(version, &bad.shown)).await,
                        bad.alert,
                        "{}, {version:?}",
                        bad.what
                    );
                }
                bad.is_on_record();
                if !bad.reason.is_empty() {
                    *expected.entry(bad.reason).or_default() += 2;
                }
            }
            // The same if the false CA comes along; it is no other refusal, so it has no other record.
            let along = lab.by_other_ca(&lab.ca_name(), Along::TheCa);
            assert_eq!(common::alert(gateway.tls(), lab.client(&TLS13, &along)).await, AlertDescription::DecryptError);
            *expected.get_mut("wrong_signature").unwrap() += 1;
            assert_eq!(counted.by_label("callgate_certificates_refused_total"), expected);
            assert_eq!(counted.by_label("callgate_refusals_total")["CERTIFICATE_MISSING"], 2);
            // What is made in the same way and has no fault gets in.
            for good in [lab.shown(|_| {}), lab.rsa_2048()] {
                for version in [&TLS13, &TLS12] {
                    let mut app = RawClient::tls(gateway.tls(), lab.client(version, &good)).await;
                    app.open("recorder", "1").await.unwrap();
                    app.send(Message::Close(v1::Close { reason: None })).await;
                    assert_eq!(app.closed().await, Some(ErrorCode::ClosedByApp));
                }
            }
            gateway.finish().await;
        });
    });
}

#[tokio::test]
async fn r11_r43_the_certificate_of_another_user_or_instance_opens_nothing_and_says_whose_it_is() {
    let gateway = TestGateway::start().await;
    for (user, instance, cause) in [
        ("viewer", "1", "the certificate is another user's"),
        ("recorder", "2", "the certificate is another instance's"),
    ] {
        let issued = gateway.issue(user, instance);
        let config = common::tls_client(&gateway.ca_pem(), &issued.certificate_pem, &issued.key_pem);
        let mut app = RawClient::tls(gateway.tls(), config).await;
        assert_eq!(app.open("recorder", "1").await.err(), Some(ErrorCode::CertificateIdentityMismatch));
        assert_eq!(app.refusal.as_ref().unwrap().rule, "R11");
        let (sha256, serial) = (hex(&issued.sha256), format!("serial=\"{}\"", issued.serial));
        let owner = format!("owner=\"{user}/{instance}\"");
        let told = ["CERTIFICATE_IDENTITY_MISMATCH", "user=\"recorder\"", cause, &sha256, &serial, &owner];
        assert_eq!(leaks::logged_lines(&told), 1, "{told:?}");
    }
    gateway.finish().await;
}

impl Bad {
    fn is_on_record(&self) {
        let code = format!("code=\"{}\"", self.code.as_str_name());
        let cause = format!("cause=\"{}\"", self.cause);
        let mut told = vec!["record=\"refused\"".to_owned(), "door=\"tls\"".into(), code, cause];
        if let Some(certificate) = self.shown.chain.first() {
            told.push(format!("sha256=\"{}\"", sha256(certificate)));
            let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
            let serial: String = parsed.serial.to_bytes_be().iter().map(|byte| format!("{byte:02x}")).collect();
            told.push(format!("serial=\"{serial}\""));
            told.push(format!("subject_name=\"{}\"", parsed.subject()));
            told.extend(self.shown.owner.map(|owner| format!("owner=\"{owner}\"")));
        }
        let told: Vec<&str> = told.iter().map(String::as_str).collect();
        assert_eq!(leaks::logged_lines(&told), 1, "{}: {told:?}", self.what);
    }
}

/// Makes certificates as the gateway's CA does, and others.
struct Lab<'a> {
    gateway: &'a TestGateway,
    ca: Issuer<'static, KeyPair>,
}

impl<'a> Lab<'a> {
    fn new(gateway: &'a TestGateway) -> Self {
        let key = std::fs::read_to_string(gateway.folder.path().join("ca.key")).unwrap();
        let ca = Issuer::from_ca_cert_pem(&gateway.ca_pem(), KeyPair::from_pem(&key).unwrap()).unwrap();
        Self { gateway, ca }
    }

    fn bad_certificates(&self) -> Vec<Bad> {
        let bad = |what, shown, code, alert, cause, reason| Bad { what, shown, code, alert, cause, reason };
        let day = Duration::days(1);
        let now = OffsetDateTime::now_utc();
        vec![
            bad(
                "none",
                Shown { chain: vec![], key: KeyPair::generate().unwrap(), owner: None },
                ErrorCode::CertificateMissing,
                AlertDescription::CertificateRequired,
                "peer sent no certificates",
                "",
            ),
            bad(
                "self-signed",
                self.self_signed(),
                ErrorCode::CertificateUnknownIssuer,
                AlertDescription::UnknownCA,
                "the certificate is signed by itself",
                "self_signed",
            ),
            bad(
                "other CA",
                self.by_other_ca("Callgate CA of somebody else", Along::Nothing),
                ErrorCode::CertificateUnknownIssuer,
                AlertDescription::UnknownCA,
                "the certificate's issuer is none of the client CAs",
                "unknown_issuer",
            ),
            bad(
                "same-name CA",
                self.by_other_ca(&self.ca_name(), Along::Nothing),
                ErrorCode::CertificateInvalid,
                AlertDescription::DecryptError,
                "the certificate's issuer has the name of a client CA and another key, or the certificate is damaged",
                "wrong_signature",
            ),
            bad(
                "expired",
                self.shown(|params| (params.not_before, params.not_after) = (now - day * 2, now - day)),
                ErrorCode::CertificateExpired,
                AlertDescription::CertificateExpired,
                "the certificate has expired, or one between it and its CA",
                "expired",
            ),
            bad(
                "not yet valid",
                self.shown(|params| (params.not_before, params.not_after) = (now + day, now + day * 2)),
                ErrorCode::CertificateNotYetValid,
                AlertDescription::CertificateExpired,
                "the certificate is not valid yet",
                "not_yet_valid",
            ),
            bad(
                "revoked",
                self.revoked(),
                ErrorCode::CertificateRevoked,
                AlertDescription::CertificateRevoked,
                "the ledger says that the certificate is revoked",
                "revoked",
            ),
            bad(
                "serverAuth only",
                self.shown(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
                ErrorCode::CertificateWrongUsage,
                AlertDescription::UnsupportedCertificate,
                "the certificate is for something else than TLS clients (extended key usage)",
                "not_for_clients",
            ),
            bad(
                "no extended key usage",
                self.shown(|params| params.extended_key_usages.clear()),
                ErrorCode::CertificateWrongUsage,
                AlertDescription::UnsupportedCertificate,
                "the certificate has no extended key usage, and needs clientAuth",
                "no_usage",
            ),
            bad(
                "CA used as leaf",
                self.shown(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
                ErrorCode::CertificateWrongUsage,
                AlertDescription::CertificateUnknown,
                "the certificate is a CA's, not an app's",
                "ca_used_as_leaf",
            ),
            bad(
                "RSA-1024",
                self.rsa_1024(),
                ErrorCode::CertificateInvalid,
                AlertDescription::CertificateUnknown,
                "the certificate's RSA key has fewer than 2048 bits",
                "weak_key",
            ),
            bad(
                "another's key",
                Shown { key: KeyPair::generate().unwrap(), ..self.shown(|_| {}) },
                ErrorCode::CertificateInvalid,
                AlertDescription::DecryptError,
                "the handshake is not signed with the certificate's key",
                "not_possessed",
            ),
            bad(
                "the name of another instance",
                self.shown(|params| params.subject_alt_names = vec![uri("callgate:recorder/2")]),
                ErrorCode::CertificateInvalid,
                AlertDescription::CertificateUnknown,
                "the certificate names another user or instance than the ledger",
                "name_disagrees",
            ),
            bad(
                "good chain, not in the ledger",
                self.made(&params()),
                ErrorCode::CertificateNotInLedger,
                AlertDescription::CertificateUnknown,
                "the certificate is not in the ledger",
                "not_in_ledger",
            ),
        ]
    }

    /// A certificate of the gateway's CA that only the test knows.
    fn made(&self, params: &CertificateParams) -> Shown {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        Shown { chain: vec![certificate.der().clone()], key, owner: None }
    }

    /// A certificate of the gateway's CA that would be good without the change, and that the ledger knows.
    fn shown(&self, change: impl FnOnce(&mut CertificateParams)) -> Shown {
        let mut params = params();
        change(&mut params);
        self.known(self.made(&params))
    }

    fn self_signed(&self) -> Shown {
        let key = KeyPair::generate().unwrap();
        let certificate = params().self_signed(&key).unwrap();
        self.known(Shown { chain: vec![certificate.der().clone()], key, owner: None })
    }

    fn by_other_ca(&self, name: &str, along: Along) -> Shown {
        let mut of_ca = CertificateParams::default();
        of_ca.distinguished_name = common_name(name);
        of_ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_key = KeyPair::generate().unwrap();
        let ca = of_ca.self_signed(&ca_key).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params().signed_by(&key, &Issuer::new(of_ca, ca_key)).unwrap();
        let mut chain = vec![certificate.der().clone()];
        chain.extend((along == Along::TheCa).then(|| ca.der().clone()));
        self.known(Shown { chain, key, owner: None })
    }

    fn revoked(&self) -> Shown {
        let shown = self.shown(|_| {});
        self.gateway.ledger().append(&line(&shown, Operation::Revoked)).unwrap();
        shown
    }

    /// No library at hand makes so short a key, and none is needed: it is refused before it would sign anything.
    fn rsa_1024(&self) -> Shown {
        let mut modulus: Vec<u8> = (0..128u8).map(|n| n.wrapping_mul(37)).collect();
        (modulus[0], modulus[127]) = (0xc1, 0x01);
        let key = [&[0x30, 0x81, 0x89, 0x02, 0x81, 0x81, 0x00][..], &modulus, &[0x02, 0x03, 1, 0, 1]].concat();
        let algorithm = [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
        let spki = [&[0x30, 0x81, 0x9f][..], &algorithm, &[0x03, 0x81, 0x8d, 0x00], &key].concat();
        let public = SubjectPublicKeyInfo::from_der(&spki).unwrap();
        assert_eq!(public.der_bytes(), key);
        let certificate = params().signed_by(&public, &self.ca).unwrap();
        let key = KeyPair::generate().unwrap();
        self.known(Shown { chain: vec![certificate.der().clone()], key, owner: None })
    }

    fn rsa_2048(&self) -> Shown {
        let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap();
        let certificate = params().signed_by(&key, &self.ca).unwrap();
        self.known(Shown { chain: vec![certificate.der().clone()], key, owner: None })
    }

    /// The ledger has it as recorder/1's.
    fn known(&self, shown: Shown) -> Shown {
        self.gateway.ledger().append(&line(&shown, Operation::Issued)).unwrap();
        Shown { owner: Some("recorder/1"), ..shown }
    }

    fn ca_name(&self) -> String {
        let ca = CertificateDer::from_pem_slice(self.gateway.ca_pem().as_bytes()).unwrap();
        let (_, ca) = x509_parser::parse_x509_certificate(&ca).unwrap();
        ca.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned()
    }

    fn client(&self, version: &'static SupportedProtocolVersion, shown: &Shown) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.gateway.ca_pem().as_bytes()).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots);
        if shown.chain.is_empty() {
            return Arc::new(builder.with_no_client_auth());
        }
        // A resolver asks neither whether the two belong together nor whether the gateway wants them.
        let key = PrivateKeyDer::try_from(shown.key.serialize_der()).unwrap();
        let key = provider::sign::any_supported_type(&key).unwrap();
        let shown = CertifiedKey::new(shown.chain.clone(), key);
        Arc::new(builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(shown))))
    }
}

/// What comes along with the certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Along {
    Nothing,
    TheCa,
}

/// Of an app's certificate that has no fault.
fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("recorder/1");
    params.not_before = OffsetDateTime::now_utc() - Duration::days(1);
    params.not_after = OffsetDateTime::now_utc() + Duration::days(1);
    params.is_ca = IsCa::ExplicitNoCa;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = vec![uri("callgate:recorder/1")];
    params
}

fn common_name(name: &str) -> rcgen::DistinguishedName {
    let mut names = rcgen::DistinguishedName::new();
    names.push(rcgen::DnType::CommonName, name);
    names
}

fn uri(uri: &str) -> SanType {
    SanType::URI(uri.try_into().unwrap())
}

fn line(shown: &Shown, op: Operation) -> Record {
    Record {
        op,
        serial: "00".into(),
        sha256: sha256(&shown.chain[0]),
        user: "recorder".into(),
        instance: "1".into(),
        not_before: "2026-01-01T00:00:00Z".into(),
        not_after: "2126-01-01T00:00:00Z".into(),
        at: "2026-01-01T00:00:00Z".into(),
        reason: String::new(),
        foreign: None,
    }
}

fn sha256(certificate: &CertificateDer<'_>) -> String {
    hex(digest::digest(&digest::SHA256, certificate).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What was counted, by name and by the value of the first label.
#[derive(Default)]
struct Counted(Mutex<Counts>);

type Counts = BTreeMap<(String, String), Arc<AtomicU64>>;

impl Counted {
    fn by_label(&self, name: &str) -> BTreeMap<&'static str, u64> {
        let counted = self.0.lock().unwrap();
        let of_it = counted.iter().filter(|((of, _), _)| of == name);
        of_it.map(|((_, label), count)| (&*label.clone().leak(), count.load(Ordering::Relaxed))).collect()
    }
}

impl metrics::Recorder for Counted {
    fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_histogram(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}

    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        let label = key.labels().next().map(|label| label.value().to_owned()).unwrap_or_default();
        let count = Arc::clone(self.0.lock().unwrap().entry((key.name().to_owned(), label)).or_default());
        metrics::Counter::from_arc(count)
    }

    fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::noop()
    }

    fn register_histogram(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::noop()
    }
}
