//! What doors and connections on their way in share: who may come in, and where sessions go.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use callgate_wire::v1::ErrorCode;
use rustls::ServerConfig;

use super::{
    Settings, audit,
    refusals::{Noted, Repeated},
    registry::Registry,
    scram::Decoy,
    worker::WorkerHandle,
};
use crate::{
    hub::{HubHandle, Rights},
    model::{self, Network},
    trust::Ledger,
};

/// What both doors share.
pub struct Entrance {
    /// What sessions need to know.
    pub settings: Arc<Settings>,
    /// Who is in.
    pub registry: Arc<Registry>,
    /// What counts for who comes in now. It is replaced as a whole, before the workers hear of it.
    pub current: ArcSwap<Current>,
    /// Where sessions live.
    pub workers: Vec<WorkerHandle>,
    /// Knows the number of devices.
    pub hub: HubHandle,
    /// Names this run of the gateway.
    pub epoch: u64,
}

/// What counts for who comes in.
pub struct Current {
    /// The newest rights.
    pub rights: Arc<Rights>,
    /// Stands in for users that don't exist.
    pub decoy: Decoy,
    /// Who may connect (R5); empty: anybody.
    pub networks: Vec<Network>,
}

impl Current {
    /// Whether this address may connect.
    pub(super) fn lets_in(&self, peer: IpAddr) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|network| network.contains(peer))
    }
}

/// The TLS side of the TLS door. It is replaced as a whole when its files are read again.
pub struct TlsSide {
    /// How to shake hands.
    pub config: Arc<ServerConfig>,
    /// Whose certificate it is.
    pub ledger: Arc<Ledger>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has a refusal before a session is open told by `record`, or only counted.
pub(super) fn tell(noted: Noted, door: model::Door, code: ErrorCode, record: impl FnOnce()) {
    match noted {
        Noted::First(makes_room) => {
            if let Some(Repeated { source, code, count }) = makes_room {
                audit::refused_again(door, source, code, count);
            }
            record();
        }
        Noted::Counted => audit::count_refusal(code),
    }
}
