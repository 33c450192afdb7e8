//! The SRTP crypto suites by their registered names, and the lengths that each demands.

use webrtc_srtp::protection_profile::ProtectionProfile;

use super::MediaError;

/// A crypto suite that is decrypted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// `AES_CM_128_HMAC_SHA1_32` (RFC 4568).
    AesCm128HmacSha1_32,
    /// `AES_CM_128_HMAC_SHA1_80` (RFC 4568).
    AesCm128HmacSha1_80,
    /// `AES_256_CM_HMAC_SHA1_32` (RFC 6188).
    Aes256CmHmacSha1_32,
    /// `AES_256_CM_HMAC_SHA1_80` (RFC 6188).
    Aes256CmHmacSha1_80,
    /// `AEAD_AES_128_GCM` (RFC 7714).
    AeadAes128Gcm,
    /// `AEAD_AES_256_GCM` (RFC 7714).
    AeadAes256Gcm,
}

impl Suite {
    /// Every suite that is decrypted here.
    pub const ALL: [Self; 6] = [
        Self::AesCm128HmacSha1_80,
        Self::AesCm128HmacSha1_32,
        Self::Aes256CmHmacSha1_80,
        Self::Aes256CmHmacSha1_32,
        Self::AeadAes128Gcm,
        Self::AeadAes256Gcm,
    ];

    /// The suite of this registered name.
    ///
    /// # Errors
    /// [`MediaError::UnsupportedSuite`] for registered suites that are not decrypted here, and
    /// [`MediaError::UnknownSuite`] for all other names.
    pub fn from_name(name: &str) -> Result<Self, MediaError> {
        if let Some(suite) = Self::ALL.into_iter().find(|suite| suite.name() == name) {
            return Ok(suite);
        }
        match UNSUPPORTED.iter().find(|unsupported| **unsupported == name) {
            Some(unsupported) => Err(MediaError::UnsupportedSuite(unsupported)),
            None => Err(MediaError::UnknownSuite(name.chars().take(64).collect())),
        }
    }

    /// The registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::Aes256CmHmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Self::Aes256CmHmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// The length of the master key, in bytes (R18).
    pub fn key_len(self) -> usize {
        self.profile().key_len()
    }

    /// The length of the master salt, in bytes (R18).
    pub fn salt_len(self) -> usize {
        self.profile().salt_len()
    }

    /// The length of the authentication tag of an RTP packet, in bytes.
    pub fn tag_len(self) -> usize {
        self.profile().rtp_auth_tag_len() + self.profile().aead_auth_tag_len()
    }

    /// How many bytes stand after the MKI: the tag in counter mode (RFC 3711, 3.1), nothing in GCM, whose tag is a part
    /// of the ciphertext and stands before the MKI (RFC 7714).
    pub(super) fn bytes_after_mki(self) -> usize {
        self.profile().rtp_auth_tag_len()
    }

    pub(super) fn profile(self) -> ProtectionProfile {
        match self {
            Self::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
            Self::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
            Self::Aes256CmHmacSha1_32 => ProtectionProfile::Aes256CmHmacSha1_32,
            Self::Aes256CmHmacSha1_80 => ProtectionProfile::Aes256CmHmacSha1_80,
            Self::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
            Self::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        }
    }
}

/// Suites of RFC 4568, 5669 and 6188 that are refused by name, and NULL, which some phones offer.
const UNSUPPORTED: [&str; 10] = [
    "AES_192_CM_HMAC_SHA1_32",
    "AES_192_CM_HMAC_SHA1_80",
    "AEAD_AES_192_GCM",
    "F8_128_HMAC_SHA1_80",
    "NULL_HMAC_SHA1_32",
    "NULL_HMAC_SHA1_80",
    "SEED_128_CCM_80",
    "SEED_128_GCM_96",
    "SEED_CTR_128_HMAC_SHA1_80",
    "NULL",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r18_lengths_of_every_suite() {
        let lengths = Suite::ALL.map(|suite| (suite.key_len(), suite.salt_len(), suite.tag_len()));
        assert_eq!(lengths, [(16, 14, 10), (16, 14, 4), (32, 14, 10), (32, 14, 4), (16, 12, 16), (32, 12, 16)]);
    }

    #[test]
    fn names_round_trip_and_others_are_refused_by_name() {
        for suite in Suite::ALL {
            assert_eq!(Suite::from_name(suite.name()), Ok(suite));
        }
        for name in UNSUPPORTED {
            assert_eq!(Suite::from_name(name), Err(MediaError::UnsupportedSuite(name)));
        }
        assert_eq!(Suite::from_name("AES_CM"), Err(MediaError::UnknownSuite("AES_CM".into())));
        assert_eq!(Suite::from_name(""), Err(MediaError::UnknownSuite(String::new())));
    }
}
