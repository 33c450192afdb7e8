//! From wire messages to the types of an app. Nothing here fails: what can't be read is `Unknown`.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use callgate_wire::v1;

use super::error::Refusal;
use super::event::{
    CallRef, CallSnapshot, CallStateChanged, CapabilityChange, CapabilityChanged, CertificateExpires, Device,
    DeviceOutOfService, EndCause, Event, EventHead, GatewayLeaving, Indicator, Line, MediaOpened, MediaStopped, Party,
    Snapshot,
};
use crate::codec::Codec;

/// An enum that keeps values of later versions: variants of the wire's enum, and `Unknown` with the number.
macro_rules! open_enum {
    ($(#[$doc:meta])* $name:ident from $wire:path { $($(#[$variant_doc:meta])* $variant:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
            /// Not told, or a value of a later version, by its number.
            Unknown(i32),
        }

        impl From<i32> for $name {
            fn from(number: i32) -> Self {
                type Wire = $wire;
                match Wire::try_from(number) {
                    $(Ok(Wire::$variant) => Self::$variant,)+
                    _ => Self::Unknown(number),
                }
            }
        }

        impl From<$name> for i32 {
            fn from(value: $name) -> Self {
                type Wire = $wire;
                match value {
                    $($name::$variant => Wire::$variant as Self,)+
                    $name::Unknown(number) => number,
                }
            }
        }
    };
}
pub(super) use open_enum;

impl From<v1::Event> for Event {
    fn from(wire: v1::Event) -> Self {
        let head = EventHead {
            device: wire.device,
            line: wire.line,
            class: wire.class.into(),
            number: wire.number,
            class_number: wire.class_number,
            at: micros(wire.at_unix_micros),
            call: wire.call.unwrap_or_default().into(),
        };
        match wire.body {
            Some(v1::event::Body::CallState(change)) => Self::CallState(head, change.into()),
            Some(v1::event::Body::MediaOpened(opened)) => match media_opened(opened) {
                Some(opened) => Self::MediaOpened(head, Box::new(opened)),
                None => Self::Unknown(head),
            },
            Some(v1::event::Body::MediaStopped(stopped)) => Self::MediaStopped(head, stopped.into()),
            None => Self::Unknown(head),
        }
    }
}

/// `None` without a destination: a stream is known by nothing else.
fn media_opened(wire: v1::MediaOpened) -> Option<MediaOpened> {
    let destination: SocketAddr = wire.destination.parse().ok()?;
    let indicator = match v1::Indicator::try_from(wire.indicator) {
        Ok(v1::Indicator::NotEncrypted) => Indicator::NotEncrypted,
        Ok(v1::Indicator::UserNotAuthorized) => Indicator::UserNotAuthorized,
        Ok(v1::Indicator::KeysUnavailable) => Indicator::KeysUnavailable(wire.reason.into()),
        Ok(v1::Indicator::KeysAvailable) => Indicator::KeysAvailable,
        Ok(v1::Indicator::Unspecified) | Err(_) => Indicator::Unknown(wire.indicator),
    };
    Some(MediaOpened {
        stream: wire.stream,
        direction: wire.direction.into(),
        generation: wire.generation,
        keyed_at: (wire.keyed_at_unix_micros != 0).then(|| micros(wire.keyed_at_unix_micros)),
        destination,
        likely_source: wire.likely_source.parse().ok(),
        media: wire.media,
        codecs: wire.codecs.into_iter().map(Codec::from).collect(),
        indicator,
        rule: wire.rule,
        suite: (!wire.suite.is_empty()).then_some(wire.suite),
        keys: wire.keys.filter(|_| indicator == Indicator::KeysAvailable).map(Into::into),
    })
}

impl From<v1::CapabilityChanged> for CapabilityChanged {
    fn from(wire: v1::CapabilityChanged) -> Self {
        Self {
            changes: wire.changes.into_iter().map(CapabilityChange::from).collect(),
            groups: wire.groups,
            keys: wire.keys,
            device_count: wire.device_count,
            rights_version: wire.rights_version,
        }
    }
}

impl From<v1::CertificateExpires> for CertificateExpires {
    fn from(wire: v1::CertificateExpires) -> Self {
        Self {
            expires: seconds(wire.expires_unix_seconds),
            left: Duration::from_secs(u64::try_from(wire.seconds_left).unwrap_or_default()),
            closes: seconds(wire.closes_unix_seconds),
        }
    }
}

impl From<v1::GatewayLeaving> for GatewayLeaving {
    fn from(wire: v1::GatewayLeaving) -> Self {
        Self { gateways: wire.gateways, closes_in: Duration::from_secs(wire.closes_in_seconds.into()) }
    }
}

