//! What can be wrong with key material or with a packet.

/// Why key material was refused or a packet was not decrypted. No variant holds a byte of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MediaError {
    /// The suite's name is not in the registry of SDES suites.
    #[error("the crypto suite {0:?} is not known")]
    UnknownSuite(String),
    /// The suite is registered, and not decrypted here: 192-bit keys, F8, NULL, SEED and others.
    #[error("the crypto suite {0} is not supported")]
    UnsupportedSuite(&'static str),
    /// A key derivation rate other than 0 (RFC 3711, 4.3.1).
    #[error("a key derivation rate of 2^{log2} is not supported, only 0")]
    KeyDerivationRate {
        /// The exponent that SDES gave as `KDR=`.
        log2: u32,
    },
    /// `UNAUTHENTICATED_SRTP`: without a tag no packet can be told from a forged one.
    #[error("UNAUTHENTICATED_SRTP is not supported")]
    UnauthenticatedSrtp,
    /// The key material holds no key.
    #[error("no key in the key material")]
    NoKey,
    /// The key material holds more keys than any SDES line needs.
    #[error("{count} keys in the key material, where at most {limit} are allowed")]
    TooManyKeys {
        /// How many there are.
        count: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A master key of the wrong length. Keys are never padded or cut (R18).
    #[error("a master key of {actual} bytes, where the suite demands {expected}")]
    KeyLength {
        /// What the suite demands, in bytes.
        expected: usize,
        /// What was given.
        actual: usize,
    },
    /// A master salt of the wrong length (R18).
    #[error("a master salt of {actual} bytes, where the suite demands {expected}")]
    SaltLength {
        /// What the suite demands, in bytes.
        expected: usize,
        /// What was given.
        actual: usize,
    },
    /// Several keys without MKIs, with MKIs of different lengths or equal ones, or an MKI of more than 128 bytes.
    #[error("the keys' MKIs don't tell the keys apart")]
    AmbiguousMki,
    /// This generation was added before with other key material.
    #[error("generation {0} was added before with other key material")]
    GenerationConflict(u32),
    /// No generation was added yet.
    #[error("no key for this stream yet")]
    NoGeneration,
    /// Not an RTP packet: too short, another version, or RTCP.
    #[error("not an RTP packet: {0}")]
    NotRtp(#[from] super::rtp::RtpError),
    /// A header extension that can't be decrypted around: its elements don't fill it exactly, or it is Cryptex (RFC 9335).
    #[error("the RTP header extension 0x{profile:04x} is malformed or not supported")]
    HeaderExtension {
        /// The extension's profile field.
        profile: u16,
    },
    /// The packet's MKI belongs to no key.
    #[error("the packet's MKI {mki:02x?} belongs to no key")]
    UnknownMki {
        /// The bytes at the MKI's place.
        mki: Vec<u8>,
    },
    /// The packet authenticates under no key of any valid generation.
    #[error("the packet does not authenticate")]
    NotAuthentic,
    /// The packet number was seen before, or is older than the replay window.
    #[error("packet {sequence} of source {ssrc:08x} was seen before or is too old")]
    Replayed {
        /// The packet's source.
        ssrc: u32,
        /// The packet's sequence number.
        sequence: u16,
    },
    /// One key has authenticated packets of more sources than any stream has.
    #[error("more than {limit} sources under one key")]
    TooManySources {
        /// How many are allowed.
        limit: usize,
    },
}
