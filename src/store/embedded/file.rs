//! The file of an embedded store, as redb has it.
//!
//! Each bucket is a table, from keys to versions (8 bytes, the highest first) with values behind them. The table
//! `callgate` has what the store says of itself: its format, its epoch, and its newest version.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use redb::{
    Builder, Database, DatabaseError, ReadTransaction, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
    TableError, TableHandle, WriteTransaction,
};
use rustix::fs::{Advice, fadvise};

use super::{
    super::{
        BUCKETS, Bucket, Entry, Epoch, StoreError, Version,
        content::{Content, Held},
    },
    disk::{Disk, Fault},
    place::{Place, private, remove},
};

/// What redb keeps in memory of the file: what is asked for is few and small.
const CACHE: usize = 16 * 1024 * 1024;

/// What the store says of itself.
const OWN: TableDefinition<&str, u64> = TableDefinition::new("callgate");
const FORMAT: &str = "format";
const EPOCH: &str = "epoch";
const VERSION: &str = "version";

/// What to do with a file that is no use.
const MOVE_AWAY: &str = "move it away and restore a backup";

/// What redb says, boiled down.
#[derive(Debug)]
pub(super) enum Failure {
    /// By now it isn't the database that is open.
    Closed,
    /// The file is damaged.
    Corrupted(String),
    /// The disk doesn't take or give it.
    Io(io::Error),
}

impl Failure {
    /// What a caller is told. `path` is the store's.
    pub(super) fn told(self, path: &Path) -> StoreError {
        match self {
            Self::Closed => StoreError::closed(),
            Self::Corrupted(reason) => damaged(path, &reason),
            Self::Io(error) => error.into(),
        }
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Closed => Self::other("the database is closed"),
            Failure::Corrupted(reason) => Self::new(io::ErrorKind::InvalidData, reason),
            Failure::Io(error) => error,
        }
    }
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::Io(error) => Self::Io(error),
            redb::Error::PreviousIo | redb::Error::DatabaseClosed => Self::Closed,
            redb::Error::Corrupted(reason) => Self::Corrupted(reason),
            other => Self::Io(io::Error::other(other)),
        }
    }
}

/// The table of a bucket.
pub(super) fn table(bucket: &str) -> TableDefinition<'_, &'static str, &'static [u8]> {
    TableDefinition::new(bucket)
}

/// Opens a store's file that is there, and looks at all of it: what was damaged behind redb's back is found now.
///
/// It reads what the disk has. If a flush failed, memory may have what never came to the disk.
pub(super) fn open(path: &Path, fault: Option<&Fault>) -> Result<Database, StoreError> {
    let file = private().open(path)?;
    // Without success it is no worse than without the attempt.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    if file.metadata()?.len() == 0 {
        // redb would take it for a new one.
        return Err(damaged(path, "it is empty"));
    }
    database(path, file, fault, true)
}

/// Makes a store's file of this content, which takes the place of the one that is there, whole and at once.
pub(super) fn make(place: &Place, content: &Content, fault: Option<&Fault>) -> Result<(), StoreError> {
    let path = place.fresh();
    let made = fill(&path, content, fault).and_then(|()| Ok(place.replace()?));
    if made.is_err() {
        // The next start would remove it, too.
        let _ = remove(&path);
    }
    made
}

/// Reads a whole store.
///
/// # Errors
/// [`StoreError::TooNew`], if its format isn't among those known here; what the file does.
pub(super) fn read_all(database: &Database, path: &Path, known: u32) -> Result<Content, StoreError> {
    let read = database.begin_read().map_err(|error| Failure::from(error).told(path))?;
    let mut content = header(&read, path, known)?;
    let tables = read.list_tables().map_err(|error| Failure::from(error).told(path))?;
    let names: Vec<String> = tables.map(|table| table.name().to_owned()).filter(|name| name != OWN.name()).collect();
    for name in names {
        let entries = list(&read, &name).map_err(|failure| failure.told(path))?;
        let held = entries.into_iter().map(|Entry { key, value, version }| (key, Held { version, value }));
        content.buckets.insert(name, held.collect());
    }
    Ok(content)
}

/// What the store says of itself, as content without entries.
pub(super) fn header(read: &ReadTransaction, path: &Path, known: u32) -> Result<Content, StoreError> {
    let number = |key| own(read, key).map_err(|failure| failure.told(path));
    let (Some(format), Some(epoch), Some(version)) = (number(FORMAT)?, number(EPOCH)?, number(VERSION)?) else {
        return Err(damaged(path, "it isn't a store of Callgate"));
    };
    let format = u32::try_from(format).unwrap_or(u32::MAX);
    if format > known {
        return Err(StoreError::TooNew { path: path.into(), found: format, known });
    }
    Ok(Content { format, epoch: Epoch(epoch), version: Version(version), buckets: BTreeMap::new() })
}

