//! Passwords of accounts: Argon2id, a few at a time, and a hash for those that have none.

use std::{fmt, sync::Arc};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version, password_hash::phc::PasswordHash as Phc,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// OWASP's second choice of parameters for Argon2id: 19 MiB, 2 rounds, 1 lane.
const MEMORY_KIB: u32 = 19 * 1024;
const ROUNDS: u32 = 2;
const LANES: u32 = 1;
/// How many are made or checked at once.
const AT_ONCE: usize = 2;
/// How many may wait for that (R41a).
const WAITING: usize = 32;

/// A password as somebody typed it, wiped when it is dropped.
pub struct Password(Zeroizing<String>);

/// What proves a password: Argon2id as a PHC string. It is as secret as hashes of passwords are.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Arc<Zeroizing<String>>);

/// Makes and checks hashes of passwords.
pub struct Passwords {
    turn: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    /// What is checked where there is nothing to check, so that it takes as long.
    decoy: PasswordHash,
}

/// Why there is no hash of a password. No message holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too many wait.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// It has so many characters, and that is too few or too many: its length is the only rule.
    #[error("it has {0} characters: from {min} to {max} are allowed", min = Password::MIN, max = Password::MAX)]
    Length(usize),
    /// The system has no randomness.
    #[error("the system has no randomness")]
    Randomness,
}

/// Too many passwords wait to be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords wait to be checked")]
pub struct Busy;

impl Password {
    /// The fewest characters.
    pub const MIN: usize = 12;
    /// The most.
    pub const MAX: usize = 256;

    /// What somebody typed. Nothing of it is judged yet: whoever logs in may type anything.
    pub fn typed(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Its bytes, for who makes a hash or a verifier of them.
    pub fn as_text(&self) -> &str {
        &self.0
    }
}

impl Passwords {
    /// `None`: the system has no randomness.
    pub fn new() -> Option<Self> {
        let decoy = hash(&Password::typed("nobody's password".into()))?;
        let (turn, queue) = (Semaphore::new(AT_ONCE), Semaphore::new(AT_ONCE + WAITING));
        Some(Self { turn: Arc::new(turn), queue: Arc::new(queue), decoy })
    }

    /// The hash of a password that an account is to have.
    ///
    /// # Errors
    /// [`PasswordError`].
    pub async fn hash(&self, password: Password) -> Result<PasswordHash, PasswordError> {
        let len = password.0.chars().count();
        if !(Password::MIN..=Password::MAX).contains(&len) {
            return Err(PasswordError::Length(len));
        }
        self.work(move || hash(&password)).await?.ok_or(PasswordError::Randomness)
    }

    /// Whether it is the password that `hash` proves. Without one it isn't, and that takes as long.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn check(&self, password: Password, hash: Option<PasswordHash>) -> Result<bool, Busy> {
        let (hash, is_decoy) = match hash {
            Some(hash) => (hash, false),
            None => (self.decoy.clone(), true),
        };
        let is_right = self.work(move || is_right(&password, &hash)).await?;
        Ok(is_right & !is_decoy)
    }

    /// Does slow work with a password, on a thread where nothing waits for it.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn work<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Busy> {
        let place = Arc::clone(&self.queue).try_acquire_owned().map_err(|_| Busy)?;
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| Busy)?;
        let working = tokio::task::spawn_blocking(move || {
            // Until it is done, even if nobody waits for it any more.
            let _taken = (place, turn);
            work()
        });
        working.await.map_err(|_| Busy)
    }
}

fn argon2() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, ROUNDS, LANES, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash(password: &Password) -> Option<PasswordHash> {
    // Without a length and parameters that are out of range only randomness can be missing.
    let hash: Phc = argon2().hash_password(password.0.as_bytes()).ok()?;
    Some(PasswordHash(Arc::new(Zeroizing::new(hash.to_string()))))
}

fn is_right(password: &Password, hash: &PasswordHash) -> bool {
    // The parameters are those of the hash.
    Phc::new(&hash.0).is_ok_and(|hash| argon2().verify_password(password.0.as_bytes(), &hash).is_ok())
}

impl Serialize for PasswordHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let is_ours = Phc::new(&text).is_ok_and(|hash| hash.algorithm == argon2::ARGON2ID_IDENT);
        if is_ours { Ok(Self(Arc::new(text))) } else { Err(de::Error::custom("it is no hash by Argon2id")) }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("free", &self.turn.available_permits()).finish_non_exhaustive()
    }
}
