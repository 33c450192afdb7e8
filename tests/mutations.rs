//! The recorded feeds, mutated: no panic, no call of an invalid message, no key that nobody sent, and memory that stays flat.
//!
//! Each round plays a recording under Call-IDs and keys of its own into a feed that has seen all rounds before, and
//! damages every other datagram. `CALLGATE_LONG=1` makes 100,000 mutations of the usual 5,000.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code"
)]

#[path = "../fuzz/harness/mod.rs"]
mod harness;
#[path = "common/sip.rs"]
mod sip;

use std::collections::{HashMap, HashSet};

use base64::{Engine, prelude::BASE64_STANDARD};
use callgate::switch::{hep, tracker::TrackerLimits};
use harness::watched::{self, Watched};

const RECORDINGS: [&str; 5] =
    ["asterisk22-basic", "asterisk22-hold", "asterisk22-transfer", "kamailio-basic", "kamailio-rekey"];

/// SplitMix64: the same numbers in each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

#[test]
fn r42b_mutated_recordings_make_no_call_and_no_key_of_what_is_invalid() {
    let long = std::env::var_os("CALLGATE_LONG").is_some();
    let wanted = if long { 100_000 } else { 5_000 };
    let limits = TrackerLimits { max_calls: 64, max_early: 64, max_addresses: 256, ..TrackerLimits::default() };
    let pbxes = ["127.0.0.1:15060", "127.0.0.1:15070"];
    let phones = ["1001=127.0.0.1:16010", "1002=127.0.0.1:16020", "anna=127.0.0.1:16110", "bert=127.0.0.1:16120"];
    let mut watched = Watched::with_limits(&pbxes, &phones, limits);
    let recordings = RECORDINGS.map(sip::recording);

    let mut random = Random(4475);
    let mut invited = HashSet::new();
    let (mut mutations, mut refused, mut calls, mut keys, mut round) = (0, 0, HashSet::new(), 0, 0);
    let mut resident_early = None;
    while mutations < wanted {
        round += 1;
        let recording = &recordings[random.below(recordings.len())];
        let mut own = Own { round, ..Own::default() };
        let mut accepted = Vec::new();
        for original in recording {
            let mut datagram = own.rename(original);
            if random.one_in(2) {
                let other = own.rename(&recording[random.below(recording.len())]);
                datagram = mutated(&mut random, datagram, &other);
                mutations += 1;
            }
            invited.extend(valid_invite(&datagram));
            watched.wait(20_000);
            let said = watched.events.len();
            if watched.datagram(&datagram).is_err() {
                refused += 1;
                assert_eq!(watched.events.len(), said, "a refused datagram made an event");
            } else if datagram.windows(7).any(|window| window == b"INVITE ") {
                let head = datagram.split(|byte| *byte == b'\n').take_while(|line| *line != b"\r");
                accepted.push(head.map(|line| String::from_utf8_lossy(line).into_owned()).collect::<Vec<_>>());
            }
        }
        watched.wait(10_000_000);
        for event in &watched.events {
            let call_id = &event.call.sip_call_id;
            assert!(invited.contains(call_id), "a call that no valid INVITE began: {call_id:?}, of {accepted:#?}");
            calls.insert(event.call.id);
            keys += usize::from(watched::keys(event).is_some());
        }
        watched.forget();
        if mutations > wanted / 4 && resident_early.is_none() {
            resident_early = Some(resident());
        }
    }
    println!("{mutations} mutations in {round} rounds: {refused} refused, {} calls, {keys} keyed streams", calls.len());
    // The search is not blind: much of what isn't damaged beyond use goes through.
    assert!(refused > wanted / 10 && calls.len() > wanted / 100 && keys > wanted / 100);
    if let (Some(early), Some(end)) = (resident_early.flatten(), resident()) {
        println!("resident: {early} bytes after a quarter, {end} at the end");
        assert!(end < early + 24 * 1024 * 1024, "memory grows: {early} to {end} bytes");
    }
}

/// Bytes of memory in use, where the system tells.
fn resident() -> Option<usize> {
    let pages: usize = std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse().ok()?;
    Some(pages * 4096)
}

/// Names and keys of one round.
#[derive(Default)]
struct Own {
    round: u64,
    keys: HashMap<Vec<u8>, Vec<u8>>,
}

