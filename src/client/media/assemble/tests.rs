use std::{cell::RefCell, collections::BTreeMap, io::Cursor, time::Instant};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use callgate_sdk::{SrtpKey, media::wav::write_voice};
use proptest::prelude::*;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use webrtc_srtp::{context::Context, protection_profile::ProtectionProfile};

use super::*;
use crate::{
    client::media::report::Report,
    model::{Address, CallId, CallState, DeviceName, EventBody, MasterKey, Protection, SwitchEvent},
    switch::{
        Switch, SwitchIo,
        capture::{Capture, PacketKind},
        feed::{FeedConfig, HepFeed},
        replay::{Replay, Speed, survey},
        tracker::TrackerLimits,
    },
};

const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
const SECOND: i64 = 1_000_000;

fn keys(byte: u8) -> SrtpKeys {
    SrtpKeys::new(vec![SrtpKey::new(vec![byte; 16], vec![byte; 14])])
}

/// Encrypts packets of one source.
struct Sender {
    context: Context,
    ssrc: u32,
    sequence: u16,
}

impl Sender {
    fn new(key: u8, ssrc: u32) -> Self {
        let profile = ProtectionProfile::Aes128CmHmacSha1_80;
        Self { context: Context::new(&[key; 16], &[key; 14], profile, None, None).unwrap(), ssrc, sequence: 0 }
    }

    fn plain(&mut self) -> Vec<u8> {
        let mut packet = vec![0x80, 0];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend((u32::from(self.sequence) * 160).to_be_bytes());
        packet.extend(self.ssrc.to_be_bytes());
        packet.extend([0x55; 160]);
        self.sequence += 1;
        packet
    }

    fn packet(&mut self, at: i64, destination: &str) -> MediaPacket {
        let plain = self.plain();
        packet(at, destination, self.context.encrypt_rtp(&plain).unwrap())
    }
}

fn packet(at: i64, destination: &str, payload: Bytes) -> MediaPacket {
    let (source, destination) = ("192.0.2.9:4000".parse().unwrap(), destination.parse().unwrap());
    MediaPacket { at: Timestamp(at), source, destination, payload }
}

fn event(at: i64, call: &str, body: AppEventBody) -> AppEvent {
    let sip_call_id = format!("{call}@sip");
    AppEvent { at: Timestamp(at), device: "1001".into(), call: call.into(), sip_call_id, body }
}

fn state(at: i64, call: &str, ended: bool) -> AppEvent {
    event(at, call, AppEventBody::Call { direction: CallDirection::Outgoing, end: ended.then_some(EndCause::Hangup) })
}

fn media(stream: &str, generation: u32, destination: &str, key: Option<u8>) -> AppMedia {
    AppMedia {
        stream: stream.into(),
        direction: StreamDirection::Sent,
        generation,
        destination: destination.parse().unwrap(),
        codecs: vec![Codec { payload_type: 0, name: "PCMU".into(), clock_rate: 8000 }],
        indicator: if key.is_some() { Indicator::KeysAvailable } else { Indicator::NotEncrypted },
        suite: key.map(|_| SUITE.into()),
        keys: key.map(keys),
    }
}

fn opened(at: i64, call: &str, media: AppMedia) -> AppEvent {
    event(at, call, AppEventBody::MediaOpened(media))
}

fn finish(events: Vec<AppEvent>, packets: Vec<MediaPacket>) -> Vec<Stream> {
    let mut assembler = Assembler::new();
    packets.into_iter().for_each(|packet| assembler.on_packet(packet));
    events.into_iter().for_each(|event| assembler.on_event(event));
    assembler.finish()
}

fn counts(streams: &[Stream]) -> Vec<(&str, u64, u64)> {
    let count = |stream: &'_ Stream| (stream.report.packets, stream.report.authentic);
    streams.iter().map(|stream| (stream.report.call.as_str(), count(stream).0, count(stream).1)).collect()
}

const A: &str = "127.0.0.1:20000";
const B: &str = "127.0.0.1:20002";

