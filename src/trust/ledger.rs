//! Which certificates count: one line of JSON per issue or revocation, only ever appended (R3).
//!
//! A line is on disk before the certificate that it names leaves. The file is looked at for each lookup and read again
//! when it changed. If it can't be read, no certificate is accepted.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{Foreign, LedgerError};
use crate::model::{InstanceId, UserName};

/// The ledger's file, and what was last read from it; or what somebody else keeps.
#[derive(Debug)]
pub struct Ledger {
    file: Option<PathBuf>,
    snapshot: ArcSwap<LedgerSnapshot>,
}

/// What the ledger said at one moment.
#[derive(Debug)]
pub struct LedgerSnapshot {
    stamp: Option<Stamp>,
    content: Result<HashMap<[u8; 32], Arc<Entry>>, Arc<LedgerError>>,
}

/// What the ledger knows of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose it is (R11).
    pub user: UserName,
    /// Of which instance.
    pub instance: InstanceId,
    /// SHA-256 of its DER form.
    pub sha256: [u8; 32],
    /// Its serial number, lower-case hex.
    pub serial: String,
    /// Its last moment, in seconds since 1970.
    pub not_after: i64,
    /// What there is to know of its CA, if that isn't ours.
    pub foreign: Option<Foreign>,
    /// Whether it still counts.
    pub status: Status,
}

/// Whether a certificate still counts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// It does, until it expires.
    Issued,
    /// It does not, for good.
    Revoked {
        /// When it was revoked, RFC 3339.
        at: String,
        /// Why, as the operator put it.
        reason: String,
    },
}

/// One line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// What was done.
    pub op: Operation,
    /// The certificate's serial number, lower-case hex.
    pub serial: String,
    /// SHA-256 of its DER form, lower-case hex.
    pub sha256: String,
    /// Whose it is.
    pub user: String,
    /// Of which instance.
    pub instance: String,
    /// Its first moment, RFC 3339.
    pub not_before: String,
    /// Its last moment, RFC 3339.
    pub not_after: String,
    /// When this was done, RFC 3339.
    pub at: String,
    /// Why; empty for an issue.
    #[serde(default)]
    pub reason: String,
    /// Of an imported certificate, what there is to know of its CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<Foreign>,
}

/// What a line of the ledger says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    /// A certificate of another CA was imported. Another import of the same one only changes how its CRL counts.
    Imported,
    /// The certificate was issued.
    Issued,
    /// It was revoked.
    Revoked,
}

/// What tells a changed file from an unchanged one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Ledger {
    /// Opens an existing ledger and reads it.
    ///
    /// # Errors
    /// It can't be read, or a line of it can't be understood.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, LedgerError> {
        let path = path.into();
        let (stamp, records) = read(&path)?;
        let snapshot = LedgerSnapshot { stamp: Some(stamp), content: Ok(entries(&path, &records)?) };
        Ok(Self { file: Some(path), snapshot: ArcSwap::from_pointee(snapshot) })
    }

    /// A ledger that is kept elsewhere, as in a store: it says what [`replace`](Self::replace) says.
    pub fn kept(snapshot: &Arc<LedgerSnapshot>) -> Self {
        Self { file: None, snapshot: ArcSwap::from(Arc::clone(snapshot)) }
    }

    /// Has a kept ledger say this from now on.
    pub fn replace(&self, snapshot: Arc<LedgerSnapshot>) {
        self.snapshot.store(snapshot);
    }

    /// What the ledger says now. The file is read again if it changed.
    ///
    /// If that fails, the error is logged and the snapshot knows no certificate: see [`LedgerSnapshot::failure`].
    pub fn current(&self) -> Arc<LedgerSnapshot> {
        let known = self.snapshot.load_full();
        let Some(path) = &self.file else { return known };
        let stamp = fs::metadata(path).ok().map(|metadata| Stamp::of(&metadata));
        if stamp.is_some() && stamp == known.stamp {
            return known;
        }
        let fresh = Arc::new(read_again(path));
        match (&fresh.content, &known.content) {
            (Ok(entries), _) => {
                tracing::info!(ledger = %path.display(), certificates = entries.len(), "ledger read");
            }
            // Once, and not at each handshake until it is mended.
            (Err(error), Ok(_)) => tracing::error!(%error, "the ledger can't be used: no certificate is accepted"),
            (Err(_), Err(_)) => {}
        }
        self.snapshot.store(Arc::clone(&fresh));
        fresh
    }

    /// What [`current`](Self::current) returned last: the file is not looked at.
    pub fn last_read(&self) -> Arc<LedgerSnapshot> {
        self.snapshot.load_full()
    }

    /// Every line, oldest first.
    ///
    /// # Errors
    /// It can't be read, or a line of it can't be understood.
    pub fn records(&self) -> Result<Vec<Record>, LedgerError> {
        Ok(read(self.path())?.1)
    }

    /// Appends a line with one write, and returns when it is on disk.
    ///
    /// # Errors
    /// It can't be written: then the line may be lost, and what it was for must not be handed over.
    pub fn append(&self, record: &Record) -> Result<(), LedgerError> {
        let unwritable = |cause| LedgerError::Unwritable { path: self.path().into(), cause };
        let mut line = serde_json::to_string(record).map_err(|error| unwritable(error.into()))?;
        line.push('\n');
        self.append_line(line.as_bytes()).map_err(unwritable)
    }

    /// The file; without a name if it is kept elsewhere, and then nothing can be appended to it.
    pub fn path(&self) -> &Path {
        self.file.as_deref().unwrap_or(Path::new(""))
    }

    fn append_line(&self, line: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).write(true).open(self.path())?;
        // Two commands at once take turns. The lock goes with the file handle.
        file.lock()?;
        let end = mend_end(&mut file)?;
        file.seek(SeekFrom::Start(end))?;
        if file.write(line)? != line.len() {
            file.set_len(end)?;
            return Err(io::Error::new(io::ErrorKind::WriteZero, "there was no room for the whole line"));
        }
        file.sync_all()
    }
}

