//! SRTP key material as an app holds it: in memory that is wiped, shown by no `Debug`, reached by `expose` alone.
//!
//! Clones share one piece of memory, which is wiped when the last of them is dropped. Nothing here writes key material
//! anywhere (R20); an app uses it on its stream and forgets it.

use std::fmt;

use bytes::Bytes;
use callgate_wire::v1;
use zeroize::Zeroizing;

/// The key material of one stream, direction and generation (RFC 4568, R18).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SrtpKeys {
    /// One master key, or several that the packets' MKI tells apart.
    pub keys: Vec<SrtpKey>,
    /// The key derivation rate as the exponent of 2, as in SDES (`KDR=`); 0 stands for a rate of 0: keys are derived once.
    pub key_derivation_rate_log2: u32,
    /// `UNENCRYPTED_SRTCP`: RTCP is authenticated, but not encrypted.
    pub unencrypted_srtcp: bool,
    /// `UNAUTHENTICATED_SRTP`: RTP packets carry no authentication tag.
    pub unauthenticated_srtp: bool,
    /// The window size hint (`WSH=`) for replay protection, in packets; 0 if none was given.
    pub window_size_hint: u32,
}

impl SrtpKeys {
    /// Key material without session parameters.
    pub fn new(keys: Vec<SrtpKey>) -> Self {
        Self {
            keys,
            key_derivation_rate_log2: 0,
            unencrypted_srtcp: false,
            unauthenticated_srtp: false,
            window_size_hint: 0,
        }
    }
}

impl From<v1::SrtpKeys> for SrtpKeys {
    fn from(wire: v1::SrtpKeys) -> Self {
        Self {
            keys: wire.keys.into_iter().map(SrtpKey::from).collect(),
            key_derivation_rate_log2: wire.key_derivation_rate_log2,
            unencrypted_srtcp: wire.unencrypted_srtcp,
            unauthenticated_srtp: wire.unauthenticated_srtp,
            window_size_hint: wire.window_size_hint,
        }
    }
}

/// One SRTP master key with its salt.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SrtpKey {
    /// 16 or 32 bytes, as the suite demands (24 in suites that this SDK doesn't decrypt).
    pub key: Secret,
    /// 14 bytes in counter mode (RFC 3711), 12 in GCM (RFC 7714).
    pub salt: Secret,
    /// The master key identifier as it stands in packets. Empty if there is none.
    pub mki: Vec<u8>,
    /// How many packets the key may protect; 0 means the suite's default. Told, and not enforced.
    pub lifetime_packets: u64,
}

impl SrtpKey {
    /// A key without MKI. Both are moved into memory that is wiped.
    pub fn new(key: Vec<u8>, salt: Vec<u8>) -> Self {
        Self { key: Secret::new(key), salt: Secret::new(salt), mki: Vec::new(), lifetime_packets: 0 }
    }

    /// The same key with an MKI of 1 to 128 bytes.
    #[must_use]
    pub fn with_mki(mut self, mki: Vec<u8>) -> Self {
        self.mki = mki;
        self
    }
}

impl From<v1::SrtpKey> for SrtpKey {
    fn from(wire: v1::SrtpKey) -> Self {
        // Key and salt keep pointing into the frame, which is wiped. The MKI is no secret: a copy doesn't pin the frame.
        Self {
            key: Secret(wire.key),
            salt: Secret(wire.salt),
            mki: wire.mki.to_vec(),
            lifetime_packets: wire.lifetime_packets,
        }
    }
}

/// Bytes that nothing shows. Only [`expose`](Self::expose) reaches them.
#[derive(Clone)]
pub struct Secret(Bytes);

impl Secret {
    /// Takes `bytes` over, to be wiped when the last clone is dropped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Bytes::from_owner(Zeroizing::new(bytes)))
    }

    /// The bytes themselves. Don't store them, and don't log them (R20).
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// The length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl PartialEq for Secret {
    /// Compares all bytes whatever they are, so that the time taken tells nothing but the length.
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (self.expose(), other.expose());
        a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (x, y)| differ | (x ^ y)) == 0
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} bytes]", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r20_debug_shows_no_byte_of_a_key() {
        let keys = SrtpKeys::new(vec![SrtpKey::new(vec![0xab; 16], vec![0xcd; 14]).with_mki(vec![1])]);
        let shown = format!("{keys:?}");
        assert!(shown.contains("key: [16 bytes], salt: [14 bytes], mki: [1]"), "{shown}");
        assert!(!shown.contains("171") && !shown.contains("205") && !shown.contains("ab"), "{shown}");
    }

    #[test]
    fn secrets_compare_by_value() {
        assert_eq!(Secret::new(vec![1, 2]), Secret::new(vec![1, 2]));
        assert_ne!(Secret::new(vec![1, 2]), Secret::new(vec![1, 3]));
        assert_ne!(Secret::new(vec![1, 2]), Secret::new(vec![1, 2, 3]));
    }

    #[test]
    fn r18_keys_from_the_wire_point_into_the_frame() {
        let frame = Bytes::from_owner(Zeroizing::new(vec![7; 30]));
        let wire = v1::SrtpKey {
            key: frame.slice(..16),
            salt: frame.slice(16..),
            mki: Bytes::from_static(&[9]),
            mki_length: 1,
            lifetime_packets: 5,
        };
        let key = SrtpKey::from(wire);
        assert_eq!(key.key.expose().as_ptr(), frame.as_ptr());
        assert_eq!((key.key.len(), key.salt.len(), key.mki, key.lifetime_packets), (16, 14, vec![9], 5));
    }
}
