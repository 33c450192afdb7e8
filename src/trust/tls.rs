//! The TLS door's settings, and the words for what fails on it (R3).
//!
//! TLS 1.3 and 1.2 with ECDHE and AEAD, a client certificate always, and every handshake a full one: a resumed session
//! would skip the checks of the certificate.

use std::{io, sync::Arc};

use rustls::{
    CertificateError, Error, ServerConfig, ServerConnection,
    crypto::aws_lc_rs,
    server::{NoServerSessionStorage, ProducesTickets},
    sign::SingleCertAndKey,
    time_provider::{DefaultTimeProvider, TimeProvider},
    version,
};
use time::OffsetDateTime;

use super::{ClientCrls, Ledger, LedgerVerifier, NotAccepted, Status, TrustError, ca::sha256, gateway};
use crate::{
    config::TlsFiles,
    model::{InstanceId, UserName},
};
use callgate_wire::v1::ErrorCode;

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

/// What the TLS door goes by.
pub struct TlsSettings {
    /// How it shakes hands.
    pub server: Arc<ServerConfig>,
    /// The CRLs of client CAs, which it looks certificates up in.
    pub crls: Arc<ClientCrls>,
}

/// The settings of the TLS door.
///
/// # Errors
/// A file can't be read or isn't what it should be, certificate and key aren't a pair, or the gateway's certificate has
/// expired, is not valid yet or not for servers.
pub fn server_config(files: &TlsFiles, ledger: Arc<Ledger>) -> Result<TlsSettings, TrustError> {
    server_config_at(files, ledger, Arc::new(DefaultTimeProvider))
}

/// As [`server_config`], by another clock.
///
/// # Errors
/// As [`server_config`].
pub fn server_config_at(
    files: &TlsFiles,
    ledger: Arc<Ledger>,
    clock: Arc<dyn TimeProvider>,
) -> Result<TlsSettings, TrustError> {
    let tls = |error: &dyn std::error::Error| TrustError::Tls(error.to_string());
    let now = clock.current_time().ok_or_else(|| TrustError::Tls("there is no clock".into()))?;
    let pair = gateway::load(&files.certificate, &files.key, now)?;
    // The process's default provider is whatever somebody installed: ours is named.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let (verifier, crls) = LedgerVerifier::of_files(files, ledger)?;
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
    // When they were read, and then from time to time.
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    crls.tell_ages(OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH));
    Ok(TlsSettings { server: Arc::new(config), crls })
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
