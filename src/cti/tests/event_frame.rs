//! Events as frames: what is written by hand is what the made code writes of the same message.

use bytes::Bytes;
use callgate_wire::v1::{self, event, to_app};
use proptest::prelude::*;

use super::super::{
    encode::{call_direction, call_state, class, end_cause, frame},
    event_frame::{self, direction, indicator},
};
use crate::{
    hub::{Ask, Hub, Published, SessionKey, WorkerId},
    model::{
        CallDirection, CallId, CallRef, CallState, Codec, DeviceName, EndCause, EventBody, Generation, KeyMaterial,
        LineNumber, MasterKey, MediaOpened, MediaStopped, Mki, Party, Protection, Secret, SessionParameters, StopCause,
        StreamDirection, StreamId, Suite, SwitchEvent, Timestamp,
    },
    policy::{Indication, Reason, Rule},
};
use std::sync::Arc;

/// The seed of an event: each part of it decides some fields.
#[derive(Debug, Clone)]
struct Seed {
    kind: u8,
    detail: u8,
    indication: usize,
    texts: [String; 6],
    numbers: [u64; 3],
    line: u32,
    before: u8,
}

fn seed() -> impl Strategy<Value = Seed> {
    let texts = proptest::array::uniform6("[a-z\u{e9}:@.]{0,300}");
    let number = || prop_oneof![Just(0), 1..200u64, any::<u64>()];
    let parts = (
        any::<u8>(),
        any::<u8>(),
        0..Indication::COUNT,
        texts,
        [number(), number(), number()],
        any::<u32>(),
        any::<u8>(),
    );
    parts.prop_map(|(kind, detail, indication, texts, numbers, line, before)| Seed {
        kind,
        detail,
        indication,
        texts,
        numbers,
        line,
        before,
    })
}

fn published(seed: &Seed) -> Arc<Published> {
    let device: DeviceName = "1001".parse().unwrap();
    let mut hub = Hub::new([device.clone()], 0);
    hub.answer(WorkerId(0), SessionKey { place: 0, turn: 0 }, Ask::Subscribe(device.clone()));
    let [calling, name, called, sip_call_id, switch_call, media] = seed.texts.clone();
    let [at, id, small] = seed.numbers;
    let call = CallRef {
        id: CallId(id),
        switch: "pbx".parse().unwrap(),
        switch_call: (seed.detail & 1 == 1).then_some(switch_call),
        sip_call_id,
        direction: [CallDirection::Outgoing, CallDirection::Incoming, CallDirection::Unknown][seed.detail as usize % 3],
        calling: Party { uri: calling, name },
        called: Party { uri: called, name: String::new() },
    };
    let (stream, generation, since) = (StreamId(small), Generation(small as u32), Timestamp(-(small as i64 >> 1)));
    let direction = if seed.detail & 2 == 2 { StreamDirection::Sent } else { StreamDirection::Received };
    let body = match seed.kind % 4 {
        0 => EventBody::Call(states()[seed.detail as usize % states().len()]),
        1 => EventBody::MediaStopped(MediaStopped {
            stream,
            direction,
            generation: (seed.detail & 4 == 4).then_some(generation),
            cause: [StopCause::Hold, StopCause::Ended, StopCause::Changed][seed.detail as usize % 3],
        }),
        _ => EventBody::MediaOpened(MediaOpened {
            stream,
            direction,
            destination: ["192.0.2.1:4000", "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535"]
                [usize::from(seed.detail & 1)]
            .parse()
            .unwrap(),
            likely_source: (seed.detail & 4 == 4).then(|| "[2001:db8::1]:5004".parse().unwrap()),
            media: media.into(),
            codecs: (0..seed.detail % 4).map(|n| codec(n, seed.line)).collect(),
            protection: match seed.detail % 5 {
                0 => Protection::Clear,
                1 => Protection::Unknown { generation, since },
                _ => Protection::Keyed { generation, since, keys: Arc::new(keys(seed)) },
            },
        }),
    };
    let line = LineNumber(seed.line);
    let event = || SwitchEvent {
        at: Timestamp(at as i64),
        device: device.clone(),
        line,
        call: Arc::new(call.clone()),
        body: body.clone(),
    };
    (0..seed.before).for_each(|_| drop(hub.publish(event())));
    hub.publish(event()).unwrap().unwrap().event
}

