//! What a watched session shows, in words of its own: as JSON for scripts, as lines for people. It never holds a key.

mod names;

use std::time::SystemTime;

use callgate_sdk::{
    client::{self, CallRef, EventHead, Indicator, MediaOpened, Party, Session, Snapshot},
    wire::v1,
};
use serde::Serialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use self::names::{direction, media_direction, name, state};

/// One thing that was seen. As JSON it is an object with the kind under `seen`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "seen", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Seen {
    /// A session was opened.
    Opened(Opened),
    /// A device is monitored from now on, and stands like this.
    Monitored(Monitored),
    /// A call changed its state.
    Call(CallSeen),
    /// Media flow.
    MediaOpened(MediaSeen),
    /// Media flow no longer.
    MediaStopped(StoppedSeen),
    /// Events were lost.
    Gap(GapSeen),
    /// What the session may do has changed.
    CapabilityChanged(CapabilitySeen),
    /// The certificate ends soon, or has ended.
    CertificateExpires(ExpirySeen),
    /// The gateway is about to stop.
    GatewayLeaving(LeavingSeen),
    /// A device, or lines of it, can't be seen any more.
    DeviceOutOfService(OutOfServiceSeen),
    /// An event that this version doesn't know.
    Unknown(Head),
    /// The session has ended, or a new one didn't open.
    Closed(ClosedSeen),
    /// All those are monitored that were told of one by one as [`Monitored::is_one_of_many`]: not for scripts.
    #[serde(skip)]
    MonitoredMany {
        /// How many devices.
        devices: usize,
        /// How many of them have calls in progress.
        with_calls: usize,
    },
    /// A sign of life, once in a second: not for scripts.
    #[serde(skip)]
    Pulse {
        /// How long ago the gateway was heard, in seconds.
        silence_seconds: u64,
    },
}

/// A session that was opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Opened {
    /// When, RFC 3339.
    pub at: String,
    /// The gateway's name for it, as its logs have it.
    pub session: String,
    /// The gateway, as "host:port".
    pub gateway: String,
    /// How many devices it may see.
    pub devices: u32,
    /// The agreed heartbeat interval.
    pub heartbeat_seconds: u64,
    /// When the certificate ends, RFC 3339; null on the clear door.
    pub certificate_expires: Option<String>,
}

/// A device that is monitored from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Monitored {
    /// The device.
    pub device: String,
    /// The number of its last event; 0 if there was none.
    pub number: u64,
    /// Its calls in progress.
    pub calls: Vec<CallInProgress>,
    /// How many more there are.
    pub calls_left_out: u32,
    /// Whether it is told of together with others, in [`Seen::MonitoredMany`].
    #[serde(skip)]
    pub is_one_of_many: bool,
}

/// A call in progress when its device was monitored. No key ever comes for its streams (R19).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallInProgress {
    /// The call.
    pub call: CallNames,
    /// The line.
    pub line: u32,
    /// Its state.
    pub state: String,
    /// Who began it.
    pub direction: String,
    /// The calling party.
    pub calling: Who,
    /// The called party.
    pub called: Who,
    /// Whether its media are encrypted: `NO_MEDIA`, `NOT_SECURE`, `SECURE`.
    pub security: String,
}

/// Where and when it happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Head {
    /// When the switch said so, RFC 3339.
    pub at: String,
    /// The same moment.
    #[serde(skip)]
    pub time: SystemTime,
    /// The device.
    pub device: String,
    /// Its line.
    pub line: u32,
    /// Counts the events of the device.
    pub number: u64,
    /// Counts events of this device, line and class, without gaps.
    pub class_number: u64,
    /// The call.
    pub call: CallNames,
}

/// The names of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallNames {
    /// Callgate's own id.
    pub id: String,
    /// The connector that reported it.
    pub switch: String,
    /// The switch's name of it; may be empty.
    pub switch_call: String,
    /// The SIP Call-ID.
    pub sip_call_id: String,
}

/// A party, for display.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Who {
    /// The SIP URI.
    pub uri: String,
    /// The display name; may be empty.
    pub name: String,
}

/// A call's new state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CallSeen {
    /// Where and when.
    #[serde(flatten)]
    pub head: Head,
    /// The state: `OFFERED`, `DIALING`, `ALERTING`, `CONNECTED`, `HELD`, `HELD_BY_REMOTE`, `ENDED`.
    pub state: String,
    /// `OUTGOING`, `INCOMING`; `UNSPECIFIED` where the feed began in the middle.
    pub direction: String,
    /// The calling party.
    pub calling: Who,
    /// The called party.
    pub called: Who,
    /// Why it ended.
    pub cause: Option<String>,
    /// The SIP response that ended it.
    pub sip_status: Option<u32>,
}

