//! Records calls: events on one side, packets on the other, and the two voices of each call out of them.
//!
//! Owns the packets that can't be decrypted yet, and the voices of the calls that run. It does no IO and reads no clock:
//! events come from the session, packets from wherever the app captures them, times from the app. **Both may come in any
//! order**: a packet that no key opens waits, in bounded room, for the event that brings the key.
//!
//! A call is recorded once for each device that is monitored, as that device hears it: what it sent is the left channel,
//! what it received the right one. Where both devices of a call are monitored there are two recordings of it.

mod call;
mod waiting;

use std::{
    collections::HashMap,
    io::{Seek, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;

use self::{
    call::{Call, Taken},
    waiting::Waiting,
};
use crate::{
    client::{CallRef, CallState, Codec, Event, Indicator, MediaDirection, Party},
    media::{
        MediaError,
        wav::{VoicePacket, WavError, Written, write_voices},
    },
};

/// The room for packets that wait for a key by default, in bytes: what 100 streams of G.711 send in 8 seconds.
pub const DEFAULT_WAITING_BYTES: usize = 16 << 20;
/// The room for the voices of all running calls by default, in bytes: 18 hours of calls in G.711, both ways.
pub const DEFAULT_VOICE_BYTES: usize = 1 << 30;
/// How long packets of a call are still taken after its end: they may be on their way from the capture.
pub const LINGER: Duration = Duration::from_secs(2);

/// Puts the voices of calls together.
///
/// Show it every event and every RTP packet, and take out from time to time what has ended.
pub struct Recorder {
    /// By device and Callgate's id of the call.
    calls: HashMap<CallKey, Call>,
    /// The calls that expect packets at a destination.
    expecting: HashMap<SocketAddr, Vec<CallKey>>,
    waiting: Waiting,
    voice_room: usize,
}

type CallKey = (String, String);

/// An RTP or SRTP packet, as it was captured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// When it was captured: microseconds by the clock of the capture.
    pub at_micros: i64,
    /// Whom it was sent to.
    pub destination: SocketAddr,
    /// The packet itself, from the RTP header on.
    pub payload: Bytes,
}

/// A call that has ended, with its voices.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Recording {
    /// The device as which it was heard.
    pub device: String,
    /// The call.
    pub call: CallRef,
    /// The calling party, as the last event showed it.
    pub calling: Party,
    /// The called party.
    pub called: Party,
    /// What the device sent.
    pub sent: Voice,
    /// What the device received.
    pub received: Voice,
    /// Packets that there was no room for.
    pub dropped: u64,
}

/// One direction of a call.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Voice {
    /// Its packets in the clear, in the order of their times.
    pub packets: Vec<VoicePacket>,
    /// The payload formats that the call agreed on.
    pub codecs: Vec<Codec>,
    /// How its stream stood at last. `None`: there was no stream in this direction.
    pub indicator: Option<Indicator>,
    /// Why some of its keys couldn't be used.
    pub troubles: Vec<MediaError>,
}

impl Recording {
    /// A name for its file, of the device and Callgate's id of the call. Only letters, digits, `.` and `-` of them are kept,
    /// since a device that nobody named is called by what the network said.
    pub fn file_name(&self) -> String {
        let safe = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
        let device: String = self.device.chars().take(64).map(safe).collect();
        let call: String = self.call.id.chars().take(64).map(safe).collect();
        format!("{device}-{call}.wav")
    }

    /// Writes both voices as a stereo WAV file: what the device sent is left, what it received is right.
    ///
    /// # Errors
    /// [`WavError`], when neither voice can be decoded, or writing fails.
    pub fn write_wav(&self, out: impl Write + Seek) -> Result<Written, WavError> {
        write_voices([&self.sent, &self.received].map(|voice| (&voice.packets[..], &voice.codecs[..])), out)
    }
}

