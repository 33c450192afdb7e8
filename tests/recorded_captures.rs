//! `decrypt` finds in every recorded capture exactly the streams, the packets and the voices that an independent check
//! found in it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "common/tone.rs"]
mod tone;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use callgate::{
    client::{
        decrypt::{Folder, Voice, decrypt},
        media::report::{Indicator, StreamReport},
    },
    model::StreamDirection,
};
use tempfile::TempDir;

/// A stream with packets, as the independent check counted it.
struct Expected {
    source: String,
    destination: String,
    packets: u64,
    authentic: u64,
    ssrcs: BTreeSet<String>,
    /// The voice is a tone of this many Hz.
    tone: Option<u32>,
}

impl Expected {
    /// `SOURCE > DESTINATION rtp=N auth_ok=N ... ssrc=['..'] peak=NHz share=N ...`
    fn read(line: &str) -> Self {
        let after = |name: &str| {
            let (_, rest) = line.split_once(name)?;
            Some(rest.split(' ').next().unwrap())
        };
        let (source, rest) = line.split_once(" > ").unwrap();
        let (_, ssrcs) = line.split_once("ssrc=[").unwrap();
        let ssrcs = ssrcs.split_once(']').unwrap().0.split(", ").map(|ssrc| ssrc.trim_matches('\''));
        let share: f64 = after("share=").map_or(0.0, |share| share.parse().unwrap());
        Self {
            source: source.into(),
            destination: rest.split(' ').next().unwrap().into(),
            packets: after(" rtp=").unwrap().parse().unwrap(),
            authentic: after(" auth_ok=").unwrap().parse().unwrap(),
            ssrcs: ssrcs.filter(|ssrc| !ssrc.is_empty()).map(Into::into).collect(),
            tone: after("peak=").filter(|_| share > 0.9).map(|peak| peak.trim_end_matches("Hz").parse().unwrap()),
        }
    }
}

/// A stream of the account, and the file of its voice.
type Heard = (StreamReport, Option<PathBuf>);

async fn decrypted(folder: &Path, voices: &Path) -> Vec<Heard> {
    let decrypted = decrypt(&folder.join("call.pcap"), &Folder::Named(voices.into()), |_| {}).await.unwrap();
    assert!(decrypted.error.is_none(), "{:?}", decrypted.error);
    assert_eq!(decrypted.heard.troubles, []);
    assert!(decrypted.heard.report.all_authentic());
    let files = decrypted.heard.voices.into_iter().map(|voice| match voice {
        Voice::Written { path, .. } => Some(path),
        Voice::None(_) => None,
    });
    decrypted.heard.report.streams.into_iter().zip(files).collect()
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn expected(folder: &Path) -> Vec<Expected> {
    let text = fs::read_to_string(folder.join("expected-decrypt.txt")).unwrap();
    // Ports of RTCP have no RTP.
    text.lines().map(Expected::read).filter(|expected| expected.packets > 0).collect()
}

/// How much of the voice in a file is this tone, in the second that the independent check looked at too.
fn share_of(tone: u32, file: &Path) -> f64 {
    let samples = hound::WavReader::open(file).unwrap().into_samples::<i16>();
    tone::share(tone, &samples.map(|sample| f64::from(sample.unwrap())).collect::<Vec<_>>())
}

#[tokio::test]
async fn every_recording_decrypts_as_an_independent_check_expects() {
    let mut recordings = 0;
    for entry in fs::read_dir(folder("")).unwrap() {
        let folder = entry.unwrap().path();
        if !folder.join("call.pcap").is_file() {
            continue;
        }
        recordings += 1;
        let name = folder.display();
        let voices = TempDir::new().unwrap();
        let heard = decrypted(&folder, voices.path()).await;
        let expected = expected(&folder);
        assert!(!expected.is_empty(), "{name}");
        for line in &expected {
            let streams: Vec<_> = heard.iter().filter(|(stream, _)| stream.destination == line.destination).collect();
            assert!(!streams.is_empty(), "{name}: nothing goes to {}", line.destination);
            for (stream, voice) in streams {
                let counted = (stream.source.as_deref(), stream.packets, stream.authentic);
                assert_eq!(counted, (Some(line.source.as_str()), line.packets, line.authentic), "{name}: {stream:?}");
                assert_eq!(stream.ssrcs.iter().cloned().collect::<BTreeSet<_>>(), line.ssrcs, "{name}: {stream:?}");
                assert_eq!(stream.indicator, Indicator::KeysAvailable, "{name}: {stream:?}");
                let voice = voice.as_deref().expect("the voice is in a file");
                if let Some(tone) = line.tone {
                    let share = share_of(tone, voice);
                    assert!(share > 0.95, "{name}: {share} of {} is a tone of {tone} Hz", voice.display());
                }
            }
        }
        for (stream, _) in &heard {
            assert!(
                expected.iter().any(|line| line.destination == stream.destination),
                "{name}: nobody expects {stream:?}"
            );
        }
    }
    assert!(recordings >= 5, "{recordings}");
}

/// Call, device and direction of each stream, by destination.
async fn ends(name: &str) -> BTreeSet<(String, String, &'static str)> {
    let voices = TempDir::new().unwrap();
    let heard = decrypted(&folder(name), voices.path()).await;
    let direction = |stream: &StreamReport| match stream.direction {
        StreamDirection::Sent => "sent",
        StreamDirection::Received => "received",
    };
    heard.iter().map(|(stream, _)| (stream.destination.clone(), stream.device.clone(), direction(stream))).collect()
}

fn named(ends: [(&str, &str, &'static str); 4]) -> BTreeSet<(String, String, &'static str)> {
    ends.into_iter().map(|(destination, device, direction)| (destination.into(), device.into(), direction)).collect()
}

#[tokio::test]
async fn over_a_proxy_both_devices_see_both_streams() {
    let (to_1001, to_1002) = ("127.0.0.1:21068", "127.0.0.1:22006");
    let (phone_1001, phone_1002) = ("127.0.0.1:16010", "127.0.0.1:16020");
    let expected = [
        (to_1001, phone_1001, "received"),
        (to_1002, phone_1001, "sent"),
        (to_1001, phone_1002, "sent"),
        (to_1002, phone_1002, "received"),
    ];
    assert_eq!(ends("kamailio-basic").await, named(expected));
}

#[tokio::test]
async fn r22_over_a_transfer_the_other_leg_goes_on_under_a_new_source() {
    let voices = TempDir::new().unwrap();
    let heard = decrypted(&folder("asterisk22-transfer"), voices.path()).await;
    let sources: Vec<_> = heard
        .iter()
        .filter(|(stream, _)| stream.direction == StreamDirection::Received)
        .map(|(stream, _)| (stream.device.as_str(), stream.ssrcs.len()))
        .collect();
    assert_eq!(sources, [("127.0.0.1:16020", 2), ("127.0.0.1:16010", 1)]);
}

#[tokio::test]
async fn r22_a_call_that_changes_keys_and_suite_is_one_stream_each_way() {
    let voices = TempDir::new().unwrap();
    let heard = decrypted(&folder("kamailio-rekey"), voices.path()).await;
    assert_eq!(heard.len(), 4);
    assert!(heard.iter().all(|(stream, _)| stream.suite.as_deref() == Some("AEAD_AES_128_GCM")));
    assert!(heard.iter().all(|(stream, _)| stream.packets == 238 && stream.authentic == 238));
}
