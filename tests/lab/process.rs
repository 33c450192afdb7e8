//! A program that a test started: its words are kept, and it ends with the test.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// How long a program may take for what is waited for.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long a program lives if this process dies before it can stop it, in seconds.
const LIFE: &str = "120";

/// A running program.
pub struct Process {
    name: &'static str,
    child: Child,
    said: Arc<(Mutex<String>, Condvar)>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts a program and keeps what it says. `command` says where its standard output goes if it is no text.
    pub fn start(name: &'static str, program: &str, set: impl FnOnce(&mut Command) -> &mut Command) -> Self {
        let mut command = Command::new("timeout");
        command
            .args(["--kill-after=5", LIFE, program])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        set(&mut command);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let said = Arc::<(Mutex<String>, Condvar)>::default();
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            readers.push(read(stdout, Arc::clone(&said)));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.push(read(stderr, Arc::clone(&said)));
        }
        Self { name, child, said, readers }
    }

    /// Waits until it has said `text`, and returns the rest of that line.
    pub fn wait_for(&self, text: &str) -> String {
        let (said, news) = &*self.said;
        let start = Instant::now();
        let mut now = said.lock().unwrap();
        loop {
            if let Some((_, rest)) = now.split_once(text)
                && let Some((rest, _)) = rest.split_once('\n')
            {
                return rest.trim().into();
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            assert!(!left.is_zero(), "{} didn't say {text:?} but:\n{}", self.name, without_keys(&now));
            now = news.wait_timeout(now, left).unwrap().0;
        }
    }

    pub fn runs(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Its last words, as they may be shown.
    pub fn said(&self) -> String {
        without_keys(&self.said.0.lock().unwrap())
    }

    /// Stops it by `signal`, and returns how it ended and all that it said.
    pub fn stop(mut self, signal: &str) -> (ExitStatus, String) {
        self.signal(signal);
        let status = self.end();
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        (status, std::mem::take(&mut self.said.0.lock().unwrap()))
    }

    /// Not the program itself but `timeout`, which hands it on.
    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args([&format!("-{signal}"), &pid]).status();
    }

    fn end(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            // `timeout` kills what doesn't end by itself, some seconds after the signal.
            assert!(start.elapsed() < PATIENCE, "{} doesn't stop", self.name);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.runs() {
            self.signal("TERM");
            self.end();
        }
    }
}

/// Reads to the end, in a thread, so that the program never waits for us.
fn read(from: impl Read + Send + 'static, said: Arc<(Mutex<String>, Condvar)>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while from.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            said.0.lock().unwrap().push_str(&String::from_utf8_lossy(&line));
            said.1.notify_all();
            line.clear();
        }
    })
}

/// The last lines, as they may be shown: PBXs and phones print what they like.
fn without_keys(said: &str) -> String {
    let lines: Vec<_> = said.lines().filter(|line| !line.contains("inline:") && !line.contains("crypto")).collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
