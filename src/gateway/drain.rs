//! Before a planned stop: nobody new is let in, and sessions are told where to go (R42).

use std::{sync::Arc, time::Duration};

use callgate_wire::v1::GatewayLeaving;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{info, warn};

use super::Gateway;
use crate::config::Stop;

/// How often is looked whether all have gone.
const LOOK: Duration = Duration::from_millis(20);
/// How long it may take to tell the sessions.
const TELL: Duration = Duration::from_secs(5);

impl Gateway {
    /// How long [`drain`](Self::drain) waits at most for sessions to go. Zero: not at all.
    pub fn drain_time(&self) -> Duration {
        let Stop { gateways, drain_seconds } = &self.config.borrow().stop;
        if gateways.is_empty() { Duration::ZERO } else { Duration::from_secs((*drain_seconds).into()) }
    }

    /// Closes the doors and ends what is being opened there, tells the sessions where to go, and waits until they have gone or their
    /// time is over: calls, keys and the administration go on meanwhile. Without another gateway nothing is done. To be followed by
    /// [`stop`](Self::stop); whoever gives it up for that, or doesn't begin to wait, leaves nothing half way.
    pub fn drain(&mut self) -> impl Future<Output = ()> + use<> {
        let time = self.drain_time();
        let gateways = self.config.borrow().stop.gateways.clone();
        let (mut doors, sessions, entrance) = (Vec::new(), self.sessions(), Arc::clone(&self.entrance));
        if !gateways.is_empty() {
            self.door_health.down("the gateway is about to stop: its sessions go elsewhere");
            self.doors_stop.cancel();
            doors = std::mem::take(&mut self.doors);
            doors.extend(self.tls.take().map(|door| door.runs));
        }
        async move {
            if gateways.is_empty() {
                return;
            }
            let begun = Instant::now();
            let closes_in_seconds = u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
            let told = async {
                for door in doors {
                    let _ = door.await;
                }
                // Whoever came in before is with a worker now.
                sessions.leave(&GatewayLeaving { gateways, closes_in_seconds }).await
            };
            match timeout_at(begun + TELL, told).await {
                Ok(0) if entrance.session_count() == 0 => {
                    info!("no session has to go elsewhere");
                    return;
                }
                Ok(told) => info!(sessions = told, seconds = closes_in_seconds, "sessions are told to go elsewhere"),
                Err(_) => warn!("not all sessions could be told to go elsewhere in time"),
            }
            let all_gone = async {
                while entrance.session_count() > 0 {
                    sleep(LOOK).await;
                }
            };
            let _ = timeout_at(begun + time, all_gone).await;
            info!(left = entrance.session_count(), "the time to go elsewhere is over");
        }
    }
}
