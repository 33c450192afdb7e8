//! Before and around the answer: forks, reliable provisional answers, UPDATE, CANCEL against 200, glare.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "common/sip.rs"]
mod sip;

use std::time::Duration;

use sip::{Dialog, Lab, Sdp};

const PBX: &str = "10.0.0.1:5060";
const ANN: &str = "10.0.0.2:5060";
const D: Dialog = Dialog { call_id: "one", b: "b" };
const OTHER: Dialog = Dialog { b: "c", ..D };

fn lab() -> Lab {
    Lab::new(&[PBX], &["ann=10.0.0.2:5060"])
}

fn ann(letter: char) -> Sdp {
    Sdp::secure("10.0.0.2:4000", letter)
}

fn pbx(letter: char) -> Sdp {
    Sdp::secure("10.0.0.1:5000", letter)
}

fn far(letter: char) -> Sdp {
    Sdp::secure("10.0.0.8:6000", letter)
}

/// A call from ann that is answered.
fn connected() -> Lab {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann('A'))));
    lab.send(PBX, ANN, &D.ok(1, Some(&pbx('P'))));
    lab.send(ANN, PBX, &D.request("ACK", true, 1, None));
    assert_eq!(lab.said().len(), 4);
    lab
}

#[test]
fn r23_each_early_dialog_has_its_streams_until_one_answers() {
    for winner in [D, OTHER] {
        let mut lab = lab();
        lab.send(ANN, PBX, &D.invite(1, Some(&ann('A'))));
        lab.send(PBX, ANN, &D.response(180, "INVITE", true, 1, None));
        lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx('P'))));
        lab.send(PBX, ANN, &OTHER.response(183, "INVITE", true, 1, Some(&far('Q'))));
        assert_eq!(
            lab.said(),
            [
                "ann Dialing",
                "ann Alerting",
                "ann s1 sent open 10.0.0.1:5000 g1 A",
                "ann s2 received open 10.0.0.2:4000 g1 P",
                "ann s3 sent open 10.0.0.8:6000 g1 A",
                "ann s4 received open 10.0.0.2:4000 g1 Q",
            ]
        );
        let (answer, over) = if winner.b == "b" { (pbx('P'), ["s3", "s4"]) } else { (far('Q'), ["s1", "s2"]) };
        lab.send(PBX, ANN, &winner.ok(1, Some(&answer)));
        let ended = [format!("ann {} sent stop Ended g1", over[0]), format!("ann {} received stop Ended g1", over[1])];
        assert_eq!(lab.said(), ["ann Connected", &ended[0], &ended[1]]);
        // The loser answers too, and is hung up on: nobody's business any more.
        let loser = if winner.b == "b" { OTHER } else { D };
        lab.send(PBX, ANN, &loser.ok(1, Some(&pbx('X'))));
        lab.send(ANN, PBX, &loser.request("ACK", true, 1, None));
        lab.send(ANN, PBX, &loser.request("BYE", true, 2, None));
        lab.send(PBX, ANN, &loser.response(200, "BYE", true, 2, None));
        lab.wait(Duration::from_secs(60));
        assert_eq!(lab.said(), [""; 0]);
        lab.send(PBX, ANN, &winner.request("BYE", false, 1, None));
        lab.send(ANN, PBX, &winner.response(200, "BYE", false, 1, None));
        assert_eq!(lab.said().len(), 3);
    }
}

#[test]
fn r23_one_of_several_early_dialogs_may_be_hung_up_on_its_own() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann('A'))));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx('P'))));
    lab.send(PBX, ANN, &OTHER.response(183, "INVITE", true, 1, Some(&far('Q'))));
    lab.said();
    lab.send(ANN, PBX, &OTHER.request("BYE", true, 2, None));
    lab.send(PBX, ANN, &OTHER.response(200, "BYE", true, 2, None));
    assert_eq!(lab.said(), ["ann s3 sent stop Ended g1", "ann s4 received stop Ended g1"]);
    lab.send(ANN, PBX, &D.request("BYE", true, 2, None));
    lab.send(PBX, ANN, &D.response(200, "BYE", true, 2, None));
    assert_eq!(lab.said().last().unwrap(), "ann Ended(Cancelled)");
}

#[test]
fn r41a_more_branches_than_the_bound_are_not_told_of_but_the_one_that_answers_is() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann('A'))));
    for b in ["1", "2", "3", "4", "5", "6"] {
        lab.send(PBX, ANN, &Dialog { b, ..D }.response(183, "INVITE", true, 1, Some(&pbx('P'))));
    }
    assert_eq!(lab.said().len(), 1 + 4 * 2);
    lab.send(PBX, ANN, &Dialog { b: "6", ..D }.ok(1, Some(&far('Q'))));
    let said = lab.said();
    assert_eq!(said.iter().filter(|line| line.ends_with("stop Ended g1")).count(), 8);
    assert!(said.last().unwrap().ends_with("received open 10.0.0.2:4000 g1 Q"), "{said:?}");
}

