//! The audit log: records in files, numbered, chained, and on the disk before anything is given by them.
//!
//! Who writes a record does so by itself, under one short lock: one `write(2)`. A thread, the *keeper*, does everything
//! that may take longer: it flushes, holds back room, begins new segments, signs checkpoints, deletes what is old, and
//! heals. The *gate* is open while records can be written. Whatever goes wrong closes it, and only the keeper opens it again.

mod checkpoints;
mod heal;
mod house;
mod keeper;
mod room;
mod start;
mod state;
mod waiting;

use std::{
    cell::RefCell,
    collections::HashSet,
    fmt, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use aws_lc_rs::hmac;
use metrics::{Counter, Histogram, counter, gauge, histogram};
use time::OffsetDateTime;
use tracing::error;

pub use start::OpenError;

use super::{
    Class, Closed, Kind, LogTarget, Record, Trail,
    chain::AuditKey,
    disk::{Disk, Fault},
    line::bodies,
};
use keeper::Keeper;
use state::State;

/// How the log is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// The folder of the segments.
    pub folder: PathBuf,
    /// The file with the log's secret, outside of the folder.
    pub key: PathBuf,
    /// The file of the checkpoints, outside of the folder.
    pub checkpoints: PathBuf,
    /// When records are flushed to the disk.
    pub flush: Flush,
    /// How long a segment becomes; bytes.
    pub segment_bytes: u64,
    /// How old a segment becomes.
    pub segment_age: Duration,
    /// Room that is held back on the disk for privileged records; bytes.
    pub reserve_bytes: u64,
    /// How many segments are kept, if not all; at least 2.
    pub keep_segments: Option<usize>,
    /// How long segments are kept, if not for good.
    pub keep_age: Option<Duration>,
    /// Write each record to the log as well.
    pub log: bool,
    /// How many bytes may be written and not flushed.
    pub unflushed_bytes: usize,
    /// How many bytes of records may wait while the gate is closed.
    pub waiting_bytes: usize,
    /// How soon it is tried to heal, the first time.
    pub retry: Duration,
    /// A disk that fails, for tests.
    pub fault: Option<Fault>,
}

/// When records are flushed to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Before anything is given by them.
    Always,
    /// So long after they were written.
    Every(Duration),
}

impl Options {
    /// The usual way, with these files.
    pub fn new(folder: PathBuf, key: PathBuf, checkpoints: PathBuf) -> Self {
        Self {
            folder,
            key,
            checkpoints,
            flush: Flush::Every(Duration::from_millis(100)),
            segment_bytes: 64 * 1024 * 1024,
            segment_age: Duration::from_secs(24 * 60 * 60),
            reserve_bytes: 64 * 1024 * 1024,
            keep_segments: None,
            keep_age: None,
            log: false,
            unflushed_bytes: 16 * 1024 * 1024,
            waiting_bytes: 4 * 1024 * 1024,
            retry: Duration::from_millis(100),
            fault: None,
        }
    }
}

/// The audit log. When it goes, all is flushed, and signed.
pub struct AuditLog {
    shared: Arc<Shared>,
    keeper: Option<thread::JoinHandle<()>>,
}

/// What those who write share with the keeper. No lock is held while another one is taken.
struct Shared {
    options: Options,
    key: AuditKey,
    disk: Disk,
    state: Mutex<State>,
    /// There is something to do for the keeper.
    work: Condvar,
    /// More is on the disk, or the gate was closed.
    flushed: Condvar,
    /// Whether the gate is open, for who only wants to know.
    is_open: AtomicBool,
    /// The marks of records that are to be there once, when they are known.
    marks: Mutex<Option<HashSet<String>>>,
    meters: Meters,
}

thread_local! {
    /// The bodies of what is being written, whose memory is used again.
    static BODIES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl AuditLog {
    /// Whether the log could be opened, as far as can be seen without touching it: that its key is the one that it was made
    /// with. A log that isn't there yet could.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn check(options: &Options) -> Result<(), OpenError> {
        start::check(options)
    }

    /// Opens the log, and makes a new one if there is none. Its key is made, too. If it can't be written it is opened all the
    /// same, with its gate closed, and heals when it can.
    ///
    /// # Errors
    /// [`OpenError`]: it can't be read, is somebody else's, or in use.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let (shared, keeper, lock) = start::start(options)?;
        let shared = Arc::new(shared);
        let mut keeper = Keeper::new(Arc::clone(&shared), keeper);
        keeper.heal_now();
        let run = move || {
            keeper.run();
            drop(lock);
        };
        let keeper = thread::Builder::new().name("audit".into()).spawn(run).map_err(OpenError::Thread)?;
        Ok(Self { shared, keeper: Some(keeper) })
    }
}

impl Trail for AuditLog {
    fn folder(&self) -> Option<&Path> {
        Some(&self.shared.options.folder)
    }

