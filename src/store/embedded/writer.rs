//! The one who writes: a thread that commits what waits, answers when it is on the disk, and heals the database.
//!
//! A commit that failed leaves three questions, in this order. What became of it? The database is opened again, which takes it or
//! leaves it, and its version says which. Was the disk full? Then removals are tried again, alone, and then, if each is of one
//! key, with the ballast's room; ordinary writes are refused until the ballast is whole again. And if the database can't be
//! opened, it is tried again and again, and whoever watches is told everything once it is open, since nobody knows what is in it.

use std::{
    collections::{BTreeMap, btree_map},
    io,
    sync::{Arc, PoisonError, mpsc},
    time::Instant,
};

use metrics::{counter, histogram};
use redb::{Durability, ReadableTable, Table, WriteTransaction};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::{debug, error, info, warn};

use super::{
    super::{Bucket, Change, Entry, Expect, StoreError, Urgency, Version, check_expected},
    Options, Shared,
    ballast::Ballast,
    file::{self, Failure},
};

/// So many bytes of values are committed together, and one write more.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// What the writer is asked for.
pub(super) enum Job {
    /// A database with this generation is of no use any more.
    Reopen {
        generation: u64,
        opened: oneshot::Sender<Result<(), StoreError>>,
    },
    Stop,
    Write(Write),
}

/// Keys that are written together, or not at all.
pub(super) struct Write {
    pub(super) parts: Vec<Part>,
    pub(super) urgency: Urgency,
    pub(super) answer: oneshot::Sender<Result<Vec<Version>, StoreError>>,
    /// Its share of what may wait.
    pub(super) _room: OwnedSemaphorePermit,
}

/// One key of a write. Without a value it goes.
pub(super) struct Part {
    pub(super) bucket: Bucket,
    pub(super) key: String,
    pub(super) value: Option<Arc<[u8]>>,
    pub(super) expect: Expect,
}

/// The thread's own.
pub(super) struct Writer {
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<Job>,
    ballast: Ballast,
    options: Options,
    /// Until when ordinary writes are refused, and why.
    full: Option<(Instant, Arc<io::Error>)>,
}

/// What a group of writes comes to, once it is committed.
struct Outcome {
    answers: Vec<Result<Vec<Version>, StoreError>>,
    changes: Vec<(Bucket, Change)>,
    version: u64,
}

