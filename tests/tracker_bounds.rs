//! Whatever comes, memory is bounded, nothing panics, and no key is left in a datagram.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "common/sip.rs"]
mod sip;

use std::time::{Duration, Instant};

use callgate::{
    model::{CallState, EndCause, EventBody, Secret, Timestamp},
    switch::{
        feed::{FeedConfig, FeedError, HepFeed},
        hep::HepError,
        tracker::TrackerLimits,
    },
};
use proptest::prelude::*;
use sip::{Dialog, Lab, Sdp, hep, recording, secrets_in};

const PBX: &str = "10.0.0.1:5060";
const ANN: &str = "10.0.0.2:5060";
const D: Dialog = Dialog { call_id: "one", b: "b" };

#[test]
fn r41a_a_flood_of_calls_is_bounded_and_an_answered_call_survives_it() {
    let limits = TrackerLimits { max_calls: 1000, max_addresses: 1000, ..TrackerLimits::default() };
    let mut lab = Lab::with_limits(&[PBX], &["ann=10.0.0.2:5060"], limits);
    lab.send(ANN, PBX, &D.invite(1, Some(&Sdp::secure("10.0.0.2:4000", 'A'))));
    lab.send(PBX, ANN, &D.ok(1, Some(&Sdp::secure("10.0.0.1:5000", 'P'))));
    lab.said();

    let flood = D.invite(1, Some(&Sdp::secure("10.9.9.9:4000", 'F')));
    let (mut begun, mut ended) = (0, 0);
    for i in 0u32..100_000 {
        let from = format!("10.{}.{}.{}:5060", 128 + i / 65_536, i / 256 % 256, i % 256);
        let text = flood.replace("Call-ID: one", &format!("Call-ID: flood{i}"));
        let mut datagram = hep(from.parse().unwrap(), PBX.parse().unwrap(), 0, text.as_bytes());
        lab.feed.on_datagram(&mut datagram, Timestamp(0), lab.now, &mut lab.events).unwrap();
        for event in lab.events.drain(..).filter(|event| event.device.as_str() != "ann") {
            match event.body {
                EventBody::Call(CallState::Dialing) => begun += 1,
                EventBody::Call(CallState::Ended(EndCause::Forgotten)) => ended += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(begun, 100_000);
    assert!((99_001..=99_002).contains(&ended), "{ended}");
    assert!(lab.feed.devices().count() <= 1001);

    lab.send(PBX, ANN, &D.request("BYE", false, 1, None));
    let last = lab.events.last().unwrap();
    assert!(matches!(last.body, EventBody::Call(CallState::Ended(EndCause::Hangup))));
}

#[test]
fn r41a_answers_to_nothing_are_kept_only_up_to_their_bound() {
    let mut lab = Lab::new(&[PBX], &[]);
    let answer = D.ok(1, Some(&Sdp::secure("10.9.9.9:4000", 'F')));
    for i in 0..5000 {
        lab.send(PBX, ANN, &answer.replace("Call-ID: one", &format!("Call-ID: flood{i}")));
    }
    assert!(lab.said().is_empty());
    lab.wait(Duration::from_secs(2));
    assert_eq!(lab.feed.deadline(), None);
}

#[test]
fn r42b_a_datagram_without_the_password_is_refused_and_wiped() {
    let mut feed = HepFeed::new(FeedConfig {
        name: "lab".parse().unwrap(),
        pbxes: vec![],
        devices: vec![],
        password: Some(Secret::new(b"sesame".to_vec())),
        first_id: 1,
        limits: TrackerLimits::default(),
    });
    let invite = D.invite(1, Some(&Sdp::secure("10.0.0.2:4000", 'A')));
    let mut datagram = hep(ANN.parse().unwrap(), PBX.parse().unwrap(), 0, invite.as_bytes());
    let mut out = Vec::new();
    let result = feed.on_datagram(&mut datagram, Timestamp(0), Instant::now(), &mut out);
    assert_eq!(result, Err(FeedError::Hep(HepError::Password)));
    assert!(datagram.iter().all(|byte| *byte == 0) && out.is_empty());
}

#[test]
fn r20_no_event_and_no_error_shows_a_key() {
    let mut lab = Lab::new(&[PBX], &[]);
    lab.send(ANN, PBX, &D.invite(1, Some(&Sdp::secure("10.0.0.2:4000", 'A'))));
    lab.send(PBX, ANN, &D.ok(1, Some(&Sdp::secure("10.0.0.1:5000", 'P'))));
    let shown = format!("{:?}", lab.events);
    for secret in [sip::key('A'), sip::key('P'), "41414141".into(), "AAAA".into(), "65, 65".into(), "c0ffee".into()] {
        assert!(!shown.contains(&secret), "{secret}");
    }
}

fn real() -> Vec<Vec<u8>> {
    ["asterisk22-basic", "asterisk22-hold"].into_iter().flat_map(recording).collect()
}

/// Takes a datagram that may be anything. The keys that it had must be gone, however it was mangled.
fn take(lab: &mut Lab, mut datagram: Vec<u8>) {
    let secrets = secrets_in(&datagram);
    lab.now += Duration::from_millis(300);
    lab.feed.on_time(lab.now, &mut lab.events);
    let _ = lab.feed.on_datagram(&mut datagram, Timestamp(0), lab.now, &mut lab.events);
    for secret in secrets {
        assert!(!datagram.windows(secret.len()).any(|window| window == secret));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn r42b_arbitrary_bytes_never_panic(datagram in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut lab = Lab::new(&[], &[]);
        take(&mut lab, datagram.clone());
        take(&mut lab, hep(ANN.parse().unwrap(), PBX.parse().unwrap(), 0, &datagram));
    }

    #[test]
    fn r42b_mangled_calls_never_panic_and_leave_no_key(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), 0u8..4), 1..40),
    ) {
        let mut datagrams = real();
        for (which, place, byte, kind) in edits {
            let i = which.index(datagrams.len());
            let at = place.index(datagrams[i].len().max(1));
            match kind {
                0 => datagrams[i].truncate(at),
                1 if at < datagrams[i].len() => datagrams[i][at] = byte,
                2 => datagrams.swap(i, at % real().len()),
                _ => {
                    // A mangled message in a sound packet gets further.
                    let end = datagrams[i].len();
                    if at + 4 < end && at > 200 {
                        datagrams[i][at..at + 4].copy_from_slice(&[byte, b'\n', b' ', byte]);
                    }
                }
            }
        }
        let mut lab = Lab::new(&[], &[]);
        for datagram in datagrams {
            take(&mut lab, datagram);
        }
        lab.wait(Duration::from_secs(48 * 3600));
        lab.wait(Duration::from_secs(60));
        prop_assert_eq!(lab.feed.deadline(), None);
    }
}
