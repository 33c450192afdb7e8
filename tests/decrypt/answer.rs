//! What `callgate decrypt` says, checked and in short.

use std::{path::Path, process::Command};

use serde_json::Value;

use crate::voice::{CM, short};

/// What the command said.
#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// Runs `callgate decrypt --json`, with all logs on.
pub fn decrypt(path: &Path, out: &Path) -> Answer {
    let run = Command::new(env!("CARGO_BIN_EXE_callgate"))
        .args(["--log-level", "trace", "decrypt", "--json", "--out"])
        .args([out, path])
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Answer { code: run.status.code().unwrap_or(-1), out: text(&run.stdout), err: text(&run.stderr) }
}

impl Answer {
    /// The exit code, and each stream as `call device direction suite indicator source>destination [ssrcs] authentic/packets`,
    /// with short names, sorted.
    #[track_caller]
    pub fn is(&self, code: i32, rows: &[&str]) -> &Self {
        let mut expected: Vec<_> = rows.iter().map(ToString::to_string).collect();
        expected.sort();
        assert_eq!((self.code, self.rows()), (code, expected), "{}", self.words());
        self
    }

    /// What the command itself says on standard error.
    pub fn words(&self) -> String {
        self.err.lines().filter(|line| line.starts_with("callgate: ")).collect::<Vec<_>>().join("\n")
    }

    pub fn rows(&self) -> Vec<String> {
        if self.out.is_empty() {
            return Vec::new();
        }
        assert_eq!(self.out.matches('\n').count(), 1, "one line: {}", self.out);
        let report: Value = serde_json::from_str(&self.out).expect("one JSON object");
        assert_eq!(report.as_object().unwrap().keys().collect::<Vec<_>>(), ["streams"]);
        let mut rows: Vec<_> = report["streams"].as_array().unwrap().iter().map(row).collect();
        rows.sort();
        rows
    }
}

fn row(stream: &Value) -> String {
    let mut keys: Vec<_> = stream.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected = "authentic call destination device direction indicator packets source ssrcs suite";
    assert_eq!(keys.join(" "), expected);
    let text = |key: &str| stream[key].as_str().unwrap_or_else(|| panic!("{key} in {stream}"));
    let or_dash = |key: &str| if stream[key].is_null() { "-" } else { text(key) };
    let indicator = match text("indicator") {
        "KEYS_AVAILABLE" => "keys",
        "KEYS_UNAVAILABLE" => "unknown",
        "NOT_ENCRYPTED" => "clear",
        other => panic!("{other}"),
    };
    let suite = if or_dash("suite") == CM { "CM" } else { or_dash("suite") };
    let ssrcs: Vec<_> = stream["ssrcs"].as_array().unwrap().iter().map(|ssrc| ssrc.as_str().unwrap()).collect();
    assert!(ssrcs.iter().all(|ssrc| ssrc.len() == 8 && *ssrc == ssrc.to_lowercase()));
    let ssrcs: Vec<_> = ssrcs.iter().map(|ssrc| ssrc.trim_start_matches('0')).collect();
    format!(
        "{} {} {} {suite} {indicator} {}>{} [{}] {}/{}",
        text("call"),
        short(text("device")),
        text("direction"),
        short(or_dash("source")),
        short(text("destination")),
        ssrcs.join(" "),
        stream["authentic"].as_u64().unwrap(),
        stream["packets"].as_u64().unwrap(),
    )
}
