//! What a test can't look at on this machine.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test, which says what it skips")]

use std::{fs::File, io::Write};

/// Says so: in the test's output, and as a line of the file that `CALLGATE_SKIPPED` names. `.ci/run` tells these lines at its
/// end, since nobody sees what a test prints that passes. `what` is one word.
pub(crate) fn skipped(what: &str, why: &str) {
    let line = format!("{what} {why}\n");
    eprint!("SKIPPED: {line}");
    if let Some(path) = std::env::var_os("CALLGATE_SKIPPED") {
        let mut file = File::options().append(true).create(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}
