//! The settings of TLS, and the words for what fails on it (R3, R4).
//!
//! TLS 1.3 and 1.2 with ECDHE and AEAD, and every handshake a full one: a resumed session would skip the checks of the
//! certificate. The TLS door always asks for one; a service over HTTP takes one that is shown, and checks it alike.

use std::{io, sync::Arc};

use rustls::{
    CertificateError, CipherSuite, Error, ServerConfig, ServerConnection,
    crypto::{CryptoProvider, aws_lc_rs},
    server::{NoServerSessionStorage, ProducesTickets},
    sign::SingleCertAndKey,
    time_provider::{DefaultTimeProvider, TimeProvider},
    version,
};

use super::{
    ClientCrls, Fingerprint, Ledger, LedgerVerifier, NotAccepted, Status, TrustError,
    ca::{digest_sha256, sha256},
    gateway,
};
use crate::{
    config::TlsFiles,
    model::{InstanceId, Strength, UserName},
};
use callgate_wire::{TLS_EXPORTER_LABEL, TLS_EXPORTER_LEN, v1::ErrorCode};

/// Who a session's certificate says it is, by the ledger (R11).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateIdentity {
    /// The user.
    pub user: UserName,
    /// The user's instance.
    pub instance: InstanceId,
    /// SHA-256 of the certificate's DER form.
    pub sha256: [u8; 32],
    /// The certificate's last moment, in seconds since 1970.
    pub not_after_unix: i64,
}

/// What a service's TLS goes by.
pub struct TlsSettings {
    /// How it shakes hands.
    pub server: Arc<ServerConfig>,
    /// The client CAs, and their CRLs, which it looks certificates up in.
    pub crls: Arc<ClientCrls>,
    /// The SHA-256 of the gateway's own certificate.
    pub certificate: Fingerprint,
}

/// What a service's TLS is like (R4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsPolicy {
    /// Which suites there are.
    pub strength: Strength,
    /// Who has to show a certificate. One that is shown is checked, whoever it is.
    pub clients: Clients,
    /// The protocols inside, if the client is to be told (ALPN).
    pub protocols: &'static [&'static [u8]],
}

/// Whether clients have to show a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clients {
    /// They may.
    MayShow,
    /// They must.
    MustShow,
}

impl TlsPolicy {
    /// Of the TLS door: a client certificate at every level.
    pub fn door(strength: Strength) -> Self {
        Self { strength, clients: Clients::MustShow, protocols: &[] }
    }

    /// Of a service over HTTP: a client certificate is demanded at the highest level only.
    pub fn http(strength: Strength) -> Self {
        let clients = if strength >= Strength::High { Clients::MustShow } else { Clients::MayShow };
        Self { strength, clients, protocols: &[b"http/1.1"] }
    }
}

/// The settings of a service's TLS.
///
/// # Errors
/// A file can't be read or isn't what it should be, certificate and key aren't a pair, or the gateway's certificate has
/// expired, is not valid yet or not for servers.
pub fn server_config(files: &TlsFiles, ledger: Arc<Ledger>, policy: TlsPolicy) -> Result<TlsSettings, TrustError> {
    server_config_at(files, ledger, policy, Arc::new(DefaultTimeProvider))
}

/// As [`server_config`], by another clock.
///
/// # Errors
/// As [`server_config`].
pub fn server_config_at(
    files: &TlsFiles,
    ledger: Arc<Ledger>,
    policy: TlsPolicy,
    clock: Arc<dyn TimeProvider>,
) -> Result<TlsSettings, TrustError> {
    let tls = |error: &dyn std::error::Error| TrustError::Tls(error.to_string());
    let now = clock.current_time().ok_or_else(|| TrustError::Tls("there is no clock".into()))?;
    let pair = gateway::load(&files.certificate, &files.key, now)?;
    // The process's default provider is whatever somebody installed: ours is named.
    let provider = Arc::new(provider(policy.strength));
    let certificate = Fingerprint(pair.cert.first().map(|leaf| digest_sha256(leaf)).unwrap_or_default());
    let (verifier, crls) = LedgerVerifier::of_files(files, ledger, policy.clients)?;
    let mut config = ServerConfig::builder_with_details(provider, clock)
        .with_protocol_versions(&[&version::TLS13, &version::TLS12])
        .map_err(|error| tls(&error))?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    // Without it a TLS 1.2 session's keys aren't bound to its handshake (RFC 7627), and exporters aren't unique.
    config.require_ems = true;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::new(NoTickets);
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.alpn_protocols = policy.protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(TlsSettings { server: Arc::new(config), crls, certificate })
}

/// Our provider with the suites of this strength. At `Low` and `Medium` these are all: each has AES-128-GCM or more.
fn provider(strength: Strength) -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    if strength >= Strength::High {
        provider.cipher_suites.retain(|suite| is_high(suite.suite()));
    }
    provider
}