impl From<v1::DeviceOutOfService> for DeviceOutOfService {
    fn from(wire: v1::DeviceOutOfService) -> Self {
        Self { device: wire.device, lines: wire.lines, reason: Refusal::from_wire(wire.reason) }
    }
}

impl From<v1::CallStateChanged> for CallStateChanged {
    fn from(wire: v1::CallStateChanged) -> Self {
        Self {
            state: wire.state.into(),
            direction: wire.direction.into(),
            calling: wire.calling.unwrap_or_default().into(),
            called: wire.called.unwrap_or_default().into(),
            cause: (wire.cause != 0).then(|| EndCause::from(wire.cause)),
            sip_status: (wire.sip_status != 0).then_some(wire.sip_status),
        }
    }
}

impl From<v1::MediaStopped> for MediaStopped {
    fn from(wire: v1::MediaStopped) -> Self {
        Self {
            stream: wire.stream,
            direction: wire.direction.into(),
            generation: wire.generation,
            cause: wire.cause.into(),
        }
    }
}

impl From<v1::CallRef> for CallRef {
    fn from(wire: v1::CallRef) -> Self {
        Self { id: wire.id, switch: wire.switch, switch_call: wire.switch_call, sip_call_id: wire.sip_call_id }
    }
}

impl From<v1::Party> for Party {
    fn from(wire: v1::Party) -> Self {
        Self { uri: wire.uri, name: wire.name }
    }
}

impl From<v1::Codec> for Codec {
    fn from(wire: v1::Codec) -> Self {
        Self { payload_type: wire.payload_type, name: wire.name, clock_rate: wire.clock_rate }
    }
}

impl From<v1::DeviceSnapshot> for Snapshot {
    fn from(wire: v1::DeviceSnapshot) -> Self {
        let calls = wire.calls.into_iter().map(CallSnapshot::from).collect();
        Self { device: wire.device, number: wire.number, calls, calls_left_out: wire.calls_left_out }
    }
}

impl From<v1::CallSnapshot> for CallSnapshot {
    fn from(wire: v1::CallSnapshot) -> Self {
        Self {
            call: wire.call.unwrap_or_default().into(),
            line: wire.line,
            state: wire.state.into(),
            direction: wire.direction.into(),
            calling: wire.calling.unwrap_or_default().into(),
            called: wire.called.unwrap_or_default().into(),
            security: wire.security.into(),
        }
    }
}

impl From<v1::Device> for Device {
    fn from(wire: v1::Device) -> Self {
        let lines = wire.lines.into_iter().map(|line| Line { line: line.line, number: line.number }).collect();
        Self { name: wire.name, lines, description: wire.description }
    }
}

/// A time of the wire. What no clock can show becomes 1970.
fn micros(unix_micros: i64) -> SystemTime {
    since_1970(unix_micros < 0, Duration::from_micros(unix_micros.unsigned_abs()))
}

/// The same of one in seconds.
fn seconds(unix_seconds: i64) -> SystemTime {
    since_1970(unix_seconds < 0, Duration::from_secs(unix_seconds.unsigned_abs()))
}

fn since_1970(is_before: bool, distance: Duration) -> SystemTime {
    let time = if is_before {
        SystemTime::UNIX_EPOCH.checked_sub(distance)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(distance)
    };
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::event::{CallState, EventClass};

    #[test]
    fn values_of_later_versions_are_kept_by_number() {
        assert_eq!(CallState::from(7), CallState::Ended);
        assert_eq!(CallState::from(99), CallState::Unknown(99));
        assert_eq!(CallState::from(0), CallState::Unknown(0));
        assert_eq!(i32::from(EventClass::Media), 4);
        assert_eq!(i32::from(EventClass::Unknown(9)), 9);
    }

    #[test]
    fn keys_without_the_indicator_are_dropped_and_streams_without_destination_unknown() {
        let mut opened = v1::MediaOpened {
            destination: "[::1]:4000".into(),
            indicator: v1::Indicator::KeysUnavailable.into(),
            reason: 703,
            keys: Some(v1::SrtpKeys::default()),
            ..Default::default()
        };
        let read = media_opened(opened.clone()).unwrap();
        assert_eq!(read.indicator, Indicator::KeysUnavailable(super::super::event::UnavailableReason::MonitoredLate));
        assert_eq!((read.keys, read.suite, read.likely_source, read.keyed_at), (None, None, None, None));
        opened.destination = "pbx.example:4000".into();
        let body = Some(v1::event::Body::MediaOpened(opened));
        assert!(matches!(Event::from(v1::Event { body, ..Default::default() }), Event::Unknown(_)));
    }

    #[test]
    fn times_out_of_range_are_not_a_panic() {
        for at in [i64::MIN, -1, 0, i64::MAX] {
            micros(at);
            seconds(at);
        }
    }
}
