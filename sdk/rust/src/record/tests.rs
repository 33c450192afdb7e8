use std::io::Cursor;

use callgate_wire::v1;
use webrtc_srtp::{context::Context, protection_profile::ProtectionProfile};

use super::*;
use crate::{
    client::{CallDirection, CallStateChanged, EndCause, EventClass, EventHead, MediaOpened, UnavailableReason},
    keys::{SrtpKey, SrtpKeys},
    media::g711::G711,
};

const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";
const HERE: &str = "192.0.2.1:4000";
const THERE: &str = "192.0.2.2:5000";

/// One side of a call: it sends a tone of one sample.
struct Sender {
    to: SocketAddr,
    code: u8,
    sequence: u16,
    context: Option<Context>,
}

impl Sender {
    fn plain(to: &str, code: u8) -> Self {
        Self { to: to.parse().unwrap(), code, sequence: 0, context: None }
    }

    fn secure(to: &str, code: u8, key: u8) -> Self {
        Self { context: Some(context(key)), ..Self::plain(to, code) }
    }

    fn rekey(&mut self, key: u8) {
        self.context = Some(context(key));
    }

    /// A packet of 20 ms.
    fn packet(&mut self) -> Packet {
        let mut plain = vec![0x80, 0];
        plain.extend(self.sequence.to_be_bytes());
        plain.extend((u32::from(self.sequence) * 160).to_be_bytes());
        plain.extend([0, 0, 0, self.code]);
        plain.extend([self.code; 160]);
        let at_micros = i64::from(self.sequence) * 20_000;
        self.sequence += 1;
        let payload = match &mut self.context {
            Some(context) => context.encrypt_rtp(&plain).unwrap(),
            None => plain.into(),
        };
        Packet { at_micros, destination: self.to, payload }
    }
}

fn context(key: u8) -> Context {
    Context::new(&[key; 16], &[key; 14], ProtectionProfile::Aes128CmHmacSha1_80, None, None).unwrap()
}

fn head(device: &str, call: &str) -> EventHead {
    EventHead {
        device: device.into(),
        line: 1,
        class: EventClass::Media,
        number: 1,
        class_number: 1,
        at: std::time::SystemTime::UNIX_EPOCH,
        call: CallRef { id: call.into(), ..CallRef::default() },
    }
}

fn opened(call: &str, direction: v1::MediaDirection, to: &str, generation: u32, key: Option<u8>) -> Event {
    let media = MediaOpened {
        stream: format!("{call}-{direction:?}"),
        direction: i32::from(direction).into(),
        generation,
        keyed_at: None,
        destination: to.parse().unwrap(),
        likely_source: None,
        media: "audio".into(),
        codecs: vec![Codec { payload_type: 0, name: "PCMU".into(), clock_rate: 8000 }],
        indicator: match (generation, key) {
            (0, _) => Indicator::NotEncrypted,
            (_, Some(_)) => Indicator::KeysAvailable,
            (_, None) => Indicator::KeysUnavailable(UnavailableReason::Switch),
        },
        rule: "R16".into(),
        suite: (generation > 0).then(|| SUITE.into()),
        keys: key.map(|key| SrtpKeys::new(vec![SrtpKey::new(vec![key; 16], vec![key; 14])])),
    };
    Event::MediaOpened(head("1001", call), Box::new(media))
}

fn sent(to: &str, generation: u32, key: Option<u8>) -> Event {
    opened("c1", v1::MediaDirection::Sent, to, generation, key)
}

fn received(to: &str, generation: u32, key: Option<u8>) -> Event {
    opened("c1", v1::MediaDirection::Received, to, generation, key)
}

fn ended(call: &str) -> Event {
    let change = CallStateChanged {
        state: CallState::Ended,
        direction: CallDirection::Outgoing,
        calling: Party { uri: "sip:1001".into(), name: String::new() },
        called: Party { uri: "sip:1002".into(), name: String::new() },
        cause: Some(EndCause::Hangup),
        sip_status: None,
    };
    Event::CallState(head("1001", call), change)
}

