//! `callgate audit`, by the real binary, on a log that a gateway would write.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on has failed"
)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use callgate::audit::{AuditLog, Kind, Options, Receiver, Record, Trail};
use serde_json::Value;

/// A folder with the config of `callgate init`, and the log that it names.
struct Shell(tempfile::TempDir);

impl Shell {
    fn new() -> Self {
        let shell = Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
        shell.run("init");
        shell
    }

    fn folder(&self) -> &Path {
        self.0.path()
    }

    fn log(&self) -> AuditLog {
        let file = |name: &str| self.folder().join("callgate").join(name);
        let options = Options::new(file("audit"), file("audit.key"), file("audit-checkpoints.jsonl"));
        AuditLog::open(Options { reserve_bytes: 0, ..options }).unwrap()
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"));
        command.args(arguments.split(' ')).current_dir(self.folder()).env_clear().stdin(Stdio::null());
        command
    }

    /// Exit code, and what is said on standard output and error.
    fn run(&self, arguments: &str) -> (i32, String, String) {
        let output = self.command(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    fn ok(&self, arguments: &str) -> String {
        let (code, out, err) = self.run(arguments);
        assert_eq!(code, 0, "{arguments}: {out}{err}");
        out
    }

    fn json(&self, arguments: &str) -> Vec<Value> {
        self.ok(arguments).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn disclose(log: &AuditLog, call: &str, user: &str, sessions: &[&str]) {
    let receivers = |tell: &mut dyn FnMut(Receiver<'_>)| {
        for session in sessions {
            tell(Receiver { session, user, instance: "1", door: "tls" });
        }
    };
    let fields = [
        ("device", "1001".into()),
        ("call", call.into()),
        ("stream", "m1".into()),
        ("generation", 1_u32.into()),
        ("fingerprint", "4be1c07a95d2f386".into()),
    ];
    log.write(&Record::new(Kind::Disclosed, &fields).to(&receivers)).unwrap();
}

fn withhold(log: &AuditLog, session: &str) {
    let fields = [
        ("session", session.into()),
        ("device", "1001".into()),
        ("stream", "m1".into()),
        ("generation", 1_u32.into()),
        ("rule", "R41".into()),
    ];
    log.write_soon(&Record::new(Kind::Withheld, &fields));
}

/// A log with some records in it.
fn written() -> Shell {
    let shell = Shell::new();
    let log = shell.log();
    disclose(&log, "c1", "recorder", &["s1", "s2"]);
    disclose(&log, "c2", "dashboard", &["s3"]);
    withhold(&log, "s2");
    log.write_soon(&Record::new(
        Kind::ConnectionRefused,
        &[("cause", "\u{1b}[2J\n".into()), ("number", 200_u32.into())],
    ));
    drop(log);
    shell
}

#[test]
fn r21_who_got_which_key_is_answered() {
    let shell = written();
    let said = shell.ok("audit find --device 1001");
    assert!(said.starts_with("TIME "), "{said}");
    assert_eq!(said.lines().count(), 3, "{said}");
    assert!(said.contains("recorder/1") && said.contains("dashboard/1") && !said.contains("s2"), "{said}");
    let found = shell.json("audit find --user recorder --all --json");
    let outcomes: Vec<_> = found.iter().map(|found| (found["session"].as_str(), found["outcome"].as_str())).collect();
    assert_eq!(outcomes, [(Some("s1"), Some("disclosed")), (Some("s2"), Some("withheld"))]);
    assert_eq!(shell.json("audit find --call c2 --json")[0]["user"], "dashboard");
    let (code, out, err) = shell.run("audit find --call c1 --user dashboard --session s2 --instance 1");
    assert_eq!((code, &*out, &*err), (0, "nobody got such a key\n", ""));
    // A slip of the pen is no all-clear.
    let (code, out, err) = shell.run("audit find --user recoder --device 1001");
    assert_eq!((code, &*out), (0, "nobody got such a key\n"));
    assert_eq!(err, "warning: no record of a session or a key has the user \"recoder\": is it right?\n");
    assert_eq!(shell.json("audit find --from 2020 --to 2020-12-31 --json").len(), 0);

    let (code, _, err) = shell.run("audit find");
    assert!(code == 2 && err.contains("--call"), "{err}");
    let (code, _, err) = shell.run("audit find --from yesterday");
    assert!(code == 2 && err.contains("2026-11-29"), "{err}");
}

#[test]
fn r21_the_newest_records_are_shown_and_followed() {
    let shell = written();
    let said = shell.ok("audit tail -n 3");
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[0].contains(" withheld session=s2 device=1001 "), "{said}");
    assert!(lines[1].ends_with(r#" refused cause="\u{1b}[2J\n" number=200"#), "{said}");
    assert!(lines[2].ends_with(" log event=stopped"), "{said}");
    let all = shell.json("audit tail -n 100 --json");
    assert_eq!(all.iter().map(|record| record["n"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);

    let log = shell.log();
    let mut tail =
        shell.command("audit tail -n 0 --follow --json").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines().map(Result::unwrap);
    // Until the follower is there, and then once more.
    let first = std::thread::scope(|scope| {
        let (done, is_done) = std::sync::mpsc::channel();
        let log = &log;
        scope.spawn(move || {
            for call in 0.. {
                disclose(log, &format!("c{call}"), "recorder", &["s1"]);
                if is_done.recv_timeout(std::time::Duration::from_millis(50)).is_ok() {
                    return;
                }
            }
        });
        let first: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
        done.send(()).unwrap();
        first
    });
    let next: Value = serde_json::from_str(&lines.next().unwrap()).unwrap();
    assert_eq!(next["n"].as_u64().unwrap(), first["n"].as_u64().unwrap() + 1);
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn r21_a_log_is_verified_and_what_is_wrong_has_its_place() {
    let shell = written();
    let said = shell.ok("audit verify");
    assert!(said.starts_with("6 records in 1 segment, from 1 to 6\nsigned up to record 6 at 20"), "{said}");
    let told = &shell.json("audit verify --json")[0];
    assert_eq!((&told["sound"], &told["found"], &told["last"]), (&true.into(), &0.into(), &6.into()));

    // A copy, with what was exported.
    let exported = shell.ok("audit checkpoint");
    assert_eq!(exported.lines().count(), 1);
    fs::write(shell.folder().join("exported.jsonl"), &exported).unwrap();
    let copy = "audit verify --log callgate/audit --key callgate/audit.key";
    let (code, _, err) = shell.run(copy);
    assert!(code == 0 && err.contains("no checkpoint covers it"), "{err}");
    assert!(shell.ok(&format!("{copy} --checkpoint exported.jsonl")).contains("signed up to record 6"));

    let segment = shell.folder().join("callgate/audit/audit-0000000001.jsonl");
    let text = fs::read_to_string(&segment).unwrap();
    fs::write(&segment, text.replace("dashboard", "recorder!")).unwrap();
    let (code, out, err) = shell.run("audit verify");
    assert_eq!((code, &*err), (1, "callgate: the log isn't as it was written: 1 finding\n"));
    assert!(out.starts_with("audit-0000000001.jsonl:4: record 3 was changed"), "{out}");
    let (code, out, _) = shell.run("audit verify --json");
    let told: Value = serde_json::from_str(&out).unwrap();
    let finding = &told["findings"][0];
    assert_eq!(code, 1);
    assert_eq!((&finding["line"], &finding["record"], &told["sound"]), (&4.into(), &3.into(), &false.into()));

    let kept: Vec<_> = text.lines().take(4).collect();
    fs::write(&segment, kept.join("\n") + "\n").unwrap();
    let (code, out, _) = shell.run(&format!("{copy} --checkpoint exported.jsonl"));
    assert!(code == 1 && out.contains("the log ends with record 3"), "{out}");
}

#[test]
fn r21_where_no_log_is_nothing_is_said_of_it() {
    let shell = written();
    fs::write(shell.folder().join("exported.jsonl"), shell.ok("audit checkpoint")).unwrap();
    fs::create_dir(shell.folder().join("empty")).unwrap();
    let key = "--key callgate/audit.key";
    let nothing = "there is no audit log here (no segments";
    for (folder, place) in [("callgate", "which is callgate/audit\n"), ("empty", "such as empty/audit\n")] {
        for arguments in [
            format!("audit find --user recorder --log {folder}"),
            format!("audit tail --log {folder}"),
            format!("audit tail --follow --log {folder}"),
            format!("audit verify --log {folder} {key}"),
            format!("audit verify --log {folder} {key} --checkpoint exported.jsonl"),
        ] {
            let (code, out, err) = shell.run(&arguments);
            assert_eq!((code, &*out), (2, ""), "{arguments}: {err}");
            assert!(err.starts_with(&format!("callgate: {folder}: {nothing}")) && err.ends_with(place), "{err}");
            assert_eq!(err.contains("has signed its records up to 6"), arguments.contains("exported"), "{err}");
        }
    }
    // One that never recorded; and the config's own, of which the records are gone.
    fs::remove_file(shell.folder().join("callgate/audit/audit-0000000001.jsonl")).unwrap();
    let (code, out, _) = shell.run("audit verify");
    assert!(code == 1 && out.contains("the log ends with record 0"), "{out}");
    fs::remove_file(shell.folder().join("callgate/audit-checkpoints.jsonl")).unwrap();
    for arguments in ["audit verify", "audit tail", "audit find --user recorder"] {
        let (code, out, err) = shell.run(arguments);
        assert!(code == 2 && out.is_empty() && err.contains(nothing), "{arguments}: {code} {out}{err}");
    }
}

#[test]
fn what_cannot_be_read_is_told_and_ends_with_2() {
    let shell = Shell::new();
    for (arguments, expected) in [
        ("audit verify", "audit.key: No such file"),
        ("audit tail", "callgate/audit: No such file"),
        ("audit find --user x", "callgate/audit: No such file"),
        ("audit checkpoint", "audit.key: No such file"),
        ("audit tail --config nowhere.toml", "nowhere.toml"),
        ("audit verify --key callgate/callgate.toml", "this is no audit key"),
    ] {
        let (code, out, err) = shell.run(arguments);
        assert!(code == 2 && out.is_empty() && err.contains(expected), "{arguments}: {code} {out}{err}");
    }
    drop(shell.log());
    fs::remove_file(shell.folder().join("callgate/audit-checkpoints.jsonl")).unwrap();
    let (code, _, err) = shell.run("audit checkpoint");
    assert!(code == 2 && err.contains("audit-checkpoints.jsonl: No such file"), "{err}");
}
