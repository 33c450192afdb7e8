//! One generation of a stream: its checked key material, and the sources that have authenticated under it.
//!
//! Everything that a stranger's packets can reach is bounded: they leave no state, and the work that they cause shrinks
//! with their number.

use std::collections::HashMap;

use bytes::Bytes;

use super::{
    MediaError, Suite,
    rtp::RtpHeader,
    source::{Miss, Source},
};
use crate::keys::{SrtpKey, SrtpKeys};

/// The most keys in one generation.
const MAX_KEYS: usize = 16;
/// The longest MKI in bytes (RFC 4568, 9.2).
const MAX_MKI_LEN: usize = 128;
/// The most sources under one generation. Only who has the key can add one.
const MAX_SOURCES: usize = 256;
/// So many failures may search for the roll-over counter each; after them, one in 32 may.
const FREE_SEARCHES: u32 = 32;

/// A packet that authenticated.
pub(super) struct Opened {
    pub(super) packet: Bytes,
    pub(super) rollover: u32,
}

/// One set of key material, and what it has decrypted.
pub(super) struct Generation {
    pub(super) number: u32,
    suite: Suite,
    keys: SrtpKeys,
    /// By key and SSRC.
    sources: HashMap<(usize, u32), Source>,
    /// Packets of unknown sources that did not authenticate since the last new source.
    failures: u32,
    /// Draws the failures that may search, in no rhythm that a sender's own could fall in with.
    lot: u32,
}

impl Generation {
    /// Checks the key material against the suite (R18).
    pub(super) fn new(number: u32, suite: Suite, keys: &SrtpKeys) -> Result<Self, MediaError> {
        check(suite, keys)?;
        Ok(Self { number, suite, keys: keys.clone(), sources: HashMap::new(), failures: 0, lot: 0 })
    }

    /// Whether this is the same key material.
    pub(super) fn is_same(&self, suite: Suite, keys: &SrtpKeys) -> bool {
        self.suite == suite && self.keys == *keys
    }

    /// Whether a packet has authenticated under this generation.
    pub(super) fn has_authenticated(&self) -> bool {
        !self.sources.is_empty()
    }

    /// The roll-over counter of this source, if it is known here.
    pub(super) fn rollover(&self, ssrc: u32) -> Option<u32> {
        self.sources.iter().filter(|((_, known), _)| *known == ssrc).map(|(_, source)| source.rollover()).max()
    }

    /// Decrypts a packet of a source that is known here. `None`: it is not.
    pub(super) fn open_known(&mut self, packet: &[u8], header: &RtpHeader) -> Option<Result<Opened, Miss>> {
        let mut miss = None;
        for candidate in self.candidates(packet, header).0 {
            let Some(source) = self.sources.get_mut(&(candidate.key, header.ssrc)) else {
                continue;
            };
            let rollover = source.rollover_of(header.sequence);
            match source.decrypt(&candidate.packet, header) {
                Ok(packet) => return Some(Ok(Opened { packet, rollover })),
                Err(Miss::NotAuthentic) => miss = miss.or(Some(Miss::NotAuthentic)),
                Err(Miss::Replayed) => miss = Some(Miss::Replayed),
            }
        }
        miss.map(Err)
    }

