//! What the gateway keeps: versioned values in buckets, one file on one machine, a cluster's key-value store on many.
//!
//! A [`Store`] promises no transactions over several keys, though one that has them uses them. So each state machine has one
//! linearisation point, one write of a key with the version that it expects, and idempotent steps after it. What a
//! [`write`](Store::write) has acknowledged is there after a crash. It knows nothing of what the values mean.

mod backup;
mod content;
mod embedded;
mod memory;
mod migration;
mod watch;

use std::{collections::BTreeSet, fmt, fs::File, future::Future, io, path::PathBuf, pin::Pin, sync::Arc};

use tokio::sync::mpsc;

pub use backup::{BackedUp, BackupError, Incoming};
pub use content::{Holdings, Values};
pub use embedded::{Difference, Embedded, Fate, Fault, Options, Reconcile, Restore, Restored, Touch, backup, restore};
pub use memory::Memory;
pub use migration::Step;

/// A place for values of one kind. The names are part of the file's format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bucket(pub &'static str);

/// Every bucket. A backup has all of them.
pub const BUCKETS: &[Bucket] = &[
    Bucket::ACCOUNTS,
    Bucket::CERTIFICATES,
    Bucket::DEVICES,
    Bucket::GROUPS,
    Bucket::META,
    Bucket::OUTBOX,
    Bucket::PROFILES,
    Bucket::USERS,
];

impl Bucket {
    /// Accounts and tokens of administrators.
    pub const ACCOUNTS: Self = Self("accounts");
    /// The ledger of certificates, by SHA-256.
    pub const CERTIFICATES: Self = Self("certificates");
    /// Devices, by name.
    pub const DEVICES: Self = Self("devices");
    /// Groups of the operator's own, by name.
    pub const GROUPS: Self = Self("groups");
    /// What the gateway says of itself, and of its first start. What the store says of itself is in no bucket.
    pub const META: Self = Self("meta");
    /// Records that the audit log has not taken yet.
    pub const OUTBOX: Self = Self("outbox");
    /// Enrolment profiles.
    pub const PROFILES: Self = Self("profiles");
    /// Users, by name.
    pub const USERS: Self = Self("users");
}

/// How many bytes a key may have. None has none.
pub const MAX_KEY: usize = 512;

/// How many bytes a value may have.
pub const MAX_VALUE: usize = 1024 * 1024;

/// Which state of a value this is. Versions of one store only rise, over all its buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(pub u64);

/// 1 for a new store. A restore makes it higher than that of the store and that of the backup: what was handed out in an
/// earlier epoch (tokens, sessions) counts no more, since its end may have been forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// A value with its key and version.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its key: 1 to 512 bytes.
    pub key: String,
    /// Its value, up to 1 MiB.
    pub value: Arc<[u8]>,
    /// Which state of it this is.
    pub version: Version,
}

/// What a `put` expects to find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing: the key is new, or was deleted.
    Absent,
    /// This version, and no other.
    Version(Version),
}

impl Expect {
    /// Whether what is found is what was expected.
    fn is_met_by(self, found: Option<Version>) -> bool {
        match self {
            Self::Absent => found.is_none(),
            Self::Version(version) => found == Some(version),
        }
    }
}

/// One key of a write.
#[derive(Clone, Copy)]
pub struct KeyWrite<'a> {
    /// Where.
    pub bucket: Bucket,
    /// Which: 1 to 512 bytes.
    pub key: &'a str,
    /// What it is to be.
    pub becomes: Becomes<'a>,
}

/// What becomes of a key.
#[derive(Clone, Copy)]
pub enum Becomes<'a> {
    /// It goes, if it has this version.
    Gone(Version),
    /// It has this value, up to 1 MiB, if it was as expected.
    Value(&'a [u8], Expect),
}

