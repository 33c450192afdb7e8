//! A secret in the body of a request: wiped when it is dropped, and never told back, not even by an error about it.

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use zeroize::Zeroizing;

use crate::admin::accounts::{Password, Token};

/// The longest text that a secret may be, in bytes (R41a).
const MAX_LEN: usize = 4_096;

/// A secret that somebody sent.
pub(super) struct SecretText(Zeroizing<String>);

impl SecretText {
    /// As a password.
    pub(super) fn into_password(self) -> Password {
        Password::typed(self.into_text())
    }

    /// As a token.
    pub(super) fn into_token(self) -> Token {
        Token::told(self.into_text())
    }

    /// As a secret of another kind.
    pub(super) fn into_secret(self) -> Zeroizing<String> {
        self.0
    }

    fn into_text(mut self) -> String {
        std::mem::take(&mut *self.0)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(..)")
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

struct Visitor;

impl Visitor {
    /// Without what is there instead: it may be the secret without its quotes.
    fn no_text<E: de::Error, T>() -> Result<T, E> {
        Err(E::custom(format!("a text of up to {MAX_LEN} bytes is expected")))
    }
}

impl<'de> de::Visitor<'de> for Visitor {
    type Value = SecretText;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretText, E> {
        if text.len() > MAX_LEN {
            return Self::no_text();
        }
        Ok(SecretText(Zeroizing::new(text.into())))
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<SecretText, E> {
        let text = Zeroizing::new(text);
        if text.len() > MAX_LEN { Self::no_text() } else { Ok(SecretText(text)) }
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<SecretText, E> {
        Self::no_text()
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<SecretText, E> {
        Self::no_text()
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<SecretText, E> {
        Self::no_text()
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<SecretText, E> {
        Self::no_text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r38_a_secret_is_told_back_by_no_error_and_no_debug() {
        let read = |json: &str| serde_json::from_str::<SecretText>(json);
        assert_eq!(format!("{:?}", read("\"correct horse\"").unwrap()), "SecretText(..)");
        assert_eq!(read("\"correct \\u0068orse\"").unwrap().into_password().as_text(), "correct horse");
        let long = format!("\"{}\"", "4711".repeat(2_000));
        for wrong in ["4711", "-4711", "47.11", &long, "[\"4711\"]", "{\"4711\":1}", "null", "true"] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(!error.contains("4711") && !error.contains("47.11"), "{error}");
        }
    }
}
