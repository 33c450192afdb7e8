//! Addresses, keys, session descriptions, and voices under SRTP.

use std::net::SocketAddr;

use base64::{Engine, prelude::BASE64_STANDARD};
use webrtc_srtp::{context::Context, protection_profile::ProtectionProfile};

pub const CM: &str = "AES_CM_128_HMAC_SHA1_80";

/// The short names of addresses.
const NAMES: [(&str, &str); 9] = [
    ("A", "10.0.0.11:5060"),
    ("B", "10.0.0.12:5060"),
    ("P", "10.0.0.1:5060"),
    ("a", "10.0.0.11:4000"),
    ("b", "10.0.0.12:4000"),
    ("p", "10.0.0.1:6000"),
    ("q", "10.0.0.1:6100"),
    ("a2", "10.0.0.11:4002"),
    ("p2", "10.0.0.1:6002"),
];

/// The address of a short name, or the address itself.
pub fn at(name: &str) -> SocketAddr {
    NAMES.iter().find(|(short, _)| *short == name).map_or(name, |(_, long)| long).parse().unwrap()
}

pub fn short(address: &str) -> String {
    NAMES.iter().find(|(_, long)| *long == address).map_or(address, |(short, _)| short).into()
}

/// A master key with its salt, and its MKI with the MKI's length.
#[derive(Clone)]
pub struct Key {
    pub suite: &'static str,
    pub bytes: Vec<u8>,
    pub mki: Option<(u64, usize)>,
}

/// A key of the suite's lengths (R18), another one for each seed.
pub fn key(suite: &'static str, seed: u8) -> Key {
    let (key, salt) = match suite {
        "AEAD_AES_128_GCM" => (16, 12),
        "AEAD_AES_256_GCM" => (32, 12),
        suite if suite.contains("192") => (24, 14),
        suite if suite.contains("256") => (32, 14),
        _ => (16, 14),
    };
    let bytes = (0..key + salt).map(|i: u8| seed.wrapping_mul(59).wrapping_add(i.wrapping_mul(37)) ^ 0x5a).collect();
    Key { suite, bytes, mki: None }
}

/// A key of the most usual suite.
pub fn cm(seed: u8) -> Key {
    key(CM, seed)
}

impl Key {
    pub fn with_mki(self, mki: u64, len: usize) -> Self {
        Self { mki: Some((mki, len)), ..self }
    }

    pub fn inline(&self) -> String {
        let mki = self.mki.map_or(String::new(), |(mki, len)| format!("|{mki}:{len}"));
        format!("inline:{}{mki}", BASE64_STANDARD.encode(&self.bytes))
    }

    /// The crypto line with this tag.
    pub fn line(&self, tag: u32) -> String {
        format!("a=crypto:{tag} {} {}\r\n", self.suite, self.inline())
    }
}

/// A session description of one audio line at the address of a short name; `more` are whole lines.
pub fn sdp(to: &str, profile: &str, more: &str) -> String {
    let to = at(to);
    let (ip, family) = (to.ip(), if to.is_ipv4() { "IP4" } else { "IP6" });
    format!(
        "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\nm=audio {} {profile} 0 101\r\n\
         a=rtpmap:101 telephone-event/8000\r\n{more}",
        to.port()
    )
}

/// SAVP with one crypto line.
pub fn savp(to: &str, key: &Key) -> String {
    sdp(to, "RTP/SAVP", &key.line(1))
}

/// Without encryption.
pub fn avp(to: &str) -> String {
    sdp(to, "RTP/AVP", "")
}

/// A sender of RTP packets of 20 ms.
pub struct Voice {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub ssrc: u32,
    pub sequence: u16,
    pub payload_type: u8,
    context: Option<Context>,
    mki: Option<(u64, usize)>,
    tag_after_mki: usize,
}

impl Voice {
    /// In the clear.
    pub fn clear(from: &str, to: &str, ssrc: u32) -> Self {
        let (from, to) = (at(from), at(to));
        Self { from, to, ssrc, sequence: 1, payload_type: 0, context: None, mki: None, tag_after_mki: 0 }
    }

    /// Under a key.
    pub fn secure(from: &str, to: &str, ssrc: u32, key: &Key) -> Self {
        Self { ssrc, ..Self::clear(from, to, ssrc) }.rekeyed(key)
    }

    /// The same under another key: sequence number goes on, and a new context begins.
    pub fn rekeyed(self, key: &Key) -> Self {
        let (profile, key_len, tag) = match key.suite {
            "AES_CM_128_HMAC_SHA1_32" => (ProtectionProfile::Aes128CmHmacSha1_32, 16, 4),
            "AES_256_CM_HMAC_SHA1_80" | "AES_CM_256_HMAC_SHA1_80" => (ProtectionProfile::Aes256CmHmacSha1_80, 32, 10),
            "AES_256_CM_HMAC_SHA1_32" | "AES_CM_256_HMAC_SHA1_32" => (ProtectionProfile::Aes256CmHmacSha1_32, 32, 4),
            "AEAD_AES_128_GCM" => (ProtectionProfile::AeadAes128Gcm, 16, 0),
            "AEAD_AES_256_GCM" => (ProtectionProfile::AeadAes256Gcm, 32, 0),
            _ => (ProtectionProfile::Aes128CmHmacSha1_80, 16, 10),
        };
        let (master, salt) = key.bytes.split_at(key_len);
        let salt = &salt[..profile.salt_len()];
        let context = Context::new(master, salt, profile, None, None).unwrap();
        Self { context: Some(context), mki: key.mki, tag_after_mki: tag, ..self }
    }

    /// The next packet.
    pub fn packet(&mut self) -> Vec<u8> {
        let mut plain = vec![0x80, self.payload_type];
        plain.extend(self.sequence.to_be_bytes());
        plain.extend((u32::from(self.sequence) * 160).to_be_bytes());
        plain.extend(self.ssrc.to_be_bytes());
        plain.extend([0xff; 20]);
        self.sequence = self.sequence.wrapping_add(1);
        self.protect(&plain)
    }

    /// Protects a packet; the MKI stands before the tag (RFC 3711, 3.1), or behind GCM's (RFC 7714).
    pub fn protect(&mut self, plain: &[u8]) -> Vec<u8> {
        let Some(context) = &mut self.context else { return plain.to_vec() };
        let mut packet = context.encrypt_rtp(plain).unwrap().to_vec();
        if let Some((mki, len)) = self.mki {
            let mki: Vec<u8> = (0..len).rev().map(|i| if i < 8 { (mki >> (8 * i)) as u8 } else { 0 }).collect();
            let at = packet.len() - self.tag_after_mki;
            packet.splice(at..at, mki);
        }
        packet
    }

    /// Sends a whole round of sequence numbers that nobody captures.
    pub fn skip_rounds(&mut self, rounds: u32) {
        for _ in 0..4 * rounds {
            self.sequence = self.sequence.wrapping_add(0x4000);
            self.packet();
            self.sequence = self.sequence.wrapping_sub(1);
        }
    }
}
