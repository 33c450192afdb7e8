//! What the feed lost: a key that may not be in force any more is told of no longer, until offer and answer are seen
//! again (R42b). And what only takes its time loses nothing.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "common/sip.rs"]
mod sip;

use std::time::Duration;

use callgate::switch::tracker::TrackerLimits;
use sip::{Dialog, Lab, Sdp, on_branch};

const PBX: &str = "10.0.0.1:5060";
const ANN: &str = "10.0.0.2:5060";
const D: Dialog = Dialog { call_id: "one", b: "b" };
/// A transaction has ended by then (RFC 3261, 17.1.1.2 and 17.1.2.2).
const TRANSACTION: Duration = Duration::from_secs(34);

const UNKNOWN: [&str; 4] = [
    "ann s1 sent stop Changed g1",
    "ann s1 sent open 10.0.0.1:5000 g2 unknown",
    "ann s2 received stop Changed g1",
    "ann s2 received open 10.0.0.2:4000 g2 unknown",
];

fn ann(letter: char) -> Sdp {
    Sdp::secure("10.0.0.2:4000", letter)
}

fn pbx(letter: char) -> Sdp {
    Sdp::secure("10.0.0.1:5000", letter)
}

fn lab() -> Lab {
    Lab::new(&[PBX], &["ann=10.0.0.2:5060"])
}

/// A call from ann that is answered with these descriptions.
fn connect(lab: &mut Lab, offer: &Sdp, answer: &Sdp) {
    lab.send(ANN, PBX, &D.invite(1, Some(offer)));
    lab.send(PBX, ANN, &D.ok(1, Some(answer)));
    lab.send(ANN, PBX, &D.request("ACK", true, 1, None));
    assert_eq!(lab.said().len(), 4);
}

/// A call with the keys A and P.
fn connected() -> Lab {
    let mut lab = lab();
    connect(&mut lab, &ann('A'), &pbx('P'));
    lab
}

/// An exchange of this CSeq that is seen whole gives the keys B and Q.
fn assert_heals(lab: &mut Lab, cseq: u32) {
    lab.said();
    lab.send(ANN, PBX, &D.request("INVITE", true, cseq, Some(&ann('B'))));
    lab.send(PBX, ANN, &D.ok(cseq, Some(&pbx('Q'))));
    let opened: Vec<_> = lab.said().into_iter().filter(|line| line.contains(" open ")).collect();
    let keys: Vec<_> = opened.iter().filter_map(|line| line.rsplit(' ').next()).collect();
    assert_eq!(keys, ["B", "Q"], "{opened:?}");
}

#[test]
fn r42b_an_offer_whose_answer_is_lost_leaves_no_old_key_in_force() {
    for method in ["UPDATE", "PRACK", "INVITE"] {
        let mut lab = connected();
        lab.send(ANN, PBX, &D.request(method, true, 2, Some(&ann('B'))));
        lab.wait(Duration::from_secs(31));
        assert_eq!(lab.said(), [""; 0], "{method}");
        lab.wait(TRANSACTION);
        assert_eq!(lab.said(), UNKNOWN, "{method}");
        // Once more changes nothing, and the next exchange tells the keys.
        lab.send(ANN, PBX, &D.request(method, true, 3, Some(&ann('B'))));
        lab.wait(TRANSACTION);
        assert_eq!(lab.said(), [""; 0], "{method}");
        assert_heals(&mut lab, 4);
        lab.wait(Duration::from_secs(1000));
        assert_eq!(lab.said(), [""; 0], "{method}");
    }
}

#[test]
fn r42b_an_answer_that_comes_very_late_still_counts() {
    for method in ["UPDATE", "INVITE"] {
        let mut lab = connected();
        lab.send(ANN, PBX, &D.request(method, true, 2, Some(&ann('B'))));
        lab.wait(TRANSACTION);
        assert_eq!(lab.said(), UNKNOWN);
        lab.send(PBX, ANN, &D.response(200, method, true, 2, Some(&pbx('P'))));
        let opened: Vec<_> = lab.said().into_iter().filter(|line| line.contains(" open ")).collect();
        assert_eq!(
            opened,
            ["ann s1 sent open 10.0.0.1:5000 g3 B", "ann s2 received open 10.0.0.2:4000 g1 P"],
            "{method}"
        );
    }
}