/// Writes that were not answered yet, and why they failed.
type Failed = (Vec<Write>, Arc<io::Error>);

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, jobs: mpsc::Receiver<Job>, ballast: Ballast, options: Options) -> Self {
        Self { shared, jobs, ballast, options, full: None }
    }

    /// Works until it is told to stop, and closes the database.
    pub(super) fn run(mut self) {
        while let Some(job) = self.next() {
            let (group, last) = self.group(job);
            if !group.is_empty() {
                self.write(group);
            }
            match last {
                Some(Job::Stop) => break,
                Some(Job::Reopen { generation, opened }) => {
                    let _ = opened.send(self.reopen(generation));
                }
                Some(Job::Write(_)) | None => {}
            }
        }
        let mut slot = self.shared.slot.write().unwrap_or_else(PoisonError::into_inner);
        let database = slot.database.take();
        drop(slot);
        if let Some(Err(error)) = database.map(redb::Database::close) {
            // Everything acknowledged is there all the same.
            warn!(%error, "the store could not be closed properly");
        }
        self.shared.watchers().close();
    }

    /// The next job. While something is amiss it looks after that meanwhile.
    fn next(&mut self) -> Option<Job> {
        loop {
            if self.is_open() && self.ballast.is_whole() {
                return self.jobs.recv().ok();
            }
            match self.jobs.recv_timeout(self.options.retry) {
                Ok(job) => return Some(job),
                Err(mpsc::RecvTimeoutError::Disconnected) => return None,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    let _ = self.open_if_closed();
                    let _ = self.ballast.fill();
                }
            }
        }
    }

    /// The writes that wait, from this job on, and the first job that is no write.
    fn group(&self, first: Job) -> (Vec<Write>, Option<Job>) {
        let (mut group, mut bytes, mut next) = (Vec::new(), 0, Some(first));
        while let Some(job) = next {
            let Job::Write(write) = job else { return (group, Some(job)) };
            bytes += write.parts.iter().map(Part::bytes).sum::<usize>();
            group.push(write);
            next = if bytes < GROUP_BYTES { self.jobs.try_recv().ok() } else { None };
        }
        (group, None)
    }

    /// Commits these writes and answers them, in one way or another.
    fn write(&mut self, mut group: Vec<Write>) {
        if let Err(why) = self.open_if_closed() {
            return refuse(group, &why);
        }
        if let Err(full) = self.has_room() {
            let (removals, ordinary) = group.into_iter().partition(Write::takes_away);
            refuse(ordinary, &StoreError::Unavailable(full));
            group = removals;
        }
        let Err((group, why)) = self.commit(group) else { return };
        if !is_full(&why) {
            return refuse(group, &StoreError::Unavailable(why));
        }

        self.full = Some((Instant::now() + self.options.retry, Arc::clone(&why)));
        let were = group.len();
        let (removals, ordinary): (Vec<_>, Vec<_>) = group.into_iter().partition(Write::takes_away);
        refuse(ordinary, &StoreError::Unavailable(Arc::clone(&why)));
        // Without the others they may fit.
        let alone = if removals.len() < were { self.commit(removals) } else { Err((removals, why)) };
        let Err((removals, why)) = alone else { return };
        // What needs a page for each of a thousand keys would use up the ballast, and might still not fit.
        let (small, large): (Vec<_>, Vec<_>) = removals.into_iter().partition(Write::is_of_one_key);
        refuse(large, &StoreError::Unavailable(Arc::clone(&why)));
        self.commit_with_ballast(small, why);
    }

    /// Commits removals that failed together for this reason one after the other, each with as much of the ballast as it takes.
    fn commit_with_ballast(&mut self, removals: Vec<Write>, why: Arc<io::Error>) {
        let mut why = Some(why);
        for removal in removals {
            // For each but the first, the room that the ones before it got may do.
            let mut tried = match why.take() {
                Some(why) => Err((vec![removal], why)),
                None => self.commit(vec![removal]),
            };
            while let Err((failed, why)) = tried {
                if !is_full(&why) || !self.ballast.give_up() {
                    refuse(failed, &StoreError::Unavailable(why));
                    break;
                }
                tried = self.commit(failed);
            }
        }
    }

    /// Whether ordinary writes may be tried. They may not as long as the ballast isn't whole.
    fn has_room(&mut self) -> Result<(), Arc<io::Error>> {
        if let Some((until, why)) = &self.full {
            if Instant::now() < *until {
                return Err(Arc::clone(why));
            }
            self.full = None;
        }
        self.ballast.fill().map_err(|error| {
            let error = Arc::new(error);
            self.full = Some((Instant::now() + self.options.retry, Arc::clone(&error)));
            error
        })
    }

    /// Commits these writes in one transaction, tells who watches, and answers. Those that failed aren't answered yet; the
    /// database is open again then, or will be tried again.
    fn commit(&mut self, group: Vec<Write>) -> Result<(), Failed> {
        if group.is_empty() {
            return Ok(());
        }
        let begun = Instant::now();
        let mut attempt = self.attempt(&group);
        if matches!(attempt, Err((Failure::Closed, None))) && self.reopen(self.generation()).is_ok() {
            // A read had failed before.
            attempt = self.attempt(&group);
        }
        let (why, outcome) = match attempt {
            Ok(outcome) => {
                histogram!("callgate_store_commit_seconds").record(begun.elapsed().as_secs_f64());
                self.done(group, outcome);
                return Ok(());
            }
            Err(failure) => failure,
        };
        let why = io::Error::from(why);
        let kind = if is_full(&why) { "full" } else { "io" };
        counter!("callgate_store_errors_total", "kind" => kind).increment(1);
        warn!(error = %why, "the store's disk has failed: it is opened again");
        if self.reopen(self.generation()).is_ok()
            && let Some(outcome) = outcome
            && self.version().is_ok_and(|version| version == outcome.version)
        {
            info!("what was being written is there");
            self.done(group, outcome);
            return Ok(());
        }
        Err((group, Arc::new(why)))
    }

    /// Writes all that can be, and commits it. If only the commit failed, what it would have come to is there, too.
    fn attempt(&self, group: &[Write]) -> Result<Outcome, (Failure, Option<Outcome>)> {
        let slot = self.shared.slot.read().unwrap_or_else(PoisonError::into_inner);
        let database = slot.database.as_ref().ok_or((Failure::Closed, None))?;
        let prepared = database.begin_write().map_err(Failure::from).and_then(|mut transaction| {
            transaction.set_durability(Durability::Immediate)?;
            let outcome = apply(&transaction, group)?;
            Ok((transaction, outcome))
        });
        let (transaction, outcome) = prepared.map_err(|failure| (failure, None))?;
        if outcome.changes.is_empty() {
            // Nothing to commit; what it leaves is of no interest.
            let _ = transaction.abort();
            return Ok(outcome);
        }
        match transaction.commit() {
            Ok(()) => Ok(outcome),
            Err(error) => Err((error.into(), Some(outcome))),
        }
    }

    /// Tells who watches, and then answers.
    fn done(&self, group: Vec<Write>, outcome: Outcome) {
        if !outcome.changes.is_empty() {
            counter!("callgate_store_commits_total").increment(1);
        }
        let mut watchers = self.shared.watchers();
        for (bucket, change) in &outcome.changes {
            watchers.tell(*bucket, change);
        }
        drop(watchers);
        for (write, answer) in group.into_iter().zip(outcome.answers) {
            if let Err(StoreError::Conflict { bucket, .. }) = &answer {
                counter!("callgate_store_conflicts_total", "bucket" => *bucket).increment(1);
            }
            // Who asked may be gone.
            let _ = write.answer.send(answer);
        }
    }

    /// Opens the database anew if it still is the one with this generation.
    fn reopen(&self, generation: u64) -> Result<(), StoreError> {
        let mut slot = self.shared.slot.write().unwrap_or_else(PoisonError::into_inner);
        if slot.generation != generation {
            return if slot.database.is_some() { Ok(()) } else { Err(slot.why.clone()) };
        }
        let was_open = slot.database.is_some();
        if let Some(Err(error)) = slot.database.take().map(redb::Database::close) {
            // Its own failure is known already.
            debug!(%error, "the database was closed");
        }
        slot.generation += 1;
        let (opened, why) = match file::open(self.shared.place.file(), self.options.fault.as_ref()) {
            Ok(database) => {
                slot.database = Some(database);
                (Ok(()), None)
            }
            Err(why) => {
                slot.why = why.clone();
                (Err(why.clone()), Some(why))
            }
        };
        drop(slot);
        match why {
            Some(why) if was_open => error!(error = %why, "the store can't be opened: it is tried again"),
            Some(_) => {}
            None if was_open => {}
            None => {
                info!("the store is open again");
                // Nobody knows whether it has what was being written when it was lost.
                self.shared.watchers().resync();
            }
        }
        opened
    }

    fn open_if_closed(&self) -> Result<(), StoreError> {
        if self.is_open() { Ok(()) } else { self.reopen(self.generation()) }
    }

    fn is_open(&self) -> bool {
        self.shared.slot.read().unwrap_or_else(PoisonError::into_inner).database.is_some()
    }

    fn generation(&self) -> u64 {
        self.shared.slot.read().unwrap_or_else(PoisonError::into_inner).generation
    }

    fn version(&self) -> Result<u64, Failure> {
        let (read, _) = self.shared.begin_read().map_err(|(_, failure)| failure)?;
        Ok(file::version(&read)?.0)
    }
}

