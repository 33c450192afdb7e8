//! The recorded calls of a real PBX become exactly their calls, streams and keys.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "common/sip.rs"]
mod sip;

use callgate::model::{CallDirection, EventBody, Protection};
use sip::{Lab, recording};

const PBX: &str = "127.0.0.1:15060";
const PHONES: [&str; 2] = ["ann=127.0.0.1:16010", "bob=127.0.0.1:16020"];

fn play(lab: &mut Lab, datagrams: &[Vec<u8>]) -> Vec<String> {
    for datagram in datagrams {
        lab.datagram(datagram.clone()).unwrap();
    }
    // The letter of a real key means nothing.
    lab.said().into_iter().map(|line| line.chars().filter(char::is_ascii).collect::<String>()).collect()
}

/// The lines without what a real key happens to show, and only those of the phones.
fn of_phones(lines: &[String]) -> Vec<String> {
    let phones = lines.iter().filter(|line| !line.starts_with(PBX));
    phones.map(|line| line.split_once(" g1").map_or(line.clone(), |(begin, _)| format!("{begin} g1"))).collect()
}

const BASIC: [&str; 16] = [
    "ann Dialing",
    "bob Offered",
    "bob Alerting",
    "ann Alerting",
    "bob Connected",
    "bob s1 sent open 127.0.0.1:20110 g1",
    "bob s2 received open 127.0.0.1:22046 g1",
    "ann Connected",
    "ann s3 sent open 127.0.0.1:20212 g1",
    "ann s4 received open 127.0.0.1:21114 g1",
    "ann s3 sent stop Ended g1",
    "ann s4 received stop Ended g1",
    "ann Ended(Hangup)",
    "bob s1 sent stop Ended g1",
    "bob s2 received stop Ended g1",
    "bob Ended(Hangup)",
];

const HOLD: [&str; 20] = [
    "ann Dialing",
    "bob Offered",
    "bob Alerting",
    "ann Alerting",
    "bob Connected",
    "bob s1 sent open 127.0.0.1:20112 g1",
    "bob s2 received open 127.0.0.1:22176 g1",
    "ann Connected",
    "ann s3 sent open 127.0.0.1:20678 g1",
    "ann s4 received open 127.0.0.1:21122 g1",
    "ann Held",
    "ann s4 received stop Hold g1",
    "ann Connected",
    "ann s4 received open 127.0.0.1:21122 g1",
    "ann s3 sent stop Ended g1",
    "ann s4 received stop Ended g1",
    "ann Ended(Hangup)",
    "bob s1 sent stop Ended g1",
    "bob s2 received stop Ended g1",
    "bob Ended(Hangup)",
];

#[test]
fn a_recorded_call_is_two_legs_of_two_streams_each() {
    let mut lab = Lab::new(&[PBX], &PHONES);
    let lines = play(&mut lab, &recording("asterisk22-basic"));
    assert_eq!(of_phones(&lines), BASIC);
    assert_eq!(lab.calls().len(), 2);
    let directions: Vec<_> = lab.events[..2].iter().map(|event| event.call.direction).collect();
    assert_eq!(directions, [CallDirection::Outgoing, CallDirection::Incoming]);
    assert_eq!(lab.events[0].call.calling.uri, "sip:1001@127.0.0.1:15060");
}

#[test]
fn r18_the_keys_of_a_recorded_call_are_four_and_fit_their_suite() {
    let mut lab = Lab::new(&[PBX], &PHONES);
    play(&mut lab, &recording("asterisk22-basic"));
    let mut keys = Vec::new();
    for event in &lab.events {
        let EventBody::MediaOpened(opened) = &event.body else { continue };
        let Protection::Keyed { keys: material, since, .. } = &opened.protection else { panic!("{opened:?}") };
        assert_eq!(*since, event.at);
        keys.push(material.keys()[0].key.expose().to_vec());
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 4);
}

#[test]
fn r22_hold_and_resume_of_a_recorded_call_keep_the_generation() {
    let mut lab = Lab::new(&[PBX], &PHONES);
    let lines = play(&mut lab, &recording("asterisk22-hold"));
    assert_eq!(of_phones(&lines), HOLD);
}

#[test]
fn a_pbx_that_nobody_configured_is_found() {
    for (name, expected) in [("asterisk22-basic", &BASIC[..]), ("asterisk22-hold", &HOLD[..])] {
        let mut lab = Lab::new(&[], &PHONES);
        let lines = play(&mut lab, &recording(name));
        assert_eq!(of_phones(&lines), expected, "{name}");
        let of_pbx: Vec<_> = lines.iter().filter(|line| line.starts_with(PBX)).map(String::as_str).collect();
        assert_eq!(of_pbx, ["127.0.0.1:15060 Offered", "127.0.0.1:15060 Ended(NotADevice)"], "{name}");
        assert_eq!(lab.feed.pbxes(), [PBX.parse().unwrap()]);
    }
}

#[test]
fn every_message_twice_is_every_message_once() {
    for (name, expected) in [("asterisk22-basic", &BASIC[..]), ("asterisk22-hold", &HOLD[..])] {
        let twice: Vec<_> = recording(name).into_iter().flat_map(|datagram| [datagram.clone(), datagram]).collect();
        let mut lab = Lab::new(&[PBX], &PHONES);
        assert_eq!(of_phones(&play(&mut lab, &twice)), expected, "{name}");
    }
}

#[test]
fn any_two_messages_that_change_places_change_nothing_in_the_end() {
    for name in ["asterisk22-basic", "asterisk22-hold"] {
        let straight = recording(name);
        let sorted = |datagrams: &[Vec<u8>]| {
            let mut lab = Lab::new(&[PBX], &PHONES);
            let mut lines = of_phones(&play(&mut lab, datagrams));
            lines.iter_mut().for_each(|line| *line = without_stream(line));
            // Legs may pass each other; within a leg the order must stand.
            lines.sort_by_key(|line| line.starts_with("bob"));
            lines
        };
        let expected = sorted(&straight);
        for i in 1..straight.len() {
            let mut swapped = straight.clone();
            swapped.swap(i - 1, i);
            let mut lines = sorted(&swapped);
            // An answer that overtakes the ringing leaves nothing to ring for.
            if lines.len() < expected.len() {
                let at = expected.iter().zip(&lines).position(|(a, b)| a != b).unwrap();
                assert!(expected[at].ends_with("Alerting"), "{name} {i}: {lines:#?}");
                lines.insert(at, expected[at].clone());
            }
            assert_eq!(lines, expected, "{name}: {} and {i} swapped", i - 1);
        }
    }
}

fn without_stream(line: &str) -> String {
    line.split(' ').filter(|word| !(word.len() == 2 && word.starts_with('s'))).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_feed_that_begins_in_mid_call_knows_the_call_from_the_next_offer_on() {
    let mut lab = Lab::new(&[PBX], &PHONES);
    let lines = play(&mut lab, &recording("asterisk22-hold")[12..]);
    assert_eq!(
        of_phones(&lines),
        [
            "ann Connected",
            "ann Held",
            "ann s1 sent open 127.0.0.1:20678 g1",
            "ann s2 keyed g1",
            "ann Connected",
            "ann s2 received open 127.0.0.1:21122 g1",
            "ann s1 sent stop Ended g1",
            "ann s2 received stop Ended g1",
            "ann Ended(Hangup)",
        ]
    );
    assert_eq!(lab.events[0].call.direction, CallDirection::Unknown);
}