#[test]
fn r42b_an_invite_without_an_offer_whose_answer_and_ack_are_lost_leaves_no_old_key_in_force() {
    let mut lab = connected();
    lab.send(PBX, ANN, &D.request("INVITE", false, 2, None));
    lab.wait(TRANSACTION);
    assert_eq!(lab.said(), UNKNOWN);
    assert_heals(&mut lab, 2);
}

#[test]
fn a_reinvite_that_rings_for_long_loses_no_key_while_it_is_told_so() {
    for code in [100, 180, 183] {
        let mut lab = connected();
        lab.send(ANN, PBX, &D.request("INVITE", true, 2, Some(&ann('B'))));
        // The called end says each minute that it still rings (RFC 3261, 13.3.1.1).
        for _ in 0..30 {
            lab.wait(Duration::from_secs(20));
            lab.send(
                PBX,
                ANN,
                &D.response(code, "INVITE", true, 2, None)
                    .replace("\r\nTo: <sip:bob@example.com>\r", "\r\nTo: <sip:bob@example.com>;tag=b\r"),
            );
        }
        lab.wait(Duration::from_secs(200));
        assert_eq!(lab.said(), [""; 0], "{code}");
        lab.send(PBX, ANN, &D.ok(2, Some(&pbx('P'))));
        assert_eq!(lab.said(), ["ann s1 sent stop Changed g1", "ann s1 sent open 10.0.0.1:5000 g2 B"], "{code}");
    }
    // It doesn't go on for ever.
    let mut lab = connected();
    lab.send(ANN, PBX, &D.request("INVITE", true, 2, Some(&ann('B'))));
    lab.send(PBX, ANN, &D.response(180, "INVITE", true, 2, None));
    lab.wait(Duration::from_secs(301));
    assert_eq!(lab.said(), UNKNOWN);
    lab.send(PBX, ANN, &D.ok(2, Some(&pbx('P'))));
    assert_eq!(lab.said()[1], "ann s1 sent open 10.0.0.1:5000 g3 B");
}

#[test]
fn what_is_refused_or_answered_or_overtaken_is_missed_by_nobody() {
    // Refused, also by a challenge and in a glare.
    for (method, code) in [("INVITE", 488), ("INVITE", 491), ("UPDATE", 500), ("PRACK", 401)] {
        let mut lab = connected();
        lab.send(ANN, PBX, &D.request(method, true, 2, Some(&ann('B'))));
        lab.send(PBX, ANN, &D.request(method, false, 1, Some(&pbx('Q'))));
        lab.send(PBX, ANN, &D.response(code, method, true, 2, None));
        lab.send(ANN, PBX, &D.response(code, method, false, 1, None));
        lab.wait(Duration::from_secs(1000));
        assert_eq!(lab.said(), [""; 0], "{method} {code}");
    }
    // Refused, and of the refusal only the ACK is seen: it has the branch of the INVITE (RFC 3261, 17.1.1.3).
    let mut lab = connected();
    lab.send(ANN, PBX, &on_branch(&D.request("INVITE", true, 2, Some(&ann('B'))), "refused"));
    lab.send(ANN, PBX, &on_branch(&D.request("ACK", true, 2, None), "refused"));
    lab.wait(Duration::from_secs(1000));
    assert_eq!(lab.said(), [""; 0]);
    // Retransmitted, and answered on one of two branches.
    let mut lab = connected();
    let offer = D.request("INVITE", true, 2, Some(&ann('B')));
    lab.send(ANN, PBX, &on_branch(&offer, "first"));
    lab.send(ANN, PBX, &on_branch(&offer, "second"));
    lab.send(ANN, PBX, &on_branch(&offer, "first"));
    lab.send(PBX, ANN, &on_branch(&D.ok(2, Some(&pbx('P'))), "first"));
    assert_eq!(lab.said(), ["ann s1 sent stop Changed g1", "ann s1 sent open 10.0.0.1:5000 g2 B"]);
    lab.send(ANN, PBX, &on_branch(&offer, "first"));
    lab.wait(Duration::from_secs(1000));
    assert_eq!(lab.said(), [""; 0]);
    // Without an offer nothing is missed, and a later exchange makes up for the one before.
    let mut lab = connected();
    lab.send(ANN, PBX, &D.request("UPDATE", true, 2, None));
    lab.send(ANN, PBX, &D.request("UPDATE", true, 3, Some(&ann('X'))));
    lab.send(ANN, PBX, &D.request("UPDATE", true, 4, Some(&ann('B'))));
    lab.send(PBX, ANN, &D.response(200, "UPDATE", true, 4, Some(&pbx('P'))));
    assert_eq!(lab.said(), ["ann s1 sent stop Changed g1", "ann s1 sent open 10.0.0.1:5000 g2 B"]);
    lab.wait(Duration::from_secs(1000));
    assert_eq!(lab.said(), [""; 0]);
}

