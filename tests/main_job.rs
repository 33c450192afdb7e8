//! The binary does the main job: `demo`, `decrypt` and `serve`, with all logs at trace level searched for keys.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{collections::BTreeSet, fs, net::TcpListener, process::Output};

use callgate_sdk::client::{Connector, Event, Identity, Indicator, Roots};
use common::{
    leaks,
    served::{Served, callgate, capture},
};
use serde_json::Value;

const KEYS: [&str; 10] =
    ["call", "device", "direction", "suite", "indicator", "source", "destination", "ssrcs", "packets", "authentic"];

/// What it said on standard output; nothing of all that it said holds a key or a digest header.
fn said(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    leaks::assert_no_key("standard error", &output.stderr);
    leaks::assert_no_key("standard output", &output.stdout);
    assert!(!stderr.contains("response=\""), "a digest header is in the logs");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn streams(json: &str) -> Vec<Value> {
    let object: Value = serde_json::from_str(json).expect("one JSON object and nothing else");
    let streams = object["streams"].as_array().unwrap().clone();
    for stream in &streams {
        let keys: BTreeSet<_> = stream.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, BTreeSet::from(KEYS));
    }
    streams
}

/// Destination, packets, authentic.
fn counts(streams: &[Value]) -> BTreeSet<(String, u64, u64)> {
    streams
        .iter()
        .map(|stream| {
            let number = |key: &str| stream[key].as_u64().unwrap();
            (stream["destination"].as_str().unwrap().into(), number("packets"), number("authentic"))
        })
        .collect()
}

fn expected<const N: usize>(counts: [(&str, u64); N]) -> BTreeSet<(String, u64, u64)> {
    counts.map(|(destination, packets)| (destination.into(), packets, packets)).into()
}

#[test]
fn demo_proves_the_main_job_and_names_the_voices() {
    let folder = tempfile::tempdir().unwrap();
    capture("asterisk22-basic");
    let output = callgate(folder.path(), &["demo", "--speed", "50", "--out", "voices"]).output().unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1810 of 1810 SRTP packets authenticate"), "{text}");
    assert!(text.contains("viewer (tls door): 16 events, 0 keys, USER_NOT_AUTHORIZED"), "{text}");
    let voices: Vec<_> = fs::read_dir(folder.path().join("voices")).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(voices.len(), 4);
    assert!(text.trim_end().ends_with("The voices stay in voices until you delete them"), "{text}");
    for voice in voices {
        assert!(text.contains(voice.file_name().unwrap().to_str().unwrap()));
        let reader = hound::WavReader::open(voice).unwrap();
        assert_eq!((reader.spec().sample_rate, reader.spec().channels), (8000, 1));
        assert!(reader.duration() > 9 * 8000);
    }
}

#[test]
fn demo_json_is_one_object() {
    let folder = tempfile::tempdir().unwrap();
    capture("asterisk22-basic");
    let output = callgate(folder.path(), &["demo", "--json", "--speed", "50", "--out", "voices"]).output().unwrap();
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    let streams = streams(&text);
    assert!(streams.iter().all(|stream| stream["device"] == "1001" || stream["device"] == "1002"));
    let basic =
        [("127.0.0.1:20110", 453), ("127.0.0.1:21114", 453), ("127.0.0.1:20212", 452), ("127.0.0.1:22046", 452)];
    assert_eq!(counts(&streams), expected(basic));
    let object: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(object["proven"], true);
}

#[test]
fn decrypt_finds_devices_and_keys_without_any_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let call = capture("asterisk22-hold");
    let output = callgate(folder.path(), &["decrypt", "--json", &call]).output().unwrap();
    let streams = streams(&said(&output));
    assert_eq!(output.status.code(), Some(0));
    let hold = [("127.0.0.1:20112", 558), ("127.0.0.1:21122", 404), ("127.0.0.1:20678", 405), ("127.0.0.1:22176", 557)];
    assert_eq!(counts(&streams), expected(hold));
    let devices: BTreeSet<_> = streams.iter().map(|stream| stream["device"].as_str().unwrap()).collect();
    assert_eq!(devices, BTreeSet::from(["127.0.0.1:16010", "127.0.0.1:16020"]));
    assert_eq!(fs::read_dir(folder.path().join("call.voices")).unwrap().count(), 4);
}

