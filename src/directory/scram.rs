//! What the gateway keeps instead of a password (R14, RFC 5802, RFC 7677).
//!
//! From a verifier one can check a proof but not make one: the password itself is nowhere.

use std::{fmt, num::NonZeroU32, str::FromStr};

use aws_lc_rs::{digest, hmac, pbkdf2, rand};
use base64::{Engine, prelude::BASE64_STANDARD};
use zeroize::{Zeroize, Zeroizing};

use crate::model::Secret;

const KEY_LEN: usize = digest::SHA256_OUTPUT_LEN;
const PREFIX: &str = "SCRAM-SHA-256$";

/// The verifier of one password.
///
/// Written as PostgreSQL writes it: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, the three in base64.
pub struct ScramVerifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: Secret,
    server_key: Secret,
}

/// Why there is no verifier. No message holds a password or a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScramError {
    /// The text is not such a line; perhaps it is a plaintext password.
    #[error(
        "it is not a SCRAM line: plaintext passwords are not accepted; run `callgate passwd` and paste what it prints"
    )]
    NotALine,
    /// It begins as such a line, and doesn't go on as one.
    #[error("the SCRAM line is damaged at its {0}: run `callgate passwd` again and paste the whole line")]
    Damaged(&'static str),
    /// Too few or too many iterations.
    #[error("{0} iterations are not allowed: from {min} to {max}", min = ScramVerifier::MIN_ITERATIONS, max = ScramVerifier::MAX_ITERATIONS)]
    Iterations(u64),
    /// SASLprep (RFC 4013) forbids the password, or it is empty.
    #[error("the password is empty or has characters that SASLprep (RFC 4013) forbids")]
    Password,
    /// The system's source of randomness failed.
    #[error("no randomness could be had from the system")]
    Randomness,
}

impl ScramVerifier {
    /// The fewest iterations (RFC 7677 section 4).
    pub const MIN_ITERATIONS: u32 = 4096;
    /// The most iterations: the app has to do them at each open.
    pub const MAX_ITERATIONS: u32 = 10_000_000;
    /// What `callgate passwd` takes if it isn't told.
    pub const DEFAULT_ITERATIONS: u32 = 65_536;

    /// The verifier of `password`, with a new random salt of 16 bytes.
    ///
    /// # Errors
    /// As [`from_password`](Self::from_password), and [`ScramError::Randomness`].
    pub fn generate(password: &str, iterations: u32) -> Result<Self, ScramError> {
        let mut salt = [0; 16];
        rand::fill(&mut salt).map_err(|_| ScramError::Randomness)?;
        Self::from_password(password, &salt, iterations)
    }

    /// The verifier of `password` with this salt (RFC 5802 section 3).
    ///
    /// # Errors
    /// SASLprep forbids the password, or the iterations are out of range.
    pub fn from_password(password: &str, salt: &[u8], iterations: u32) -> Result<Self, ScramError> {
        let rounds = checked_iterations(iterations.into())?;
        let prepared = stringprep::saslprep(password).map_err(|_| ScramError::Password)?;
        let prepared = Zeroizing::new(prepared.into_owned());
        if prepared.is_empty() {
            return Err(ScramError::Password);
        }
        let mut salted = Zeroizing::new([0; KEY_LEN]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, prepared.as_bytes(), &mut *salted);
        let client_key = hmac_sha256(&*salted, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, &*client_key);
        let server_key = hmac_sha256(&*salted, b"Server Key");
        Ok(Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: Secret::new(stored_key.as_ref().to_vec()),
            server_key: Secret::new(server_key.to_vec()),
        })
    }

    /// How often the app applies PBKDF2.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// The salt; it isn't secret.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// H(ClientKey), 32 bytes.
    pub fn stored_key(&self) -> &Secret {
        &self.stored_key
    }

    /// ServerKey, 32 bytes.
    pub fn server_key(&self) -> &Secret {
        &self.server_key
    }

    /// The line for the config file. It is as secret as a password hash: there is no `Display` to print it by accident.
    pub fn to_line(&self) -> Zeroizing<String> {
        let salt = BASE64_STANDARD.encode(&self.salt);
        let stored = Zeroizing::new(BASE64_STANDARD.encode(self.stored_key.expose()));
        let server = Zeroizing::new(BASE64_STANDARD.encode(self.server_key.expose()));
        Zeroizing::new(format!("{PREFIX}{}:{salt}${}:{}", self.iterations, *stored, *server))
    }
}

impl FromStr for ScramVerifier {
    type Err = ScramError;

