//! What apps have seen, and how far the log had come by then. It is kept in a file, so that it takes no memory.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use callgate::audit::{AuditLog, file_name};
use callgate_wire::v1::SrtpKeys;
use serde::{Deserialize, Serialize};

use crate::common::trail::fingerprint;

/// Which key of what somebody got.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key {
    pub session: String,
    pub user: String,
    pub instance: String,
    pub device: String,
    pub call: String,
    pub stream: String,
    pub generation: u64,
    pub fingerprint: String,
}

/// Where something ends in the log: a segment, and so many bytes of it.
pub type Place = (u64, u64);

/// A line of the file.
#[derive(Serialize, Deserialize)]
enum Line {
    Key(Key, Place),
    /// A session has ended, and whether its app was told so: then it has got all that has left to it.
    End(String, bool),
}

pub struct Seen {
    file: PathBuf,
    lines: Mutex<BufWriter<File>>,
    folder: PathBuf,
    newest: AtomicU64,
    log: Arc<AuditLog>,
}

/// All of it.
#[derive(Default)]
pub struct All {
    pub keys: HashMap<Key, Vec<Place>>,
    pub ends: HashMap<String, bool>,
}

impl Seen {
    pub fn new(folder: &Path, log_folder: &Path, log: Arc<AuditLog>) -> Self {
        let file = folder.join("seen.jsonl");
        let lines = Mutex::new(BufWriter::new(File::create(&file).unwrap()));
        Self { file, lines, folder: log_folder.into(), newest: AtomicU64::new(1), log }
    }

    /// An app has got a key, a moment ago.
    pub fn key(&self, key: Key) {
        let place = self.end_of_log();
        self.write(&Line::Key(key, place));
    }

    pub fn end(&self, session: &str, is_told: bool) {
        self.write(&Line::End(session.into(), is_told));
    }

    /// What records name the key by.
    pub fn fingerprint(&self, suite: &str, keys: &SrtpKeys) -> String {
        fingerprint(&*self.log, suite, keys)
    }

    pub fn all(self) -> All {
        self.lines.into_inner().unwrap().flush().unwrap();
        let mut all = All::default();
        for line in BufReader::new(File::open(self.file).unwrap()).lines() {
            match serde_json::from_str(&line.unwrap()).unwrap() {
                Line::Key(key, place) => all.keys.entry(key).or_default().push(place),
                Line::End(session, is_told) => drop(all.ends.insert(session, is_told)),
            }
        }
        all
    }

    fn write(&self, line: &Line) {
        let mut line = serde_json::to_vec(line).unwrap();
        line.push(b'\n');
        self.lines.lock().unwrap().write_all(&line).unwrap();
    }

    /// Whatever is written by now stands before it.
    fn end_of_log(&self) -> Place {
        let len = |segment| fs::metadata(self.folder.join(file_name(segment))).map(|file| file.len());
        let mut newest = self.newest.load(Ordering::Relaxed);
        while len(newest + 1).is_ok() {
            newest += 1;
        }
        self.newest.fetch_max(newest, Ordering::Relaxed);
        (newest, len(newest).unwrap())
    }
}
