//! Why a certificate is refused, and whose it is, for the record (R3, R43).
//!
//! TLS tells the app an alert, and rustls us the kind of error that makes it: neither says which certificate it was. The
//! verifier, which sees it, leaves it here for whoever waits for the handshake.

use std::cell::Cell;

use callgate_wire::v1::ErrorCode;
use rustls::{CertificateError, Error, OtherError, ServerConnection, pki_types::CertificateDer};
use x509_parser::{
    prelude::{FromDer, X509Certificate},
    public_key::PublicKey,
};

use super::{Ledger, ca::sha256, ledger::to_hex};
use crate::model::{InstanceId, UserName};

/// The smallest RSA key that counts, in bits (R31).
const RSA_MIN_BITS: usize = 2048;
/// The most bytes of a serial number (RFC 5280 section 4.1.2.2).
const SERIAL_MAX: usize = 20;
/// The most bytes of a subject that are kept.
const SUBJECT_MAX: usize = 128;

tokio::task_local! {
    /// What the verifier refused in this task's handshake.
    static REFUSED: Cell<Option<Refused>>;
}

/// Why a certificate is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotAccepted {
    /// It is a CA's.
    CaUsedAsLeaf,
    /// The CRL of its CA is out of date.
    CrlExpired,
    /// There is no CRL of its CA, and the ledger doesn't say that there need be none (R11).
    CrlMissing,
    /// It, or one between it and its CA, has expired.
    Expired,
    /// The ledger can't be read: nobody is let in.
    LedgerUnavailable,
    /// A name of ours in it is not the one in the ledger (R11).
    NameDisagrees,
    /// It has an extended key usage, but not that of clients.
    NotForClients,
    /// The ledger doesn't know it.
    NotInLedger,
    /// The handshake isn't signed with its key.
    NotPossessed,
    /// It isn't valid yet.
    NotYetValid,
    /// It has no extended key usage. For TLS it would be good for everything.
    NoUsage,
    /// Something else is wrong with it.
    Other,
    /// The ledger says that it doesn't count any more.
    Revoked,
    /// The CRL of its CA says that it doesn't count any more.
    RevokedByCa,
    /// It has signed itself.
    SelfSigned,
    /// Its issuer is none of the client CAs.
    UnknownIssuer,
    /// It can't be read.
    Unreadable,
    /// Its RSA key is too short.
    WeakKey,
    /// Its issuer has the name of a client CA, but didn't sign it.
    WrongSignature,
}

/// A certificate that was shown to the gateway. Its serial number and subject are what it says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// SHA-256 of its DER form.
    pub sha256: [u8; 32],
    /// Its serial number, lower-case hex; what fits of a longer one than there may be. Empty if it can't be read.
    pub serial: String,
    /// Its subject; what fits of a long one. Empty if it can't be read.
    pub subject: String,
    /// Whose it is, if the ledger knows it.
    pub owner: Option<(UserName, InstanceId)>,
}

/// A certificate that was refused in a handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub why: NotAccepted,
    /// Which.
    pub shown: Shown,
}

