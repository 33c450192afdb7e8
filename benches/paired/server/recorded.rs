//! The audit log, as `callgate serve` keeps it.

use std::path::Path;

use aws_lc_rs::hmac;
use callgate::audit::{AuditLog, Closed, Options, Record, Trail};
use tempfile::TempDir;

/// How much may wait for the disk. It pauses now and then for longer than the usual 16 MiB last with all that a core carries;
/// what is measured is the gateway's work.
const UNFLUSHED: usize = 1024 * 1024 * 1024;

/// An audit log on a disk that must keep up with it: a key that isn't given away would cost less than one that is.
#[derive(Debug)]
pub struct Recorded {
    log: AuditLog,
    _folder: TempDir,
}

impl Recorded {
    /// A new log in a new folder in this one, since servers are started by turns in one lab. The folder goes with the log.
    pub fn into(folder: &Path) -> Self {
        let place = tempfile::tempdir_in(folder).unwrap();
        let [log, key, checkpoints] = ["log", "key", "checkpoints"].map(|name| place.path().join(name));
        // What was written is thrown away soon, or the disk would be full.
        let options =
            Options { keep_segments: Some(2), unflushed_bytes: UNFLUSHED, ..Options::new(log, key, checkpoints) };
        Self { log: AuditLog::open(options).unwrap(), _folder: place }
    }
}

impl Trail for Recorded {
    fn write_all(&self, records: &[Record<'_>]) -> Result<(), Closed> {
        self.log.write_all(records).expect("the disk keeps up with the audit log");
        Ok(())
    }

    fn write_soon(&self, record: &Record<'_>) {
        self.log.write_soon(record);
    }

    fn write_once(&self, mark: &str, record: &Record<'_>) -> Result<(), Closed> {
        self.log.write_once(mark, record)
    }

    fn is_open(&self) -> bool {
        assert!(self.log.is_open(), "the disk keeps up with the audit log");
        true
    }

    fn fingerprint_key(&self) -> Option<&hmac::Key> {
        self.log.fingerprint_key()
    }
}
