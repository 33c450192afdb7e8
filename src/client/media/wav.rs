//! A voice as a WAV file: mono, 16 bits, 8,000 samples a second.
//!
//! Packets are placed by their RTP timestamps, gaps are silence, and what comes twice is written once. A file is never
//! longer than the time in which its packets came, plus [`MAX_GAP_SECONDS`] and the packets themselves.

use std::{
    cmp::Reverse,
    collections::HashMap,
    io::{Seek, Write},
};

use bytes::Bytes;
use hound::{SampleFormat, WavSpec, WavWriter};

use super::g711::G711;
use crate::model::{Codec, Timestamp};

/// The longest silence that is written, in seconds. After a longer one the voice goes on at once.
pub const MAX_GAP_SECONDS: i64 = 60;

/// The longest file, in seconds. It stays below 2^31 bytes, which every reader of WAV can take.
pub const MAX_SECONDS: i64 = 36 * 3600;

const RATE: i64 = G711::CLOCK_RATE as i64;
const MAX_GAP: i64 = MAX_GAP_SECONDS * RATE;

/// An RTP packet of a voice, in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoicePacket {
    /// When it was captured.
    pub at: Timestamp,
    /// Its source.
    pub ssrc: u32,
    /// Its timestamp, in samples.
    pub timestamp: u32,
    /// Its payload type.
    pub payload_type: u8,
    /// What it carries, without padding.
    pub payload: Bytes,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Samples, silence included.
    pub samples: u64,
    /// Packets of the voice.
    pub packets: u64,
    /// Packets of something else, such as telephone events.
    pub skipped: u64,
}

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WavError {
    /// The voice is in a codec other than G.711.
    #[error("{codec} is not decoded, only PCMU and PCMA")]
    NotDecodable {
        /// The codec, or the payload type if the call doesn't name it.
        codec: String,
    },
    /// There are no packets.
    #[error("no packet of it was heard")]
    Silent,
    /// It is longer than [`MAX_SECONDS`].
    #[error("it is longer than {} hours", MAX_SECONDS / 3600)]
    TooLong,
    /// Writing failed.
    #[error("writing failed: {0}")]
    Write(#[from] hound::Error),
}

/// Writes the voice of a stream. `codecs` are the payload formats that its call agreed on.
///
/// # Errors
/// [`WavError`]. Nothing is written to `out` when the voice can't be decoded.
pub fn write_voice(packets: &[VoicePacket], codecs: &[Codec], out: impl Write + Seek) -> Result<Written, WavError> {
    let voice: Vec<_> = packets.iter().filter_map(|packet| Some((packet, law(packet.payload_type, codecs)?))).collect();
    if voice.is_empty() {
        return Err(undecodable(packets, codecs));
    }
    let places = place(voice.iter().map(|(packet, _)| *packet));
    let mut order: Vec<_> = places.into_iter().zip(&voice).collect();
    // Of two packets at one place the first that came is written.
    order.sort_by_key(|(place, _)| *place);
    let begin = order.first().map_or(0, |(place, _)| *place);
    let end = order.iter().map(|(place, (packet, _))| place + length(packet)).max().unwrap_or(0);
    if end - begin > MAX_SECONDS * RATE {
        return Err(WavError::TooLong);
    }

    let spec =
        WavSpec { channels: 1, sample_rate: G711::CLOCK_RATE, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut file = WavWriter::new(out, spec)?;
    let mut cursor = begin;
    for (place, (packet, law)) in order {
        while cursor < place {
            file.write_sample(0i16)?;
            cursor += 1;
        }
        let written_before = usize::try_from(cursor - place).unwrap_or(usize::MAX);
        for code in packet.payload.iter().skip(written_before) {
            file.write_sample(law.decode(*code))?;
            cursor += 1;
        }
    }
    file.finalize()?;
    let packets_of_voice = voice.len() as u64;
    Ok(Written {
        samples: (cursor - begin).unsigned_abs(),
        packets: packets_of_voice,
        skipped: packets.len() as u64 - packets_of_voice,
    })
}

/// What the call says of a payload type goes before what it means by itself.
fn law(payload_type: u8, codecs: &[Codec]) -> Option<G711> {
    match codecs.iter().find(|codec| codec.payload_type == payload_type) {
        Some(codec) => G711::named(&codec.name, codec.clock_rate),
        None => G711::of_payload_type(payload_type),
    }
}

/// Names the codec of most packets, telephone events and comfort noise last.
fn undecodable(packets: &[VoicePacket], codecs: &[Codec]) -> WavError {
    let mut counts: HashMap<u8, u64> = HashMap::new();
    for packet in packets {
        *counts.entry(packet.payload_type).or_default() += 1;
    }
    let name = |payload_type: u8| {
        let codec = codecs.iter().find(|codec| codec.payload_type == payload_type);
        codec.map_or_else(|| format!("payload type {payload_type}"), |codec| codec.name.clone())
    };
    let is_voice = |name: &str| !name.eq_ignore_ascii_case("telephone-event") && !name.eq_ignore_ascii_case("CN");
    let mut found: Vec<_> = counts.into_iter().map(|(payload_type, count)| (name(payload_type), count)).collect();
    found.sort_by_cached_key(|(name, count)| (Reverse(is_voice(name)), Reverse(*count), name.clone()));
    found.into_iter().next().map_or(WavError::Silent, |(codec, _)| WavError::NotDecodable { codec })
}

/// Where each packet begins, in samples from some origin. Packets are given in the order in which they came.
fn place<'a>(packets: impl Iterator<Item = &'a VoicePacket>) -> Vec<i64> {
    let mut sources: HashMap<u32, Source> = HashMap::new();
    let mut first = None;
    // The end of all sources so far.
    let mut end = 0;
    let mut places = Vec::new();
    for packet in packets {
        let first = *first.get_or_insert(packet.at);
        let elapsed = packet.at.0.saturating_sub(first.0).max(0) / (1_000_000 / RATE);
        let anew = Source::beginning(packet, elapsed, end);
        let source = sources.entry(packet.ssrc).or_insert(anew);
        let (mut timestamp, mut place) = source.place(packet);
        if source.is_off(timestamp, place, elapsed) {
            *source = anew;
            (timestamp, place) = source.place(packet);
        }
        // A packet that was overtaken doesn't take the count back.
        if timestamp > source.timestamp {
            (source.timestamp, source.elapsed) = (timestamp, elapsed);
        }
        source.end = source.end.max(place + length(packet));
        end = end.max(source.end);
        places.push(place);
    }
    places
}

/// One who sends a voice, as long as its timestamps go on.
#[derive(Clone, Copy)]
struct Source {
    /// The place of timestamp 0, counted without wrapping.
    origin: i64,
    /// The latest timestamp, counted without wrapping.
    timestamp: i64,
    /// When that one came, in samples since the first packet of all.
    elapsed: i64,
    end: i64,
}

impl Source {
    /// Begins with `packet`, where all sources have come to `end`.
    fn beginning(packet: &VoicePacket, elapsed: i64, end: i64) -> Self {
        let timestamp = i64::from(packet.timestamp);
        let begin = if elapsed - end > MAX_GAP { end } else { end.max(elapsed) };
        Self { origin: begin - timestamp, timestamp, elapsed, end: begin }
    }

    /// The timestamp of `packet`, counted without wrapping, and its place.
    fn place(&self, packet: &VoicePacket) -> (i64, i64) {
        // Timestamps count modulo 2^32: the nearer way is the right one.
        let step = packet.timestamp.wrapping_sub(self.timestamp as u32).cast_signed();
        let timestamp = self.timestamp + i64::from(step);
        (timestamp, self.origin + timestamp)
    }

    /// Whether the sender began its timestamps anew, as a PBX does that puts another voice under the same source, or
    /// whether the gap is too long to be written.
    fn is_off(&self, timestamp: i64, place: i64, elapsed: i64) -> bool {
        let step = timestamp - self.timestamp;
        let jumps = step.abs() > RATE && (step - (elapsed - self.elapsed)).abs() > RATE;
        jumps || place - self.end > MAX_GAP || place - elapsed > MAX_GAP || self.end - place > MAX_GAP
    }
}

/// G.711 has one byte a sample.
fn length(packet: &VoicePacket) -> i64 {
    i64::try_from(packet.payload.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    /// A packet of 20 ms, each sample of which is `code`.
    fn packet(millis: i64, ssrc: u32, timestamp: u32, code: u8) -> VoicePacket {
        let payload = vec![code; 160].into();
        VoicePacket { at: Timestamp(millis * 1000), ssrc, timestamp, payload_type: 0, payload }
    }

    fn codec(payload_type: u8, name: &str, clock_rate: u32) -> Codec {
        Codec { payload_type, name: name.into(), clock_rate }
    }

    /// The file as runs of equal samples, in mu-law codes where possible: (sample, how many).
    fn runs(packets: &[VoicePacket]) -> Vec<(i16, usize)> {
        let mut file = Cursor::new(vec![]);
        let written = write_voice(packets, &[], &mut file).unwrap();
        let reader = hound::WavReader::new(Cursor::new(file.into_inner())).unwrap();
        let spec = reader.spec();
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, 8000, 16));
        let samples: Vec<i16> = reader.into_samples().map(Result::unwrap).collect();
        assert_eq!(samples.len() as u64, written.samples);
        samples.chunk_by(|a, b| a == b).map(|run| (run[0], run.len())).collect()
    }

    const A: i16 = -32124; // code 0x00
    const B: i16 = 32124; // code 0x80
    const C: i16 = 8; // code 0xfe

    #[test]
    fn gaps_are_silence_and_what_comes_twice_or_late_finds_its_place() {
        let packets = [
            packet(0, 1, 160, 0x00),
            packet(20, 1, 480, 0xfe),
            packet(21, 1, 480, 0x80), // the same place: ignored
            packet(40, 1, 320, 0x80), // overtaken
            packet(80, 1, 960, 0x00), // two are missing
        ];
        assert_eq!(runs(&packets), [(A, 160), (B, 160), (C, 160), (0, 320), (A, 160)]);
    }

    #[test]
    fn the_first_packet_may_have_been_overtaken_and_timestamps_wrap() {
        let packets = [packet(0, 1, 100, 0x80), packet(1, 1, 100u32.wrapping_sub(160), 0x00), packet(20, 1, 260, 0xfe)];
        assert_eq!(runs(&packets), [(A, 160), (B, 160), (C, 160)]);
    }

    #[test]
    fn a_gap_of_more_than_a_minute_is_left_out() {
        let rate = 8000;
        let packets = [packet(0, 1, 0, 0x00), packet(61_000, 1, 61 * rate, 0x80), packet(120_000, 1, 120 * rate, 0xfe)];
        assert_eq!(runs(&packets), [(A, 160), (B, 160), (0, 59 * 8000 - 160), (C, 160)]);
        // A sender that begins its timestamps anew, before or after, goes on at once too.
        let packets = [packet(0, 1, 1 << 30, 0x00), packet(20, 1, 0, 0x80), packet(40, 1, 160, 0xfe)];
        assert_eq!(runs(&packets), [(A, 160), (B, 160), (C, 160)]);
        let packets = [packet(0, 1, 0, 0x00), packet(20, 1, 1 << 30, 0x80), packet(40, 1, (1 << 30) + 160, 0xfe)];
        assert_eq!(runs(&packets), [(A, 160), (B, 160), (C, 160)]);
    }

    #[test]
    fn timestamps_that_jump_within_a_voice_begin_anew() {
        // Back by 4 s at once, as Asterisk 16 does it when a call is transferred and the source stays the same.
        let packets = [
            packet(0, 1, 50_136, 0x00),
            packet(20, 1, 50_296, 0xfe),
            packet(39, 1, 18_632, 0x80),
            packet(60, 1, 18_792, 0x00),
        ];
        assert_eq!(runs(&packets), [(A, 160), (C, 160), (B, 160), (A, 160)]);
        // Ahead by 4 s at once.
        let packets = [packet(0, 1, 0, 0x00), packet(20, 1, 32_000, 0x80), packet(40, 1, 32_160, 0xfe)];
        assert_eq!(runs(&packets), [(A, 160), (B, 160), (C, 160)]);
        // A silence that took as long as the timestamps say is one.
        let packets = [packet(0, 1, 0, 0x00), packet(4000, 1, 32_000, 0x80)];
        assert_eq!(runs(&packets), [(A, 160), (0, 31_840), (B, 160)]);
        // What waited on the way for 4 s and came all at once is no jump.
        let packets = [packet(0, 1, 0, 0x00), packet(4000, 1, 160, 0x80), packet(4001, 1, 320, 0xfe)];
        assert_eq!(runs(&packets), [(A, 160), (B, 160), (C, 160)]);
    }

    #[test]
    fn r41a_a_file_is_not_longer_than_its_packets_took() {
        // Each timestamp is 50 s after the one before, but the packets came within a second.
        let packets: Vec<_> = (0..1000).map(|i| packet(i, 1, u32::try_from(i).unwrap() * 50 * 8000, 0x00)).collect();
        let mut file = Cursor::new(vec![]);
        let written = write_voice(&packets, &[], &mut file).unwrap();
        assert!(written.samples < 62 * 8000 + 1000 * 160, "{written:?}");
    }

    #[test]
    fn sources_follow_each_other_by_their_times_of_arrival() {
        let packets = [
            packet(0, 1, 5000, 0x00),
            packet(20, 1, 5160, 0x00),
            packet(60, 2, 77, 0x80), // 20 ms of silence before it
            packet(70, 3, 9, 0xfe),  // came before the second's end
        ];
        assert_eq!(runs(&packets), [(A, 320), (0, 160), (B, 160), (C, 160)]);
    }

    #[test]
    fn the_call_says_what_a_payload_type_is() {
        let mut out = Cursor::new(vec![]);
        let dynamic = VoicePacket { payload_type: 97, ..packet(0, 1, 0, 0xd5) };
        let written = write_voice(std::slice::from_ref(&dynamic), &[codec(97, "PCMA", 8000)], &mut out).unwrap();
        assert_eq!(written, Written { samples: 160, packets: 1, skipped: 0 });

        let tones = VoicePacket { payload_type: 101, ..packet(0, 1, 0, 0) };
        let packets = [tones.clone(), tones.clone(), packet(0, 1, 0, 0), tones.clone()];
        let written = write_voice(&packets, &[codec(101, "telephone-event", 8000)], &mut out).unwrap();
        assert_eq!((written.packets, written.skipped), (1, 3));

        let codecs = [codec(101, "telephone-event", 8000), codec(9, "G722", 8000)];
        let wide = VoicePacket { payload_type: 9, ..packet(0, 1, 0, 0) };
        let error = |packets: &[VoicePacket], codecs: &[Codec]| {
            write_voice(packets, codecs, Cursor::new(vec![])).unwrap_err().to_string()
        };
        assert_eq!(error(&[tones.clone(), tones, wide.clone()], &codecs), "G722 is not decoded, only PCMU and PCMA");
        assert_eq!(error(&[wide], &[]), "payload type 9 is not decoded, only PCMU and PCMA");
        assert_eq!(error(&[packet(0, 1, 0, 0)], &[codec(0, "opus", 48000)]), "opus is not decoded, only PCMU and PCMA");
        assert_eq!(error(&[], &[]), "no packet of it was heard");
    }
}
