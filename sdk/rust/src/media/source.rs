//! The decrypting context of one source (SSRC) under one key, and how its roll-over counter is found.
//!
//! It owns the library's context, one per source, so that a forged SSRC never leaves state in a good context. A context
//! exists only after a packet authenticated in it.

use bytes::Bytes;
use webrtc_srtp::{
    Error,
    context::Context,
    option::{srtp_no_replay_protection, srtp_replay_protection},
};

use super::{Suite, rtp::RtpHeader};
use crate::keys::SrtpKey;

/// The replay window, in packets: the least that RFC 3711, 3.3.2 allows.
const REPLAY_WINDOW: usize = 64;

/// Why a context did not decrypt a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    NotAuthentic,
    Replayed,
}

/// One source that has authenticated.
pub(super) struct Source {
    context: Context,
    /// The highest packet index so far: roll-over counter and sequence number (RFC 3711, 3.3.1).
    index: u64,
}

impl Source {
    /// Tries roll-over counters from 0 to `limit` until `packet` authenticates, on a fresh context.
    ///
    /// The library can't be told a roll-over counter. But a context counts on whichever way packets go through it: three
    /// dummy packets, a third of the sequence numbers apart, come back to the packet's number one round later. What
    /// they encrypt to is dropped.
    pub(super) fn find(
        suite: Suite,
        key: &SrtpKey,
        replay_protection: bool,
        packet: &[u8],
        header: &RtpHeader,
        limit: u32,
    ) -> Option<(Self, Bytes)> {
        let replay =
            if replay_protection { srtp_replay_protection(REPLAY_WINDOW) } else { srtp_no_replay_protection() };
        let mut context =
            Context::new(key.key.expose(), key.salt.expose(), suite.profile(), Some(replay), None).ok()?;
        for rollover in 0..=limit {
            if let Ok(plain) = context.decrypt_rtp(packet) {
                let index = (u64::from(rollover) << 16) | u64::from(header.sequence);
                return Some((Self { context, index }, plain));
            }
            if rollover == limit {
                break;
            }
            let first_round = (rollover == 0).then_some(0);
            for step in first_round.into_iter().chain([21_846, 43_691, 0]) {
                let dummy = dummy_packet(header.sequence.wrapping_add(step), header.ssrc);
                context.encrypt_rtp(&dummy).ok()?;
            }
        }
        None
    }

    /// Decrypts a packet of this source. A packet that doesn't authenticate changes nothing.
    pub(super) fn decrypt(&mut self, packet: &[u8], header: &RtpHeader) -> Result<Bytes, Miss> {
        let plain = self.context.decrypt_rtp(packet).map_err(|error| match error {
            Error::SrtpSsrcDuplicated(..) => Miss::Replayed,
            _ => Miss::NotAuthentic,
        })?;
        self.index = self.index.max(estimate(self.index, header.sequence));
        Ok(plain)
    }

    /// The roll-over counter of the newest packet.
    pub(super) fn rollover(&self) -> u32 {
        u32::try_from(self.index >> 16).unwrap_or(u32::MAX)
    }

    /// The roll-over counter of a packet near the newest one.
    pub(super) fn rollover_of(&self, sequence: u16) -> u32 {
        u32::try_from(estimate(self.index, sequence) >> 16).unwrap_or(u32::MAX)
    }
}

/// The index of a packet with this sequence number, given the highest index so far (RFC 3711, 3.3.1 and appendix A).
fn estimate(highest: u64, sequence: u16) -> u64 {
    let (rollover, newest) = (highest >> 16, highest & 0xffff);
    let sequence = u64::from(sequence);
    let rollover = if newest < 0x8000 && sequence > newest + 0x8000 {
        rollover.saturating_sub(1)
    } else if newest >= 0x8000 && sequence < newest - 0x8000 {
        rollover + 1
    } else {
        rollover
    };
    (rollover << 16) | sequence
}

fn dummy_packet(sequence: u16, ssrc: u32) -> [u8; 12] {
    let [s0, s1] = sequence.to_be_bytes();
    let [c0, c1, c2, c3] = ssrc.to_be_bytes();
    [0x80, 0, s0, s1, 0, 0, 0, 0, c0, c1, c2, c3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_follows_the_sequence_numbers() {
        assert_eq!(estimate(5, 6), 6);
        assert_eq!(estimate(5, 65_535), 65_535, "before the first round there is none");
        assert_eq!(estimate(65_535, 0), 0x1_0000);
        assert_eq!(estimate(0x1_0000, 65_535), 65_535);
        assert_eq!(estimate(0x1_8000, 0), 0x1_0000);
        assert_eq!(estimate(0x1_8001, 0), 0x2_0000);
    }

    #[test]
    fn dummy_packets_reach_every_rollover_counter_from_any_sequence_number() {
        let suite = Suite::AeadAes128Gcm;
        let key = SrtpKey::new(vec![1; 16], vec![2; 12]);
        for start in [0u16, 1, 21_845, 32_767, 32_768, 32_769, 43_690, 65_534, 65_535] {
            // A sender that counts on from ROC 0, in quarters of a round.
            let mut sender = Context::new(key.key.expose(), key.salt.expose(), suite.profile(), None, None).unwrap();
            let mut packet = Bytes::new();
            for rollover in 0..4u32 {
                for step in [0u16, 0x4000, 0x8000, 0xc000] {
                    let sent = sender.encrypt_rtp(&dummy_packet(start.wrapping_add(step), 7)).unwrap();
                    if step == 0 {
                        packet = sent;
                    }
                }
                let header = RtpHeader::parse(&packet).unwrap();
                let found = Source::find(suite, &key, true, &packet, &header, 5);
                assert_eq!(found.map(|(source, _)| source.rollover()), Some(rollover), "start {start}");
                assert!(rollover == 0 || Source::find(suite, &key, true, &packet, &header, rollover - 1).is_none());
            }
        }
    }
}
