//! The binary, and what it serves, in a process of its own.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use callgate_sdk::client::{Connector, Events, Identity, Roots, Session};
use tempfile::TempDir;

use super::leaks;

pub fn callgate(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"));
    command.current_dir(folder).args(["--log-level", "trace"]).args(arguments).stdin(Stdio::null());
    // Several are served at once.
    command.env("CALLGATE_METRICS__LISTEN", "127.0.0.1:0").env("CALLGATE_ADMIN__LISTEN", "127.0.0.1:0");
    command
}

pub fn capture(call: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(call).join("call.pcap");
    let bytes = fs::read(&path).unwrap();
    for at in (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"inline:")) {
        leaks::watch_key(&BASE64_STANDARD.decode(&bytes[at + 7..at + 47]).unwrap());
    }
    path.to_str().unwrap().into()
}

/// A served gateway with the basic call as its switch.
pub struct Served {
    pub child: Child,
    pub folder: TempDir,
    /// The lines of its log, as they come: a gateway that nobody reads would wait for its reader.
    log: mpsc::Receiver<String>,
    seen: String,
}

impl Served {
    pub fn start(doors: &str) -> Self {
        Self::start_by(doors, |serve| serve)
    }

    /// The same, with `wrap` making the command of the one that serves.
    pub fn start_by(doors: &str, wrap: impl FnOnce(Command) -> Command) -> Self {
        Self::start_call("asterisk22-basic", doors, wrap)
    }

    /// The same with another recorded call of the two phones.
    pub fn start_call(call: &str, doors: &str, wrap: impl FnOnce(Command) -> Command) -> Self {
        let call = capture(call);
        let replay = format!("kind = \"replay\"\ncapture = {call:?}\nspeed = 4.0\ndelay_seconds = 4");
        Self::start_with(doors, &replay, wrap)
    }

    /// The same with another switch, of which these are the settings.
    pub fn start_with(doors: &str, switch: &str, wrap: impl FnOnce(Command) -> Command) -> Self {
        let folder = tempfile::tempdir().unwrap();
        assert!(callgate(folder.path(), &["init", "."]).output().unwrap().status.success());
        let config = format!(
            "{doors}
            [[switch]]\nname = \"pbx\"\n{switch}\npbx = [\"udp:127.0.0.1:15060\", \"udp:127.0.0.1:15070\"]\n
            [[user]]\nname = \"recorder\"\nkind = \"application\"\ndevices = [\"1001\"]\ngroups = [
                \"Standard CTI Enabled\", \"Standard CTI Secure Connection\",
                \"Standard CTI Allow Reception of SRTP Key Material\"]\n
            [[device]]\nname = \"1001\"\naddresses = [\"udp:127.0.0.1:16010\"]\n"
        );
        fs::write(folder.path().join("callgate.toml"), config).unwrap();
        issue(folder.path(), "1");
        let mut serve = wrap(callgate(folder.path(), &["serve", "--config", "callgate.toml"]));
        serve.stdout(Stdio::null());
        Self::run(folder, serve)
    }

    /// Runs what serves in the folder.
    pub fn run(folder: TempDir, mut serve: Command) -> Self {
        let mut child = serve.stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (lines, log) = mpsc::channel();
        thread::spawn(move || {
            let mut line = Vec::new();
            while stderr.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                if lines.send(String::from_utf8(std::mem::take(&mut line)).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self { child, folder, log, seen: String::new() }
    }

    /// The rest of the first log line with `text`, behind it.
    pub fn log_line(&mut self, text: &str) -> String {
        loop {
            let line = self.log.recv().unwrap_or_else(|_| panic!("no {text:?} in {}", self.seen));
            self.seen.push_str(&line);
            if let Some((_, rest)) = line.split_once(text) {
                return rest.trim().into();
            }
        }
    }

    /// Opens a session as the recorder, if only after some tries: a gateway that is short of files can't accept each.
    pub async fn recorder(&self, tls: String) -> (Session, Events) {
        self.instance("1", tls).await
    }

    /// The same as this instance, which has its certificate by [`issue`].
    pub async fn instance(&self, instance: &str, tls: String) -> (Session, Events) {
        let read = |end: &str| fs::read(self.folder.path().join(format!("recorder-{instance}.{end}"))).unwrap();
        let identity = Identity::from_pem(&read("pem"), &read("key")).unwrap();
        let ca = Roots::from_pem(&fs::read(self.folder.path().join("ca.pem")).unwrap()).unwrap();
        let app = Connector::tls(tls, "localhost", identity, ca);
        let began = Instant::now();
        loop {
            match app.open("recorder", instance).await {
                Ok(opened) => return opened,
                Err(error) if began.elapsed() > Duration::from_secs(20) => {
                    let log: String = self.log.try_iter().collect();
                    panic!(
                        "{error}; what it logged since: {}",
                        log.get(log.len().saturating_sub(4_000)..).unwrap_or(&log)
                    );
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// Tells it to stop and waits for the end.
    pub fn stop(self) -> (Option<i32>, String) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.finish()
    }

    /// Waits for the end; what it logged holds no key.
    pub fn finish(mut self) -> (Option<i32>, String) {
        self.seen.extend(self.log.iter());
        let status = self.child.wait().unwrap();
        leaks::assert_no_key("the log of serve", self.seen.as_bytes());
        assert!(!self.seen.contains("response=\""));
        (status.code(), std::mem::take(&mut self.seen))
    }
}

/// Issues a certificate of the recorder, also while the gateway of this folder is served.
pub fn issue(folder: &Path, instance: &str) {
    let issue = ["cert", "issue", "--folder", ".", "--user", "recorder", "--instance", instance];
    assert!(callgate(folder, &issue).output().unwrap().status.success());
}

/// A test that panics leaves no gateway behind: it would keep what it has inherited, a lock for example.
impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// It logs what it does, and not each step: for tests that don't read the log as it comes, so that it
/// doesn't wait for them.
pub fn quiet(serve: &Command) -> Command {
    let mut quiet = Command::new(serve.get_program());
    quiet.args(serve.get_args().map(|argument| if argument == "trace" { OsStr::new("info") } else { argument }));
    quiet.envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
    quiet.current_dir(serve.get_current_dir().unwrap()).stdin(Stdio::null());
    quiet
}

/// The same command under other limits.
pub fn under(limits: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{limits}; exec \"$@\""), "sh"]).arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(command.get_current_dir().unwrap()).stdin(Stdio::null());
    shell
}
