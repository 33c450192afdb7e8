//! A folder to work in, and the binary in the path.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, missing_docs, reason = "a test")]

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub struct Shell(pub tempfile::TempDir);

#[derive(Debug)]
pub struct Answer {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Shell {
    pub fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    /// One in which `callgate init` was run.
    pub fn set_up() -> Self {
        let shell = Self::new();
        shell.ok("callgate init");
        shell
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a line as a person types it.
    pub fn run(&self, line: &str) -> Answer {
        let binaries = Path::new(env!("CARGO_BIN_EXE_callgate")).parent().unwrap().to_path_buf();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(binaries).chain(std::env::split_paths(&path))).unwrap();
        let mut child = Command::new("sh")
            .args(["-c", line])
            .current_dir(self.0.path())
            .env_clear()
            .env("PATH", path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().flush().unwrap();
        let output = child.wait_with_output().unwrap();
        Answer {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// What a line says that must work.
    pub fn ok(&self, line: &str) -> String {
        let answer = self.run(line);
        assert_eq!(answer.code, 0, "{line}: {answer:?}");
        answer.out
    }

    /// How a line fails: the exit code, and what is said beside the answer, of which there is none.
    pub fn fails(&self, line: &str) -> (i32, String) {
        let answer = self.run(line);
        assert_ne!(answer.code, 0, "{line}: {answer:?}");
        assert_eq!(answer.out, "", "{line}");
        (answer.code, answer.err)
    }
}
