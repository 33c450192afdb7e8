//! How a log is found, and where it goes on.
//!
//! If the last process ended in order, its last record is signed, and its segment is gone on with. Otherwise nobody knows
//! what of the records behind the last checkpoint is on the disk: a new segment begins with them. A line without an end was
//! never acknowledged, and is cut off.

use std::{
    collections::{HashSet, VecDeque},
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, atomic::AtomicBool},
};

use time::OffsetDateTime;
use tracing::{error, info, warn};

use super::{
    Meters, Options, Shared,
    checkpoints::Checkpoints,
    keeper::{Begin, Known},
    state::{Damage, Gate, State, USUAL},
    waiting::Waiting,
};
use crate::audit::{
    Kind, Record,
    chain::{AuditKey, KeyError, Sealed},
    disk::{Disk, SegmentFile},
    entry::Entry,
    folder::{Folder, Lines, Segment},
    segment::{Head, Why},
};

/// Of more than this nothing is written again at a start; bytes. It is more than is ever written and not signed.
const MOST_REPEATED: usize = 64 * 1024 * 1024;
/// So far back is looked for records that are to be there once; bytes. One that stands further back is written again, with the
/// same mark: that it is there twice is better than not at all.
const MOST_SEARCHED: u64 = 256 * 1024 * 1024;
const LOCK: &str = "audit.lock";

/// Why a log can't be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A file can't be used.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// The log was made with another key.
    #[error("{}: this log was made with another key than {}: restore its key, or move the folder away", path.display(), key.display())]
    Foreign {
        /// Its newest segment.
        path: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// Another process has the log open.
    #[error("{}: another process writes this log, so a gateway runs by this folder already: stop that one first, or give this \
             one a folder of its own (`callgate init DIR`)", .0.display())]
    InUse(PathBuf),
    /// There is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// There is a log, and its key is gone.
    #[error("{}: the key of the log in {} is gone: restore it from your backup, or move the folder away", key.display(), folder.display())]
    KeyLost {
        /// Where the key should be.
        key: PathBuf,
        /// The folder of the log.
        folder: PathBuf,
    },
    /// The system gives no thread.
    #[error("the audit log gets no thread: {_0}")]
    Thread(io::Error),
}

impl OpenError {
    /// Whether a file is to blame that somebody can mend, and not the system.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::Foreign { .. } | Self::Key(_) | Self::KeyLost { .. })
    }
}

/// The log is this process's.
#[derive(Debug)]
pub(super) struct Lock(File);

/// That the file is closed isn't enough: a process that is just being started has it, too, for a moment.
impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Finds the log. Its gate is still closed.
pub(super) fn start(options: Options) -> Result<(Shared, Begin, Lock), OpenError> {
    let in_folder = |cause| OpenError::File { path: options.folder.clone(), cause };
    let disk = Disk::new(&options.folder, options.fault.clone());
    disk.make().map_err(in_folder)?;
    let lock = take(&options.folder)?;
    disk.discard_unfinished().map_err(in_folder)?;
    let mut folder = Folder::read(&options.folder).map_err(in_folder)?;
    while let Some(unused) = folder.pop_unused() {
        disk.remove(unused).map_err(in_folder)?;
    }
    let key = key(&options, folder.segments())?;
    let (checkpoints, signed) = Checkpoints::open(&options.checkpoints, &key)
        .map_err(|cause| OpenError::File { path: options.checkpoints.clone(), cause })?;
    let signed = signed.map_or(Head::START, |checkpoint| checkpoint.head);
    let found = Found::look(&folder, &key, &options, signed)?;

    let segments = folder.segments();
    let known = segments.iter().filter_map(|segment| {
        let header = segment.header?;
        Some(Known { number: segment.number, after: header.after, begun: header.time })
    });
    let begin = Begin { checkpoints, signed: signed.n, segments: known.collect::<VecDeque<_>>() };
    let last = segments.last();
    let segment = last.filter(|_| found.is_in_order).and_then(|last| match disk.open(last.number) {
        Ok(segment) => Some(segment),
        Err(error) => {
            warn!(%error, "the audit log's newest segment can't be gone on with");
            None
        }
    });
    let state = found.into_state(segment, last, &options);
    let shared = Shared {
        key,
        disk,
        state: Mutex::new(state),
        work: Condvar::new(),
        flushed: Condvar::new(),
        is_open: AtomicBool::new(false),
        marks: Mutex::new(None),
        meters: Meters::new(),
        options,
    };
    Ok((shared, begin, lock))
}

