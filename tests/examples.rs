//! The examples run, against a gateway that is served as an operator would serve it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{
    env,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use common::served::{Served, callgate};

/// Where `cargo test` has built an example. Who runs only this test has not built it yet.
fn example(name: &str) -> PathBuf {
    let test = env::current_exe().unwrap();
    let path = test.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join(name);
    if !path.exists() {
        let built = Command::new(env!("CARGO")).args(["build", "--quiet", "--example", name]).status().unwrap();
        assert!(built.success());
    }
    path
}

#[test]
fn first_app_runs_at_once_against_a_gateway_that_serve_made() {
    let first_app = example("first_app");
    let folder = tempfile::tempdir().unwrap();
    let mut serve = callgate(folder.path(), &["serve"]);
    serve.env("CALLGATE_DOORS__CLEAR", "127.0.0.1:0").env("CALLGATE_DOORS__TLS", "127.0.0.1:0").stdout(Stdio::null());
    let mut served = Served::run(folder, serve);
    let address = served.log_line("door=\"tls\" address=");
    let mut app =
        Command::new(first_app).arg(&address).current_dir(&served.folder).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(app.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut said = Vec::new();
    for wanted in ["sim-00100: ", " Dialing, sip:sim-", " media to ", "KeysAvailable"] {
        loop {
            let line = lines.next().unwrap_or_else(|| panic!("no {wanted:?} in {said:#?}"));
            said.push(line);
            if said.last().unwrap().contains(wanted) {
                break;
            }
        }
    }
    assert_eq!(served.stop().0, Some(0));
    assert!(lines.any(|line| line.starts_with("closed: ")));
    assert!(app.wait().unwrap().success());
}

#[test]
fn first_app_prints_calls_media_and_the_indicator_until_the_gateway_stops() {
    let first_app = example("first_app");
    let mut served = Served::start("[doors]\nclear = \"closed\"\ntls = \"127.0.0.1:0\"");
    let address = served.log_line("door=\"tls\" address=");
    let app = Command::new(first_app)
        .args([&address, served.folder.path().to_str().unwrap(), "recorder", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    served.log_line("the switch has nothing more to report");
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
    let output = app.wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    for line in [
        "1001: 0 calls in progress",
        "1001 Dialing, sip:1001@127.0.0.1:15060 to sip:1002@127.0.0.1:15060",
        "1001 media to 127.0.0.1:20212, AES_CM_128_HMAC_SHA1_80, KeysAvailable",
        "1001 media to 127.0.0.1:21114, AES_CM_128_HMAC_SHA1_80, KeysAvailable",
        "1001 Ended",
        "closed: ",
    ] {
        assert!(said.contains(line), "{line:?} is not in\n{said}");
    }
}