    fn write_all(&self, records: &[Record<'_>]) -> Result<(), Closed> {
        self.shared.write(records, None)
    }

    fn write_soon(&self, record: &Record<'_>) {
        self.shared.write_soon(record);
    }

    fn write_once(&self, mark: &str, record: &Record<'_>) -> Result<(), Closed> {
        let mut marks = lock(&self.shared.marks);
        if marks.is_none() {
            *marks = Some(start::marks(&self.shared.options.folder).map_err(|_| Closed)?);
        }
        let Some(marks) = marks.as_mut() else { return Err(Closed) };
        if !marks.contains(mark) {
            self.shared.write(std::slice::from_ref(record), Some(mark))?;
            marks.insert(mark.into());
        }
        Ok(())
    }

    fn is_open(&self) -> bool {
        self.shared.is_open.load(Ordering::Relaxed)
    }

    /// The log's own: the same key has the same name as long as the log has its secret.
    fn fingerprint_key(&self) -> Option<&hmac::Key> {
        Some(self.shared.key.fingerprints())
    }
}

/// Ends the keeper, and waits for it.
impl Drop for AuditLog {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.work.notify_all();
        if self.keeper.take().is_some_and(|keeper| keeper.join().is_err()) {
            error!("the audit log's keeper has panicked");
        }
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog").field("folder", &self.shared.options.folder).finish_non_exhaustive()
    }
}

impl Shared {
    fn write(&self, records: &[Record<'_>], mark: Option<&str>) -> Result<(), Closed> {
        let begun = Instant::now();
        if !self.is_open.load(Ordering::Relaxed) {
            return Err(Closed);
        }
        let is_ordinary = records.iter().any(|record| record.kind.class() == Class::Ordinary);
        with_bodies(records, mark, |bodies| {
            if bodies.is_empty() {
                return Ok(());
            }
            let mut state = self.lock();
            if !state.is_open() || is_ordinary && !state.has_room_for_ordinary(bodies.len(), &self.options) {
                return Err(Closed);
            }
            let first = state.head.n + 1;
            self.put(&mut state, bodies)?;
            if self.options.flush == Flush::Always { self.wait_for_flush(state, first) } else { Ok(()) }
        })?;
        self.meters.write_seconds.record(begun.elapsed().as_secs_f64());
        self.written(records);
        Ok(())
    }

    fn write_soon(&self, record: &Record<'_>) {
        let class = record.kind.class();
        let records = std::slice::from_ref(record);
        with_bodies(records, None, |bodies| {
            let mut state = self.lock();
            // What waits is written first.
            let now = state.is_open() && state.waiting.is_empty();
            if now && class == Class::Ordinary && !state.has_room_for_ordinary(bodies.len(), &self.options) {
                state.waiting.lose(class);
            } else if !now || self.put(&mut state, bodies).is_err() {
                state.waiting.push(class, bodies, self.options.waiting_bytes);
            }
        });
        self.written(records);
    }

    /// Writes lines, or closes the gate.
    fn put(&self, state: &mut State, bodies: &[u8]) -> Result<(), Closed> {
        let was_flushed = state.pending.is_empty();
        let put = state.put(&self.key, bodies, self.options.unflushed_bytes);
        if put.is_err() {
            self.show(state);
        }
        if put.is_err() || was_flushed {
            self.work.notify_one();
        }
        put.map_err(|_| Closed)
    }

    /// Waits until all that is written is on the disk. `first`: the first of those records that somebody waits for.
    fn wait_for_flush(&self, mut state: MutexGuard<'_, State>, first: u64) -> Result<(), Closed> {
        let last = state.head.n;
        while state.flushed.n < last {
            if !state.is_open() {
                // They may come to the disk all the same, with what is written again.
                state.waiting.void(first, last, self.options.waiting_bytes);
                return Err(Closed);
            }
            state = self.flushed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// What is told of records besides.
    fn written(&self, records: &[Record<'_>]) {
        for record in records {
            if let Some(counter) = self.meters.records.get(record.kind as usize) {
                counter.increment(1);
            }
            if self.options.log {
                LogTarget.write_soon(record);
            }
        }
    }

    /// Lets everybody know how the gate stands.
    fn show(&self, state: &State) {
        self.is_open.store(state.is_open(), Ordering::Relaxed);
        gauge!("callgate_audit_open").set(if state.is_open() { 1.0 } else { 0.0 });
        self.flushed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the lines' bodies before any lock is taken.
fn with_bodies<T>(records: &[Record<'_>], mark: Option<&str>, work: impl FnOnce(&[u8]) -> T) -> T {
    let make = |out: &mut Vec<u8>| {
        out.clear();
        let now = OffsetDateTime::now_utc();
        records.iter().for_each(|record| bodies(out, now, record, mark));
    };
    BODIES.with(|kept| match kept.try_borrow_mut() {
        Ok(mut out) => {
            make(&mut out);
            work(&out)
        }
        // A value that writes a record while it is shown.
        Err(_) => {
            let mut out = Vec::new();
            make(&mut out);
            work(&out)
        }
    })
}

/// What is measured where it has to be quick.
struct Meters {
    /// By kind.
    records: Vec<Counter>,
    write_seconds: Histogram,
}

impl Meters {
    fn new() -> Self {
        let records = |kind: &Kind| counter!("callgate_audit_records_total", "record" => kind.name());
        Self {
            records: Kind::ALL.iter().map(records).collect(),
            write_seconds: histogram!("callgate_audit_write_seconds"),
        }
    }
}

/// Something failed: counts it.
fn failed(operation: &'static str, error: &io::Error) {
    counter!("callgate_audit_failures_total", "operation" => operation).increment(1);
    error!(operation, %error, "the audit log can't be written: no key leaves and no right is granted until it heals");
}