fn states() -> Vec<CallState> {
    use CallState::*;
    let ends =
        [EndCause::Hangup, EndCause::Cancelled, EndCause::Rejected(486), EndCause::Forgotten, EndCause::NotADevice];
    [Offered, Dialing, Alerting, Connected, Held, HeldByRemote].into_iter().chain(ends.map(Ended)).collect()
}

fn codec(number: u8, clock_rate: u32) -> Codec {
    Codec { payload_type: number, name: ["", "PCMU", "opus"][usize::from(number) % 3].into(), clock_rate }
}

fn keys(seed: &Seed) -> KeyMaterial {
    let suite = Suite::AesCm128HmacSha1_80;
    let count = 1 + seed.detail % 3;
    let master = |n: u8| {
        let mki = (count > 1 || seed.detail & 8 == 8).then(|| Mki::new(&[n; 4]).unwrap());
        MasterKey::new(suite, &Secret::new((n..n + 30).collect()), mki, Some(seed.numbers[2])).unwrap()
    };
    let parameters = SessionParameters {
        key_derivation_rate_log2: seed.detail % 25,
        unencrypted_srtcp: seed.detail & 16 == 16,
        unauthenticated_srtp: seed.detail & 32 == 32,
        window_size_hint: seed.line,
        ..SessionParameters::default()
    };
    KeyMaterial::new(suite, (0..count).map(master).collect(), parameters).unwrap()
}

fn indication(place: usize) -> Indication {
    let reasons = [
        Reason::Mode,
        Reason::Door,
        Reason::MonitoredLate,
        Reason::Switch,
        Reason::AuditUnavailable,
        Reason::GatewayRestarted,
    ];
    let others = [Indication::NotEncrypted, Indication::UserNotAuthorized, Indication::KeysAvailable];
    others.into_iter().chain(reasons.map(Indication::KeysUnavailable)).find(|it| it.index() == place).unwrap()
}

proptest! {
    #[test]
    fn a_frame_is_what_prost_makes_of_the_message(seed in seed()) {
        let (published, indication) = (published(&seed), indication(seed.indication));
        // Keys are half of what there is to be written.
        let indication = if seed.kind >= 128 { Indication::KeysAvailable } else { indication };
        let rule = Rule(["R16", "", "R15"][usize::from(seed.detail) % 3]);
        prop_assert_eq!(event_frame::event(&published, indication, rule), by_prost(&published, indication, rule));
    }
}

#[test]
fn r41a_an_event_that_is_too_large_is_no_frame() {
    let long = "x".repeat(70_000);
    let seed = Seed {
        kind: 0,
        detail: 0,
        indication: 0,
        texts: [long, String::new(), String::new(), String::new(), String::new(), String::new()],
        numbers: [0; 3],
        line: 1,
        before: 0,
    };
    let frame = event_frame::event(&published(&seed), Indication::NotEncrypted, Rule("R13"));
    let mut decoder = callgate_wire::FrameDecoder::new(callgate_wire::MAX_FRAME_OPEN);
    decoder.extend(&frame);
    let message = decoder.next_message::<v1::ToApp>().unwrap().unwrap().message;
    assert!(matches!(message, Some(to_app::Message::Refusal(_))), "{message:?}");
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

fn by_prost(published: &Published, indication: Indication, rule: Rule) -> Bytes {
    let event = &published.event;
    let body = match &event.body {
        EventBody::Call(state) => event::Body::CallState(call_state_changed(*state, &event.call)),
        EventBody::MediaOpened(media) => event::Body::MediaOpened(media_opened(media, indication, rule)),
        EventBody::MediaStopped(media) => event::Body::MediaStopped(media_stopped(media)),
        EventBody::MediaKeyed { .. } => panic!("no event"),
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

fn call_state_changed(state: CallState, call: &CallRef) -> v1::CallStateChanged {
    let (cause, sip_status) = end_cause(state);
    v1::CallStateChanged {
        state: call_state(state).into(),
        direction: call_direction(call.direction).into(),
        calling: Some(party(&call.calling)),
        called: Some(party(&call.called)),
        cause: cause.into(),
        sip_status: sip_status.into(),
    }
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

fn wiped(secret: &Secret) -> Bytes {
    Bytes::copy_from_slice(secret.expose())
}