/// A stream that opened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MediaSeen {
    /// Where and when.
    #[serde(flatten)]
    pub head: Head,
    /// Callgate's own id of the stream.
    pub stream: String,
    /// `SENT` or `RECEIVED` by the device.
    pub direction: String,
    /// Which set of key material; 0 if it isn't encrypted.
    pub generation: u32,
    /// Where the media go.
    pub destination: String,
    /// Where they probably come from.
    pub likely_source: Option<String>,
    /// "audio", "video" ...
    pub media: String,
    /// The payload formats, such as "PCMU/8000".
    pub codecs: Vec<String>,
    /// One of the four of R17.
    pub indicator: String,
    /// Why keys are unavailable, if they are.
    pub reason: Option<String>,
    /// The rule that decided.
    pub rule: String,
    /// The SRTP suite.
    pub suite: Option<String>,
    /// How many keys came with the event. The keys themselves are nowhere shown.
    pub keys: usize,
}

/// A stream that stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoppedSeen {
    /// Where and when.
    #[serde(flatten)]
    pub head: Head,
    /// Callgate's own id of the stream.
    pub stream: String,
    /// `SENT` or `RECEIVED` by the device.
    pub direction: String,
    /// The set of key material that was in force.
    pub generation: u32,
    /// `HOLD`, `ENDED` or `CHANGED`.
    pub cause: String,
}

/// Events that were lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GapSeen {
    /// The device.
    pub device: String,
    /// Its line.
    pub line: u32,
    /// `CALL` or `MEDIA`.
    pub class: String,
    /// How many.
    pub missed: u64,
}

/// What the session may do now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CapabilitySeen {
    /// What is different: `GROUPS`, `DEVICES`.
    pub changes: Vec<String>,
    /// The standard groups that the user is in now.
    pub groups: Vec<String>,
    /// Whether the session may have keys now.
    pub may_have_keys: bool,
    /// How many devices it may see now.
    pub devices: u32,
    /// The number of the rights, as the gateway's log has it.
    pub rights_version: u64,
}

/// A gateway that is about to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeavingSeen {
    /// Where to go, best first.
    pub gateways: Vec<String>,
    /// How long the session has.
    pub closes_in_seconds: u64,
}

/// The end of the certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ExpirySeen {
    /// Its last moment, RFC 3339.
    pub expires: String,
    /// How much is left; 0: it has ended.
    pub seconds_left: u64,
    /// When the gateway closes the session for it, RFC 3339.
    pub closes: String,
}

/// A device, or lines of it, that can't be seen any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutOfServiceSeen {
    /// The device.
    pub device: String,
    /// The lines; empty: the whole device, which isn't monitored any more.
    pub lines: Vec<u32>,
    /// The gateway's stable code.
    pub code: Option<String>,
    /// Why, and what to change.
    pub why: String,
}

/// A session that ended, or one that didn't open.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClosedSeen {
    /// When, RFC 3339.
    pub at: String,
    /// The gateway's stable code, if it gave one.
    pub code: Option<String>,
    /// Why, with what to change where that is known.
    pub why: String,
    /// When it is tried again; `None`: it isn't.
    pub retry_seconds: Option<f64>,
    /// Whether a session has ended; if not, none could be opened.
    #[serde(skip)]
    pub was_open: bool,
}

impl Seen {
    /// What a session says of itself when it is open.
    pub(super) fn opened(session: &Session, gateway: &str, now: SystemTime) -> Self {
        Self::Opened(Opened {
            at: rfc3339(now),
            session: session.name().into(),
            gateway: gateway.into(),
            devices: session.device_count(),
            heartbeat_seconds: session.heartbeat().as_secs(),
            certificate_expires: session.certificate_expires().map(rfc3339),
        })
    }

    /// One of the session's events. `None`: a gap without a name, or a later version's.
    pub(super) fn event(event: &client::Event) -> Option<Self> {
        use client::Event;
        Some(match event {
            Event::CallState(head, change) => Self::Call(CallSeen {
                head: head.into(),
                state: state(change.state),
                direction: direction(change.direction),
                calling: (&change.calling).into(),
                called: (&change.called).into(),
                cause: change.cause.map(|cause| name::<v1::EndCause>(cause.into(), "END_CAUSE_")),
                sip_status: change.sip_status,
            }),
            Event::MediaOpened(head, media) => Self::MediaOpened(media_seen(head, media)),
            Event::MediaStopped(head, stopped) => Self::MediaStopped(StoppedSeen {
                head: head.into(),
                stream: stopped.stream.clone(),
                direction: media_direction(stopped.direction),
                generation: stopped.generation,
                cause: name::<v1::StopCause>(stopped.cause.into(), "STOP_CAUSE_"),
            }),
            Event::Gap(gap) => Self::Gap(GapSeen {
                device: gap.device.clone(),
                line: gap.line,
                class: name::<v1::EventClass>(gap.class.into(), "EVENT_CLASS_"),
                missed: gap.missed,
            }),
            Event::CapabilityChanged(changed) => Self::CapabilityChanged(CapabilitySeen {
                changes: changed
                    .changes
                    .iter()
                    .map(|change| name::<v1::CapabilityChange>((*change).into(), "CAPABILITY_CHANGE_"))
                    .collect(),
                groups: changed.groups.clone(),
                may_have_keys: changed.keys,
                devices: changed.device_count,
                rights_version: changed.rights_version,
            }),
            Event::CertificateExpires(told) => Self::CertificateExpires(ExpirySeen {
                expires: rfc3339(told.expires),
                seconds_left: told.left.as_secs(),
                closes: rfc3339(told.closes),
            }),
            Event::GatewayLeaving(told) => Self::GatewayLeaving(LeavingSeen {
                gateways: told.gateways.clone(),
                closes_in_seconds: told.closes_in.as_secs(),
            }),
            Event::DeviceOutOfService(gone) => Self::DeviceOutOfService(OutOfServiceSeen {
                device: gone.device.clone(),
                lines: gone.lines.clone(),
                code: gone.reason.code().map(|code| code.as_str_name().to_owned()),
                why: gone.reason.to_string(),
            }),
            other => Self::Unknown(other.head()?.into()),
        })
    }

