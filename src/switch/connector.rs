//! The one trait of all switches, and what goes through it in both directions.

use std::{collections::HashSet, pin::Pin, sync::Arc};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::replay::ReplayError;
use crate::model::{Address, CallId, DeviceName, EventBatch, LineNumber, SwitchName};

/// A connector to a PBX, or what stands for one.
pub trait Switch: Send {
    /// Its configured name.
    fn name(&self) -> &SwitchName;

    /// Runs until it is told to stop, or has nothing more to say. Every command gets an answer while it runs.
    ///
    /// # Errors
    /// In the future's output: [`SwitchError`], when it can't go on.
    fn run(self: Box<Self>, io: SwitchIo) -> Running;
}

/// A switch that runs.
pub type Running = Pin<Box<dyn Future<Output = Result<(), SwitchError>> + Send>>;

/// What joins a switch to the house.
pub struct SwitchIo {
    /// Where its events go, in their order. The channel is bounded: a switch that is faster than the house waits.
    pub events: mpsc::Sender<EventBatch>,
    /// What is asked of its devices.
    pub commands: mpsc::Receiver<Command>,
    /// The devices that the operator knows, whenever they change. Those of its start it has from its settings.
    pub devices: watch::Receiver<Arc<KnownDevices>>,
    /// Tells it to stop.
    pub stop: CancellationToken,
}

impl SwitchIo {
    /// With devices that never change.
    pub fn new(events: mpsc::Sender<EventBatch>, commands: mpsc::Receiver<Command>, stop: CancellationToken) -> Self {
        Self { events, commands, devices: watch::channel(Arc::default()).1, stop }
    }
}

/// The devices that the operator knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownDevices {
    /// Where they are reached; no address is there twice.
    pub addresses: Vec<(Address, DeviceName)>,
    /// All of them, also those without an address.
    pub names: HashSet<DeviceName>,
}

/// Something that a device shall do. Its outcome is told by events; the answer only says that the switch took it.
#[derive(Debug)]
pub struct Command {
    /// The device.
    pub device: DeviceName,
    /// What it shall do.
    pub action: Action,
    /// Where the answer goes. It is dropped without one when the switch stops.
    pub answer: oneshot::Sender<Result<(), CommandError>>,
}

/// What a device can be asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Answers a call that is offered.
    Answer {
        /// The call.
        call: CallId,
    },
    /// Passes the other end of a call on, unasked.
    BlindTransfer {
        /// The call.
        call: CallId,
        /// The number or SIP URI that it goes to.
        destination: String,
    },
    /// Joins two calls of the device into a conference.
    Conference {
        /// The call that becomes the conference.
        call: CallId,
        /// The call that joins it.
        with: CallId,
    },
    /// Passes the other end of a call on to the other end of another one, after a word with it.
    ConsultTransfer {
        /// The call.
        call: CallId,
        /// The call to whom it goes.
        to: CallId,
    },
    /// Sends tones.
    Dtmf {
        /// The call.
        call: CallId,
        /// 0 to 9, A to D, * and #.
        digits: String,
    },
    /// Ends a call.
    Drop {
        /// The call.
        call: CallId,
    },
    /// Puts a call on hold.
    Hold {
        /// The call.
        call: CallId,
    },
    /// Begins a call.
    Make {
        /// The line that it is made on.
        line: LineNumber,
        /// The number or SIP URI to call.
        destination: String,
    },
    /// Parks a call.
    Park {
        /// The call.
        call: CallId,
    },
    /// Sends a call that is offered elsewhere.
    Redirect {
        /// The call.
        call: CallId,
        /// The number or SIP URI that it goes to.
        destination: String,
    },
    /// Takes a call from hold.
    Retrieve {
        /// The call.
        call: CallId,
    },
}

impl Action {
    /// Its name in logs, errors and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Answer { .. } => "answer",
            Self::BlindTransfer { .. } => "blind transfer",
            Self::Conference { .. } => "conference",
            Self::ConsultTransfer { .. } => "consult transfer",
            Self::Dtmf { .. } => "DTMF",
            Self::Drop { .. } => "drop",
            Self::Hold { .. } => "hold",
            Self::Make { .. } => "make",
            Self::Park { .. } => "park",
            Self::Redirect { .. } => "redirect",
            Self::Retrieve { .. } => "retrieve",
        }
    }
}

/// Why a switch didn't take a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// No device of this switch can do it.
    #[error("the switch {switch} can't do this: {action}")]
    Unsupported {
        /// The switch.
        switch: SwitchName,
        /// [`Action::name`].
        action: &'static str,
    },
}

/// Why a switch can't go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SwitchError {
    /// A capture can't be played, or not to its end.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// Nothing more can be read.
    #[error("the socket of the switch {switch} can't be used any more: {reason}")]
    Socket {
        /// The switch.
        switch: SwitchName,
        /// Why.
        reason: String,
    },
    /// The house doesn't take events any more, though it didn't say stop.
    #[error("nobody takes the events of the switch {0} any more")]
    Unheard(SwitchName),
}