/// The two channels as runs of equal samples.
fn runs(recording: &Recording) -> [Vec<(i16, usize)>; 2] {
    let mut file = Cursor::new(Vec::new());
    recording.write_wav(&mut file).unwrap();
    let reader = hound::WavReader::new(Cursor::new(file.into_inner())).unwrap();
    assert_eq!(reader.spec().channels, 2);
    let samples: Vec<i16> = reader.into_samples().map(Result::unwrap).collect();
    [0, 1].map(|channel| {
        let samples: Vec<i16> = samples.iter().skip(channel).step_by(2).copied().collect();
        samples.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
    })
}

fn sample(code: u8) -> i16 {
    G711::MuLaw.decode(code)
}

#[test]
fn a_call_s_two_voices_are_the_two_channels() {
    let (mut recorder, now) = (Recorder::new(), Instant::now());
    let (mut out, mut back) = (Sender::secure(THERE, 0x10, 1), Sender::secure(HERE, 0x90, 2));
    recorder.on_event(&sent(THERE, 1, Some(1)), now);
    recorder.on_event(&received(HERE, 1, Some(2)), now);
    for i in 0..5 {
        recorder.on_packet(out.packet());
        // The other side falls silent for a while.
        let packet = back.packet();
        if i != 2 {
            recorder.on_packet(packet);
        }
    }
    assert_eq!(recorder.take_ended(now).len(), 0, "it runs");
    recorder.on_event(&ended("c1"), now);
    assert_eq!(recorder.take_ended(now).len(), 0, "its last packets may be on their way");
    recorder.on_packet(out.packet());
    let [recording] = recorder.take_ended(now + LINGER).try_into().unwrap();
    assert_eq!((recording.device.as_str(), recording.called.uri.as_str()), ("1001", "sip:1002"));
    assert_eq!(recording.file_name(), "1001-c1.wav");
    let (left, right) = (sample(0x10), sample(0x90));
    let expected = [vec![(left, 6 * 160)], vec![(right, 320), (0, 160), (right, 320), (0, 160)]];
    assert_eq!(runs(&recording), expected);
    assert_eq!(recorder.finish().len(), 0);
}

#[test]
fn packets_wait_for_their_key_and_keep_their_order() {
    let (mut recorder, now) = (Recorder::new(), Instant::now());
    let mut out = Sender::secure(THERE, 0x10, 1);
    (0..3).for_each(|_| recorder.on_packet(out.packet()));
    out.rekey(2);
    (0..3).for_each(|_| recorder.on_packet(out.packet()));
    assert_eq!(recorder.waiting(), 6);
    recorder.on_event(&sent(THERE, 1, Some(1)), now);
    assert_eq!(recorder.waiting(), 3, "those under the next key wait on");
    recorder.on_event(&sent(THERE, 2, Some(2)), now);
    assert_eq!(recorder.waiting(), 0);
    let [recording] = recorder.finish().try_into().unwrap();
    assert_eq!(runs(&recording)[0], [(sample(0x10), 6 * 160)]);
}

#[test]
fn r22_over_a_rekey_packets_that_came_before_its_event_are_not_lost() {
    let (mut recorder, now) = (Recorder::new(), Instant::now());
    let mut out = Sender::secure(THERE, 0x10, 1);
    recorder.on_event(&sent(THERE, 1, Some(1)), now);
    recorder.on_packet(out.packet());
    out.rekey(2);
    recorder.on_packet(out.packet());
    assert_eq!(recorder.waiting(), 1);
    recorder.on_event(&sent(THERE, 2, Some(2)), now);
    let [recording] = recorder.finish().try_into().unwrap();
    assert_eq!(recording.sent.packets.len(), 2);
}

