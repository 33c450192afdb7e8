//! The key material of one generation of a stream (R18).

use std::{
    fmt,
    hash::{BuildHasher, Hash, Hasher},
};

use super::{Secret, Suite};

/// Why key material was refused. It is never padded or cut (R18).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no master key at all.
    #[error("no master key")]
    Empty,
    /// Key and salt together have a length that the suite doesn't have.
    #[error("key and salt have {len} bytes, {suite} demands {}", suite.key_len() + suite.salt_len())]
    Length {
        /// The suite.
        suite: Suite,
        /// The length of key and salt together, in bytes.
        len: usize,
    },
    /// Several master keys need an MKI each, all of one length, none twice (RFC 4568, 6.1).
    #[error("several master keys must have different MKIs of one length")]
    Mki,
    /// An MKI has 1 to 128 bytes (RFC 4568, 6.1).
    #[error("an MKI of {0} bytes, 1 to 128 are allowed")]
    MkiLength(usize),
    /// The key derivation rate is at most 2^24 (RFC 4568, 6.3.1).
    #[error("a key derivation rate of 2^{0}, at most 2^24 is allowed")]
    Rate(u8),
}

/// A master key identifier: the bytes that stand in a packet. It is no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mki(Box<[u8]>);

impl Mki {
    /// # Errors
    /// [`KeyError::MkiLength`] unless there are 1 to 128 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, KeyError> {
        if (1..=128).contains(&bytes.len()) { Ok(Self(bytes.into())) } else { Err(KeyError::MkiLength(bytes.len())) }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// One master key with its salt.
pub struct MasterKey {
    /// The master key.
    pub key: Secret,
    /// The master salt.
    pub salt: Secret,
    /// What names this key in packets, if anything does.
    pub mki: Option<Mki>,
    /// How many packets it may protect, if the SDP says so.
    pub lifetime: Option<u64>,
}

impl MasterKey {
    /// Cuts key and salt, which SDES writes one after the other (RFC 4568, 6.1).
    ///
    /// # Errors
    /// [`KeyError::Length`] unless the length is exactly the suite's.
    pub fn new(suite: Suite, key_and_salt: &Secret, mki: Option<Mki>, lifetime: Option<u64>) -> Result<Self, KeyError> {
        let bytes = key_and_salt.expose();
        if bytes.len() != suite.key_len() + suite.salt_len() {
            return Err(KeyError::Length { suite, len: bytes.len() });
        }
        let (key, salt) = bytes.split_at(suite.key_len());
        Ok(Self { key: Secret::new(key.to_vec()), salt: Secret::new(salt.to_vec()), mki, lifetime })
    }

    fn same_as(&self, other: &Self) -> bool {
        // `&`, not `&&`: the second comparison must not depend on the first.
        (self.key.same_as(&other.key) & self.salt.same_as(&other.salt)) && self.mki == other.mki
    }
}

/// The session parameters of SDES that change decryption (RFC 4568, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionParameters {
    /// The key derivation rate is 2 to this power, 1 to 24; 0: keys are derived once.
    pub key_derivation_rate_log2: u8,
    /// `UNENCRYPTED_SRTP`: the media are readable, so the stream counts as not encrypted.
    pub unencrypted_srtp: bool,
    /// `UNENCRYPTED_SRTCP`.
    pub unencrypted_srtcp: bool,
    /// `UNAUTHENTICATED_SRTP`.
    pub unauthenticated_srtp: bool,
    /// `WSH`: the window size hint; 0 if none was given.
    pub window_size_hint: u32,
}

impl SessionParameters {
    /// Whether packets are decrypted in the same way by both: all but the window size hint is the same.
    pub fn decrypt_like(self, other: Self) -> bool {
        Self { window_size_hint: 0, ..self } == Self { window_size_hint: 0, ..other }
    }
}

/// The key material of one generation: what a receiver needs to decrypt the stream.
pub struct KeyMaterial {
    suite: Suite,
    keys: Box<[MasterKey]>,
    parameters: SessionParameters,
}

impl KeyMaterial {
    /// # Errors
    /// [`KeyError`] when there is no key, several can't be told apart, or a parameter is out of range.
    pub fn new(suite: Suite, keys: Vec<MasterKey>, parameters: SessionParameters) -> Result<Self, KeyError> {
        if keys.is_empty() {
            return Err(KeyError::Empty);
        }
        if parameters.key_derivation_rate_log2 > 24 {
            return Err(KeyError::Rate(parameters.key_derivation_rate_log2));
        }
        if let Some(wrong) = keys.iter().find(|k| k.key.len() != suite.key_len() || k.salt.len() != suite.salt_len()) {
            return Err(KeyError::Length { suite, len: wrong.key.len() + wrong.salt.len() });
        }
        let mki_len = |key: &MasterKey| key.mki.as_ref().map(|mki| mki.as_bytes().len());
        for (i, key) in keys.iter().enumerate().skip(1) {
            let before = || keys.iter().take(i);
            if mki_len(key).is_none() || before().any(|other| mki_len(other) != mki_len(key) || other.mki == key.mki) {
                return Err(KeyError::Mki);
            }
        }
        Ok(Self { suite, keys: keys.into(), parameters })
    }

