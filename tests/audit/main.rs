//! The audit log as it lies on the disk: what it says, what `verify` finds, and what comes of a disk that fails, is full, or
//! of a process that is killed.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code"
)]

#[path = "../common/skipped.rs"]
mod skipped;
#[path = "../common/small_disk.rs"]
mod small_disk;

mod faults;
mod full_disk;
mod keeping;
mod killed;
mod questions;
mod segments;
mod starts;
mod tampering;

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use callgate::audit::{
    AuditKey, AuditLog, Checkpoint, Closed, Flush, Kind, Options, Receiver, Record, Records, Report, Trail,
    checkpoints, verify,
};
use serde_json::Value;
use tempfile::TempDir;

/// A place for a log, with its key and checkpoints.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn options(&self) -> Options {
        options(self.path())
    }

    fn open(&self) -> AuditLog {
        AuditLog::open(self.options()).unwrap()
    }

    fn segments(&self) -> Vec<PathBuf> {
        segments(self.path())
    }

    /// How many segments have begun.
    fn begun(&self) -> usize {
        self.segments().iter().filter(|path| fs::metadata(path).unwrap().len() > 0).count()
    }

    fn lines(&self) -> Vec<String> {
        self.segments().iter().flat_map(|path| lines(path)).collect()
    }

    fn records(&self) -> Vec<Value> {
        records(self.path())
    }

    fn report(&self) -> Report {
        report(self.path())
    }
}

/// A log without room held back, whose disk is tried again at once.
fn options(folder: &Path) -> Options {
    Options {
        flush: Flush::Every(Duration::from_millis(2)),
        reserve_bytes: 0,
        retry: Duration::from_millis(1),
        ..Options::new(folder.join("log"), folder.join("audit.key"), folder.join("checkpoints.jsonl"))
    }
}

fn key(folder: &Path) -> AuditKey {
    AuditKey::read(&folder.join("audit.key")).unwrap()
}

/// All checkpoints, each of which is signed.
fn signed(folder: &Path) -> Vec<Checkpoint> {
    let path = folder.join("checkpoints.jsonl");
    if !path.exists() {
        return Vec::new();
    }
    let signed = checkpoints(&path, &key(folder)).unwrap();
    assert_eq!(signed.others, []);
    signed.checkpoints
}

fn report(folder: &Path) -> Report {
    verify(&folder.join("log"), &key(folder), &signed(folder)).unwrap()
}

/// Every record that counts, once.
fn records(folder: &Path) -> Vec<Value> {
    let mut records = Records::of(&folder.join("log"));
    let mut all = Vec::new();
    while let Some(line) = records.next().unwrap() {
        all.push(serde_json::from_slice(line).unwrap());
    }
    all
}

/// The names of what was written by [`write()`] and [`soon`], in the order of the log.
fn names(records: &[Value]) -> Vec<String> {
    records.iter().filter(|record| record["record"] != "log").map(|record| record["name"].to_string()).collect()
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(folder.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    paths
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// A record of something that is given.
fn write(log: &impl Trail, name: u64) -> Result<(), Closed> {
    log.write(&Record::new(Kind::Administration, &[("verb", "put".into()), ("name", name.into())]))
}

/// A record of something that is so already.
fn soon(log: &impl Trail, name: u64) {
    log.write_soon(&Record::new(Kind::Administration, &[("verb", "remove".into()), ("name", name.into())]));
}

/// A record of a stranger's doing.
fn refuse(log: &impl Trail, cause: &str) {
    log.write_soon(&Record::new(Kind::ConnectionRefused, &[("cause", cause.into())]));
}

/// A key leaves to these sessions of a user.
fn disclose(log: &impl Trail, stream: &str, user: &str, sessions: &[&str]) -> Result<(), Closed> {
    let receivers = |tell: &mut dyn FnMut(Receiver<'_>)| {
        for session in sessions {
            tell(Receiver { session, user, instance: "1", door: "tls" });
        }
    };
    let fields = [
        ("device", "1001".into()),
        ("call", "c1".into()),
        ("stream", stream.into()),
        ("generation", 1_u32.into()),
        ("indicator", "KEYS_AVAILABLE".into()),
        ("fingerprint", "00".into()),
    ];
    log.write(&Record::new(Kind::Disclosed, &fields).to(&receivers))
}

/// Waits for what comes by itself.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Nothing is wrong, and nothing is left to be explained.
fn assert_sound(report: &Report) {
    assert_eq!(report.findings, []);
    assert_eq!(report.found, 0);
    assert!(!report.is_unfinished);
}

/// Many rounds, where somebody has the time for it.
fn long() -> bool {
    std::env::var_os("CALLGATE_LONG").is_some()
}
