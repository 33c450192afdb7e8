//! From the words of the domain to messages on the wire.

use bytes::Bytes;
use callgate_wire::{
    MAX_FRAME_OPEN, encode_frame, encoded_frame_len,
    v1::{self, ErrorCode, ToApp, to_app},
};
use prost::Message;
use tracing::error;
use zeroize::Zeroizing;

use crate::{
    hub::{CallPicture, CallSecurity, Snapshot},
    model::{CallDirection, CallRef, CallState, EndCause, EventClass, LineNumber, Party},
};

/// The most bytes of a list in a message, so that the message fits into a frame with room to spare (R41a).
pub(super) const MAX_LIST_BYTES: usize = 48 * 1024;
/// The most bytes that an element of a list takes besides itself: its tag and its length.
pub(super) const ELEMENT_OVERHEAD: usize = 6;

/// A message as a frame, in memory of its own.
pub(super) fn frame(reply_to: u64, message: to_app::Message) -> Bytes {
    sealed(&ToApp { reply_to, message: Some(message) })
}

/// `Close` with the reason that the table gives for `code`.
pub(super) fn close(code: ErrorCode) -> Bytes {
    frame(0, to_app::Message::Close(v1::Close { reason: Some(code.into()) }))
}

/// A snapshot for one who must not see the lines that `restricted` names (R13, R19).
///
/// It fits into a frame (R41a): the oldest calls that don't are left out, and counted.
pub(super) fn snapshot(snapshot: &Snapshot, restricted: impl Fn(LineNumber) -> bool) -> v1::DeviceSnapshot {
    let (mut calls, mut bytes, mut left_out) = (Vec::new(), 0, 0);
    // The newest calls are those that an app has still to do with.
    for picture in snapshot.calls.iter().rev().filter(|picture| !restricted(picture.line)) {
        let call = call_snapshot(picture);
        bytes += call.encoded_len() + ELEMENT_OVERHEAD;
        if bytes > MAX_LIST_BYTES {
            left_out += 1;
        } else {
            calls.push(call);
        }
    }
    calls.reverse();
    let device = snapshot.device.to_string();
    v1::DeviceSnapshot { device, number: snapshot.number, calls, calls_left_out: left_out }
}

/// The class on the wire.
pub(super) fn class(class: EventClass) -> v1::EventClass {
    match class {
        EventClass::Call => v1::EventClass::Call,
        EventClass::Media => v1::EventClass::Media,
    }
}

/// Encodes into exactly as much memory as is needed, so that no copy stays behind, and has that memory wiped.
///
/// No message is over the limit that apps are held to: lists are cut before, names and keys are bounded where they come
/// in. If one is nevertheless, the app is told that something is wrong here, which it can bear; a frame that is too large
/// it can't.
fn sealed(message: &ToApp) -> Bytes {
    if message.encoded_len() > MAX_FRAME_OPEN {
        return too_large(message.reply_to, message.encoded_len());
    }
    let mut buffer = Zeroizing::new(Vec::with_capacity(encoded_frame_len(message)));
    encode_frame(message, &mut buffer);
    Bytes::from_owner(buffer)
}

/// What an app gets instead of a message that is too large.
pub(super) fn too_large(reply_to: u64, bytes: usize) -> Bytes {
    error!(bytes, "a message is too large for a frame");
    frame(reply_to, to_app::Message::Refusal(v1::Refusal { error: Some(ErrorCode::Internal.into()) }))
}

fn call_snapshot(picture: &CallPicture) -> v1::CallSnapshot {
    v1::CallSnapshot {
        call: Some(call_ref(&picture.call)),
        line: picture.line.0,
        state: call_state(picture.state).into(),
        direction: call_direction(picture.call.direction).into(),
        calling: Some(party(&picture.call.calling)),
        called: Some(party(&picture.call.called)),
        security: match picture.security {
            CallSecurity::NoMedia => v1::CallSecurity::NoMedia,
            CallSecurity::NotSecure => v1::CallSecurity::NotSecure,
            CallSecurity::Secure => v1::CallSecurity::Secure,
        }
        .into(),
    }
}

/// Why a call ended, and by which SIP status; both 0 while it hasn't.
pub(super) fn end_cause(state: CallState) -> (v1::EndCause, u16) {
    match state {
        CallState::Ended(EndCause::Hangup) => (v1::EndCause::Hangup, 0),
        CallState::Ended(EndCause::Cancelled) => (v1::EndCause::Cancelled, 0),
        CallState::Ended(EndCause::Rejected(status)) => (v1::EndCause::Rejected, status),
        CallState::Ended(EndCause::Forgotten) => (v1::EndCause::Forgotten, 0),
        CallState::Ended(EndCause::NotADevice) => (v1::EndCause::NotADevice, 0),
        _ => (v1::EndCause::Unspecified, 0),
    }
}

/// The state on the wire.
pub(super) fn call_state(state: CallState) -> v1::CallState {
    match state {
        CallState::Offered => v1::CallState::Offered,
        CallState::Dialing => v1::CallState::Dialing,
        CallState::Alerting => v1::CallState::Alerting,
        CallState::Connected => v1::CallState::Connected,
        CallState::Held => v1::CallState::Held,
        CallState::HeldByRemote => v1::CallState::HeldByRemote,
        CallState::Ended(_) => v1::CallState::Ended,
    }
}

/// The direction on the wire.
pub(super) fn call_direction(direction: CallDirection) -> v1::CallDirection {
    match direction {
        CallDirection::Outgoing => v1::CallDirection::Outgoing,
        CallDirection::Incoming => v1::CallDirection::Incoming,
        CallDirection::Unknown => v1::CallDirection::Unknown,
    }
}

fn call_ref(call: &CallRef) -> v1::CallRef {
    v1::CallRef {
        id: call.id.to_string(),
        switch: call.switch.to_string(),
        switch_call: call.switch_call.clone().unwrap_or_default(),
        sip_call_id: call.sip_call_id.clone(),
    }
}

fn party(party: &Party) -> v1::Party {
    v1::Party { uri: party.uri.clone(), name: party.name.clone() }
}
