//! What a session may see of a media event.

use callgate_wire::v1::ErrorCode;

use super::Rule;
use crate::model::{Door, Groups, Mode};

/// The facts about a session and a stream, at the moment when the event leaves (R16).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaAccess {
    /// The device is associated with the user, or the user controls all devices (R13).
    pub associated: bool,
    /// The device or the line is restricted (R13).
    pub restricted: bool,
    /// How the stream is protected.
    pub protection: StreamProtection,
    /// The user's groups.
    pub groups: Groups,
    /// The cluster security mode.
    pub mode: Mode,
    /// The session's door.
    pub door: Door,
    /// The session monitored the device's media before the stream's generation was first seen.
    pub monitored_before: bool,
    /// The disclosure can be recorded (R21).
    pub recordable: bool,
    /// The generation was first seen since the gateway started (R40).
    pub seen_since_start: bool,
}

/// How a stream is protected, as far as disclosure cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamProtection {
    /// It is not SRTP at both ends, or not encrypted.
    Clear,
    /// It is SRTP, and the switch side knows its keys.
    Keyed,
    /// It is SRTP, and the switch side doesn't know its keys.
    Unknown,
}

/// What a session sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Disclosure {
    /// No event at all.
    Nothing(Rule),
    /// The event, with this indicator; with the keys only if it is [`Indication::KeysAvailable`].
    Event(Indication, Rule),
}

/// One of the four indicators of R17, with the reason of the third.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Indication {
    /// The stream is not encrypted.
    NotEncrypted,
    /// The user lacks a group.
    UserNotAuthorized,
    /// Something else stands against it.
    KeysUnavailable(Reason),
    /// The session gets the keys.
    KeysAvailable,
}

/// Why keys are unavailable (R17).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The cluster is in non-secure mode.
    Mode,
    /// The session is on the clear door.
    Door,
    /// The session monitored too late.
    MonitoredLate,
    /// The switch side doesn't know the key.
    Switch,
    /// The disclosure can't be recorded.
    AuditUnavailable,
    /// The gateway was restarted after the generation was first seen.
    GatewayRestarted,
}

impl Indication {
    /// How many indications there are: an event is encoded at most once for each.
    pub const COUNT: usize = 9;

    /// Its place among all indications: 0 to [`COUNT`](Self::COUNT) - 1.
    pub fn index(self) -> usize {
        match self {
            Self::NotEncrypted => 0,
            Self::UserNotAuthorized => 1,
            Self::KeysUnavailable(Reason::Mode) => 2,
            Self::KeysUnavailable(Reason::Door) => 3,
            Self::KeysUnavailable(Reason::MonitoredLate) => 4,
            Self::KeysUnavailable(Reason::Switch) => 5,
            Self::KeysUnavailable(Reason::AuditUnavailable) => 6,
            Self::KeysUnavailable(Reason::GatewayRestarted) => 7,
            Self::KeysAvailable => 8,
        }
    }

    /// The indicator of R17 and, if keys are unavailable, the reason: their names on the wire, in logs and records.
    pub fn names(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::NotEncrypted => ("NOT_ENCRYPTED", None),
            Self::UserNotAuthorized => ("USER_NOT_AUTHORIZED", None),
            Self::KeysAvailable => ("KEYS_AVAILABLE", None),
            Self::KeysUnavailable(reason) => (
                "KEYS_UNAVAILABLE",
                Some(match reason {
                    Reason::Mode => "MODE",
                    Reason::Door => "DOOR",
                    Reason::MonitoredLate => "MONITORED_LATE",
                    Reason::Switch => "SWITCH",
                    Reason::AuditUnavailable => "AUDIT_UNAVAILABLE",
                    Reason::GatewayRestarted => "GATEWAY_RESTARTED",
                }),
            ),
        }
    }

    /// The refusal that this is, if it is one (R43).
    pub fn refusal(self) -> Option<ErrorCode> {
        match self {
            Self::NotEncrypted | Self::KeysAvailable => None,
            Self::UserNotAuthorized => Some(ErrorCode::KeysUserNotAuthorized),
            Self::KeysUnavailable(reason) => Some(match reason {
                Reason::Mode => ErrorCode::KeysUnavailableMode,
                Reason::Door => ErrorCode::KeysUnavailableDoor,
                Reason::MonitoredLate => ErrorCode::KeysUnavailableMonitoredLate,
                Reason::Switch => ErrorCode::KeysUnavailableSwitch,
                Reason::AuditUnavailable => ErrorCode::KeysUnavailableAuditUnavailable,
                Reason::GatewayRestarted => ErrorCode::KeysUnavailableGatewayRestarted,
            }),
        }
    }
}

/// Decides what a session may see of a media event: the first that applies, in the order of R17.
pub fn disclose(access: &MediaAccess) -> Disclosure {
    let unavailable = |reason, rule| Disclosure::Event(Indication::KeysUnavailable(reason), Rule(rule));

    if !access.associated || access.restricted {
        return Disclosure::Nothing(Rule("R13"));
    }
    if access.protection == StreamProtection::Clear {
        return Disclosure::Event(Indication::NotEncrypted, Rule("R17"));
    }
    if !access.groups.allow_keys() {
        return Disclosure::Event(Indication::UserNotAuthorized, Rule("R16"));
    }
    if access.mode == Mode::NonSecure {
        return unavailable(Reason::Mode, "R2");
    }
    if access.door == Door::Clear {
        return unavailable(Reason::Door, "R16");
    }
    if !access.monitored_before {
        return unavailable(Reason::MonitoredLate, "R16");
    }
    if access.protection == StreamProtection::Unknown {
        return unavailable(Reason::Switch, "R42b");
    }
    if !access.recordable {
        return unavailable(Reason::AuditUnavailable, "R21");
    }
    if !access.seen_since_start {
        return unavailable(Reason::GatewayRestarted, "R40");
    }
    Disclosure::Event(Indication::KeysAvailable, Rule("R16"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_and_refusals_are_all_different() {
        let reasons = [
            Reason::Mode,
            Reason::Door,
            Reason::MonitoredLate,
            Reason::Switch,
            Reason::AuditUnavailable,
            Reason::GatewayRestarted,
        ];
        let all = [Indication::NotEncrypted, Indication::UserNotAuthorized, Indication::KeysAvailable]
            .into_iter()
            .chain(reasons.map(Indication::KeysUnavailable));
        let indices: std::collections::BTreeSet<_> = all.clone().map(Indication::index).collect();
        assert_eq!(indices, (0..Indication::COUNT).collect());
        let refusals: std::collections::HashSet<_> = all.filter_map(Indication::refusal).collect();
        assert_eq!(refusals.len(), 7);
    }
}