impl NotAccepted {
    /// The sentence for records.
    pub fn text(self) -> &'static str {
        match self {
            Self::CaUsedAsLeaf => "the certificate is a CA's, not an app's",
            Self::CrlExpired => "the CRL of the certificate's CA is out of date",
            Self::CrlMissing => "there is no CRL of the certificate's CA here",
            Self::Expired => "the certificate has expired, or one between it and its CA",
            Self::LedgerUnavailable => "the ledger can't be read",
            Self::NameDisagrees => "the certificate names another user or instance than the ledger",
            Self::NotForClients => "the certificate is for something else than TLS clients (extended key usage)",
            Self::NotInLedger => "the certificate is not in the ledger",
            Self::NotPossessed => "the handshake is not signed with the certificate's key",
            Self::NotYetValid => "the certificate is not valid yet",
            Self::NoUsage => "the certificate has no extended key usage, and needs clientAuth",
            Self::Other => "the certificate or its chain is not as it must be",
            Self::Revoked => "the ledger says that the certificate is revoked",
            Self::RevokedByCa => "the CRL of the certificate's CA says that it is revoked",
            Self::SelfSigned => "the certificate is signed by itself",
            Self::UnknownIssuer => "the certificate's issuer is none of the client CAs",
            Self::Unreadable => "the certificate can't be read",
            Self::WeakKey => "the certificate's RSA key has fewer than 2048 bits",
            Self::WrongSignature => {
                "the certificate's issuer has the name of a client CA and another key, or the certificate is damaged"
            }
        }
    }

    /// The word for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::CaUsedAsLeaf => "ca_used_as_leaf",
            Self::CrlExpired => "crl_expired",
            Self::CrlMissing => "crl_missing",
            Self::Expired => "expired",
            Self::LedgerUnavailable => "ledger_unavailable",
            Self::NameDisagrees => "name_disagrees",
            Self::NotForClients => "not_for_clients",
            Self::NotInLedger => "not_in_ledger",
            Self::NotPossessed => "not_possessed",
            Self::NotYetValid => "not_yet_valid",
            Self::NoUsage => "no_usage",
            Self::Other => "other",
            Self::Revoked => "revoked",
            Self::RevokedByCa => "revoked_by_ca",
            Self::SelfSigned => "self_signed",
            Self::UnknownIssuer => "unknown_issuer",
            Self::Unreadable => "unreadable",
            Self::WeakKey => "weak_key",
            Self::WrongSignature => "wrong_signature",
        }
    }

    /// The stable code.
    pub fn code(self) -> ErrorCode {
        match self {
            Self::CrlExpired | Self::CrlMissing => ErrorCode::CertificateStatusUnknown,
            Self::Expired => ErrorCode::CertificateExpired,
            // The app's certificate is not to blame, and the app learns no more of it than that.
            Self::LedgerUnavailable => ErrorCode::Internal,
            Self::NotInLedger => ErrorCode::CertificateNotInLedger,
            Self::NotYetValid => ErrorCode::CertificateNotYetValid,
            Self::Revoked | Self::RevokedByCa => ErrorCode::CertificateRevoked,
            Self::SelfSigned | Self::UnknownIssuer => ErrorCode::CertificateUnknownIssuer,
            Self::CaUsedAsLeaf | Self::NotForClients | Self::NoUsage => ErrorCode::CertificateWrongUsage,
            Self::NameDisagrees
            | Self::NotPossessed
            | Self::Other
            | Self::Unreadable
            | Self::WeakKey
            | Self::WrongSignature => ErrorCode::CertificateInvalid,
        }
    }

    /// What rustls means by refusing this certificate's chain.
    pub(super) fn of_chain(error: &Error, certificate: &CertificateDer<'_>) -> Self {
        let Error::InvalidCertificate(error) = error else { return Self::Other };
        let parsed = X509Certificate::from_der(certificate).ok().map(|(_, parsed)| parsed);
        match error {
            CertificateError::BadEncoding => Self::Unreadable,
            CertificateError::BadSignature => Self::WrongSignature,
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => Self::NotForClients,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Self::NotYetValid,
            CertificateError::ExpiredRevocationList | CertificateError::ExpiredRevocationListContext { .. } => {
                Self::CrlExpired
            }
            CertificateError::Revoked => Self::RevokedByCa,
            CertificateError::UnknownRevocationStatus => Self::CrlMissing,
            CertificateError::UnknownIssuer if parsed.as_ref().is_some_and(is_self_signed) => Self::SelfSigned,
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::Other(_) if parsed.is_some_and(|parsed| parsed.is_ca()) => Self::CaUsedAsLeaf,
            _ => Self::Other,
        }
    }
}

impl From<NotAccepted> for CertificateError {
    /// By the kind of error rustls chooses the alert.
    fn from(reason: NotAccepted) -> Self {
        match reason {
            NotAccepted::NoUsage => Self::InvalidPurpose,
            NotAccepted::CrlMissing => Self::UnknownRevocationStatus,
            NotAccepted::Revoked => Self::Revoked,
            NotAccepted::Unreadable => Self::BadEncoding,
            reason => Self::Other(OtherError(std::sync::Arc::new(reason))),
        }
    }
}

impl std::fmt::Display for NotAccepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.text())
    }
}

impl std::error::Error for NotAccepted {}

impl Shown {
    /// What there is to say of this certificate.
    pub(super) fn new(certificate: &CertificateDer<'_>, ledger: &Ledger) -> Self {
        let sha256 = sha256(certificate);
        let parsed = X509Certificate::from_der(certificate).ok().map(|(_, parsed)| parsed);
        let subject = parsed.as_ref().map(|parsed| parsed.subject().to_string()).unwrap_or_default();
        let snapshot = ledger.current();
        Self {
            sha256,
            serial: parsed.map(|parsed| serial(&parsed)).unwrap_or_default(),
            subject: beginning(&subject).into(),
            owner: snapshot.lookup(&sha256).map(|entry| (entry.user.clone(), entry.instance.clone())),
        }
    }
}