impl LedgerSnapshot {
    /// A ledger with these certificates.
    pub fn of(entries: impl IntoIterator<Item = Entry>) -> Self {
        Self { stamp: None, content: Ok(entries.into_iter().map(|entry| (entry.sha256, Arc::new(entry))).collect()) }
    }

    /// The same with other entries for these certificates; `None`: it is gone.
    pub(super) fn with(&self, changed: impl IntoIterator<Item = ([u8; 32], Option<Entry>)>) -> Self {
        let mut entries = self.content.clone().unwrap_or_default();
        for (sha256, entry) in changed {
            match entry {
                Some(entry) => entries.insert(sha256, Arc::new(entry)),
                None => entries.remove(&sha256),
            };
        }
        Self { stamp: None, content: Ok(entries) }
    }

    /// What is known of the certificate with this SHA-256.
    pub fn lookup(&self, sha256: &[u8; 32]) -> Option<&Entry> {
        self.content.as_ref().ok().and_then(|entries| entries.get(sha256)).map(AsRef::as_ref)
    }

    /// Every certificate, in no order.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.content.iter().flat_map(HashMap::values).map(AsRef::as_ref)
    }

    /// Why the ledger couldn't be read, if it couldn't.
    pub fn failure(&self) -> Option<&LedgerError> {
        self.content.as_ref().err().map(AsRef::as_ref)
    }
}

impl Default for LedgerSnapshot {
    /// A ledger without any certificate.
    fn default() -> Self {
        Self::of([])
    }
}

impl Record {
    /// The line that revokes a certificate.
    pub fn revocation(issued: &Self, at: OffsetDateTime, reason: &str) -> Self {
        Self { op: Operation::Revoked, at: rfc3339(at), reason: reason.into(), ..issued.clone() }
    }
}

