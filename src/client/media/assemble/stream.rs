//! Packets to one destination: whose they are, and what they say.

use std::{collections::HashSet, net::SocketAddr, ops::RangeInclusive};

use bytes::Bytes;
use callgate_sdk::{
    SrtpKeys,
    media::{Decrypted, MediaError, StreamDecryptor, rtp::RtpHeader, wav::VoicePacket},
};

use super::GRACE_MICROS;
use crate::{model::StreamDirection, switch::replay::MediaPacket};

/// How many roll-over counters are tried where a capture begins midway: two days of 20 ms packets.
const ROLLOVER_SEARCH: u32 = 128;

/// The sets of key material of a stream, in the order in which they came.
#[derive(Default)]
pub(super) struct Generations(Vec<(u32, String, SrtpKeys)>);

/// A stream that takes packets.
pub(super) struct Take<'a> {
    sip_call_id: &'a str,
    direction: StreamDirection,
    /// When its call is in force, in microseconds.
    in_force: Option<RangeInclusive<i64>>,
    /// It isn't SRTP.
    plain: bool,
    /// One for each generation, the one that opened the last packet first, then the newest.
    ///
    /// An app with live media has one decryptor for all of them, and forgets the old generation with the first packet
    /// of the new one. Here packets that were overtaken by it are still to be opened.
    decryptors: Vec<Decryptor<'a>>,
    keyed: bool,
    counted: Counted,
    seen: HashSet<u32>,
}

/// What opens the packets of one generation.
struct Decryptor<'a> {
    generation: (u32, &'a str, &'a SrtpKeys),
    context: StreamDecryptor,
    /// Packets that it didn't open since the last one that it did.
    misses: u32,
}

/// What was counted.
#[derive(Default)]
pub(super) struct Counted {
    pub(super) packets: u64,
    pub(super) authentic: u64,
    pub(super) keyed: bool,
    /// In the order of appearance.
    pub(super) ssrcs: Vec<u32>,
    /// Of the first authentic packet, or of the first one.
    pub(super) source: Option<SocketAddr>,
    pub(super) voice: Vec<VoicePacket>,
    pub(super) troubles: Vec<String>,
}

/// Gives a packet to those of `users` whose calls are in force, all going to its destination.
///
/// A packet has one call at its sender and one at its receiver. Mostly they are the same; where media go past a
/// back-to-back PBX they are two. So each direction has its own owner. Of several devices of one call that send to the
/// same place, as the branches of a forked call do with early media (R23), it is of the one whose key opens it.
pub(super) fn hand_out(takes: &mut [Take<'_>], users: &[usize], packet: &MediaPacket) {
    // What has RTP's first bytes but is shorter than its own header counts, and authenticates nowhere.
    let header = RtpHeader::parse(&packet.payload).ok();
    let header = header.as_ref();
    let mut candidates = Vec::new();
    for user in users {
        let Some(take) = takes.get_mut(*user).filter(|take| take.is_in_force(packet)) else { continue };
        let opened = take.open(packet, header);
        let claim = Claim {
            authentic: matches!(opened, Opened::Authentic(_)),
            running: take.is_running(packet),
            begin: take.in_force.as_ref().map(|span| *span.start()),
            sip_call_id: take.sip_call_id,
            direction: take.direction,
            keyed: take.keyed,
        };
        candidates.push((*user, opened, claim));
    }
    let claims = || candidates.iter().map(|(.., claim)| *claim);
    let Some(first) = claims().max_by_key(Claim::rank) else { return };
    let other = claims().filter(|claim| claim.direction != first.direction).max_by_key(Claim::rank);
    let other = other.filter(|claim| claim.authentic || (!first.authentic && claim.running));
    let yielded: Vec<_> = claims().map(|claim| claims().any(|other| claim.yields_to(&other))).collect();
    for ((user, opened, claim), yielded) in candidates.into_iter().zip(yielded) {
        let other_s = other.is_some_and(|other| claim.is_with(&other) && claim.direction == other.direction);
        if let Some(take) = takes.get_mut(user).filter(|_| !yielded && (claim.is_with(&first) || other_s)) {
            take.count(packet, header, opened);
        }
    }
}

/// Why a packet could be a stream's.
#[derive(Clone, Copy)]
struct Claim<'a> {
    authentic: bool,
    running: bool,
    begin: Option<i64>,
    sip_call_id: &'a str,
    direction: StreamDirection,
    keyed: bool,
}

impl Claim<'_> {
    /// The higher one has the packet: a key tells most, and then which call's ports they are now.
    fn rank(&self) -> (bool, bool, Option<i64>) {
        (self.authentic, self.running, self.begin)
    }

    /// Whether its own key is a wrong one where the other's is right, in the same place of the same call.
    fn yields_to(&self, other: &Self) -> bool {
        self.keyed && !self.authentic && other.authentic && self.is_with(other) && self.direction == other.direction
    }

    fn is_with(&self, other: &Self) -> bool {
        self.sip_call_id == other.sip_call_id
    }
}

