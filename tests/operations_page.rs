//! The commands of docs/OPERATIONS.md are run as they stand there, in their order, below a folder that stands for `/`.
//!
//! What needs root is played: `runuser` runs the command as who tests, `useradd` makes nobody, and `systemctl` starts, tells
//! and stops a gateway by what the installed unit says. Blocks of the kind `sh docker` are not run here; what they say of
//! the image and of the gateway is compared with the files that they are about.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test that can't go on has failed")]

mod common;
#[path = "common/pages.rs"]
mod pages;

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use common::served::Served;
use pages::{blocks, root};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair,
};
use tempfile::TempDir;

const PAGE: &str = "docs/OPERATIONS.md";
const FOLDER: &str = "/var/lib/callgate";
const UNIT: &str = "/etc/systemd/system/callgate.service";

/// What needs root, as functions of the shell.
const PLAYED: &str = "\
cargo() { test \"$*\" = 'build --release'; }
useradd() { test \"$(eval echo \\${$#})\" = callgate; }
runuser() { test \"$1 $2 $3\" = '-u callgate --'; shift 3; \"$@\"; }
install() {
  words=$#
  while [ $words -gt 0 ]; do
    case $1 in
      -o | -g) test \"$2\" = callgate; shift 2; words=$((words - 2)) ;;
      *) set -- \"$@\" \"$1\"; shift; words=$((words - 1)) ;;
    esac
  done
  command install \"$@\"
}
";

/// The machine of the page.
struct Machine {
    root: TempDir,
    /// Hears when the gateway is ready, as systemd does.
    notified: UnixDatagram,
    gateway: Option<Served>,
    /// How often the gateway was told to read its config again since it was started.
    reloads: usize,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["usr/local/bin", "etc/systemd/system", "var/lib"] {
            fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let notified = UnixDatagram::bind(root.path().join("notify")).unwrap();
        notified.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self { root, notified, gateway: None, reloads: 0 }
    }

    /// Where a path of the page is.
    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// A line of the page with the paths of this machine.
    fn here(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for folder in ["/usr/local/bin", "/etc/systemd/system", FOLDER] {
            line = line.replace(folder, self.path(folder).to_str().unwrap());
        }
        line.replace("target/release/callgate", env!("CARGO_BIN_EXE_callgate"))
    }

    fn command(&self, program: &str) -> Command {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let own = std::iter::once(self.path("/usr/local/bin"));
        let mut command = Command::new(program);
        command.current_dir(root()).env("PATH", std::env::join_paths(own.chain(std::env::split_paths(&path))).unwrap());
        for door in ["DOORS__CLEAR", "DOORS__TLS", "METRICS__LISTEN", "ADMIN__LISTEN"] {
            command.env(format!("CALLGATE_{door}"), "127.0.0.1:0");
        }
        command.env_remove("CALLGATE_LOG").stdin(Stdio::null());
        command
    }

    /// Runs a command of the page: what it says.
    fn run(&mut self, line: &str) -> String {
        if let Some(verb) = line.strip_prefix("systemctl ") {
            self.systemctl(verb);
            return String::new();
        }
        if line.contains(" cert import ") {
            self.answer_request();
        }
        let output = self.command("sh").args(["-euc", &format!("{PLAYED}{}", self.here(line))]).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{line}: {}\n{out}\n{err}", output.status);
        if line.contains(" cert import ") || line.contains(" cert renew ") {
            self.set_certificate(&out);
        }
        out.into_owned()
    }

    fn systemctl(&mut self, verb: &str) {
        match verb {
            "daemon-reload" => assert!(self.path(UNIT).exists()),
            "enable --now callgate" | "start callgate" => self.start(),
            "reload callgate" => self.reload(),
            "restart callgate" => {
                self.stop();
                self.start();
            }
            "stop callgate" => self.stop(),
            other => panic!("systemctl {other}: teach this test what it does"),
        }
    }

    fn start(&mut self) {
        assert!(self.gateway.is_none(), "one runs");
        let unit = fs::read_to_string(self.path(UNIT)).unwrap();
        let serve = self.here(unit.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap());
        let mut words = serve.split_whitespace();
        let mut serve = self.command(words.next().unwrap());
        serve.args(words).env("NOTIFY_SOCKET", self.root.path().join("notify")).stdout(Stdio::null());
        self.gateway = Some(Served::run(tempfile::tempdir().unwrap(), serve));
        self.reloads = 0;
        self.wait_for("READY=1");
    }

    fn reload(&mut self) {
        let pid = self.gateway.as_ref().unwrap().child.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
        self.reloads += 1;
        self.wait_for("RELOADING=1");
        self.wait_for("READY=1");
    }

    fn stop(&mut self) {
        let (code, log) = self.gateway.take().unwrap().stop();
        assert_eq!(code, Some(0), "{log}");
        assert_eq!(log.matches("rights in effect").count(), self.reloads, "{log}");
        assert!(!log.contains("takes a restart"), "the page says `reload` only of what a reload does: {log}");
        self.wait_for("STOPPING=1");
    }

    fn wait_for(&self, what: &str) {
        let mut told = [0; 1_024];
        while let Ok(len) = self.notified.recv(&mut told) {
            if String::from_utf8_lossy(&told[..len]).lines().any(|line| line == what) {
                return;
            }
        }
        panic!("the gateway didn't tell systemd {what}");
    }