    fn from_str(line: &str) -> Result<Self, ScramError> {
        let rest = line.strip_prefix(PREFIX).ok_or(ScramError::NotALine)?;
        let (cost, keys) = rest.split_once('$').ok_or(ScramError::Damaged("end"))?;
        let (iterations, salt) = cost.split_once(':').ok_or(ScramError::Damaged("salt"))?;
        let (stored_key, server_key) = keys.split_once(':').ok_or(ScramError::Damaged("end"))?;
        let iterations = iterations.parse().map_err(|_| ScramError::Damaged("iterations"))?;
        let salt = BASE64_STANDARD.decode(salt).map_err(|_| ScramError::Damaged("salt"))?;
        if salt.is_empty() {
            return Err(ScramError::Damaged("salt"));
        }
        Ok(Self {
            iterations: checked_iterations(iterations)?.get(),
            salt,
            stored_key: key(stored_key, "StoredKey")?,
            server_key: key(server_key, "ServerKey")?,
        })
    }
}

impl fmt::Debug for ScramVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramVerifier").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

fn checked_iterations(iterations: u64) -> Result<NonZeroU32, ScramError> {
    u32::try_from(iterations)
        .ok()
        .filter(|n| (ScramVerifier::MIN_ITERATIONS..=ScramVerifier::MAX_ITERATIONS).contains(n))
        .and_then(NonZeroU32::new)
        .ok_or(ScramError::Iterations(iterations))
}

fn key(base64: &str, what: &'static str) -> Result<Secret, ScramError> {
    let mut bytes = BASE64_STANDARD.decode(base64).map_err(|_| ScramError::Damaged(what))?;
    if bytes.len() != KEY_LEN {
        bytes.zeroize();
        return Err(ScramError::Damaged(what));
    }
    Ok(Secret::new(bytes))
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> Zeroizing<[u8; KEY_LEN]> {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    let mut bytes = Zeroizing::new([0; KEY_LEN]);
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677 section 3: user `user`, password `pencil`.
    #[test]
    fn r14_the_example_of_rfc_7677_verifies() {
        let salt = BASE64_STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let verifier = ScramVerifier::from_password("pencil", &salt, 4096).unwrap();
        let auth_message = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let server_signature = hmac_sha256(verifier.server_key().expose(), auth_message.as_bytes());
        assert_eq!(BASE64_STANDARD.encode(*server_signature), "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        // The client's proof, taken off its signature, is a ClientKey whose hash is the StoredKey.
        let proof = BASE64_STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let client_signature = hmac_sha256(verifier.stored_key().expose(), auth_message.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(*client_signature).map(|(a, b)| a ^ b).collect();
        let stored_key = digest::digest(&digest::SHA256, &client_key);
        assert_eq!(stored_key.as_ref(), verifier.stored_key().expose());
    }

    #[test]
    fn a_line_is_read_back_as_it_was_written() {
        let verifier = ScramVerifier::generate("pencil", 4096).unwrap();
        let line = verifier.to_line();
        assert_eq!(line.parse::<ScramVerifier>().unwrap().to_line(), line);
        assert_ne!(ScramVerifier::generate("pencil", 4096).unwrap().to_line(), line, "each has a salt of its own");
        assert!(!format!("{verifier:?}").contains(line.rsplit('$').next().unwrap()));
    }

    #[test]
    fn r14_plaintext_and_damaged_lines_are_refused() {
        let parse = |line: &str| line.parse::<ScramVerifier>().unwrap_err();
        assert_eq!(parse("pencil"), ScramError::NotALine);
        assert_eq!(parse("SCRAM-SHA-256$4096:AAAA$AAAA:AAAA"), ScramError::Damaged("StoredKey"));
        assert_eq!(parse("SCRAM-SHA-256$4096:$AAAA:AAAA"), ScramError::Damaged("salt"));
        assert_eq!(parse("SCRAM-SHA-256$1:AAAA$AAAA:AAAA"), ScramError::Iterations(1));
        assert_eq!(parse("SCRAM-SHA-256$4096:AAAA$"), ScramError::Damaged("end"));
    }

    #[test]
    fn passwords_are_prepared_by_saslprep() {
        let line = |password| ScramVerifier::from_password(password, b"salt", 4096).map(|v| v.to_line().clone());
        assert_eq!(line("I\u{ad}X"), line("IX"), "RFC 4013 section 3: a soft hyphen is mapped to nothing");
        assert_eq!(line("\u{7}"), Err(ScramError::Password));
        assert_eq!(line(""), Err(ScramError::Password));
    }
}
