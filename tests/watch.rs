//! `callgate watch` with the real binary, against a gateway that is served as an operator would serve it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    process::{Child, ChildStdout, Command, Output, Stdio},
};

use common::{
    leaks,
    served::{Served, callgate},
    skipped::skipped,
};
use serde_json::Value;
use tempfile::TempDir;

const TLS_ONLY: &str = "[doors]\nclear = \"closed\"\ntls = \"127.0.0.1:0\"";

struct Gateway {
    served: Served,
    address: String,
}

impl Gateway {
    fn start() -> Self {
        let mut served = Served::start(TLS_ONLY);
        let address = served.log_line("door=\"tls\" address=");
        Self { served, address }
    }

    /// The command as the user recorder.
    fn watch(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"));
        command
            .current_dir(self.served.folder.path())
            .args(["watch", "--folder", ".", "--gateway", &self.address, "--user", "recorder"])
            .args(arguments)
            .env_remove("CALLGATE_LOG")
            .stdin(Stdio::null());
        command
    }
}

fn said(output: &Output) -> String {
    leaks::assert_no_key("what watch says", &output.stdout);
    leaks::assert_no_key("what watch says beside it", &output.stderr);
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn json_has_an_object_for_each_event_and_never_a_key() {
    let gateway = Gateway::start();
    let output = gateway.watch(&["--json", "--count", "5"]).output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<_> = objects.iter().map(|object| object["seen"].as_str().unwrap()).collect();
    assert_eq!(seen, ["opened", "monitored", "call", "call", "call", "media_opened", "media_opened"]);
    let media = &objects[5];
    for (name, value) in [
        ("device", "1001"),
        ("direction", "SENT"),
        ("destination", "127.0.0.1:20212"),
        ("suite", "AES_CM_128_HMAC_SHA1_80"),
        ("indicator", "KEYS_AVAILABLE"),
        ("rule", "R16"),
    ] {
        assert_eq!(media[name], value, "{media}");
    }
    assert_eq!((&media["keys"], &media["generation"], &media["reason"]), (&1.into(), &1.into(), &Value::Null));
    assert_eq!(objects[4]["state"], "CONNECTED");
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(words.contains("1 session, 5 events; media opened 2 times with keys, 0 times not encrypted"), "{words}");
    gateway.served.stop();
}

#[test]
fn without_a_terminal_it_is_plain_lines_and_one_class_is_enough() {
    let gateway = Gateway::start();
    let arguments = ["--count", "1", "--class", "media", "--device", "1001"];
    let output = gateway.watch(&arguments).output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(!text.contains('\x1b'), "{text:?}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(lines[0].starts_with("session ") && lines[0].contains("1 device, heartbeat 30 s"), "{text}");
    assert_eq!(lines[1], "1001 is monitored: 0 calls in progress");
    assert!(lines[2].contains("1001 sent audio: keys are here (KEYS_AVAILABLE), to 127.0.0.1:20212"), "{text}");
    gateway.served.stop();
}

/// Serves the gateway of a folder, and says where its TLS door is.
fn serve(folder: TempDir) -> Gateway {
    let serve = callgate(folder.path(), &["serve", "--config", "callgate.toml"]);
    let mut served = Served::run(folder, serve);
    let address = served.log_line("door=\"tls\" address=");
    Gateway { served, address }
}

/// The next object that `watch --json` says of this.
fn next(out: &mut impl BufRead, wanted: &str) -> Value {
    loop {
        let mut line = String::new();
        assert!(out.read_line(&mut line).unwrap() > 0, "no {wanted}");
        let object: Value = serde_json::from_str(&line).unwrap();
        if object["seen"] == wanted {
            return object;
        }
    }
}

#[test]
fn r42_it_goes_where_a_planned_stop_sends_it() {
    // Two gateways of one CA and one ledger.
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let run = |arguments: &[&str]| assert!(callgate(here.path(), arguments).output().unwrap().status.success());
    run(&["init", "."]);
    fs::write(here.path().join("callgate.toml"), TLS_ONLY).unwrap();
    run(&["user", "add", "recorder", "--folder", ".", "--group", "enabled,secure,all-devices"]);
    run(&["cert", "issue", "--folder", ".", "--user", "recorder", "--instance", "1"]);
    for file in fs::read_dir(here.path()).unwrap().map(Result::unwrap).filter(|file| file.path().is_file()) {
        fs::copy(file.path(), there.path().join(file.file_name())).unwrap();
    }
    let there = serve(there);
    let stop = format!("[stop]\ngateways = [\"127.0.0.1:1\", {:?}]\ndrain_seconds = 60\n", there.address);
    fs::write(here.path().join("callgate.toml"), format!("{stop}{TLS_ONLY}")).unwrap();
    let here = serve(here);

    let mut watch = here.watch(&["--json"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut out = BufReader::new(watch.stdout.take().unwrap());
    let mut seen = |wanted: &str| next(&mut out, wanted);
    assert_eq!(seen("opened")["gateway"], here.address.as_str());
    // It ends as soon as its session has gone, and so without waiting for the rest of a minute.
    assert_eq!(here.served.stop().0, Some(0));
    assert_eq!(seen("gateway_leaving")["closes_in_seconds"], 60);
    let closed = seen("closed");
    assert_eq!((&closed["retry_seconds"], &closed["code"]), (&0.0.into(), &Value::Null), "{closed}");
    assert!(seen("closed")["why"].as_str().unwrap().contains("127.0.0.1:1"));
    assert_eq!(seen("opened")["gateway"], there.address.as_str());
    watch.kill().unwrap();
    watch.wait().unwrap();
    there.served.stop();
}

#[test]
fn of_many_devices_there_is_one_line() {
    for (devices, said_of_them) in [(10, 10), (11, 1)] {
        let folder = tempfile::tempdir().unwrap();
        assert!(callgate(folder.path(), &["init", "."]).output().unwrap().status.success());
        let config = format!(
            "{TLS_ONLY}\n[[switch]]\nname = \"sim\"\nkind = \"simulated\"\ndevices = {devices}\ncalls_per_second = 0
            [[user]]\nname = \"recorder\"\ngroups = [\"Standard CTI Enabled\", \"Standard CTI Secure Connection\",
                \"Standard CTI Allow Control of All Devices\"]"
        );
        fs::write(folder.path().join("callgate.toml"), config).unwrap();
        let issue = ["cert", "issue", "--folder", ".", "--user", "recorder", "--instance", "1"];
        assert!(callgate(folder.path(), &issue).output().unwrap().status.success());
        let serve = callgate(folder.path(), &["serve", "--config", "callgate.toml"]);
        let mut served = Served::run(folder, serve);
        let address = served.log_line("door=\"tls\" address=");
        let gateway = Gateway { served, address };
        let mut watch = gateway.watch(&[]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let out = BufReader::new(watch.stdout.take().unwrap());
        let lines: Vec<String> = out.lines().map(Result::unwrap).take(1 + said_of_them).collect();
        watch.kill().unwrap();
        watch.wait().unwrap();
        match lines.as_slice() {
            [_, one] => assert_eq!(one, "11 devices are monitored, 0 with calls in progress"),
            [_, each @ ..] => assert!(each.iter().all(|line| line.contains("is monitored: 0 calls")), "{lines:?}"),
            [] => panic!("nothing was said"),
        }
        assert_eq!(lines.len(), 1 + said_of_them);
        gateway.served.stop();
    }
}

#[test]
fn r14_a_user_that_needs_both_opens_by_its_certificate_and_its_password() {
    let gateway = Gateway::start();
    let folder = gateway.served.folder.path();
    fs::write(folder.join("password"), "a long password\n").unwrap();
    let mut set = callgate(folder, &["user", "set", "recorder", "--folder", ".", "--password-on-tls", "--password"]);
    let set = set.stdin(fs::File::open(folder.join("password")).unwrap()).output().unwrap();
    assert!(set.status.success(), "{}", String::from_utf8_lossy(&set.stderr));

    let refused = gateway.watch(&["--for", "1"]).output().unwrap();
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(
        refused.status.code() == Some(1)
            && error.contains("PASSWORD_REQUIRED")
            && error.contains("--tls-password-file"),
        "{error}"
    );
    let output = gateway.watch(&["--for", "1", "--tls-password-file", "password"]).output().unwrap();
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.starts_with("session "), "{text}");
    gateway.served.stop();
}

#[test]
fn a_password_at_the_secure_door_is_told_of_in_words_of_the_command_line() {
    let gateway = Gateway::start();
    fs::write(gateway.served.folder.path().join("password"), "a long password\n").unwrap();
    let output = gateway.watch(&["--password-file", "password"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.contains("Leave out --password-file") && !error.contains("Connector"), "{error}");
    gateway.served.stop();
}

#[test]
fn what_a_person_has_to_mend_ends_it_with_what_to_do() {
    let gateway = Gateway::start();
    for (arguments, code, words) in [
        (["--device", "1009"], 1, "DEVICE_UNKNOWN"),
        (["--instance", "2"], 2, "callgate cert issue --folder . --user recorder --instance 2"),
        (["--server-name", "elsewhere.example"], 1, "elsewhere.example"),
    ] {
        let output = gateway.watch(&arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert!(error.contains(words), "{arguments:?}: {error}");
    }
    gateway.served.stop();
}

#[test]
fn what_cannot_be_read_is_not_said_to_be_missing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let output = callgate(folder.path(), &["watch", "--folder", "file"]).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("file/app-1.pem: Not a directory") && !error.contains("cert issue"), "{error}");
}

#[test]
fn unless_it_is_told_where_the_gateway_is_it_goes_by_the_config_in_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    assert!(callgate(folder.path(), &["init"]).output().unwrap().status.success());
    assert!(callgate(folder.path(), &["user", "add", "app"]).output().unwrap().status.success());
    let issue = ["cert", "issue", "--user", "app", "--instance", "1"];
    assert!(callgate(folder.path(), &issue).output().unwrap().status.success());
    fs::write(folder.path().join("password"), "a long password\n").unwrap();
    // Nobody is at these ports.
    for (tls, clear, at) in [("127.0.0.1:2", "127.0.0.1:3", "127.0.0.1"), ("0.0.0.0:2", "[::]:3", "localhost")] {
        let doors = format!("[doors]\ntls = \"{tls}\"\nclear = \"{clear}\"\n");
        fs::write(folder.path().join("callgate/callgate.toml"), doors).unwrap();
        for (arguments, port) in
            [(&["watch", "--for", "1"][..], 2), (&["watch", "--for", "1", "--password-file", "password"], 3)]
        {
            let output = callgate(folder.path(), arguments).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(error.contains(&format!("no session of app/1 at {at}:{port}: ")), "{error}");
        }
    }
}

#[test]
fn where_no_gateway_is_it_says_what_to_do_and_tries_again_until_it_ends() {
    let mut gateway = Gateway::start();
    // Nobody is there, and nobody else takes it.
    gateway.address = "127.0.0.1:1".into();
    for arguments in [&["--for", "2"][..], &["--for", "2", "--json"]] {
        let output = gateway.watch(arguments).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{error}");
        let tries: Vec<_> = error.lines().filter(|line| line.starts_with("callgate: no session: ")).collect();
        assert!(tries.len() >= 2, "{error}");
        for words in ["127.0.0.1:1 can't be reached", "`callgate serve`", "Trying again in"] {
            assert!(tries.iter().all(|line| line.contains(words)), "{words}: {error}");
        }
        let last = error.lines().last().unwrap();
        assert!(last.starts_with("callgate: no session of recorder/1 at 127.0.0.1:1: 127.0.0.1:1 can't be"), "{error}");
        let objects: Vec<Value> = said(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(objects.len(), if arguments.len() == 3 { tries.len() } else { 0 }, "{objects:?}");
        assert!(objects.iter().all(|object| object["seen"] == "closed"), "{objects:?}");
    }
    gateway.served.stop();
}

/// A watcher at work.
struct Watcher {
    child: Child,
    said: BufReader<ChildStdout>,
    heard: Vec<u8>,
}

impl Watcher {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        Self { child, said, heard: Vec::new() }
    }

    /// Reads on until `text` was said.
    fn wait_for(&mut self, text: &str) {
        let mut piece = [0; 4096];
        while !String::from_utf8_lossy(&self.heard).contains(text) {
            let n = self.said.read(&mut piece).unwrap_or(0);
            assert_ne!(n, 0, "no {text:?} in {:?}", String::from_utf8_lossy(&self.heard));
            self.heard.extend_from_slice(&piece[..n]);
        }
    }

    fn signal(pid: &str) {
        assert!(Command::new("kill").args(["-INT", pid]).status().unwrap().success());
    }

    /// The exit code, and all that was said.
    fn finish(mut self) -> (Option<i32>, String) {
        // The end of a pseudo-terminal is an error of its own.
        let _ = self.said.read_to_end(&mut self.heard);
        leaks::assert_no_key("what watch says", &self.heard);
        (self.child.wait().unwrap().code(), String::from_utf8(self.heard).unwrap())
    }
}

#[test]
fn it_says_why_the_gateway_went_and_comes_back_to_the_next_one() {
    let gateway = Gateway::start();
    // The next gateway listens where this one did.
    let folder = gateway.served.folder.path();
    let config = fs::read_to_string(folder.join("callgate.toml")).unwrap();
    let mut watcher = Watcher::start(gateway.watch(&["--json"]));
    watcher.wait_for("\"monitored\"");
    let pid = gateway.served.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    watcher.wait_for("\"closed\"");
    watcher.wait_for("Connection refused");
    assert!(TcpListener::bind(&gateway.address).is_ok(), "nobody listens");
    fs::write(folder.join("next.toml"), config.replace("127.0.0.1:0", &gateway.address)).unwrap();
    let mut next = Command::new(env!("CARGO_BIN_EXE_callgate"))
        .current_dir(folder)
        .args(["serve", "--config", "next.toml"])
        .env("CALLGATE_METRICS__LISTEN", "127.0.0.1:0")
        .env("CALLGATE_ADMIN__LISTEN", "127.0.0.1:0")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    watcher.wait_for("\"KEYS_AVAILABLE\"");
    Watcher::signal(&watcher.child.id().to_string());
    let (code, text) = watcher.finish();
    assert!(Command::new("kill").args(["-TERM", &next.id().to_string()]).status().unwrap().success());
    assert!(next.wait().unwrap().success());
    assert_eq!(code, Some(0), "{text}");
    let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let closed: Vec<_> = objects.iter().filter(|object| object["seen"] == "closed").collect();
    assert_eq!(closed[0]["code"], "GATEWAY_STOPPING", "{text}");
    assert!(closed[0]["why"].as_str().unwrap().contains("Connect again after a short and growing delay."), "{text}");
    assert!(closed[1]["retry_seconds"].as_f64() > closed[0]["retry_seconds"].as_f64(), "{text}");
    assert_eq!(objects.iter().filter(|object| object["seen"] == "opened").count(), 2, "{text}");
    drop(gateway);
}

/// On a pseudo-terminal, by util-linux's `script`. `None` where it isn't.
fn on_a_terminal(gateway: &Gateway, arguments: &str, no_colour: &str) -> Option<Watcher> {
    if Command::new("script").arg("--version").output().is_err() {
        skipped("terminal", "script(1) of util-linux is not here: nothing was shown on a terminal");
        return None;
    }
    let (binary, address) = (env!("CARGO_BIN_EXE_callgate"), &gateway.address);
    let watch = format!("{binary} watch --folder . --gateway {address} --user recorder {arguments}");
    let line = format!("echo $$ >pid; stty -F /dev/tty rows 20 cols 90; exec {watch}");
    let mut command = Command::new("script");
    command
        .current_dir(gateway.served.folder.path())
        .args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"])
        .env("TERM", "xterm-256color")
        .env("NO_COLOR", no_colour)
        .stdin(Stdio::null());
    Some(Watcher::start(command))
}

#[test]
fn on_a_terminal_it_is_a_picture_and_the_terminal_is_given_back() {
    let gateway = Gateway::start();
    let Some(mut watcher) = on_a_terminal(&gateway, "", "") else { return };
    watcher.wait_for("keys are here");
    let pid = fs::read_to_string(gateway.served.folder.path().join("pid")).unwrap();
    Watcher::signal(pid.trim());
    let (code, text) = watcher.finish();
    assert_eq!(code, Some(0), "{text:?}");
    let begin = text.find("\x1b[?1049h").expect("another screen");
    let end = text.find("\x1b[?1049l").expect("the first screen again");
    let last_word = text[end..].trim_start_matches("\x1b[?1049l");
    let is_one_line = last_word.starts_with("callgate: watched ") && last_word.trim_end().lines().count() == 1;
    assert!(begin < end && is_one_line && last_word.contains("1 session, "), "{text:?}");
    assert!(text.contains("\x1b[?25l") && text[..end].ends_with("\x1b[?25h"), "the cursor is back: {text:?}");
    let pictures: Vec<&str> = text[begin..end].split("\x1b[?2026h").skip(1).collect();
    assert!(pictures.len() >= 2, "{text:?}");
    for picture in &pictures {
        assert!(picture.starts_with("\x1b[H") && picture.contains("\x1b[?2026l"), "whole pictures only: {picture:?}");
        assert!(picture.lines().count() <= 20, "{picture:?}");
    }
    let last = pictures.last().unwrap();
    assert!(last.contains("recorder/1 at ") && last.contains("\x1b[32m"), "{last:?}");
    assert!(last.contains("1001") && last.contains("LAST EVENTS"), "{last:?}");
    gateway.served.stop();
}

#[test]
fn no_color_is_respected() {
    let gateway = Gateway::start();
    let Some(mut watcher) = on_a_terminal(&gateway, "--count 5", "1") else { return };
    watcher.wait_for("\x1b[?1049l");
    let (code, text) = watcher.finish();
    assert_eq!(code, Some(0), "{text:?}");
    assert!(text.contains("LAST EVENTS") && !text.contains("\x1b[32m") && !text.contains("\x1b[1m"), "{text:?}");
    gateway.served.stop();
}

#[test]
fn r15_what_the_operator_changes_is_seen_and_what_is_new_is_watched() {
    let gateway = Gateway::start();
    let mut watch = gateway.watch(&["--json"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    // Events of the call may come in between.
    let mut next = |seen: &str| -> Value {
        loop {
            let object: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            if object["seen"] == seen {
                return object;
            }
        }
    };
    assert_eq!(next("monitored")["device"], "1001");
    let administer = |arguments: &[&str]| {
        let done = callgate(gateway.served.folder.path(), &[arguments, &["--folder", "."]].concat()).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };

    administer(&["device", "add", "1002"]);
    administer(&["user", "set", "recorder", "--add-device", "1002"]);
    let changed = next("capability_changed");
    assert_eq!((&changed["devices"], &changed["may_have_keys"]), (&2.into(), &true.into()), "{changed}");
    assert_eq!(changed["changes"], serde_json::json!(["DEVICES"]));
    assert_eq!(next("monitored")["device"], "1002");
    administer(&["user", "set", "recorder", "--remove-device", "1001"]);
    let gone = next("device_out_of_service");
    assert_eq!((&gone["device"], &gone["code"]), (&"1001".into(), &"DEVICE_OUT_OF_SERVICE".into()), "{gone}");

    // An administrator who closes a session doesn't want it back at once.
    administer(&["session", "close", "--user", "recorder"]);
    let closed = next("closed");
    assert_eq!(
        (&closed["retry_seconds"], &closed["code"]),
        (&Value::Null, &"CLOSED_BY_ADMINISTRATOR".into()),
        "{closed}"
    );
    let ended = watch.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("CLOSED_BY_ADMINISTRATOR (603)") && said.contains("Ask the administrator"), "{said}");
    assert_eq!(gateway.served.stop().0, Some(0));
}
