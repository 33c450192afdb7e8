//! What can go wrong between an app and a gateway.

use std::fmt;
use std::time::Duration;

use callgate_wire::{
    FrameError,
    v1::{self, ErrorCode},
};
use rustls::{AlertDescription, CertificateError};

/// An error of the gateway's table, as it said it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// Its stable number. Numbers that this SDK doesn't know come from a later gateway.
    pub number: i32,
    /// The rule that decided, such as "R10".
    pub rule: String,
    /// What was wrong, in one sentence.
    pub text: String,
    /// What to change, in one sentence.
    pub mend: String,
    /// What it is about: the device, or the field and its value. Empty where there is nothing to add.
    pub detail: String,
}

impl Refusal {
    /// The code, if this SDK knows it.
    pub fn code(&self) -> Option<ErrorCode> {
        ErrorCode::try_from(self.number).ok()
    }

    pub(super) fn from_wire(wire: Option<v1::Error>) -> Self {
        let wire = wire.unwrap_or_default();
        Self { number: wire.code, rule: wire.rule, text: wire.text, mend: wire.mend, detail: wire.detail }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code() {
            Some(code) => write!(f, "{} ({})", code.as_str_name(), self.number)?,
            None => write!(f, "error {}", self.number)?,
        }
        if !self.detail.is_empty() {
            write!(f, ", {:?}", self.detail)?;
        }
        write!(f, ": {} {}", self.text, self.mend)
    }
}

/// Why no session was opened.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The address did not resolve, or nobody answered there.
    #[error("{address} can't be reached: {text}")]
    Unreachable {
        /// The address as it was given.
        address: String,
        /// What kind of failure it was.
        kind: std::io::ErrorKind,
        /// What the system said.
        text: String,
    },
    /// Connecting and opening took longer than allowed.
    #[error("the session was not open within {0:?}")]
    Timeout(Duration),
    /// The name to verify is neither a host name nor an IP address.
    #[error("{0:?} is neither a host name nor an IP address")]
    ServerName(String),
    /// The gateway's certificate was not accepted: unknown issuer, other name, expired ...
    #[error("the gateway's certificate is not accepted: {}", gateway_certificate(.0))]
    GatewayCertificate(CertificateError),
    /// The gateway ended the TLS handshake with this alert: usually it did not accept the app's certificate.
    #[error("{}", alert(*.0))]
    Alert(AlertDescription),
    /// By TLS, but what answers is the clear door, or no gateway.
    #[error("what answers doesn't speak TLS: it is probably the clear door (usually 2748)")]
    NotTls,
    /// In the clear, but what answers speaks TLS.
    #[error("it answers in TLS: this is the secure door (usually 2749); use Connector::tls")]
    SecureDoor,
    /// TLS failed otherwise.
    #[error("TLS: {0}")]
    Tls(rustls::Error),
    /// The gateway refused to open the session.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The gateway closed the connection, and said why.
    #[error("closed before it was open: {0}")]
    Closed(Refusal),
    /// The connection ended without a word.
    #[error("the connection was lost before the session was open: {0}")]
    ConnectionLost(String),
    /// The other side did not prove that it knows the password: it is not the gateway, and the app must not go on.
    #[error("the other side did not prove that it knows the password")]
    GatewayNotAuthentic,
    /// The user name or password can't be used in SCRAM (RFC 4013), or the gateway's side of it is out of bounds.
    #[error("SCRAM: {0}")]
    Scram(String),
    /// What came was not the protocol.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

impl OpenError {
    /// Whether the same may succeed later without anybody changing anything: the gateway isn't there, is full, or is
    /// stopping, or the instance's last session has not been given up yet. Anything else stays as it is until a person
    /// mends it.
    pub fn is_temporary(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout(_) | Self::ConnectionLost(_) => true,
            Self::Refused(refusal) | Self::Closed(refusal) => refusal.code().is_some_and(|code| {
                matches!(
                    code,
                    ErrorCode::GatewayStopping
                        | ErrorCode::InstanceAlreadyOpen
                        | ErrorCode::OpenTimeout
                        | ErrorCode::TooManyConnections
                        | ErrorCode::TooManySessions
                        | ErrorCode::TooManySessionsOfUser
                        | ErrorCode::TooManyTries
                )
            }),
            _ => false,
        }
    }
}