/// Looks at the log's files, and touches none.
pub(super) fn check(options: &Options) -> Result<(), OpenError> {
    let folder = match Folder::read(&options.folder) {
        Ok(folder) => folder,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(cause) => return Err(OpenError::File { path: options.folder.clone(), cause }),
    };
    match known_key(options, folder.segments())? {
        None if !folder.segments().is_empty() => Err(lost(options)),
        _ => Ok(()),
    }
}

/// The marks of the newest records that are to be there once.
pub(super) fn marks(folder: &Path) -> io::Result<HashSet<String>> {
    let (mut marks, mut searched) = (HashSet::new(), 0);
    for segment in Folder::read(folder)?.segments().iter().rev() {
        let mut lines = Lines::open(&segment.path)?;
        let finder = memchr::memmem::Finder::new(b",\"once\":\"");
        while let Some(line) = lines.next()? {
            searched += line.bytes.len() as u64;
            if finder.find(line.bytes).is_some() {
                marks.extend(Entry::read(line.bytes).and_then(|entry| entry.once).map(std::borrow::Cow::into_owned));
            }
        }
        if searched > MOST_SEARCHED {
            break;
        }
    }
    Ok(marks)
}

fn take(folder: &Path) -> Result<Lock, OpenError> {
    let path = folder.join(LOCK);
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = opened.map_err(|cause| OpenError::File { path: path.clone(), cause })?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.into())),
        Err(TryLockError::Error(cause)) => Err(OpenError::File { path, cause }),
    }
}

/// Reads the key, and makes one for a new log.
fn key(options: &Options, segments: &[Segment]) -> Result<AuditKey, OpenError> {
    if let Some(key) = known_key(options, segments)? {
        return Ok(key);
    }
    if !segments.is_empty() {
        return Err(lost(options));
    }
    let path = &options.key;
    let key = AuditKey::make(path)?;
    info!(key = %path.display(), "a key for the audit log was made: put it into your backup, without it no record can be verified");
    Ok(key)
}

/// The key that is there, which has made what is there.
fn known_key(options: &Options, segments: &[Segment]) -> Result<Option<AuditKey>, OpenError> {
    let path = &options.key;
    if !path.try_exists().map_err(|cause| OpenError::File { path: path.clone(), cause })? {
        return Ok(None);
    }
    let key = AuditKey::read(path)?;
    match segments.iter().rfind(|segment| !segment.first_line.is_empty()) {
        Some(last) if !last.header.is_some_and(|header| header.is_made_by(&key, &last.first_line)) => {
            Err(OpenError::Foreign { path: last.path.clone(), key: path.clone() })
        }
        _ => Ok(Some(key)),
    }
}

fn lost(options: &Options) -> OpenError {
    OpenError::KeyLost { key: options.key.clone(), folder: options.folder.clone() }
}

/// How a log was found.
struct Found {
    /// Whether it ended in order.
    is_in_order: bool,
    /// Why the next segment is begun if it didn't.
    why: Why,
    /// The last record.
    head: Head,
    /// The last record that is known to be on the disk.
    flushed: Head,
    /// The lines behind that.
    repeated: Vec<u8>,
    /// How many bytes of a line without an end were cut off.
    torn: u64,
    /// How many lines behind the last record can't be read, or aren't ours.
    unreadable: u64,
    /// The records that are gone from the end.
    gone: Option<(u64, u64)>,
}

impl Found {
    fn look(folder: &Folder, key: &AuditKey, options: &Options, signed: Head) -> Result<Self, OpenError> {
        let nothing = Self {
            is_in_order: false,
            why: Why::First,
            head: signed,
            flushed: signed,
            repeated: Vec::new(),
            torn: 0,
            unreadable: 0,
            gone: None,
        };
        let Some(last) = folder.segments().last() else {
            let gone = (signed.n > 0).then_some((1, signed.n));
            let why = if gone.is_some() { Why::Cut } else { Why::First };
            return Ok(Self { why, gone, ..nothing });
        };
        let in_last = |cause| OpenError::File { path: last.path.clone(), cause };
        let tail = Tail::read(last, key).map_err(in_last)?;
        if tail.torn > 0 && tail.unreadable == 0 {
            let cut = OpenOptions::new().write(true).open(&last.path).and_then(|file| {
                file.set_len(tail.end)?;
                file.sync_all()
            });
            if let Err(error) = cut {
                warn!(%error, file = %last.path.display(), "a line without an end can't be cut off");
            }
        }
        let found = Self { torn: tail.torn, unreadable: tail.unreadable, ..nothing };
        if signed.n > tail.head.n {
            return Ok(Self { why: Why::Cut, gone: Some((tail.head.n + 1, signed.n)), ..found });
        }
        let is_in_order = signed == tail.head && tail.torn == 0 && tail.unreadable == 0;
        let found = Self { is_in_order, why: Why::Restarted, head: tail.head, flushed: tail.head, ..found };
        if is_in_order {
            return Ok(found);
        }
        let in_folder = |cause| OpenError::File { path: options.folder.clone(), cause };
        Ok(match lines_behind(folder, key, signed, tail.head).map_err(in_folder)? {
            Some(repeated) => Self { flushed: signed, repeated, ..found },
            None => found,
        })
    }

