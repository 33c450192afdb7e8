//! The file of the checkpoints.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use tracing::warn;

use crate::audit::{
    chain::AuditKey,
    checkpoint::{Checkpoint, Says},
    folder::Lines,
};

/// When there are more lines than this, the older half goes: what proves the end of the log is the newest one.
const MOST: usize = 20_000;

/// The checkpoints of a log, the oldest first.
#[derive(Debug)]
pub(super) struct Checkpoints {
    path: PathBuf,
    lines: usize,
    /// How many bytes of a line without an end the last process has left.
    torn: u64,
}

impl Checkpoints {
    /// Those in this file, which needn't be there, and the newest that says how far the log is whole.
    pub(super) fn open(path: &Path, key: &AuditKey) -> io::Result<(Self, Option<Checkpoint>)> {
        let mut checkpoints = Self { path: path.into(), lines: 0, torn: 0 };
        let mut newest: Option<Checkpoint> = None;
        let mut lines = match Lines::open(path) {
            Ok(lines) => lines,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((checkpoints, None)),
            Err(error) => return Err(error),
        };
        while let Some(line) = lines.next()? {
            if !line.is_whole {
                checkpoints.torn = line.bytes.len() as u64;
                break;
            }
            checkpoints.lines += 1;
            match Checkpoint::read(key, line.bytes) {
                Ok(checkpoint) if checkpoint.says == Says::Whole => {
                    if newest.is_none_or(|newest| newest.head.n <= checkpoint.head.n) {
                        newest = Some(checkpoint);
                    }
                }
                Ok(_) => {}
                Err(why) => warn!(file = %path.display(), line = checkpoints.lines, %why, "a checkpoint doesn't count"),
            }
        }
        Ok((checkpoints, newest))
    }

    /// Adds one, for good.
    pub(super) fn add(&mut self, key: &AuditKey, checkpoint: &Checkpoint) -> io::Result<()> {
        if self.lines >= MOST {
            self.shorten()?;
        }
        let mut line = Vec::new();
        checkpoint.write(key, &mut line);
        let folder = folder(&self.path);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        let mut len = file.metadata()?.len();
        if self.torn > 0 {
            // It was never flushed as a whole, and would spoil this one.
            len = len.saturating_sub(self.torn);
            file.set_len(len)?;
            self.torn = 0;
        }
        if let Err(error) = file.write_all(&line).and_then(|()| file.sync_all()) {
            // Half a line would spoil the next one.
            file.set_len(len)?;
            return Err(error);
        }
        if len == 0 {
            File::open(folder)?.sync_all()?;
        }
        self.lines += 1;
        Ok(())
    }

    /// Keeps the newer half, and the newest line that says where the log begins.
    fn shorten(&mut self) -> io::Result<()> {
        let (mut kept, mut start) = (VecDeque::new(), None);
        let mut lines = match Lines::open(&self.path) {
            // Somebody has moved it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                (self.lines, self.torn) = (0, 0);
                return Ok(());
            }
            lines => lines?,
        };
        while let Some(line) = lines.next()?.filter(|line| line.is_whole) {
            kept.push_back(line.bytes.to_vec());
            if kept.len() > MOST / 2 {
                start = kept.pop_front().filter(|line| line.starts_with(b"{\"start\"")).or(start);
            }
        }
        kept.extend(start);
        let fresh = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        let mut bytes = Vec::new();
        for line in &kept {
            bytes.extend_from_slice(line);
            bytes.push(b'\n');
        }
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(fresh, &self.path)?;
        File::open(folder(&self.path))?.sync_all()?;
        (self.lines, self.torn) = (kept.len(), 0);
        Ok(())
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