    /// The crypto suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// The master keys: one, or several that MKIs tell apart.
    pub fn keys(&self) -> &[MasterKey] {
        &self.keys
    }

    /// The session parameters.
    pub fn parameters(&self) -> SessionParameters {
        self.parameters
    }

    /// Whether both are one generation (R22): suite, key, salt, MKI and key derivation rate are the same.
    /// Lifetimes and other parameters may differ. Secrets are compared in constant time.
    pub fn same_generation(&self, other: &Self) -> bool {
        self.suite == other.suite
            && self.parameters.key_derivation_rate_log2 == other.parameters.key_derivation_rate_log2
            && self.keys.len() == other.keys.len()
            && self.keys.iter().zip(&other.keys).fold(true, |same, (a, b)| same & a.same_as(b))
    }

    /// A fingerprint of what makes a generation (R22), for the life of `state`, which must be keyed at random: nobody
    /// else can make it, or tell a key by it.
    pub fn fingerprint(&self, state: &impl BuildHasher) -> u64 {
        let mut hasher = state.build_hasher();
        self.suite.name().hash(&mut hasher);
        self.parameters.key_derivation_rate_log2.hash(&mut hasher);
        for key in &self.keys {
            hasher.write(key.key.expose());
            hasher.write(key.salt.expose());
            key.mki.as_ref().map(Mki::as_bytes).hash(&mut hasher);
        }
        hasher.finish()
    }
}

impl fmt::Debug for KeyMaterial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyMaterial")
            .field("suite", &self.suite)
            .field("keys", &self.keys.len())
            .field("parameters", &self.parameters)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUITE: Suite = Suite::AesCm128HmacSha1_80;

    fn master(byte: u8, mki: Option<&[u8]>) -> MasterKey {
        let mki = mki.map(|bytes| Mki::new(bytes).unwrap());
        MasterKey::new(SUITE, &Secret::new(vec![byte; 30]), mki, None).unwrap()
    }

    fn material(byte: u8, mki: Option<&[u8]>) -> KeyMaterial {
        KeyMaterial::new(SUITE, vec![master(byte, mki)], SessionParameters::default()).unwrap()
    }

    #[test]
    fn r18_a_key_of_a_wrong_length_is_refused_never_padded_or_cut() {
        for len in [0, 29, 31, 46] {
            let wrong = MasterKey::new(SUITE, &Secret::new(vec![7; len]), None, None);
            assert_eq!(wrong.err(), Some(KeyError::Length { suite: SUITE, len }));
        }
        let key = MasterKey::new(SUITE, &Secret::new((0..30).collect()), None, None).unwrap();
        assert_eq!(key.key.expose(), (0..16).collect::<Vec<u8>>());
        assert_eq!(key.salt.expose(), (16..30).collect::<Vec<u8>>());
    }

    #[test]
    fn r18_several_keys_need_an_mki_each() {
        let make = |keys| KeyMaterial::new(SUITE, keys, SessionParameters::default()).map(drop);
        assert_eq!(make(vec![]), Err(KeyError::Empty));
        assert_eq!(make(vec![master(1, None), master(2, None)]), Err(KeyError::Mki));
        assert_eq!(make(vec![master(1, Some(b"1")), master(2, None)]), Err(KeyError::Mki));
        assert_eq!(make(vec![master(1, Some(b"1")), master(2, Some(b"1"))]), Err(KeyError::Mki));
        assert_eq!(make(vec![master(1, Some(b"1")), master(2, Some(b"02"))]), Err(KeyError::Mki));
        assert_eq!(make(vec![master(1, Some(b"1")), master(2, Some(b"2"))]), Ok(()));
    }

    #[test]
    fn r22_a_generation_changes_with_key_salt_mki_suite_or_rate_only() {
        let one = material(1, Some(b"1"));
        assert!(one.same_generation(&material(1, Some(b"1"))));
        assert!(!one.same_generation(&material(2, Some(b"1"))));
        assert!(!one.same_generation(&material(1, Some(b"2"))));
        assert!(!one.same_generation(&material(1, None)));

        let with = |parameters| KeyMaterial::new(SUITE, vec![master(1, Some(b"1"))], parameters).unwrap();
        let hint = SessionParameters { window_size_hint: 64, ..Default::default() };
        assert!(one.same_generation(&with(hint)));
        let rate = SessionParameters { key_derivation_rate_log2: 1, ..Default::default() };
        assert!(!one.same_generation(&with(rate)));
    }

    #[test]
    fn r18_all_parameters_but_a_hint_change_how_packets_are_decrypted() {
        let plain = SessionParameters::default();
        assert!(plain.decrypt_like(SessionParameters { window_size_hint: 64, ..plain }));
        for other in [
            SessionParameters { key_derivation_rate_log2: 1, ..plain },
            SessionParameters { unencrypted_srtp: true, ..plain },
            SessionParameters { unencrypted_srtcp: true, ..plain },
            SessionParameters { unauthenticated_srtp: true, ..plain },
        ] {
            assert!(!plain.decrypt_like(other), "{other:?}");
        }
    }

    #[test]
    fn r20_debug_shows_no_key() {
        let shown = format!("{:?}", material(0x41, None));
        assert!(shown.contains("AesCm128HmacSha1_80") && !shown.contains("41") && !shown.contains("65"), "{shown}");
    }
}