#[test]
fn an_offer_in_a_prack_is_answered_in_its_200() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann('A'))));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx('P'))));
    lab.said();
    lab.send(ANN, PBX, &D.request("PRACK", true, 2, Some(&ann('B'))));
    assert_eq!(lab.said(), [""; 0]);
    let prack = D.response(200, "PRACK", true, 2, Some(&pbx('Q')));
    let changed = [
        "ann s1 sent stop Changed g1",
        "ann s1 sent open 10.0.0.1:5000 g2 B",
        "ann s2 received stop Changed g1",
        "ann s2 received open 10.0.0.2:4000 g2 Q",
    ];
    lab.send(PBX, ANN, &prack);
    assert_eq!(lab.said(), changed);
    // R22: the 200 of the INVITE that repeats its first answer says nothing of now.
    lab.send(PBX, ANN, &D.ok(1, Some(&pbx('P'))));
    lab.send(PBX, ANN, &prack);
    assert_eq!(lab.said(), ["ann Connected"]);
}

#[test]
fn an_offer_in_a_183_is_answered_in_its_prack_in_any_order() {
    let invite = (ANN, PBX, D.invite(1, None));
    let offer = (PBX, ANN, D.response(183, "INVITE", true, 1, Some(&pbx('P'))));
    let answer = (ANN, PBX, D.request("PRACK", true, 2, Some(&ann('A'))));
    let ok = (PBX, ANN, D.response(200, "PRACK", true, 2, None));
    let opened = ["ann Dialing", "ann s1 sent open 10.0.0.1:5000 g1 A", "ann s2 received open 10.0.0.2:4000 g1 P"];
    let orders = [
        vec![&invite, &offer, &answer, &ok],
        vec![&invite, &answer, &offer, &ok],
        vec![&invite, &answer, &ok, &offer],
        // It is sent until it is answered.
        vec![&invite, &offer, &answer, &answer, &ok, &answer],
        vec![&invite, &answer, &answer, &offer, &answer, &ok],
        vec![&invite, &offer, &answer, &answer],
    ];
    for order in orders {
        let mut lab = lab();
        for (from, to, text) in order {
            lab.send(from, to, text);
        }
        assert_eq!(lab.said(), opened);
        lab.send(PBX, ANN, &D.ok(1, None));
        lab.send(ANN, PBX, &D.request("ACK", true, 1, None));
        lab.wait(Duration::from_secs(60));
        assert_eq!(lab.said(), ["ann Connected"]);
    }
}

#[test]
fn r42b_a_lost_offer_in_a_183_leaves_the_key_unknown() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, None));
    lab.send(ANN, PBX, &D.request("PRACK", true, 2, Some(&ann('A'))));
    lab.send(PBX, ANN, &D.ok(1, None));
    lab.wait(Duration::from_secs(60));
    assert_eq!(lab.said(), ["ann Dialing", "ann Connected", "ann s1 received open 10.0.0.2:4000 g1 unknown"]);
    // And a later re-INVITE that repeats the SDP heals it.
    lab.send(ANN, PBX, &D.request("INVITE", true, 3, Some(&ann('A'))));
    lab.send(PBX, ANN, &D.ok(3, Some(&pbx('P'))));
    assert_eq!(lab.said().iter().filter(|line| line.contains(" open ")).count(), 2);
}

#[test]
fn an_update_of_either_end_counts_in_the_early_dialog() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann('A'))));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx('P'))));
    lab.said();
    lab.send(ANN, PBX, &D.request("UPDATE", true, 2, Some(&ann('B'))));
    lab.send(PBX, ANN, &D.response(200, "UPDATE", true, 2, Some(&pbx('P'))));
    assert_eq!(lab.said(), ["ann s1 sent stop Changed g1", "ann s1 sent open 10.0.0.1:5000 g2 B"]);
    lab.send(PBX, ANN, &D.request("UPDATE", false, 1, Some(&pbx('Q'))));
    lab.send(ANN, PBX, &D.response(200, "UPDATE", false, 1, Some(&ann('B'))));
    assert_eq!(lab.said(), ["ann s2 received stop Changed g1", "ann s2 received open 10.0.0.2:4000 g2 Q"]);
    lab.send(PBX, ANN, &D.ok(1, None));
    assert_eq!(lab.said(), ["ann Connected"]);
}

#[test]
fn a_200_beats_a_cancel_in_either_order() {
    for cancel_first in [true, false] {
        let mut lab = lab();
        lab.send(ANN, PBX, &D.invite(1, Some(&ann('A'))));
        let ok = D.ok(1, Some(&pbx('P')));
        if cancel_first {
            lab.send(ANN, PBX, &D.cancel(1));
            lab.send(PBX, ANN, &ok);
        } else {
            lab.send(PBX, ANN, &ok);
            lab.send(ANN, PBX, &D.cancel(1));
        }
        lab.send(PBX, ANN, &D.response(200, "CANCEL", true, 1, None));
        lab.send(ANN, PBX, &D.request("ACK", true, 1, None));
        lab.wait(Duration::from_secs(60));
        assert_eq!(lab.said()[1..2], ["ann Connected"]);
        // Who gave up hangs up (RFC 3261, 15).
        lab.send(ANN, PBX, &D.request("BYE", true, 2, None));
        lab.send(PBX, ANN, &D.response(200, "BYE", true, 2, None));
        assert_eq!(lab.said().last().unwrap(), "ann Ended(Hangup)");
    }
}