#[test]
fn voices_of_two_captures_never_mix() {
    let folder = tempfile::tempdir().unwrap();
    let files = |name: &str| {
        let mut files: Vec<_> = fs::read_dir(folder.path().join(name)).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        files.into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect::<Vec<_>>()
    };
    let [hold, basic] = ["asterisk22-hold", "asterisk22-basic"].map(capture);
    let run = |arguments: &[&str]| {
        let output = callgate(folder.path(), arguments).output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said(&output), words)
    };
    let (code, text, _) = run(&["decrypt", &hold]);
    assert!(code == Some(0) && text.contains("voice 1: call.voices/01-"), "{text}");
    let first = files("call.voices");

    // Another capture of the same name.
    let (code, _, words) = run(&["decrypt", "--json", &basic]);
    assert_eq!(code, Some(0));
    assert!(words.contains("call.voices was there already: the voices are in call.voices-2\n"), "{words}");
    assert!(files("call.voices") == first && files("call.voices-2") != first);

    let second = files("call.voices-2");
    for command in [&["decrypt", &hold, "--out", "call.voices-2"][..], &["demo", "--out", "call.voices-2"]] {
        let (code, text, words) = run(command);
        assert_eq!((code, text.as_str()), (Some(2), ""), "{words}");
        assert!(words.contains("call.voices-2 is not empty") && words.contains("new or empty"), "{words}");
    }
    assert!(files("call.voices-2") == second);
}

#[test]
fn decrypt_tells_what_it_can_t_use() {
    let folder = tempfile::tempdir().unwrap();
    let whole = fs::read(capture("asterisk22-basic")).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    // The file header and no record: a capture in which nothing was captured.
    let empty = write("empty.pcap", &whole[..24]);
    let cut = write("cut.pcap", &whole[..300_000]);
    let text = write("text.pcap", b"this is not a capture, but a text of some length");
    for (file, wrong) in [
        (empty.as_str(), "there is no HEP in the capture"),
        (cut.as_str(), "the capture was cut: it ends inside record 1215, at byte 300000"),
        (text.as_str(), "this is no capture (pcap or pcapng) but text"),
        ("absent.pcap", "absent.pcap can't be opened"),
    ] {
        let output = callgate(folder.path(), &["decrypt", file]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(wrong), "{error}");
    }
    // What came before the cut is accounted for.
    let output = callgate(folder.path(), &["decrypt", "--json", &cut]).output().unwrap();
    let streams = streams(&said(&output));
    assert_eq!(streams.len(), 4);
    assert!(streams.iter().all(|stream| stream["authentic"].as_u64() > Some(290)));
}

#[tokio::test]
async fn serve_serves_until_it_is_told_to_stop() {
    let mut served = Served::start("[doors]\nclear = \"closed\"\ntls = \"127.0.0.1:0\"");
    let address = served.log_line("door=\"tls\" address=");
    let read = |name: &str| fs::read(served.folder.path().join(name)).unwrap();
    let identity = Identity::from_pem(&read("recorder-1.pem"), &read("recorder-1.key")).unwrap();
    let roots = Roots::from_pem(&read("ca.pem")).unwrap();
    let app = Connector::tls(address, "localhost", identity, roots);
    let (session, mut events) = app.open("recorder", "1").await.unwrap();
    session.monitor("1001", &[]).await.unwrap();

    // The replay waits for a while before it begins: the app is there in time.
    let mut keyed = 0;
    loop {
        match events.next().await {
            Some(Event::MediaOpened(_, media)) => keyed += usize::from(media.indicator == Indicator::KeysAvailable),
            Some(Event::CallState(_, changed)) if changed.cause.is_some() => break,
            Some(_) => {}
            None => panic!("{:?}", events.closed()),
        }
    }
    assert_eq!(keyed, 2);

    served.log_line("the switch has nothing more to report");
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("stopping"), "{log}");
}

#[test]
fn serve_says_which_port_is_in_use() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let served = Served::start(&format!("[doors]\nclear = \"{address}\"\ntls = \"127.0.0.1:0\""));
    let (code, log) = served.finish();
    assert_eq!(code, Some(1));
    assert!(log.contains(&format!("the clear door can't listen on {address}")), "{log}");
    assert!(log.contains("another program listens there"), "{log}");
}
