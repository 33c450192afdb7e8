//! A disk that is really full: a small file system of its own, which needs root to be mounted.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use tempfile::TempDir;

use crate::skipped::skipped;

/// A file system of a few MiB, gone with this.
pub(crate) struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None`, and it is told, where nothing may be mounted.
    pub(crate) fn new(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "callgate-test"]).arg(folder.path());
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(folder));
        }
        skipped("full-disk", "a file system of a few MiB can't be mounted here: that needs root");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Fills all that is left of the file system of this folder, to the last byte.
pub(crate) fn fill(folder: &Path) -> PathBuf {
    let path = folder.join("filling");
    let mut file = File::options().append(true).create(true).open(&path).unwrap();
    for size in [64 * 1024, 4096, 512, 1] {
        while let Ok(()) = file.write_all(&vec![1; size]) {}
    }
    path
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}