/// A list of what is high, so that a suite that is new in the library isn't by itself.
fn is_high(suite: CipherSuite) -> bool {
    matches!(
        suite,
        CipherSuite::TLS13_AES_256_GCM_SHA384
            | CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
            | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384
            | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
    )
}

/// Whose certificate this connection showed. `None` before the handshake is finished, and if the ledger doesn't accept
/// the certificate any more.
pub fn peer_identity(connection: &ServerConnection, ledger: &Ledger) -> Option<CertificateIdentity> {
    let sha256 = sha256(connection.peer_certificates()?.first()?);
    let snapshot = ledger.current();
    let entry = snapshot.lookup(&sha256).filter(|entry| entry.status == Status::Issued)?;
    Some(CertificateIdentity {
        user: entry.user.clone(),
        instance: entry.instance.clone(),
        sha256,
        not_after_unix: entry.not_after,
    })
}

/// What the two ends of this connection know of it, and of no other one: `tls-exporter` (RFC 9266). `None` before the handshake is
/// finished.
pub fn channel_binding(connection: &ServerConnection) -> Option<[u8; TLS_EXPORTER_LEN]> {
    connection.export_keying_material([0; TLS_EXPORTER_LEN], TLS_EXPORTER_LABEL, Some(&[])).ok()
}

/// The code for a handshake that failed on our side.
pub fn refusal(error: &Error) -> ErrorCode {
    match error {
        Error::NoCertificatesPresented => ErrorCode::CertificateMissing,
        Error::InvalidCertificate(error) => certificate_refusal(error),
        _ => ErrorCode::HandshakeFailed,
    }
}

/// As [`refusal`], for the error that a stream's handshake ends with.
pub fn refusal_io(error: &io::Error) -> ErrorCode {
    let source = error.get_ref().and_then(|source| source.downcast_ref::<Error>());
    source.map_or(ErrorCode::HandshakeFailed, refusal)
}

fn certificate_refusal(error: &CertificateError) -> ErrorCode {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => ErrorCode::CertificateExpired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            ErrorCode::CertificateNotYetValid
        }
        CertificateError::Revoked => ErrorCode::CertificateRevoked,
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. }
        | CertificateError::UnknownRevocationStatus => ErrorCode::CertificateStatusUnknown,
        CertificateError::UnknownIssuer => ErrorCode::CertificateUnknownIssuer,
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            ErrorCode::CertificateWrongUsage
        }
        CertificateError::Other(other) => {
            other.0.downcast_ref().map_or(ErrorCode::CertificateInvalid, |why: &NotAccepted| why.code())
        }
        _ => ErrorCode::CertificateInvalid,
    }
}

#[derive(Debug)]
struct NoTickets;

impl ProducesTickets for NoTickets {
    fn enabled(&self) -> bool {
        false
    }

    fn lifetime(&self) -> u32 {
        0
    }

    fn encrypt(&self, _plain: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn decrypt(&self, _cipher: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r4_each_strength_has_its_suites() {
        let count = |strength, of: &str| {
            let suites = provider(strength).cipher_suites;
            suites.iter().filter(|suite| format!("{:?}", suite.suite()).contains(of)).count()
        };
        for strength in [Strength::Low, Strength::Medium] {
            assert_eq!(["AES_128_GCM", "AES_256_GCM", "CHACHA20", ""].map(|of| count(strength, of)), [3, 3, 3, 9]);
        }
        let high = ["AES_128_GCM", "AES_256_GCM", "CHACHA20", ""].map(|of| count(Strength::High, of));
        assert_eq!(high, [0, 3, 3, 6], "all that are high are known, and no other");
        assert_eq!(TlsPolicy::http(Strength::Medium).clients, Clients::MayShow);
        assert_eq!(TlsPolicy::http(Strength::High).clients, Clients::MustShow);
        assert_eq!(TlsPolicy::door(Strength::Low).clients, Clients::MustShow);
    }

    #[test]
    fn r43_a_stream_s_error_has_the_same_code_as_its_cause() {
        for (error, code) in [
            (Error::NoCertificatesPresented, ErrorCode::CertificateMissing),
            (CertificateError::Revoked.into(), ErrorCode::CertificateRevoked),
            (CertificateError::from(NotAccepted::NotInLedger).into(), ErrorCode::CertificateNotInLedger),
            (CertificateError::from(NotAccepted::NameDisagrees).into(), ErrorCode::CertificateInvalid),
            (CertificateError::from(NotAccepted::LedgerUnavailable).into(), ErrorCode::Internal),
            (CertificateError::BadSignature.into(), ErrorCode::CertificateInvalid),
            (Error::HandshakeNotComplete, ErrorCode::HandshakeFailed),
        ] {
            assert_eq!(refusal(&error), code, "{error}");
            assert_eq!(refusal_io(&io::Error::new(io::ErrorKind::InvalidData, error)), code);
        }
        assert_eq!(refusal_io(&io::ErrorKind::UnexpectedEof.into()), ErrorCode::HandshakeFailed);
    }
}
