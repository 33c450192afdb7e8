//! Northbound: the doors that apps come in by, and the workers that their sessions live on.
//!
//! A door accepts, shakes hands and runs `opening` on the runtime's threads. An open session moves to a
//! worker: one thread that owns the sockets of its sessions, judges each event by [`crate::policy`], writes the record
//! and sends. The state machines of opening and of an open session are pure; the shells around them own the sockets.

mod arrivals;
mod audit;
mod backlog;
mod clock;
mod door;
mod encode;
mod entrance;
mod event_frame;
mod expiries;
mod expiry;
mod fields;
mod identity;
mod judging;
mod jumps;
mod live;
mod live_rights;
mod log_fields;
mod log_writer;
mod meters;
mod opening;
mod orders;
mod refusals;
mod registry;
mod renewal;
mod scram;
mod session;
mod sessions;
mod signs;
mod socket;
mod subscribers;
mod tries;
mod visit;
mod worker;

/// For the fuzz target; nothing that the gateway has.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;

#[cfg(test)]
mod tests;

pub use clock::Clock;
pub use door::{Door, DoorError, announce};
pub use entrance::{Crowds, Current, Entrance, TlsSide};
pub use live_rights::{Effects, LiveRights, NotAcknowledged, Turn};
pub use log_fields::LogFields;
pub use log_writer::LogWriter;
pub use orders::{OpenSession, OpenSessions, Which};
pub use registry::Registry;
pub use scram::Decoy;
pub use worker::{WorkerHandle, spawn_worker};

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    audit::Trail,
    config::{Heartbeat, Limits},
    hub::{HubHandle, Rights, WorkerId},
};

/// What every door and session needs to know, fixed while the gateway runs. What can change is in [`Rights`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// The range of heartbeat intervals (R39).
    pub heartbeat: Heartbeat,
    /// The bounds of R41a.
    pub limits: Limits,
}

/// What a worker is made of.
#[derive(Clone)]
pub struct WorkerSettings {
    /// Its place among the workers.
    pub id: WorkerId,
    /// What counts until the first barrier.
    pub rights: Arc<Rights>,
    /// The way to the hub.
    pub hub: HubHandle,
    /// What time it is for certificates.
    pub clock: Arc<Clock>,
    /// Where its sessions go on record.
    pub trail: Arc<dyn Trail>,
    /// Ends the worker and its sessions.
    pub stop: CancellationToken,
    /// Stops the gateway: the worker's end does.
    pub gateway: CancellationToken,
}

/// How long the end of a connection waits until the app has read the last message.
const FAREWELL: Duration = Duration::from_secs(1);
/// The same for an app that reads too slowly: what it has not read yet comes before the news (R41).
const SLOW_FAREWELL: Duration = Duration::from_secs(10);
/// How many closed sessions of a worker may still wait for their app to read the last message (R41a): each keeps its
/// socket for as long, and no place among the sessions.
pub const MOST_LEAVING: usize = 256;
