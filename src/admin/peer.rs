//! Where a request to the administration comes from.

use std::net::{IpAddr, SocketAddr};

use crate::trust::Fingerprint;

/// Where a request comes from, as the socket knows it. Whoever serves the API puts one among each request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A process of this machine, over the unix socket.
    Local {
        /// Its user, as the system says.
        uid: u32,
    },
    /// Somebody over TLS.
    Remote {
        /// Where from.
        address: SocketAddr,
        /// The client certificate that was shown, if one was: chain, dates and ledger are checked.
        certificate: Option<Fingerprint>,
    },
}

impl Peer {
    /// The address whose failures count together.
    pub fn source(&self) -> Option<IpAddr> {
        match self {
            Self::Local { .. } => None,
            Self::Remote { address, .. } => Some(address.ip().to_canonical()),
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Local { uid } => write!(f, "uid {uid}"),
            Self::Remote { address, .. } => write!(f, "{}", address.ip().to_canonical()),
        }
    }
}
