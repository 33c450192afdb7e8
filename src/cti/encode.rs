//! From the words of the domain to messages on the wire.

use bytes::Bytes;
use callgate_wire::{
    MAX_FRAME_OPEN, encode_frame, encoded_frame_len,
    v1::{self, ErrorCode, ToApp, event, to_app},
};
use prost::Message;
use tracing::error;
use zeroize::Zeroizing;

use crate::{
    hub::{CallPicture, CallSecurity, Published, Snapshot},
    model::{
        CallDirection, CallRef, CallState, EndCause, EventBody, EventClass, Generation, KeyMaterial, LineNumber,
        MasterKey, MediaOpened, MediaStopped, Party, Protection, Secret, StopCause, StreamDirection,
    },
    policy::{Indication, Reason, Rule},
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

/// An event as a frame: with keys only if `indication` is [`Indication::KeysAvailable`].
///
/// The frame's memory is wiped when the last session has sent it (R20).
pub(super) fn event(published: &Published, indication: Indication, rule: Rule) -> Bytes {
    let event = &published.event;
    let body = match &event.body {
        EventBody::Call(state) => event::Body::CallState(call_state_changed(*state, &event.call)),
        EventBody::MediaOpened(media) => event::Body::MediaOpened(media_opened(media, indication, rule)),
        EventBody::MediaStopped(media) => event::Body::MediaStopped(media_stopped(media)),
        // The hub publishes no such event.
        EventBody::MediaKeyed { .. } => return Bytes::new(),
    };
    frame(
        0,
        to_app::Message::Event(v1::Event {
            device: event.device.to_string(),
            line: event.line.0,
            class: class(published.class).into(),
            number: published.number,
            class_number: published.class_number,
            at_unix_micros: event.at.0,
            call: Some(call_ref(&event.call)),
            body: Some(body),
        }),
    )
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
        error!(bytes = message.encoded_len(), "a message is too large for a frame");
        let refusal = v1::Refusal { error: Some(ErrorCode::Internal.into()) };
        return sealed(&ToApp { reply_to: message.reply_to, message: Some(to_app::Message::Refusal(refusal)) });
    }
    let mut buffer = Zeroizing::new(Vec::with_capacity(encoded_frame_len(message)));
    encode_frame(message, &mut buffer);
    Bytes::from_owner(buffer)
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

fn call_state_changed(state: CallState, call: &CallRef) -> v1::CallStateChanged {
    let (cause, sip_status) = match state {
        CallState::Ended(EndCause::Hangup) => (v1::EndCause::Hangup, 0),
        CallState::Ended(EndCause::Cancelled) => (v1::EndCause::Cancelled, 0),
        CallState::Ended(EndCause::Rejected(status)) => (v1::EndCause::Rejected, status),
        CallState::Ended(EndCause::Forgotten) => (v1::EndCause::Forgotten, 0),
        CallState::Ended(EndCause::NotADevice) => (v1::EndCause::NotADevice, 0),
        _ => (v1::EndCause::Unspecified, 0),
    };
    v1::CallStateChanged {
        state: call_state(state).into(),
        direction: call_direction(call.direction).into(),
        calling: Some(party(&call.calling)),
        called: Some(party(&call.called)),
        cause: cause.into(),
        sip_status: sip_status.into(),
    }
}

fn call_state(state: CallState) -> v1::CallState {
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

fn call_direction(direction: CallDirection) -> v1::CallDirection {
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

fn media_opened(media: &MediaOpened, indication: Indication, Rule(rule): Rule) -> v1::MediaOpened {
    let (generation, keyed_at, keys) = match &media.protection {
        Protection::Clear => (None, None, None),
        Protection::Keyed { generation, since, keys } => (Some(*generation), Some(*since), Some(keys)),
        Protection::Unknown { generation, since } => (Some(*generation), Some(*since), None),
    };
    let codecs = media.codecs.iter().map(|codec| v1::Codec {
        payload_type: codec.payload_type.into(),
        name: codec.name.clone(),
        clock_rate: codec.clock_rate,
    });
    let (indicator, reason) = indicator(indication);
    v1::MediaOpened {
        stream: media.stream.to_string(),
        direction: direction(media.direction).into(),
        generation: generation.map_or(0, |Generation(number)| number),
        keyed_at_unix_micros: keyed_at.map_or(0, |at| at.0),
        destination: media.destination.to_string(),
        likely_source: media.likely_source.map(|source| source.to_string()).unwrap_or_default(),
        media: media.media.to_string(),
        codecs: codecs.collect(),
        indicator: indicator.into(),
        reason: reason.into(),
        rule: rule.into(),
        suite: keys.map(|keys| keys.suite().name().into()).unwrap_or_default(),
        keys: keys.filter(|_| indication == Indication::KeysAvailable).map(|keys| srtp_keys(keys)),
    }
}

fn media_stopped(media: &MediaStopped) -> v1::MediaStopped {
    v1::MediaStopped {
        stream: media.stream.to_string(),
        direction: direction(media.direction).into(),
        generation: media.generation.map_or(0, |Generation(number)| number),
        cause: match media.cause {
            StopCause::Hold => v1::StopCause::Hold,
            StopCause::Ended => v1::StopCause::Ended,
            StopCause::Changed => v1::StopCause::Changed,
        }
        .into(),
    }
}

fn direction(direction: StreamDirection) -> v1::MediaDirection {
    match direction {
        StreamDirection::Sent => v1::MediaDirection::Sent,
        StreamDirection::Received => v1::MediaDirection::Received,
    }
}

fn indicator(indication: Indication) -> (v1::Indicator, v1::UnavailableReason) {
    match indication {
        Indication::NotEncrypted => (v1::Indicator::NotEncrypted, v1::UnavailableReason::Unspecified),
        Indication::UserNotAuthorized => (v1::Indicator::UserNotAuthorized, v1::UnavailableReason::Unspecified),
        Indication::KeysAvailable => (v1::Indicator::KeysAvailable, v1::UnavailableReason::Unspecified),
        Indication::KeysUnavailable(reason) => (
            v1::Indicator::KeysUnavailable,
            match reason {
                Reason::Mode => v1::UnavailableReason::Mode,
                Reason::Door => v1::UnavailableReason::Door,
                Reason::MonitoredLate => v1::UnavailableReason::MonitoredLate,
                Reason::Switch => v1::UnavailableReason::Switch,
                Reason::AuditUnavailable => v1::UnavailableReason::AuditUnavailable,
                Reason::GatewayRestarted => v1::UnavailableReason::GatewayRestarted,
            },
        ),
    }
}

fn srtp_keys(keys: &KeyMaterial) -> v1::SrtpKeys {
    let parameters = keys.parameters();
    v1::SrtpKeys {
        keys: keys.keys().iter().map(srtp_key).collect(),
        key_derivation_rate_log2: parameters.key_derivation_rate_log2.into(),
        unencrypted_srtcp: parameters.unencrypted_srtcp,
        unauthenticated_srtp: parameters.unauthenticated_srtp,
        window_size_hint: parameters.window_size_hint,
    }
}

fn srtp_key(master: &MasterKey) -> v1::SrtpKey {
    let mki = master.mki.as_ref().map(|mki| Bytes::copy_from_slice(mki.as_bytes())).unwrap_or_default();
    v1::SrtpKey {
        key: wiped(&master.key),
        salt: wiped(&master.salt),
        mki_length: u32::try_from(mki.len()).unwrap_or_default(),
        mki,
        lifetime_packets: master.lifetime.unwrap_or_default(),
    }
}

/// A copy for the encoder, wiped when it is done.
fn wiped(secret: &Secret) -> Bytes {
    Bytes::from_owner(Zeroizing::new(secret.expose().to_vec()))
}
