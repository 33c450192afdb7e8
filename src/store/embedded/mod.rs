//! A store in one file on this machine, by redb.
//!
//! One thread writes (`writer`): what waits is committed together, and answered when it is on the disk. Reads are
//! transactions of their own on threads for waiting, and see the last commit; no writer holds them up. When the disk
//! fails redb lets the database go: the writer opens it again, finds out what became of the last commit, and goes on
//! trying. `place` says which files there are, `file` what is in the store's.

mod ballast;
mod disk;
mod file;
mod place;
mod restore;
mod writer;

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, mpsc},
    thread,
    time::Duration,
};

use redb::{Database, ReadTransaction, ReadableDatabase};
use tokio::{
    sync::{Semaphore, oneshot},
    task::spawn_blocking,
};
use tracing::{error, info, warn};

pub use disk::{Fault, Touch};
pub use restore::{Difference, Fate, Reconcile, Restore, Restored, restore};

use super::{
    Answer, Bucket, Entry, Epoch, Export, KeyWrite, Store, StoreError, Urgency, Version, Watch,
    backup::{self, BackedUp, BackupError},
    check_lengths,
    content::Content,
    migration::{self, STEPS, Step},
    watch::{Snapshot, Watchers},
};
use ballast::Ballast;
use file::Failure;
use place::Place;
use writer::{Job, Part, Write, Writer};

/// What may wait for the writer: so many KiB of values, each write counted as [`WRITE_KIB`] more.
const QUEUE_KIB: usize = 64 * 1024;
const WRITE_KIB: usize = 64;

/// How an embedded store is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many bytes are held back for what takes rights away on a full disk.
    pub ballast: u64,
    /// How often what failed is tried again.
    pub retry: Duration,
    /// How older formats become the present one. Other ones than the default are for tests.
    pub steps: &'static [Step],
    /// A disk that fails, for tests.
    pub fault: Option<Fault>,
}

impl Default for Options {
    fn default() -> Self {
        Self { ballast: 4 * 1024 * 1024, retry: Duration::from_secs(1), steps: STEPS, fault: None }
    }
}

/// A store in one file. It is closed when this goes, and then what was acknowledged is there for whoever opens it next.
pub struct Embedded {
    shared: Arc<Shared>,
    writer: Option<thread::JoinHandle<()>>,
}

/// What calls, watches and the writer share. No lock is held while another one is taken.
struct Shared {
    place: Place,
    epoch: Epoch,
    format: u32,
    slot: RwLock<Slot>,
    watchers: Mutex<Watchers>,
    jobs: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
}

/// The database while it is open.
struct Slot {
    database: Option<Database>,
    /// Rises when it is opened again, or couldn't be.
    generation: u64,
    /// Why it isn't open.
    why: StoreError,
}

impl Embedded {
    /// Opens the store in this file, and makes an empty one if there is none. Its folder is made, too.
    ///
    /// # Errors
    /// [`StoreError::InUse`], [`StoreError::Damaged`], [`StoreError::TooNew`], and [`StoreError::Unavailable`] if the disk
    /// doesn't let it.
    pub fn open(file: &Path, options: Options) -> Result<Self, StoreError> {
        let place = Place::new(file);
        let lock = place.take()?;
        let (database, header) = opened(&place, &options)?;
        let mut ballast = Ballast::new(&place, options.ballast);
        match ballast.fill() {
            Ok(()) => {}
            Err(error) if writer::is_full(&error) => warn!(%error, "the store has no room to hold back for removals"),
            Err(error) => return Err(error.into()),
        }

        let (jobs, waiting) = mpsc::channel();
        let shared = Arc::new(Shared {
            place,
            epoch: header.epoch,
            format: header.format,
            slot: RwLock::new(Slot { database: Some(database), generation: 0, why: StoreError::closed() }),
            watchers: Mutex::default(),
            jobs,
            room: Arc::new(Semaphore::new(QUEUE_KIB)),
        });
        let writer = Writer::new(Arc::clone(&shared), waiting, ballast, options);
        let writer = thread::Builder::new().name("store".into()).spawn(move || {
            writer.run();
            drop(lock);
        })?;
        Ok(Self { shared, writer: Some(writer) })
    }

