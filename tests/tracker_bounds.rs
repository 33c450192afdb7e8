//! Whatever comes, memory is bounded, nothing panics, and no key is left in a datagram.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "common/sip.rs"]
mod sip;

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use callgate::{
    model::{Address, CallState, EndCause, EventBody, Secret, Timestamp, Transport},
    switch::{
        feed::{FeedConfig, FeedError, HepFeed},
        hep::HepError,
        scan::{Keys, redact},
        sip::Message,
        tracker::{Bound, Captured, Moment, Tracker, TrackerLimits},
    },
};
use proptest::prelude::*;
use sip::{Dialog, Lab, Sdp, hep, recording, secrets_in};

const PBX: &str = "10.0.0.1:5060";
const ANN: &str = "10.0.0.2:5060";
const D: Dialog = Dialog { call_id: "one", b: "b" };

/// How many calls a flood has; the parser is slow when it isn't optimised.
const FLOOD: u32 = 10_000;

#[test]
fn r41a_a_flood_of_calls_is_bounded_and_an_answered_call_survives_it() {
    let limits = TrackerLimits { max_calls: 1000, max_addresses: 1000, ..TrackerLimits::default() };
    let mut lab = Lab::with_limits(&[PBX], &["ann=10.0.0.2:5060"], limits);
    lab.send(ANN, PBX, &D.invite(1, Some(&Sdp::secure("10.0.0.2:4000", 'A'))));
    lab.send(PBX, ANN, &D.ok(1, Some(&Sdp::secure("10.0.0.1:5000", 'P'))));
    lab.said();

    let flood = D.invite(1, Some(&Sdp::secure("10.9.9.9:4000", 'F')));
    let (mut begun, mut ended) = (0, 0);
    for i in 0u32..FLOOD {
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
    assert_eq!(begun, FLOOD);
    assert_eq!(ended, FLOOD - 1000 + 1);
    assert!(lab.feed.devices().count() <= 1001);

    lab.send(PBX, ANN, &D.request("BYE", false, 1, None));
    lab.send(ANN, PBX, &D.response(200, "BYE", false, 1, None));
    let last = lab.events.last().unwrap();
    assert!(matches!(last.body, EventBody::Call(CallState::Ended(EndCause::Hangup))));
}

#[test]
fn r41a_a_hundred_thousand_calls_leave_the_tracker_bounded() {
    let limits = TrackerLimits { max_calls: 1000, max_addresses: 500, ..TrackerLimits::default() };
    let mut tracker = Tracker::new("lab".parse().unwrap(), vec![], vec![], 1, limits);
    let message = Message::parse(D.invite(1, None).as_bytes(), &Keys::default()).unwrap();
    let moment = Moment { now: Instant::now(), at: Timestamp(0) };
    let (mut out, mut running) = (Vec::new(), 0usize);
    for i in 0u32..100_000 {
        // The order of a generator of Lehmer's: no two alike, and no two in a row.
        let number = u64::from(i) * 48_271 % 2_147_483_647;
        let ip = |net: u8| IpAddr::from([net, (number >> 16) as u8, (number >> 8) as u8, number as u8]);
        let captured = Captured {
            source: Address::new(Transport::Udp, ip(11), 5060),
            destination: Address::new(Transport::Udp, ip(12), 5060),
            switch_call: None,
            message: Message { call_id: format!("flood{number}"), ..message.clone() },
        };
        tracker.on_message(captured, moment, &mut out);
        for event in out.drain(..) {
            match event.body {
                EventBody::Call(CallState::Ended(_)) => running -= 1,
                EventBody::Call(_) => running += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(running <= 2 * 1000);
    }
    assert!(tracker.devices().count() <= 500);
    tracker.on_time(moment.now + Duration::from_secs(3600), &mut out);
    tracker.on_time(moment.now + Duration::from_secs(25 * 3600), &mut out);
    assert_eq!((running, tracker.deadline(), tracker.devices().count()), (out.len(), None, 0));
}

#[test]
fn r41a_no_text_takes_more_than_its_share_of_time() {
    let begin = Instant::now();
    for text in [
        "\r\n",
        "a=crypto:1 S x ",
        "inline:",
        "inline: ",
        ": ",
        "a:b,",
        "<\"",
        "--x\r\n",
        "m=audio 1 RTP/AVP 0\r\n",
        ";x=",
        " \n",
        "\r",
        "\r ",
        "\n ",
        "a\r",
        "a=\r\n\t",
    ] {
        let head = "Content-Type: multipart/mixed;boundary=x\r\nContact: ";
        for before in [
            "",
            &D.invite(1, None).replace("Content-Length: 0\r\n\r\n", head),
            &D.invite(1, None).replace("Length: 0", "Type: application/sdp"),
        ] {
            let many = format!("{before}{}:", text.repeat(50_000 / text.len()));
            let mut datagram = hep(ANN.parse().unwrap(), PBX.parse().unwrap(), 0, many.as_bytes());
            let mut lab = Lab::new(&[], &[]);
            let _ = lab.feed.on_datagram(&mut datagram, Timestamp(0), lab.now, &mut lab.events);
        }
    }
    // What takes time by the square of the length takes minutes for these.
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
}

#[test]
fn r41a_the_search_for_secrets_takes_time_by_the_length_of_a_text() {
    for piece in [
        "\r",
        "\r ",
        "\n ",
        "\r\n\t",
        "a\r",
        "a=\r",
        "a=crypto\r",
        "A \r= ",
        "k\n ",
        "inline\r",
        "e :",
        "\r:",
        "x\ra=crypto:",
    ] {
        let mut text = format!("{}:", piece.repeat(500_000 / piece.len())).into_bytes();
        let begin = Instant::now();
        redact(&mut text);
        // A blink of an eye where it is linear, and half an hour where it goes by the square.
        assert!(begin.elapsed() < Duration::from_secs(10), "{piece:?}: {:?}", begin.elapsed());
    }
}

#[test]
fn r41a_answers_to_nothing_are_kept_only_up_to_their_bound() {
    // How many came between an answer and its INVITE.
    for (between, heals) in [(7, true), (8, false)] {
        let limits = TrackerLimits { max_early: 8, ..TrackerLimits::default() };
        let mut lab = Lab::with_limits(&[PBX], &["ann=10.0.0.2:5060"], limits);
        let answer = D.ok(1, Some(&Sdp::secure("10.0.0.1:5000", 'P')));
        lab.send(PBX, ANN, &answer);
        for i in 0..between {
            lab.send(PBX, ANN, &answer.replace("Call-ID: one", &format!("Call-ID: flood{i}")));
        }
        assert!(lab.said().is_empty());
        lab.send(ANN, PBX, &D.invite(1, Some(&Sdp::secure("10.0.0.2:4000", 'A'))));
        assert_eq!(lab.said().iter().any(|line| line == "ann Connected"), heals, "{between}");
    }
    let mut lab = Lab::new(&[PBX], &[]);
    lab.send(PBX, ANN, &D.ok(1, None));
    lab.wait(Duration::from_secs(2));
    assert_eq!(lab.feed.deadline(), None);
}

#[test]
fn r41a_offers_that_nobody_answers_are_kept_up_to_a_bound_over_all_calls() {
    let limits = TrackerLimits { max_offered: 4000, ..TrackerLimits::default() };
    let mut lab = Lab::with_limits(&[PBX], &["ann=10.0.0.2:5060"], limits);
    let flood = D.invite(1, Some(&Sdp::secure("10.9.9.9:4000", 'F')));
    for i in 0..50 {
        lab.send("10.9.9.9:5060", PBX, &flood.replace("Call-ID: one", &format!("Call-ID: flood{i}")));
    }
    lab.said();
    let call = |lab: &mut Lab, cseq| {
        lab.send(ANN, PBX, &D.invite(cseq, Some(&Sdp::secure("10.0.0.2:4000", 'A'))));
        lab.send(PBX, ANN, &D.ok(cseq, Some(&Sdp::secure("10.0.0.1:5000", 'P'))));
        let opened: Vec<_> = lab.said().into_iter().filter(|line| line.contains(" open ")).collect();
        lab.send(ANN, PBX, &D.request("BYE", true, cseq + 1, None));
        opened
    };
    // The oldest that nobody answered made room.
    assert_eq!(call(&mut lab, 1), ["ann s1 sent open 10.0.0.1:5000 g1 A", "ann s2 received open 10.0.0.2:4000 g1 P"]);
    // R42b: an offer that wasn't kept gives no key; one that came late was.
    let late = |i: usize, text: &str| text.replace("Call-ID: one", &format!("Call-ID: flood{i}"));
    for (i, keys) in [(0, 1), (49, 2)] {
        lab.send(PBX, "10.9.9.9:5060", &late(i, &D.ok(1, Some(&Sdp::secure("10.0.0.1:5000", 'P')))));
        let opened: Vec<_> = lab.said().into_iter().filter(|line| line.contains(" open ")).collect();
        assert_eq!(opened.len(), keys, "{opened:?}");
        assert_eq!(opened.iter().any(|line| line.ends_with("unknown")), i == 0);
    }
}

/// A call of ann's that was answered, by its number, with keys of its own.
fn answered(lab: &mut Lab, call: u32) {
    let named = |text: String| text.replace("Call-ID: one", &format!("Call-ID: call{call}"));
    lab.send(ANN, PBX, &named(D.invite(1, Some(&Sdp::secure("10.0.0.2:4000", 'A')))));
    lab.send(PBX, ANN, &named(D.ok(1, Some(&Sdp::secure("10.0.0.1:5000", 'P')))));
}

/// A re-INVITE of that call that repeats its session descriptions, or has this letter's key in its offer.
fn invited_again(lab: &mut Lab, call: u32, cseq: u32, letter: char) -> Vec<String> {
    let named = |text: String| text.replace("Call-ID: one", &format!("Call-ID: call{call}"));
    lab.said();
    lab.send(ANN, PBX, &named(D.request("INVITE", true, cseq, Some(&Sdp::secure("10.0.0.2:4000", letter)))));
    lab.send(PBX, ANN, &named(D.ok(cseq, Some(&Sdp::secure("10.0.0.1:5000", 'P')))));
    let opened = lab.said().into_iter().filter(|line| line.contains(" open "));
    opened.map(|line| line.split(' ').skip(5).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn r16_the_old_key_of_a_call_that_was_forgotten_is_given_to_nobody() {
    let mut lab = Lab::new(&[PBX], &["ann=10.0.0.2:5060"]);
    answered(&mut lab, 1);
    lab.wait(Duration::from_secs(24 * 3600 + 1));
    assert_eq!(lab.said().last().unwrap(), "ann Ended(Forgotten)");
    lab.wait(Duration::from_secs(3600));
    assert_eq!(invited_again(&mut lab, 1, 2, 'A'), ["g1 unknown", "g1 unknown"]);
    // Also when it says so again; and what it never had before is new.
    assert_eq!(invited_again(&mut lab, 1, 3, 'A'), [""; 0]);
    assert_eq!(invited_again(&mut lab, 1, 4, 'B'), ["g2 B"]);
    assert_eq!(invited_again(&mut lab, 1, 5, 'A'), ["g1 unknown"]);
    // A feed that never met the call heals by it (R42b), and a call that begins anew may have any key.
    assert_eq!(invited_again(&mut Lab::new(&[PBX], &["ann=10.0.0.2:5060"]), 1, 2, 'A'), ["g1 A", "g1 P"]);
    lab.said();
    answered(&mut lab, 2);
    assert!(lab.said().last().unwrap().ends_with("g1 P"));
}

#[test]
fn r16_keys_that_there_is_no_room_to_remember_are_given_to_nobody() {
    let limits = TrackerLimits { max_calls: 2, max_forgotten: 1, ..TrackerLimits::default() };
    let mut lab = Lab::with_limits(&[PBX], &["ann=10.0.0.2:5060"], limits);
    (1..=4).for_each(|call| answered(&mut lab, call));
    assert_eq!(invited_again(&mut lab, 1, 2, 'A'), ["g1 unknown", "g1 unknown"]);
    assert_eq!(invited_again(&mut lab, 9, 2, 'C'), ["g1 unknown", "g1 unknown"], "it may be an old one");
    // After the time for which they are remembered all is as in the beginning.
    lab.wait(Duration::from_secs(25 * 3600));
    lab.wait(Duration::from_secs(8 * 24 * 3600));
    assert_eq!(invited_again(&mut lab, 10, 2, 'C').first().unwrap(), "g1 C");
}

#[test]
fn r16_the_first_key_of_a_call_with_very_many_is_never_new_again() {
    let mut lab = Lab::new(&[PBX], &["ann=10.0.0.2:5060"]);
    answered(&mut lab, 1);
    let letters: Vec<char> = ('0'..='9').chain('B'..='O').chain('a'..='z').collect();
    for (cseq, letter) in (2..).zip(&letters) {
        assert_eq!(invited_again(&mut lab, 1, cseq, *letter), [format!("g{cseq} {letter}")]);
    }
    // One of the last comes back as what it was, or as the same object; the first isn't known any more.
    assert_eq!(invited_again(&mut lab, 1, 100, 'y'), [format!("g{} y", letters.len())]);
    assert!(invited_again(&mut lab, 1, 101, 'A')[0].ends_with("unknown"));
}

#[test]
fn r41a_an_answered_call_with_an_offer_under_way_survives_a_flood() {
    let limits = TrackerLimits { max_calls: 100, ..TrackerLimits::default() };
    let mut lab = Lab::with_limits(&[PBX], &["ann=10.0.0.2:5060"], limits);
    answered(&mut lab, 1);
    let named = |text: String| text.replace("Call-ID: one", "Call-ID: call1");
    lab.send(ANN, PBX, &named(D.request("INVITE", true, 2, Some(&Sdp::secure("10.0.0.2:4000", 'B')))));
    lab.wait(Duration::from_secs(1));
    for i in 0..300 {
        lab.send("10.9.9.9:5060", PBX, &D.invite(1, None).replace("Call-ID: one", &format!("Call-ID: flood{i}")));
    }
    assert!(!lab.said().iter().any(|line| line.starts_with("ann Ended")));
    lab.send(PBX, ANN, &named(D.ok(2, Some(&Sdp::secure("10.0.0.1:5000", 'P')))));
    assert_eq!(lab.said().last().unwrap(), "ann s1 sent open 10.0.0.1:5000 g2 B");
}

#[test]
fn r41a_answered_calls_survive_a_flood_whatever_is_due_in_them() {
    const CALLS: u32 = 100;
    let limits = TrackerLimits { max_calls: CALLS as usize + 10, ..TrackerLimits::default() };
    let mut lab = Lab::with_limits(&[PBX], &["ann=10.0.0.2:5060"], limits);
    for call in 0..CALLS {
        answered(&mut lab, call);
        let named = |text: String| text.replace("Call-ID: one", &format!("Call-ID: call{call}"));
        // Half of them refresh their session (RFC 4028), and half have an offer under way.
        let offer = Sdp::secure("10.0.0.2:4000", 'B');
        let offer = (call % 2 == 1).then_some(&offer);
        lab.send(ANN, PBX, &named(D.request("UPDATE", true, 2, offer)));
        if offer.is_none() {
            lab.send(PBX, ANN, &named(D.response(200, "UPDATE", true, 2, None)));
        }
    }
    lab.said();
    for i in 0..300 {
        lab.send("10.9.9.9:5060", PBX, &D.invite(1, None).replace("Call-ID: one", &format!("Call-ID: flood{i}")));
    }
    assert_eq!(lab.said().iter().find(|line| line.starts_with("ann ")), None);
    // Calls that are over make room first, too; and where all are answered, the one that is due first.
    let mut full =
        Lab::with_limits(&[PBX], &["ann=10.0.0.2:5060"], TrackerLimits { max_calls: 3, ..Default::default() });
    (0..3).for_each(|call| answered(&mut full, call));
    let bye = |text: String| text.replace("Call-ID: one", "Call-ID: call2");
    full.send(ANN, PBX, &bye(D.request("BYE", true, 2, None)));
    full.send(PBX, ANN, &bye(D.response(200, "BYE", true, 2, None)));
    full.said();
    answered(&mut full, 3);
    assert!(!full.said().iter().any(|line| line.contains("Ended")));
    answered(&mut full, 4);
    assert_eq!(full.said().iter().filter(|line| line.contains("Ended(Forgotten)")).count(), 1);
}

#[test]
fn a_session_that_is_refreshed_waits_for_nothing() {
    let mut lab = Lab::new(&[PBX], &["ann=10.0.0.2:5060"]);
    answered(&mut lab, 1);
    let named = |text: String| text.replace("Call-ID: one", "Call-ID: call1");
    let silent = TrackerLimits::default().silent;
    for (cseq, answer) in [(2, Some(200)), (3, None), (4, Some(422))] {
        lab.send(ANN, PBX, &named(D.request("UPDATE", true, cseq, None)));
        if let Some(code) = answer {
            lab.send(PBX, ANN, &named(D.response(code, "UPDATE", true, cseq, None)));
        }
        assert_eq!(lab.feed.deadline(), Some(lab.now + silent), "{answer:?}");
    }
}

#[test]
fn r41a_byes_of_unknown_calls_are_kept_only_up_to_their_bound() {
    let limits = TrackerLimits { max_early: 4, ..TrackerLimits::default() };
    let mut lab = Lab::with_limits(&[], &[], limits);
    let (one, other) = (Dialog { call_id: "first", b: "b" }, Dialog { call_id: "other", b: "b" });
    lab.send(PBX, ANN, &one.request("BYE", true, 2, None));
    for i in 0..4 {
        let bye = D.request("BYE", true, 2, None).replace("Call-ID: one", &format!("Call-ID: flood{i}"));
        lab.send("10.9.9.9:5060", PBX, &bye);
    }
    lab.send(ANN, PBX, &one.response(200, "BYE", true, 2, None));
    lab.send(PBX, "10.0.0.3:5060", &other.request("BYE", true, 2, None));
    lab.send("10.0.0.3:5060", PBX, &other.response(200, "BYE", true, 2, None));
    assert_eq!(lab.feed.pbxes(), [], "the first one had to make room");
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
fn r42b_who_lacks_the_password_is_told_of_nothing_else() {
    let mut feed = HepFeed::new(FeedConfig {
        name: "lab".parse().unwrap(),
        pbxes: vec![],
        devices: vec![],
        password: Some(Secret::new(b"sesame".to_vec())),
        first_id: 1,
        limits: TrackerLimits::default(),
    });
    let mut refused = |chunks: &[&[u8]]| {
        let body = chunks.concat();
        let len = u16::try_from(body.len() + 6).unwrap();
        let mut datagram = [b"HEP3", &len.to_be_bytes()[..], &body].concat();
        feed.on_datagram(&mut datagram, Timestamp(0), Instant::now(), &mut Vec::new())
    };
    let (compressed, short): (&[u8], &[u8]) = (&[0, 0, 0, 0x10, 0, 7, 1], &[0, 0, 0, 1, 0, 3]);
    let password: &[u8] = b"\0\0\0\x0e\0\x0csesame";
    for broken in [compressed, short] {
        assert_eq!(refused(&[broken]), Err(FeedError::Hep(HepError::Password)));
    }
    assert_eq!(refused(&[compressed, password]), Err(FeedError::Hep(HepError::Compressed)));
    assert!(matches!(refused(&[password, short]), Err(FeedError::Hep(HepError::Chunk { .. }))));
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
    fn r20_a_key_after_inline_is_wiped_whatever_is_around_it(
        before in prop::collection::vec(any::<u8>(), 0..60),
        word in "[iI][nN][lL][iI][nN][eE][ \t]{0,2}:([ \t]|\r\n |\n\t){0,3}",
        after in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let key = sip::key('K');
        let text = [&before[..], word.as_bytes(), key.as_bytes(), &after].concat();
        let mut redacted = text.clone();
        let keys = redact(&mut redacted);
        prop_assert_eq!(redacted.len(), text.len());
        prop_assert!(!redacted.windows(8).any(|window| window == &key.as_bytes()[..8]));
        prop_assert!(keys.len() <= 2 + text.len() / 7);
        // Once is enough: a second time changes no byte that isn't filler.
        let once = redacted.clone();
        redact(&mut redacted);
        let lines = |text: &[u8]| text.iter().filter(|byte| **byte == b'\n').count();
        prop_assert_eq!(lines(&once), lines(&text));
        prop_assert_eq!(lines(&redacted), lines(&text));
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

/// What a feed with these limits has reached of its bounds after `scene`.
fn reached(limits: TrackerLimits, scene: impl FnOnce(&mut Lab)) -> Vec<(Bound, u64)> {
    let mut lab = Lab::with_limits(&[PBX], &["ann=10.0.0.2:5060"], limits);
    scene(&mut lab);
    lab.feed.bounds().reached().collect()
}

/// A text of the call `call`.
fn of_call(text: &str, call: &str) -> String {
    text.replace("Call-ID: one", &format!("Call-ID: {call}"))
}

#[test]
fn r41a_each_bound_that_is_reached_is_counted_under_its_own_name() {
    const BOB: &str = "10.0.0.3:5060";
    const CAT: &str = "10.0.0.4:5060";
    let limits = TrackerLimits::default;
    let invite = D.invite(1, Some(&Sdp::secure("10.0.0.2:4000", 'A')));
    let ok = D.ok(1, Some(&Sdp::secure("10.0.0.1:5000", 'P')));
    let bye = D.request("BYE", true, 2, None);

    let small = TrackerLimits { max_calls: 1, ..limits() };
    let calls = |lab: &mut Lab| ["x", "y", "z"].iter().for_each(|call| lab.send(ANN, PBX, &of_call(&invite, call)));
    assert_eq!(reached(small, calls), [(Bound::Calls, 2)]);
    let small = TrackerLimits { max_views: 1, ..limits() };
    assert_eq!(reached(small, |lab| lab.send(ANN, BOB, &invite)), [(Bound::Devices, 1)]);
    let small = TrackerLimits { max_early: 1, ..limits() };
    let early = |lab: &mut Lab| ["x", "y"].iter().for_each(|call| lab.send(PBX, ANN, &of_call(&ok, call)));
    assert_eq!(reached(small.clone(), early), [(Bound::Early, 1)]);
    let byes = |lab: &mut Lab| ["x", "y"].iter().for_each(|call| lab.send(ANN, PBX, &of_call(&bye, call)));
    assert_eq!(reached(small, byes), [(Bound::Byes, 1)]);
    let small = TrackerLimits { max_hops: 1, ..limits() };
    let hops = |lab: &mut Lab| [(ANN, PBX), (PBX, BOB)].iter().for_each(|(from, to)| lab.send(from, to, &invite));
    assert_eq!(reached(small.clone(), hops), [(Bound::Hops, 1)]);

    let register = |call, contact: &str| sip::register(call, "u", 1, &format!("<sip:u@{contact}>;expires=60"));
    let (r, s) = (register("r", BOB), register("s", CAT));
    let forwarded = |lab: &mut Lab| [(BOB, CAT), (CAT, PBX)].iter().for_each(|(from, to)| lab.send(from, to, &r));
    assert_eq!(reached(small, forwarded), [(Bound::Hops, 1)]);
    let small = TrackerLimits { max_registrations: 1, ..limits() };
    let asked = |lab: &mut Lab| [(BOB, &r), (CAT, &s)].iter().for_each(|(from, text)| lab.send(from, PBX, text));
    assert_eq!(reached(small, asked), [(Bound::Registers, 1)]);
    let registered = |lab: &mut Lab, phone: &str, registrar: &str, text: &str| {
        lab.send(phone, registrar, text);
        lab.send(registrar, phone, &text.replace("REGISTER sip:example.com SIP/2.0", "SIP/2.0 200 OK"));
    };
    let small = TrackerLimits { max_addresses: 1, ..limits() };
    let phones =
        |lab: &mut Lab| [(BOB, &r), (CAT, &s)].iter().for_each(|(from, text)| registered(lab, from, PBX, text));
    assert_eq!(reached(small.clone(), phones), [(Bound::Registrations, 1)]);
    let strangers = |lab: &mut Lab| [BOB, CAT].iter().for_each(|from| lab.send(from, PBX, &of_call(&invite, from)));
    assert_eq!(reached(small, strangers), [(Bound::Addresses, 1)]);
    let small = TrackerLimits { max_pbxes: 1, ..limits() };
    let registrars = |lab: &mut Lab| {
        registered(lab, BOB, "10.0.0.8:5060", &r);
        registered(lab, CAT, "10.0.0.9:5060", &s);
    };
    assert_eq!(reached(small, registrars), [(Bound::Pbxes, 1)]);

    let small = TrackerLimits { max_exchanges: 1, ..limits() };
    let updates = |lab: &mut Lab| {
        answered(lab, 1);
        for cseq in [2, 3] {
            let update = D.request("UPDATE", true, cseq, Some(&Sdp::secure("10.0.0.2:4000", 'B')));
            lab.send(ANN, PBX, &of_call(&update, "call1"));
        }
    };
    assert_eq!(reached(small, updates), [(Bound::Exchanges, 1)]);
    let twins = |lab: &mut Lab| (0..10).for_each(|n| lab.send(ANN, PBX, &sip::on_branch(&invite, &format!("n{n}"))));
    assert_eq!(reached(limits(), twins), [(Bound::Transactions, 2)]);
    let fork = |lab: &mut Lab| {
        lab.send(ANN, PBX, &invite);
        for b in ["b1", "b2", "b3", "b4", "b5"] {
            lab.send(PBX, ANN, &Dialog { call_id: "one", b }.response(183, "INVITE", true, 1, None));
        }
    };
    assert_eq!(reached(limits(), fork), [(Bound::Branches, 1)]);

    let rekeyed = |lab: &mut Lab| {
        answered(lab, 1);
        for (cseq, letter) in (2..).zip(('0'..='9').chain('B'..='O').chain('a'..='h')) {
            invited_again(lab, 1, cseq, letter);
        }
    };
    assert_eq!(reached(limits(), rekeyed), [(Bound::Keys, 2)]);
    let small = TrackerLimits { max_calls: 1, max_forgotten: 1, ..limits() };
    let forgotten = |lab: &mut Lab| (1..=2).for_each(|call| answered(lab, call));
    assert_eq!(reached(small, forgotten), [(Bound::Calls, 1), (Bound::Fingerprints, 1)]);
    let small = TrackerLimits { max_offered: 1, ..limits() };
    assert_eq!(reached(small, calls), [(Bound::Offers, 2)]);

    let line = |media: usize| {
        (0..32).fold(Sdp::secure(&format!("10.0.0.2:{}", 4000 + 2 * media), 'A'), |line, tag| {
            line.crypto(100 + tag, sip::SUITE, char::from(b'0' + u8::try_from(tag).unwrap()))
        })
    };
    let large = D.invite(1, Some(&line(0).and(line(1)).and(line(2)).and(line(3))));
    let much = |lab: &mut Lab| (0..3).for_each(|n| lab.send(ANN, PBX, &sip::on_branch(&large, &format!("n{n}"))));
    let small = TrackerLimits { max_offered: 1 << 22, ..limits() };
    assert_eq!(reached(small, much), [(Bound::OffersOfCall, 1)]);
}
