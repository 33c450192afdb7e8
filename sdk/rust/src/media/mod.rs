//! Decrypts the SRTP packets of a stream with the keys that its events bring.
//!
//! Owns the contexts of all generations and sources of a stream. It does no IO, reads no clock, panics on no input, and
//! never shows a key. **A packet that does not authenticate changes nothing.** RTCP is not decrypted. A source of which
//! more than 32,767 packets in a row are lost is lost until its stream's next generation: its roll-over counter is only
//! searched for as long as it has never authenticated, since a search later would let old packets in again.
//!
//! The keys that [`StreamDecryptor`] holds are wiped when they are dropped. What the SRTP library derives from them is
//! freed, but not wiped: it has no way to do so.

mod error;
pub mod g711;
mod generation;
pub mod rtp;
mod source;
mod suite;
pub mod wav;

use bytes::Bytes;

pub use error::MediaError;
pub use suite::Suite;

use self::{
    generation::{Generation, Opened},
    rtp::{RtpError, RtpHeader},
    source::Miss,
};
use crate::keys::SrtpKeys;

/// How many roll-over counters are tried by default: 16 rounds of 65,536 packets are almost 6 hours of 20 ms packets.
pub const DEFAULT_ROLLOVER_SEARCH: u32 = 16;
/// The most roll-over counters that can be tried.
pub const MAX_ROLLOVER_SEARCH: u32 = 1024;

/// The most generations at once: one in force, and some that the sender has not taken up yet.
const MAX_GENERATIONS: usize = 4;

/// Decrypts one stream: all its generations, and all its sources (SSRC) one after another or at once.
///
/// Give it the key material of each `MediaOpened` event of the stream, and each packet that goes to the stream's
/// destination.
///
/// ```
/// use callgate_sdk::{SrtpKey, SrtpKeys, media::{MediaError, StreamDecryptor}};
///
/// let mut decryptor = StreamDecryptor::new();
/// let keys = SrtpKeys::new(vec![SrtpKey::new(vec![1; 16], vec![2; 14])]);
/// decryptor.add_generation(1, "AES_CM_128_HMAC_SHA1_80", &keys)?;
///
/// let forged = [0x80; 60];
/// assert_eq!(decryptor.decrypt(&forged), Err(MediaError::NotAuthentic));
/// # Ok::<(), MediaError>(())
/// ```
pub struct StreamDecryptor {
    /// The newest first.
    generations: Vec<Generation>,
    rollover_search: u32,
    replay_protection: bool,
}

/// A packet that authenticated, in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Decrypted {
    /// The whole RTP packet: header and plain payload.
    pub packet: Bytes,
    /// Its header.
    pub header: RtpHeader,
    /// The generation that it authenticated under.
    pub generation: u32,
    /// Its source.
    pub ssrc: u32,
    /// The roll-over counter: how often the sequence number had begun anew.
    pub rollover: u32,
}

impl Decrypted {
    /// The payload without its padding.
    ///
    /// # Errors
    /// [`RtpError::Padding`] when the sender counted more padding than there is payload.
    pub fn payload(&self) -> Result<Bytes, RtpError> {
        self.header.payload(&self.packet).map(|range| self.packet.slice(range))
    }
}

impl StreamDecryptor {
    /// A decryptor without keys: replay protection on, [`DEFAULT_ROLLOVER_SEARCH`] roll-over counters tried.
    pub fn new() -> Self {
        Self { generations: Vec::new(), rollover_search: DEFAULT_ROLLOVER_SEARCH, replay_protection: true }
    }

    /// How many roll-over counters after 0 are tried on the first packets of a source, for an app that captures late.
    ///
    /// At most [`MAX_ROLLOVER_SEARCH`]; a higher number means that one. Each costs about 2 microseconds. 0 tries only a
    /// roll-over counter of 0. Where packets fail again and again, only one in 32 of them is searched for.
    #[must_use]
    pub fn with_rollover_search(mut self, rollovers: u32) -> Self {
        self.rollover_search = rollovers.min(MAX_ROLLOVER_SEARCH);
        self
    }

    /// Accepts packets that were seen before, and packets older than the window of 64: for captures, never for live media.
    #[must_use]
    pub fn without_replay_protection(mut self) -> Self {
        self.replay_protection = false;
        self
    }

