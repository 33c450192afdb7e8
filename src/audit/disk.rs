//! The log's files: written by one `write(2)` per record, flushed by others, and for tests on a disk that fails.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::segment::{file_name, number_of};

/// What is done to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Touch {
    /// A file is made.
    Create,
    /// What was written is flushed to the disk.
    Flush,
    /// A file is removed.
    Remove,
    /// A file gets another name.
    Rename,
    /// Room is held back.
    Reserve,
    /// A file becomes shorter.
    Truncate,
    /// Bytes are written.
    Write,
}

/// A disk that fails, for tests: it is asked before each touch, and its error is the disk's. If the error of a write is of
/// the kind `WriteZero`, half of the bytes are written.
#[derive(Clone)]
pub struct Fault(Arc<dyn Fn(Touch) -> io::Result<()> + Send + Sync>);

impl Fault {
    /// A disk that fails when this does.
    pub fn new(fault: impl Fn(Touch) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(fault))
    }
}

/// The same disk.
impl PartialEq for Fault {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fault")
    }
}

/// The folder of the log.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    folder: PathBuf,
    fault: Option<Fault>,
}

impl Disk {
    pub(super) fn new(folder: &Path, fault: Option<Fault>) -> Self {
        Self { folder: folder.into(), fault }
    }

    /// Makes the folder if it isn't there, for its owner only.
    pub(super) fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)
    }

    /// Makes an empty segment under its name.
    pub(super) fn create(&self, segment: u64) -> io::Result<SegmentFile> {
        self.create_at(self.path(segment))
    }

    /// Makes a segment that has no name yet: [`publish`](Self::publish) gives it one. What was left of such a one is gone.
    pub(super) fn prepare(&self, segment: u64) -> io::Result<SegmentFile> {
        let path = self.unfinished(segment);
        remove(&path)?;
        self.create_at(path)
    }

    /// Gives a prepared segment its name, for good.
    pub(super) fn publish(&self, segment: u64) -> io::Result<()> {
        self.before(Touch::Rename)?;
        fs::rename(self.unfinished(segment), self.path(segment))?;
        self.flush()
    }

    /// Removes what was prepared, and what was left behind by earlier ones.
    pub(super) fn discard_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let is_ours = |path: &Path| number_of(path.file_stem()?.to_str()?);
            if path.extension().is_some_and(|extension| extension == "new") && is_ours(&path).is_some() {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Opens a segment to go on with it.
    pub(super) fn open(&self, segment: u64) -> io::Result<SegmentFile> {
        let file = OpenOptions::new().append(true).open(self.path(segment))?;
        let len = file.metadata()?.len();
        Ok(SegmentFile { file: Arc::new(file), len, reserved: len, fault: self.fault.clone() })
    }

    pub(super) fn remove(&self, segment: u64) -> io::Result<()> {
        self.before(Touch::Remove)?;
        remove(&self.path(segment))
    }

    /// Flushes what the folder says of its files.
    pub(super) fn flush(&self) -> io::Result<()> {
        self.before(Touch::Flush)?;
        File::open(&self.folder)?.sync_all()
    }

    /// How many bytes are free where it is.
    pub(super) fn room(&self) -> io::Result<u64> {
        let disk = statvfs(&self.folder)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    pub(super) fn path(&self, segment: u64) -> PathBuf {
        self.folder.join(file_name(segment))
    }

    fn unfinished(&self, segment: u64) -> PathBuf {
        self.folder.join(file_name(segment) + ".new")
    }

    fn create_at(&self, path: PathBuf) -> io::Result<SegmentFile> {
        self.before(Touch::Create)?;
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path)?;
        Ok(SegmentFile { file: Arc::new(file), len: 0, reserved: 0, fault: self.fault.clone() })
    }

    fn before(&self, touch: Touch) -> io::Result<()> {
        before(self.fault.as_ref(), touch)
    }
}

/// A segment that is written to.
#[derive(Debug)]
pub(super) struct SegmentFile {
    file: Arc<File>,
    /// How long it is, without what a write that failed may have left.
    len: u64,
    /// Up to where it has room of its own on the disk.
    reserved: u64,
    fault: Option<Fault>,
}

/// A segment for who flushes it and holds back room for it, while others write to it.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    file: Arc<File>,
    fault: Option<Fault>,
}

impl SegmentFile {
    /// Appends the bytes by one system call: all of them, or none that stays.
    ///
    /// # Errors
    /// The disk's. If what was written couldn't be taken back, it stands behind the end.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.append(bytes);
        match written {
            Ok(count) if count == bytes.len() => {
                self.len += bytes.len() as u64;
                Ok(())
            }
            short => {
                let cut = before(self.fault.as_ref(), Touch::Truncate).and_then(|()| self.file.set_len(self.len));
                // The truncation gave up the room behind the end, too.
                self.reserved = self.len;
                short.and_then(|_| Err(ErrorKind::WriteZero.into())).map_err(|error| cut.err().unwrap_or(error))
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// How many bytes can be written whatever others do with the disk.
    pub(super) fn room(&self) -> u64 {
        self.reserved.saturating_sub(self.len)
    }

    /// From now on it has room of its own up to here.
    pub(super) fn has_room_to(&mut self, end: u64) {
        self.reserved = end;
    }

    /// Gives up the room behind the end: nothing more is written here.
    pub(super) fn give_up_room(&mut self) {
        self.reserved = self.len;
        // Without success it is room lost until the segment is deleted, and nothing else.
        let _ = before(self.fault.as_ref(), Touch::Truncate).and_then(|()| self.file.set_len(self.len));
    }

    pub(super) fn handle(&self) -> Handle {
        Handle { file: Arc::clone(&self.file), fault: self.fault.clone() }
    }

    fn append(&self, bytes: &[u8]) -> io::Result<usize> {
        match before(self.fault.as_ref(), Touch::Write) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WriteZero => {
                return (&*self.file).write(bytes.get(..bytes.len() / 2).unwrap_or_default());
            }
            Err(error) => return Err(error),
        }
        loop {
            match (&*self.file).write(bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                written => return written,
            }
        }
    }
}

impl Handle {
    /// Flushes what was written so far.
    pub(super) fn flush(&self) -> io::Result<()> {
        before(self.fault.as_ref(), Touch::Flush)?;
        self.file.sync_data()
    }

    /// Holds back room for so many bytes from there on.
    ///
    /// # Errors
    /// The disk's: `StorageFull` if it has no room, `Unsupported` if this file system can't.
    pub(super) fn reserve(&self, from: u64, bytes: u64) -> io::Result<()> {
        before(self.fault.as_ref(), Touch::Reserve)?;
        Ok(fallocate(&*self.file, FallocateFlags::KEEP_SIZE, from, bytes)?)
    }

    /// Whether the file was deleted, by somebody else.
    pub(super) fn is_deleted(&self) -> bool {
        self.file.metadata().is_ok_and(|file| file.nlink() == 0)
    }

    /// Whether it is of this file.
    pub(super) fn is_of(&self, segment: &SegmentFile) -> bool {
        Arc::ptr_eq(&self.file, &segment.file)
    }
}

fn before(fault: Option<&Fault>, touch: Touch) -> io::Result<()> {
    fault.map_or(Ok(()), |fault| (fault.0)(touch))
}

/// Removes a file that may not be there.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
