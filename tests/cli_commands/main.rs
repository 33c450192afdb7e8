//! The real binary, as an operator uses it: what it writes, what it says, how it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on has failed"
)]

mod certificates;
mod explain;
#[path = "../common/skipped.rs"]
mod skipped;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use callgate::directory::ScramVerifier;

use skipped::skipped;

/// A folder to work in, and the binary.
struct Shell(tempfile::TempDir);

struct Answer {
    code: i32,
    out: String,
    err: String,
}

impl Shell {
    fn new() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    /// One in which `callgate init` was run.
    fn set_up() -> Self {
        let shell = Self::new();
        shell.ok("init");
        shell
    }

    /// The same with a user that may have keys.
    fn with_recorder() -> Self {
        let shell = Self::set_up();
        shell.ok("user add recorder --group enabled,secure,srtp-keys");
        shell
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &str) -> Answer {
        self.run_with(&arguments.split(' ').collect::<Vec<_>>(), "", &[])
    }

    fn run_with(&self, arguments: &[&str], input: &str, variables: &[(&str, &str)]) -> Answer {
        let mut child = Command::new(env!("CARGO_BIN_EXE_callgate"))
            .args(arguments.iter().filter(|argument| !argument.is_empty()))
            .current_dir(self.0.path())
            .env_clear()
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        Answer {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs on, with temporary files of its own.
    fn start(&self, arguments: &str, out: Stdio) -> Child {
        fs::create_dir_all(self.path("tmp")).unwrap();
        Command::new(env!("CARGO_BIN_EXE_callgate"))
            .args(arguments.split(' ').filter(|argument| !argument.is_empty()))
            .current_dir(self.0.path())
            .env_clear()
            .env("TMPDIR", self.path("tmp"))
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn ok(&self, arguments: &str) -> String {
        let answer = self.run(arguments);
        assert_eq!(answer.code, 0, "{}", answer.err);
        answer.out
    }

    /// How it fails: the exit code and the one line that it says.
    fn fails(&self, arguments: &str) -> (i32, String) {
        let answer = self.run(arguments);
        assert_eq!(answer.out, "");
        let err = answer.err.strip_prefix(STORE).unwrap_or(&answer.err);
        (answer.code, err.strip_prefix("callgate: ").unwrap_or(err).trim_end().into())
    }

    fn check(&self) -> (i32, String) {
        self.fails("serve --config callgate/callgate.toml --check")
    }

    fn mode(&self, name: &str) -> u32 {
        fs::metadata(self.path(name)).unwrap().permissions().mode() & 0o7777
    }
}

/// What a command says beside its answer that does without a gateway.
const STORE: &str = "callgate: no gateway runs: this is about its store, callgate/callgate.redb\n";
/// What it says where nothing is set up.
const UNSET: &str = "run `callgate init` first, or name the folder with --folder or the config with --config: \
                     callgate/callgate.toml: there is no such file";

const CHECK: &str = "serve --config callgate/callgate.toml --check";
const ISSUE: &str = "cert issue --user recorder --instance 1";

#[test]
fn alone_it_prints_help_and_wrong_arguments_end_with_2() {
    let shell = Shell::new();
    let help = shell.ok("");
    for word in ["Usage: callgate", "init", "serve", "passwd", "cert", "explain", "watch", "Exit codes"] {
        assert!(help.contains(word), "{word}");
    }
    for command in ["init", "serve", "explain", "cert issue", "cert revoke", "demo"] {
        let help = shell.ok(&format!("{command} --help"));
        let (own, logs) = help.split_once("\nLogs:\n").unwrap();
        assert!(own.contains("Options:") && !own.contains("--log-level"), "its own options come first: {help}");
        assert!(logs.contains("--log-level") && logs.contains("--log-json"), "{help}");
    }
    assert_eq!(shell.run("no-such-command").code, 2);
    assert_eq!(shell.run("cert issue --user a/b --instance 1").code, 2);
}

#[test]
fn a_log_filter_that_means_nothing_is_refused_with_what_was_meant() {
    let shell = Shell::new();
    for (filter, meant) in [("inof", "info"), ("callgate=debgu", "debug"), ("calgate=debug", "callgate")] {
        for (source, answer) in [
            ("--log-level", shell.run(&format!("--log-level {filter} init"))),
            ("CALLGATE_LOG", shell.run_with(&["init"], "", &[("CALLGATE_LOG", filter)])),
        ] {
            let expected = format!("did you mean {meant:?}? (levels are off, error, warn, info, debug, trace;");
            assert_eq!(answer.code, 2);
            assert!(answer.err.starts_with(&format!("callgate: {source}: ")), "{}", answer.err);
            assert!(answer.err.contains(&expected), "{}", answer.err);
        }
    }
    assert_eq!(fs::read_dir(shell.0.path()).unwrap().count(), 0, "nothing is done before it is right");
    assert_eq!(shell.run_with(&["init"], "", &[("CALLGATE_LOG", "")]).code, 0, "an empty one is none");
}

#[test]
fn init_makes_what_serve_check_takes_and_private_files_private() {
    let shell = Shell::set_up();
    assert_eq!(shell.mode("callgate"), 0o700);
    for name in ["ca.key", "gateway.key", "ledger.jsonl", "callgate.toml"] {
        assert_eq!(shell.mode(&format!("callgate/{name}")), 0o600, "{name}");
    }
    let seeds =
        |said: &str| said.contains("callgate.redb is to be made, and gets 0 users and 0 devices from the config;");
    let Answer { code, out: said, err: warned, .. } = shell.run(CHECK);
    assert_eq!(code, 0, "{warned}");
    assert!(said.starts_with("ok callgate/callgate.toml: 0 switches; ") && seeds(&said), "{said}");
    assert!(warned.starts_with("warning: there is no `[[switch]]`, so no call will be seen"), "{warned}");
    shell.ok("user add recorder --group enabled,secure,all-devices");
    let said = shell.ok(CHECK);
    assert!(said.contains("; users and devices are those of the store ") && !said.contains(" 0 users"), "{said}");
}

#[test]
fn init_overwrites_nothing_and_names_what_is_there() {
    let shell = Shell::new();
    fs::create_dir(shell.path("callgate")).unwrap();
    fs::write(shell.path("callgate/ca.key"), "precious").unwrap();
    fs::write(shell.path("callgate/ledger.jsonl"), "precious").unwrap();
    let expected = "callgate: is set up already: ca.key, ledger.jsonl are there, and nothing is overwritten";
    assert_eq!(shell.fails("init"), (2, expected.into()));
    assert_eq!(fs::read(shell.path("callgate/ca.key")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(shell.path("callgate")).unwrap().count(), 2, "nothing is added either");
}

#[test]
fn r14_passwd_prints_a_line_for_the_config_and_never_the_password() {
    let shell = Shell::set_up();
    let answer = shell.run_with(&["passwd"], "a pencil\n", &[("CALLGATE_LOG", "trace")]);
    assert_eq!(answer.code, 0);
    assert!(!answer.out.contains("pencil") && !answer.err.contains("pencil"));
    let line = answer.out.trim_end();
    let verifier: ScramVerifier = line.parse().unwrap();
    assert_eq!(verifier.iterations(), 65_536);
    let again = ScramVerifier::from_password("a pencil", verifier.salt(), verifier.iterations()).unwrap();
    assert!(again.stored_key().same_as(verifier.stored_key()));

    let config = shell.path("callgate/callgate.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{text}\n[[user]]\nname = \"wallboard\"\npassword = \"{line}\"\n")).unwrap();
    assert!(shell.ok(CHECK).contains("gets 1 user and "));
    fs::write(&config, format!("{text}\n[[user]]\nname = \"wallboard\"\npassword = \"pencil\"\n")).unwrap();
    let (code, error) = shell.check();
    assert_eq!(code, 2);
    assert!(error.contains("run `callgate passwd`") && !error.contains("pencil"), "{error}");

    for (password, expected) in [
        ("\n", "the password is empty"),
        ("pencils\n", "the password: it has 7 characters: from 8 to 256 are allowed"),
        ("a\u{7}\n", "characters that SASLprep (RFC 4013) forbids"),
    ] {
        let answer = shell.run_with(&["passwd"], password, &[]);
        assert_eq!(answer.code, 2);
        assert!(answer.err.contains(expected), "{}", answer.err);
    }
    assert_eq!(shell.run_with(&["passwd", "--iterations", "1"], "a pencil\n", &[]).code, 2);
}

#[test]
fn serve_check_finds_captures_and_names_variables() {
    let shell = Shell::set_up();
    let config = shell.path("callgate/callgate.toml");
    let text = fs::read_to_string(&config).unwrap();
    let switch = "\n[[switch]]\nname = \"pbx1\"\nkind = \"replay\"\ncapture = \"call.pcap\"\n";
    fs::write(&config, format!("{text}{switch}")).unwrap();
    let (code, error) = shell.check();
    assert_eq!(code, 2);
    assert!(error.starts_with("switch pbx1: callgate/call.pcap can't be opened: "), "{error}");
    let capture = shell.path("callgate/call.pcap");
    let recorded = include_bytes!("../data/asterisk22-basic/call.pcap");
    for (bytes, expected) in [
        (&b""[..], "the file is empty"),
        (b"not a capture", "this is no capture"),
        (&recorded[..24], "there is no HEPv3 packet in it"),
    ] {
        fs::write(&capture, bytes).unwrap();
        let (code, error) = shell.check();
        assert_eq!(code, 2);
        assert!(error.starts_with(&format!("switch pbx1: callgate/call.pcap: {expected}")), "{error}");
    }
    fs::remove_file(&capture).unwrap();
    fs::create_dir(&capture).unwrap();
    let folder = "switch pbx1: callgate/call.pcap is a folder: name a capture file";
    assert_eq!(shell.check(), (2, folder.into()));
    fs::remove_dir(&capture).unwrap();
    fs::write(&capture, recorded).unwrap();
    assert!(shell.ok(CHECK).contains("1 switch;"));

    fs::write(&config, format!("{text}{switch}[[user]]\nname = \"recorder\"\n")).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o640)).unwrap();
    let warned = shell.run(CHECK).err;
    for expected in [
        "warning: the user \"recorder\" sees no device",
        "callgate.toml: others than its owner may read or write the config (mode 0640): chmod 600",
    ] {
        assert!(warned.contains(expected), "{warned}");
    }

    let check: Vec<&str> = CHECK.split(' ').collect();
    let answer = shell.run_with(&check, "", &[("CALLGATE_MODE", "non-secure")]);
    assert!(answer.out.ends_with("TLS door closed\n"), "{}", answer.out);
    let answer = shell.run_with(&check, "", &[("CALLGATE_MODE", "open")]);
    assert_eq!(answer.code, 2);
    assert!(answer.err.contains("environment variable CALLGATE_MODE: unknown mode `open`"), "{}", answer.err);
    assert_eq!(shell.run("serve --config none.toml --check").code, 2);
}

#[test]
fn completions_are_scripts_that_the_shell_takes_and_that_know_every_command() {
    let shell = Shell::new();
    let commands = ["serve", "demo", "cert", "explain", "completions"];
    for (name, check) in [("bash", "bash -n"), ("zsh", "zsh -n"), ("fish", "fish --no-execute")] {
        let script = shell.ok(&format!("completions {name}"));
        for command in commands {
            assert!(script.contains(command), "{name} doesn't know {command}");
        }
        fs::write(shell.path(name), &script).unwrap();
        match Command::new("sh").args(["-c", &format!("command -v {name}")]).output() {
            Ok(found) if found.status.success() => {
                let mut checking = Command::new("sh");
                checking.args(["-c", &format!("{check} {name}")]).current_dir(shell.path(""));
                let checked = checking.output().unwrap();
                assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
            }
            _ => skipped(name, "it is not here, and so has not read its completions"),
        }
    }
    assert_eq!(shell.run("completions csh").code, 2);
}

#[test]
fn logs_go_to_standard_error_and_can_be_json() {
    let shell = Shell::set_up();
    let arguments = ["serve", "--check", "--log-json"];
    let answer = shell.run_with(&arguments, "", &[]);
    let logged: serde_json::Value = serde_json::from_str(answer.err.lines().next().unwrap()).unwrap();
    assert_eq!((&logged["level"], &logged["fields"]["message"]), (&"INFO".into(), &"this config is used".into()));
    let quiet = shell.run_with(&arguments, "", &[("CALLGATE_LOG", "error")]);
    assert!(!quiet.err.contains("this config"), "{}", quiet.err);
    let plain = shell.run("serve --check");
    assert!(!plain.err.contains('\u{1b}'), "no colours but on a terminal");
}

#[test]
fn a_reader_that_goes_ends_a_command_without_a_word() {
    let shell = Shell::set_up();
    let commands = ["demo --speed 1000", "demo --speed 1000 --json", "explain 202", "cert csr --out other", CHECK, ""];
    for command in commands {
        let (reader, mut writer) = std::io::pipe().unwrap();
        drop(reader);
        // A process that another test starts right now may have the reader, too, for a moment.
        while writer.write(b" ").is_ok() {}
        let child = shell.start(command, writer.into());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{command}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{command}");
    }
    let kept: Vec<_> = fs::read_dir(shell.path("tmp")).unwrap().map(Result::unwrap).collect();
    assert_eq!(kept.len(), 1, "the demo that was silent until its end");
    assert_eq!(kept[0].metadata().unwrap().permissions().mode() & 0o777, 0o700, "the call in the clear");
}

#[test]
fn a_demo_that_is_told_to_stop_leaves_no_ca_behind() {
    for signal in ["-TERM", "-INT"] {
        let shell = Shell::new();
        let mut child = shell.start("demo --speed 0.1", Stdio::piped());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !lines.next().unwrap().unwrap().starts_with("App dashboard") {}
        assert_eq!(fs::read_dir(shell.path("tmp")).unwrap().count(), 2, "the CA's folder and the voices'");
        for folder in fs::read_dir(shell.path("tmp")).unwrap().map(Result::unwrap) {
            assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{:?}", folder.path());
        }
        assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(fs::read_dir(shell.path("tmp")).unwrap().count(), 0, "{signal}");
    }
}