impl Stamp {
    fn of(metadata: &fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// A moment as the ledger writes it.
pub(super) fn rfc3339(at: OffsetDateTime) -> String {
    // Years from 0 to 9999 can be written, and no certificate has another one.
    at.format(&Rfc3339).unwrap_or_default()
}

fn read_again(path: &Path) -> LedgerSnapshot {
    match read(path) {
        Ok((stamp, records)) => {
            let content = entries(path, &records).map_err(Arc::new);
            LedgerSnapshot { stamp: Some(stamp), content }
        }
        // Without a stamp the next lookup tries again: it may have been the machine's fault.
        Err(error) => LedgerSnapshot { stamp: None, content: Err(Arc::new(error)) },
    }
}

fn read(path: &Path) -> Result<(Stamp, Vec<Record>), LedgerError> {
    let unreadable = |cause| LedgerError::Unreadable { path: path.into(), cause };
    let mut file = File::open(path).map_err(unreadable)?;
    // Taken before reading: what is appended meanwhile makes the next stamp differ.
    let stamp = Stamp::of(&file.metadata().map_err(unreadable)?);
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(unreadable)?;
    // A last line without its end is being written, or was by someone who died: nothing was handed over for it.
    let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
    let records = whole
        .lines()
        .enumerate()
        .map(|(index, line)| serde_json::from_str(line).map_err(|error| malformed(path, index, &error.to_string())));
    Ok((stamp, records.collect::<Result<_, _>>()?))
}

fn entries(path: &Path, records: &[Record]) -> Result<HashMap<[u8; 32], Arc<Entry>>, LedgerError> {
    let mut entries: HashMap<[u8; 32], Entry> = HashMap::new();
    for (index, record) in records.iter().enumerate() {
        let entry = entry(record).map_err(|reason| malformed(path, index, &reason))?;
        match entries.entry(entry.sha256) {
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(entry);
            }
            std::collections::hash_map::Entry::Occupied(mut place) => {
                if (&place.get().user, &place.get().instance) != (&entry.user, &entry.instance) {
                    return Err(malformed(path, index, "an earlier line says that the certificate is somebody else's"));
                }
                // Revoked is for good, whatever a later line says.
                if place.get().status == Status::Issued {
                    // Where it came from doesn't change.
                    let foreign = place.get().foreign.as_ref().map(|was| entry.foreign.as_ref().unwrap_or(was).clone());
                    place.insert(Entry { foreign, ..entry });
                }
            }
        }
    }
    Ok(entries.into_iter().map(|(sha256, entry)| (sha256, Arc::new(entry))).collect())
}

fn entry(record: &Record) -> Result<Entry, String> {
    let not_after =
        OffsetDateTime::parse(&record.not_after, &Rfc3339).map_err(|error| format!("not_after: {error}"))?;
    Ok(Entry {
        user: record.user.parse().map_err(|error| format!("user: {error}"))?,
        instance: record.instance.parse().map_err(|error| format!("instance: {error}"))?,
        sha256: sha256_from_hex(&record.sha256).ok_or("sha256: 64 hex digits are needed")?,
        serial: record.serial.clone(),
        not_after: not_after.unix_timestamp(),
        foreign: match record.op {
            Operation::Imported => Some(record.foreign.clone().unwrap_or_default()),
            Operation::Issued | Operation::Revoked => record.foreign.clone(),
        },
        status: match record.op {
            Operation::Imported | Operation::Issued => Status::Issued,
            Operation::Revoked => Status::Revoked { at: record.at.clone(), reason: record.reason.clone() },
        },
    })
}

fn malformed(path: &Path, index: usize, reason: &str) -> LedgerError {
    LedgerError::Malformed { path: path.into(), line: index.saturating_add(1), reason: reason.into() }
}

/// Where the next line goes. A torn last line is cut off; a whole one that only lacks its end (an editor's work) gets it.
fn mend_end(file: &mut File) -> io::Result<u64> {
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let torn = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end.saturating_add(1));
    let (_, tail) = text.split_at(torn);
    if tail.is_empty() {
        return Ok(text.len() as u64);
    }
    if serde_json::from_slice::<Record>(tail).is_ok() {
        file.write_all(b"\n")?;
        return Ok((text.len() as u64).saturating_add(1));
    }
    file.set_len(torn as u64)?;
    Ok(torn as u64)
}

/// 64 hex digits, upper or lower case.
pub(super) fn sha256_from_hex(hex: &str) -> Option<[u8; 32]> {
    from_hex(hex)?.try_into().ok()
}

/// An even number of hex digits, upper or lower case.
pub(super) fn from_hex(hex: &str) -> Option<Vec<u8>> {
    if !hex.len().is_multiple_of(2) || !hex.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let byte = |pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok();
    hex.as_bytes().chunks(2).map(byte).collect()
}