/// The certificate that the other side of a finished handshake has shown.
pub fn shown(connection: &ServerConnection, ledger: &Ledger) -> Option<Shown> {
    Some(Shown::new(connection.peer_certificates()?.first()?, ledger))
}

/// Does a handshake, and says which certificate was refused in it, if one was.
pub async fn witnessed<F: Future>(handshake: F) -> (F::Output, Option<Refused>) {
    let witnessed = async {
        let output = handshake.await;
        (output, REFUSED.with(Cell::take))
    };
    REFUSED.scope(Cell::new(None), witnessed).await
}

/// The same for what doesn't wait.
pub(super) fn witnessed_now<T>(check: impl FnOnce() -> T) -> (T, Option<Refused>) {
    REFUSED.sync_scope(Cell::new(None), || (check(), REFUSED.with(Cell::take)))
}

/// Leaves word of a refused certificate to [`witnessed`]. Without it nobody wants to know.
pub(super) fn leave_word(refused: impl FnOnce() -> Refused) {
    let _ = REFUSED.try_with(|word| word.set(Some(refused())));
}

/// Whether its key is too short to count.
pub(super) fn is_weak(certificate: &X509Certificate<'_>) -> bool {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) => {
            let zeros = key.modulus.iter().take_while(|byte| **byte == 0).count();
            let modulus = key.modulus.get(zeros..).unwrap_or_default();
            let unused = modulus.first().map_or(0, |first| first.leading_zeros());
            (modulus.len().saturating_mul(8)).saturating_sub(unused as usize) < RSA_MIN_BITS
        }
        _ => false,
    }
}

/// As the ledger writes it.
pub(super) fn serial(certificate: &X509Certificate<'_>) -> String {
    serial_hex(certificate.raw_serial())
}

pub(super) fn serial_hex(bytes: &[u8]) -> String {
    // A leading zero only says that the number is not negative.
    let bytes = bytes.strip_prefix(&[0]).filter(|rest| !rest.is_empty()).unwrap_or(bytes);
    to_hex(bytes.get(..SERIAL_MAX).unwrap_or(bytes))
}

fn beginning(subject: &str) -> &str {
    let end = (0..=SUBJECT_MAX.min(subject.len())).rev().find(|end| subject.is_char_boundary(*end));
    subject.get(..end.unwrap_or_default()).unwrap_or_default()
}

fn is_self_signed(certificate: &X509Certificate<'_>) -> bool {
    certificate.subject() == certificate.issuer() && certificate.verify_signature(None).is_ok()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{CertificateParams, DnType, KeyPair, SerialNumber};

    use super::*;
    use crate::trust::LedgerSnapshot;

    #[test]
    fn what_a_certificate_says_of_itself_has_a_bound() {
        let ledger = Ledger::kept(&Arc::new(LedgerSnapshot::default()));
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "ä".repeat(5_000));
        params.serial_number = Some(SerialNumber::from_slice(&[0xab; 200]));
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let shown = Shown::new(certificate.der(), &ledger);
        assert_eq!((shown.serial.len(), shown.owner), (2 * SERIAL_MAX, None));
        assert!(shown.subject.len() <= SUBJECT_MAX && shown.subject.len() > SUBJECT_MAX - 2, "{}", shown.subject);
        let unreadable = Shown::new(&CertificateDer::from_slice(b"no certificate"), &ledger);
        assert_eq!((unreadable.serial.as_str(), unreadable.subject.as_str()), ("", ""));
    }

    #[tokio::test]
    async fn word_is_left_to_the_handshake_that_it_is_about() {
        let refused = |why| {
            let shown = Shown { sha256: [1; 32], serial: String::new(), subject: String::new(), owner: None };
            Refused { why, shown }
        };
        let bad = witnessed(async {
            leave_word(|| refused(NotAccepted::WeakKey));
            tokio::task::yield_now().await;
        });
        let good = witnessed(tokio::task::yield_now());
        let ((_, of_bad), (_, of_good)) = tokio::join!(bad, good);
        assert_eq!((of_bad, of_good), (Some(refused(NotAccepted::WeakKey)), None));
        leave_word(|| panic!("nobody asks"));
    }
}
