//! Tokens: 256 random bits that are told once, and kept as their hash.

use std::{
    fmt,
    hash::{Hash, Hasher},
};

use aws_lc_rs::{constant_time, digest, rand};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::trust::Fingerprint;

/// What a token is for. It stands at its beginning, so that people and scanners know one that they find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A program's.
    Api,
    /// Somebody's who has logged in.
    Session,
    /// For the first administrator.
    Setup,
}

impl TokenKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Api => "cgt_",
            Self::Session => "cgs_",
            Self::Setup => "cgsetup_",
        }
    }
}

/// A token, wiped when it is dropped.
pub struct Token(Zeroizing<String>);

/// The SHA-256 of a token. There are 2^256 tokens, so that a slow hash would protect nothing more. Two are compared in a time
/// that says nothing of them.
#[derive(Clone, Copy, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(Fingerprint);

impl Token {
    /// A new one. `None`: the system has no randomness.
    pub fn draw(kind: TokenKind) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        rand::fill(&mut *bytes).ok()?;
        let mut text = Zeroizing::new(String::with_capacity(64));
        text.push_str(kind.prefix());
        BASE64_URL_SAFE_NO_PAD.encode_string(*bytes, &mut text);
        Some(Self(text))
    }

    /// What somebody says is one.
    pub fn told(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Whether it is one of this kind, by its beginning.
    pub fn is(&self, kind: TokenKind) -> bool {
        self.0.starts_with(kind.prefix())
    }

    /// Its hash.
    pub fn hash(&self) -> TokenHash {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, self.0.as_bytes()).as_ref());
        TokenHash(Fingerprint(hash))
    }

    /// The token itself: told once, to who asked for it.
    pub fn tell(&self) -> &str {
        &self.0
    }
}

impl PartialEq for TokenHash {
    fn eq(&self, other: &Self) -> bool {
        constant_time::verify_slices_are_equal(&self.0.0, &other.0.0).is_ok()
    }
}

impl Hash for TokenHash {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.0.hash(state);
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}