    /// Whether it is an event of the gateway, such as are counted.
    pub fn is_event(&self) -> bool {
        !matches!(
            self,
            Self::Opened(_)
                | Self::Monitored(_)
                | Self::MonitoredMany { .. }
                | Self::CapabilityChanged(_)
                | Self::CertificateExpires(_)
                | Self::GatewayLeaving(_)
                | Self::DeviceOutOfService(_)
                | Self::Closed(_)
                | Self::Pulse { .. }
        )
    }

    /// Where and when it happened, if it is an event of a device.
    pub fn head(&self) -> Option<&Head> {
        match self {
            Self::Call(CallSeen { head, .. })
            | Self::MediaOpened(MediaSeen { head, .. })
            | Self::MediaStopped(StoppedSeen { head, .. })
            | Self::Unknown(head) => Some(head),
            _ => None,
        }
    }

    /// One JSON object on one line. `None`: not for scripts.
    pub fn to_json(&self) -> Option<String> {
        serde_json::to_string(self).ok()
    }
}

impl From<&EventHead> for Head {
    fn from(head: &EventHead) -> Self {
        Self {
            at: rfc3339(head.at),
            time: head.at,
            device: head.device.clone(),
            line: head.line,
            number: head.number,
            class_number: head.class_number,
            call: (&head.call).into(),
        }
    }
}

impl From<&CallRef> for CallNames {
    fn from(call: &CallRef) -> Self {
        Self {
            id: call.id.clone(),
            switch: call.switch.clone(),
            switch_call: call.switch_call.clone(),
            sip_call_id: call.sip_call_id.clone(),
        }
    }
}

impl From<&Party> for Who {
    fn from(party: &Party) -> Self {
        Self { uri: party.uri.clone(), name: party.name.clone() }
    }
}

impl From<Snapshot> for Monitored {
    fn from(snapshot: Snapshot) -> Self {
        let calls = snapshot.calls.iter().map(|call| CallInProgress {
            call: (&call.call).into(),
            line: call.line,
            state: state(call.state),
            direction: direction(call.direction),
            calling: (&call.calling).into(),
            called: (&call.called).into(),
            security: name::<v1::CallSecurity>(call.security.into(), "CALL_SECURITY_"),
        });
        Self {
            number: snapshot.number,
            calls: calls.collect(),
            calls_left_out: snapshot.calls_left_out,
            is_one_of_many: false,
            device: snapshot.device,
        }
    }
}

fn media_seen(head: &EventHead, media: &MediaOpened) -> MediaSeen {
    let (indicator, reason) = match media.indicator {
        Indicator::KeysAvailable => (v1::Indicator::KeysAvailable.into(), None),
        Indicator::KeysUnavailable(reason) => (v1::Indicator::KeysUnavailable.into(), Some(reason)),
        Indicator::NotEncrypted => (v1::Indicator::NotEncrypted.into(), None),
        Indicator::UserNotAuthorized => (v1::Indicator::UserNotAuthorized.into(), None),
        Indicator::Unknown(number) => (number, None),
        _ => (i32::MAX, None),
    };
    MediaSeen {
        head: head.into(),
        stream: media.stream.clone(),
        direction: media_direction(media.direction),
        generation: media.generation,
        destination: media.destination.to_string(),
        likely_source: media.likely_source.map(|source| source.to_string()),
        media: media.media.clone(),
        codecs: media.codecs.iter().map(|codec| format!("{}/{}", codec.name, codec.clock_rate)).collect(),
        indicator: name::<v1::Indicator>(indicator, "INDICATOR_"),
        reason: reason.map(|reason| name::<v1::UnavailableReason>(reason.into(), "UNAVAILABLE_REASON_")),
        rule: media.rule.clone(),
        suite: media.suite.clone(),
        keys: media.keys.as_ref().map_or(0, |keys| keys.keys.len()),
    }
}

/// A moment as scripts read it.
pub(super) fn rfc3339(at: SystemTime) -> String {
    // What is before the year 0 or after 9999 is no time of an event.
    OffsetDateTime::from(at).format(&Rfc3339).unwrap_or_default()
}