#[test]
fn r42b_a_lost_answer_leaves_a_clear_call_clear_if_no_key_was_offered() {
    let clear = (Sdp::plain("10.0.0.2:4000"), Sdp::plain("10.0.0.1:5000"));
    let mut lab = lab();
    connect(&mut lab, &clear.0, &clear.1);
    lab.send(ANN, PBX, &D.request("UPDATE", true, 2, Some(&clear.0)));
    lab.wait(TRANSACTION);
    assert_eq!(lab.said(), [""; 0]);
    lab.send(ANN, PBX, &D.request("UPDATE", true, 3, Some(&ann('A'))));
    lab.wait(TRANSACTION);
    assert_eq!(lab.said().last().unwrap(), "ann s2 received open 10.0.0.2:4000 g1 unknown");
    // An offer without a key may have been refused, too: what was secure isn't called clear.
    let mut lab = connected();
    lab.send(ANN, PBX, &D.request("UPDATE", true, 2, Some(&clear.0)));
    lab.wait(TRANSACTION);
    assert_eq!(lab.said(), UNKNOWN);
}

#[test]
fn r42b_an_older_answer_doesn_t_hide_that_a_newer_one_is_lost() {
    let mut lab = connected();
    lab.send(ANN, PBX, &D.request("UPDATE", true, 2, Some(&ann('B'))));
    lab.send(PBX, ANN, &D.request("UPDATE", false, 1, Some(&pbx('Q'))));
    lab.send(PBX, ANN, &D.response(200, "UPDATE", true, 2, Some(&pbx('P'))));
    assert_eq!(lab.said()[1], "ann s1 sent open 10.0.0.1:5000 g2 B");
    lab.wait(TRANSACTION);
    let opened: Vec<_> = lab.said().into_iter().filter(|line| line.ends_with("unknown")).collect();
    assert_eq!(opened.len(), 2);
}

#[test]
fn r42b_of_more_offers_than_are_kept_the_oldest_leaves_no_old_key_in_force() {
    let limits = TrackerLimits { max_exchanges: 2, ..TrackerLimits::default() };
    let mut lab = Lab::with_limits(&[PBX], &["ann=10.0.0.2:5060"], limits);
    connect(&mut lab, &ann('A'), &pbx('P'));
    for (cseq, letter) in [(2, 'B'), (3, 'C'), (4, 'D')] {
        lab.send(ANN, PBX, &D.request("UPDATE", true, cseq, Some(&ann(letter))));
    }
    assert_eq!(lab.said(), UNKNOWN);
}

#[test]
fn r42b_an_offer_and_an_answer_that_can_t_be_read_leave_no_old_key_in_force() {
    let unreadable = || Sdp { formats: "", proto: "", ..pbx('P') };
    for answer in [Some(unreadable()), None] {
        for method in ["INVITE", "UPDATE"] {
            let mut lab = connected();
            lab.send(ANN, PBX, &D.request(method, true, 2, Some(&unreadable())));
            match &answer {
                None if method == "INVITE" => lab.send(ANN, PBX, &D.request("ACK", true, 2, None)),
                answer => lab.send(PBX, ANN, &D.response(200, method, true, 2, answer.as_ref())),
            }
            lab.wait(REORDER);
            assert_eq!(lab.said(), UNKNOWN, "{method}");
            assert_heals(&mut lab, 3);
        }
    }
    // Refused, it changes nothing.
    let mut lab = connected();
    lab.send(ANN, PBX, &D.request("INVITE", true, 2, Some(&unreadable())));
    lab.send(PBX, ANN, &D.response(488, "INVITE", true, 2, Some(&unreadable())));
    lab.wait(TRANSACTION);
    assert_eq!(lab.said(), [""; 0]);
}

/// What waits for what it answers waits no longer.
const REORDER: Duration = Duration::from_millis(1100);

