//! The secure door: both sides prove who they are, and nothing can be switched off.

#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, dead_code, reason = "tests")]

#[path = "support/gateway.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use callgate_sdk::{
    Connector, Identity, Roots,
    client::{OpenError, PemError},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::{
    AlertDescription, CertificateError, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use support::{Peer, listen};
use tokio_rustls::TlsAcceptor;

struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key, PEM.
    fn issue(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> (String, String) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem())
    }
}

fn server_config(ca: &Ca, clients: &Ca, version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let (certificate, key) = ca.issue("gateway.test", ExtendedKeyUsagePurpose::ServerAuth);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(clients.pem().as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    Arc::new(config)
}

fn identity(ca: &Ca) -> Identity {
    let (certificate, key) = ca.issue("app", ExtendedKeyUsagePurpose::ClientAuth);
    Identity::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap()
}

fn roots(ca: &Ca) -> Roots {
    Roots::from_pem(ca.pem().as_bytes()).unwrap()
}

async fn gateway(config: Arc<ServerConfig>) -> String {
    let (address, _task) = listen(async move |peer| {
        if let Ok(stream) = TlsAcceptor::from(config).accept(peer.stream).await {
            let mut peer = Peer::new(stream);
            peer.open_by_certificate(30).await;
            peer.read().await;
        }
    })
    .await;
    address
}

#[tokio::test]
async fn a_session_opens_by_certificate_in_tls_1_3_and_1_2() {
    let ca = Ca::new();
    for version in [&TLS13, &TLS12] {
        let address = gateway(server_config(&ca, &ca, version)).await;
        let connector = Connector::tls(address, "gateway.test", identity(&ca), roots(&ca));
        let (session, _events) = connector.open("recorder", "rec1").await.unwrap();
        let expires = SystemTime::UNIX_EPOCH + Duration::from_secs(1_900_000_000);
        assert_eq!(session.certificate_expires(), Some(expires));
        session.close().await;
        session.close().await;
    }
}

#[tokio::test]
async fn a_gateway_of_another_name_or_of_an_unknown_ca_is_refused() {
    let (ca, other) = (Ca::new(), Ca::new());
    for version in [&TLS13, &TLS12] {
        for name in ["other.test", "127.0.0.1"] {
            let address = gateway(server_config(&ca, &ca, version)).await;
            let error = Connector::tls(address, name, identity(&ca), roots(&ca)).open("u", "i").await.unwrap_err();
            let OpenError::GatewayCertificate(cause) = &error else { panic!("{error}") };
            assert!(matches!(cause, CertificateError::NotValidForNameContext { .. }), "{cause:?}");
        }
        let address = gateway(server_config(&ca, &ca, version)).await;
        let connector = Connector::tls(address, "gateway.test", identity(&ca), roots(&other));
        let error = connector.open("u", "i").await.unwrap_err();
        // rcgen gives all CAs one name here, so that the issuer is found and its signature is wrong.
        assert!(matches!(error, OpenError::GatewayCertificate(_)), "{error}");
    }
    let error = Connector::tls("127.0.0.1:1", "not a name", identity(&ca), roots(&ca)).open("u", "i").await;
    assert_eq!(error.err(), Some(OpenError::ServerName("not a name".into())));
}

#[tokio::test]
async fn r3_a_refused_certificate_is_a_clear_error_in_both_versions() {
    let (ca, clients) = (Ca::new(), Ca::new());
    for version in [&TLS13, &TLS12] {
        let address = gateway(server_config(&ca, &clients, version)).await;
        let connector = Connector::tls(address, "gateway.test", identity(&ca), roots(&ca));
        let error = connector.open("u", "i").await.unwrap_err();
        assert!(
            matches!(
                error,
                OpenError::Alert(
                    AlertDescription::UnknownCA | AlertDescription::DecryptError | AlertDescription::BadCertificate
                )
            ),
            "{error}"
        );
    }
}

#[tokio::test]
async fn r36_no_door_falls_back_to_the_other() {
    let ca = Ca::new();
    // A clear gateway: the app sends it a TLS handshake and nothing else.
    let (address, clear) = listen(async |mut peer| {
        let mut first = [0; 3];
        tokio::io::AsyncReadExt::read_exact(&mut peer.stream, &mut first).await.unwrap();
        peer.raw(&[0, 0, 0, 0]).await;
        first
    })
    .await;
    let error = Connector::tls(address, "gateway.test", identity(&ca), roots(&ca)).open("u", "i").await.unwrap_err();
    assert_eq!(error, OpenError::NotTls);
    assert_eq!(clear.await.unwrap()[..2], [0x16, 0x03]);
    // And the other way round: the answer is an alert.
    let address = gateway(server_config(&ca, &ca, &TLS13)).await;
    let error = Connector::clear(address, "u", "pencil").open("u", "i").await.unwrap_err();
    assert_eq!(error, OpenError::SecureDoor);
}

#[test]
fn a_refused_certificate_is_told_in_the_gateways_words() {
    let revoked = OpenError::Alert(AlertDescription::CertificateRevoked).to_string();
    assert_eq!(revoked, "the gateway refused this app's certificate: revoked");
    let other = OpenError::Alert(AlertDescription::ProtocolVersion).to_string();
    assert_eq!(other, "the gateway ended the TLS handshake: ProtocolVersion");
    let unknown = OpenError::GatewayCertificate(CertificateError::UnknownIssuer).to_string();
    assert!(unknown.contains("is ca.pem the one of this gateway?"), "{unknown}");
}

#[test]
fn files_that_are_swapped_empty_damaged_or_strangers_are_told_apart() {
    let ca = Ca::new();
    let (certificate, key) = ca.issue("app", ExtendedKeyUsagePurpose::ClientAuth);
    let (_, other_key) = ca.issue("app", ExtendedKeyUsagePurpose::ClientAuth);
    let read = |certificate: &str, key: &str| Identity::from_pem(certificate.as_bytes(), key.as_bytes()).err();

    assert_eq!(read(&certificate, &key), None);
    let swapped = read(&key, &certificate).unwrap();
    assert_eq!(swapped, PemError::NoCertificate { holds_key: true });
    assert!(swapped.to_string().contains("swapped"));
    assert_eq!(read(&certificate, &certificate), Some(PemError::NoKey { holds_certificate: true }));
    assert_eq!(read("", &key), Some(PemError::NoCertificate { holds_key: false }));
    assert_eq!(read(&certificate, "hello"), Some(PemError::NoKey { holds_certificate: false }));
    let cut = &key[..key.len() / 2];
    let damaged = read(&certificate, cut).unwrap();
    assert!(matches!(&damaged, PemError::Unreadable(text) if text == "a section has no end"), "{damaged}");
    assert!(matches!(read(&certificate, &other_key), Some(PemError::Mismatch(_))));
    assert_eq!(Roots::from_pem(key.as_bytes()).err(), Some(PemError::NoCertificate { holds_key: true }));
    assert!(!format!("{:?}", identity(&ca)).contains("key"));
}
