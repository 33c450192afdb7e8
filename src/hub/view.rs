//! What the administration sees of devices, calls and streams, whoever monitors them: never a key.

use std::{net::SocketAddr, sync::Arc};

use super::CallSecurity;
use crate::model::{
    CallRef, CallState, DeviceName, Generation, LineNumber, MediaOpened, Protection, StopCause, StreamDirection,
    StreamId, Suite,
};

/// Which devices are looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Look {
    /// From this one on, in the order of the names; `None`: from the first.
    pub from: Option<DeviceName>,
    /// Only names that contain this, whatever the case of ASCII letters.
    pub contains: String,
    /// Only devices that have calls.
    pub busy: bool,
    /// The most devices of the answer.
    pub limit: usize,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// The devices, in the order of their names. There can be fewer than were asked for, or none, and yet more behind them.
    pub devices: Vec<DeviceView>,
    /// Where to look on, if there are more.
    pub resume: Option<DeviceName>,
}

/// A device as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceView {
    /// Its name.
    pub device: DeviceName,
    /// Somebody described it, or a switch makes it up; the others are known by their calls only.
    pub configured: bool,
    /// The number of its last event; 0 if there was none.
    pub number: u64,
    /// How many sessions monitor it.
    pub monitors: usize,
    /// Its calls in progress, oldest first.
    pub calls: Vec<CallView>,
}

/// A call in progress, as its device sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallView {
    /// Its names.
    pub call: Arc<CallRef>,
    /// The line that it is on.
    pub line: LineNumber,
    /// Its state.
    pub state: CallState,
    /// How secure it is.
    pub security: CallSecurity,
    /// Its streams.
    pub streams: Vec<StreamView>,
}

/// A stream: one direction of one media line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamView {
    /// Its id.
    pub stream: StreamId,
    /// The generation in force (R22); `None` if it is not SRTP.
    pub generation: Option<Generation>,
    /// What was told when it flowed last; `None` if it has not flowed yet.
    pub opened: Option<Opened>,
}

/// What was told of a stream when it began to flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// As the device sees it.
    pub direction: StreamDirection,
    /// What the media line carries: "audio", "video" ...
    pub media: Arc<str>,
    /// Where the media go.
    pub destination: SocketAddr,
    /// How it is protected.
    pub protected: Protected,
    /// It flows now, and is not on hold.
    pub flows: bool,
}

/// How a stream is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protected {
    /// It is not SRTP.
    No,
    /// It is SRTP with this suite, and the gateway knows the key.
    Keyed(Suite),
    /// It is SRTP, and the switch side doesn't know the key (R42b).
    KeyUnknown,
}

impl Opened {
    pub(super) fn new(media: &MediaOpened) -> Self {
        Self {
            direction: media.direction,
            media: Arc::clone(&media.media),
            destination: media.destination,
            protected: match &media.protection {
                Protection::Clear => Protected::No,
                Protection::Keyed { keys, .. } => Protected::Keyed(keys.suite()),
                Protection::Unknown { .. } => Protected::KeyUnknown,
            },
            flows: true,
        }
    }

    /// It doesn't flow any more. A change has it opened anew at once.
    pub(super) fn stop(&mut self, cause: StopCause) {
        self.flows = cause == StopCause::Changed;
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.protected != Protected::No
    }
}
