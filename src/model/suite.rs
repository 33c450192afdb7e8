//! SRTP crypto suites and what they demand of a key.

use std::{fmt, str::FromStr};

/// The cipher of a suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// AES in counter mode (RFC 3711, RFC 6188).
    AesCm,
    /// AES in f8 mode (RFC 3711).
    AesF8,
    /// AES-GCM (RFC 7714).
    AesGcm,
    /// No encryption: the packets are readable, and only authenticated.
    Null,
}

/// A crypto suite that SDES can name (RFC 4568, RFC 6188, RFC 7714).
///
/// Spellings met in the field (`AES_CM_256_…`) are taken as the registered ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each is its registered name")]
pub enum Suite {
    AeadAes128Gcm,
    AeadAes256Gcm,
    AesCm128HmacSha1_32,
    AesCm128HmacSha1_80,
    Aes192CmHmacSha1_32,
    Aes192CmHmacSha1_80,
    Aes256CmHmacSha1_32,
    Aes256CmHmacSha1_80,
    F8_128HmacSha1_80,
    NullHmacSha1_32,
    NullHmacSha1_80,
}

/// No suite has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the crypto suite {0:?} is not known")]
pub struct UnknownSuite(pub String);

/// Name, cipher, key length, salt length, length of the authentication tag of SRTP.
type Row = (Suite, &'static str, Cipher, usize, usize, usize);

const ROWS: [Row; 11] = [
    (Suite::AeadAes128Gcm, "AEAD_AES_128_GCM", Cipher::AesGcm, 16, 12, 16),
    (Suite::AeadAes256Gcm, "AEAD_AES_256_GCM", Cipher::AesGcm, 32, 12, 16),
    (Suite::AesCm128HmacSha1_32, "AES_CM_128_HMAC_SHA1_32", Cipher::AesCm, 16, 14, 4),
    (Suite::AesCm128HmacSha1_80, "AES_CM_128_HMAC_SHA1_80", Cipher::AesCm, 16, 14, 10),
    (Suite::Aes192CmHmacSha1_32, "AES_192_CM_HMAC_SHA1_32", Cipher::AesCm, 24, 14, 4),
    (Suite::Aes192CmHmacSha1_80, "AES_192_CM_HMAC_SHA1_80", Cipher::AesCm, 24, 14, 10),
    (Suite::Aes256CmHmacSha1_32, "AES_256_CM_HMAC_SHA1_32", Cipher::AesCm, 32, 14, 4),
    (Suite::Aes256CmHmacSha1_80, "AES_256_CM_HMAC_SHA1_80", Cipher::AesCm, 32, 14, 10),
    (Suite::F8_128HmacSha1_80, "F8_128_HMAC_SHA1_80", Cipher::AesF8, 16, 14, 10),
    (Suite::NullHmacSha1_32, "NULL_HMAC_SHA1_32", Cipher::Null, 16, 14, 4),
    (Suite::NullHmacSha1_80, "NULL_HMAC_SHA1_80", Cipher::Null, 16, 14, 10),
];

impl Suite {
    /// Every suite.
    #[expect(clippy::indexing_slicing, reason = "done by the compiler, which refuses a place that isn't there")]
    pub const ALL: [Self; 11] = {
        let mut all = [Self::AeadAes128Gcm; 11];
        let mut i = 0;
        while i < ROWS.len() {
            all[i] = ROWS[i].0;
            i += 1;
        }
        all
    };

    /// The registered name.
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The cipher.
    pub fn cipher(self) -> Cipher {
        self.row().2
    }

    /// Length of the master key, in bytes.
    pub fn key_len(self) -> usize {
        self.row().3
    }

    /// Length of the master salt, in bytes.
    pub fn salt_len(self) -> usize {
        self.row().4
    }

    /// Length of the authentication tag of an SRTP packet, in bytes.
    pub fn tag_len(self) -> usize {
        self.row().5
    }

    #[expect(clippy::indexing_slicing, reason = "ROWS has one row a suite, in the order of the enum; tested")]
    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }
}

impl FromStr for Suite {
    type Err = UnknownSuite;

    fn from_str(name: &str) -> Result<Self, UnknownSuite> {
        let registered = match name {
            "AES_CM_192_HMAC_SHA1_32" => "AES_192_CM_HMAC_SHA1_32",
            "AES_CM_192_HMAC_SHA1_80" => "AES_192_CM_HMAC_SHA1_80",
            "AES_CM_256_HMAC_SHA1_32" => "AES_256_CM_HMAC_SHA1_32",
            "AES_CM_256_HMAC_SHA1_80" => "AES_256_CM_HMAC_SHA1_80",
            name => name,
        };
        ROWS.iter()
            .find(|row| row.1.eq_ignore_ascii_case(registered))
            .map(|row| row.0)
            .ok_or_else(|| UnknownSuite(name.chars().take(64).collect()))
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_stands_at_its_suite() {
        for suite in Suite::ALL {
            assert_eq!(suite.row().0, suite);
            assert_eq!(suite.name().parse::<Suite>(), Ok(suite));
        }
    }

    #[test]
    fn r18_lengths_are_those_of_the_rfcs() {
        let lengths = |name: &str| {
            let suite: Suite = name.parse().unwrap();
            (suite.key_len(), suite.salt_len())
        };
        assert_eq!(lengths("AES_CM_128_HMAC_SHA1_80"), (16, 14)); // RFC 3711
        assert_eq!(lengths("AES_192_CM_HMAC_SHA1_80"), (24, 14)); // RFC 6188
        assert_eq!(lengths("AES_256_CM_HMAC_SHA1_32"), (32, 14));
        assert_eq!(lengths("AEAD_AES_128_GCM"), (16, 12)); // RFC 7714
        assert_eq!(lengths("AEAD_AES_256_GCM"), (32, 12));
    }

    #[test]
    fn spellings_of_the_field_are_the_registered_suites() {
        assert_eq!("AES_CM_256_HMAC_SHA1_80".parse(), Ok(Suite::Aes256CmHmacSha1_80));
        assert_eq!("aes_cm_128_hmac_sha1_80".parse(), Ok(Suite::AesCm128HmacSha1_80));
        assert_eq!("AEAD_AES_128_GCM_8".parse::<Suite>(), Err(UnknownSuite("AEAD_AES_128_GCM_8".into())));
    }
}