impl Recorder {
    /// A recorder with [`DEFAULT_WAITING_BYTES`] and [`DEFAULT_VOICE_BYTES`].
    pub fn new() -> Self {
        Self {
            calls: HashMap::new(),
            expecting: HashMap::new(),
            waiting: Waiting::new(DEFAULT_WAITING_BYTES),
            voice_room: DEFAULT_VOICE_BYTES,
        }
    }

    /// The room for packets that no key opens yet, in bytes of payload. When it is full the oldest ones go.
    #[must_use]
    pub fn with_waiting_bytes(mut self, bytes: usize) -> Self {
        self.waiting = Waiting::new(bytes);
        self
    }

    /// The room for the voices of all running calls, in bytes of payload. When it is full no packet is taken any more,
    /// and [`Recording::dropped`] counts them.
    #[must_use]
    pub fn with_voice_bytes(mut self, bytes: usize) -> Self {
        self.voice_room = bytes;
        self
    }

    /// Takes an event, at the time `now`. Packets that waited for its key are decrypted.
    pub fn on_event(&mut self, event: &Event, now: Instant) {
        let Some(head) = event.head() else { return };
        let key = (head.device.clone(), head.call.id.clone());
        match event {
            Event::CallState(head, change) => {
                let call = self.calls.entry(key).or_insert_with(|| Call::new(head.call.clone()));
                (call.calling, call.called) = (change.calling.clone(), change.called.clone());
                if change.state == CallState::Ended {
                    call.ended = call.ended.or(Some(now));
                }
            }
            // One WAV file has one sound.
            Event::MediaOpened(head, media) if media.media.eq_ignore_ascii_case("audio") => {
                let call = self.calls.entry(key.clone()).or_insert_with(|| Call::new(head.call.clone()));
                call.open(media);
                let expecting = self.expecting.entry(media.destination).or_default();
                if !expecting.contains(&key) {
                    expecting.push(key);
                }
                for (number, packet) in self.waiting.take(media.destination) {
                    if !self.offer(&packet) {
                        self.waiting.put(number, packet);
                    }
                }
            }
            _ => {}
        }
    }

    /// Takes an RTP packet. What is no RTP is ignored.
    pub fn on_packet(&mut self, packet: Packet) {
        if !self.offer(&packet) {
            let number = self.waiting.next_number();
            self.waiting.put(number, packet);
        }
    }

    /// The calls that ended [`LINGER`] ago or more.
    pub fn take_ended(&mut self, now: Instant) -> Vec<Recording> {
        self.take(|call| call.ended.is_some_and(|ended| now.saturating_duration_since(ended) >= LINGER))
    }

    /// All calls, as far as they have come: for the end of an app or of its session.
    pub fn finish(mut self) -> Vec<Recording> {
        self.take(|_| true)
    }

    /// How many packets wait for a key.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Gives the packet to the streams that it is for. Says whether it has a place now, or nowhere ever.
    fn offer(&mut self, packet: &Packet) -> bool {
        let mut taken = false;
        for key in self.expecting.get(&packet.destination).into_iter().flatten() {
            let Some(call) = self.calls.get_mut(key) else { continue };
            match call.take(packet, self.voice_room) {
                Taken::Voice(bytes) => {
                    self.voice_room -= bytes;
                    taken = true;
                }
                Taken::Nothing => taken = true,
                Taken::NotYet => {}
            }
        }
        taken
    }

    fn take(&mut self, is_due: impl Fn(&Call) -> bool) -> Vec<Recording> {
        let mut due: Vec<_> = self.calls.extract_if(|_, call| is_due(call)).collect();
        if due.is_empty() {
            return Vec::new();
        }
        self.expecting.retain(|_, keys| {
            keys.retain(|key| self.calls.contains_key(key));
            !keys.is_empty()
        });
        due.sort_by_key(|(_, call)| call.ended);
        due.into_iter()
            .map(|((device, _), call)| call.recording(device))
            .filter_map(|(bytes, recording)| {
                self.voice_room += bytes;
                recording
            })
            .collect()
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