/// The newest version of a store.
pub(super) fn version(read: &ReadTransaction) -> Result<Version, Failure> {
    let version = own(read, VERSION)?;
    version.map(Version).ok_or_else(|| Failure::Corrupted("it has lost its version".into()))
}

/// The newest version of a store that is written to.
pub(super) fn version_to_write(write: &WriteTransaction) -> Result<u64, Failure> {
    let own = write.open_table(OWN)?;
    let version = own.get(VERSION)?.map(|version| version.value());
    version.ok_or_else(|| Failure::Corrupted("it has lost its version".into()))
}

/// Sets the newest version.
pub(super) fn set_version(write: &WriteTransaction, version: u64) -> Result<(), Failure> {
    write.open_table(OWN)?.insert(VERSION, version)?;
    Ok(())
}

/// The value of a key.
pub(super) fn get(read: &ReadTransaction, bucket: Bucket, key: &str) -> Result<Option<Entry>, Failure> {
    let table = match read.open_table(table(bucket.0)) {
        // A bucket that is newer than the file.
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        table => table?,
    };
    let Some(found) = ReadableTable::get(&table, key)? else { return Ok(None) };
    let (version, value) = unpack(found.value())?;
    Ok(Some(Entry { key: key.into(), value: value.into(), version }))
}

/// All entries of a bucket.
pub(super) fn list(read: &ReadTransaction, bucket: &str) -> Result<Vec<Entry>, Failure> {
    let table = match read.open_table(table(bucket)) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        table => table?,
    };
    let mut entries = Vec::new();
    for found in table.iter()? {
        let (key, packed) = found?;
        let (version, value) = unpack(packed.value())?;
        entries.push(Entry { key: key.value().into(), value: value.into(), version });
    }
    Ok(entries)
}

/// Version and value of what a table has.
pub(super) fn unpack(packed: &[u8]) -> Result<(Version, &[u8]), Failure> {
    let (version, value) =
        packed.split_first_chunk().ok_or_else(|| Failure::Corrupted("an entry has no version".into()))?;
    Ok((Version(u64::from_be_bytes(*version)), value))
}

/// What a table gets.
pub(super) fn pack(version: Version, value: &[u8]) -> Vec<u8> {
    [&version.0.to_be_bytes(), value].concat()
}

/// A file that is no use, and what to do.
pub(super) fn damaged(path: &Path, reason: &str) -> StoreError {
    StoreError::Damaged { path: path.into(), reason: format!("{reason}: {MOVE_AWAY}") }
}

fn own(read: &ReadTransaction, key: &str) -> Result<Option<u64>, Failure> {
    let table = match read.open_table(OWN) {
        Err(TableError::Storage(error)) => return Err(error.into()),
        // Another program's.
        Err(_) => return Ok(None),
        Ok(table) => table,
    };
    Ok(ReadableTable::get(&table, key)?.map(|value| value.value()))
}

fn database(path: &Path, file: File, fault: Option<&Fault>, look: bool) -> Result<Database, StoreError> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE).set_check_integrity_on_open(look);
    let opened = Disk::new(file, fault.cloned()).and_then(|disk| builder.create_with_backend(disk));
    opened.map_err(|error| match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(PathBuf::from(path)),
        DatabaseError::UpgradeRequired(_) => damaged(path, "it is of another version of redb"),
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
            damaged(path, "it isn't a store")
        }
        other => Failure::from(other).told(path),
    })
}

/// Makes a file of this content.
fn fill(path: &Path, content: &Content, fault: Option<&Fault>) -> Result<(), StoreError> {
    let file = private().create_new(true).open(path)?;
    let database = database(path, file, fault, false)?;
    let written = write_all(&database, content);
    let closed = database.close().map_err(Failure::from);
    written.and(closed).map_err(|failure| failure.told(path))?;
    Ok(File::open(path)?.sync_all()?)
}

fn write_all(database: &Database, content: &Content) -> Result<(), Failure> {
    let write = database.begin_write()?;
    {
        let mut own = write.open_table(OWN)?;
        own.insert(FORMAT, u64::from(content.format))?;
        own.insert(EPOCH, content.epoch.0)?;
        own.insert(VERSION, content.version.0)?;
        let none = BTreeMap::new();
        for bucket in BUCKETS {
            let mut table = write.open_table(table(bucket.0))?;
            for (key, held) in content.buckets.get(bucket.0).unwrap_or(&none) {
                table.insert(key.as_str(), pack(held.version, &held.value).as_slice())?;
            }
        }
    }
    Ok(write.commit()?)
}