    fn configure(&self, settings: &str) {
        let path = self.path(FOLDER).join("callgate.toml");
        let before = fs::read_to_string(&path).unwrap();
        // Several of these tests may run at once.
        let settings = settings.replace("127.0.0.1:9060", "127.0.0.1:0");
        fs::write(path, format!("{before}\n{settings}\n")).unwrap();
    }

    /// Another CA answers the gateway's request.
    fn answer_request(&self) {
        let folder = self.path(FOLDER);
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(folder.join("other-ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let request = fs::read_to_string(folder.join("next/gateway.csr")).unwrap();
        let mut request = CertificateSigningRequestParams::from_pem(&request).unwrap();
        request.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let answer = request.signed_by(&Issuer::new(params, key)).unwrap();
        fs::write(folder.join("answer.pem"), answer.pem()).unwrap();
    }

    /// Writes what `cert renew` or `cert import` printed into the config.
    fn set_certificate(&self, said: &str) {
        let path = self.path(FOLDER).join("callgate.toml");
        let (before, settings) = (fs::read_to_string(&path).unwrap(), said.split_once("[tls]\n").unwrap().1);
        let (others, tls) = before.split_once("[tls]\n").unwrap();
        let kept: Vec<&str> = tls.lines().skip(2).collect();
        assert!(tls.lines().take(2).map(|line| line.split_once(' ').unwrap().0).eq(["certificate", "key"]), "{tls}");
        let after = format!("{others}[tls]\n{settings}{}\n", kept.join("\n"));
        fs::write(path, after).unwrap();
    }
}

fn page() -> String {
    fs::read_to_string(root().join(PAGE)).unwrap()
}

/// The commands of a block, each on one line.
fn commands(lines: &[&str]) -> Vec<String> {
    let joined = lines.join("\n").replace("\\\n", "");
    joined
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect()
}

#[test]
fn every_command_of_the_page_works_in_its_place() {
    let (page, mut machine, mut said) = (page(), Machine::new(), String::new());
    for block in blocks(&page) {
        match block.language {
            "sh" => {
                for command in commands(&block.lines) {
                    said.push_str(&machine.run(&command));
                }
            }
            "toml" => machine.configure(&block.lines.join("\n")),
            "sh docker" | "yaml" => {}
            other => panic!("{PAGE}:{}: a block of the kind {other:?} is run by nobody", block.line),
        }
    }
    machine.stop();

    // What the commands say that they do is done.
    let mode = |path: &str| fs::metadata(machine.path(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("/usr/local/bin/callgate"), 0o755);
    assert_eq!(mode(FOLDER), 0o700);
    assert_eq!(mode("/var/lib/callgate/store.backup"), 0o600);
    let certificates = machine.run("callgate cert list --folder /var/lib/callgate");
    let state = |app: &str| {
        let line = certificates.lines().find_map(|line| line.strip_prefix(app));
        line.unwrap_or_else(|| panic!("{certificates}")).split_whitespace().next().unwrap().to_owned()
    };
    assert_eq!((&*state("recorder/1"), &*state("recorder/2")), ("revoked", "valid"), "{certificates}");
    let records = machine.run("callgate audit tail --config /var/lib/callgate/callgate.toml -n 100 --json");
    for record in ["\"verb\":\"revoke\"", "\"verb\":\"back up\"", "\"verb\":\"restore\""] {
        assert!(records.contains(record), "{record}: {records}");
    }
}

/// By `--help` nothing is done, but what stands before it has to be known.
#[test]
fn commands_inside_of_the_text_exist_with_their_options() {
    let page = page();
    let text: String = page.split("```").step_by(2).collect();
    let spans = text.split('`').skip(1).step_by(2).map(|span| span.split_whitespace().collect::<Vec<_>>());
    let mut known = 0;
    for words in spans.filter(|words| words.len() > 1 && words[0] == "callgate") {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"));
        let output = command.args(&words[1..]).arg("--help").output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        known += 1;
    }
    assert!(known > 10, "{known}");
}

#[test]
fn what_docker_is_told_is_what_the_image_and_the_unit_have() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let (page, dockerfile, unit) = (page(), read("Dockerfile"), read("deploy/callgate.service"));
    let blocks = blocks(&page);
    let docker: Vec<_> = blocks.iter().filter(|block| block.language == "sh docker").collect();
    let [block] = docker.as_slice() else { panic!("one block is about Docker") };
    let commands = commands(&block.lines);
    assert!(commands.iter().all(|command| command.starts_with("docker ")), "{commands:?}");
    let word_after = |flag: &str| {
        let words = || commands.iter().flat_map(|command| command.split(' '));
        words().zip(words().skip(1)).find(|(word, _)| *word == flag).unwrap().1
    };
    assert!(dockerfile.contains(&format!("USER {}\n", word_after("--user"))));
    let files = commands.iter().find_map(|command| command.split_once("--ulimit nofile=")).unwrap().1;
    assert!(unit.contains(&format!("LimitNOFILE={}\n", files.split(' ').next().unwrap())));
    assert!(dockerfile.contains(&format!("{}/tcp", word_after("-p").split_once(':').unwrap().1)));

    // What the container runs before it serves.
    let init = commands.iter().find_map(|command| command.split_once(" callgate init ")).unwrap().1;
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"));
    let made = command.arg("init").args(init.split(' ')).current_dir(folder.path()).output().unwrap();
    assert!(made.status.success() && Path::exists(&folder.path().join("callgate.toml")), "{made:?}");
}
