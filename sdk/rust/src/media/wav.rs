//! Voices as WAV files of 16 bits and 8,000 samples a second: one voice as mono, both voices of a call as stereo.
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
use crate::codec::Codec;

/// The longest silence of a single voice that is written, in seconds. After a longer one the voice goes on at once. Of
/// two voices every silence is written, so that they stay together.
pub const MAX_GAP_SECONDS: i64 = 60;

/// The longest file, in seconds. Even with two voices it stays below 2^32 bytes.
pub const MAX_SECONDS: i64 = 36 * 3600;

const RATE: i64 = G711::CLOCK_RATE as i64;
const MAX_GAP: i64 = MAX_GAP_SECONDS * RATE;

/// An RTP packet of a voice, in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoicePacket {
    /// When it was captured: microseconds by whatever clock, the same one for all packets of a file.
    pub at_micros: i64,
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
#[non_exhaustive]
pub struct Written {
    /// Samples of each channel, silence included: 8,000 a second.
    pub samples: u64,
    /// Packets of the voices.
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

/// Writes one voice as mono. `packets` are in the order in which they came; `codecs` are the payload formats that the
/// call agreed on.
///
/// # Errors
/// [`WavError`]. Nothing is written to `out` when the voice can't be decoded.
pub fn write_voice(packets: &[VoicePacket], codecs: &[Codec], out: impl Write + Seek) -> Result<Written, WavError> {
    let origin = packets.first().map_or(0, |packet| packet.at_micros);
    write([Track::lay(packets, codecs, origin, MAX_GAP)?], out)
}

/// Writes two voices as stereo, each with its packets in the order in which they came, and its call's payload formats.
/// The first one is left. A voice that can't be decoded is silent, as long as the other one can.
///
/// # Errors
/// [`WavError`]. Nothing is written to `out` when neither voice can be decoded.
pub fn write_voices(voices: [(&[VoicePacket], &[Codec]); 2], out: impl Write + Seek) -> Result<Written, WavError> {
    let origin = voices.iter().filter_map(|(packets, _)| packets.first()).map(|packet| packet.at_micros).min();
    let [left, right] = voices.map(|(packets, codecs)| {
        let track = Track::lay(packets, codecs, origin.unwrap_or_default(), MAX_SECONDS * RATE);
        track.map_err(|error| (packets.len() as u64, error))
    });
    let tracks = match (left, right) {
        (Ok(left), Ok(right)) => [left, right],
        (Ok(left), Err((skipped, _))) => [left, Track { skipped, ..Track::default() }],
        (Err((skipped, _)), Ok(right)) => [Track { skipped, ..Track::default() }, right],
        // What can't be decoded tells more than what isn't there.
        (Err((_, WavError::Silent)), Err((_, error))) | (Err((_, error)), Err(_)) => return Err(error),
    };
    write(tracks, out)
}

fn write<const N: usize>(mut tracks: [Track<'_>; N], out: impl Write + Seek) -> Result<Written, WavError> {
    let voices = || tracks.iter().filter(|track| !track.pieces.is_empty());
    let begin = voices().map(|track| track.begin).min().unwrap_or(0);
    let end = voices().map(|track| track.end).max().unwrap_or(0);
    if end - begin > MAX_SECONDS * RATE {
        return Err(WavError::TooLong);
    }
    let spec = WavSpec {
        channels: N as u16,
        sample_rate: G711::CLOCK_RATE,
        bits_per_sample: 16,
        sample_format: SampleFormat::Int,
    };
    let mut file = WavWriter::new(out, spec)?;
    for place in begin..end {
        for track in &mut tracks {
            file.write_sample(track.sample(place))?;
        }
    }
    file.finalize()?;
    Ok(Written {
        samples: (end - begin).unsigned_abs(),
        packets: tracks.iter().map(|track| track.pieces.len() as u64).sum(),
        skipped: tracks.iter().map(|track| track.skipped).sum(),
    })
}

/// A voice's packets, each at its place.
#[derive(Default)]
struct Track<'a> {
    /// In the order of their places; of two packets at one place the first that came is the first.
    pieces: Vec<(i64, &'a VoicePacket, G711)>,
    /// The piece that is being written.
    current: usize,
    begin: i64,
    end: i64,
    skipped: u64,
}

impl<'a> Track<'a> {
    /// Lays packets out on a line that has its origin at the time `origin`, in microseconds.
    fn lay(packets: &'a [VoicePacket], codecs: &[Codec], origin: i64, max_gap: i64) -> Result<Self, WavError> {
        let voice: Vec<_> =
            packets.iter().filter_map(|packet| Some((packet, law(packet.payload_type, codecs)?))).collect();
        if voice.is_empty() {
            return Err(undecodable(packets, codecs));
        }
        let skipped = (packets.len() - voice.len()) as u64;
        let places = place(voice.iter().map(|(packet, _)| *packet), origin, max_gap);
        let mut pieces: Vec<_> = places.into_iter().zip(voice).map(|(at, (packet, law))| (at, packet, law)).collect();
        pieces.sort_by_key(|(place, ..)| *place);
        let begin = pieces.first().map_or(0, |(place, ..)| *place);
        let end = pieces.iter().map(|(place, packet, _)| place + length(packet)).max().unwrap_or(begin);
        Ok(Self { pieces, current: 0, begin, end, skipped })
    }

    /// The sample at a place. Places are asked for from the first one on.
    fn sample(&mut self, at: i64) -> i16 {
        while let Some((place, packet, law)) = self.pieces.get(self.current) {
            if at < *place {
                return 0;
            }
            match usize::try_from(at - place).ok().and_then(|offset| packet.payload.get(offset)) {
                Some(code) => return law.decode(*code),
                None => self.current += 1,
            }
        }
        0
    }
}

/// What the call says of a payload type goes before what it means by itself.
fn law(payload_type: u8, codecs: &[Codec]) -> Option<G711> {
    match codecs.iter().find(|codec| codec.payload_type == payload_type.into()) {
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
        let codec = codecs.iter().find(|codec| codec.payload_type == payload_type.into());
        codec.map_or_else(|| format!("payload type {payload_type}"), |codec| codec.name.clone())
    };
    let is_voice = |name: &str| !name.eq_ignore_ascii_case("telephone-event") && !name.eq_ignore_ascii_case("CN");
    let mut found: Vec<_> = counts.into_iter().map(|(payload_type, count)| (name(payload_type), count)).collect();
    found.sort_by_cached_key(|(name, count)| (Reverse(is_voice(name)), Reverse(*count), name.clone()));
    found.into_iter().next().map_or(WavError::Silent, |(codec, _)| WavError::NotDecodable { codec })
}

/// Where each packet begins, in samples from the time `origin` on. Packets are given in the order in which they came.
fn place<'a>(packets: impl Iterator<Item = &'a VoicePacket>, origin: i64, max_gap: i64) -> Vec<i64> {
    let mut sources: HashMap<u32, Source> = HashMap::new();
    // The end of all sources so far.
    let mut end = 0;
    let mut places = Vec::new();
    for packet in packets {
        let elapsed = packet.at_micros.saturating_sub(origin).max(0) / (1_000_000 / RATE);
        let anew = Source::beginning(packet, elapsed, end, max_gap);
        let source = sources.entry(packet.ssrc).or_insert(anew);
        let (mut timestamp, mut place) = source.place(packet);
        if source.is_off(timestamp, place, elapsed, max_gap) {
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
    fn beginning(packet: &VoicePacket, elapsed: i64, end: i64, max_gap: i64) -> Self {
        let timestamp = i64::from(packet.timestamp);
        let begin = if elapsed - end > max_gap { end } else { end.max(elapsed) };
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
    fn is_off(&self, timestamp: i64, place: i64, elapsed: i64, max_gap: i64) -> bool {
        let step = timestamp - self.timestamp;
        let jumps = step.abs() > RATE && (step - (elapsed - self.elapsed)).abs() > RATE;
        jumps || place - self.end > max_gap || place - elapsed > MAX_GAP || self.end - place > MAX_GAP
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
        VoicePacket { at_micros: millis * 1000, ssrc, timestamp, payload_type: 0, payload }
    }

    fn codec(payload_type: u32, name: &str, clock_rate: u32) -> Codec {
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
