//! A sender of SRTP for the tests: it encrypts by the library, and puts in the MKI by itself.

use callgate_sdk::{SrtpKey, SrtpKeys, media::Suite};
use webrtc_srtp::{context::Context, protection_profile::ProtectionProfile};

pub(crate) const SSRC: u32 = 0x1122_3344;

/// One sender under one key.
pub(crate) struct Sender {
    context: Context,
    suite: Suite,
    mki: Vec<u8>,
}

impl Sender {
    pub(crate) fn new(suite: Suite, key: &SrtpKey) -> Self {
        let profile = match suite {
            Suite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
            Suite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            Suite::Aes256CmHmacSha1_32 => ProtectionProfile::Aes256CmHmacSha1_32,
            Suite::Aes256CmHmacSha1_80 => ProtectionProfile::Aes256CmHmacSha1_80,
            Suite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            Suite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        };
        let context = Context::new(key.key.expose(), key.salt.expose(), profile, None, None).unwrap();
        Self { context, suite, mki: key.mki.clone() }
    }

    /// Encrypts `plain`, and puts the MKI where it belongs.
    pub(crate) fn protect(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut packet = self.context.encrypt_rtp(plain).unwrap().to_vec();
        let after_mki = match self.suite {
            Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => 0,
            _ => self.suite.tag_len(),
        };
        let at = packet.len() - after_mki;
        packet.splice(at..at, self.mki.iter().copied());
        packet
    }

    /// Sends `rounds` times through all sequence numbers, unseen by anyone.
    pub(crate) fn skip_rounds(&mut self, ssrc: u32, rounds: u32) {
        for _ in 0..rounds {
            for sequence in [0, 0x4000, 0x8000, 0xc000, 0xffff] {
                self.context.encrypt_rtp(&rtp(ssrc, sequence, b"")).unwrap();
            }
        }
    }
}

/// A plain RTP packet of payload type 0.
pub(crate) fn rtp(ssrc: u32, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

/// A key of the suite's lengths, different for each `seed`.
pub(crate) fn key(suite: Suite, seed: u8) -> SrtpKey {
    let bytes = |len: usize, seed: u8| (0..len).map(|i| seed.wrapping_mul(31).wrapping_add(i as u8)).collect();
    SrtpKey::new(bytes(suite.key_len(), seed), bytes(suite.salt_len(), seed.wrapping_add(100)))
}

pub(crate) fn keys(key: &SrtpKey) -> SrtpKeys {
    SrtpKeys::new(vec![key.clone()])
}