fn gateway_certificate(error: &CertificateError) -> String {
    match error {
        // The CAs of two gateways may have one name: then the issuer is found, and its signature is wrong.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "it is not from a CA in Roots: is ca.pem the one of this gateway?".to_owned()
        }
        other => other.to_string(),
    }
}

/// The gateway says by an alert what it thinks of the app's certificate.
fn alert(alert: AlertDescription) -> String {
    let why = match alert {
        AlertDescription::CertificateRequired => "there is none",
        AlertDescription::CertificateExpired => "it has expired, or isn't valid yet",
        AlertDescription::CertificateRevoked => "revoked",
        AlertDescription::UnknownCA | AlertDescription::DecryptError => "it doesn't come from the gateway's CA",
        AlertDescription::UnsupportedCertificate => "it isn't for TLS clients",
        AlertDescription::CertificateUnknown => {
            "its ledger doesn't know it, or it can't be used: the gateway's log says"
        }
        AlertDescription::BadCertificate => "it is damaged",
        other => return format!("the gateway ended the TLS handshake: {other:?}"),
    };
    format!("the gateway refused this app's certificate: {why}")
}

/// What the gateway sent was not what the protocol allows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A frame was too large or not a message.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The gateway chose a version that was not offered.
    #[error("the gateway speaks version {0}, which was not offered")]
    Version(u32),
    /// Another message was expected here.
    #[error("the gateway sent something else where {0} was expected")]
    Unexpected(&'static str),
    /// A field has a value that makes no sense.
    #[error("the gateway sent a wrong {0}")]
    Value(&'static str),
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The gateway refused it; the session goes on.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// The session has ended.
    #[error("the session has ended: {0}")]
    Closed(Closed),
    /// So many events wait to be read that the answer can't be waited for. Read events, then ask again.
    #[error("the app does not read its events, so that the answer can't be waited for")]
    EventsNotRead,
    /// The gateway answered with something else.
    #[error(transparent)]
    Protocol(#[from] ProtocolError),
}

/// Why a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Closed {
    /// The app closed it, or dropped all its handles.
    ByApp,
    /// The gateway closed it, and said why.
    ByGateway(Refusal),
    /// Nothing was heard for two heartbeat intervals (R39).
    HeartbeatTimeout,
    /// The connection ended without a `Close`. The text is the system's.
    ConnectionLost(String),
    /// What came was not the protocol.
    Protocol(ProtocolError),
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByApp => f.write_str("the app closed it"),
            Self::ByGateway(refusal) => write!(f, "the gateway closed it: {refusal}"),
            Self::HeartbeatTimeout => f.write_str("nothing was heard for two heartbeat intervals"),
            Self::ConnectionLost(text) => write!(f, "the connection was lost: {text}"),
            Self::Protocol(error) => error.fmt(f),
        }
    }
}

/// Why certificates or keys can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// No certificate in what should hold one.
    #[error("no certificate in it{}", if *.holds_key { "; it holds a private key: are the two files swapped?" } else { "" })]
    NoCertificate {
        /// Whether a private key is there instead.
        holds_key: bool,
    },
    /// No private key in what should hold one.
    #[error("no private key in it{}", if *.holds_certificate { "; it holds a certificate: are the two files swapped?" } else { "" })]
    NoKey {
        /// Whether a certificate is there instead.
        holds_certificate: bool,
    },
    /// Not PEM, or cut short.
    #[error("not readable as PEM: {0}")]
    Unreadable(String),
    /// A certificate that isn't one.
    #[error("a certificate in it is not valid: {0}")]
    Certificate(String),
    /// Certificate and key don't belong together, or the key's kind is not supported.
    #[error("certificate and key can't be used together: {0}")]
    Mismatch(String),
}

/// Why the files of an identity can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// A file can't be read.
    #[error("{file}: can't be read: {text}")]
    Unreadable {
        /// Which.
        file: String,
        /// What kind of failure it was.
        kind: std::io::ErrorKind,
        /// What the system said.
        text: String,
    },
    /// What was read can't be used.
    #[error("{files}: {error}")]
    Unusable {
        /// Which one, or which two.
        files: String,
        /// Why.
        error: PemError,
    },
}
