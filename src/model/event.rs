//! What a switch reports of its devices.

use std::{net::SocketAddr, ops::Deref, sync::Arc, time::Instant};

use super::{CallId, DeviceName, Generation, KeyMaterial, LineNumber, StreamId, SwitchName, Timestamp};

/// Something that happened on a device, as a switch connector reports it.
#[derive(Debug, Clone)]
pub struct SwitchEvent {
    /// When the switch said so.
    pub at: Timestamp,
    /// The device that it happened on.
    pub device: DeviceName,
    /// The device's line.
    pub line: LineNumber,
    /// The call that it belongs to.
    pub call: Arc<CallRef>,
    /// What happened.
    pub body: EventBody,
}

/// Events that a connector reports at once, in their order.
#[derive(Debug)]
pub struct EventBatch {
    /// When the first of what says so came in from the switch: from here on it is we who take time.
    pub arrived: Instant,
    /// What happened.
    pub events: Vec<SwitchEvent>,
}

impl Deref for EventBatch {
    type Target = [SwitchEvent];

    fn deref(&self) -> &[SwitchEvent] {
        &self.events
    }
}

impl IntoIterator for EventBatch {
    type Item = SwitchEvent;
    type IntoIter = std::vec::IntoIter<SwitchEvent>;

    fn into_iter(self) -> Self::IntoIter {
        self.events.into_iter()
    }
}

/// What happened.
#[derive(Debug, Clone)]
pub enum EventBody {
    /// The call has a new state.
    Call(CallState),
    /// Key material was seen for the first time while its stream doesn't flow, as in a call that begins on hold.
    /// It tells when the generation was first seen (R16), and is no event for apps.
    MediaKeyed {
        /// The stream.
        stream: StreamId,
        /// Its new generation.
        generation: Generation,
        /// The key material.
        keys: Arc<KeyMaterial>,
    },
    /// Media flow, or flow again.
    MediaOpened(MediaOpened),
    /// Media don't flow any more.
    MediaStopped(MediaStopped),
}

/// The class of an event, to be monitored and counted on its own (R40).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventClass {
    /// Calls and their states.
    Call,
    /// Media streams and their keys.
    Media,
}

impl EventClass {
    /// Every class.
    pub const ALL: [Self; 2] = [Self::Call, Self::Media];
}

impl EventBody {
    /// Its class, if apps may hear of it.
    pub fn class(&self) -> Option<EventClass> {
        match self {
            Self::Call(_) => Some(EventClass::Call),
            Self::MediaKeyed { .. } => None,
            Self::MediaOpened(_) | Self::MediaStopped(_) => Some(EventClass::Media),
        }
    }
}

/// The names of a call and what doesn't change in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRef {
    /// Our own id.
    pub id: CallId,
    /// The connector that reported it.
    pub switch: SwitchName,
    /// What the switch calls it, if it has a name of its own.
    pub switch_call: Option<String>,
    /// The SIP Call-ID.
    pub sip_call_id: String,
    /// Who began it, as the device sees it.
    pub direction: CallDirection,
    /// The caller as From shows it.
    pub calling: Party,
    /// The called party as To shows it.
    pub called: Party,
}

/// Who began a call, as its device sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallDirection {
    /// The device called.
    Outgoing,
    /// The device was called.
    Incoming,
    /// The feed began in the middle of the call.
    Unknown,
}

/// A party as SIP shows it: for display, proven by nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Party {
    /// The SIP URI without its parameters.
    pub uri: String,
    /// The display name; may be empty.
    pub name: String,
}

/// A call's state, as its device sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallState {
    /// The device is being called, and has not rung yet.
    Offered,
    /// The device calls, and the other end has not rung yet.
    Dialing,
    /// The called end rings.
    Alerting,
    /// Answered.
    Connected,
    /// Put on hold by this device.
    Held,
    /// Put on hold by the other end.
    HeldByRemote,
    /// Over: the last event of a call.
    Ended(EndCause),
}

/// Why a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndCause {
    /// Hung up after it was answered.
    Hangup,
    /// Given up by the caller before it was answered.
    Cancelled,
    /// Refused by this final SIP response (300 to 699).
    Rejected(u16),
    /// Nothing more was heard of it for the configured time.
    Forgotten,
    /// The address turned out to be a PBX, not a device.
    NotADevice,
}

/// Media flow from one end to the other.
#[derive(Debug, Clone)]
pub struct MediaOpened {
    /// The stream: one direction of one media line.
    pub stream: StreamId,
    /// As the device sees it.
    pub direction: StreamDirection,
    /// Where the media go: the receiver's advertised address. The stream is known by it.
    pub destination: SocketAddr,
    /// Where the sender said that it receives. Most senders send from there; only the first authentic packet tells.
    pub likely_source: Option<SocketAddr>,
    /// What the media line carries: "audio", "video" ...
    pub media: Arc<str>,
    /// The agreed payload formats.
    pub codecs: Arc<[Codec]>,
    /// How it is protected.
    pub protection: Protection,
}

/// How a stream is protected.
#[derive(Debug, Clone)]
pub enum Protection {
    /// It is not SRTP, or SRTP without encryption.
    Clear,
    /// It is SRTP, and its key material is known.
    Keyed {
        /// Which set of key material of this stream this is.
        generation: Generation,
        /// When the switch first showed it.
        since: Timestamp,
        /// The key material. Within one call of a device the same key material is the same object, whichever of its
        /// streams goes on with it: by that it is known when it was first seen (R16).
        keys: Arc<KeyMaterial>,
    },
    /// It is SRTP, but the switch side doesn't know the key (R42b).
    Unknown {
        /// Its generation: an unknown key is a set of key material too.
        generation: Generation,
        /// When the switch first showed it.
        since: Timestamp,
    },
}

/// Media don't flow any more.
#[derive(Debug, Clone)]
pub struct MediaStopped {
    /// The stream.
    pub stream: StreamId,
    /// As the device sees it.
    pub direction: StreamDirection,
    /// The generation that was in force; `None` if it was not encrypted.
    pub generation: Option<Generation>,
    /// Why.
    pub cause: StopCause,
}

/// Why media stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StopCause {
    /// Paused by hold: the stream may flow again.
    Hold,
    /// Over: the stream's keys are of no more use (R23).
    Ended,
    /// It changed; it is opened anew at once.
    Changed,
}

/// The direction of media, as the device sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamDirection {
    /// The device sends.
    Sent,
    /// The device receives.
    Received,
}

impl StreamDirection {
    /// Both directions.
    pub const BOTH: [Self; 2] = [Self::Sent, Self::Received];
}

/// A payload format (RFC 8866, rtpmap; RFC 3551 for static ones).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Codec {
    /// 0 to 127.
    pub payload_type: u8,
    /// The encoding name, such as "PCMU".
    pub name: String,
    /// In Hz.
    pub clock_rate: u32,
}
