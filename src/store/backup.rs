//! A backup: all that a store held at one moment, in one file that is checked as a whole before anything of it counts.
//!
//! It is text: one JSON object a line, each with one member that says what it is.
//!
//! ```text
//! {"callgate_backup":{"layout":1,"format":1,"epoch":1,"version":42,"made":"2026-01-31T12:00:00Z"}}
//! {"entry":{"bucket":"users","key":"ann","version":7,"value":"eyJ..."}}
//! {"end":{"entries":1,"sha256":"9f86..."}}
//! ```
//!
//! `layout` is that of these lines, `format` that of the values, as the store had it. Values are in base64. `sha256` is over
//! all bytes before the last line, and nothing stands behind it. The file is for its owner only: it has all that the store has.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    BUCKETS, Bucket, Entry, Epoch, MAX_KEY, MAX_VALUE, StoreError, Version, check_lengths,
    content::{Content, Held},
};

/// The layout of the lines that is written here, and the only one that is read.
const LAYOUT: u32 = 1;
/// No line is longer: base64 makes four bytes of three, and JSON up to six of one of a key.
const LONGEST_LINE: usize = MAX_VALUE / 3 * 4 + 6 * MAX_KEY + 1024;

/// Why a backup wasn't made, or not restored. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// It isn't a whole backup.
    #[error("{}: {reason}: this backup can't be used", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        reason: String,
    },
    /// The file can't be read or written.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// There is no store to back up.
    #[error("{}: there is no store", .0.display())]
    NoStore(PathBuf),
    /// What is in the store and what is in the backup don't go together.
    #[error("{bucket}: {reason}")]
    Refused {
        /// The bucket.
        bucket: &'static str,
        /// Why.
        reason: String,
    },
    /// The store can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BackupError {
    /// Whether a file is to blame that somebody can mend, and not the system.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Broken { .. } | Self::NoStore(_) | Self::Refused { .. } => true,
            Self::Io { cause, .. } => cause.kind() == io::ErrorKind::NotFound,
            Self::Store(error) => matches!(error, StoreError::Damaged { .. } | StoreError::TooNew { .. }),
        }
    }
}

/// What is in a backup that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackedUp {
    /// How many entries.
    pub entries: u64,
    /// How long the file is.
    pub bytes: u64,
    /// The store's epoch.
    pub epoch: Epoch,
    /// The store's newest version.
    pub version: Version,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    CallgateBackup(Header),
    Entry(EntryLine),
    End(End),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    layout: u32,
    format: u32,
    epoch: u64,
    version: u64,
    made: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryLine {
    bucket: String,
    key: String,
    version: u64,
    value: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    entries: u64,
    sha256: String,
}

/// Writes a backup of a store that says this of itself, from the entries of each bucket. The file appears as a whole, in the
/// place of one that is there.
pub(super) fn write(
    to: &Path,
    store: &Content,
    entries: impl Fn(Bucket) -> Result<Vec<Entry>, StoreError>,
) -> Result<BackedUp, BackupError> {
    let (file, made) = write_into(beside(to)?, to, store, entries)?;
    put(file, to)?;
    Ok(made)
}

/// A backup that a gateway sends. It appears when it is whole, in the place of one that is there.
#[derive(Debug)]
pub struct Incoming {
    file: NamedTempFile,
    to: PathBuf,
}

impl Incoming {
    /// Begins one that is to be there.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn new(to: &Path) -> Result<Self, BackupError> {
        Ok(Self { file: beside(to)?, to: to.into() })
    }

    /// It has come. It is read to its end, and put where it belongs.
    ///
    /// # Errors
    /// It isn't a whole backup, or the disk's.
    pub fn finish(self) -> Result<BackedUp, BackupError> {
        let (content, _) = read(self.file.path(), u32::MAX)?;
        let bytes =
            self.file.as_file().metadata().map_err(|cause| BackupError::Io { path: self.to.clone(), cause })?.len();
        let entries = content.buckets.values().map(|bucket| bucket.len() as u64).sum();
        put(self.file, &self.to)?;
        Ok(BackedUp { entries, bytes, epoch: content.epoch, version: content.version })
    }
}