#[test]
fn r42b_an_answer_whose_request_is_lost_leaves_no_old_key_in_force() {
    for method in ["INVITE", "UPDATE", "PRACK"] {
        for by_ann in [true, false] {
            let mut lab = connected();
            let (from, to, sdp) = if by_ann { (PBX, ANN, pbx('Q')) } else { (ANN, PBX, ann('B')) };
            let answer = D.response(200, method, by_ann, 2, Some(&sdp));
            lab.send(from, to, &answer);
            assert_eq!(lab.said(), [""; 0], "{method}");
            lab.wait(REORDER);
            assert_eq!(lab.said(), UNKNOWN, "{method} {by_ann}");
            // It is sent again while the other end doesn't hear it.
            lab.send(from, to, &answer);
            lab.wait(REORDER);
            assert_eq!(lab.said(), [""; 0], "{method} {by_ann}");
            assert_heals(&mut lab, 3);
        }
    }
    // The answer to an offer in a 200 that was lost with its INVITE.
    let mut lab = connected();
    lab.send(PBX, ANN, &D.request("ACK", false, 1, Some(&pbx('Q'))));
    lab.wait(REORDER);
    assert_eq!(lab.said(), UNKNOWN);
    // What is refused after it doesn't make up for it.
    let mut lab = connected();
    lab.send(PBX, ANN, &D.ok(2, Some(&pbx('Q'))));
    lab.send(ANN, PBX, &D.request("INVITE", true, 3, Some(&ann('X'))));
    lab.send(PBX, ANN, &D.response(491, "INVITE", true, 3, None));
    lab.wait(REORDER);
    assert_eq!(lab.said(), UNKNOWN);
    // One that can't be read; and one in an early dialog.
    let mut lab = connected();
    lab.send(PBX, ANN, &D.response(200, "UPDATE", true, 2, Some(&Sdp { formats: "", proto: "", ..pbx('P') })));
    lab.wait(REORDER);
    assert_eq!(lab.said(), UNKNOWN);
    let mut lab = self::lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann('A'))));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx('P'))));
    lab.said();
    lab.send(PBX, ANN, &D.response(200, "UPDATE", true, 2, Some(&pbx('Q'))));
    lab.wait(REORDER);
    assert_eq!(lab.said(), UNKNOWN);
}

#[test]
fn an_answer_that_only_overtakes_its_request_takes_no_key_away() {
    let mut lab = connected();
    lab.send(PBX, ANN, &on_branch(&D.ok(2, Some(&pbx('P'))), "one-aINVITE2"));
    lab.wait(Duration::from_millis(900));
    lab.send(ANN, PBX, &on_branch(&D.request("INVITE", true, 2, Some(&ann('B'))), "one-aINVITE2"));
    assert_eq!(lab.said(), ["ann s1 sent stop Changed g1", "ann s1 sent open 10.0.0.1:5000 g2 B"]);
    lab.wait(Duration::from_secs(100));
    assert_eq!(lab.said(), [""; 0]);
    // What was agreed on since then counts.
    lab.send(PBX, ANN, &D.response(200, "UPDATE", true, 3, Some(&pbx('X'))));
    lab.send(PBX, ANN, &D.request("UPDATE", false, 1, Some(&pbx('P'))));
    lab.send(ANN, PBX, &D.response(200, "UPDATE", false, 1, Some(&ann('B'))));
    lab.wait(REORDER);
    assert_eq!(lab.said(), [""; 0]);
}

