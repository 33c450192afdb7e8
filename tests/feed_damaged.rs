//! Recorded calls whose signalling comes twice, with gaps, out of order or from the middle on: no key is ever wrong, and
//! what can be known is known.
//!
//! `CALLGATE_LONG=1` tries thirty times as many seeds.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "common/recorded.rs"]
mod recorded;

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use callgate::{
    model::{CallState, EndCause, EventBody, MediaOpened, Protection, SwitchEvent, Timestamp},
    switch::{
        feed::{FeedConfig, HepFeed},
        tracker::TrackerLimits,
    },
};
use recorded::{Datagram, Known, NAMES, PBXES, PHONES, Random, Recording, knowable, lossy, shuffled, twice};

fn seeds() -> u64 {
    if std::env::var_os("CALLGATE_LONG").is_some() { 3_000 } else { 100 }
}

/// A feed that knows the PBXs, or must find them.
fn feed(pbxes: &[&str]) -> HepFeed {
    HepFeed::new(FeedConfig {
        name: "pbx".parse().unwrap(),
        pbxes: pbxes.iter().map(|pbx| pbx.parse().unwrap()).collect(),
        devices: PHONES.map(|(address, name)| (address.parse().unwrap(), name.parse().unwrap())).into(),
        password: None,
        first_id: 1,
        limits: TrackerLimits::default(),
    })
}

/// Plays them by the times of their capture, and a while beyond.
fn play(datagrams: &[Datagram], mut feed: HepFeed) -> Vec<SwitchEvent> {
    let start = Instant::now();
    let mut events = Vec::new();
    let first = datagrams.first().map_or(0, |datagram| datagram.at);
    let mut now = start;
    for Datagram { at, bytes, .. } in datagrams {
        now = start + Duration::from_micros(u64::try_from(at - first).unwrap_or(0));
        while let Some(due) = feed.deadline().filter(|due| *due <= now) {
            feed.on_time(due, &mut events);
        }
        feed.on_datagram(&mut bytes.clone(), Timestamp(*at), now, &mut events).unwrap();
    }
    feed.on_time(now + Duration::from_secs(2), &mut events);
    events
}

/// What was told of open streams. What was told of held ones is proven to be right by the way.
fn known(events: &[SwitchEvent]) -> Known {
    assert_keyed(events);
    opened(events).into_iter().filter_map(|(device, to, key)| Some((device, to, key?))).collect()
}

/// A key that is told while its stream doesn't flow is one of what that stream has when it flows, if it does again.
fn assert_keyed(events: &[SwitchEvent]) {
    let mut keyed = HashMap::new();
    for event in events {
        match &event.body {
            EventBody::MediaKeyed { stream, generation, keys } => {
                keyed.insert((*stream, *generation), keys.clone());
            }
            EventBody::MediaOpened(MediaOpened {
                stream,
                protection: Protection::Keyed { generation, keys, .. },
                ..
            }) => {
                if let Some(told) = keyed.get(&(*stream, *generation)) {
                    assert!(told.same_generation(keys), "{stream:?} {generation:?}: another key than was told");
                }
            }
            _ => {}
        }
    }
}

/// Device, destination and key of each stream that opened; no key if the switch side doesn't know it.
fn opened(events: &[SwitchEvent]) -> Vec<(String, std::net::SocketAddr, Option<Vec<u8>>)> {
    let media = events.iter().filter_map(|event| match &event.body {
        EventBody::MediaOpened(opened) => Some((event.device.to_string(), opened)),
        _ => None,
    });
    media
        .map(|(device, opened)| {
            let key = match &opened.protection {
                Protection::Keyed { keys, .. } => {
                    Some([keys.keys()[0].key.expose(), keys.keys()[0].salt.expose()].concat())
                }
                Protection::Unknown { .. } => None,
                Protection::Clear => panic!("all media of the recordings are encrypted"),
            };
            (device, opened.destination, key)
        })
        .collect()
}

/// Every event as text; keys as numbers that tell them apart.
fn told(events: &[SwitchEvent]) -> Vec<String> {
    let tell = |event: &SwitchEvent| {
        let (head, body) = (format!("{} {} {:?}", event.device, event.call.id, event.at), format!("{:?}", event.body));
        let key = opened(std::slice::from_ref(event)).pop().map(|(_, _, key)| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            hasher.finish()
        });
        format!("{head} {body} {key:?}")
    };
    events.iter().map(tell).collect()
}

fn recordings() -> Vec<Recording> {
    NAMES.map(Recording::load).into()
}

