//! Events as an app sees them: own types, in which everything that a later minor version adds is `Unknown`, never an error.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::{error::Refusal, open_enum};
use crate::{codec::Codec, keys::SrtpKeys};

/// What an open session hears.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A call changed its state.
    CallState(EventHead, CallStateChanged),
    /// The operator changed what this session may do. All that follows it is by the new rights (R15).
    CapabilityChanged(CapabilityChanged),
    /// The certificate that the session was opened by ends soon, or has ended (R32).
    CertificateExpires(CertificateExpires),
    /// A monitored device, or some of its lines, can't be seen any more. No event of them follows (R15).
    DeviceOutOfService(DeviceOutOfService),
    /// The gateway is about to stop, and says where else there is one (R42). Events go on until then.
    GatewayLeaving(GatewayLeaving),
    /// Events were lost before the next event of this device, line and class. Found by their class numbers (R40).
    Gap(Gap),
    /// Media flow. The same event comes after a hold (same generation) and after a rekey (next generation).
    MediaOpened(EventHead, Box<MediaOpened>),
    /// A stream's media ended, paused, or moved.
    MediaStopped(EventHead, MediaStopped),
    /// An event that this version of the SDK doesn't know, or can't read. Its numbers count nevertheless.
    Unknown(EventHead),
}

impl Event {
    /// Where and when it happened. `None` for a gap, and for what is no event of a device.
    pub fn head(&self) -> Option<&EventHead> {
        match self {
            Self::CallState(head, _)
            | Self::MediaOpened(head, _)
            | Self::MediaStopped(head, _)
            | Self::Unknown(head) => Some(head),
            Self::CapabilityChanged(_)
            | Self::CertificateExpires(_)
            | Self::DeviceOutOfService(_)
            | Self::Gap(_)
            | Self::GatewayLeaving(_) => None,
        }
    }
}

/// Where and when something happened. Every session sees the same numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EventHead {
    /// The device.
    pub device: String,
    /// Its line, counted from 1.
    pub line: u32,
    /// The class of the event.
    pub class: EventClass,
    /// Counts all events of the device: their order.
    pub number: u64,
    /// Counts events of this device, line and class, without gaps.
    pub class_number: u64,
    /// When the switch said so, to the microsecond.
    pub at: SystemTime,
    /// The call.
    pub call: CallRef,
}

/// A hole in the class numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// The device.
    pub device: String,
    /// Its line.
    pub line: u32,
    /// The class of the lost events.
    pub class: EventClass,
    /// How many were lost.
    pub missed: u64,
}

/// What this session may do now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CapabilityChanged {
    /// What is different.
    pub changes: Vec<CapabilityChange>,
    /// The standard groups that the user is in now, by their names.
    pub groups: Vec<String>,
    /// Whether the session may have keys now. Each stream has its own conditions besides.
    pub keys: bool,
    /// How many devices this session may see now.
    pub device_count: u32,
    /// The number of the rights that count now, as the gateway's log has it.
    pub rights_version: u64,
}

/// The end of the certificate that the session was opened by. It comes when 14 days, 7 days, a day and an hour are left, at
/// the end, and when the session opens with less than 14 days left.
///
/// To go on by another certificate, close the session and open one with it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CertificateExpires {
    /// The certificate's last moment.
    pub expires: SystemTime,
    /// How much is left by the gateway's clock. Zero: it has ended.
    pub left: Duration,
    /// When the gateway closes the session.
    pub closes: SystemTime,
}

/// The gateway is about to stop.
///
/// Open a session at another gateway, monitor there, and close this one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayLeaving {
    /// Where to go, best first, each as `host:port`.
    pub gateways: Vec<String>,
    /// How long this session has.
    pub closes_in: Duration,
}

/// A device, or some of its lines, that the session can't see any more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceOutOfService {
    /// The device.
    pub device: String,
    /// The lines; the device's other lines go on. Empty: the whole device, which isn't monitored any more.
    pub lines: Vec<u32>,
    /// Why, and what to change.
    pub reason: Refusal,
}

/// The names of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallRef {
    /// Callgate's own id, never used twice.
    pub id: String,
    /// The configured name of the switch connector that reported it.
    pub switch: String,
    /// What the switch calls the call. Empty where it has no name of its own.
    pub switch_call: String,
    /// The SIP Call-ID.
    pub sip_call_id: String,
}

/// A call's new state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallStateChanged {
    /// The state.
    pub state: CallState,
    /// Who began the call.
    pub direction: CallDirection,
    /// The calling party.
    pub calling: Party,
    /// The called party.
    pub called: Party,
    /// Why it ended; `None` as long as it hasn't.
    pub cause: Option<EndCause>,
    /// The final SIP response that ended it, if one did.
    pub sip_status: Option<u32>,
}

/// A party as SIP shows it: for display, proven by nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Party {
    /// The SIP URI without its parameters.
    pub uri: String,
    /// The display name. May be empty.
    pub name: String,
}