#[test]
fn r42b_a_stray_answer_takes_no_key_away() {
    let answer = |b, code, cseq| Dialog { call_id: "one", b }.response(code, "INVITE", true, cseq, Some(&pbx('X')));
    let strays = [
        ("another dialog", PBX, ANN, answer("c", 200, 7)),
        ("another caller", PBX, ANN, answer("b", 200, 7).replace(";tag=a", ";tag=z")),
        ("another call", PBX, ANN, answer("b", 200, 7).replace("Call-ID: one", "Call-ID: two")),
        ("from the wrong end", ANN, PBX, answer("b", 200, 7)),
        ("from nowhere", "10.0.0.9:5060", ANN, answer("b", 200, 7)),
        ("to nowhere", PBX, "10.0.0.9:5060", answer("b", 200, 7)),
        ("no answer yet", PBX, ANN, answer("b", 183, 7)),
        ("refused", PBX, ANN, answer("b", 488, 7)),
        ("too old", PBX, ANN, answer("b", 200, 2)),
        ("without a description", PBX, ANN, D.ok(7, None)),
        ("a late copy", PBX, ANN, on_branch(&answer("b", 200, 3), "copy")),
    ];
    for (what, from, to, text) in strays {
        let mut lab = connected();
        lab.send(ANN, PBX, &D.request("INVITE", true, 3, Some(&ann('A'))));
        lab.send(PBX, ANN, &D.ok(3, Some(&pbx('P'))));
        for _ in 0..3 {
            lab.send(from, to, &text);
            lab.wait(REORDER);
        }
        assert_eq!(lab.said(), [""; 0], "{what}");
    }
    // A forged one of the dialog itself: the next exchange heals it, whatever CSeq it had.
    let mut lab = connected();
    lab.send(PBX, ANN, &answer("b", 200, 0x7fff_ffff));
    lab.wait(REORDER);
    assert_eq!(lab.said(), UNKNOWN);
    assert_heals(&mut lab, 2);
    lab.wait(Duration::from_secs(100));
    assert_eq!(lab.said(), [""; 0]);
}

#[test]
fn r42b_an_answer_that_there_is_no_room_for_leaves_no_old_key_in_force() {
    let limits = TrackerLimits { max_early: 1, ..TrackerLimits::default() };
    let mut lab = Lab::with_limits(&[PBX], &["ann=10.0.0.2:5060"], limits);
    connect(&mut lab, &ann('A'), &pbx('P'));
    lab.send(PBX, ANN, &D.ok(2, Some(&pbx('Q'))));
    lab.send(PBX, ANN, &D.ok(9, None).replace("Call-ID: one", "Call-ID: two"));
    assert_eq!(lab.said(), UNKNOWN);
}

#[test]
fn r23_the_ack_of_a_lost_answer_decides_a_fork_also_where_what_it_answered_is_overtaken() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann('A'))));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx('P'))));
    lab.said();
    // The branch c answers, which is lost, and offers new keys before anybody gave up waiting.
    let other = Dialog { b: "c", ..D };
    lab.send(ANN, PBX, &other.request("ACK", true, 1, None));
    lab.send(PBX, ANN, &other.request("UPDATE", false, 1, Some(&pbx('Q'))));
    lab.send(ANN, PBX, &other.response(200, "UPDATE", false, 1, Some(&ann('B'))));
    lab.wait(TRANSACTION);
    assert_eq!(
        lab.said(),
        [
            "ann Connected",
            "ann s1 sent stop Ended g1",
            "ann s2 received stop Ended g1",
            "ann s3 sent open 10.0.0.1:5000 g1 B",
            "ann s4 received open 10.0.0.2:4000 g1 Q",
        ]
    );
}

#[test]
fn r23_the_ack_of_a_lost_answer_counts_also_if_a_copy_of_the_early_answer_comes_behind_it() {
    let mut lab = lab();
    let early = D.response(183, "INVITE", true, 1, Some(&pbx('P')));
    lab.send(ANN, PBX, &D.invite(1, Some(&ann('A'))));
    lab.send(PBX, ANN, &Dialog { b: "c", ..D }.response(183, "INVITE", true, 1, Some(&pbx('Q'))));
    lab.send(PBX, ANN, &early);
    assert_eq!(lab.said().iter().filter(|line| line.contains(" open ")).count(), 4);
    lab.send(ANN, PBX, &D.request("ACK", true, 1, None));
    lab.send(PBX, ANN, &early);
    lab.wait(TRANSACTION);
    assert_eq!(lab.said(), ["ann Connected", "ann s1 sent stop Ended g1", "ann s2 received stop Ended g1"]);
    lab.send(PBX, ANN, &D.request("BYE", false, 1, None));
    lab.send(ANN, PBX, &D.response(200, "BYE", false, 1, None));
    assert_eq!(lab.said().last().unwrap(), "ann Ended(Hangup)");
}

#[test]
fn r42b_an_ack_with_the_answer_says_that_the_call_is_answered_though_its_200_is_lost() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, None));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx('P'))));
    lab.send(ANN, PBX, &D.request("ACK", true, 1, Some(&ann('A'))));
    let said = lab.said();
    assert_eq!(said.iter().filter(|line| *line == "ann Connected").count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|line| line.contains(" open ")).count(), 2, "{said:?}");
}

