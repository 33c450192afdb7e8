//! Every command that a page shows in a block is run as it stands there, or accounted for.
//!
//! The blocks of a page are taken in their order, in one folder: `sh` blocks are run, `toml` blocks are appended to the
//! config that `callgate init` made, or stand for it if they begin with its path.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "common/pages.rs"]
mod pages;

use std::{
    cell::RefCell,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use pages::{blocks, pages, root};

/// The commands of `callgate` that end by themselves, and what is there afterwards.
const RUN: &[(&str, &[&str])] = &[
    ("callgate cert issue --user recorder", &["callgate/recorder-1.pem", "callgate/recorder-1.key"]),
    ("callgate decrypt call.pcap --json", &["voices"]),
    ("callgate decrypt call.pcap", &["call.voices"]),
    ("callgate device", &[]),
    ("callgate explain", &[]),
    ("callgate init", &["callgate/callgate.toml", "callgate/ca.pem", "callgate/ledger.jsonl"]),
    ("callgate settings", &[]),
    ("callgate user", &[]),
    ("printf", &[]),
];

/// How long a gateway may take to listen, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// Pages whose commands another test runs, since they need more than a folder.
const ELSEWHERE: &[(&str, &str)] =
    &[("docs/API.md", "tests/api_page.rs"), ("docs/OPERATIONS.md", "tests/operations_page.rs")];

#[test]
fn every_command_of_a_page_works() {
    for (page, text) in pages() {
        if let Some((_, test)) = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == page) {
            let test = fs::read_to_string(root().join(test)).unwrap();
            assert!(test.contains(&format!("\"{page}\"")), "nobody runs the commands of {page}");
            continue;
        }
        let folder = Folder::new();
        for block in blocks(&text) {
            match block.language {
                "sh" => {
                    for (number, line) in (block.line..).zip(&block.lines) {
                        let command = line.split(" #").next().unwrap().trim();
                        if !command.is_empty() && !command.starts_with('#') {
                            folder.account(command, &format!("{page}:{number}: `{command}`"));
                        }
                    }
                }
                "toml" => folder.configure(&block.lines.join("\n")),
                _ => {}
            }
        }
    }
}

#[test]
fn the_readme_begins_with_the_demo_and_the_tests() {
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let blocks = blocks(&readme);
    assert_eq!(blocks[0].lines, ["cargo run --release -- demo", "cargo test"]);
}

/// Where the commands of one page are run.
struct Folder {
    folder: tempfile::TempDir,
    /// What `callgate passwd` printed last: a page has dots in its place.
    password: RefCell<String>,
}

