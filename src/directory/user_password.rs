//! Which passwords a user may be given for the clear door (R14).

use std::fmt;

use zeroize::Zeroizing;

use super::{ScramError, ScramVerifier};

/// A password that a user is to have, wiped when it is dropped: [`MIN`](Self::MIN) to [`MAX`](Self::MAX) characters, as
/// SASLprep (RFC 4013) leaves them.
///
/// A verifier that somebody else made tells nothing of its password: these bounds are for who sees one.
pub struct NewPassword(Zeroizing<String>);

/// Why a password can't be given to a user. No message holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NewPasswordError {
    /// SASLprep forbids a character of it.
    #[error("it has characters that SASLprep (RFC 4013) forbids, such as control ones: take others")]
    Forbidden,
    /// So many characters are left of it, and that is too few or too many.
    #[error(
        "it has {0} characters: from {min} to {max} are allowed",
        min = NewPassword::MIN,
        max = NewPassword::MAX
    )]
    Length(usize),
}

impl NewPassword {
    /// The fewest characters (NIST SP 800-63B section 5.1.1.2).
    pub const MIN: usize = 8;
    /// The most (R41a).
    pub const MAX: usize = 256;

    /// What somebody typed or sent, if a user may have it.
    ///
    /// # Errors
    /// [`NewPasswordError`].
    pub fn typed(text: &str) -> Result<Self, NewPasswordError> {
        let prepared = stringprep::saslprep(text).map_err(|_| NewPasswordError::Forbidden)?;
        let prepared = Zeroizing::new(prepared.into_owned());
        let len = prepared.chars().count();
        if !(Self::MIN..=Self::MAX).contains(&len) {
            return Err(NewPasswordError::Length(len));
        }
        Ok(Self(prepared))
    }

    /// What proves it on the clear door, with a new salt. It takes some time, by its purpose.
    ///
    /// # Errors
    /// The iterations are out of range, or the system has no randomness.
    pub fn verifier(&self, iterations: u32) -> Result<ScramVerifier, ScramError> {
        ScramVerifier::generate(&self.0, iterations)
    }
}

impl fmt::Debug for NewPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NewPassword(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r14_a_password_has_8_to_256_characters_as_they_are_prepared() {
        let refused = |text: &str| NewPassword::typed(text).err();
        let long = "ö".repeat(257);
        // RFC 4013 section 2.1: a soft hyphen is mapped to nothing.
        for (text, len) in [("", 0), ("a", 1), ("pencils", 7), ("pencils\u{ad}\u{ad}", 7), (&long, 257)] {
            assert_eq!(refused(text), Some(NewPasswordError::Length(len)), "{len}");
        }
        assert_eq!(refused("a long\u{7} one"), Some(NewPasswordError::Forbidden));
        for text in ["8 of all", &"ö".repeat(256)] {
            assert_eq!(refused(text), None, "{text}");
        }
    }

    #[test]
    fn r14_the_verifier_proves_the_password_as_it_was_typed() {
        let password = NewPassword::typed("a soft\u{ad}er pencil").unwrap();
        let made = password.verifier(4096).unwrap();
        let again = ScramVerifier::from_password("a softer pencil", made.salt(), 4096).unwrap();
        assert!(made.stored_key().same_as(again.stored_key()));
        assert_eq!(format!("{password:?}"), "NewPassword(..)");
    }
}