#[test]
fn the_truth_is_not_empty() {
    for recording in recordings() {
        let streams = if recording.name.starts_with("kamailio") { 2 } else { 4 };
        assert_eq!(recording.truth.len(), streams, "{}", recording.name);
        assert!(recording.truth.values().all(|keys| !keys.is_empty()), "{}", recording.name);
        // Each phone sees both directions of its own leg, or of the one dialog there is.
        let all = knowable(&recording.datagrams);
        recording.assert_true(&all, "what can be known");
        let of_streams: usize = recording.truth.values().map(std::collections::BTreeMap::len).sum();
        let seen_by = if streams == 2 { 2 } else { 1 };
        assert_eq!(all.len(), of_streams * seen_by, "{}", recording.name);
    }
}

#[test]
fn in_order_all_keys_are_known_and_the_last_ones_are_those_in_use() {
    for recording in recordings() {
        let events = play(&recording.datagrams, feed(&PBXES));
        assert_eq!(known(&events), knowable(&recording.datagrams), "{}", recording.name);
        assert_last_keys(&recording, &events, "in order");
    }
}

/// The last that was told of each stream is the key that its last packets are under.
fn assert_last_keys(recording: &Recording, events: &[SwitchEvent], what: &str) {
    for (device, destination) in known(events).into_iter().map(|(device, destination, _)| (device, destination)) {
        let all = opened(events);
        let (_, _, last) = all.iter().rfind(|(d, to, _)| *d == device && *to == destination).unwrap();
        assert!(last.as_ref() == recording.last_key(destination), "{}: {what}: {device} {destination}", recording.name);
    }
}

#[test]
fn each_message_twice_is_each_message_once() {
    for recording in recordings() {
        let once = told(&play(&recording.datagrams, feed(&PBXES)));
        let both = told(&play(&twice(&recording.datagrams), feed(&PBXES)));
        assert_eq!(once, both, "{}", recording.name);
    }
}

#[test]
fn r42b_of_one_in_ten_lost_exactly_the_keys_with_offer_and_answer_are_known() {
    for recording in recordings() {
        for seed in 0..seeds() {
            let rest = lossy(&recording.datagrams, &mut Random::new(seed));
            let events = play(&rest, feed(&PBXES));
            let known = known(&events);
            recording.assert_true(&known, &format!("seed {seed}"));
            assert!(known == knowable(&rest), "{}: seed {seed}: {:#?}", recording.name, told(&events));
        }
    }
}

#[test]
fn r42b_shuffled_within_5_ms_all_is_known_and_the_last_keys_are_those_in_use() {
    for recording in recordings() {
        let all = knowable(&recording.datagrams);
        for seed in 0..seeds() {
            let mixed = shuffled(&recording.datagrams, &mut Random::new(seed));
            let events = play(&mixed, feed(&PBXES));
            assert!(known(&events) == all, "{}: seed {seed}: {:#?}", recording.name, told(&events));
            assert_last_keys(&recording, &events, &format!("seed {seed}"));
            assert_ended(&recording, &events, seed);
        }
    }
}

/// Every call of every phone is hung up, and none comes to life again.
fn assert_ended(recording: &Recording, events: &[SwitchEvent], seed: u64) {
    let mut last = std::collections::BTreeMap::new();
    for event in events {
        if let EventBody::Call(state) = event.body {
            last.insert((event.device.to_string(), event.call.id), state);
        }
    }
    assert_eq!(last.len(), 2, "{}: seed {seed}: {:#?}", recording.name, told(events));
    for state in last.values() {
        assert_eq!(*state, CallState::Ended(EndCause::Hangup), "{}: seed {seed}", recording.name);
    }
}

#[test]
fn r42b_lost_shuffled_and_twice_no_key_is_wrong() {
    for recording in recordings() {
        for seed in 0..seeds() {
            let random = &mut Random::new(seed);
            let damaged = lossy(&shuffled(&twice(&recording.datagrams), random), random);
            for pbxes in [&PBXES[..], &[]] {
                let events = play(&damaged, feed(pbxes));
                recording.assert_true(&known(&events), &format!("seed {seed}"));
            }
        }
    }
}

#[test]
fn r42b_from_the_middle_on_exactly_what_is_offered_and_answered_again_is_known() {
    for recording in recordings() {
        for from in 0..=recording.datagrams.len() {
            let rest = &recording.datagrams[from..];
            let events = play(rest, feed(&PBXES));
            assert!(known(&events) == knowable(rest), "{}: from {from}: {:#?}", recording.name, told(&events));
            recording.assert_true(&known(&play(rest, feed(&[]))), &format!("from {from}"));
        }
    }
}

#[test]
fn hold_and_resume_heal_a_call_whose_beginning_was_lost() {
    let recording = Recording::load("asterisk22-hold");
    let whole = knowable(&recording.datagrams);
    let of_holder = |known: &Known| known.iter().filter(|(device, ..)| device == "1001").cloned().collect::<Known>();
    let healed = known(&play(&recording.datagrams[12..], feed(&PBXES)));
    assert!(healed == of_holder(&whole) && healed.len() == 2);
}