    /// Decrypts the first packet of a source that is new here, trying roll-over counters up to `limit`.
    pub(super) fn open_new(
        &mut self,
        packet: &[u8],
        header: &RtpHeader,
        limit: u32,
        replay_protection: bool,
    ) -> Result<Opened, MediaError> {
        if self.sources.len() >= MAX_SOURCES {
            return Err(MediaError::TooManySources { limit: MAX_SOURCES });
        }
        let limit = if self.failures < FREE_SEARCHES || self.lot >> 27 == 0 { limit } else { 0 };
        let (candidates, unknown_mki) = self.candidates(packet, header);
        for candidate in candidates {
            if self.sources.contains_key(&(candidate.key, header.ssrc)) {
                continue;
            }
            let Some(key) = self.keys.keys.get(candidate.key) else { continue };
            let found = Source::find(self.suite, key, replay_protection, &candidate.packet, header, limit);
            if let Some((source, packet)) = found {
                let rollover = source.rollover();
                self.sources.insert((candidate.key, header.ssrc), source);
                self.failures = 0;
                return Ok(Opened { packet, rollover });
            }
        }
        self.failures = self.failures.saturating_add(1);
        self.lot = self.lot.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Err(unknown_mki.map_or(MediaError::NotAuthentic, |mki| MediaError::UnknownMki { mki }))
    }

    /// The ways to read `packet`: with its MKI taken out, under the key that has this MKI; then as a packet without MKI,
    /// under every key, since there are senders that declare an MKI and send none. Also the MKI, if no key has it.
    fn candidates(&self, packet: &[u8], header: &RtpHeader) -> (Vec<Candidate>, Option<Vec<u8>>) {
        let mut candidates = Vec::with_capacity(1);
        let mut unknown_mki = None;
        let mki_len = self.keys.keys.first().map_or(0, |key| key.mki.len());
        if mki_len > 0
            && let Some((mki, stripped)) = take_out_mki(packet, header, mki_len, self.suite)
        {
            match self.keys.keys.iter().position(|key| key.mki == mki) {
                Some(key) => candidates.push(Candidate { key, packet: stripped }),
                None => unknown_mki = Some(mki),
            }
        }
        if packet.len() >= header.len + self.suite.tag_len() {
            let whole = Bytes::copy_from_slice(packet);
            candidates.extend((0..self.keys.keys.len()).map(|key| Candidate { key, packet: whole.clone() }));
        }
        (candidates, unknown_mki)
    }
}

/// One way to read a packet.
struct Candidate {
    key: usize,
    packet: Bytes,
}

fn take_out_mki(packet: &[u8], header: &RtpHeader, mki_len: usize, suite: Suite) -> Option<(Vec<u8>, Bytes)> {
    if packet.len() < header.len + suite.tag_len() + mki_len {
        return None;
    }
    let (front, tail) = packet.split_at_checked(packet.len() - suite.bytes_after_mki())?;
    let (body, mki) = front.split_at_checked(front.len() - mki_len)?;
    Some((mki.to_vec(), [body, tail].concat().into()))
}

fn check(suite: Suite, keys: &SrtpKeys) -> Result<(), MediaError> {
    if keys.key_derivation_rate_log2 != 0 {
        return Err(MediaError::KeyDerivationRate { log2: keys.key_derivation_rate_log2 });
    }
    if keys.unauthenticated_srtp {
        return Err(MediaError::UnauthenticatedSrtp);
    }
    if keys.keys.len() > MAX_KEYS {
        return Err(MediaError::TooManyKeys { count: keys.keys.len(), limit: MAX_KEYS });
    }
    let first = keys.keys.first().ok_or(MediaError::NoKey)?;
    for SrtpKey { key, salt, .. } in &keys.keys {
        if key.len() != suite.key_len() {
            return Err(MediaError::KeyLength { expected: suite.key_len(), actual: key.len() });
        }
        if salt.len() != suite.salt_len() {
            return Err(MediaError::SaltLength { expected: suite.salt_len(), actual: salt.len() });
        }
    }
    let several_without = keys.keys.len() > 1 && first.mki.is_empty();
    let lengths_differ = keys.keys.iter().any(|key| key.mki.len() != first.mki.len());
    let twice = keys.keys.iter().enumerate().any(|(i, key)| keys.keys.iter().skip(i + 1).any(|k| k.mki == key.mki));
    if several_without || lengths_differ || twice || first.mki.len() > MAX_MKI_LEN {
        return Err(MediaError::AmbiguousMki);
    }
    Ok(())
}
