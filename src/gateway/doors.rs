//! The doors of a gateway: their ports are taken first, and they open when all else is there.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Gateway;
use crate::{
    config,
    cti::{self, Door, DoorError, Entrance, TlsSide},
};

/// Doors whose ports are taken, and that let nobody in yet. Who connects waits, and takes none of this process's files.
pub(super) struct ClosedDoors {
    clear: Option<Door>,
    tls: Option<(Door, Arc<ArcSwap<TlsSide>>)>,
}

/// The TLS door while it is open.
pub(super) struct TlsDoor {
    address: Option<SocketAddr>,
    pub(super) side: Arc<ArcSwap<TlsSide>>,
    pub(super) stop: CancellationToken,
    pub(super) runs: JoinHandle<()>,
}

impl ClosedDoors {
    /// Takes the ports of the settings' doors; the TLS door is one with a `side`.
    pub(super) async fn bind(
        doors: config::Doors,
        entrance: &Arc<Entrance>,
        side: Option<TlsSide>,
    ) -> Result<Self, DoorError> {
        let clear = match doors.clear {
            Some(address) => Some(Door::bind(address, Arc::clone(entrance), None).await?),
            None => None,
        };
        let tls = match (doors.tls, side) {
            (Some(address), Some(side)) => {
                let side = Arc::new(ArcSwap::from_pointee(side));
                Some((Door::bind(address, Arc::clone(entrance), Some(Arc::clone(&side))).await?, side))
            }
            _ => None,
        };
        Ok(Self { clear, tls })
    }
}

impl Gateway {
    /// Lets apps in. From now on strangers take files and time of this process: nothing may come after it that must not fail.
    pub(super) fn open(&mut self, ClosedDoors { clear, tls }: ClosedDoors) {
        // Who waits for these lines in the log finds nothing before them that comes of an open door.
        clear.iter().chain(tls.iter().map(|(door, _)| door)).for_each(cti::announce);
        if let Some(door) = clear {
            self.clear = door.local_addr().ok();
            self.doors.push(tokio::spawn(door.run(self.doors_stop.clone())));
        }
        if let Some((door, side)) = tls {
            let stop = self.doors_stop.child_token();
            let address = door.local_addr().ok();
            let runs = tokio::spawn(door.run(stop.clone()));
            self.tls = Some(TlsDoor { address, side, stop, runs });
        }
        self.tell_doors();
    }

    /// Where the clear door listens; `None` if it is closed.
    pub fn clear_address(&self) -> Option<SocketAddr> {
        self.clear
    }

    /// Where the TLS door listens; `None` if it is closed.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls.as_ref().and_then(|door| door.address)
    }

    /// Tells which doors are open. One that the settings close is missed by nobody.
    pub(super) fn tell_doors(&self) {
        let shown =
            |address: Option<SocketAddr>| address.map_or_else(|| "closed".into(), |address| address.to_string());
        self.door_health.up(&format!("clear {}, TLS {}", shown(self.clear), shown(self.tls_address())));
    }
}
