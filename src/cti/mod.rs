//! Northbound: the doors that apps come in by, and the workers that their sessions live on.
//!
//! A door accepts, shakes hands and runs `opening` on the runtime's threads. An open session moves to a
//! worker: one thread that owns the sockets of its sessions, judges each event by [`crate::policy`], writes the record
//! and sends. The state machines of opening and of an open session are pure; the shells around them own the sockets.

mod arrivals;
mod audit;
mod door;
mod encode;
mod live;
mod opening;
mod refusals;
mod registry;
mod scram;
mod session;
mod sessions;
mod socket;
mod subscribers;
mod worker;

/// For the fuzz target; nothing that the gateway has.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;

#[cfg(test)]
mod tests;

pub use door::{Door, DoorError, Entrance, TlsSide, announce};
pub use registry::Registry;
pub use scram::Decoy;
pub use worker::{WorkerHandle, spawn_worker};

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    config::{Heartbeat, Limits},
    directory::Directory,
    hub::{HubHandle, WorkerId},
    model::Mode,
};

/// What every door and session needs to know, fixed while the gateway runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cluster security mode (R2).
    pub mode: Mode,
    /// Both kinds of users may use both doors (R10).
    pub lenient_doors: bool,
    /// The range of heartbeat intervals (R39).
    pub heartbeat: Heartbeat,
    /// The bounds of R41a.
    pub limits: Limits,
    /// Users and devices.
    pub directory: Arc<Directory>,
}

/// What a worker is made of.
#[derive(Clone)]
pub struct WorkerSettings {
    /// Its place among the workers.
    pub id: WorkerId,
    /// What sessions need to know.
    pub settings: Arc<Settings>,
    /// The way to the hub.
    pub hub: HubHandle,
    /// Ends the worker and its sessions.
    pub stop: CancellationToken,
}

/// How long the end of a connection waits until the app has read the last message.
const FAREWELL: Duration = Duration::from_secs(1);
/// The same for an app that reads too slowly: what it has not read yet comes before the news (R41).
const SLOW_FAREWELL: Duration = Duration::from_secs(10);