#[test]
fn a_cancel_with_early_media_withdraws_their_keys() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann('A'))));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx('P'))));
    lab.said();
    lab.send(ANN, PBX, &D.cancel(1));
    lab.send(PBX, ANN, &D.response(487, "INVITE", true, 1, None));
    lab.send(ANN, PBX, &D.ack_failure(1));
    let over = ["ann s1 sent stop Ended g1", "ann s2 received stop Ended g1", "ann Ended(Cancelled)"];
    assert_eq!(lab.said(), over);
}

#[test]
fn r42b_a_lost_200_whose_ack_was_seen_connects_the_call_that_had_early_media() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann('A'))));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx('P'))));
    lab.said();
    lab.send(ANN, PBX, &D.request("ACK", true, 1, None));
    lab.wait(Duration::from_secs(2));
    assert_eq!(lab.said(), ["ann Connected"]);
    // And one whose ACK is lost too, by the next offer.
    let mut lab = self::lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann('A'))));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx('P'))));
    lab.said();
    lab.send(PBX, ANN, &D.request("INVITE", false, 1, Some(&pbx('P'))));
    lab.wait(Duration::from_secs(2));
    assert_eq!(lab.said(), ["ann Connected"]);
}

#[test]
fn r22_glare_leaves_the_old_generation_to_both() {
    let mut lab = connected();
    let (ours, theirs) = (ann('B'), pbx('Q'));
    lab.send(ANN, PBX, &D.request("INVITE", true, 2, Some(&ours)));
    lab.send(PBX, ANN, &D.request("INVITE", false, 1, Some(&theirs)));
    lab.send(PBX, ANN, &D.response(491, "INVITE", true, 2, None));
    lab.send(ANN, PBX, &D.response(491, "INVITE", false, 1, None));
    lab.send(ANN, PBX, &D.request("ACK", true, 2, None));
    lab.send(PBX, ANN, &D.request("ACK", false, 1, None));
    lab.wait(Duration::from_secs(4));
    assert_eq!(lab.said(), [""; 0]);
    // Whose turn it is tries again, and then the other.
    lab.send(PBX, ANN, &D.request("INVITE", false, 2, Some(&theirs)));
    lab.send(ANN, PBX, &D.response(200, "INVITE", false, 2, Some(&ann('A'))));
    assert_eq!(lab.said(), ["ann s2 received stop Changed g1", "ann s2 received open 10.0.0.2:4000 g2 Q"]);
    lab.send(ANN, PBX, &D.request("INVITE", true, 3, Some(&ours)));
    lab.send(PBX, ANN, &D.ok(3, Some(&theirs)));
    assert_eq!(lab.said(), ["ann s1 sent stop Changed g1", "ann s1 sent open 10.0.0.1:5000 g2 B"]);
}

#[test]
fn r22_offers_that_cross_are_each_answered_by_their_own_answer() {
    // One UPDATE is refused for the other (RFC 3311, 5.2), the other counts.
    let mut lab = connected();
    lab.send(ANN, PBX, &D.request("UPDATE", true, 2, Some(&ann('B'))));
    lab.send(PBX, ANN, &D.request("UPDATE", false, 2, Some(&pbx('Q'))));
    lab.send(PBX, ANN, &D.response(491, "UPDATE", true, 2, None));
    lab.send(ANN, PBX, &D.response(200, "UPDATE", false, 2, Some(&ann('A'))));
    assert_eq!(lab.said(), ["ann s2 received stop Changed g1", "ann s2 received open 10.0.0.2:4000 g2 Q"]);
}

#[test]
fn r22_every_refusal_of_a_re_invite_leaves_all_as_it_was() {
    for code in [300, 401, 403, 408, 481, 487, 488, 491, 500, 503, 606] {
        for method in ["INVITE", "UPDATE"] {
            let mut lab = connected();
            lab.send(PBX, ANN, &D.request(method, false, 1, Some(&pbx('Q').with("sendonly"))));
            lab.send(ANN, PBX, &D.response(code, method, false, 1, None));
            lab.wait(Duration::from_secs(400));
            assert_eq!(lab.said(), [""; 0], "{code} {method}");
        }
    }
}

#[test]
fn r22_a_re_invite_that_is_cancelled_leaves_all_as_it_was() {
    let mut lab = connected();
    lab.send(ANN, PBX, &D.request("INVITE", true, 2, Some(&ann('B'))));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 2, Some(&pbx('Q'))));
    lab.send(ANN, PBX, &D.request("CANCEL", true, 2, None));
    lab.send(PBX, ANN, &D.response(487, "INVITE", true, 2, None));
    lab.send(ANN, PBX, &D.request("ACK", true, 2, None));
    lab.wait(Duration::from_secs(400));
    assert_eq!(lab.said(), [""; 0]);
}
