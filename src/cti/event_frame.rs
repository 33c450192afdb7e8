//! An event as a frame, encoded from the event itself: nothing is copied but into the frame.

use bytes::Bytes;
use callgate_wire::{MAX_FRAME_OPEN, v1};
use zeroize::Zeroizing;

use super::{
    encode::{call_direction, call_state, class, end_cause, too_large},
    fields::{Fields, Short},
};
use crate::{
    hub::Published,
    model::{
        CallRef, CallState, EventBody, Generation, KeyMaterial, MasterKey, MediaOpened, MediaStopped, Mki, Party,
        Protection, StopCause, StreamDirection,
    },
    policy::{Indication, Reason, Rule},
};

/// An event as a frame: with keys only if `indication` is [`Indication::KeysAvailable`].
///
/// The memory of a frame with keys is wiped when the last session has sent it (R20).
pub(super) fn event(published: &Published, indication: Indication, rule: Rule) -> Bytes {
    let (event, id) = (&published.event, Short::of(&published.event.call.id));
    let texts = match &event.body {
        EventBody::Call(_) => Texts::default(),
        EventBody::MediaOpened(media) => Texts {
            stream: Some(Short::of(&media.stream)),
            destination: Some(Short::of(&media.destination)),
            source: media.likely_source.as_ref().map(Short::of),
        },
        EventBody::MediaStopped(media) => Texts { stream: Some(Short::of(&media.stream)), ..Texts::default() },
        // The hub publishes no such event.
        EventBody::MediaKeyed { .. } => return Bytes::new(),
    };
    let message = |to_app: &mut Fields| {
        // ToApp.event.
        to_app.message(11, |fields| {
            fields.text(1, event.device.as_str());
            fields.number(2, event.line.0.into());
            fields.choice(3, class(published.class));
            fields.number(4, published.number);
            fields.number(5, published.class_number);
            fields.signed(6, event.at.0);
            fields.message(7, |fields| call_ref(fields, &event.call, id.as_bytes()));
            match &event.body {
                EventBody::Call(state) => fields.message(8, |fields| call_state_changed(fields, *state, &event.call)),
                EventBody::MediaOpened(media) => {
                    fields.message(9, |fields| media_opened(fields, media, &texts, indication, rule));
                }
                EventBody::MediaStopped(media) => fields.message(10, |fields| media_stopped(fields, media, &texts)),
                EventBody::MediaKeyed { .. } => {}
            }
        });
    };
    let counted = Fields::count(message);
    if counted.len() > MAX_FRAME_OPEN {
        return too_large(0, counted.len());
    }
    let frame = counted.into_frame(message);
    match indication {
        Indication::KeysAvailable => Bytes::from_owner(Zeroizing::new(frame)),
        _ => Bytes::from(frame),
    }
}

/// What is made into text for the frame.
#[derive(Default)]
struct Texts {
    stream: Option<Short>,
    destination: Option<Short>,
    source: Option<Short>,
}

fn text(short: &Option<Short>) -> &[u8] {
    short.as_ref().map(Short::as_bytes).unwrap_or_default()
}

fn call_ref(fields: &mut Fields, call: &CallRef, id: &[u8]) {
    fields.bytes(1, id);
    fields.text(2, call.switch.as_str());
    fields.text(3, call.switch_call.as_deref().unwrap_or_default());
    fields.text(4, &call.sip_call_id);
}

fn call_state_changed(fields: &mut Fields, state: CallState, call: &CallRef) {
    let (cause, sip_status) = end_cause(state);
    fields.choice(1, call_state(state));
    fields.choice(2, call_direction(call.direction));
    fields.message(3, |fields| party(fields, &call.calling));
    fields.message(4, |fields| party(fields, &call.called));
    fields.choice(5, cause);
    fields.number(6, sip_status.into());
}

fn party(fields: &mut Fields, party: &Party) {
    fields.text(1, &party.uri);
    fields.text(2, &party.name);
}

fn media_opened(fields: &mut Fields, media: &MediaOpened, texts: &Texts, indication: Indication, Rule(rule): Rule) {
    let (generation, keyed_at, keys) = match &media.protection {
        Protection::Clear => (None, None, None),
        Protection::Keyed { generation, since, keys } => (Some(*generation), Some(*since), Some(keys)),
        Protection::Unknown { generation, since } => (Some(*generation), Some(*since), None),
    };
    let (indicator, reason) = indicator(indication);
    fields.bytes(1, text(&texts.stream));
    fields.choice(2, direction(media.direction));
    fields.number(3, generation.map_or(0, |Generation(number)| number.into()));
    fields.signed(4, keyed_at.map_or(0, |at| at.0));
    fields.bytes(5, text(&texts.destination));
    fields.bytes(6, text(&texts.source));
    fields.text(7, &media.media);
    for codec in media.codecs.iter() {
        fields.message(8, |fields| {
            fields.number(1, codec.payload_type.into());
            fields.text(2, &codec.name);
            fields.number(3, codec.clock_rate.into());
        });
    }
    fields.choice(9, indicator);
    fields.choice(10, reason);
    fields.text(11, rule);
    fields.text(12, keys.map(|keys| keys.suite().name()).unwrap_or_default());
    if let (Some(keys), Indication::KeysAvailable) = (keys, indication) {
        fields.message(13, |fields| srtp_keys(fields, keys));
    }
}

fn media_stopped(fields: &mut Fields, media: &MediaStopped, texts: &Texts) {
    fields.bytes(1, text(&texts.stream));
    fields.choice(2, direction(media.direction));
    fields.number(3, media.generation.map_or(0, |Generation(number)| number.into()));
    let cause = match media.cause {
        StopCause::Hold => v1::StopCause::Hold,
        StopCause::Ended => v1::StopCause::Ended,
        StopCause::Changed => v1::StopCause::Changed,
    };
    fields.choice(4, cause);
}

fn srtp_keys(fields: &mut Fields, keys: &KeyMaterial) {
    let parameters = keys.parameters();
    for master in keys.keys() {
        fields.message(1, |fields| srtp_key(fields, master));
    }
    fields.number(2, parameters.key_derivation_rate_log2.into());
    fields.number(3, parameters.unencrypted_srtcp.into());
    fields.number(4, parameters.unauthenticated_srtp.into());
    fields.number(5, parameters.window_size_hint.into());
}

fn srtp_key(fields: &mut Fields, master: &MasterKey) {
    let mki = master.mki.as_ref().map(Mki::as_bytes).unwrap_or_default();
    fields.bytes(1, master.key.expose());
    fields.bytes(2, master.salt.expose());
    fields.bytes(3, mki);
    fields.number(4, mki.len() as u64);
    fields.number(5, master.lifetime.unwrap_or_default());
}

pub(super) fn direction(direction: StreamDirection) -> v1::MediaDirection {
    match direction {
        StreamDirection::Sent => v1::MediaDirection::Sent,
        StreamDirection::Received => v1::MediaDirection::Received,
    }
}

pub(super) fn indicator(indication: Indication) -> (v1::Indicator, v1::UnavailableReason) {
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
