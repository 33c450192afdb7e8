//! Where records go.

use std::{
    fmt,
    path::Path,
    slice,
    sync::{Arc, LazyLock},
};

use aws_lc_rs::{hmac, rand};

use super::Record;

/// Where records go. Shared as `Arc<dyn Trail>`.
pub trait Trail: Send + Sync + fmt::Debug {
    /// Writes a record of what is about to be given away.
    ///
    /// # Errors
    /// [`Closed`]: it isn't on record, and nothing may be given by it.
    fn write(&self, record: &Record<'_>) -> Result<(), Closed> {
        self.write_all(slice::from_ref(record))
    }

    /// Writes several records at once: all of them, or none.
    ///
    /// # Errors
    /// [`Closed`]: none is on record, and nothing may be given by them.
    fn write_all(&self, records: &[Record<'_>]) -> Result<(), Closed>;

    /// Writes a record of what is so already: something was taken away or refused, or has ended. While the trail is closed
    /// the record waits for it, in the order of these calls; if too many wait, those that don't fit are counted, and their
    /// number is recorded.
    fn write_soon(&self, record: &Record<'_>);

    /// Writes a record unless there is one with this mark already, as there may be after a crash.
    ///
    /// # Errors
    /// [`Closed`]: it is not on record, and must be tried again.
    fn write_once(&self, mark: &str, record: &Record<'_>) -> Result<(), Closed>;

    /// Whether records can be written, as far as is known. It is asked for every event of a stream.
    fn is_open(&self) -> bool;

    /// The folder in which its records can be read, if they are kept as the files of a log.
    fn folder(&self) -> Option<&Path> {
        None
    }

    /// What names keys in records: an HMAC by this key, so that the same one is known again, and none is told. One that is
    /// kept names them alike for good, this one as long as the process lives. `None`: the system has no randomness.
    fn fingerprint_key(&self) -> Option<&hmac::Key> {
        static KEY: LazyLock<Option<hmac::Key>> =
            LazyLock::new(|| hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new()).ok());
        KEY.as_ref()
    }
}

impl<T: Trail + ?Sized> Trail for Arc<T> {
    fn write_all(&self, records: &[Record<'_>]) -> Result<(), Closed> {
        (**self).write_all(records)
    }

    fn write_soon(&self, record: &Record<'_>) {
        (**self).write_soon(record);
    }

    fn write_once(&self, mark: &str, record: &Record<'_>) -> Result<(), Closed> {
        (**self).write_once(mark, record)
    }

    fn is_open(&self) -> bool {
        (**self).is_open()
    }

    fn folder(&self) -> Option<&Path> {
        (**self).folder()
    }

    fn fingerprint_key(&self) -> Option<&hmac::Key> {
        (**self).fingerprint_key()
    }
}

/// Nothing can be recorded now. It heals by itself; until then no key, no certificate and no right is given (R21).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit log can't be written")]
pub struct Closed;
