//! Before a planned stop: nobody new is let in, and sessions are told where to go (R42).

use std::time::Duration;

use callgate_wire::v1::GatewayLeaving;
use tokio::time::{sleep, timeout};
use tracing::info;

use super::{Gateway, STOP};
use crate::config::Stop;

/// How often is looked whether all have gone.
const LOOK: Duration = Duration::from_millis(20);

impl Gateway {
    /// How long [`drain`](Self::drain) takes at most. Zero: sessions have nowhere to go, and nothing is done.
    pub fn drain_time(&self) -> Duration {
        let Stop { gateways, drain_seconds } = &self.config.borrow().stop;
        if gateways.is_empty() { Duration::ZERO } else { Duration::from_secs((*drain_seconds).into()) }
    }

    /// Closes the doors, tells the sessions where to go, and gives them the time for it, or until the last has gone: calls, keys and the
    /// administration go on meanwhile. To be followed by [`stop`](Self::stop), and to be given up at any moment for that.
    pub async fn drain(&mut self) {
        let time = self.drain_time();
        if time.is_zero() {
            return;
        }
        self.door_health.down("the gateway is about to stop: its sessions go elsewhere");
        self.doors_stop.cancel();
        let mut doors = std::mem::take(&mut self.doors);
        doors.extend(self.tls.take().map(|door| door.runs));
        // Who was being let in is with a worker then.
        let closed = async {
            for door in doors {
                let _ = door.await;
            }
        };
        let _ = timeout(STOP, closed).await;
        let gateways = self.config.borrow().stop.gateways.clone();
        let closes_in_seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let told = self.sessions().leave(&GatewayLeaving { gateways, closes_in_seconds }).await;
        info!(sessions = told, seconds = closes_in_seconds, "sessions are told to go elsewhere");
        let all_gone = async {
            while self.there() > 0 {
                sleep(LOOK).await;
            }
        };
        let _ = timeout(time, all_gone).await;
        info!(left = self.there(), "the time to go elsewhere is over");
    }

    /// How many sessions there are.
    fn there(&self) -> usize {
        self.entrance.session_count()
    }
}