    /// Writes all that the store holds at this moment into a file, while it goes on. The file appears as a whole.
    ///
    /// # Errors
    /// The disk's, and the store's own.
    pub async fn backup(&self, to: &Path) -> Result<BackedUp, BackupError> {
        let to = to.to_owned();
        self.back_up(move |header, entries| backup::write(&to, header, entries)).await
    }

    /// Has a backup written of what one transaction sees.
    async fn back_up<T: Send + 'static>(
        &self,
        write: impl Fn(&Content, &dyn Fn(Bucket) -> Result<Vec<Entry>, StoreError>) -> Result<T, BackupError>
        + Send
        + Sync
        + 'static,
    ) -> Result<T, BackupError> {
        let shared = Arc::clone(&self.shared);
        let made = self.shared.read(move |read| {
            let file = shared.place.file();
            let entries = |bucket: Bucket| file::list(read, bucket.0).map_err(|failure| failure.told(file));
            let header = file::header(read, file, shared.format);
            Ok(header.map_err(BackupError::from).and_then(|header| write(&header, &entries)))
        });
        made.await?
    }
}

/// Writes all that a store holds that nobody has open into a file. Nothing becomes of the store, neither if its format is an
/// older one.
///
/// # Errors
/// [`BackupError::NoStore`]; [`StoreError::InUse`] while a gateway has it; the disk's, and those of a store that is damaged or
/// too new.
pub fn backup(store: &Path, to: &Path, options: &Options) -> Result<BackedUp, BackupError> {
    let place = Place::new(store);
    // To take the place would make its folder.
    if !place.file().try_exists().map_err(StoreError::from)? {
        return Err(BackupError::NoStore(store.into()));
    }
    let _lock = place.take()?;
    let database = file::open(place.file(), options.fault.as_ref())?;
    let content = file::read_all(&database, place.file(), migration::newest(options.steps))?;
    // It was only read.
    let _ = database.close();
    backup::write(to, &content, |bucket| Ok(content.entries_of(bucket.0)))
}

/// Ends the writer, and waits for it.
impl Drop for Embedded {
    fn drop(&mut self) {
        self.shared.room.close();
        let _ = self.shared.jobs.send(Job::Stop);
        if self.writer.take().is_some_and(|writer| writer.join().is_err()) {
            error!("the store's writer has panicked");
        }
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("file", &self.shared.place.file()).finish_non_exhaustive()
    }
}

impl Store for Embedded {
    fn get<'a>(&'a self, bucket: Bucket, key: &'a str) -> Answer<'a, Option<Entry>> {
        Box::pin(async move {
            check_lengths(key, &[])?;
            let key = key.to_owned();
            self.shared.read(move |read| file::get(read, bucket, &key)).await
        })
    }

    fn write<'a>(&'a self, writes: &'a [KeyWrite<'a>], urgency: Urgency) -> Answer<'a, Vec<Version>> {
        Box::pin(self.shared.write(writes, urgency))
    }

    fn list(&self, bucket: Bucket) -> Answer<'_, Vec<Entry>> {
        Box::pin(self.shared.read(move |read| file::list(read, bucket.0)))
    }

    fn watch(&self, bucket: Bucket) -> Answer<'_, Watch> {
        Box::pin(async move {
            // It ends when the store is closed, so it doesn't keep it open.
            let shared = Arc::downgrade(&self.shared);
            let snapshot = move || {
                let shared = shared.upgrade();
                async move { shared.ok_or_else(StoreError::closed)?.snapshot(bucket).await }
            };
            Ok(self.shared.watchers().add(bucket, snapshot))
        })
    }

    fn epoch(&self) -> Answer<'_, Epoch> {
        Box::pin(async { Ok(self.shared.epoch) })
    }

    fn export(&self) -> Export<'_> {
        let folder = self.shared.place.folder().to_owned();
        Box::pin(self.back_up(move |header, entries| backup::export(&folder, header, entries)))
    }
}

