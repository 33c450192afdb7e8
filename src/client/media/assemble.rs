//! Puts streams together: the events of an app's session on one side, the packets of a capture on the other.
//!
//! A packet belongs to a stream if it goes to the stream's destination while its call is in force: from the call's
//! first event to its end and [`GRACE_MICROS`] more, or from the start of the capture if the call was met midway.
//! Where the calls of two dialogs are in force at once, as when a port is used again at once, the packet is of the one
//! under whose keys it authenticates, or else of the one that began later. Where one device sends it and another one
//! receives it, it is of both: media can go past a back-to-back PBX.
//!
//! Decryption begins when everything was heard, so that a key may come after the packets that it opens. Nothing here
//! reads a clock, and no key is ever shown.

mod stream;

use std::{collections::HashMap, net::SocketAddr, ops::RangeInclusive};

use callgate_sdk::{Codec, SrtpKeys, media::wav::VoicePacket};

use self::stream::{Generations, Take};
use super::report::{Indicator, StreamReport};
use crate::{
    model::{CallDirection, EndCause, StreamDirection, Timestamp},
    switch::replay::{Heard, MediaPacket},
};

/// How long after a call's end packets still count for it, in microseconds: who was told to stop needs the time of a
/// round trip to do so. It is SIP's estimate of one, T1 (RFC 3261, section 17.1.1.1).
pub const GRACE_MICROS: i64 = 500_000;

/// An event as an app has it.
#[derive(Debug, Clone)]
pub struct AppEvent {
    /// When the switch said so.
    pub at: Timestamp,
    /// The device.
    pub device: String,
    /// Callgate's own id of the call.
    pub call: String,
    /// The SIP Call-ID.
    pub sip_call_id: String,
    /// What happened.
    pub body: AppEventBody,
}

/// What happened, as far as it matters here.
#[derive(Debug, Clone)]
pub enum AppEventBody {
    /// The call has a new state.
    Call {
        /// Who began it.
        direction: CallDirection,
        /// Why it ended, if this was its end. The streams of what isn't a device are not listed.
        end: Option<EndCause>,
    },
    /// Media flow, or flow again.
    MediaOpened(AppMedia),
    /// Media don't flow any more. It changes no account: packets of a paused stream are its packets too.
    MediaStopped,
}

/// How a stream was opened.
#[derive(Debug, Clone)]
pub struct AppMedia {
    /// Callgate's own id of the stream.
    pub stream: String,
    /// As the device sees it.
    pub direction: StreamDirection,
    /// Which set of key material this is; 0 if it is not encrypted.
    pub generation: u32,
    /// Where the media go.
    pub destination: SocketAddr,
    /// The agreed payload formats.
    pub codecs: Vec<Codec>,
    /// How the stream stands.
    pub indicator: Indicator,
    /// The crypto suite; none if it is not encrypted or not known.
    pub suite: Option<String>,
    /// The keys, if this app may have them.
    pub keys: Option<SrtpKeys>,
}

/// A stream with its packets.
#[derive(Debug, Clone)]
pub struct Stream {
    /// Its account.
    pub report: StreamReport,
    /// Its packets in the clear, in the order of the capture: those that authenticated, or all if it isn't encrypted.
    pub voice: Vec<VoicePacket>,
    /// The payload formats that its call agreed on.
    pub codecs: Vec<Codec>,
    /// Why some of its keys can't be used, one sentence each.
    pub troubles: Vec<String>,
}

/// Collects events and packets of a capture.
#[derive(Default)]
pub struct Assembler {
    /// By device and Callgate's id of the call: the ends of a call can see it end for different reasons.
    calls: HashMap<(String, String), Call>,
    /// When events of each call were captured.
    heard: HashMap<String, Span>,
    /// In the order in which they were opened.
    lines: Vec<Line>,
    /// The keys of each stream of each device: a stream that moves takes them along.
    generations: HashMap<(String, String), Generations>,
    packets: HashMap<SocketAddr, Vec<MediaPacket>>,
}

/// When a call was in force.
#[derive(Default)]
struct Call {
    /// By the times in its events.
    told: Span,
    end: Option<EndCause>,
    /// The feed began in the middle of it.
    met_midway: bool,
}

#[derive(Default, Clone, Copy)]
struct Span(Option<(Timestamp, Timestamp)>);

/// A stream to one destination: one object of the report.
struct Line {
    call: String,
    sip_call_id: String,
    device: String,
    direction: StreamDirection,
    destination: SocketAddr,
    streams: Vec<String>,
    latest: (Indicator, Option<String>),
    codecs: Vec<Codec>,
}

impl Assembler {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes what a replay shows of a capture, in any order with the events.
    pub fn on_heard(&mut self, heard: Heard) {
        match heard {
            Heard::Packet(packet) => self.on_packet(packet),
            Heard::Event { call, at } => self.heard.entry(call.to_string()).or_default().extend(at),
        }
    }

