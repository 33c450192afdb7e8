//! What redb reads and writes by: the file itself, and for tests a disk that fails.

use std::{fmt, fs::File, io, ops::Bound, sync::Arc};

use redb::{BackendError, DatabaseError, StorageBackend, backends::FileBackend};

/// What is done to the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// What was written is flushed to the disk.
    Flush,
    /// Bytes are read.
    Read,
    /// The file becomes longer or shorter.
    Resize,
    /// Bytes are written.
    Write,
}

/// A disk that fails, for tests: it is asked before each touch, and its error is the disk's.
#[derive(Clone)]
pub struct Fault(Arc<dyn Fn(Touch) -> io::Result<()> + Send + Sync>);

impl Fault {
    /// A disk that fails when this does.
    pub fn new(fault: impl Fn(Touch) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(fault))
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fault")
    }
}

/// The file. Its locks are redb's own, beside the store's: they keep other programs out that know redb only.
#[derive(Debug)]
pub(super) struct Disk {
    file: FileBackend,
    fault: Option<Fault>,
}

impl Disk {
    pub(super) fn new(file: File, fault: Option<Fault>) -> Result<Self, DatabaseError> {
        Ok(Self { file: FileBackend::new(file)?, fault })
    }

    fn before(&self, touch: Touch) -> io::Result<()> {
        self.fault.as_ref().map_or(Ok(()), |fault| (fault.0)(touch))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.before(Touch::Read)?;
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.before(Touch::Resize)?;
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.before(Touch::Flush)?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.before(Touch::Write)?;
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