    /// Adds the key material of a generation. `suite` is the registered name, as the event has it.
    ///
    /// A generation that is there already stays as it is, so that the roll-over counter goes on over hold and resume
    /// (R22). One older than a generation that has authenticated is checked, and then ignored.
    ///
    /// # Errors
    /// Refused are suites that are unknown or not supported, a key derivation rate other than 0,
    /// `UNAUTHENTICATED_SRTP`, wrong lengths of key and salt (R18), MKIs that don't tell the keys apart, and another key
    /// for a generation that is there already. The generations that were there stay valid.
    pub fn add_generation(&mut self, generation: u32, suite: &str, keys: &SrtpKeys) -> Result<(), MediaError> {
        let suite = Suite::from_name(suite)?;
        let added = Generation::new(generation, suite, keys)?;
        if let Some(known) = self.generations.iter().find(|known| known.number == generation) {
            return if known.is_same(suite, keys) { Ok(()) } else { Err(MediaError::GenerationConflict(generation)) };
        }
        if self.generations.iter().any(|known| known.number > generation && known.has_authenticated()) {
            return Ok(());
        }
        self.generations.push(added);
        self.generations.sort_by_key(|known| std::cmp::Reverse(known.number));
        self.generations.truncate(MAX_GENERATIONS);
        Ok(())
    }

    /// Decrypts one SRTP packet as it came from the network.
    ///
    /// Generations are tried from the newest on. The first packet that authenticates under one drops all older ones
    /// (R22). An MKI is taken out of the packet, and chooses the key; a packet that carries none although the key has one
    /// is decrypted too, if it authenticates.
    ///
    /// # Errors
    /// [`MediaError`] for what is no RTP packet, does not authenticate, or was seen before. The decryptor stays as it
    /// was, and the next packet may be good.
    pub fn decrypt(&mut self, packet: &[u8]) -> Result<Decrypted, MediaError> {
        let header = RtpHeader::parse(packet)?;
        check_extension(packet, &header)?;
        let (number, Opened { packet, rollover }) = self.open(packet, &header)?;
        self.generations.retain(|generation| generation.number >= number);
        Ok(Decrypted { packet, generation: number, ssrc: header.ssrc, rollover, header })
    }

    fn open(&mut self, packet: &[u8], header: &RtpHeader) -> Result<(u32, Opened), MediaError> {
        let mut replayed = false;
        for generation in &mut self.generations {
            match generation.open_known(packet, header) {
                Some(Ok(opened)) => return Ok((generation.number, opened)),
                Some(Err(Miss::Replayed)) => replayed = true,
                Some(Err(Miss::NotAuthentic)) | None => {}
            }
        }
        // Over a rekey the roll-over counter goes on (RFC 3711, 3.3.1), but some senders begin anew.
        let before = self.generations.iter().filter_map(|generation| generation.rollover(header.ssrc)).max();
        let limit = self.rollover_search.max(before.map_or(0, |rollover| rollover.saturating_add(1)));
        let mut refusal = MediaError::NoGeneration;
        for (age, generation) in self.generations.iter_mut().enumerate() {
            match generation.open_new(packet, header, limit.min(MAX_ROLLOVER_SEARCH), self.replay_protection) {
                Ok(opened) => return Ok((generation.number, opened)),
                Err(error) if age == 0 => refusal = error,
                Err(_) => {}
            }
        }
        Err(if replayed { MediaError::Replayed { ssrc: header.ssrc, sequence: header.sequence } } else { refusal })
    }
}

impl Default for StreamDecryptor {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for StreamDecryptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let generations: Vec<u32> = self.generations.iter().map(|generation| generation.number).collect();
        f.debug_struct("StreamDecryptor").field("generations", &generations).finish_non_exhaustive()
    }
}

/// Lets only those header extensions through whose length the library computes right. It takes the elements apart and
/// adds their lengths up, instead of reading the length field, and reads past the packet where they overrun it.
fn check_extension(packet: &[u8], header: &RtpHeader) -> Result<(), MediaError> {
    let Some((profile, elements)) = &header.extension else {
        return Ok(());
    };
    let elements = packet.get(elements.clone()).unwrap_or_default();
    let fits = match profile {
        0xbede => fills_exactly(elements, |rest| match rest {
            [first, ..] if first >> 4 == 15 => None,
            [first, ..] => Some(2 + usize::from(first & 0x0f)),
            [] => None,
        }),
        0x1000 => fills_exactly(elements, |rest| match rest {
            [_, len, ..] => Some(2 + usize::from(*len)),
            _ => None,
        }),
        0xc0de | 0xc2de => false,
        _ => true,
    };
    if fits { Ok(()) } else { Err(MediaError::HeaderExtension { profile: *profile }) }
}

/// Whether elements, whose length `next` tells, and single zeros between them (RFC 8285) fill `rest` exactly.
fn fills_exactly(mut rest: &[u8], next: impl Fn(&[u8]) -> Option<usize>) -> bool {
    while let Some(first) = rest.first() {
        let len = if *first == 0 { Some(1) } else { next(rest) };
        match len.and_then(|len| rest.get(len..)) {
            Some(after) => rest = after,
            None => return false,
        }
    }
    true
}
