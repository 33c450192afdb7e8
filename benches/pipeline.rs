//! What a call costs on its way, step by step: a PBX's datagrams to events, the hub, the decision, the frame.
//!
//! All but the hand-over from hub to worker is pure and runs on one core. What is shown is CPU time. What a whole delivery
//! costs, sockets and TLS included, is measured by `paired`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a benchmark"
)]

#[path = "paired/events.rs"]
#[allow(dead_code, reason = "made for another benchmark")]
mod events;

use std::{
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use bytes::Bytes;
use callgate::{
    hub::{self, Ask, Hub, HubHandle, Request, SessionKey, ToWorker, WorkerId},
    model::{Door, EventBatch, Group, Groups, Mode, Timestamp},
    policy::{MediaAccess, StreamProtection, disclose},
    switch::{
        capture::Capture,
        feed::{FeedConfig, HepFeed},
        hep, scan,
        sip::Message,
        tracker::{Captured, Moment, Tracker, TrackerLimits},
    },
};
use callgate_wire::{FrameDecoder, MAX_FRAME_OPEN, encode_frame, encoded_frame_len, v1};
use criterion::{
    BatchSize, Throughput, criterion_group, criterion_main,
    measurement::{Measurement, ValueFormatter, WallTime},
};
use rustix::time::{ClockId, clock_gettime};
use tokio::{runtime::Runtime, sync::mpsc};

use events::{DEVICE, Source, Subject};

type Criterion = criterion::Criterion<CpuTime>;

criterion_group! {
    name = benches;
    config = criterion::Criterion::default().with_measurement(CpuTime);
    targets = hep_to_events, tracker, publish, hand_over, disclosure, frames
}
criterion_main!(benches);

/// The CPU time of this process, all its threads: what else runs on the machine changes it little.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

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

/// The same messages, already parsed.
fn tracker(c: &mut Criterion) {
    let mut group = c.benchmark_group("tracker");
    for recording in ["asterisk22-basic", "asterisk22-hold"] {
        let datagrams = datagrams(recording);
        group.throughput(Throughput::Elements(captured(&datagrams).len() as u64));
        group.bench_function(recording, |b| {
            b.iter_batched(
                || {
                    let (name, limits) = ("bench".parse().unwrap(), TrackerLimits::default());
                    (Tracker::new(name, Vec::new(), Vec::new(), 1, limits), captured(&datagrams))
                },
                |(mut tracker, messages)| {
                    let (now, mut events) = (Instant::now(), Vec::new());
                    for captured in messages {
                        tracker.on_message(captured, Moment { now, at: Timestamp(0) }, &mut events);
                    }
                    assert!(!events.is_empty());
                    (tracker, events)
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

const SESSION: SessionKey = SessionKey { place: 0, turn: 0 };

/// An event into its topic, and out of it as one that a worker gets.
fn publish(c: &mut Criterion) {
    let mut hub = Hub::new([DEVICE.parse().unwrap()], 0);
    hub.answer(WorkerId(0), SESSION, Ask::Subscribe(DEVICE.parse().unwrap())).unwrap();
    let source = Source::new(Subject::Keys);
    let mut group = c.benchmark_group("hub");
    group.throughput(Throughput::Elements(1));
    group.bench_function("publish", |b| {
        b.iter_batched(|| source.event(), |event| hub.publish(event).unwrap().unwrap(), BatchSize::SmallInput);
    });
    group.finish();
}

/// Events from a switch's queue through the hub's task into a worker's mailbox, and out of it on another thread.
fn hand_over(c: &mut Criterion) {
    const TURN: usize = 64;
    let runtime = Runtime::new().unwrap();
    let hub = Hub::new([DEVICE.parse().unwrap()], 0);
    let (handle, requests) = HubHandle::new(1);
    let (events, batches) = mpsc::channel(1024);
    let (mailbox, mut messages) = mpsc::channel(4096);
    let _hub = runtime.spawn(hub::run(hub, handle.clone(), requests, batches, vec![mailbox]));
    let ask = Ask::Subscribe(DEVICE.parse().unwrap());
    handle.ask(Request { worker: WorkerId(0), session: SESSION, request_id: 0, ask });
    assert!(matches!(messages.blocking_recv(), Some(ToWorker::Answer { .. })));

    let source = Source::new(Subject::Keys);
    let mut group = c.benchmark_group("hub");
    for (name, batch) in [("hand-over, one event", 1), ("hand-over, 64 at once", TURN)] {
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(name, |b| {
            b.iter_batched(
                || EventBatch { arrived: Instant::now(), events: (0..batch).map(|_| source.event()).collect() },
                |events_of_a_batch| {
                    events.blocking_send(events_of_a_batch).unwrap();
                    let mut taken = Vec::with_capacity(TURN);
                    let mut count = 0;
                    while count < batch {
                        let Some(ToWorker::Events(events)) = messages.blocking_recv() else {
                            unreachable!("the hub ends only with the benchmark")
                        };
                        count += events.len();
                        taken.push(events);
                    }
                    taken
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

fn captured(datagrams: &[Vec<u8>]) -> Vec<Captured> {
    let parsed = datagrams.iter().map(|datagram| {
        let mut datagram = datagram.clone();
        let packet = hep::parse(&mut datagram, None).unwrap();
        let payload = &mut datagram[packet.payload.clone()];
        let keys = scan::redact(payload);
        let message = Message::parse(payload, &keys).ok()?;
        let (source, destination) = (packet.source, packet.destination);
        Some(Captured { source, destination, switch_call: packet.correlation, message })
    });
    parsed.flatten().collect()
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
