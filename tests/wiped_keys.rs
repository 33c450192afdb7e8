//! Keys are in the gateway's memory while their stream lives, and nowhere in it when that has ended (R20).
//!
//! The memory is that of the real binary, which serves a live feed and an app: all that it can write to is searched. It
//! can't be read by just anybody, so this needs root, or the right to trace processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{
    fs::{self, File},
    io::ErrorKind,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use aho_corasick::AhoCorasick;
use base64::{Engine, prelude::BASE64_STANDARD};
use callgate_sdk::client::Event;
use common::{
    recorded::{Datagram, Recording},
    served::{Served, quiet},
    skipped::skipped,
};
use tokio::{net::UdpSocket, time::timeout};

const TLS_ONLY: &str = "[doors]\nclear = \"closed\"\ntls = \"127.0.0.1:0\"";
const FEED: &str = "kind = \"hep\"\nlisten = \"127.0.0.1:0\"";
/// Nothing takes as long as this.
const PATIENCE: Duration = Duration::from_secs(30);

/// What of a key is searched for.
struct Search {
    pieces: AhoCorasick,
    names: Vec<String>,
}

impl Search {
    /// The master key and the salt as they are, and both as SDES writes them.
    fn new<'a>(keys: impl IntoIterator<Item = &'a Vec<u8>>) -> Self {
        let (mut names, mut pieces) = (Vec::new(), Vec::new());
        for (n, key) in keys.into_iter().enumerate() {
            let (master, salt) = key.split_at(key.len() - 14);
            let text = BASE64_STANDARD.encode(key).into_bytes();
            for (form, piece) in
                [("key", master), ("salt", salt), ("text", &text[..20]), ("end of the text", &text[20..])]
            {
                names.push(format!("{form} {n}"));
                pieces.push(piece.to_vec());
            }
        }
        Self { pieces: AhoCorasick::new(pieces).unwrap(), names }
    }

    /// What is in the memory that a process can write to. `None`: it may not be read.
    fn run(&self, pid: u32) -> Option<Vec<String>> {
        let memory = match File::open(format!("/proc/{pid}/mem")) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
            memory => memory.unwrap(),
        };
        let (mut found, mut searched) = (Vec::new(), 0);
        for region in fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines() {
            let mut words = region.split_whitespace();
            let (range, mode) = (words.next().unwrap(), words.next().unwrap());
            if !mode.starts_with("rw") {
                continue;
            }
            let (start, end) = range.split_once('-').unwrap();
            let [start, end] = [start, end].map(|at| u64::from_str_radix(at, 16).unwrap());
            let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
            // A region may be gone since it was listed.
            let Ok(len) = memory.read_at(&mut bytes, start) else { continue };
            searched += len;
            let place = words.nth(3).unwrap_or("anonymous");
            let here = self.pieces.find_overlapping_iter(&bytes[..len]);
            found.extend(here.map(|piece| format!("{} in {place}", self.names[piece.pattern().as_usize()])));
        }
        assert!(searched > 1 << 20, "only {searched} bytes were searched");
        found.sort();
        Some(found)
    }
}

#[tokio::test]
async fn r20_keys_are_in_memory_while_their_call_lives_and_wiped_when_it_has_ended() {
    let recording = Recording::load("asterisk22-basic");
    let search = Search::new(recording.keys.iter().map(|(_, key)| key));
    let begins_the_end = |datagram: &Datagram| datagram.bytes.windows(8).any(|bytes| bytes == b"BYE sip:");
    let end = recording.datagrams.iter().position(begins_the_end).unwrap();
    let (call, end) = recording.datagrams.split_at(end);

    let mut served = Served::start_with(TLS_ONLY, FEED, |serve| quiet(&serve));
    let feed = served.log_line("listens for HEP switch=pbx address=");
    let tls = served.log_line("door=\"tls\" address=");
    let pid = served.child.id();
    let (session, mut events) = served.recorder(tls).await;
    session.monitor("1001", &[]).await.unwrap();
    let Some(before) = search.run(pid) else {
        skipped(
            "wiped-keys",
            "the gateway's memory may not be read here: that needs root, or the right to trace processes",
        );
        return;
    };
    assert_eq!(before, [""; 0], "nobody has sent a key yet");

    let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    sender.connect(feed).await.unwrap();
    for datagram in call {
        sender.send(&datagram.bytes).await.unwrap();
    }
    // Both directions, each with its key.
    let mut keys = 0;
    while keys < 2 {
        if let Event::MediaOpened(_, media) = timeout(PATIENCE, events.next()).await.unwrap().unwrap() {
            keys += usize::from(media.keys.is_some());
        }
    }
    let during = search.run(pid).unwrap();
    for (n, _) in recording.keys.iter().enumerate() {
        for form in ["key", "salt"] {
            assert!(during.iter().any(|found| found.starts_with(&format!("{form} {n} "))), "{form} {n}: {during:?}");
        }
    }
    assert!(!during.iter().any(|found| found.contains("text")), "the text that they came in is wiped: {during:?}");

    for datagram in end {
        sender.send(&datagram.bytes).await.unwrap();
    }
    let ended = Instant::now();
    loop {
        let after = search.run(pid).unwrap();
        if after.is_empty() {
            println!("no key {:?} after the end was sent", ended.elapsed());
            break;
        }
        assert!(ended.elapsed() < PATIENCE, "the call has ended, and there is still {after:?}");
        tokio::task::yield_now().await;
    }
    drop((session, events));
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
}