#[test]
fn a_call_in_the_clear_and_one_that_turns_clear_are_heard() {
    let (mut recorder, now) = (Recorder::new(), Instant::now());
    let mut out = Sender::secure(THERE, 0x10, 1);
    recorder.on_event(&sent(THERE, 1, Some(1)), now);
    recorder.on_packet(out.packet());
    recorder.on_event(&sent(THERE, 0, None), now);
    out.context = None;
    recorder.on_packet(out.packet());
    let mut back = Sender::plain(HERE, 0x90);
    recorder.on_event(&received(HERE, 0, None), now);
    recorder.on_packet(back.packet());
    let [recording] = recorder.finish().try_into().unwrap();
    assert_eq!(runs(&recording)[0], [(sample(0x10), 320)]);
    assert_eq!(recording.received.indicator, Some(Indicator::NotEncrypted));
}

#[test]
fn without_keys_there_is_no_voice_but_the_reason() {
    let (mut recorder, now) = (Recorder::new(), Instant::now());
    recorder.on_event(&sent(THERE, 1, None), now);
    recorder.on_packet(Sender::secure(THERE, 0x10, 1).packet());
    let [recording] = recorder.finish().try_into().unwrap();
    assert_eq!(recording.sent.indicator, Some(Indicator::KeysUnavailable(UnavailableReason::Switch)));
    assert!(matches!(recording.write_wav(Cursor::new(Vec::new())), Err(WavError::Silent)));
}

#[test]
fn a_port_that_the_next_call_takes_is_not_mixed_up() {
    let (mut recorder, now) = (Recorder::new(), Instant::now());
    recorder.on_event(&sent(THERE, 1, Some(1)), now);
    recorder.on_event(&opened("c2", v1::MediaDirection::Sent, THERE, 1, Some(2)), now);
    recorder.on_packet(Sender::secure(THERE, 0x10, 2).packet());
    recorder.on_packet(Sender::secure(THERE, 0x10, 1).packet());
    recorder.on_event(&ended("c1"), now);
    recorder.on_event(&ended("c2"), now);
    let voices: Vec<_> = recorder.take_ended(now + LINGER).iter().map(|call| call.sent.packets.len()).collect();
    assert_eq!(voices, [1, 1]);
    assert!(recorder.expecting.is_empty(), "an ended call expects nothing");
    assert_eq!(recorder.voice_room, DEFAULT_VOICE_BYTES, "and takes no room");
}

#[test]
fn r41a_what_waits_and_what_is_heard_has_bounds() {
    let now = Instant::now();
    let mut recorder = Recorder::new().with_waiting_bytes(10_000).with_voice_bytes(500);
    let mut out = Sender::secure(THERE, 0x10, 1);
    let packets: Vec<Packet> = (0..100).map(|_| out.packet()).collect();
    for (i, packet) in packets.iter().enumerate() {
        // Many destinations, so that the oldest are of another one than the newest.
        let destination = SocketAddr::from(([198, 51, 100, 1], 10_000 + u16::try_from(i).unwrap()));
        recorder.on_packet(Packet { destination, ..packet.clone() });
        recorder.on_packet(packet.clone());
        assert!(recorder.waiting() <= 32, "{}", recorder.waiting());
    }
    assert!(recorder.waiting() > 20);
    recorder.on_event(&sent(THERE, 1, Some(1)), now);
    let [recording] = recorder.finish().try_into().unwrap();
    assert_eq!(recording.sent.packets.len(), 3, "of 160 bytes each");
    assert!(recording.dropped > 5);
    assert_eq!(recording.sent.packets[0].ssrc, 0x10);
}

#[test]
fn r42b_what_is_no_rtp_or_came_twice_is_nothing() {
    let (mut recorder, now) = (Recorder::new(), Instant::now());
    recorder.on_event(&sent(THERE, 1, Some(1)), now);
    let packet = Sender::secure(THERE, 0x10, 1).packet();
    recorder.on_packet(packet.clone());
    recorder.on_packet(packet);
    for len in 0..40 {
        recorder.on_packet(Packet {
            at_micros: i64::MIN,
            destination: THERE.parse().unwrap(),
            payload: vec![0x80; len].into(),
        });
    }
    let [recording] = recorder.finish().try_into().unwrap();
    assert_eq!(recording.sent.packets.len(), 1);
    assert_eq!(runs(&recording)[0], [(sample(0x10), 160)]);
}