/// Media flow to `destination`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MediaOpened {
    /// Callgate's own id of this stream: one direction of one media line, as one device sees it.
    pub stream: String,
    /// The direction.
    pub direction: MediaDirection,
    /// Which set of key material of this stream this is, counted from 1; 0 if it isn't encrypted (R22).
    pub generation: u32,
    /// When the switch first showed this key material.
    pub keyed_at: Option<SystemTime>,
    /// Where the media go.
    pub destination: SocketAddr,
    /// Where the sender said that it receives. Only the first authentic packet tells where it really sends from.
    pub likely_source: Option<SocketAddr>,
    /// What the stream is: "audio", "video" ...
    pub media: String,
    /// The agreed payload formats.
    pub codecs: Vec<Codec>,
    /// How the stream stands, and whether the keys are here (R17).
    pub indicator: Indicator,
    /// The rule that decided, such as "R16".
    pub rule: String,
    /// The SRTP crypto suite by its registered name; `None` if not encrypted or not known.
    pub suite: Option<String>,
    /// Only with [`Indicator::KeysAvailable`].
    pub keys: Option<SrtpKeys>,
}

/// A stream's media ended, paused, or moved.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct MediaStopped {
    /// The stream.
    pub stream: String,
    /// The direction.
    pub direction: MediaDirection,
    /// The generation that was in force. A paused stream goes on with it.
    pub generation: u32,
    /// Why.
    pub cause: StopCause,
}

/// How a stream stands, and whether this session has its keys (R17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Indicator {
    /// `keys` holds them.
    KeysAvailable,
    /// The user might have the keys, but the reason stands against it.
    KeysUnavailable(UnavailableReason),
    /// The stream is not SRTP.
    NotEncrypted,
    /// The user is not in all three groups that keys need.
    UserNotAuthorized,
    /// An indicator of a later version, by its number.
    Unknown(i32),
}

/// How a device stands. It says how secure each call is, and never holds a key (R19).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The device.
    pub device: String,
    /// The number of the last event before this picture was taken; 0 if there was none.
    pub number: u64,
    /// The calls in progress, oldest first.
    pub calls: Vec<CallSnapshot>,
    /// How many older calls are left out because the answer has no room for them.
    pub calls_left_out: u32,
}

/// A call in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallSnapshot {
    /// The call.
    pub call: CallRef,
    /// Its line, counted from 1.
    pub line: u32,
    /// Its state.
    pub state: CallState,
    /// Who began it.
    pub direction: CallDirection,
    /// The calling party.
    pub calling: Party,
    /// The called party.
    pub called: Party,
    /// Whether its media are encrypted.
    pub security: CallSecurity,
}

/// A device that the session may see.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// Its name.
    pub name: String,
    /// Its lines.
    pub lines: Vec<Line>,
    /// Free text of the operator.
    pub description: String,
}

/// A line of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line {
    /// Counted from 1.
    pub line: u32,
    /// The number that the operator gave it. May be empty.
    pub number: String,
}

open_enum! {
    /// Classes of events, to be monitored one by one.
    EventClass from callgate_wire::v1::EventClass {
        /// Calls: [`Event::CallState`].
        Call,
        /// Media: [`Event::MediaOpened`], [`Event::MediaStopped`].
        Media,
    }
}

open_enum! {
    /// What is different in a session's rights.
    CapabilityChange from callgate_wire::v1::CapabilityChange {
        /// The groups.
        Groups,
        /// The list of devices, or what it says of one. New ones can be monitored.
        Devices,
    }
}

open_enum! {
    /// A call's state, as its device sees it.
    CallState from callgate_wire::v1::CallState {
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
        /// Over. The last event of a call.
        Ended,
    }
}

open_enum! {
    /// Who began a call, as its device sees it. Not told where the feed began in the middle of the call.
    CallDirection from callgate_wire::v1::CallDirection {
        /// This device.
        Outgoing,
        /// The other end.
        Incoming,
    }
}

open_enum! {
    /// Why a call ended.
    EndCause from callgate_wire::v1::EndCause {
        /// Hung up after it was answered.
        Hangup,
        /// Given up by the caller before it was answered.
        Cancelled,
        /// Refused by a final SIP response.
        Rejected,
        /// Nothing more was heard of it for the configured time.
        Forgotten,
        /// The address turned out to be a PBX, not a device.
        NotADevice,
    }
}

open_enum! {
    /// Whether a call's media are encrypted.
    CallSecurity from callgate_wire::v1::CallSecurity {
        /// No media stream is open, so nothing can be said yet.
        NoMedia,
        /// At least one open stream is not SRTP.
        NotSecure,
        /// Every open stream is SRTP.
        Secure,
    }
}

open_enum! {
    /// Why media stopped.
    StopCause from callgate_wire::v1::StopCause {
        /// Paused by hold: wait for the same stream.
        Hold,
        /// The call is over, or the media line was given up: forget the stream's keys.
        Ended,
        /// The stream changed: a [`MediaOpened`] follows.
        Changed,
    }
}

open_enum! {
    /// Direction of media, as the device sees it.
    MediaDirection from callgate_wire::v1::MediaDirection {
        /// The device sends.
        Sent,
        /// The device receives.
        Received,
    }
}

open_enum! {
    /// Why keys are unavailable. The numbers are those of the error table.
    UnavailableReason from callgate_wire::v1::UnavailableReason {
        /// The cluster security mode is non-secure.
        Mode,
        /// The session is on the clear door.
        Door,
        /// The session didn't monitor the device's media before this generation was first seen.
        MonitoredLate,
        /// The switch side doesn't know the key.
        Switch,
        /// The disclosure can't be recorded.
        AuditUnavailable,
        /// The gateway was restarted after the stream was keyed.
        GatewayRestarted,
    }
}
