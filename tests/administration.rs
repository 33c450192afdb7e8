//! The commands that administer, by the real binary: every example of their help is run as it stands there, where no gateway
//! runs and beside one that does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "common/shell.rs"]
mod shell;

use std::{
    collections::BTreeSet,
    fs::File,
    io::{BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    time::Duration,
};

use shell::Shell;

/// Every command of these, in an order in which each finds what it is about.
const COMMANDS: &[&str] = &[
    "device add",
    "group add",
    "user add",
    "account setup-token",
    "account add",
    "device list",
    "device show",
    "group list",
    "group show",
    "user list",
    "user show",
    "account list",
    "account show",
    "account token add",
    "account token list",
    "device set",
    "device restrict",
    "device unrestrict",
    "group set",
    "user set",
    "account set",
    "account disable",
    "account token remove",
    "account remove",
    "user remove",
    "group remove",
    "device remove",
];

/// What is about things that only a test of its own has: sessions that are open.
const ELSEWHERE: &[&str] = &["session list", "session show", "session close"];

/// The lines of a command's help that are examples.
fn examples(shell: &Shell, command: &str) -> Vec<String> {
    let help = shell.ok(&format!("callgate {command} --help"));
    let (_, examples) = help.split_once("Example").unwrap_or_else(|| panic!("{command} has no example"));
    let lines = examples.lines().skip(1).take_while(|line| !line.is_empty());
    lines.map(|line| line.trim().to_owned()).collect()
}

/// The commands below one, and below them.
fn commands_below(shell: &Shell, command: &str) -> Vec<String> {
    let help = shell.ok(&format!("callgate {command} --help"));
    let Some((_, listed)) = help.split_once("\nCommands:\n") else { return vec![command.into()] };
    let names = listed.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
    let names: Vec<&str> = names.filter_map(|line| line.split_whitespace().next()).collect();
    names.iter().flat_map(|name| commands_below(shell, &format!("{command} {name}"))).collect()
}

#[test]
fn every_command_is_known_to_this_test() {
    let shell = Shell::new();
    let known: BTreeSet<String> = COMMANDS.iter().chain(ELSEWHERE).map(|command| (*command).into()).collect();
    let there: BTreeSet<String> = ["user", "group", "device", "session", "account"]
        .iter()
        .flat_map(|name| commands_below(&shell, name))
        .collect();
    // These share their examples with the first of them.
    let shared = ["account enable", "account unlock"].map(String::from);
    assert_eq!(there.difference(&known).cloned().collect::<Vec<_>>(), shared);
}

/// Runs every example of every command, in their order.
fn run_all(shell: &Shell, is_well: impl Fn(&str, &shell::Answer)) {
    for command in COMMANDS {
        for example in examples(shell, command) {
            let answer = shell.run(&example);
            assert_eq!(answer.code, 0, "{example}: {answer:?}");
            assert!(!answer.out.is_empty() || example.contains(" > "), "{example} says nothing");
            assert!(!answer.out.contains('\u{1b}'), "no colours but on a terminal: {answer:?}");
            if example.contains("--json") {
                serde_json::from_str::<serde_json::Value>(&answer.out).unwrap();
            }
            is_well(&example, &answer);
        }
    }
}

#[test]
fn every_example_works_where_no_gateway_runs() {
    let shell = Shell::set_up();
    run_all(&shell, |example, answer| {
        let expected = "callgate: no gateway runs: this is about its store, callgate/callgate.redb\n";
        assert_eq!(answer.err, expected, "{example}");
    });
}

#[test]
fn every_example_works_beside_a_gateway_that_runs() {
    let shell = Shell::set_up();
    let gateway = Gateway::start(&shell);
    run_all(&shell, |example, answer| assert_eq!(answer.err, "", "{example}"));
    gateway.stop();
}

/// People take their time to type: neither other commands nor a gateway wait for them.
#[test]
fn a_command_that_waits_for_a_password_keeps_nobody_waiting() {
    let shell = Shell::set_up();
    for command in ["user add dashboard", "user set dashboard", "account add eva --role reader", "account set eva"] {
        let mut waits = Command::new(env!("CARGO_BIN_EXE_callgate"));
        waits.args(command.split(' ')).arg("--password").current_dir(shell.path(""));
        let mut waits = waits.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut input = waits.stdin.take().unwrap();
        for _ in 0..5 {
            shell.ok("callgate user list");
        }
        input.write_all(b"a long password\n").unwrap();
        assert!(waits.wait().unwrap().success(), "{command}");
    }
    assert!(shell.ok("callgate account show eva").contains("it has one"));
    let (code, said) = shell.fails("callgate account set eva");
    assert!(code == 2 && said.contains("say what to change"), "{said}");
}

#[test]
fn a_gateway_that_starts_waits_for_a_command_that_has_the_store() {
    let shell = Shell::set_up();
    shell.ok("callgate user list");
    // As the command does for as long as it takes.
    let taken = File::open(shell.path("callgate/audit/audit.lock")).unwrap();
    taken.lock().unwrap();
    let giving_back = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        drop(taken);
    });
    let gateway = Gateway::start(&shell);
    giving_back.join().unwrap();
    let serve = "CALLGATE_DOORS__CLEAR=127.0.0.1:0 CALLGATE_DOORS__TLS=127.0.0.1:0 timeout 5 callgate serve";
    let (code, said) = shell.fails(serve);
    assert!(
        code == 1 && said.contains("another process writes this log"),
        "a gateway isn't waited for: {code}, {said}"
    );
    gateway.stop();
}

/// A gateway that runs.
struct Gateway(Child);

impl Gateway {
    fn start(shell: &Shell) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"));
        for (variable, value) in [
            ("CALLGATE_DOORS__CLEAR", "127.0.0.1:0"),
            ("CALLGATE_DOORS__TLS", "127.0.0.1:0"),
            ("CALLGATE_METRICS__LISTEN", "closed"),
            ("CALLGATE_ADMIN__LISTEN", "closed"),
        ] {
            command.env(variable, value);
        }
        let folder = shell.path("");
        command.args(["serve", "--config", "callgate/callgate.toml"]).current_dir(folder).env_remove("CALLGATE_LOG");
        let mut gateway = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(gateway.stderr.take().unwrap()).lines();
        let listens = log.by_ref().map(Result::unwrap).any(|line| line.contains("listening at a unix socket"));
        assert!(listens, "it ended");
        // It reads on: a gateway whose log is full would stand still.
        std::thread::spawn(move || log.for_each(drop));
        Self(gateway)
    }

    fn stop(mut self) {
        assert!(Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap().success());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
