//! What a call costs on its way, step by step: a PBX's datagrams to events, the decision, the frame.
//!
//! Each is pure and runs on one core. What a whole delivery costs, sockets and TLS included, is not measured here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, missing_docs, reason = "a benchmark")]

use std::{hint::black_box, path::Path, time::Instant};

use bytes::Bytes;
use callgate::{
    model::{Door, Group, Groups, Mode, Timestamp},
    policy::{MediaAccess, StreamProtection, disclose},
    switch::{
        capture::Capture,
        feed::{FeedConfig, HepFeed},
        tracker::TrackerLimits,
    },
};
use callgate_wire::{FrameDecoder, MAX_FRAME_OPEN, encode_frame, encoded_frame_len, v1};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

criterion_group!(benches, hep_to_events, disclosure, frames);
criterion_main!(benches);

/// The signalling of a recorded call, through all of parsing and tracking.
fn hep_to_events(c: &mut Criterion) {
    let mut group = c.benchmark_group("hep_to_events");
    for recording in ["asterisk22-basic", "asterisk22-hold"] {
        let datagrams = datagrams(recording);
        group.throughput(Throughput::Elements(datagrams.len() as u64));
        group.bench_function(recording, |b| {
            // A feed overwrites the datagrams that it takes.
            b.iter_batched(
                || (feed(), datagrams.clone()),
                |(mut feed, mut datagrams)| {
                    let (now, mut events) = (Instant::now(), Vec::new());
                    for datagram in &mut datagrams {
                        feed.on_datagram(datagram, Timestamp(0), now, &mut events).unwrap();
                    }
                    assert!(!events.is_empty());
                    (feed, events)
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn disclosure(c: &mut Criterion) {
    let groups = [Group::CtiEnabled, Group::SecureConnection, Group::SrtpKeyMaterial];
    let access = MediaAccess {
        associated: true,
        restricted: false,
        protection: StreamProtection::Keyed,
        groups: groups.into_iter().fold(Groups::default(), Groups::with),
        mode: Mode::Mixed,
        door: Door::Tls,
        monitored_before: true,
        recordable: true,
        seen_since_start: true,
    };
    c.bench_function("disclosure", |b| b.iter(|| disclose(black_box(&access))));
}

/// A media event with keys, to a frame and back.
fn frames(c: &mut Criterion) {
    let message = media_opened();
    let mut encoded = Vec::new();
    encode_frame(&message, &mut encoded);

    let mut group = c.benchmark_group("frame");
    group.throughput(Throughput::Bytes(encoded.len() as u64));
    group.bench_function("encode", |b| {
        b.iter(|| {
            let mut frame = Vec::with_capacity(encoded_frame_len(&message));
            encode_frame(black_box(&message), &mut frame);
            frame
        });
    });
    group.bench_function("decode", |b| {
        let mut decoder = FrameDecoder::new(MAX_FRAME_OPEN);
        b.iter(|| {
            decoder.extend(black_box(&encoded));
            decoder.next_message::<v1::ToApp>().unwrap().unwrap()
        });
    });
    group.finish();
}

fn datagrams(recording: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(recording).join("call.pcap");
    let packets = Capture::open(&path).unwrap().map(Result::unwrap);
    packets.filter(callgate::switch::capture::Packet::is_hep).map(|packet| packet.payload.to_vec()).collect()
}

fn feed() -> HepFeed {
    HepFeed::new(FeedConfig {
        name: "bench".parse().unwrap(),
        pbxes: Vec::new(),
        devices: Vec::new(),
        password: None,
        first_id: 1,
        limits: TrackerLimits::default(),
    })
}

fn media_opened() -> v1::ToApp {
    let key =
        v1::SrtpKey { key: Bytes::from_static(&[1; 16]), salt: Bytes::from_static(&[2; 14]), ..v1::SrtpKey::default() };
    let media = v1::MediaOpened {
        stream: "1".into(),
        direction: v1::MediaDirection::Sent.into(),
        generation: 1,
        destination: "192.0.2.1:20000".into(),
        media: "audio".into(),
        codecs: vec![v1::Codec { payload_type: 0, name: "PCMU".into(), clock_rate: 8000 }],
        indicator: v1::Indicator::KeysAvailable.into(),
        suite: "AES_CM_128_HMAC_SHA1_80".into(),
        keys: Some(v1::SrtpKeys { keys: vec![key], ..v1::SrtpKeys::default() }),
        ..v1::MediaOpened::default()
    };
    let event = v1::Event {
        device: "1001".into(),
        line: 1,
        class: v1::EventClass::Media.into(),
        number: 7,
        class_number: 3,
        at_unix_micros: 1,
        call: Some(v1::CallRef { id: "1".into(), switch: "pbx1".into(), ..v1::CallRef::default() }),
        body: Some(v1::event::Body::MediaOpened(media)),
    };
    v1::ToApp { reply_to: 0, message: Some(v1::to_app::Message::Event(event)) }
}