impl Own {
    /// A datagram of a recording under this round's Call-IDs and with its keys; all lengths stay.
    fn rename(&mut self, datagram: &[u8]) -> Vec<u8> {
        let mut renamed = datagram.to_vec();
        let mark = format!("{:08x}", self.round);
        for at in places(datagram, b"\r\nCall-ID: ") {
            let end = at + datagram[at..].iter().position(|byte| *byte == b'\r').unwrap();
            renamed[end - 8..end].copy_from_slice(mark.as_bytes());
        }
        for at in places(datagram, b"inline:") {
            let len =
                datagram[at..].iter().take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte)).count();
            let old = datagram[at..at + len].to_vec();
            let (round, number) = (self.round, self.keys.len() as u64);
            let new = self.keys.entry(old).or_insert_with_key(|old| {
                let mut key = BASE64_STANDARD.decode(old).unwrap();
                let mut random = Random(round << 16 | number);
                key.fill_with(|| random.next().to_le_bytes()[0]);
                BASE64_STANDARD.encode(key).into_bytes()
            });
            renamed[at..at + len].copy_from_slice(new);
        }
        renamed
    }
}

/// Where `part` ends, each time.
fn places(text: &[u8], part: &[u8]) -> Vec<usize> {
    let found = text.windows(part.len()).enumerate().filter(|(_, window)| *window == part);
    found.map(|(at, _)| at + part.len()).collect()
}

/// The Call-ID of an INVITE that is one beyond doubt, judged without the code under test.
fn valid_invite(datagram: &[u8]) -> Option<String> {
    let mut copy = datagram.to_vec();
    let payload = hep::parse(&mut copy, None).ok()?.payload;
    let text = String::from_utf8_lossy(&datagram[payload]).into_owned();
    let text = text.trim_start_matches(['\r', '\n']).replace("\r\n", "\n");
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let head = head.replace("\n ", " ").replace("\n\t", " ");
    let mut lines = head.split('\n');
    let words: Vec<&str> = lines.next()?.split(' ').collect();
    let ["INVITE", uri, "SIP/2.0"] = words[..] else { return None };
    uri.contains(':').then_some(())?;
    let mut fields: HashMap<String, Vec<&str>> = HashMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        fields.entry(name.trim().to_ascii_lowercase()).or_default().push(value.trim());
    }
    let only = |long: &str, short: &str| match (fields.get(long), fields.get(short)) {
        (Some(values), None) | (None, Some(values)) if values.len() == 1 => Some(values[0]),
        _ => None,
    };
    let (number, method) = only("cseq", "")?.split_once([' ', '\t'])?;
    let from = only("from", "f")?;
    let to = only("to", "t")?;
    let length = only("content-length", "l").map_or(Some(0), |length| length.parse::<usize>().ok())?;
    let fits = number.parse::<u32>().is_ok()
        && method.trim() == "INVITE"
        && from.contains(':')
        && from.to_ascii_lowercase().contains("tag")
        && to.contains(':')
        && fields.contains_key("via") | fields.contains_key("v")
        // Line ends count, too: here each is one byte.
        && length <= body.len() + body.matches('\n').count();
    let call_id = only("call-id", "i").filter(|id| !id.is_empty() && !id.contains(char::is_whitespace))?;
    fits.then(|| call_id.to_owned())
}

/// One fault, of the packet or of its payload.
fn mutated(random: &mut Random, datagram: Vec<u8>, other: &[u8]) -> Vec<u8> {
    match random.below(8) {
        0 => flipped(random, datagram),
        1 => cut(random, datagram),
        2 => spliced(random, &datagram, other),
        3 => lied(random, datagram),
        _ => with_payload(random, &datagram, other),
    }
}

fn flipped(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        bytes[at] ^= 1 << random.below(8);
    }
    bytes
}

fn cut(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(random.below(bytes.len()));
    if random.one_in(2) { with_total(bytes) } else { bytes }
}

fn spliced(random: &mut Random, one: &[u8], other: &[u8]) -> Vec<u8> {
    let spliced = [&one[..random.below(one.len())], &other[random.below(other.len())..]].concat();
    if random.one_in(2) { with_total(spliced) } else { spliced }
}

/// A chunk, or the packet, says another length than it has.
fn lied(random: &mut Random, mut bytes: Vec<u8>) -> Vec<u8> {
    let chunks = chunks(&bytes);
    let at = if random.one_in(4) { 4 } else { chunks[random.below(chunks.len())] + 4 };
    let length = u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let lie =
        [length.wrapping_add(1), length.wrapping_sub(1), 0, 5, 6, u16::MAX, u16::try_from(random.below(2000)).unwrap()];
    bytes[at..at + 2].copy_from_slice(&lie[random.below(lie.len())].to_be_bytes());
    bytes
}

