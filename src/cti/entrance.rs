//! What doors and connections on their way in share: who may come in, and where sessions go.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use super::{
    Settings, arrivals::Arrivals, audit, orders::OpenSessions, refusals::Noted, registry::Registry, scram::Decoy,
    worker::WorkerHandle,
};
use crate::{
    audit::Trail,
    hub::{HubHandle, Rights},
    model::AllowedNetworks,
    trust::{ClientCrls, Fingerprint, Ledger},
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
    /// Who is on the way in.
    pub crowds: Crowds,
    /// Where it goes on record who came in, and who didn't.
    pub trail: Arc<dyn Trail>,
}

impl Entrance {
    /// The sessions that came in.
    pub fn open_sessions(&self) -> OpenSessions {
        OpenSessions::new(self.workers.iter().map(WorkerHandle::orders).collect())
    }

    /// How many sessions there are, those on their way to a worker included.
    pub fn session_count(&self) -> usize {
        self.workers.iter().map(WorkerHandle::load).sum()
    }

    /// The end of the certificate of an open session that ends first, in seconds since 1970, as of a second ago.
    pub fn soonest_expiry(&self) -> Option<i64> {
        self.workers.iter().filter_map(WorkerHandle::soonest_expiry).min()
    }
}

/// The connections that aren't open yet. Each door has its own: strangers at one don't crowd the other.
pub struct Crowds {
    pub(super) clear: Crowd,
    pub(super) tls: Crowd,
}

/// Those of one door, each with what ends it.
pub(super) type Crowd = Arc<Mutex<Arrivals<CancellationToken>>>;

impl Crowds {
    /// Room for so many at each door.
    pub fn new(most: usize) -> Self {
        let crowd = || Arc::new(Mutex::new(Arrivals::new(most)));
        Self { clear: crowd(), tls: crowd() }
    }

    /// Who only holds a file descriptor gives it to who comes next, at whichever door that is: one of the larger crowd.
    /// Whether there was anybody.
    pub(super) fn displace(&self) -> bool {
        let (clear, tls) = (lock(&self.clear).len(), lock(&self.tls).len());
        let crowd = if clear > tls { &self.clear } else { &self.tls };
        let displaced = lock(crowd).displace();
        displaced.map(|displaced| displaced.cancel()).is_some()
    }
}

/// What counts for who comes in.
pub struct Current {
    /// The newest rights.
    pub rights: Arc<Rights>,
    /// Stands in for users that don't exist.
    pub decoy: Decoy,
    /// Who may connect (R5).
    pub networks: AllowedNetworks,
}

/// The TLS side of the TLS door. It is replaced as a whole when its files are read again.
pub struct TlsSide {
    /// How to shake hands.
    pub config: Arc<ServerConfig>,
    /// Whose certificate it is.
    pub ledger: Arc<Ledger>,
    /// The client CAs, and what they have revoked.
    pub crls: Arc<ClientCrls>,
    /// The SHA-256 of the gateway's own certificate.
    pub certificate: Fingerprint,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts a refusal before a session is open on record, or only counts it.
pub(super) fn tell(trail: &dyn Trail, noted: Noted, refusal: &audit::Refusal<'_>) {
    match noted {
        Noted::First(makes_room) => {
            if let Some(repeated) = makes_room {
                audit::refused_again(trail, refusal.door, &repeated);
            }
            audit::refused(trail, refusal);
        }
        Noted::Counted => audit::count_refusal(refusal.code),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn r41a_the_larger_crowd_gives_a_file_descriptor_to_whichever_door_needs_one() {
        let crowds = Crowds::new(10);
        let enter = |crowd: &Crowd, n: u8| {
            let end = CancellationToken::new();
            let _ = lock(crowd).enter(IpAddr::from([192, 0, 2, n]), end.clone());
            end
        };
        let clear: Vec<_> = (1..=2).map(|n| enter(&crowds.clear, n)).collect();
        let tls = enter(&crowds.tls, 3);
        assert!(crowds.displace());
        assert!(clear[0].is_cancelled() && !clear[1].is_cancelled() && !tls.is_cancelled(), "the clear door's oldest");
        assert!(crowds.displace() && crowds.displace());
        assert!(clear[1].is_cancelled() && tls.is_cancelled());
        assert!(!crowds.displace(), "nobody is left");
    }
}
