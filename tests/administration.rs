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
    "user lock",
    "user unlock",
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
fn a_user_and_its_password_are_changed_together_or_not_at_all() {
    let shell = Shell::set_up();
    shell.ok("callgate user add bob --group enabled");
    let bob = || serde_json::from_str::<serde_json::Value>(&shell.ok("callgate user show bob --json")).unwrap();
    let before = bob();
    let (code, error) = shell.fails("echo pencil | callgate user set bob --description new --password");
    assert!(code == 2 && error.contains("password: it has 6 characters: from 8 to 256 are allowed"), "{error}");
    assert_eq!(bob(), before);
    shell.ok("echo 'a long password' | callgate user set bob --description new --password");
    assert_eq!((&bob()["description"], &bob()["has_password"]), (&"new".into(), &true.into()));
    shell.ok("callgate user set bob --description newer");
    assert_eq!(bob()["has_password"], true);
    shell.ok("callgate user set bob --description newest --no-password");
    assert_eq!((&bob()["description"], &bob()["has_password"]), (&"newest".into(), &false.into()));

    shell.ok("callgate account add eva --role reader");
    let (_, error) = shell.fails("echo short | callgate account set eva --description new --password");
    assert!(error.contains("all is changed but the password"), "{error}");
    assert!(shell.ok("callgate account show eva").contains("new"));
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

#[test]
fn a_gateway_that_waits_for_the_store_is_stopped_at_once() {
    let shell = Shell::set_up();
    shell.ok("callgate user list");
    let taken = File::open(shell.path("callgate/audit/audit.lock")).unwrap();
    taken.lock().unwrap();
    for signal in ["-TERM", "-INT"] {
        let mut waits = Command::new(env!("CARGO_BIN_EXE_callgate"));
        waits.args(["serve", "--config", "callgate/callgate.toml"]).current_dir(shell.path(""));
        let mut waits = waits.env_remove("CALLGATE_LOG").stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut log = BufReader::new(waits.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(log.any(|line| line.contains("waiting for another process to give the store back")));
        assert!(Command::new("kill").args([signal, &waits.id().to_string()]).status().unwrap().success());
        // The lock is still taken: who goes on waiting fails.
        let rest: Vec<String> = log.collect();
        assert!(waits.wait().unwrap().success(), "{signal}: {rest:?}");
    }
}

#[test]
fn r38_a_setup_token_is_made_until_there_is_an_administrator() {
    let shell = Shell::set_up();
    let token = shell.ok("callgate account setup-token");
    assert!(token.starts_with("cgsetup_") && token.lines().count() == 1, "{token:?}");
    assert_ne!(shell.ok("callgate account setup-token"), token);
    shell.ok("printf '%s\\n' 'a long password' | callgate account add eva --role administrator --password");
    let (code, said) = shell.fails("callgate account setup-token");
    assert!(code == 1 && said.contains("SETUP_TOKEN_INVALID"), "{said}");
}

#[test]
fn taking_away_what_is_not_there_is_refused_and_changes_nothing() {
    let shell = Shell::set_up();
    for add in [
        "device add 1001 --address udp:192.0.2.7:5060",
        "device add 1002",
        "group add reception --device 1001 --device 1002 --pattern '10*'",
        "user add bob --group enabled,secure --device 1001 --device 1002 --pattern '2*' --own-group reception",
        "account add eva --role reader",
    ] {
        shell.ok(&format!("callgate {add}"));
    }
    let shown = |what: &str| shell.ok(&format!("callgate {what} --json"));
    for (what, change, said) in [
        ("user show bob", "--remove-device nodev", "the user \"bob\" has no device \"nodev\""),
        ("user show bob", "--remove-device 1001 --remove-device 1003", "no device \"1003\"; the nearest is \"1002\""),
        ("user show bob", "--remove-pattern zzz", "has no pattern \"zzz\""),
        ("user show bob", "--remove-own-group recption", "has no own group \"recption\"; the nearest is \"reception\""),
        ("user show bob", "--remove-group srtp-keys", "has no group \"srtp-keys\""),
        ("user show bob", "--description new --remove-device x", "has no device \"x\""),
        ("group show reception", "--remove-device 1003", "the group \"reception\" has no device \"1003\""),
        ("group show reception", "--remove-pattern '20*'", "has no pattern \"20*\""),
        ("account show eva", "--remove-certificate 5f2c", "the account \"eva\" has no certificate \"5f2c\""),
        ("device show 1001", "--remove-address udp:192.0.2.8:5060", "the device \"1001\" has no address"),
        ("device show 1001", "--remove-line 3", "the device \"1001\" has no line \"3\""),
    ] {
        let before = shown(what);
        let set = what.replace(" show ", " set ");
        let (code, error) = shell.fails(&format!("callgate {set} {change}"));
        assert!(code == 2 && error.contains(said) && error.contains("nothing is changed"), "{change}: {error}");
        assert_eq!(shown(what), before, "{change}");
    }
    assert!(!shell.fails("callgate user set bob --remove-device nodev").1.contains("nearest"), "none is near");
    let devices = "--remove-device 1001 --remove-device 1002";
    shell.ok(&format!("callgate user set bob {devices} --remove-own-group reception --remove-group secure"));
    let bob: serde_json::Value = serde_json::from_str(&shown("user show bob")).unwrap();
    assert_eq!((&bob["devices"], &bob["own_groups"]), (&serde_json::json!([]), &serde_json::json!([])), "{bob}");
}

#[test]
fn a_device_is_named_whatever_characters_its_name_has() {
    let shell = Shell::set_up();
    shell.ok("callgate device add 'Hall, left'");
    shell.ok("callgate device add 1001");
    shell.ok("callgate group add hall --device 'Hall, left' --device 1001");
    shell.ok("callgate user add bob --device 'Hall, left' --device 1001");
    shell.ok("callgate user set bob --remove-device 'Hall, left'");
    shell.ok("callgate user set bob --add-device 'Hall, left' --remove-device 1001");
    let devices = |what: &str| {
        let shown: serde_json::Value = serde_json::from_str(&shell.ok(&format!("callgate {what} --json"))).unwrap();
        shown["devices"].clone()
    };
    assert_eq!(devices("group show hall"), serde_json::json!(["1001", "Hall, left"]));
    assert_eq!(devices("user show bob"), serde_json::json!(["Hall, left"]));
}

#[test]
fn lists_show_only_what_is_asked_for() {
    let shell = Shell::set_up();
    shell.ok("callgate group add 'floor 2'");
    shell.ok("callgate user add ann --own-group 'floor 2' --group enabled");
    shell.ok("callgate user add bob --kind end-user");
    for (filter, names) in [
        ("", &["ann", "bob"][..]),
        ("--group enabled", &["ann"]),
        ("--group 'Standard CTI Enabled'", &["ann"]),
        ("--group 'floor 2'", &["ann"]),
        ("--group secure", &[]),
        ("--group nobody", &[]),
    ] {
        let listed = shell.ok(&format!("callgate user list {filter} --json"));
        let listed: Vec<serde_json::Value> = serde_json::from_str(&listed).unwrap();
        assert_eq!(listed.iter().map(|user| user["name"].as_str().unwrap()).collect::<Vec<_>>(), names, "{filter}");
    }
}

#[test]
fn r38_the_settings_are_shown_with_and_without_a_gateway() {
    let shell = Shell::set_up();
    let shown = shell.ok("callgate settings");
    for part in ["mixed", "clear at 127.0.0.1:2748", "days left", "each user on its own", "sessions of a user"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let gateway = Gateway::start(&shell);
    let settings: serde_json::Value = serde_json::from_str(&shell.ok("callgate settings --json")).unwrap();
    assert_eq!(settings["doors"]["clear"], "127.0.0.1:0", "those of the gateway that runs: {settings}");
    gateway.stop();
}

#[test]
fn r13_brackets_in_a_pattern_are_warned_of_where_they_are_no_address() {
    let shell = Shell::set_up();
    let patterns =
        [("'sim-0000[1-3]'", true), ("'{a,b}'", true), ("'sim-*'", false), ("'udp:[2001:db8::*]:5060'", false)];
    for (number, (pattern, warned)) in patterns.into_iter().enumerate() {
        let answer = shell.run(&format!("callgate group add g{number} --pattern {pattern}"));
        assert_eq!((answer.code, answer.out), (0, format!("the group \"g{number}\" is added\n")));
        assert_eq!(answer.err.contains("only * (any number of characters) and ? (one)"), warned, "{pattern}");
    }
}

#[test]
fn r43_a_wrong_address_is_refused_with_a_right_one() {
    let (code, error) = Shell::set_up().fails("callgate device add 1001 --address foo");
    assert!(code == 2 && error.contains("such as udp:192.0.2.7:5060"), "{error}");
}

#[test]
fn r3_a_certificate_is_meant_by_its_first_digits() {
    let shell = Shell::set_up();
    shell.ok("callgate user add recorder --group enabled,secure");
    shell.ok("callgate user add beta --group enabled,secure");
    for app in ["recorder --instance 2", "recorder --instance 1", "beta --instance 1"] {
        shell.ok(&format!("callgate cert issue --user {app}"));
    }
    let listed = shell.ok("callgate cert list");
    let apps: Vec<&str> = listed.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(apps, ["beta/1", "recorder/1", "recorder/2"]);
    let rows: serde_json::Value = serde_json::from_str(&shell.ok("callgate cert list --user beta --json")).unwrap();
    let (start, _) = rows[0]["sha256"].as_str().unwrap().split_at(12);
    assert!(shell.ok(&format!("callgate cert show {start}...")).contains("beta"));
    assert!(shell.ok(&format!("callgate cert revoke --sha256 {start} --reason lost")).contains(" of beta/1"));
    let shown = shell.ok(&format!("callgate cert show {}", start.to_ascii_uppercase()));
    let at = shown.lines().find(|line| line.starts_with("revoked at")).unwrap();
    assert!(!at.contains('.') && at.ends_with('Z'), "{at}");
    for wrong in ["5f2", "nonsense", "'5f2c... '"] {
        for command in ["show", "revoke --reason lost --sha256"] {
            let (code, error) = shell.fails(&format!("callgate cert {command} {wrong}"));
            assert!(code == 2 && error.contains("is no SHA-256 of a certificate"), "{error}");
        }
    }
    let none: String = start.chars().rev().chain(start.chars()).collect();
    let (code, error) = shell.fails(&format!("callgate cert show {none}"));
    assert!(code == 1 && error.contains("begins with"), "{error}");
}

#[test]
fn closing_sessions_of_nobody_says_that_none_was_open() {
    let shell = Shell::set_up();
    let gateway = Gateway::start(&shell);
    let said = shell.ok("callgate session close --user nobody");
    assert_eq!(said, "no session of nobody was open\n");
    assert_eq!(shell.ok("callgate session list --door tls --instance 1"), "no session is open\n");
    assert_eq!(shell.ok("callgate session close --user nobody --instance 2"), "no session of nobody/2 was open\n");
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