impl Write {
    fn takes_away(&self) -> bool {
        self.urgency == Urgency::TakesAway
    }

    fn is_of_one_key(&self) -> bool {
        self.parts.len() <= 1
    }
}

impl Part {
    fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, |value| value.len())
    }
}

/// Whether the disk has no room, or its owner may have no more of it.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Writes what meets its expectations.
fn apply(transaction: &WriteTransaction, group: &[Write]) -> Result<Outcome, Failure> {
    let mut version = file::version_to_write(transaction)?;
    let mut outcome = Outcome { answers: Vec::with_capacity(group.len()), changes: Vec::new(), version };
    let mut tables = Tables { transaction, open: BTreeMap::new() };
    for write in group {
        let expected = write.parts.iter().map(|part| (part.bucket, part.key.as_str(), part.expect));
        match check_expected(expected, |bucket, key| Ok(tables.version(bucket, key)?)) {
            Ok(()) => {}
            Err(Unmet::Conflict(conflict)) => {
                outcome.answers.push(Err(conflict));
                continue;
            }
            Err(Unmet::Failure(failure)) => return Err(failure),
        }
        let mut versions = Vec::with_capacity(write.parts.len());
        for part in &write.parts {
            version += 1;
            versions.push(Version(version));
            outcome.changes.push((part.bucket, tables.make(part, Version(version))?));
        }
        outcome.answers.push(Ok(versions));
    }
    drop(tables);
    if outcome.version != version {
        file::set_version(transaction, version)?;
        outcome.version = version;
    }
    Ok(outcome)
}

/// Why a write isn't made: it alone, or nothing of its group.
enum Unmet {
    Conflict(StoreError),
    Failure(Failure),
}

impl From<StoreError> for Unmet {
    fn from(conflict: StoreError) -> Self {
        Self::Conflict(conflict)
    }
}

impl From<Failure> for Unmet {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// The tables of a transaction, each opened once.
struct Tables<'t> {
    transaction: &'t WriteTransaction,
    open: BTreeMap<Bucket, Table<'t, &'static str, &'static [u8]>>,
}

impl<'t> Tables<'t> {
    fn version(&mut self, bucket: Bucket, key: &str) -> Result<Option<Version>, Failure> {
        match self.table(bucket)?.get(key)? {
            Some(found) => Ok(Some(file::unpack(found.value())?.0)),
            None => Ok(None),
        }
    }

    fn make(&mut self, Part { bucket, key, value, .. }: &Part, version: Version) -> Result<Change, Failure> {
        let table = self.table(*bucket)?;
        Ok(match value {
            Some(value) => {
                table.insert(key.as_str(), file::pack(version, value).as_slice())?;
                Change::Put(Entry { key: key.clone(), value: Arc::clone(value), version })
            }
            None => {
                table.remove(key.as_str())?;
                Change::Delete { key: key.clone(), version }
            }
        })
    }

    fn table(&mut self, bucket: Bucket) -> Result<&mut Table<'t, &'static str, &'static [u8]>, Failure> {
        Ok(match self.open.entry(bucket) {
            btree_map::Entry::Occupied(table) => table.into_mut(),
            btree_map::Entry::Vacant(place) => place.insert(self.transaction.open_table(file::table(bucket.0))?),
        })
    }
}

fn refuse(group: Vec<Write>, why: &StoreError) {
    for write in group {
        let _ = write.answer.send(Err(why.clone()));
    }
}
