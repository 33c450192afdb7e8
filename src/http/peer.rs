//! Who asks.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use crate::trust::CertificateIdentity;

/// Who a request comes from. Each request has it among its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// Somebody over TCP in the clear.
    Clear(SocketAddr),
    /// Somebody over TLS.
    Tls {
        /// Where from.
        address: SocketAddr,
        /// Whose certificate was shown, if one was: the ledger knew it in the handshake, and still does.
        certificate: Option<CertificateIdentity>,
    },
    /// A process of this machine, over a unix socket.
    Unix {
        /// Its user, as the system says (`SO_PEERCRED`).
        uid: u32,
        /// Itself, if the system says so.
        pid: Option<i32>,
    },
}

impl Peer {
    /// The address that it comes from; `None` on the machine itself.
    pub fn source(&self) -> Option<IpAddr> {
        match self {
            Self::Clear(address) | Self::Tls { address, .. } => Some(address.ip().to_canonical()),
            Self::Unix { .. } => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear(address) | Self::Tls { address, .. } => write!(f, "{}", address.ip().to_canonical()),
            Self::Unix { uid, .. } => write!(f, "uid {uid}"),
        }
    }
}