#[test]
fn r23_of_two_branches_with_early_media_each_has_its_own_packets() {
    // A forked call: both phones that ring send to the caller, under a key each.
    let (mut first, mut second) = (Sender::new(1, 0x11), Sender::new(2, 0x22));
    let mut packets: Vec<_> = (0..3).map(|i| first.packet(100 + i, A)).collect();
    packets.extend((3..8).map(|i| second.packet(100 + i, A)));
    packets.push(packet(110, A, Sender::new(3, 0x33).packet(110, A).payload));
    let of = |device: &str, event: AppEvent| AppEvent { device: device.into(), ..event };
    let caller =
        |generation, key| AppMedia { direction: StreamDirection::Received, ..media("m3", generation, A, Some(key)) };
    let unknown =
        AppMedia { indicator: Indicator::KeysUnavailable, suite: None, keys: None, ..media("m4", 1, A, None) };
    let events = vec![
        state(0, "c1", false),
        of("1002", opened(0, "c1", media("m1", 1, A, Some(1)))),
        of("1003", opened(0, "c1", media("m2", 1, A, Some(2)))),
        opened(0, "c1", caller(1, 1)),
        opened(0, "c1", caller(2, 2)),
        of("1004", opened(0, "c1", unknown)),
    ];
    let events = events.into_iter().flat_map(|event| {
        let begin = of(&event.device, state(0, "c1", false));
        [begin, event]
    });
    let streams = finish(events.collect(), packets);
    // What nobody's key opens may be anyone's, and what an unknown key opens too.
    let found: Vec<_> =
        streams.iter().map(|s| (s.report.device.as_str(), s.report.packets, s.report.authentic)).collect();
    assert_eq!(found, [("1002", 4, 3), ("1003", 6, 5), ("1001", 9, 8), ("1004", 9, 0)]);
}

#[test]
fn a_key_that_comes_after_the_first_packets_opens_them_too() {
    let mut sender = Sender::new(1, 0xdead_beef);
    let packets: Vec<_> = (0..10).map(|i| sender.packet(i * 20_000, A)).collect();
    let events = vec![state(0, "c1", false), opened(50_000, "c1", media("m1", 1, A, Some(1)))];
    let streams = finish(events, packets);
    let report = &streams[0].report;
    assert_eq!((report.packets, report.authentic, report.keyed), (10, 10, true));
    assert_eq!((report.source.as_deref(), report.destination.as_str()), (Some("192.0.2.9:4000"), A));
    assert_eq!((report.ssrcs.as_slice(), report.suite.as_deref()), (&["deadbeef".to_string()][..], Some(SUITE)));
    assert!(streams[0].voice.iter().all(|packet| packet.payload[..] == [0x55; 160]));
    assert_eq!(
        streams[0].voice.iter().map(|packet| packet.timestamp).collect::<Vec<_>>(),
        (0..10).map(|i| i * 160).collect::<Vec<_>>()
    );
}

#[test]
fn packets_outside_the_call_don_t_count_but_for_the_grace() {
    let mut sender = Sender::new(1, 1);
    let times = [-1, 0, 10 * SECOND, 10 * SECOND + GRACE_MICROS, 10 * SECOND + GRACE_MICROS + 1, 60 * SECOND];
    let packets: Vec<_> = times.map(|at| sender.packet(at, A)).to_vec();
    let events = |direction| {
        let begin = event(0, "c1", AppEventBody::Call { direction, end: None });
        vec![begin, opened(SECOND, "c1", media("m1", 1, A, Some(1))), state(10 * SECOND, "c1", true)]
    };
    assert_eq!(counts(&finish(events(CallDirection::Incoming), packets.clone())), [("c1@sip", 3, 3)]);
    // A call that was met midway had packets before its first event.
    assert_eq!(counts(&finish(events(CallDirection::Unknown), packets)), [("c1@sip", 4, 4)]);
}

#[test]
fn the_capture_s_clock_goes_before_the_switch_s() {
    let mut sender = Sender::new(1, 1);
    let mut assembler = Assembler::new();
    let call = CallId(7);
    let hour = 3600 * SECOND;
    for event in [
        state(0, &call.to_string(), false),
        opened(0, &call.to_string(), media("m1", 1, A, Some(1))),
        state(9 * SECOND, &call.to_string(), true),
    ] {
        assembler.on_event(event);
    }
    assembler.on_heard(Heard::Event { call, at: Timestamp(hour) });
    for at in [0, hour, hour + 5 * SECOND, hour + 15 * SECOND] {
        assembler.on_heard(Heard::Packet(sender.packet(at, A)));
    }
    assembler.on_heard(Heard::Event { call, at: Timestamp(hour + 9 * SECOND) });
    assert_eq!(counts(&assembler.finish()), [("c0000000000007@sip", 2, 2)]);
}

