//! Values of the protocol by its own names.

use callgate_sdk::{client, wire::v1};

pub(super) fn state(state: client::CallState) -> String {
    name::<v1::CallState>(state.into(), "CALL_STATE_")
}

pub(super) fn direction(direction: client::CallDirection) -> String {
    name::<v1::CallDirection>(direction.into(), "CALL_DIRECTION_")
}

pub(super) fn media_direction(direction: client::MediaDirection) -> String {
    name::<v1::MediaDirection>(direction.into(), "MEDIA_DIRECTION_")
}

/// The protocol's own name of a value without its prefix, or the number of a value of a later version.
pub(super) fn name<E: Named>(number: i32, prefix: &str) -> String {
    match E::try_from(number) {
        Ok(value) => value.as_name().trim_start_matches(prefix).to_owned(),
        Err(_) => format!("UNKNOWN_{number}"),
    }
}

/// An enum of the protocol.
pub(super) trait Named: TryFrom<i32> {
    fn as_name(&self) -> &'static str;
}

macro_rules! named {
    ($($name:ident)*) => {
        $(impl Named for v1::$name {
            fn as_name(&self) -> &'static str {
                self.as_str_name()
            }
        })*
    };
}

named! { CallDirection CapabilityChange CallSecurity CallState EndCause EventClass Indicator MediaDirection StopCause UnavailableReason }