    /// Takes an RTP packet. Packets come in the order of the capture.
    pub fn on_packet(&mut self, packet: MediaPacket) {
        self.packets.entry(packet.destination).or_default().push(packet);
    }

    /// Takes an event. Events of a call come in their order.
    pub fn on_event(&mut self, event: AppEvent) {
        let AppEvent { at, device, call, sip_call_id, body } = event;
        let known = self.calls.entry((device.clone(), call.clone())).or_default();
        known.told.extend(at);
        match body {
            AppEventBody::Call { direction, end } => {
                known.end = known.end.or(end);
                known.met_midway |= direction == CallDirection::Unknown;
            }
            AppEventBody::MediaOpened(media) => self.open(device, call, sip_call_id, media),
            AppEventBody::MediaStopped => {}
        }
    }

    /// Decrypts, counts, and gives the streams back in the order in which they were opened.
    pub fn finish(self) -> Vec<Stream> {
        let Self { calls, heard, mut lines, generations, mut packets } = self;
        let call_of = |line: &Line| calls.get(&(line.device.clone(), line.call.clone()));
        lines.retain(|line| call_of(line).is_none_or(|call| call.end != Some(EndCause::NotADevice)));
        let mut by_destination: HashMap<SocketAddr, Vec<usize>> = HashMap::new();
        for (i, line) in lines.iter().enumerate() {
            by_destination.entry(line.destination).or_default().push(i);
        }
        let mut takes: Vec<Take<'_>> = lines
            .iter()
            .map(|line| {
                let in_force = call_of(line).and_then(|call| call.in_force(heard.get(&line.call)));
                let keys = line.streams.iter().filter_map(|id| generations.get(&(line.device.clone(), id.clone())));
                let plain = line.latest.0 == Indicator::NotEncrypted;
                Take::new(&line.sip_call_id, line.direction, in_force, plain, keys)
            })
            .collect();
        for (destination, users) in by_destination {
            for packet in packets.remove(&destination).unwrap_or_default() {
                stream::hand_out(&mut takes, &users, &packet);
            }
        }
        let counted: Vec<_> = takes.into_iter().map(Take::finish).collect();
        lines.into_iter().zip(counted).map(|(line, counted)| line.with(counted)).collect()
    }

    fn open(&mut self, device: String, call: String, sip_call_id: String, media: AppMedia) {
        let AppMedia { stream, direction, generation, destination, codecs, indicator, suite, keys } = media;
        if let (Some(keys), Some(suite)) = (keys, &suite) {
            let known = self.generations.entry((device.clone(), stream.clone())).or_default();
            known.add(generation, suite, keys);
        }
        let same = |line: &&mut Line| {
            line.call == call && line.device == device && line.direction == direction && line.destination == destination
        };
        match self.lines.iter_mut().find(same) {
            Some(line) => {
                line.latest = (indicator, suite);
                if !line.streams.contains(&stream) {
                    line.streams.push(stream);
                }
                for codec in codecs {
                    line.codecs.retain(|known| known.payload_type != codec.payload_type);
                    line.codecs.push(codec);
                }
            }
            None => self.lines.push(Line {
                call,
                sip_call_id,
                device,
                direction,
                destination,
                streams: vec![stream],
                latest: (indicator, suite),
                codecs,
            }),
        }
    }
}

impl Call {
    /// From when to when, in microseconds. The capture's clock goes before the switch's.
    fn in_force(&self, heard: Option<&Span>) -> Option<RangeInclusive<i64>> {
        let (begin, end) = heard.unwrap_or(&self.told).0?;
        let begin = if self.met_midway { i64::MIN } else { begin.0 };
        Some(begin..=self.end.map_or(i64::MAX, |_| end.0.saturating_add(GRACE_MICROS)))
    }
}

impl Span {
    fn extend(&mut self, at: Timestamp) {
        let (begin, end) = self.0.unwrap_or((at, at));
        self.0 = Some((begin.min(at), end.max(at)));
    }
}

impl Line {
    fn with(self, counted: stream::Counted) -> Stream {
        let (indicator, suite) = self.latest;
        let report = StreamReport {
            call: self.sip_call_id,
            device: self.device,
            direction: self.direction,
            suite,
            indicator,
            source: counted.source.map(|source| source.to_string()),
            destination: self.destination.to_string(),
            ssrcs: counted.ssrcs.iter().map(|ssrc| format!("{ssrc:08x}")).collect(),
            packets: counted.packets,
            authentic: counted.authentic,
            keyed: counted.keyed,
        };
        Stream { report, voice: counted.voice, codecs: self.codecs, troubles: counted.troubles }
    }
}

#[cfg(test)]
mod tests;