#[test]
fn r22_all_generations_of_a_stream_are_one_object_even_when_packets_overtake() {
    let (mut first, mut second) = (Sender::new(1, 1), Sender::new(2, 1));
    let mut packets: Vec<_> = (0..10).map(|i| first.packet(i * 20_000, A)).collect();
    second.sequence = first.sequence;
    packets.extend((10..20).map(|i| second.packet(i * 20_000, A)));
    packets.swap(9, 10);
    let events = vec![
        state(0, "c1", false),
        opened(0, "c1", media("m1", 1, A, Some(1))),
        event(SECOND, "c1", AppEventBody::MediaStopped),
        opened(SECOND, "c1", media("m1", 1, A, Some(1))), // resumed
        opened(2 * SECOND, "c1", AppMedia { suite: Some(SUITE.into()), ..media("m1", 2, A, Some(2)) }),
    ];
    let streams = finish(events, packets);
    assert_eq!(counts(&streams), [("c1@sip", 20, 20)]);
    assert_eq!(streams[0].report.ssrcs, ["00000001"]);
}

#[test]
fn a_stream_that_moves_is_a_second_object_with_the_same_keys() {
    let mut sender = Sender::new(1, 1);
    let mut packets: Vec<_> = (0..5).map(|i| sender.packet(i * 20_000, A)).collect();
    packets.extend((5..12).map(|i| sender.packet(i * 20_000, B)));
    // The new place is told without the key, as to an app that may not have it again.
    let moved = AppMedia { keys: None, ..media("m1", 1, B, Some(1)) };
    let events = vec![state(0, "c1", false), opened(0, "c1", media("m1", 1, A, Some(1))), opened(1, "c1", moved)];
    let streams = finish(events, packets);
    assert_eq!(counts(&streams), [("c1@sip", 5, 5), ("c1@sip", 7, 7)]);
    assert_eq!((streams[0].report.destination.as_str(), streams[1].report.destination.as_str()), (A, B));
}

#[test]
fn a_port_that_the_next_call_takes_at_once_is_not_mixed_up() {
    let (mut first, mut second) = (Sender::new(1, 1), Sender::new(2, 2));
    let mut packets: Vec<_> = (0..100).map(|i| first.packet(i * 20_000, A)).collect();
    // The first call ends at 1.9 s; the second begins at 1.8 s, and its media at 1.95 s.
    packets.extend((0..100).map(|i| second.packet(1_950_000 + i * 20_000, A)));
    packets.sort_by_key(|packet| packet.at);
    let events = vec![
        state(0, "c1", false),
        opened(0, "c1", media("m1", 1, A, Some(1))),
        state(1_800_000, "c2", false),
        opened(1_800_000, "c2", media("m2", 1, A, Some(2))),
        state(1_900_000, "c1", true),
        state(4 * SECOND, "c2", true),
    ];
    let streams = finish(events.clone(), packets.clone());
    assert_eq!(counts(&streams), [("c1@sip", 100, 100), ("c2@sip", 100, 100)]);
    assert_eq!(
        (streams[0].report.ssrcs.clone(), streams[1].report.ssrcs.clone()),
        (vec!["00000001".into()], vec!["00000002".into()])
    );

    // What neither opens is of the call that began later.
    packets.push(packet(2_000_000, A, vec![0x80; 60].into()));
    assert_eq!(counts(&finish(events, packets)), [("c1@sip", 100, 100), ("c2@sip", 101, 100)]);
}

#[test]
fn both_ends_of_a_dialog_count_the_same_packets() {
    let mut sender = Sender::new(1, 1);
    let packets: Vec<_> = (0..10).map(|i| sender.packet(i * 20_000, A)).collect();
    let received = AppMedia { direction: StreamDirection::Received, ..media("m2", 1, A, Some(1)) };
    let other = |event: AppEvent| AppEvent { device: "1002".into(), sip_call_id: "c1@sip".into(), ..event };
    let events = vec![
        state(0, "c1", false),
        other(state(0, "c2", false)),
        opened(0, "c1", media("m1", 1, A, Some(1))),
        other(opened(0, "c2", received)),
    ];
    let streams = finish(events, packets);
    assert_eq!(counts(&streams), [("c1@sip", 10, 10), ("c1@sip", 10, 10)]);
    assert_eq!((streams[1].report.device.as_str(), streams[1].report.direction), ("1002", StreamDirection::Received));
}