#[test]
fn r42b_a_bye_in_an_early_dialog_with_an_update_whose_answer_is_lost_cancels() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann('A'))));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx('P'))));
    lab.send(ANN, PBX, &D.request("UPDATE", true, 2, Some(&ann('B'))));
    lab.send(PBX, ANN, &D.response(200, "UPDATE", true, 2, None));
    lab.send(ANN, PBX, &D.request("BYE", true, 3, None));
    lab.send(PBX, ANN, &D.response(200, "BYE", true, 3, None));
    assert_eq!(lab.said().last().unwrap(), "ann Ended(Cancelled)");
}

#[test]
fn r23_of_two_branches_that_answer_the_one_that_was_acknowledged_first_counts() {
    let mut lab = lab();
    let other = Dialog { b: "c", ..D };
    lab.send(ANN, PBX, &D.invite(1, Some(&ann('A'))));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx('P'))));
    lab.send(PBX, ANN, &other.response(183, "INVITE", true, 1, Some(&pbx('Q'))));
    lab.said();
    // Its 200 is lost.
    lab.send(ANN, PBX, &D.request("ACK", true, 1, None));
    lab.send(PBX, ANN, &other.ok(1, Some(&pbx('Q'))));
    lab.send(ANN, PBX, &other.request("ACK", true, 1, None));
    assert_eq!(lab.said(), ["ann Connected", "ann s3 sent stop Ended g1", "ann s4 received stop Ended g1"]);
    lab.send(ANN, PBX, &other.request("BYE", true, 2, None));
    lab.send(PBX, ANN, &other.response(200, "BYE", true, 2, None));
    lab.wait(TRANSACTION);
    assert_eq!(lab.said(), [""; 0]);
}

#[test]
fn r23_a_bye_behind_the_ack_of_a_lost_answer_hangs_up_and_withdraws_the_keys_of_other_branches() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann('A'))));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx('P'))));
    lab.send(PBX, ANN, &Dialog { b: "c", ..D }.response(183, "INVITE", true, 1, Some(&pbx('Q'))));
    lab.said();
    lab.send(ANN, PBX, &D.request("ACK", true, 1, None));
    lab.send(ANN, PBX, &D.request("BYE", true, 2, None));
    assert_eq!(lab.said(), ["ann Connected", "ann s3 sent stop Ended g1", "ann s4 received stop Ended g1"]);
    lab.send(PBX, ANN, &D.response(200, "BYE", true, 2, None));
    assert_eq!(lab.said(), ["ann s1 sent stop Ended g1", "ann s2 received stop Ended g1", "ann Ended(Hangup)"]);
}

#[test]
fn r42b_an_ack_with_an_answer_that_cannot_be_read_says_that_the_call_is_answered_too() {
    let mut lab = lab();
    let unreadable = |sdp| Sdp { formats: "", proto: "", ..sdp };
    lab.send(ANN, PBX, &D.invite(1, None));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&unreadable(pbx('P')))));
    lab.said();
    lab.send(ANN, PBX, &D.request("ACK", true, 1, Some(&unreadable(ann('A')))));
    assert_eq!(lab.said(), ["ann Connected"]);
}

#[test]
fn r42b_a_late_offer_in_a_183_of_a_re_invite_counts_with_the_answer_in_the_ack() {
    let mut lab = connected();
    lab.send(ANN, PBX, &D.request("INVITE", true, 2, None));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 2, Some(&pbx('Q'))));
    // Its 200 is lost.
    lab.send(ANN, PBX, &D.request("ACK", true, 2, Some(&ann('B'))));
    let opened: Vec<_> = lab.said().into_iter().filter(|line| line.contains(" open ")).collect();
    assert_eq!(opened, ["ann s1 sent open 10.0.0.1:5000 g2 B", "ann s2 received open 10.0.0.2:4000 g2 Q"]);
}

#[test]
fn r42b_of_a_call_that_nothing_told_of_the_first_word_is_never_a_stream() {
    let mut lab = lab();
    // The feed begins in mid-call.
    lab.send(ANN, PBX, &D.request("INVITE", true, 2, None));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 2, Some(&pbx('Q'))));
    lab.send(ANN, PBX, &D.request("ACK", true, 2, Some(&ann('B'))));
    lab.wait(TRANSACTION);
    let said = lab.said();
    assert!(said.first().is_none_or(|first| first == "ann Connected"), "{said:?}");
}