impl Write for Incoming {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A file in the same folder, for its owner only.
fn beside(to: &Path) -> Result<NamedTempFile, BackupError> {
    let made = tempfile::Builder::new().prefix(".backup-").tempfile_in(folder(to));
    made.map_err(|cause| BackupError::Io { path: to.into(), cause })
}

/// Puts the file into its place, for good.
fn put(file: NamedTempFile, to: &Path) -> Result<(), BackupError> {
    let failed = |cause| BackupError::Io { path: to.into(), cause };
    file.as_file().sync_all().map_err(failed)?;
    file.persist(to).map_err(|error| failed(error.error))?;
    File::open(folder(to)).and_then(|folder| folder.sync_all()).map_err(failed)
}

fn folder(to: &Path) -> &Path {
    to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The same into a file without a name on the disk of this folder, which is gone when nobody has it any more. It is at its
/// beginning.
pub(super) fn export(
    folder: &Path,
    store: &Content,
    entries: impl Fn(Bucket) -> Result<Vec<Entry>, StoreError>,
) -> Result<(File, BackedUp), BackupError> {
    let failed = |cause| BackupError::Io { path: folder.into(), cause };
    let (mut file, made) = write_into(tempfile::tempfile_in(folder).map_err(failed)?, folder, store, entries)?;
    file.rewind().map_err(failed)?;
    Ok((file, made))
}

fn write_into<W: Write>(
    file: W,
    to: &Path,
    store: &Content,
    entries: impl Fn(Bucket) -> Result<Vec<Entry>, StoreError>,
) -> Result<(W, BackedUp), BackupError> {
    let failed = |cause| BackupError::Io { path: to.into(), cause };
    let mut out = Out { file: BufWriter::new(file), digest: Context::new(&SHA256), bytes: 0 };
    let made = OffsetDateTime::now_utc().format(&Rfc3339).map_err(|error| failed(io::Error::other(error)))?;
    let (Epoch(epoch), Version(version)) = (store.epoch, store.version);
    let header = Header { layout: LAYOUT, format: store.format, epoch, version, made };
    out.line(&Line::CallgateBackup(header)).map_err(failed)?;
    let mut count = 0;
    for bucket in BUCKETS {
        for Entry { key, value, version } in entries(*bucket)? {
            let value = BASE64_STANDARD.encode(value);
            let line = EntryLine { bucket: bucket.0.into(), key, version: version.0, value };
            out.line(&Line::Entry(line)).map_err(failed)?;
            count += 1;
        }
    }
    let sha256 = hex(&out.digest);
    out.line(&Line::End(End { entries: count, sha256 })).map_err(failed)?;

    let bytes = out.bytes;
    let file = out.file.into_inner().map_err(|error| failed(error.into_error()))?;
    Ok((file, BackedUp { entries: count, bytes, epoch: store.epoch, version: store.version }))
}

/// Reads a backup to its end. What comes of it is whole: its checksum is right. Returns when it was made (RFC 3339), too.
pub(super) fn read(path: &Path, known: u32) -> Result<(Content, String), BackupError> {
    let failed = |cause| BackupError::Io { path: path.into(), cause };
    let broken = |line: u64, reason: &str| {
        let reason = format!("line {line}: {reason}");
        BackupError::Broken { path: path.into(), reason }
    };
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let (mut digest, mut number, mut text) = (Context::new(&SHA256), 0, Vec::new());
    let mut content: Option<(Content, String)> = None;
    let mut entries = 0;
    loop {
        number += 1;
        text.clear();
        let most = LONGEST_LINE as u64 + 1;
        file.by_ref().take(most).read_until(b'\n', &mut text).map_err(failed)?;
        match text.last() {
            None => return Err(broken(number, "the file ends here, before its end")),
            Some(b'\n') => {}
            Some(_) if text.len() > LONGEST_LINE => return Err(broken(number, "it is too long")),
            Some(_) => return Err(broken(number, "the file ends in the midst of it")),
        }
        let line = serde_json::from_slice(&text).map_err(|error| broken(number, &error.to_string()))?;
        match (line, &mut content) {
            (Line::CallgateBackup(header), None) => {
                if header.layout != LAYOUT {
                    return Err(broken(number, &format!("its layout is {}, not {LAYOUT}", header.layout)));
                }
                if header.format > known {
                    return Err(StoreError::TooNew { path: path.into(), found: header.format, known }.into());
                }
                let (epoch, version) = (Epoch(header.epoch), Version(header.version));
                let empty = Content { format: header.format, epoch, version, buckets: BTreeMap::new() };
                content = Some((empty, header.made));
            }
            (Line::Entry(entry), Some((content, _))) => {
                take(entry, content).map_err(|reason| broken(number, &reason))?;
                entries += 1;
            }
            (Line::End(end), Some(_)) => {
                if end.entries != entries || end.sha256 != hex(&digest) {
                    return Err(broken(number, "its checksum is another one: the file was changed"));
                }
                if file.read(&mut [0]).map_err(failed)? != 0 {
                    return Err(broken(number + 1, "there is something behind the end"));
                }
                return content.take().ok_or_else(|| broken(1, "it isn't a backup"));
            }
            _ => return Err(broken(number, "it doesn't belong here")),
        }
        digest.update(&text);
    }
}

/// Takes an entry into the content.
fn take(entry: EntryLine, content: &mut Content) -> Result<(), String> {
    let EntryLine { bucket, key, version, value } = entry;
    let value = BASE64_STANDARD.decode(value).map_err(|error| error.to_string())?;
    check_lengths(&key, &value).map_err(|error| error.to_string())?;
    if version > content.version.0 {
        return Err(format!("version {version} is newer than the whole store"));
    }
    let held = Held { version: Version(version), value: Arc::from(value) };
    match content.buckets.entry(bucket).or_default().insert(key, held) {
        None => Ok(()),
        Some(_) => Err("its key is there twice".into()),
    }
}

struct Out<W: Write> {
    file: BufWriter<W>,
    digest: Context,
    bytes: u64,
}

impl<W: Write> Out<W> {
    fn line(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.digest.update(&text);
        self.bytes += text.len() as u64;
        self.file.write_all(&text)
    }
}

fn hex(digest: &Context) -> String {
    digest.clone().finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