/// Lower-case hex.
pub(super) fn to_hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len().saturating_mul(2)), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::trust) fn record(op: Operation, number: u8) -> Record {
        Record {
            op,
            serial: "01".into(),
            sha256: to_hex(&[number; 32]),
            user: "recorder".into(),
            instance: "1".into(),
            not_before: "2026-01-01T00:00:00Z".into(),
            not_after: "2027-01-01T00:00:00Z".into(),
            at: "2026-01-01T00:00:00Z".into(),
            reason: String::new(),
            foreign: None,
        }
    }

    pub(in crate::trust) fn ledger(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn r3_appended_lines_count_at_the_next_lookup_also_for_others() {
        let (_folder, path) = ledger("");
        let (reader, writer) = (Ledger::open(&path).unwrap(), Ledger::open(&path).unwrap());
        assert_eq!(reader.current().lookup(&[1; 32]), None);
        writer.append(&record(Operation::Issued, 1)).unwrap();
        let entry = reader.current().lookup(&[1; 32]).unwrap().clone();
        assert_eq!((entry.user.as_str(), entry.status, entry.not_after), ("recorder", Status::Issued, 1_798_761_600));
        writer.append(&record(Operation::Revoked, 1)).unwrap();
        assert!(matches!(reader.current().lookup(&[1; 32]).unwrap().status, Status::Revoked { .. }));
        writer.append(&record(Operation::Issued, 1)).unwrap();
        assert!(matches!(reader.current().lookup(&[1; 32]).unwrap().status, Status::Revoked { .. }), "for good");
        assert!(Arc::ptr_eq(&reader.current(), &reader.current()), "an unchanged file is not read again");
    }

    #[test]
    fn r3_an_unusable_ledger_knows_no_certificate_until_it_is_mended() {
        let (_folder, path) = ledger("");
        let ledger = Ledger::open(&path).unwrap();
        ledger.append(&record(Operation::Issued, 1)).unwrap();
        let good = fs::read(&path).unwrap();
        fs::write(&path, [good.as_slice(), b"{}\n"].concat()).unwrap();
        let snapshot = ledger.current();
        assert_eq!(snapshot.lookup(&[1; 32]), None);
        assert!(matches!(snapshot.failure(), Some(LedgerError::Malformed { line: 2, .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(ledger.current().failure(), Some(LedgerError::Unreadable { .. })));
        fs::write(&path, good).unwrap();
        assert!(ledger.current().lookup(&[1; 32]).is_some());
    }

    #[test]
    fn a_torn_last_line_is_ignored_and_cut_off_by_the_next_one() {
        let (_folder, path) = ledger("");
        let ledger = Ledger::open(&path).unwrap();
        ledger.append(&record(Operation::Issued, 1)).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{}", whole.get(..40).unwrap())).unwrap();
        assert_eq!(ledger.current().entries().count(), 1);
        ledger.append(&record(Operation::Issued, 2)).unwrap();
        assert_eq!(ledger.current().entries().count(), 2);
        // A revocation that somebody typed without an end of line is not lost either.
        let revoked = serde_json::to_string(&record(Operation::Revoked, 1)).unwrap();
        fs::write(&path, format!("{}{revoked}", fs::read_to_string(&path).unwrap())).unwrap();
        ledger.append(&record(Operation::Issued, 3)).unwrap();
        assert!(matches!(ledger.current().lookup(&[1; 32]).unwrap().status, Status::Revoked { .. }));
        assert_eq!(ledger.records().unwrap().len(), 4);
    }

    #[test]
    fn cut_anywhere_it_is_what_its_whole_lines_say() {
        let (_folder, path) = ledger("");
        let written = Ledger::open(&path).unwrap();
        written.append(&record(Operation::Issued, 1)).unwrap();
        written.append(&record(Operation::Revoked, 2)).unwrap();
        let whole = fs::read(&path).unwrap();
        for len in 0..=whole.len() {
            fs::write(&path, whole.get(..len).unwrap()).unwrap();
            let lines = whole.get(..len).unwrap().iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(Ledger::open(&path).unwrap().current().entries().count(), lines, "cut at {len}");
        }
    }

    #[test]
    fn writers_at_the_same_time_take_turns() {
        let (_folder, path) = ledger("");
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let ledger = Ledger::open(&path).unwrap();
                scope.spawn(move || {
                    (0..8).for_each(|n| ledger.append(&record(Operation::Issued, writer * 8 + n)).unwrap());
                });
            }
        });
        assert_eq!(Ledger::open(&path).unwrap().current().entries().count(), 32);
    }

    #[test]
    fn r11_one_certificate_has_one_owner() {
        let (_folder, path) = ledger("");
        let ledger = Ledger::open(&path).unwrap();
        ledger.append(&record(Operation::Issued, 1)).unwrap();
        ledger.append(&Record { user: "other".into(), ..record(Operation::Issued, 1) }).unwrap();
        assert!(matches!(ledger.current().failure(), Some(LedgerError::Malformed { line: 2, .. })));
    }
}