impl Shared {
    /// Has them written in one transaction: all of them, or none.
    async fn write(&self, writes: &[KeyWrite<'_>], urgency: Urgency) -> Result<Vec<Version>, StoreError> {
        for write in writes {
            check_lengths(write.key, write.value().unwrap_or_default())?;
        }
        let kib =
            writes.iter().map(|write| WRITE_KIB + write.value().map_or(0, |value| value.len() / 1024)).sum::<usize>();
        // One that needs more than all the room has it to itself.
        let room = u32::try_from(kib.min(QUEUE_KIB)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(room).await.map_err(|_| StoreError::closed())?;
        let parts = writes.iter().map(|write| Part {
            bucket: write.bucket,
            key: write.key.to_owned(),
            value: write.value().map(Arc::from),
            expect: write.expect(),
        });
        let (answer, answered) = oneshot::channel();
        let write = Write { parts: parts.collect(), urgency, answer, _room: room };
        self.jobs.send(Job::Write(write)).map_err(|_| StoreError::closed())?;
        answered.await.unwrap_or_else(|_| Err(StoreError::closed()))
    }

    async fn snapshot(self: Arc<Self>, bucket: Bucket) -> Result<Snapshot, StoreError> {
        self.read(move |read| Ok((file::version(read)?, file::list(read, bucket.0)?))).await
    }

    /// Reads what one transaction sees. If the database has to be opened again, that comes first, once.
    async fn read<T, F>(self: &Arc<Self>, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: Fn(&ReadTransaction) -> Result<T, Failure> + Send + Sync + 'static,
    {
        let read = Arc::new(read);
        let mut again = true;
        loop {
            let (shared, read) = (Arc::clone(self), Arc::clone(&read));
            let done = spawn_blocking(move || {
                let (transaction, generation) = shared.begin_read()?;
                read(&transaction).map_err(|failure| (generation, failure))
            });
            match done.await.map_err(|_| StoreError::closed())? {
                Ok(value) => return Ok(value),
                Err((generation, Failure::Closed | Failure::Io(_))) if again => {
                    again = false;
                    let (opened, is_open) = oneshot::channel();
                    self.jobs.send(Job::Reopen { generation, opened }).map_err(|_| StoreError::closed())?;
                    is_open.await.map_err(|_| StoreError::closed())??;
                }
                Err((_, failure)) => return Err(failure.told(self.place.file())),
            }
        }
    }

    /// A transaction that reads, and of which database it is.
    fn begin_read(&self) -> Result<(ReadTransaction, u64), (u64, Failure)> {
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        let database = slot.database.as_ref().ok_or((slot.generation, Failure::Closed))?;
        let transaction = database.begin_read().map_err(|error| (slot.generation, error.into()))?;
        Ok((transaction, slot.generation))
    }

    fn watchers(&self) -> MutexGuard<'_, Watchers> {
        self.watchers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the file that is there, or makes one; migrates it if it is older. Returns what it says of itself, too.
fn opened(place: &Place, options: &Options) -> Result<(Database, Content), StoreError> {
    let newest = migration::newest(options.steps);
    let fault = options.fault.as_ref();
    if !place.file().try_exists()? {
        file::make(place, &Content::empty(newest), fault)?;
        info!(file = %place.file().display(), "an empty store was made");
    }
    let database = file::open(place.file(), fault)?;
    let read = database.begin_read().map_err(|error| Failure::from(error).told(place.file()))?;
    let header = file::header(&read, place.file(), newest)?;
    drop(read);
    if header.format == newest {
        return Ok((database, header));
    }

    let mut content = file::read_all(&database, place.file(), newest)?;
    migration::migrate(&mut content, options.steps).map_err(|reason| file::damaged(place.file(), &reason))?;
    // Its end is only the other file's beginning: nothing was written to it.
    let _ = database.close();
    file::make(place, &content, fault)?;
    info!(file = %place.file().display(), from = header.format, to = newest, "the store was migrated");
    content.buckets.clear();
    Ok((file::open(place.file(), fault)?, content))
}