impl<'a> KeyWrite<'a> {
    fn value(&self) -> Option<&'a [u8]> {
        match self.becomes {
            Becomes::Gone(_) => None,
            Becomes::Value(value, _) => Some(value),
        }
    }

    fn expect(&self) -> Expect {
        match self.becomes {
            Becomes::Gone(version) => Expect::Version(version),
            Becomes::Value(_, expect) => expect,
        }
    }
}

/// Whether a write may have what is held back for the time when there is no room (R21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// It may not: it gives a right, or neither gives nor takes any.
    Ordinary,
    /// It may if it is of one key: it takes a right away, and must be possible on a full disk.
    TakesAway,
}

/// What a watcher is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// All that there is now, in the order of the keys. The first of all, and again whenever some may have been missed.
    Resync(Vec<Entry>),
    /// A key has this value now.
    Put(Entry),
    /// A key is gone.
    Delete {
        /// The key.
        key: String,
        /// Of its end.
        version: Version,
    },
}

impl Change {
    /// Which state the bucket has after it; of a resync, which the newest of its entries has.
    pub fn version(&self) -> Version {
        match self {
            Self::Resync(entries) => entries.iter().map(|entry| entry.version).max().unwrap_or(Version(0)),
            Self::Put(entry) => entry.version,
            Self::Delete { version, .. } => *version,
        }
    }
}

/// The changes of a bucket, in their order. It ends when the store is closed.
pub type Watch = mpsc::Receiver<Change>;

/// Why the store didn't do it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The value isn't what was expected: somebody else was faster, or it did happen and the answer was lost. Read it
    /// again, compare, and decide.
    #[error("{bucket}/{key} is at version {}, not as expected", shown(*found))]
    Conflict {
        /// The bucket.
        bucket: &'static str,
        /// The key.
        key: String,
        /// What is there.
        found: Option<Version>,
    },
    /// The file isn't a store, or is damaged.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process has the file open.
    #[error("{}: another process has it open", .0.display())]
    InUse(PathBuf),
    /// The key or the value has a length that isn't allowed.
    #[error("a {what} of {len} bytes: from {min} to {max} are allowed")]
    Length {
        /// Key or value.
        what: &'static str,
        /// How many bytes it has.
        len: usize,
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
    },
    /// The file was written by a later version of the gateway.
    #[error("{}: it has the format {found}, and this gateway knows up to {known}: use the gateway that wrote it, or a later one", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// The format that it has.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
    /// The disk doesn't take or give it. Nothing was changed; only if the disk couldn't be read either, right after it
    /// had failed, the change may be there as a whole later. So read before trying again.
    #[error("the store can't be used: {0}")]
    Unavailable(Arc<io::Error>),
}

impl StoreError {
    /// Of a store that was closed.
    fn closed() -> Self {
        io::Error::other("it is closed").into()
    }

    /// Whether it is the store that can't do anything, whatever is asked; else it is about what was asked.
    pub fn is_of_the_store(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::InUse(_) | Self::TooNew { .. } | Self::Unavailable(_) => true,
            Self::Conflict { .. } | Self::Length { .. } => false,
        }
    }
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(Arc::new(error))
    }
}

/// What a call to a store comes to.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// A backup in a file without a name that is gone when nobody has it any more; it is at its beginning.
pub type Export<'a> = Pin<Box<dyn Future<Output = Result<(File, BackedUp), BackupError>> + Send + 'a>>;

/// Versioned values in buckets. All implementations pass the same tests (`tests/store`).
///
/// A call that is given up after it was begun may happen all the same. Any can fail by [`StoreError::Unavailable`], and by
/// [`StoreError::Damaged`] where a disk that had failed comes back with less; those with a key or a value by
/// [`StoreError::Length`].
pub trait Store: Send + Sync + fmt::Debug {
    /// The value of a key. `None`: it has none, or was deleted.
    fn get<'a>(&'a self, bucket: Bucket, key: &'a str) -> Answer<'a, Option<Entry>>;

