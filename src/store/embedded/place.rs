//! Where an embedded store is: its file, and the files beside it.
//!
//! | File | What it is |
//! | --- | --- |
//! | `NAME` | the store |
//! | `NAME.lock` | empty; who has it locked has the store open |
//! | `NAME.new` | a store that is being made. It becomes `NAME` by a rename when it is whole; what a crash leaves is removed |
//! | `NAME.ballast` | room that is held back |
//!
//! The lock has a file of its own, since `NAME` is another file after a restore.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::statvfs;

use super::super::StoreError;

/// The paths of a store.
#[derive(Debug, Clone)]
pub(super) struct Place {
    file: PathBuf,
    folder: PathBuf,
}

/// The store is ours until this goes.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

/// That the file is closed isn't enough: a process that is just being started has it, too, for a moment.
impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

impl Place {
    /// That of a store with this file.
    pub(super) fn new(file: &Path) -> Self {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self { file: file.into(), folder: folder.into() }
    }

    /// The folder that the store's file is in.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The store's file.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// A store that is being made.
    pub(super) fn fresh(&self) -> PathBuf {
        self.beside(".new")
    }

    /// The room that is held back.
    pub(super) fn ballast(&self) -> PathBuf {
        self.beside(".ballast")
    }

    /// Makes the folder if it isn't there, and takes the store for this process. What a crash has left is removed.
    pub(super) fn take(&self) -> Result<Lock, StoreError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let file = private().create(true).truncate(false).open(self.beside(".lock"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse(self.file.clone())),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        remove(&self.fresh())?;
        Ok(Lock { file })
    }

    /// Puts the new file in the place of the store's, for good.
    pub(super) fn replace(&self) -> io::Result<()> {
        fs::rename(self.fresh(), &self.file)?;
        self.flush()
    }

    /// Flushes what the folder says of its files.
    pub(super) fn flush(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    /// How many bytes are free where it is.
    pub(super) fn room(&self) -> io::Result<u64> {
        let disk = statvfs(&self.folder)?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.file.file_name().map_or_else(OsString::new, OsString::from);
        name.push(ending);
        self.file.with_file_name(name)
    }
}

/// To open files that are for their owner only.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Removes a file that may not be there.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