#[test]
fn what_isn_t_encrypted_is_heard_and_what_lacks_a_key_is_only_counted() {
    let mut sender = Sender::new(1, 1);
    let mut packets: Vec<_> = (0..3).map(|i| packet(i, A, sender.plain().into())).collect();
    packets.extend((0..3).map(|i| sender.packet(i, B)));
    let lacking = AppMedia { indicator: Indicator::KeysUnavailable, keys: None, ..media("m2", 1, B, Some(1)) };
    let events = vec![state(0, "c1", false), opened(0, "c1", media("m1", 0, A, None)), opened(0, "c1", lacking)];
    let streams = finish(events, packets);
    assert_eq!(counts(&streams), [("c1@sip", 3, 0), ("c1@sip", 3, 0)]);
    assert_eq!((streams[0].voice.len(), streams[1].voice.len()), (3, 0));
    assert_eq!((streams[0].report.suite.as_deref(), streams[1].report.suite.as_deref()), (None, Some(SUITE)));
    assert!(streams.iter().all(|stream| !stream.report.keyed && stream.report.source.is_some()));
}

#[test]
fn the_source_is_the_first_authentic_packet_s_and_strangers_count_as_not_authentic() {
    let mut sender = Sender::new(1, 0xa);
    let stranger = MediaPacket {
        source: "198.51.100.1:9".parse().unwrap(),
        ..packet(0, A, vec![0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xb, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].into())
    };
    let packets = vec![stranger.clone(), sender.packet(1, A), stranger, sender.packet(2, A)];
    let streams = finish(vec![state(0, "c1", false), opened(0, "c1", media("m1", 1, A, Some(1)))], packets);
    let report = &streams[0].report;
    assert_eq!((report.packets, report.authentic, report.source.as_deref()), (4, 2, Some("192.0.2.9:4000")));
    assert_eq!(report.ssrcs, ["0000000b", "0000000a"]);
}

#[test]
fn a_stream_without_packets_is_listed_and_keys_that_can_t_be_used_are_named() {
    let odd = AppMedia { suite: Some("AES_192_CM_HMAC_SHA1_80".into()), ..media("m1", 1, A, Some(1)) };
    let streams = finish(vec![state(0, "c1", false), opened(0, "c1", odd)], vec![]);
    assert_eq!(counts(&streams), [("c1@sip", 0, 0)]);
    assert_eq!(streams[0].report.source, None);
    assert_eq!(
        streams[0].troubles,
        ["generation 1 can't be used: the crypto suite AES_192_CM_HMAC_SHA1_80 is not supported"]
    );
}

#[test]
fn what_turns_out_to_be_no_device_is_not_listed() {
    let end = AppEventBody::Call { direction: CallDirection::Incoming, end: Some(EndCause::NotADevice) };
    let pbx = |event: AppEvent| AppEvent { device: "pbx".into(), ..event };
    let events = vec![
        opened(0, "c1", media("m1", 1, A, Some(1))),
        pbx(opened(0, "c1", media("m2", 1, A, Some(1)))),
        pbx(event(SECOND, "c1", end)),
    ];
    let streams = finish(events, vec![Sender::new(1, 1).packet(5 * SECOND, A)]);
    assert_eq!(counts(&streams), [("c1@sip", 1, 1)]);
    assert_eq!(streams[0].report.device, "1001");
}

/// One party's SDP: Call-ID, port, key.
fn sdp(message: &str) -> Option<(String, u16, Vec<u8>)> {
    let after = |mark: &str| Some(message.split_once(mark)?.1.split(['\r', ' ', '|']).next()?.to_string());
    let key = BASE64_STANDARD.decode(after("inline:")?).ok()?;
    Some((after("\r\nCall-ID: ")?, after("m=audio ")?.parse().ok()?, key))
}

