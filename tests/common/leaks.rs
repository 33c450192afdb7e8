//! Searches for keys where none may be.

use std::{
    io,
    sync::{Mutex, Once, OnceLock},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

/// Every key that any test of this process puts into a gateway: key and salt one after the other.
static KEYS: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
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

pub fn assert_no_key_in_logs() {
    let logs = logs();
    assert!(logs.contains("TRACE") && logs.contains("logs are kept"), "down to trace level");
    assert_no_key("the logs", logs.as_bytes());
    for digest in ["Digest username", "response=\"", "nonce=\""] {
        assert!(!logs.contains(digest), "a digest header is in the logs");
    }
}

/// Panics if a key that is watched, or half of it, stands in `haystack` as it is, in hex, or in base64.
pub fn assert_no_key(what: &str, haystack: &[u8]) {
    for key in KEYS.lock().unwrap().iter() {
        if let Some(form) = find_key(key, haystack) {
            panic!("a key is in {what}, {form}");
        }
    }
}

/// The form in which `key` stands in `haystack`, if it does.
pub fn find_key(key: &[u8], haystack: &[u8]) -> Option<&'static str> {
    // Master key and salt leave apart; any 12 bytes of them are too many.
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let lower = haystack.to_ascii_lowercase();
    let base64 = |skip: usize| BASE64_STANDARD.encode(&key[skip..]).trim_end_matches('=').to_owned();
    let has = |haystack: &[u8], needle: &[u8]| {
        needle.windows(12).step_by(6).any(|part| haystack.windows(12).any(|window| window == part))
    };
    if has(haystack, key) {
        Some("as it is")
    } else if has(&lower, hex.as_bytes()) {
        Some("in hex")
    } else if (0..3).any(|skip| has(haystack, base64(skip).as_bytes())) {
        Some("in base64")
    } else {
        None
    }
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