/// The recorded call that pages name, and a user's own.
const CAPTURE: &str = "tests/data/asterisk22-basic/call.pcap";
const PASSWORD: &str = "SCRAM-SHA-256$...";

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        fs::create_dir_all(folder.path().join(CAPTURE).parent().unwrap()).unwrap();
        for copy in [CAPTURE, "call.pcap"] {
            fs::copy(root().join(CAPTURE), folder.path().join(copy)).unwrap();
        }
        Self { folder, password: RefCell::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self, settings: &str) {
        let path = self.path("callgate/callgate.toml");
        let settings = settings.replace(PASSWORD, &self.password.borrow());
        let before = match settings.starts_with("# callgate/callgate.toml") {
            true => String::new(),
            false => fs::read_to_string(&path).unwrap(),
        };
        fs::write(&path, format!("{before}\n{settings}\n")).unwrap();
    }

    /// Runs the command, or knows who does.
    fn account(&self, command: &str, place: &str) {
        if command == "rm -r callgate" {
            fs::remove_dir_all(self.path("callgate")).unwrap_or_else(|error| panic!("{place}: {error}"));
        } else if is_for_builders(command) {
            assert!(is_accounted_for(command), "{place}: .ci/run doesn't run it, and what it names is not there");
        } else if command.starts_with("callgate serve") && !command.contains("--check") {
            self.serve(command, place);
        } else if command.starts_with("callgate serve") {
            assert!(self.run(command, place).starts_with("ok "), "{place}");
        } else if command.starts_with("callgate session") {
            let (gateway, _) = self.start("callgate serve --config callgate/callgate.toml", place);
            self.run(command, place);
            stop(gateway, place);
        } else if command.starts_with("callgate watch") {
            self.watch(command, place);
        } else if let Some((_, made)) = RUN.iter().find(|(known, _)| command.starts_with(known)) {
            let said = self.run(command, place);
            if command.contains("callgate passwd") {
                *self.password.borrow_mut() = said.trim().into();
            }
            for name in *made {
                assert!(self.path(name).exists(), "{place} didn't make {name}");
            }
        } else {
            panic!("{place}: this test doesn't know how to run it; teach it");
        }
    }

    fn run(&self, command: &str, place: &str) -> String {
        let output = self.shell("sh").args(["-c", command]).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{place}: {}\n{out}\n{err}", output.status);
        assert!(!out.trim().is_empty(), "{place} says nothing");
        out.into_owned()
    }

    /// A gateway runs until it is told to stop: it must listen on both doors, and then stop in order.
    fn serve(&self, command: &str, place: &str) {
        let (gateway, _) = self.start(command, place);
        stop(gateway, place);
    }

    /// A watcher needs a gateway, and ends by itself only if it is told to.
    fn watch(&self, command: &str, place: &str) {
        let (gateway, log) = self.start("callgate serve --config callgate/callgate.toml", place);
        let door = |name: &str| log.iter().find_map(|line| line.split_once(name)).unwrap().1.trim().to_owned();
        let address =
            door(if command.contains("--password-file") { "door=\"clear\" address=" } else { "door=\"tls\" address=" });
        let end = if command.contains("--count") { "" } else { " --for 1" };
        let command = command.split(" --for ").next().unwrap();
        let said = self.run(&format!("{command} --gateway {address}{end}"), place);
        assert!(said.contains("session"), "{place}: {said}");
        stop(gateway, place);
    }

    /// A gateway that listens on both doors, and what it said until then.
    fn start(&self, command: &str, place: &str) -> (Child, Vec<String>) {
        let mut words = command.split_whitespace();
        let mut gateway =
            self.shell(words.next().unwrap()).args(words).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let stderr = BufReader::new(gateway.stderr.take().unwrap());
        let (lines, said) = mpsc::channel();
        // It reads on when nobody hears it: a gateway whose log is full would stand still.
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(lines.send(line))));

        let (start, mut log, mut doors) = (Instant::now(), Vec::new(), 0);
        while doors < 2 {
            let Ok(line) = said.recv_timeout(PATIENCE.saturating_sub(start.elapsed())) else {
                let _ = gateway.kill();
                panic!("{place} doesn't listen on two doors:\n{}", log.join("\n"));
            };
            doors += usize::from(line.contains("listening door="));
            log.push(line);
        }
        (gateway, log)
    }

    /// `callgate` is the binary of this build, on ports that are free.
    fn shell(&self, program: &str) -> Command {
        let binaries = Path::new(env!("CARGO_BIN_EXE_callgate")).parent().unwrap().to_path_buf();
        let old = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(std::iter::once(binaries).chain(std::env::split_paths(&old))).unwrap();
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env("PATH", path)
            .env("CALLGATE_DOORS__CLEAR", "127.0.0.1:0")
            .env("CALLGATE_DOORS__TLS", "127.0.0.1:0")
            .env("CALLGATE_METRICS__LISTEN", "127.0.0.1:0")
            .env("CALLGATE_ADMIN__LISTEN", "127.0.0.1:0")
            .env_remove("CALLGATE_LOG")
            .stdin(Stdio::null());
        command
    }
}

fn stop(mut gateway: Child, place: &str) {
    let told = Command::new("kill").args(["-TERM", &gateway.id().to_string()]).status().unwrap();
    assert!(told.success(), "{place}");
    let start = Instant::now();
    let status = loop {
        if let Some(status) = gateway.try_wait().unwrap() {
            break status;
        }
        if start.elapsed() > PATIENCE {
            let _ = gateway.kill();
            panic!("{place} doesn't stop");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "{place}: {status}");
}

/// What is for a checkout of the repository, and not for a folder with a capture.
fn is_for_builders(command: &str) -> bool {
    let command = ["UPDATE=1 ", "CALLGATE_LONG=1 "].iter().find_map(|set| command.strip_prefix(set)).unwrap_or(command);
    command.starts_with(".ci/") || command.starts_with("cargo ")
}

/// `.ci/run` runs it, or it is a part of what `.ci/run` does, named so that it can be found.
fn is_accounted_for(command: &str) -> bool {
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap().replace(" --locked", "");
    if [".ci/run", ".ci/long"].contains(&command) || ci.contains(command) {
        return true;
    }
    let words: Vec<&str> = command.split_whitespace().collect();
    let named = |flag: &str| words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1));
    if let Some(example) = named("--example") {
        let tests = fs::read_to_string(root().join("tests/examples.rs")).unwrap();
        return tests.contains(&format!("example(\"{example}\")"));
    }
    match (named("-p"), named("--test"), named("--bench")) {
        (None, Some(test), None) => root().join(format!("tests/{test}.rs")).exists(),
        (None, None, Some(bench)) => {
            ["{}.rs", "{}/main.rs"].iter().any(|path| root().join("benches").join(path.replace("{}", bench)).exists())
        }
        _ => false,
    }
}