/// Plays a recorded call to an assembler, with the events that its signalling stands for.
fn recorded(file: &'static [u8]) -> Vec<Stream> {
    let mut assembler = Assembler::new();
    let mut parties: BTreeMap<String, Vec<(u16, Vec<u8>)>> = BTreeMap::new();
    for packet in Capture::from_reader(Cursor::new(file)).unwrap() {
        let packet = packet.unwrap();
        if packet.is_rtp() {
            let (payload, source, destination) = (packet.payload.to_vec().into(), packet.source, packet.destination);
            assembler.on_packet(MediaPacket { at: packet.at, source, destination, payload });
            continue;
        }
        let text = String::from_utf8_lossy(&packet.payload);
        let Some(call) = text.split_once("\r\nCall-ID: ").map(|(_, rest)| rest.split('\r').next().unwrap().to_string())
        else {
            continue;
        };
        if !text.contains(" INVITE\r\n") && !text.contains(" BYE\r\n") {
            continue;
        }
        let ended = text.contains("BYE sip:");
        assembler.on_event(state(packet.at.0, &call, ended));
        let Some((_, port, key)) = sdp(&text) else { continue };
        let known = parties.entry(call.clone()).or_default();
        if known.iter().any(|(known, _)| *known == port) {
            continue;
        }
        known.push((port, key));
        if let [(offer_port, offer_key), (answer_port, answer_key)] = &known[..] {
            for (stream, key, to) in [("m1", offer_key, answer_port), ("m2", answer_key, offer_port)] {
                let key = SrtpKey::new(key[..16].to_vec(), key[16..].to_vec());
                let keys = Some(SrtpKeys::new(vec![key]));
                let media = AppMedia { keys, ..media(stream, 1, &format!("127.0.0.1:{to}"), Some(0)) };
                assembler.on_event(opened(packet.at.0, &call, media));
            }
        }
    }
    assembler.finish()
}

#[test]
fn the_recorded_calls_authenticate_whole() {
    let basic = recorded(include_bytes!("../../../../tests/data/asterisk22-basic/call.pcap"));
    let hold = recorded(include_bytes!("../../../../tests/data/asterisk22-hold/call.pcap"));
    for (streams, expected, expected_text) in [
        (basic, [452, 452, 453, 453], include_str!("../../../../tests/data/asterisk22-basic/expected-decrypt.txt")),
        (hold, [404, 405, 557, 558], include_str!("../../../../tests/data/asterisk22-hold/expected-decrypt.txt")),
    ] {
        for Stream { report, voice, codecs, troubles } in &streams {
            let line = format!(
                "{} > {} rtp={} auth_ok={} ",
                report.source.as_deref().unwrap(),
                report.destination,
                report.packets,
                report.authentic
            );
            assert!(expected_text.contains(&line), "{line}");
            assert!(expected_text.contains(&format!("ssrc=['{}']", report.ssrcs.join("', '"))), "{:?}", report.ssrcs);
            assert_eq!(report.packets, report.authentic);
            assert!(troubles.is_empty());
            let written = write_voice(voice, codecs, Cursor::new(vec![])).unwrap();
            let seconds = written.samples as f64 / 8000.0;
            assert!((7.9..11.5).contains(&seconds), "{seconds} s");
        }
        let mut packets: Vec<_> = streams.iter().map(|stream| stream.report.packets).collect();
        packets.sort_unstable();
        assert_eq!(packets, expected);
    }
}

/// An event as an app with every right has it.
fn app_event(event: SwitchEvent) -> AppEvent {
    let body = match event.body {
        EventBody::Call(state) => {
            let end = if let CallState::Ended(cause) = state { Some(cause) } else { None };
            AppEventBody::Call { direction: event.call.direction, end }
        }
        EventBody::MediaKeyed { .. } | EventBody::MediaStopped(_) => AppEventBody::MediaStopped,
        EventBody::MediaOpened(media) => {
            let (generation, material) = match media.protection {
                Protection::Clear => (0, None),
                Protection::Unknown { generation, .. } => (generation.0, None),
                Protection::Keyed { generation, keys, .. } => (generation.0, Some(keys)),
            };
            let key = |key: &MasterKey| SrtpKey::new(key.key.expose().to_vec(), key.salt.expose().to_vec());
            AppEventBody::MediaOpened(AppMedia {
                stream: media.stream.to_string(),
                direction: media.direction,
                generation,
                destination: media.destination,
                codecs: media
                    .codecs
                    .iter()
                    .map(|codec| Codec {
                        payload_type: codec.payload_type.into(),
                        name: codec.name.clone(),
                        clock_rate: codec.clock_rate,
                    })
                    .collect(),
                indicator: if material.is_some() { Indicator::KeysAvailable } else { Indicator::KeysUnavailable },
                suite: material.as_ref().map(|material| material.suite().to_string()),
                keys: material.map(|material| SrtpKeys::new(material.keys().iter().map(key).collect())),
            })
        }
    };
    AppEvent {
        at: event.at,
        device: event.device.to_string(),
        call: event.call.id.to_string(),
        sip_call_id: event.call.sip_call_id.clone(),
        body,
    }
}

