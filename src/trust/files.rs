//! Writing files whole or not at all, and private ones for the owner's eyes only.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand;

use super::TrustError;

/// What to do if the file is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Leave it alone and fail.
    Keep,
    /// Replace it.
    Replace,
}

/// Makes a folder for private files (0700), or takes one that is there and that nobody else can write into.
///
/// # Errors
/// [`TrustError::SharedFolder`], [`TrustError::OthersFolder`], [`TrustError::Unwritable`].
pub fn make_folder(path: &Path) -> Result<(), TrustError> {
    let unwritable = |cause| TrustError::Unwritable { path: path.into(), cause };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unwritable)?;
    own_folder(path)
}

/// Checks that a folder is ours, and that nobody else can write into it.
///
/// # Errors
/// [`TrustError::SharedFolder`], [`TrustError::OthersFolder`], [`TrustError::Unreadable`].
pub fn own_folder(path: &Path) -> Result<(), TrustError> {
    let metadata = fs::metadata(path).map_err(|cause| TrustError::Unreadable { path: path.into(), cause })?;
    let (owner, user, mode) = (metadata.uid(), rustix::process::geteuid().as_raw(), metadata.mode() & 0o7777);
    if owner != user {
        return Err(TrustError::OthersFolder { path: path.into(), owner, user });
    }
    if mode & 0o022 != 0 {
        return Err(TrustError::SharedFolder { path: path.into(), mode });
    }
    Ok(())
}

/// Writes a file that everybody may read (0644), whole or not at all, and flushes it to disk.
///
/// # Errors
/// [`TrustError::Exists`], [`TrustError::Unwritable`].
pub fn write_public(path: &Path, bytes: &[u8], existing: Existing) -> Result<(), TrustError> {
    write(path, bytes, 0o644, existing)
}

/// Writes a file that only its owner may read (0600, from the moment it is made), whole or not at all, and flushes it to
/// disk.
///
/// # Errors
/// [`TrustError::Exists`], [`TrustError::Unwritable`].
pub fn write_private(path: &Path, bytes: &[u8], existing: Existing) -> Result<(), TrustError> {
    write(path, bytes, 0o600, existing)
}

fn write(path: &Path, bytes: &[u8], mode: u32, existing: Existing) -> Result<(), TrustError> {
    let unwritable = |cause| TrustError::Unwritable { path: path.into(), cause };
    let temporary = beside(path)?;
    let written = write_new(&temporary, bytes, mode).and_then(|()| match existing {
        Existing::Replace => fs::rename(&temporary, path),
        // A link, unlike a rename, fails if the name is taken, also if it was taken a moment ago.
        Existing::Keep => fs::hard_link(&temporary, path),
    });
    if existing == Existing::Keep || written.is_err() {
        // What is left behind if this fails is a temporary file with the right mode.
        let _ = fs::remove_file(&temporary);
    }
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(TrustError::Exists { path: path.into() }),
        Err(error) => Err(unwritable(error)),
        Ok(()) => sync_folder(path).map_err(unwritable),
    }
}

fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A new name in the same folder, so that a rename stays within the file system.
pub(super) fn beside(path: &Path) -> Result<PathBuf, TrustError> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| TrustError::Randomness)?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{:016x}.new", u64::from_be_bytes(random)));
    Ok(path.with_file_name(name))
}

/// Makes the name itself durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_have_their_mode_are_whole_and_are_not_overwritten_by_accident() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        write_private(&path, b"one", Existing::Keep).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(matches!(write_private(&path, b"two", Existing::Keep), Err(TrustError::Exists { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write_private(&path, b"two", Existing::Replace).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        write_public(&folder.path().join("a.pem"), b"", Existing::Keep).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "no temporary file is left");
    }
}
