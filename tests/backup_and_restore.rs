//! `callgate backup` and `callgate restore`, by the real binary, around the store of a gateway.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that can't go on has failed")]

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
    sync::{Arc, Mutex},
};

use callgate::{
    admin::{Actor, AdminRecord, Administration, Journal, JournalClosed, Outcome},
    config::Config,
    directory::{Cascade, Change, Of, UserSettings},
    gateway::administration,
};
use common::served::{Served, callgate};
use serde_json::Value;

/// A folder in which `callgate init` was run.
struct Folder(tempfile::TempDir);

/// A log that keeps what it gets.
#[derive(Debug, Default)]
struct Log(Mutex<Vec<AdminRecord>>);

impl Journal for Log {
    fn write(&self, record: &AdminRecord) -> Result<(), JournalClosed> {
        self.0.lock().unwrap().push(record.clone());
        Ok(())
    }

    fn write_soon(&self, record: &AdminRecord) {
        let _ = self.write(record);
    }

    fn write_once(&self, record: &AdminRecord) -> Result<(), JournalClosed> {
        self.write(record)
    }

    fn can_write(&self) -> bool {
        true
    }
}

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
        folder.done("init");
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, arguments: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"));
        command.args(arguments.split(' ')).current_dir(self.path()).env_clear().output().unwrap()
    }

    fn done(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// How it fails: the exit code and what it says.
    fn fails(&self, arguments: &str) -> (i32, String) {
        let output = self.run(arguments);
        assert_eq!(output.stdout, b"", "{arguments}");
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    async fn administration(&self, log: &Arc<Log>) -> Administration {
        let config = Config::load(self.path().join("callgate/callgate.toml")).unwrap();
        let log: Arc<dyn Journal> = Arc::<Log>::clone(log);
        administration(&config, log).await.unwrap()
    }

    async fn change(&self, changes: &[Change]) {
        let administration = self.administration(&Arc::default()).await;
        for change in changes {
            administration.change(&Actor::Local(7), change, Of::Latest, Cascade::Nothing).await.unwrap();
        }
    }
}

fn put(user: &str) -> Change {
    Change::PutUser(user.parse().unwrap(), UserSettings::default())
}

#[tokio::test]
async fn what_was_backed_up_comes_back_and_is_on_record() {
    let folder = Folder::new();
    folder.change(&[put("ann"), put("bob")]).await;
    let out = folder.done("backup store.backup");
    assert!(out.starts_with("store.backup: ") && out.contains(" entries, "), "{out}");
    assert_eq!(fs::metadata(folder.path().join("store.backup")).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, error) = folder.fails("backup store.backup");
    assert_eq!((code, &*error), (2, "callgate: store.backup is there already: --force replaces it\n"));
    let told: Value = serde_json::from_str(&folder.done("backup store.backup --force --json")).unwrap();
    assert_eq!((&told["file"], &told["epoch"]), (&"store.backup".into(), &1.into()));

    folder.change(&[Change::RemoveUser("ann".parse().unwrap()), put("carl")]).await;
    let told = folder.done("restore store.backup --check");
    assert!(told.contains(" would have the ") && told.contains("it is its epoch 2"), "{told}");
    assert!(told.contains("  users back: ann\n") && told.contains("  users gone: carl\n"), "{told}");
    assert!(!told.contains("bob"), "{told}");
    assert_eq!(folder.done("restore store.backup --check"), told, "nothing was changed by it");
    let told: Value = serde_json::from_str(&folder.done("restore store.backup --json")).unwrap();
    assert_eq!((&told["restored"], &told["epoch"]), (&true.into(), &2.into()));
    let difference = serde_json::json!({"kind": "users", "name": "ann", "is": "back"});
    assert!(told["differences"].as_array().unwrap().contains(&difference), "{told}");

    let log = Arc::new(Log::default());
    let administration = folder.administration(&log).await;
    let users: Vec<_> = administration.state().records.users.keys().map(ToString::to_string).collect();
    assert!(users.contains(&"ann".into()) && !users.contains(&"carl".into()), "{users:?}");
    let records = log.0.lock().unwrap().clone();
    let uid = rustix::process::getuid().as_raw();
    let [record] = &records[..] else { panic!("{records:?}") };
    assert_eq!((&*record.verb, &*record.kind, record.outcome), ("restore", "store", Outcome::Done));
    assert_eq!(record.actor, format!("uid:{uid}"));
}

#[tokio::test]
async fn what_can_not_be_is_told_with_what_to_do() {
    let folder = Folder::new();
    let (code, error) = folder.fails("backup b");
    assert_eq!(code, 2);
    assert!(error.contains("there is no store: mend `store.file` in the config"), "{error}");
    assert_eq!(folder.fails("restore b").0, 2);
    assert_eq!(folder.fails("backup b --config nowhere.toml").0, 2);

    let running = folder.administration(&Arc::default()).await;
    for command in ["backup b", "restore b"] {
        let (code, error) = folder.fails(command);
        let expected = if command == "restore b" { (2, "No such file") } else { (1, "stop the gateway first") };
        assert_eq!(code, expected.0, "{error}");
        assert!(error.contains(expected.1), "{error}");
    }
    drop(running);
    folder.done("backup b");
    let running = folder.administration(&Arc::default()).await;
    let (code, error) = folder.fails("restore b");
    assert!(code == 1 && error.contains("another process has it open: stop the gateway first"), "{error}");
    drop(running);

    let whole = fs::read(folder.path().join("b")).unwrap();
    fs::write(folder.path().join("b"), &whole[..whole.len() - 1]).unwrap();
    let (code, error) = folder.fails("restore b");
    assert!(code == 2 && error.starts_with("callgate: nothing was restored: b: line "), "{error}");
    assert!(error.ends_with("this backup can't be used\n"), "{error}");
}

#[test]
fn a_gateway_that_runs_makes_its_backup_and_goes_on() {
    let mut gateway = Served::start("[doors]\nclear = \"127.0.0.1:0\"\ntls = \"127.0.0.1:0\"\n");
    gateway.log_line("listening door=\"tls\"");
    let path = gateway.folder.path().to_owned();
    let done = |arguments: &str| {
        let output = callgate(&path, &arguments.split(' ').collect::<Vec<_>>()).output().unwrap();
        assert!(output.status.success(), "{arguments}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    done("user add ann --folder .");
    let told: Value = serde_json::from_str(&done("backup --config callgate.toml --json store.backup")).unwrap();
    let mode = fs::metadata(path.join("store.backup")).unwrap().permissions().mode() & 0o777;
    assert_eq!((&told["file"], mode), (&"store.backup".into(), 0o600));
    assert_eq!(told["bytes"], fs::metadata(path.join("store.backup")).unwrap().len());
    done("user remove ann --folder .");
    let records = done("audit tail --config callgate.toml --json");
    assert!(records.lines().any(|line| line.contains("\"verb\":\"back up\"")), "{records}");

    // Nothing is left of one that can't be kept.
    let output = callgate(&path, &["backup", "--config", "callgate.toml", "none/store.backup"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr).matches("No such file").count(), 1, "{output:?}");

    let kept = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let files = ["callgate.toml", "callgate.redb", "store.backup", "audit.key", "audit-checkpoints.jsonl"];
    let pid = gateway.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(gateway.child.wait().unwrap().success());
    for file in files {
        fs::copy(path.join(file), kept.path().join(file)).unwrap();
    }
    let mut restore = callgate(kept.path(), &["restore", "--config", "callgate.toml", "--check", "store.backup"]);
    let said = String::from_utf8(restore.output().unwrap().stdout).unwrap();
    assert!(said.contains("  users back: ann\n"), "{said}");
}
