//! The examples run, against a gateway that is served as an operator would serve it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{
    env,
    f64::consts::TAU,
    fs,
    io::{BufRead, BufReader, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use common::{
    leaks,
    served::{Served, callgate, capture},
};

const TLS_ONLY: &str = "[doors]\nclear = \"closed\"\ntls = \"127.0.0.1:0\"";
const RATE: usize = 8000;

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
    serve
        .env("CALLGATE_DOORS__CLEAR", "127.0.0.1:0")
        .env("CALLGATE_DOORS__TLS", "127.0.0.1:0")
        .env("CALLGATE_METRICS__LISTEN", "127.0.0.1:0")
        .env("CALLGATE_ADMIN__LISTEN", "127.0.0.1:0")
        .stdout(Stdio::null());
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
    let mut served = Served::start(TLS_ONLY);
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

#[test]
fn monitor_prints_calls_streams_and_indicators_and_ends_after_so_many_events() {
    let monitor = example("monitor");
    let mut served = Served::start(TLS_ONLY);
    let address = served.log_line("door=\"tls\" address=");
    let output = Command::new(monitor)
        .args([&address, served.folder.path().to_str().unwrap(), "recorder", "1", "5"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(
        lines,
        [
            "1001: 0 calls in progress",
            "1001 call Dialing, sip:1001@127.0.0.1:15060 to sip:1002@127.0.0.1:15060",
            "1001 call Alerting, sip:1001@127.0.0.1:15060 to sip:1002@127.0.0.1:15060",
            "1001 call Connected, sip:1001@127.0.0.1:15060 to sip:1002@127.0.0.1:15060",
            "1001 Sent audio to 127.0.0.1:20212: its keys are here",
            "1001 Received audio to 127.0.0.1:21114: its keys are here",
        ]
    );
    served.stop();
}

/// The example `record`, at work.
struct Recording {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Recording {
    /// Records what `served` plays, with the packets of `source`: a file, or `-`.
    fn start(served: &mut Served, source: &str, stdin: Stdio) -> Self {
        let address = served.log_line("door=\"tls\" address=");
        let folder = served.folder.path().to_str().unwrap();
        let mut child = Command::new(example("record"))
            .args([source, &address, folder, "recorder", "1", folder])
            .stdin(stdin)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut recording = Self { child, said };
        assert_eq!(recording.line(), "recording 1 devices");
        recording
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.said.read_line(&mut line).unwrap(), 0, "it says no more");
        line.trim_end().into()
    }

    /// Waits for the one recording of the call, stops the gateway, and returns the two channels.
    fn finish(mut self, served: Served) -> [Vec<f64>; 2] {
        let line = self.line();
        let (file, account) = line.split_once(": ").unwrap();
        let channels = channels(Path::new(file));
        assert!(account.contains(" s, ") && account.ends_with(" packets"), "{line}");
        served.stop();
        let mut rest = String::new();
        self.said.read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success());
        assert!(rest.starts_with("closed: ") && rest.lines().count() == 1, "{rest}");
        channels
    }
}

#[test]
fn record_writes_both_voices_of_a_call_over_a_pbx() {
    let mut served = Served::start(TLS_ONLY);
    // All packets are read long before the first key comes: they wait for it.
    let recording = Recording::start(&mut served, &capture("asterisk22-basic"), Stdio::null());
    let voices = recording.finish(served);
    for voice in &voices {
        assert!(voice.len() > 9 * RATE, "{} samples", voice.len());
        let energy = voice.iter().map(|sample| sample * sample).sum::<f64>() / voice.len() as f64;
        assert!(energy.sqrt() > 500.0, "speech is louder than {}", energy.sqrt());
    }
    let same = voices[0].iter().zip(&voices[1]).filter(|(left, right)| left == right).count();
    assert!(same < voices[0].len() / 2, "the voices are two: {same} samples are the same");
}

#[test]
fn record_takes_packets_from_a_pipe_and_each_tone_is_on_its_side() {
    let mut served = Served::start_call("kamailio-basic", TLS_ONLY, |serve| serve);
    let pipe = fs::File::open(capture("kamailio-basic")).unwrap();
    let recording = Recording::start(&mut served, "-", pipe.into());
    // 1001 sends 440 Hz and hears 660 Hz.
    let voices = recording.finish(served);
    for (voice, tone) in voices.iter().zip([440, 660]) {
        let share = share_of(tone, &voice[RATE / 2..][..RATE]);
        assert!(share > 0.95, "{share} of the energy is a tone of {tone} Hz");
    }
}

/// Left and right.
fn channels(file: &Path) -> [Vec<f64>; 2] {
    leaks::assert_no_key("the WAV file", &fs::read(file).unwrap());
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600, "a call in the clear");
    let reader = hound::WavReader::open(file).unwrap();
    assert_eq!((reader.spec().channels, reader.spec().sample_rate), (2, RATE as u32));
    let samples: Vec<f64> = reader.into_samples::<i16>().map(|sample| f64::from(sample.unwrap())).collect();
    [0, 1].map(|channel| samples.iter().skip(channel).step_by(2).copied().collect())
}

/// How much of the energy of a second has this frequency (Goertzel).
fn share_of(tone: u32, second: &[f64]) -> f64 {
    let turn = 2.0 * (TAU * f64::from(tone) / RATE as f64).cos();
    let (last, before) = second.iter().fold((0.0, 0.0), |(last, before), sample| (sample + turn * last - before, last));
    let power = last * last + before * before - turn * last * before;
    2.0 * power / RATE as f64 / second.iter().map(|sample| sample * sample).sum::<f64>()
}