enum Opened {
    /// The packet in the clear, and its payload.
    Authentic(Bytes),
    /// The stream isn't encrypted: the payload as it is.
    Plain(Bytes),
    No,
}

impl Generations {
    /// A generation that is there already stays as it is (R22).
    pub(super) fn add(&mut self, generation: u32, suite: &str, keys: SrtpKeys) {
        if !self.0.iter().any(|(known, _, known_keys)| *known == generation && *known_keys == keys) {
            self.0.push((generation, suite.into(), keys));
        }
    }
}

impl<'a> Decryptor<'a> {
    fn new(generation: (u32, &'a str, &'a SrtpKeys)) -> Result<Self, MediaError> {
        let (number, suite, keys) = generation;
        // A capture may hold a packet twice, and in any order: that is no attack.
        let mut context = StreamDecryptor::new().without_replay_protection().with_rollover_search(ROLLOVER_SEARCH);
        context.add_generation(number, suite, keys)?;
        Ok(Self { generation, context, misses: 0 })
    }

    /// Where a capture lacks half a round of a source or more, its roll-over counter is lost. An app with live media must
    /// not search for it again, or old packets would get in; a capture is no attack. The searches get rare, so that
    /// packets under another key cost little.
    fn decrypt(&mut self, packet: &Bytes) -> Option<Decrypted> {
        if let Ok(decrypted) = self.context.decrypt(packet) {
            self.misses = 0;
            return Some(decrypted);
        }
        self.misses = self.misses.saturating_add(1);
        if !self.misses.is_power_of_two() {
            return None;
        }
        let mut fresh = Self::new(self.generation).ok()?;
        let decrypted = fresh.context.decrypt(packet).ok()?;
        *self = fresh;
        Some(decrypted)
    }
}

impl<'a> Take<'a> {
    pub(super) fn new(
        sip_call_id: &'a str,
        direction: StreamDirection,
        in_force: Option<RangeInclusive<i64>>,
        plain: bool,
        keys: impl Iterator<Item = &'a Generations>,
    ) -> Self {
        let (mut decryptors, mut counted, mut keyed) = (Vec::new(), Counted::default(), false);
        for (number, suite, keys) in keys.flat_map(|generations| &generations.0) {
            keyed = true;
            match Decryptor::new((*number, suite, keys)) {
                Ok(decryptor) => decryptors.insert(0, decryptor),
                Err(error) => counted.troubles.push(format!("generation {number} can't be used: {error}")),
            }
        }
        Self { sip_call_id, direction, in_force, plain, decryptors, keyed, counted, seen: HashSet::new() }
    }

    pub(super) fn finish(self) -> Counted {
        Counted { keyed: self.keyed, ..self.counted }
    }

    fn is_in_force(&self, packet: &MediaPacket) -> bool {
        self.in_force.as_ref().is_some_and(|span| span.contains(&packet.at.0))
    }

    /// Whether its call has not ended yet: after that only late packets are its own.
    fn is_running(&self, packet: &MediaPacket) -> bool {
        self.in_force.as_ref().is_some_and(|span| packet.at.0 <= span.end().saturating_sub(GRACE_MICROS))
    }

    fn open(&mut self, packet: &MediaPacket, header: Option<&RtpHeader>) -> Opened {
        let Some(header) = header else { return Opened::No };
        for i in 0..self.decryptors.len() {
            let opened = self.decryptors.get_mut(i).and_then(|decryptor| decryptor.decrypt(&packet.payload));
            if let Some(decrypted) = opened {
                if let Some(used) = self.decryptors.get_mut(..=i) {
                    used.rotate_right(1);
                }
                return Opened::Authentic(decrypted.payload().unwrap_or_default());
            }
        }
        let payload = header.payload(&packet.payload).ok().filter(|_| self.plain && !self.keyed);
        payload.map_or(Opened::No, |payload| Opened::Plain(packet.payload.slice(payload)))
    }

    fn count(&mut self, packet: &MediaPacket, header: Option<&RtpHeader>, opened: Opened) {
        let counted = &mut self.counted;
        counted.packets += 1;
        if counted.source.is_none() || (counted.authentic == 0 && matches!(opened, Opened::Authentic(_))) {
            counted.source = Some(packet.source);
        }
        let Some(header) = header else { return };
        if self.seen.insert(header.ssrc) {
            counted.ssrcs.push(header.ssrc);
        }
        let payload = match opened {
            Opened::Authentic(payload) => {
                counted.authentic += 1;
                payload
            }
            Opened::Plain(payload) => payload,
            Opened::No => return,
        };
        counted.voice.push(VoicePacket {
            at_micros: packet.at.0,
            ssrc: header.ssrc,
            timestamp: header.timestamp,
            payload_type: header.payload_type,
            payload,
        });
    }
}
