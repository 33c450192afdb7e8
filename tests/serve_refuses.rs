//! What keeps `callgate serve` from starting is named with its setting and with what to do, and what it only warns of is
//! what `--check` warns of, too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use std::{
    fs,
    net::UdpSocket,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use callgate::audit::{AuditLog, Options};
use tempfile::TempDir;

/// A gateway with a feed that listens there and has a password, on doors that are free.
struct Gateway(TempDir);

impl Gateway {
    fn new(listen: &str) -> Self {
        let gateway = Self(tempfile::tempdir().unwrap());
        assert_eq!(gateway.run(&["init"]).0, 0);
        let feed = format!(
            "[[switch]]\nname = \"pbx\"\nkind = \"hep\"\nlisten = \"{listen}\"\nnetworks = [\"192.0.2.0/24\"]\n\
             password_file = \"hep.password\"\npbx = [\"udp:192.0.2.1:5060\"]\n"
        );
        fs::write(gateway.path().join("callgate.toml"), feed).unwrap();
        fs::write(gateway.path().join("hep.password"), "hunter2\n").unwrap();
        gateway.set_mode(0o600);
        gateway
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("callgate")
    }

    /// Of all files that are for the owner only.
    fn set_mode(&self, mode: u32) {
        for name in ["callgate.toml", "ca.key", "gateway.key", "ledger.jsonl", "hep.password"] {
            fs::set_permissions(self.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    /// Its audit log, as a gateway that runs has it open.
    fn audit_log(&self) -> AuditLog {
        let file = |name: &str| self.path().join(name);
        let options = Options::new(file("audit"), file("audit.key"), file("audit-checkpoints.jsonl"));
        AuditLog::open(Options { reserve_bytes: 0, ..options }).unwrap()
    }

    /// Runs to its end: the exit code, and what it said beside its answer, other than what went well on the way.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"));
        command
            .current_dir(self.0.path())
            .args(arguments)
            .env("CALLGATE_DOORS__CLEAR", "127.0.0.1:0")
            .env("CALLGATE_DOORS__TLS", "127.0.0.1:0")
            .env("CALLGATE_METRICS__LISTEN", "127.0.0.1:0")
            .env("CALLGATE_ADMIN__LISTEN", "127.0.0.1:0")
            .env_remove("CALLGATE_LOG")
            .stdin(Stdio::null());
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let said: String = said.split_inclusive('\n').filter(|line| !line.contains("  INFO callgate::")).collect();
        for line in said.lines().filter_map(|line| line.strip_prefix("callgate: ")) {
            let parts: Vec<_> = line.split(": ").filter(|part| part.len() > 12).collect();
            assert!(parts.iter().all(|part| parts.iter().filter(|other| other == &part).count() == 1), "twice: {line}");
        }
        (output.status.code().unwrap(), said)
    }
}

/// The names of the files that `said` warns of, in alphabetical order.
fn warned_of(said: &str) -> Vec<&str> {
    let lines = said.lines().filter(|line| line.contains("others than its owner may read or write the"));
    let names = lines.map(|line| {
        assert!(line.contains("0644") && line.contains("chmod 600"), "{line}");
        let path = line.split([' ', '=', ':']).find(|word| word.starts_with("callgate/")).unwrap();
        Path::new(path).file_name().unwrap().to_str().unwrap()
    });
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

const SERVE: [&str; 3] = ["serve", "--config", "callgate/callgate.toml"];
const CHECK: [&str; 4] = ["serve", "--config", "callgate/callgate.toml", "--check"];
const PRIVATE: [&str; 5] = ["ca.key", "callgate.toml", "gateway.key", "hep.password", "ledger.jsonl"];

#[test]
fn a_feed_s_port_that_is_taken_is_named_and_files_are_warned_of_as_the_check_does() {
    let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let gateway = Gateway::new(&address.to_string());
    let expected = format!(
        "callgate: the switch pbx can't listen for HEP at {address}: Address already in use (os error 98): stop what has UDP \
         port {} there already, such as another gateway (ss -lunp shows it), or write another port as `listen` of the switch, \
         and at the PBX\n",
        address.port()
    );
    let (code, said) = gateway.run(&SERVE);
    assert_eq!((code, said.as_str()), (1, expected.as_str()), "nothing else: all files are private");

    gateway.set_mode(0o644);
    let (code, said) = gateway.run(&SERVE);
    assert!(code == 1 && said.ends_with(&expected), "{said}");
    assert_eq!(warned_of(&said), PRIVATE);
    let (code, said) = gateway.run(&CHECK);
    assert_eq!((code, warned_of(&said)), (0, PRIVATE.to_vec()), "{said}");
    assert!(!said.contains("hunter2"));
}

#[test]
fn a_second_gateway_by_the_same_folder_is_told_that_one_runs() {
    let gateway = Gateway::new("127.0.0.1:0");
    let first = gateway.audit_log();
    let (code, said) = gateway.run(&SERVE);
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("a gateway runs by this folder already: stop that one first"), "{said}");
    drop(first);
}

#[test]
fn a_gateway_without_a_switch_is_warned_of_as_the_check_does() {
    let gateway = Gateway::new("127.0.0.1:0");
    // Its log is another one's, so that it ends by itself.
    let first = gateway.audit_log();
    for (config, told) in [(fs::read_to_string(gateway.path().join("callgate.toml")).unwrap(), 0), (String::new(), 1)] {
        fs::write(gateway.path().join("callgate.toml"), config).unwrap();
        for (arguments, code) in [(&SERVE[..], 1), (&CHECK, 0)] {
            let (ended, said) = gateway.run(arguments);
            assert_eq!(ended, code, "{said}");
            assert_eq!(said.matches("there is no `[[switch]]`, so no call will be seen").count(), told, "{said}");
        }
    }
    drop(first);
}

#[test]
fn a_feed_s_address_that_no_interface_has_is_named() {
    let (code, said) = Gateway::new("192.0.2.77:9060").run(&SERVE);
    let mend = "no address of this machine: write one as `listen` of the switch, or \"0.0.0.0:9060\" for all of them";
    assert!(code == 1 && said.contains("the switch pbx can't listen for HEP at 192.0.2.77:9060"), "{said}");
    assert!(said.contains(mend), "{said}");
}

#[test]
fn a_password_file_that_is_missing_or_empty_is_named_alike_by_serve_and_by_the_check() {
    let gateway = Gateway::new("127.0.0.1:0");
    let file = gateway.path().join("hep.password");
    for (empty, expected) in [
        (true, "no password is in it: write the password alone, on one line of 1 to 256 bytes\n"),
        (
            false,
            "can't be read: No such file or directory (os error 2): write the PBX's capture_password into it, or mend the \
             path\n",
        ),
    ] {
        if empty { fs::write(&file, "") } else { fs::remove_file(&file) }.unwrap();
        let expected = format!("callgate: the switch pbx, `password_file`: callgate/hep.password: {expected}");
        for arguments in [&SERVE[..], &CHECK] {
            assert_eq!(gateway.run(arguments), (2, expected.clone()), "{arguments:?}");
        }
    }
}