    /// Writes these keys in this order, each if it is as expected, and returns their versions (of a key that is gone, that of its
    /// end) when all of them are durable. No key is named twice.
    ///
    /// What takes away and names many keys may be refused for want of room where each of them alone is taken: try them so then.
    ///
    /// After an error nothing of it is there if the store has transactions, as the embedded one and the one in memory have: not
    /// after a crash either. In one that has none the first few keys may be written, and never one without all before it.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] for the first key that isn't as expected; those of every call.
    fn write<'a>(&'a self, writes: &'a [KeyWrite<'a>], urgency: Urgency) -> Answer<'a, Vec<Version>>;

    /// Writes a value if the key is as expected, and returns when that is durable.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it isn't; those of every call.
    fn put<'a>(
        &'a self,
        bucket: Bucket,
        key: &'a str,
        value: &'a [u8],
        expect: Expect,
        urgency: Urgency,
    ) -> Answer<'a, Version> {
        let write = KeyWrite { bucket, key, becomes: Becomes::Value(value, expect) };
        Box::pin(async move { only(&self.write(&[write], urgency).await?) })
    }

    /// Deletes a key if it has this version, and returns the version of its end when that is durable.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] if it hasn't; those of every call.
    fn delete<'a>(&'a self, bucket: Bucket, key: &'a str, expect: Version, urgency: Urgency) -> Answer<'a, Version> {
        let write = KeyWrite { bucket, key, becomes: Becomes::Gone(expect) };
        Box::pin(async move { only(&self.write(&[write], urgency).await?) })
    }

    /// All entries of a bucket, in the order of the keys, as they stood at one moment.
    fn list(&self, bucket: Bucket) -> Answer<'_, Vec<Entry>>;

    /// The changes of a bucket from now on, all that is there first. A watcher that falls behind is resynchronised.
    fn watch(&self, bucket: Bucket) -> Answer<'_, Watch>;

    /// Which epoch it is.
    fn epoch(&self) -> Answer<'_, Epoch>;

    /// All that it holds at this moment, as a backup, while it goes on.
    fn export(&self) -> Export<'_>;
}

/// Without the value, which may be nobody's business.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key)
            .field("bytes", &self.value.len())
            .field("version", &self.version)
            .finish()
    }
}

/// Without the value, which may be nobody's business.
impl fmt::Debug for KeyWrite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.value().map(<[u8]>::len);
        f.debug_struct("KeyWrite")
            .field("bucket", &self.bucket)
            .field("key", &self.key)
            .field("bytes", &bytes)
            .field("expect", &self.expect())
            .finish()
    }
}

fn only(versions: &[Version]) -> Result<Version, StoreError> {
    versions.first().copied().ok_or_else(|| io::Error::other("a write of one key has no version").into())
}

/// Whether each of these keys is as it is expected to be, by the versions that are there.
///
/// # Errors
/// [`StoreError::Conflict`] for the first that isn't, or is named for the second time; whatever else `found` says.
fn check_expected<'a, E: From<StoreError>>(
    expected: impl IntoIterator<Item = (Bucket, &'a str, Expect)>,
    mut found: impl FnMut(Bucket, &str) -> Result<Option<Version>, E>,
) -> Result<(), E> {
    let mut named = BTreeSet::new();
    for (bucket, key, expect) in expected {
        let found = found(bucket, key)?;
        if !expect.is_met_by(found) || !named.insert((bucket, key)) {
            return Err(StoreError::Conflict { bucket: bucket.0, key: key.into(), found }.into());
        }
    }
    Ok(())
}

fn shown(version: Option<Version>) -> String {
    version.map_or_else(|| "none".into(), |Version(version)| version.to_string())
}

/// How long keys and values may be.
///
/// # Errors
/// [`StoreError::Length`].
fn check_lengths(key: &str, value: &[u8]) -> Result<(), StoreError> {
    for (what, len, min, max) in [("key", key.len(), 1, MAX_KEY), ("value", value.len(), 0, MAX_VALUE)] {
        if !(min..=max).contains(&len) {
            return Err(StoreError::Length { what, len, min, max });
        }
    }
    Ok(())
}
