//! What the fuzz targets do with their bytes, and what they hold against the answers.
//!
//! Shared by `fuzz/fuzz_targets/` and by tests: `tests/fuzz_corpus.rs` runs each committed input through them, and
//! `tests/mutations.rs` uses [`watched`]. The session's harness looks at private parts, and stands in `src/cti/fuzzing.rs`.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each user takes a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a harness fails loudly"
)]

pub mod inline;
pub mod watched;

use std::io::Cursor;

use callgate::switch::{
    capture::Capture,
    hep, scan,
    sip::{MAX_ID_LEN, Message},
};
use callgate_wire::{FrameDecoder, MAX_FRAME_OPEN, encode_frame, v1};

use self::watched::Watched;

/// Frames, cut into pieces of the length in the first byte.
pub fn frames(data: &[u8]) {
    let Some((piece, data)) = data.split_first() else { return };
    let mut decoder = FrameDecoder::new(MAX_FRAME_OPEN);
    for piece in data.chunks(usize::from(*piece).max(1)) {
        decoder.extend(piece);
        loop {
            let frame = match decoder.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return,
            };
            assert!(frame.len() <= MAX_FRAME_OPEN);
            again::<v1::ToGateway>(&frame);
            if let Some(message) = again::<v1::ToApp>(&frame) {
                unseen(&message);
            }
        }
        assert!(decoder.buffered() <= MAX_FRAME_OPEN + callgate_wire::HEADER_LEN);
    }
}

/// What can be decoded comes back the same after encoding.
fn again<M: prost::Message + Default + PartialEq + std::fmt::Debug>(frame: &[u8]) -> Option<M> {
    let message = M::decode(frame).ok()?;
    let mut encoded = Vec::new();
    encode_frame(&message, &mut encoded);
    let mut decoder = FrameDecoder::new(usize::MAX);
    decoder.extend(&encoded);
    // By their text: a floating-point number may be none.
    let decoded = decoder.next_message::<M>().unwrap().unwrap();
    assert_eq!(format!("{message:?}"), format!("{decoded:?}"));
    Some(message)
}

/// No key in what a message is shown as.
fn unseen(message: &v1::ToApp) {
    let Some(v1::to_app::Message::Event(event)) = &message.message else { return };
    let Some(v1::event::Body::MediaOpened(opened)) = &event.body else { return };
    let Some(keys) = &opened.keys else { return };
    // What is shown of a key depends on its lengths and numbers only.
    for key in &keys.keys {
        let blank =
            v1::SrtpKey { key: vec![0; key.key.len()].into(), salt: vec![0; key.salt.len()].into(), ..key.clone() };
        assert_eq!(format!("{key:?}"), format!("{blank:?}"));
    }
}

/// Datagrams, each behind its length in two bytes.
pub fn hep(data: &[u8]) {
    let mut watched = Watched::new(&["127.0.0.1:15060"], &["1001=127.0.0.1:16010", "1002=127.0.0.1:16020"]);
    for datagram in pieces(data) {
        for password in [None, Some(callgate::model::Secret::new(b"password".to_vec()))] {
            let mut copy = datagram.to_vec();
            let kept = hep::parse(&mut copy, password.as_ref()).map_or(0..0, |packet| packet.payload);
            assert_eq!(&copy[kept.clone()], &datagram[kept.clone()]);
            assert!(copy.iter().enumerate().all(|(i, byte)| *byte == 0 || kept.contains(&i)), "not wiped");
        }
        let _ = watched.datagram(datagram);
    }
}

/// One payload: redacted, and read as a message.
pub fn sip(data: &[u8]) {
    let mut text = data.to_vec();
    let keys = scan::redact(&mut text);
    inline::assert_wiped(data, &text);
    assert!(keys.len() <= scan::MAX_KEYS);
    let Ok(message) = Message::parse(&text, &keys) else { return };
    assert!(!message.call_id.is_empty() && !message.from.tag.is_empty());
    for id in [&message.call_id, &message.from.tag, &message.to.tag] {
        assert!(id.len() <= MAX_ID_LEN && id.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    assert!(message.contacts.len() <= 16 && message.record_routes.len() <= 16);
    inline::assert_from(data, &message);
}

/// Payloads between a PBX and two phones, each behind a byte that says who speaks and how long after, and its length.
pub fn call(data: &[u8]) {
    const PBX: &str = "192.0.2.10:5060";
    const PHONES: [&str; 2] = ["192.0.2.1:5060", "192.0.2.2:5060"];
    let mut watched = Watched::new(&[PBX], &["ann=192.0.2.1:5060", "bob=192.0.2.2:5060"]);
    let mut rest = data;
    while let Some((how, behind)) = rest.split_first() {
        let Some((payload, behind)) = piece(behind) else { return };
        rest = behind;
        let phone = PHONES[usize::from(how & 1)];
        let (from, to) = if how & 2 == 0 { (phone, PBX) } else { (PBX, phone) };
        watched.wait(1 << (how >> 3));
        let _ = watched.datagram(&watched::hep(from, to, payload));
    }
    watched.wait(1 << 40);
}

/// A capture file; what HEP it holds goes through a feed.
pub fn capture(data: &[u8]) {
    let Ok(mut capture) = Capture::from_reader(Cursor::new(data.to_vec())) else { return };
    let mut watched = Watched::new(&["127.0.0.1:15060"], &[]);
    let mut datagrams = 0;
    for packet in capture.by_ref() {
        let Ok(packet) = packet else { break };
        datagrams += 1;
        assert!(packet.payload.len() <= data.len(), "more came out than went in");
        if packet.is_hep() {
            let _ = watched.datagram(&packet.payload);
        }
    }
    let counts = capture.counts();
    assert_eq!(counts.datagrams, datagrams);
    assert!(counts.records <= data.len() as u64);
}

/// Pieces, each behind its length in two bytes, big endian.
pub fn pieces(mut data: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (found, rest) = piece(data)?;
        data = rest;
        Some(found)
    })
}

fn piece(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = data.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)).min(rest.len()))
}