fn feed_config(pbxes: Vec<Address>) -> FeedConfig {
    let (devices, limits) = (vec![], TrackerLimits::default());
    FeedConfig { name: "replay".parse().unwrap(), pbxes, devices, password: None, first_id: 1, limits }
}

#[tokio::test]
async fn the_recorded_calls_authenticate_whole_through_the_feed() {
    let files: [(&'static [u8], [u64; 4]); 2] = [
        (include_bytes!("../../../../tests/data/asterisk22-basic/call.pcap"), [452, 453, 453, 452]),
        (include_bytes!("../../../../tests/data/asterisk22-hold/call.pcap"), [405, 404, 557, 558]),
    ];
    for (file, mut expected) in files {
        let capture = || Capture::from_reader(file).unwrap();
        let found = survey(capture(), feed_config(vec![]), Instant::now());
        assert_eq!((found.error, found.counts.feed.refused()), (None, 0));
        let devices: Vec<_> = found.devices.iter().map(DeviceName::as_str).collect();
        assert_eq!(devices, ["127.0.0.1:16010", "127.0.0.1:16020"]);

        assert_eq!(found.pbxes, ["127.0.0.1:15060".parse().unwrap()]);

        let (events, mut events_out) = mpsc::channel(16);
        let (heard, mut heard_out) = mpsc::channel(16);
        let (_commands, commands) = mpsc::channel(1);
        let io = SwitchIo::new(events, commands, CancellationToken::new());
        let replay =
            Replay::new("replay".parse().unwrap(), capture(), HepFeed::new(feed_config(found.pbxes)), Speed::AtOnce);
        let running = tokio::spawn(Box::new(replay.with_media(heard)).run(io));
        let assembler = RefCell::new(Assembler::new());
        tokio::join!(
            async {
                while let Some(events) = events_out.recv().await {
                    events.into_iter().for_each(|event| assembler.borrow_mut().on_event(app_event(event)));
                }
            },
            async {
                while let Some(heard) = heard_out.recv().await {
                    assembler.borrow_mut().on_heard(heard);
                }
            }
        );
        running.await.unwrap().unwrap();

        let streams = assembler.into_inner().finish();
        let mut packets: Vec<_> = streams.iter().map(|stream| stream.report.packets).collect();
        packets.sort_unstable();
        expected.sort_unstable();
        assert_eq!(packets, expected);
        let report = Report { streams: streams.into_iter().map(|stream| stream.report).collect() };
        assert!(report.all_authentic(), "{report}");
        let ends: Vec<_> = report.streams.iter().map(|stream| (stream.device.as_str(), stream.direction)).collect();
        for device in devices {
            assert!(
                ends.contains(&(device, StreamDirection::Sent)) && ends.contains(&(device, StreamDirection::Received))
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..Default::default() })]

    #[test]
    fn r42b_a_mutated_capture_is_played_and_put_together_without_a_panic(
        changes in prop::collection::vec((0..20_000usize, any::<u8>()), 1..30),
    ) {
        let mut file = include_bytes!("../../../../tests/data/asterisk22-basic/call.pcap")[..40_000].to_vec();
        for (place, byte) in changes {
            file[place] = byte;
        }
        let Ok(capture) = Capture::from_reader(Cursor::new(file)) else { return Ok(()) };
        let mut feed = HepFeed::new(feed_config(vec![]));
        let (mut assembler, mut events) = (Assembler::new(), vec![]);
        for packet in capture.map_while(Result::ok) {
            match packet.kind() {
                PacketKind::Hep => drop(feed.on_datagram(&mut packet.payload.clone(), packet.at, Instant::now(), &mut events)),
                _ => assembler.on_packet(MediaPacket {
                    at: packet.at,
                    source: packet.source,
                    destination: packet.destination,
                    payload: packet.payload.to_vec().into(),
                }),
            }
        }
        events.into_iter().for_each(|event| assembler.on_event(app_event(event)));
        for stream in assembler.finish() {
            drop(write_voice(&stream.voice, &stream.codecs, Cursor::new(vec![])));
        }
    }
}
