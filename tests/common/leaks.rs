//! Searches for keys where none may be.

use std::{
    fmt::Write as _,
    io,
    sync::{Arc, Mutex, Once, OnceLock, PoisonError},
};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE},
};
use bytes::Bytes;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Master key and salt leave apart, and pieces of them: any 12 bytes of a key are found.
const WINDOW: usize = 10;
const STEP: usize = 3;

/// Every key that any test of this process puts into a gateway: key and salt one after the other.
static KEYS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
/// The search for as many of them as there were when it was made.
static SEARCH: Mutex<Option<(usize, Arc<Search>)>> = Mutex::new(None);
static LOGS: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();

/// From now on `key` is searched for.
pub fn watch_key(key: &[u8]) {
    KEYS.lock().unwrap().push(key.to_vec());
}

/// Keeps all that is logged, down to trace level, of our own code and of all libraries.
pub fn watch_logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        LOGS.set(Mutex::default()).unwrap();
        tracing_subscriber::fmt().with_env_filter(EnvFilter::new("trace")).with_ansi(false).with_writer(Kept).init();
        tracing::trace!("logs are kept");
    });
}

/// What was logged until now.
pub fn logs() -> String {
    String::from_utf8_lossy(&LOGS.get().unwrap().lock().unwrap()).into_owned()
}

/// How much memory the logs take here.
pub fn logged_bytes() -> usize {
    LOGS.get().unwrap().lock().unwrap().capacity()
}

/// How many lines were logged that have all these parts.
pub fn logged_lines(parts: &[&str]) -> usize {
    let logs = LOGS.get().unwrap().lock().unwrap();
    let has = |line: &&[u8]| str::from_utf8(line).is_ok_and(|line| parts.iter().all(|part| line.contains(part)));
    logs.split(|byte| *byte == b'\n').filter(has).count()
}

pub fn assert_no_key_in_logs() {
    // The bytes as they are: a key in them need not be text.
    let logs = LOGS.get().unwrap().lock().unwrap().clone();
    assert_no_key("the logs", &logs);
    let logs = String::from_utf8_lossy(&logs);
    assert!(logs.contains("TRACE") && logs.contains("logs are kept"), "down to trace level");
    for digest in ["Digest username", "response=\"", "nonce=\""] {
        assert!(!logs.contains(digest), "a digest header is in the logs");
    }
}

/// Panics if 12 bytes of a key that is watched stand in `haystack`, in any of the forms that keys are printed in.
pub fn assert_no_key(what: &str, haystack: &[u8]) {
    if let Some(form) = search().find(haystack) {
        panic!("a key is in {what}, {form}");
    }
}

/// The form in which `key` stands in `haystack`, if it does.
pub fn find_key(key: &[u8], haystack: &[u8]) -> Option<&'static str> {
    Search::of(&[key.to_vec()]).find(haystack)
}

/// The search for all keys of now. It is made anew only when there are more of them.
fn search() -> Arc<Search> {
    let keys = KEYS.lock().unwrap().clone();
    // Whoever found a key has panicked outside of this lock; a poisoned one holds what it held.
    let mut kept = SEARCH.lock().unwrap_or_else(PoisonError::into_inner);
    match &*kept {
        Some((count, search)) if *count == keys.len() => Arc::clone(search),
        _ => {
            let search = Arc::new(Search::of(&keys));
            *kept = Some((keys.len(), Arc::clone(&search)));
            search
        }
    }
}

/// One pass over the haystack for all pieces of all keys in all forms.
struct Search {
    pieces: AhoCorasick,
    forms: Vec<&'static str>,
}

impl Search {
    fn of(keys: &[Vec<u8>]) -> Self {
        let (forms, pieces): (Vec<_>, Vec<_>) = keys.iter().flat_map(|key| pieces(key)).unzip();
        // The longest of those that begin first: a key as it is isn't taken for the few letters in it.
        let pieces = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(pieces).unwrap();
        Self { pieces, forms }
    }

    fn find(&self, haystack: &[u8]) -> Option<&'static str> {
        self.pieces.find(haystack).map(|found| self.forms[found.pattern().as_usize()])
    }
}

/// What is searched for to find `key`.
fn pieces(key: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut pieces = Vec::new();
    let last = key.len().saturating_sub(WINDOW);
    for at in (0..last).step_by(STEP).chain([last]) {
        pieces.extend(forms(&key[at..key.len().min(at + WINDOW)]));
    }
    // Whatever stands before the key, one of three ways to group its bytes is the one in the text.
    for skip in 0..3 {
        for text in [BASE64_STANDARD.encode(&key[skip..]), BASE64_URL_SAFE.encode(&key[skip..])] {
            let text = text.trim_end_matches('=').as_bytes();
            pieces.extend(text.windows(12).step_by(4).map(|piece| ("in base64", piece.to_vec())));
        }
    }
    pieces
}

/// The ways in which bytes are printed, for all bytes of a piece.
fn forms(piece: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut forms = vec![
        ("as it is", piece.to_vec()),
        ("in escapes", piece.escape_ascii().to_string().into_bytes()),
        ("in escapes", unquoted(&format!("{:?}", Bytes::copy_from_slice(piece)))),
        ("as numbers", listed(piece, ", ", ToString::to_string)),
        ("as numbers", listed(piece, ",", ToString::to_string)),
        ("as numbers", listed(piece, " ", ToString::to_string)),
    ];
    for separator in ["", " ", ":", "-", ",", ", ", "\\x", ", 0x"] {
        forms.push(("in hex", listed(piece, separator, |byte| format!("{byte:02x}"))));
        forms.push(("in hex", listed(piece, separator, |byte| format!("{byte:02X}"))));
    }
    // `{:x?}` doesn't pad.
    forms.push(("in hex", listed(piece, ", ", |byte| format!("{byte:x}"))));
    forms.push(("in hex", listed(piece, ", ", |byte| format!("{byte:X}"))));
    // What isn't UTF-8 is lost there; a piece that keeps little could be anybody's.
    let lossy = String::from_utf8_lossy(piece);
    let kept = lossy.trim_matches(char::REPLACEMENT_CHARACTER);
    if kept.chars().filter(|c| *c != char::REPLACEMENT_CHARACTER).count() >= WINDOW / 2 {
        forms.push(("as broken text", kept.as_bytes().to_vec()));
    }
    forms
}

fn listed(piece: &[u8], separator: &str, print: impl Fn(&u8) -> String) -> Vec<u8> {
    let mut text = String::new();
    for (i, byte) in piece.iter().enumerate() {
        write!(text, "{}{}", if i == 0 { "" } else { separator }, print(byte)).unwrap();
    }
    text.into_bytes()
}

/// `b"..."` without the quotes.
fn unquoted(debug: &str) -> Vec<u8> {
    debug.as_bytes()[2..debug.len() - 1].to_vec()
}

struct Kept;

impl<'a> MakeWriter<'a> for Kept {
    type Writer = KeptWriter;

    fn make_writer(&'a self) -> KeptWriter {
        KeptWriter
    }
}

struct KeptWriter;

impl io::Write for KeptWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOGS.get().unwrap().lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
