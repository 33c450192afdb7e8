//! A call that is recorded: its streams, and what of them was heard.

use std::{net::SocketAddr, time::Instant};

use super::{CallRef, Indicator, MediaDirection, Packet, Party, Recording, Voice, VoicePacket};
use crate::{
    client::MediaOpened,
    media::{MediaError, StreamDecryptor, rtp::RtpHeader},
};

/// A call as one device sees it.
pub(super) struct Call {
    pub(super) calling: Party,
    pub(super) called: Party,
    pub(super) ended: Option<Instant>,
    call: CallRef,
    streams: Vec<Stream>,
    sent: Voice,
    received: Voice,
    bytes: usize,
    dropped: u64,
}

/// A stream of a call, by Callgate's id.
struct Stream {
    id: String,
    direction: MediaDirection,
    /// Where its packets go; where they went before, too, since some of them are late.
    destinations: Vec<SocketAddr>,
    plain: bool,
    decryptor: StreamDecryptor,
}

/// What became of a packet.
pub(super) enum Taken {
    /// It is part of a voice, with so many bytes.
    Voice(usize),
    /// It is of no use: seen before, damaged, or there is no room.
    Nothing,
    /// No key opens it yet.
    NotYet,
}

impl Call {
    pub(super) fn new(call: CallRef) -> Self {
        Self {
            calling: Party::default(),
            called: Party::default(),
            ended: None,
            call,
            streams: Vec::new(),
            sent: Voice::default(),
            received: Voice::default(),
            bytes: 0,
            dropped: 0,
        }
    }

    /// A stream opens, or opens again: after a hold, with another key, or at another place.
    pub(super) fn open(&mut self, media: &MediaOpened) {
        let stream = match self.streams.iter().position(|stream| stream.id == media.stream) {
            Some(known) => self.streams.get_mut(known),
            None => {
                self.streams.push(Stream {
                    id: media.stream.clone(),
                    direction: media.direction,
                    destinations: Vec::new(),
                    plain: false,
                    decryptor: StreamDecryptor::new(),
                });
                self.streams.last_mut()
            }
        };
        let Some(stream) = stream else { return };
        if !stream.destinations.contains(&media.destination) {
            stream.destinations.push(media.destination);
        }
        stream.plain = media.indicator == Indicator::NotEncrypted;
        let voice = match media.direction {
            MediaDirection::Sent => &mut self.sent,
            _ => &mut self.received,
        };
        voice.indicator = Some(media.indicator);
        for codec in &media.codecs {
            voice.codecs.retain(|known| known.payload_type != codec.payload_type);
            voice.codecs.push(codec.clone());
        }
        if let (Some(suite), Some(keys)) = (&media.suite, &media.keys)
            && let Err(error) = stream.decryptor.add_generation(media.generation, suite, keys)
        {
            voice.troubles.retain(|known| *known != error);
            voice.troubles.push(error);
        }
    }

    /// Takes a packet in, if it is of one of the streams. `room` is what there is for it, in bytes.
    pub(super) fn take(&mut self, packet: &Packet, room: usize) -> Taken {
        let Ok(header) = RtpHeader::parse(&packet.payload) else { return Taken::Nothing };
        let mut useless = false;
        for stream in self.streams.iter_mut().filter(|stream| stream.destinations.contains(&packet.destination)) {
            let payload = match stream.decryptor.decrypt(&packet.payload) {
                Ok(decrypted) => decrypted.payload(),
                Err(MediaError::NotAuthentic | MediaError::NoGeneration) if stream.plain => {
                    header.payload(&packet.payload).map(|range| packet.payload.slice(range))
                }
                Err(MediaError::NotAuthentic | MediaError::NoGeneration) => continue,
                Err(_) => {
                    useless = true;
                    continue;
                }
            };
            let Ok(payload) = payload else { return Taken::Nothing };
            let bytes = payload.len();
            if bytes > room {
                self.dropped += 1;
                return Taken::Nothing;
            }
            let voice = match stream.direction {
                MediaDirection::Sent => &mut self.sent,
                _ => &mut self.received,
            };
            voice.packets.push(VoicePacket {
                at_micros: packet.at_micros,
                ssrc: header.ssrc,
                timestamp: header.timestamp,
                payload_type: header.payload_type,
                payload,
            });
            self.bytes += bytes;
            return Taken::Voice(bytes);
        }
        if useless { Taken::Nothing } else { Taken::NotYet }
    }

    /// The recording, and how many bytes its voices took. None without a stream.
    pub(super) fn recording(mut self, device: String) -> (usize, Option<Recording>) {
        for voice in [&mut self.sent, &mut self.received] {
            // A packet that waited for its key stands behind those that came after it.
            voice.packets.sort_by_key(|packet| packet.at_micros);
        }
        let Self { calling, called, call, streams, sent, received, bytes, dropped, .. } = self;
        let recording = Recording { device, call, calling, called, sent, received, dropped };
        (bytes, (!streams.is_empty()).then_some(recording))
    }
}
