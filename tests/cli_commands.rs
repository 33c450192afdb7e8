//! The real binary, as an operator uses it: what it writes, what it says, how it ends.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on has failed"
)]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use callgate::{
    directory::ScramVerifier,
    trust::{Ca, Crl, Ledger, Validity},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use time::{Duration, OffsetDateTime};

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
fn r3_certificates_are_issued_listed_and_revoked() {
    let shell = Shell::with_recorder();
    shell.ok(&format!("{ISSUE} --out app --days 30"));
    assert_eq!((shell.mode("app"), shell.mode("app/recorder-1.key")), (0o700, 0o600));
    assert_eq!(fs::read(shell.path("app/ca.pem")).unwrap(), fs::read(shell.path("callgate/ca.pem")).unwrap());
    assert!(!fs::read_to_string(shell.path("app/recorder-1.pem")).unwrap().contains("PRIVATE"));

    let listed = shell.ok("cert list --json");
    let rows: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(
        (&rows[0]["user"], &rows[0]["instance"], &rows[0]["state"], &rows[0]["origin"]),
        (&"recorder".into(), &"1".into(), &"valid".into(), &"issued".into())
    );
    let sha256 = rows[0]["sha256"].as_str().unwrap();
    assert!(shell.ok("cert list").contains(sha256));
    let shown = shell.ok(&format!("cert show {sha256}"));
    assert!(shown.contains("the gateway's own CA") && shown.contains("valid until"), "{shown}");

    let revoke = ["cert", "revoke", "--user", "recorder", "--instance", "1", "--reason", "laptop lost"];
    let said = shell.run_with(&revoke, "", &[]).out;
    assert_eq!(said, format!("revoked {sha256} of recorder/1\n"));
    assert!(shell.ok("cert list").contains("laptop lost"));
    assert!(shell.ok(&format!("cert show {}", sha256.to_ascii_uppercase())).contains("laptop lost"));

    let again = shell.fails("cert revoke --user recorder --instance 1 --reason x");
    assert_eq!(again, (1, "it is revoked already".into()));
    let unknown = shell.fails(&format!("cert revoke --sha256 {} --reason x", "0".repeat(64)));
    assert_eq!(unknown, (1, "the ledger has no such certificate: see `callgate cert list`".into()));
    assert_eq!(shell.run("cert revoke --reason x").code, 2);
}

#[test]
fn r11_the_ca_s_list_of_revoked_certificates_is_made_and_others_can_check_it() {
    let shell = Shell::with_recorder();
    for instance in ["1", "2"] {
        shell.ok(&format!("cert issue --user recorder --instance {instance}"));
    }
    assert!(shell.ok("cert crl").contains(" 0 revoked, "));
    let load = |name| {
        let (crl, ca) = (shell.path(name), shell.path("callgate/ca.pem"));
        Crl::load(&crl, &ca, OffsetDateTime::now_utc()).unwrap()
    };
    let first = load("callgate/ca.crl");
    let revoke = ["cert", "revoke", "--user", "recorder", "--instance", "1", "--reason", "key compromise"];
    assert_eq!(shell.run_with(&revoke, "", &[]).code, 0);
    let said = shell.ok("cert crl --days 7");
    let second = load("callgate/ca.crl");
    assert!(second.number() > first.number(), "{first:?}, {second:?}");
    assert!(said.starts_with("wrote callgate/ca.crl: number ") && said.contains(" 1 revoked, "), "{said}");
    let said: serde_json::Value = serde_json::from_str(&shell.ok("cert crl --out der.crl --der --json")).unwrap();
    assert_eq!((&said["file"], &said["revoked"]), (&"der.crl".into(), &1.into()), "{said}");
    assert_eq!(load("der.crl").revoked(), 1);
    assert_eq!(fs::metadata(shell.path("callgate/ca.crl")).unwrap().permissions().mode() & 0o777, 0o644);

    // Another implementation reads it, too, where there is one.
    let openssl = |arguments: &[&str]| Command::new("openssl").args(arguments).current_dir(shell.path("")).output();
    let read = ["crl", "-in", "callgate/ca.crl", "-CAfile", "callgate/ca.pem", "-noout", "-text"];
    match openssl(&read) {
        Ok(output) => {
            let text = String::from_utf8(output.stdout).unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(said.contains("verify OK"), "{said}");
            assert!(text.contains("Key Compromise") && text.matches("Serial Number:").count() == 1, "{text}");
            let verify = [
                "verify",
                "-CAfile",
                "callgate/ca.pem",
                "-CRLfile",
                "callgate/ca.crl",
                "-crl_check",
                "-purpose",
                "sslclient",
            ];
            let verified = |app: &str| openssl(&[&verify[..], &[app]].concat()).unwrap();
            let (lost, kept) = (verified("callgate/recorder-1.pem"), verified("callgate/recorder-2.pem"));
            assert!(String::from_utf8_lossy(&lost.stderr).contains("certificate revoked"), "{lost:?}");
            assert!(kept.status.success(), "{kept:?}");
        }
        Err(error) => println!("skipped: openssl can't be run: {error}"),
    }

    fs::write(shell.path("callgate/ca.key"), "").unwrap();
    assert_eq!(shell.fails("cert crl").0, 2);
}

#[test]
fn r11_a_certificate_of_another_ca_is_added_listed_and_revoked() {
    const ADD: &str = "cert add --user recorder --instance 7 app.pem";
    let shell = Shell::with_recorder();
    let now = OffsetDateTime::now_utc();
    let validity = Validity::days(now, 30).unwrap();
    let other = Ca::make("Other CA", validity).unwrap();
    fs::write(shell.path("other.jsonl"), "").unwrap();
    let (user, instance) = ("recorder".parse().unwrap(), "7".parse().unwrap());
    let of_other = Ledger::open(shell.path("other.jsonl")).unwrap();
    let issued = other.issue_app(&user, &instance, validity, now, &of_other).unwrap();
    fs::write(shell.path("app.pem"), &issued.certificate_pem).unwrap();

    let unknown = "app.pem: CERTIFICATE_UNKNOWN_ISSUER (501): pem: the certificate's issuer is none of the client CAs\nMend: Use a \
                   certificate that this gateway issued, or add its CA to tls.client_ca.";
    assert_eq!(shell.fails(ADD), (2, unknown.into()));
    fs::write(shell.path("key.pem"), format!("{}{}", issued.certificate_pem, *issued.key_pem)).unwrap();
    let with_key = shell.fails("cert add --user recorder --instance 7 key.pem");
    assert!(with_key.0 == 2 && with_key.1.starts_with("key.pem: a private key is in it"), "{with_key:?}");
    let cas = fs::read_to_string(shell.path("callgate/ca.pem")).unwrap() + other.certificate_pem();
    fs::write(shell.path("callgate/clients.pem"), cas).unwrap();
    let config = shell.path("callgate/callgate.toml");
    let text = fs::read_to_string(&config).unwrap().replace("client_ca = \"ca.pem\"", "client_ca = \"clients.pem\"");
    fs::write(&config, &text).unwrap();
    let missing = shell.fails(ADD);
    assert!(missing.0 == 2 && missing.1.contains("there is no CRL of the certificate's CA here"), "{missing:?}");
    assert!(shell.fails("cert add --user nobody --instance 7 app.pem").1.contains("there is no user \"nobody\""));
    let named = shell.fails("cert add --no-crl --user recorder --instance 8 app.pem");
    assert!(named.1.contains("names another user or instance"), "{named:?}");

    assert!(shell.ok(&format!("{ADD} --no-crl")).starts_with("added for recorder/7 until "));
    assert!(shell.ok("cert list").trim_end().ends_with("  another CA, without CRL"));
    let again = shell.fails(&format!("{ADD} --no-crl"));
    assert!(again.0 == 1 && again.1.contains("ALREADY_EXISTS") && again.1.contains("for recorder/7"), "{again:?}");
    // Once there is a CRL, it can be asked for.
    let crl = other.crl(&[], 1, now, now + Duration::days(1)).unwrap();
    fs::write(shell.path("callgate/other.crl"), crl.to_pem()).unwrap();
    fs::write(&config, text.replace("client_crl = []", "client_crl = [\"other.crl\"]")).unwrap();
    shell.ok(ADD);
    assert!(shell.ok(CHECK).starts_with("ok"));
    let rows: serde_json::Value = serde_json::from_str(&shell.ok("cert list --json")).unwrap();
    let row = &rows[0];
    let expected = (&"imported".into(), &true.into(), &"valid".into());
    assert_eq!((&row["origin"], &row["crl"]["required"], &row["state"]), expected);
    assert_eq!(rows.as_array().unwrap().len(), 1);

    shell.ok("cert revoke --user recorder --instance 7 --reason lost");
    let revoked = shell.fails(ADD);
    assert!(revoked.0 == 1 && revoked.1.contains("ALREADY_EXISTS"), "{revoked:?}");
    // One of our own that the ledger has lost is issued, whatever is said of a CRL.
    let own = Ca::load(&shell.path("callgate/ca.pem"), &shell.path("callgate/ca.key")).unwrap();
    fs::write(shell.path("own.pem"), own.sign_app(&user, &instance, validity).unwrap().certificate_pem).unwrap();
    let said = shell.ok("cert add --user recorder --instance 7 own.pem");
    assert!(said.contains("it is of the gateway's own CA"), "{said}");
    // It is on no list of ours.
    assert!(shell.ok("cert crl").contains(" 0 revoked, "));
}

#[test]
fn cert_issue_knows_its_users_and_overwrites_only_by_force() {
    let unset = Shell::new().fails(ISSUE);
    assert_eq!(unset, (2, UNSET.into()));
    let shell = Shell::with_recorder();
    let (code, error) = shell.fails("cert issue --user nobody --instance 1");
    assert!(code == 1 && error.starts_with("NOT_FOUND (800): there is no user \"nobody\"\nMend: "), "{error}");
    shell.ok(ISSUE);
    let there = "use --force to replace it: callgate/recorder-1.pem: is there already, and nothing is overwritten";
    assert_eq!(shell.fails(ISSUE), (2, there.into()));
    let certificates = || shell.ok("cert list --json").matches("\"sha256\"").count();
    assert_eq!(certificates(), 1);
    shell.ok(&format!("{ISSUE} --force"));
    assert_eq!(certificates(), 2);
    assert_eq!(shell.mode("callgate/recorder-1.key"), 0o600);
    let (code, error) = shell.fails("cert issue --user recorder --instance 2 --days 36500");
    assert_eq!(code, 2);
    assert!(error.contains("would outlive the CA"), "{error}");
    assert_eq!(shell.run("cert issue --user recorder --instance 2 --days 0").code, 2);
}

#[test]
fn a_certificate_that_counts_without_its_files_is_named_to_be_revoked() {
    let shell = Shell::with_recorder();
    fs::create_dir_all(shell.path("callgate/recorder-1.key/in the way")).unwrap();
    let (code, said) = shell.fails(&format!("{ISSUE} --force"));
    let sha256 = said.split_once("--sha256 ").map(|(_, rest)| &rest[..64]).unwrap_or_else(|| panic!("{said}"));
    assert_eq!(code, 1, "{said}");
    shell.ok(&format!("cert revoke --sha256 {sha256} --reason lost"));
}

#[test]
fn cert_issue_leaves_no_foreign_ca_beside_the_certificate() {
    let (shell, other) = (Shell::with_recorder(), Shell::set_up());
    fs::create_dir(shell.path("app")).unwrap();
    fs::set_permissions(shell.path("app"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(other.path("callgate/ca.pem"), shell.path("app/ca.pem")).unwrap();
    let (code, error) = shell.fails(&format!("{ISSUE} --out app"));
    assert_eq!(code, 2, "{error}");
    let expected = "name another folder by --out: app/ca.pem: is there already and is not the CA in callgate/ca.pem";
    assert!(error.starts_with(expected), "{error}");
    assert!(Ledger::open(shell.path("callgate/ledger.jsonl")).unwrap().records().unwrap().is_empty());
    fs::copy(shell.path("callgate/ca.pem"), shell.path("app/ca.pem")).unwrap();
    shell.ok(&format!("{ISSUE} --out app"));
}

#[test]
fn keys_are_not_written_into_a_folder_that_others_may_write_into() {
    let shell = Shell::with_recorder();
    for mode in [0o777, 0o770, 0o702] {
        let name = format!("open{mode:o}");
        fs::create_dir(shell.path(&name)).unwrap();
        fs::set_permissions(shell.path(&name), fs::Permissions::from_mode(mode)).unwrap();
        let expected =
            format!("{name}: others may write into this folder (mode {mode:04o}): chmod go-w, or name another one");
        for command in [format!("init {name}"), format!("{ISSUE} --out {name}"), format!("cert csr --out {name}")] {
            assert_eq!(shell.fails(&command), (2, expected.clone()), "{command}");
        }
        assert_eq!(fs::read_dir(shell.path(&name)).unwrap().count(), 0);
    }
    assert!(Ledger::open(shell.path("callgate/ledger.jsonl")).unwrap().records().unwrap().is_empty());
}

#[test]
fn swapped_unreadable_and_foreign_certificate_files_are_named() {
    let shell = Shell::set_up();
    let config = shell.path("callgate/callgate.toml");
    let text = fs::read_to_string(&config).unwrap();
    let swapped = text
        .replace("certificate = \"gateway.pem\"", "certificate = \"x\"")
        .replace("key = \"gateway.key\"", "key = \"gateway.pem\"")
        .replace("certificate = \"x\"", "certificate = \"gateway.key\"");
    fs::write(&config, swapped).unwrap();
    let expected = "`tls.certificate`: callgate/gateway.key: a private key is in it where a certificate belongs: the two files look swapped";
    assert_eq!(shell.check(), (2, expected.into()));

    for (from, to, expected) in [
        ("key = \"gateway.key\"", "key = \"none.key\"", "`tls.key`: callgate/none.key: can't be read: "),
        (
            "key = \"gateway.key\"",
            "key = \"gateway.pem\"",
            "`tls.key`: callgate/gateway.pem: a certificate is in it where a private key",
        ),
        (
            "key = \"gateway.key\"",
            "key = \"ca.key\"",
            "`tls.certificate` and `tls.key`: callgate/gateway.pem and callgate/ca.key don't belong together: the key is not the certificate's: name the key",
        ),
        (
            "client_ca = \"ca.pem\"",
            "client_ca = \"ledger.jsonl\"",
            "`tls.client_ca`: callgate/ledger.jsonl: there is no certificate in it",
        ),
        ("ledger = \"ledger.jsonl\"", "ledger = \"none\"", "`tls.ledger`: callgate/none: the ledger can't be read: "),
        (
            "ledger = \"ledger.jsonl\"",
            "ledger = \"ca.pem\"",
            "`tls.ledger`: callgate/ca.pem:1: this line of the ledger can't be understood",
        ),
        ("certificate = \"gateway.pem\"", "certificate = \".\"", "`tls.certificate`: callgate/.: can't be read: "),
        (
            "certificate = \"gateway.pem\"",
            "certificate = \"none.pem\"",
            "`tls.certificate`: callgate/none.pem: can't be read: No such file or directory (os error 2): mend the path, or what \
             is there; `callgate init DIR` makes all files of a new gateway",
        ),
    ] {
        fs::write(&config, text.replace(from, to)).unwrap();
        let (code, error) = shell.check();
        assert_eq!(code, 2, "{error}");
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn an_expired_gateway_certificate_is_named_with_its_date() {
    let shell = Shell::set_up();
    let ca = Ca::load(&shell.path("callgate/ca.pem"), &shell.path("callgate/ca.key")).unwrap();
    let past = Validity::days(OffsetDateTime::now_utc() - Duration::days(10), 3).unwrap();
    let gateway = ca.issue_gateway(&[], past).unwrap();
    fs::write(shell.path("callgate/gateway.pem"), &gateway.certificate_pem).unwrap();
    fs::write(shell.path("callgate/gateway.key"), &*gateway.key_pem).unwrap();
    let (code, error) = shell.check();
    let date = past.not_after.date();
    assert_eq!(code, 2);
    assert!(
        error.starts_with(&format!("`tls.certificate`: callgate/gateway.pem: the certificate expired on {date}T")),
        "{error}"
    );
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
    let recorded = include_bytes!("data/asterisk22-basic/call.pcap");
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
fn explain_tells_each_rule_for_a_user_and_a_device_and_what_to_change() {
    let shell = Shell::set_up();
    let config = "
        [[device]]\nname = \"1001\"\naddresses = [\"udp:192.0.2.1:5060\"]
        [[device]]\nname = \"1002\"\nrestricted = true\naddresses = [\"udp:192.0.2.2:5060\"]
        [[user]]\nname = \"recorder\"\ndevices = [\"1001\", \"1002\"]\ngroups = [\"Standard CTI Enabled\",
            \"Standard CTI Secure Connection\", \"Standard CTI Allow Reception of SRTP Key Material\"]
        [[user]]\nname = \"viewer\"\nkind = \"end-user\"\ndevices = [\"1001\"]\ngroups = [\"Standard CTI Enabled\",
            \"Standard CTI Secure Connection\"]";
    fs::write(shell.path("callgate/callgate.toml"), config).unwrap();
    let said = |arguments: &str| shell.ok(&format!("explain --user {arguments}"));

    let text = said("recorder --device 1001");
    assert!(text.contains("Answer: recorder/1 opens no session. On the TLS door: "), "{text}");
    assert!(
        text.contains("NO   R3   ") && text.contains("mend: callgate cert issue --user recorder --instance 1"),
        "{text}"
    );
    shell.ok("cert issue --user recorder --instance 1");
    shell.ok("cert issue --user viewer --instance 1");
    let text = said("recorder --device 1001");
    assert!(text.contains("gets the keys of SRTP streams that it monitors in time."), "{text}");
    for outcome in
        ["KEYS_AVAILABLE (R16)", "KEYS_UNAVAILABLE/MONITORED_LATE", "KEYS_UNAVAILABLE/SWITCH", "NOT_ENCRYPTED"]
    {
        assert!(text.contains(outcome), "{text}");
    }
    assert!(text.contains("-> no session opens"), "the clear door is not its own: {text}");
    assert!(said("recorder --device 1002").contains("opens on the TLS door, and doesn't see 1002."));
    let text = said("viewer --device 1001 --door tls");
    assert!(text.starts_with("viewer, an end user (R6), instance 1"), "{text}");
    assert!(
        text.contains("Answer: viewer/1 opens on the TLS door, sees 1001, and gets no key: USER_NOT_AUTHORIZED (R16).")
    );
    assert!(
        text.contains("mend: callgate user set viewer --add-group 'Standard CTI Allow Reception of SRTP Key Material'   # the SRTP group only with the other two (R8)") && !text.contains("On the clear door"),
        "{text}"
    );

    let text = said("recorder");
    assert!(text.contains("and the devices that it sees") && !text.contains("R13  the device is"), "{text}");
    let expected =
        "Answer: recorder/1 opens on the TLS door, and gets the keys of SRTP streams of devices that it sees";
    assert!(text.contains(expected) && text.contains("Note: 2 devices are the user's"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&said("viewer --json")).unwrap();
    let asked = json["doors"][0]["disclosing"].as_array().unwrap();
    let rules: Vec<_> = asked.iter().map(|said| said["rule"].as_str().unwrap()).collect();
    assert_eq!((&json["device"], rules), (&serde_json::Value::Null, vec!["R16", "R2", "R16"]), "{json}");
    assert!(json["answer"].as_str().unwrap().ends_with("and gets no key: USER_NOT_AUTHORIZED (R16)."), "{json}");
    assert!(said("viewer --door clear").contains("Answer: viewer/1 opens no session on the clear door"));

    let json: serde_json::Value = serde_json::from_str(&said("viewer --device 1001 --json")).unwrap();
    assert_eq!((&json["doors"][0]["opens"], &json["doors"][1]["opens"]), (&true.into(), &false.into()), "{json}");
    assert_eq!(json["doors"][0]["streams"][0]["indicator"], "USER_NOT_AUTHORIZED", "{json}");

    shell.ok("cert revoke --user recorder --instance 1 --reason lost");
    let text = said("recorder --device 1001 --door tls");
    assert!(text.contains("was revoked at") && text.contains("opens no session on the TLS door"), "{text}");
    for (arguments, words) in [
        ("recrder --device 1001", "there is no user \"recrder\""),
        ("recorder --device 1011", "there is no device \"1011\""),
    ] {
        let (exit, error) = shell.fails(&format!("explain --user {arguments}"));
        assert!(exit == 1 && error.contains(words), "{error}");
    }
}

#[test]
fn explain_notes_that_a_device_has_no_addresses_only_where_calls_need_them() {
    let shell = Shell::set_up();
    let config = "[[switch]]\nname = \"sim\"\nkind = \"simulated\"\ndevices = 1\n[[device]]\nname = \"1001\"\n\
                  [[user]]\nname = \"recorder\"\ndevices = [\"sim-00001\", \"1001\"]\n";
    fs::write(shell.path("callgate/callgate.toml"), config).unwrap();
    for (device, expected) in [("sim-00001", false), ("1001", true)] {
        let text = shell.ok(&format!("explain --user recorder --device {device}"));
        assert_eq!(text.contains("has no addresses"), expected, "{text}");
    }
}

#[test]
fn r13_explain_says_how_a_device_gets_a_name_and_what_it_says_works() {
    let unset = Shell::new().fails("explain --user recorder --device 1001");
    assert_eq!(unset, (2, UNSET.into()));
    let shell = Shell::with_recorder();
    shell.ok("cert issue --user recorder --instance 1");
    for address in ["udp:192.0.2.7:5060", "192.0.2.7:5060"] {
        let text = shell.ok(&format!("explain --user recorder --device {address} --door tls"));
        assert!(text.contains("and the device 192.0.2.7:5060\n"), "as the gateway calls it: {text}");
        assert!(text.contains("NO   R13  no device "), "{text}");
        assert!(text.contains("--add-group 'Standard CTI Allow Control of All Devices'"), "{text}");
    }
    let said = shell.ok("explain --user recorder --device 192.0.2.7:5060");
    for command in
        ["device add phone-192.0.2.7 --address 192.0.2.7:5060", "user set recorder --add-device phone-192.0.2.7"]
    {
        assert!(said.contains(&format!("\n  callgate {command}\n")), "{said}");
        shell.ok(command);
    }
    let text = shell.ok("explain --user recorder --device phone-192.0.2.7");
    assert!(text.contains("sees phone-192.0.2.7, and gets the keys of SRTP streams"), "{text}");

    let config = shell.path("callgate/callgate.toml");
    let first = fs::read_to_string(&config).unwrap();
    let switch = "[[switch]]\nname = \"pbx1\"\nkind = \"hep\"\npbx = [\"192.0.2.1:5060\"]";
    fs::write(&config, first + switch).unwrap();
    for (device, words) in [
        ("192.0.2.7:5060", "is an address of the device \"phone-192.0.2.7\""),
        ("192.0.2.1:5060", "is the PBX itself, by `pbx` of the switch \"pbx1\""),
        ("192.0.2.9", "such as 192.0.2.9:5060, or tcp:192.0.2.9:5060"),
    ] {
        let (exit, error) = shell.fails(&format!("explain --user recorder --device {device}"));
        assert!(exit == 2 && error.contains(words), "{error}");
    }
    shell.ok("user set recorder --add-group all-devices");
    let text = shell.ok("explain --user recorder --device tcp:192.0.2.8:5060");
    assert!(text.contains("sees tcp:192.0.2.8:5060, and gets the keys"), "{text}");
}

#[test]
fn r43_explain_knows_names_and_numbers_and_offers_the_nearest() {
    let shell = Shell::new();
    let expected = "CONNECTION_ON_INVALID_PORT (202), rule R10\n";
    for code in ["CONNECTION_ON_INVALID_PORT", "connection_on_invalid_port", "202"] {
        assert!(shell.ok(&format!("explain {code}")).starts_with(expected));
    }
    let json =
        |code: &str| serde_json::from_str::<serde_json::Value>(&shell.ok(&format!("explain {code} --json"))).unwrap();
    assert_eq!((&json("202")["number"], &json("NOT_ENCRYPTED")["rule"]), (&202.into(), &"R17".into()));
    assert!(json("KEYS_UNAVAILABLE")["reasons"].as_array().unwrap().iter().all(|reason| reason["mend"].is_string()));
    let reasons = shell.ok("explain KEYS_UNAVAILABLE");
    assert_eq!(reasons.lines().filter(|line| line.starts_with("KEYS_UNAVAILABLE_")).count(), 6, "{reasons}");
    for indicator in ["KEYS_AVAILABLE", "NOT_ENCRYPTED"] {
        assert_eq!(shell.ok(&format!("explain {indicator}")).lines().count(), 1);
    }
    for (code, near) in
        [("CONECTION_ON_INVALID_PORT", "CONNECTION_ON_INVALID_PORT (202)"), ("revoked", "CERTIFICATE_REVOKED (504)")]
    {
        let (exit, error) = shell.fails(&format!("explain {code}"));
        assert_eq!(exit, 1);
        assert!(error.contains(&format!("the nearest are {near}")), "{error}");
    }
}

#[test]
fn a_gateway_certificate_from_another_ca_is_taken_only_if_all_of_it_is_right() {
    let shell = Shell::set_up();
    shell.ok("cert csr --out other --name gw.example.org");
    assert_eq!(shell.mode("other/gateway.key"), 0o600);
    let (code, error) = shell.fails("cert csr --out other");
    assert_eq!(code, 2, "{error}");
    let said: serde_json::Value = serde_json::from_str(&shell.ok("cert csr --out another --json")).unwrap();
    assert_eq!(said, serde_json::json!({ "key": "another/gateway.key", "request": "another/gateway.csr" }));

    let other = OtherCa::new(&shell.path("other-ca.pem"));
    let request = fs::read_to_string(shell.path("other/gateway.csr")).unwrap();
    other.answer(&request, ExtendedKeyUsagePurpose::ClientAuth, &shell.path("client.pem"));
    other.answer(&request, ExtendedKeyUsagePurpose::ServerAuth, &shell.path("answer.pem"));
    for (certificate, ca, expected) in [
        ("client.pem", "other-ca.pem", "client.pem: the certificate is not for TLS servers"),
        ("callgate/gateway.pem", "other-ca.pem", "callgate/gateway.pem and other/gateway.key don't belong together"),
        ("answer.pem", "callgate/ca.pem", "answer.pem: the certificate does not come from the CA in callgate/ca.pem"),
        ("other/gateway.key", "other-ca.pem", "other/gateway.key: a private key is in it where a certificate belongs"),
    ] {
        let (code, error) = shell.fails(&format!("cert import --out other --certificate {certificate} --ca {ca}"));
        assert_eq!(code, 2);
        assert!(error.starts_with(expected), "{error}");
    }

    fs::create_dir(shell.path("json")).unwrap();
    fs::copy(shell.path("other/gateway.key"), shell.path("json/gateway.key")).unwrap();
    let said: serde_json::Value =
        serde_json::from_str(&shell.ok("cert import --out json --certificate answer.pem --json")).unwrap();
    assert!(said["certificate"].as_str().unwrap().ends_with("/json/gateway.pem"), "{said}");
    assert_eq!(said["chain_checked"], false, "{said}");
    let said = shell.ok("cert import --out other --certificate answer.pem --ca other-ca.pem");
    let settings = said.split_once("[tls]\n").unwrap().1;
    let config = shell.path("callgate/callgate.toml");
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("certificate = \"gateway.pem\"\nkey = \"gateway.key\"\n", settings);
    fs::write(&config, text).unwrap();
    assert!(shell.ok(CHECK).starts_with("ok"));
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
            _ => println!("skipped: there is no {name} here"),
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

/// A CA that isn't Callgate's.
struct OtherCa(Issuer<'static, KeyPair>);

impl OtherCa {
    fn new(path: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(path, params.self_signed(&key).unwrap().pem()).unwrap();
        Self(Issuer::new(params, key))
    }

    fn answer(&self, request: &str, usage: ExtendedKeyUsagePurpose, path: &Path) {
        let mut request = CertificateSigningRequestParams::from_pem(request).unwrap();
        request.params.extended_key_usages = vec![usage];
        fs::write(path, request.signed_by(&self.0).unwrap().pem()).unwrap();
    }
}

#[test]
fn explain_knows_a_rule_from_a_code() {
    for rule in ["R16", "r41a"] {
        let output = Command::new(env!("CARGO_BIN_EXE_callgate")).args(["explain", rule]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains("docs/RULES.md"), "{error}");
    }
}