    fn into_state(self, segment: Option<SegmentFile>, last: Option<&Segment>, options: &Options) -> State {
        let mut waiting = Waiting::default();
        let (torn, unreadable) = (self.torn, self.unreadable);
        if torn > 0 || unreadable > 0 {
            warn!(torn, unreadable, "the audit log did not end in order");
        }
        let some = |number: u64| Some(number).filter(|number| *number > 0);
        let fields =
            [("event", "started".into()), ("torn", some(torn).into()), ("unreadable", some(unreadable).into())];
        if let Some((first, last)) = self.gone {
            error!(
                first,
                last, "records of the audit log are gone, and a checkpoint has signed them: its end was cut off"
            );
            let fields = [("event", "gone".into()), ("first", first.into()), ("last", last.into())];
            waiting.note(&Record::new(Kind::Log, &fields), options.waiting_bytes);
        }
        waiting.note(&Record::new(Kind::Log, &fields), options.waiting_bytes);
        let mut pending = self.repeated;
        pending.reserve(USUAL);
        let begun = last.and_then(|last| last.header).map_or(OffsetDateTime::UNIX_EPOCH, |header| header.time);
        State {
            gate: Gate::Closed(Damage::Flush),
            segment,
            number: last.map_or(0, |last| last.number),
            begun,
            why: self.why,
            head: self.head,
            flushed: self.flushed,
            pending,
            in_flight: 0,
            waiting,
            error: None,
            stop: false,
            line: Vec::with_capacity(USUAL / 4),
        }
    }
}

/// The end of a segment.
struct Tail {
    /// The last record that stands behind the one before it.
    head: Head,
    /// Where it ends.
    end: u64,
    /// Lines behind it.
    unreadable: u64,
    /// Bytes of a line without an end.
    torn: u64,
}

impl Tail {
    /// Whether records are right is for `verify`: here it matters only where to go on. So one that was changed doesn't take
    /// those behind it along.
    fn read(segment: &Segment, key: &AuditKey) -> io::Result<Self> {
        let head = segment.header.map_or(Head::START, |header| header.after);
        let mut lines = Lines::open(&segment.path)?;
        let first = lines.next()?.map_or(0, |line| line.bytes.len() as u64 + 1);
        let (mut tail, mut before, mut at) = (Self { head, end: first, unreadable: 0, torn: 0 }, head.mac, first);
        while let Some(line) = lines.next()? {
            if !line.is_whole {
                tail.torn = line.bytes.len() as u64;
                break;
            }
            at += line.bytes.len() as u64 + 1;
            tail.unreadable += 1;
            let Some(sealed) = Sealed::of(line.bytes) else { continue };
            if let Some(n) = sealed.number().filter(|_| key.has_made(&sealed, before)) {
                tail = Self { head: Head { n, mac: sealed.mac }, end: at, unreadable: 0, torn: 0 };
            }
            before = sealed.mac;
        }
        Ok(tail)
    }
}

/// The lines behind a record up to another one, if they are all there as they were written, and not too many.
fn lines_behind(folder: &Folder, key: &AuditKey, from: Head, to: Head) -> io::Result<Option<Vec<u8>>> {
    let begins_before = |segment: &Segment| segment.header.is_some_and(|header| header.after.n <= from.n);
    let Some(first) = folder.segments().iter().rposition(begins_before) else { return Ok(None) };
    let (mut lines, mut head) = (Vec::new(), from);
    for segment in folder.segments().get(first..).unwrap_or_default() {
        let mut from = Lines::open(&segment.path)?;
        from.next()?;
        while let Some(line) = from.next()?.filter(|line| line.is_whole) {
            let Some((n, sealed)) = Sealed::of(line.bytes).and_then(|sealed| Some((sealed.number()?, sealed))) else {
                break;
            };
            if n <= head.n || segment.limit.is_some_and(|limit| n > limit.after) {
                continue;
            }
            if n != head.n + 1 || !key.has_made(&sealed, head.mac) || lines.len() > MOST_REPEATED {
                return Ok(None);
            }
            head = Head { n, mac: sealed.mac };
            lines.extend_from_slice(line.bytes);
            lines.push(b'\n');
        }
    }
    Ok((head == to).then_some(lines))
}