/// Where each chunk of a whole packet begins.
fn chunks(packet: &[u8]) -> Vec<usize> {
    let (mut at, mut chunks) = (6, Vec::new());
    while at + 6 <= packet.len() {
        chunks.push(at);
        at += usize::from(u16::from_be_bytes([packet[at + 4], packet[at + 5]]));
    }
    chunks
}

fn with_total(mut packet: Vec<u8>) -> Vec<u8> {
    let len = u16::try_from(packet.len()).unwrap_or(u16::MAX).to_be_bytes();
    if packet.len() >= 6 {
        packet[4..6].copy_from_slice(&len);
    }
    packet
}

fn payload(packet: &[u8]) -> (usize, usize) {
    let chunks = chunks(packet);
    let at = *chunks.iter().find(|at| packet[**at + 2..**at + 4] == [0, 15]).unwrap();
    (at + 6, at + usize::from(u16::from_be_bytes([packet[at + 4], packet[at + 5]])))
}

/// A packet that is well, around a payload that isn't.
fn with_payload(random: &mut Random, packet: &[u8], other: &[u8]) -> Vec<u8> {
    let (start, end) = payload(packet);
    let (other_start, other_end) = payload(other);
    let mut text = faulty(random, &packet[start..end], &other[other_start..other_end]);
    if random.one_in(2) {
        text = with_true_length(&text);
    }
    text.truncate(60_000);
    let len = u16::try_from(text.len() + 6).unwrap().to_be_bytes();
    with_total([&packet[..start - 2], &len, &text, &packet[end..]].concat())
}

fn faulty(random: &mut Random, text: &[u8], other: &[u8]) -> Vec<u8> {
    let mut lines: Vec<Vec<u8>> = text.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let others: Vec<&[u8]> = other.split_inclusive(|byte| *byte == b'\n').collect();
    if lines.is_empty() || others.is_empty() {
        return other.to_vec();
    }
    let (at, to) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(14) {
        0 => {
            lines.remove(at);
        }
        1 => {
            let line = lines[at].clone();
            lines.insert(to, line);
        }
        2 => lines.swap(at, to),
        3 => lines.insert(at, others[random.below(others.len())].to_vec()),
        4 => lines[at] = others[random.below(others.len())].to_vec(),
        // The next line becomes a continuation.
        5 => lines[at].insert(0, b' '),
        6 => lines[at] = flipped(random, lines[at].clone()),
        7 => lines[at].retain(|byte| *byte != b'\r'),
        8 => lines[at].retain(|byte| *byte != b'\n'),
        9 => {
            let byte =
                *[b'"', b'<', b'>', b',', b';', b':', b'|', b'=', b' ', 0, 0xff, b'\r'].get(random.below(12)).unwrap();
            let place = random.below(lines[at].len());
            lines[at].insert(place, byte);
        }
        10 => {
            let numbers = ["-1", "0", "99999999999", "4294967296", "2^48", "1e9"];
            let line = String::from_utf8_lossy(&lines[at]).into_owned();
            let digits: Vec<&str> =
                line.split(|c: char| !c.is_ascii_digit()).filter(|digits| !digits.is_empty()).collect();
            if !digits.is_empty() {
                lines[at] = line.replacen(digits[random.below(digits.len())], numbers[random.below(6)], 1).into_bytes();
            }
        }
        11 => {
            let start = random.below(lines[at].len());
            let end = start + random.below(lines[at].len() - start);
            lines[at].drain(start..end);
        }
        12 => {
            let again = lines[at].repeat(1 + random.below(60));
            lines[at] = again;
        }
        // A key of the other message.
        _ => {
            let key = |text: &[u8]| text.windows(7).position(|window| window == b"inline:").map(|at| at + 7);
            if let (Some(mine), Some(theirs)) = (lines.iter().position(|line| key(line).is_some()), key(other)) {
                let start = key(&lines[mine]).unwrap();
                let theirs: Vec<u8> = other[theirs..].iter().copied().take_while(|byte| *byte != b'\r').collect();
                lines[mine].splice(start.., theirs.into_iter().chain(*b"\r\n"));
            }
        }
    }
    lines.concat()
}

/// So that the fault is found by what comes behind the length.
fn with_true_length(text: &[u8]) -> Vec<u8> {
    let name = b"\r\nContent-Length: ";
    let Some(start) = text.windows(name.len()).position(|window| window == name).map(|at| at + name.len()) else {
        return text.to_vec();
    };
    let digits = text[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let Some(body) = text.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4) else {
        return text.to_vec();
    };
    let length = (text.len() - body).to_string();
    [&text[..start], length.as_bytes(), &text[start + digits..]].concat()
}
