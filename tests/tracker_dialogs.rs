//! Dialogs as they go, between a device and a configured PBX: states, hold, forks, failures, lost and early messages.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "common/sip.rs"]
mod sip;

use std::time::Duration;

use callgate::model::{CallDirection, EventBody, StopCause};
use sip::{Dialog, Lab, Sdp, dialog, stopped};

const PBX: &str = "10.0.0.1:5060";
const ANN: &str = "10.0.0.2:5060";
const D: Dialog = Dialog { call_id: "one", b: "b" };

fn lab() -> Lab {
    Lab::new(&[PBX], &["ann=10.0.0.2:5060"])
}

fn ann() -> Sdp {
    Sdp::secure("10.0.0.2:4000", 'A')
}

fn pbx() -> Sdp {
    Sdp::secure("10.0.0.1:5000", 'P')
}

/// A call from ann that is answered.
fn connected() -> Lab {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann())));
    lab.send(PBX, ANN, &D.ok(1, Some(&pbx())));
    lab.send(ANN, PBX, &D.request("ACK", true, 1, None));
    assert_eq!(
        lab.said(),
        [
            "ann Dialing",
            "ann Connected",
            "ann s1 sent open 10.0.0.1:5000 g1 A",
            "ann s2 received open 10.0.0.2:4000 g1 P",
        ]
    );
    lab
}

const ENDED: [&str; 3] = ["ann s1 sent stop Ended g1", "ann s2 received stop Ended g1", "ann Ended(Hangup)"];

#[test]
fn a_digest_challenge_is_part_of_the_same_call() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann())));
    lab.send(PBX, ANN, &D.response(401, "INVITE", true, 1, None));
    lab.send(ANN, PBX, &D.ack_failure(1));
    lab.send(ANN, PBX, &D.invite(2, Some(&ann())));
    lab.send(PBX, ANN, &D.response(100, "INVITE", true, 2, None));
    lab.send(PBX, ANN, &D.response(180, "INVITE", true, 2, None));
    assert_eq!(lab.said(), ["ann Dialing", "ann Alerting"]);
    assert_eq!(lab.calls().len(), 1);
    assert_eq!(lab.events[0].call.calling.name, "Ann");
    assert_eq!(lab.events[0].call.calling.uri, "sip:ann@example.com");
}

#[test]
fn a_challenge_that_nobody_meets_ends_the_call() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann())));
    lab.send(PBX, ANN, &D.response(407, "INVITE", true, 1, None));
    lab.wait(Duration::from_secs(33));
    assert_eq!(lab.said(), ["ann Dialing", "ann Ended(Rejected(407))"]);
}

#[test]
fn a_called_device_that_refuses() {
    let mut lab = lab();
    lab.send(PBX, ANN, &D.invite(1, Some(&pbx())));
    lab.send(ANN, PBX, &D.response(180, "INVITE", true, 1, None));
    lab.send(ANN, PBX, &D.response(486, "INVITE", true, 1, None));
    lab.send(PBX, ANN, &D.ack_failure(1));
    lab.send(ANN, PBX, &D.response(486, "INVITE", true, 1, None));
    assert_eq!(lab.said(), ["ann Offered", "ann Alerting", "ann Ended(Rejected(486))"]);
    assert_eq!(lab.events[0].call.direction, CallDirection::Incoming);
}

#[test]
fn a_caller_who_gives_up() {
    let mut lab = lab();
    lab.send(PBX, ANN, &D.invite(1, Some(&pbx())));
    lab.send(PBX, ANN, &D.cancel(1));
    lab.send(ANN, PBX, &D.response(200, "CANCEL", true, 1, None));
    lab.send(ANN, PBX, &D.response(487, "INVITE", true, 1, None));
    assert_eq!(lab.said(), ["ann Offered", "ann Ended(Cancelled)"]);
}

#[test]
fn a_cancel_whose_487_is_lost_ends_the_call_too() {
    let mut lab = lab();
    lab.send(PBX, ANN, &D.invite(1, Some(&pbx())));
    lab.send(PBX, ANN, &D.cancel(1));
    lab.wait(Duration::from_secs(33));
    assert_eq!(lab.said(), ["ann Offered", "ann Ended(Cancelled)"]);
}

#[test]
fn a_bye_from_either_side_ends_the_call() {
    for by_caller in [true, false] {
        let mut lab = connected();
        let (from, to) = if by_caller { (ANN, PBX) } else { (PBX, ANN) };
        lab.send(from, to, &D.request("BYE", by_caller, 9, None));
        lab.send(to, from, &D.response(200, "BYE", by_caller, 9, None));
        assert_eq!(lab.said(), ENDED);
    }
}

#[test]
fn an_answered_bye_that_was_lost_ends_the_call() {
    let mut lab = connected();
    lab.send(PBX, ANN, &D.response(200, "BYE", true, 9, None));
    assert_eq!(lab.said(), ENDED);
}

#[test]
fn a_late_offer_is_answered_in_the_ack() {
    let mut lab = lab();
    lab.send(PBX, ANN, &D.invite(1, None));
    lab.send(ANN, PBX, &D.ok(1, Some(&ann())));
    lab.send(ANN, PBX, &D.ok(1, Some(&ann())));
    assert_eq!(lab.said(), ["ann Offered", "ann Connected"]);
    lab.send(PBX, ANN, &D.request("ACK", true, 1, Some(&pbx())));
    lab.send(PBX, ANN, &D.request("ACK", true, 1, Some(&pbx())));
    assert_eq!(lab.said(), ["ann s1 sent open 10.0.0.1:5000 g1 A", "ann s2 received open 10.0.0.2:4000 g1 P"]);
}

#[test]
fn a_late_offer_and_its_ack_may_change_places() {
    let mut lab = lab();
    lab.send(PBX, ANN, &D.invite(1, None));
    lab.send(PBX, ANN, &D.request("ACK", true, 1, Some(&pbx())));
    lab.send(ANN, PBX, &D.ok(1, Some(&ann())));
    assert_eq!(
        lab.said(),
        [
            "ann Offered",
            "ann Connected",
            "ann s1 sent open 10.0.0.1:5000 g1 A",
            "ann s2 received open 10.0.0.2:4000 g1 P",
        ]
    );
    lab.wait(Duration::from_secs(60));
    assert_eq!(lab.said(), [""; 0]);
}

#[test]
fn r22_hold_and_resume_keep_the_generation() {
    let mut lab = connected();
    lab.send(ANN, PBX, &D.request("INVITE", true, 2, Some(&ann().with("sendonly"))));
    lab.send(PBX, ANN, &D.ok(2, Some(&pbx().with("recvonly"))));
    assert_eq!(lab.said(), ["ann Held", "ann s2 received stop Hold g1"]);
    lab.send(ANN, PBX, &D.request("INVITE", true, 3, Some(&ann())));
    lab.send(PBX, ANN, &D.ok(3, Some(&pbx())));
    assert_eq!(lab.said(), ["ann Connected", "ann s2 received open 10.0.0.2:4000 g1 P"]);
}

#[test]
fn hold_by_the_other_end_with_zeros_and_with_inactive() {
    let mut lab = connected();
    let zeros = Sdp { address: "0.0.0.0:5000".parse().unwrap(), ..pbx() };
    lab.send(PBX, ANN, &D.request("INVITE", false, 1, Some(&zeros)));
    lab.send(ANN, PBX, &D.response(200, "INVITE", false, 1, Some(&ann())));
    assert_eq!(lab.said(), ["ann HeldByRemote", "ann s1 sent stop Hold g1"]);
    lab.send(PBX, ANN, &D.request("INVITE", false, 2, Some(&pbx().with("inactive"))));
    lab.send(ANN, PBX, &D.response(200, "INVITE", false, 2, Some(&ann().with("inactive"))));
    assert_eq!(lab.said(), ["ann s2 received stop Hold g1"]);
    // Also what was on hold is told to be over: its keys are of no more use.
    lab.send(PBX, ANN, &D.request("BYE", false, 3, None));
    lab.send(ANN, PBX, &D.response(200, "BYE", false, 3, None));
    assert_eq!(lab.said(), ENDED);
}

#[test]
fn r22_a_rejected_offer_leaves_the_old_generation_in_force() {
    let mut lab = connected();
    for (cseq, code) in [(2, 488), (3, 491), (4, 401)] {
        let other = Sdp::secure("10.0.0.2:4100", 'X').with("sendonly");
        lab.send(ANN, PBX, &D.request("INVITE", true, cseq, Some(&other)));
        lab.send(PBX, ANN, &D.response(code, "INVITE", true, cseq, None));
        lab.send(ANN, PBX, &D.request("ACK", true, cseq, None));
    }
    lab.wait(Duration::from_secs(60));
    assert_eq!(lab.said(), [""; 0]);
}

#[test]
fn r22_a_new_key_is_a_new_generation() {
    let mut lab = connected();
    lab.send(ANN, PBX, &D.request("INVITE", true, 2, Some(&Sdp::secure("10.0.0.2:4000", 'B'))));
    lab.send(PBX, ANN, &D.ok(2, Some(&pbx())));
    assert_eq!(lab.said(), ["ann s1 sent stop Changed g1", "ann s1 sent open 10.0.0.1:5000 g2 B"]);
}

#[test]
fn r22_a_new_address_keeps_the_generation() {
    let mut lab = connected();
    lab.send(PBX, ANN, &D.request("UPDATE", false, 1, Some(&Sdp::secure("10.0.0.9:5000", 'P'))));
    lab.send(ANN, PBX, &D.response(200, "UPDATE", false, 1, Some(&ann())));
    assert_eq!(lab.said(), ["ann s1 sent stop Changed g1", "ann s1 sent open 10.0.0.9:5000 g1 A"]);
}

#[test]
fn r22_a_key_first_seen_on_hold_is_noted() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann().with("inactive"))));
    lab.send(PBX, ANN, &D.ok(1, Some(&pbx().with("inactive"))));
    assert_eq!(lab.said(), ["ann Dialing", "ann Connected", "ann Held", "ann s1 keyed g1", "ann s2 keyed g1"]);
    lab.send(ANN, PBX, &D.request("INVITE", true, 2, Some(&ann())));
    lab.send(PBX, ANN, &D.ok(2, Some(&pbx())));
    assert_eq!(
        lab.said(),
        ["ann Connected", "ann s1 sent open 10.0.0.1:5000 g1 A", "ann s2 received open 10.0.0.2:4000 g1 P"]
    );
}

#[test]
fn early_media_have_keys_and_the_answer_that_repeats_them_changes_nothing() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann())));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx())));
    assert_eq!(
        lab.said(),
        ["ann Dialing", "ann s1 sent open 10.0.0.1:5000 g1 A", "ann s2 received open 10.0.0.2:4000 g1 P"]
    );
    lab.send(PBX, ANN, &D.ok(1, Some(&pbx())));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx())));
    assert_eq!(lab.said(), ["ann Connected"]);
}

#[test]
fn r23_keys_of_a_branch_that_loses_are_withdrawn() {
    let mut lab = lab();
    let other = Dialog { b: "c", ..D };
    lab.send(ANN, PBX, &D.invite(1, Some(&ann())));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx())));
    lab.said();
    lab.send(PBX, ANN, &other.ok(1, Some(&Sdp::secure("10.0.0.8:6000", 'Q'))));
    assert_eq!(
        lab.said(),
        [
            "ann Connected",
            "ann s1 sent stop Ended g1",
            "ann s2 received stop Ended g1",
            "ann s3 sent open 10.0.0.8:6000 g1 A",
            "ann s4 received open 10.0.0.2:4000 g1 Q",
        ]
    );
    // The loser's late answer, and its end, are nobody's business.
    lab.send(PBX, ANN, &D.ok(1, Some(&pbx())));
    lab.send(ANN, PBX, &D.request("BYE", true, 2, None));
    lab.send(PBX, ANN, &D.response(200, "BYE", true, 2, None));
    assert_eq!(lab.said(), [""; 0]);
    lab.send(ANN, PBX, &other.request("BYE", true, 3, None));
    lab.send(PBX, ANN, &other.response(200, "BYE", true, 3, None));
    assert_eq!(lab.said().last().unwrap(), "ann Ended(Hangup)");
}

#[test]
fn r23_an_update_in_one_early_dialog_changes_nothing_in_another() {
    let mut lab = lab();
    let other = Dialog { b: "c", ..D };
    lab.send(ANN, PBX, &D.invite(1, Some(&ann())));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx())));
    lab.said();
    // The early dialog's own 183 was lost.
    lab.send(PBX, ANN, &other.request("UPDATE", false, 1, Some(&Sdp::secure("10.0.0.8:6000", 'Q'))));
    lab.send(ANN, PBX, &other.response(200, "UPDATE", false, 1, Some(&ann())));
    lab.wait(Duration::from_secs(2));
    assert_eq!(lab.said(), ["ann s3 sent open 10.0.0.8:6000 g1 A", "ann s4 received open 10.0.0.2:4000 g1 Q"]);
    // After the other one answered, it counts no more.
    lab.send(PBX, ANN, &D.ok(1, Some(&pbx())));
    lab.said();
    lab.send(PBX, ANN, &other.request("UPDATE", false, 2, Some(&Sdp::secure("10.0.0.8:6000", 'R'))));
    lab.send(ANN, PBX, &other.response(200, "UPDATE", false, 2, Some(&ann())));
    lab.wait(Duration::from_secs(2));
    assert_eq!(lab.said(), [""; 0]);
}

#[test]
fn a_hold_that_is_answered_inactive_is_the_offerers_hold() {
    let mut lab = connected();
    lab.send(PBX, ANN, &D.request("INVITE", false, 1, Some(&pbx().with("sendonly"))));
    lab.send(ANN, PBX, &D.response(200, "INVITE", false, 1, Some(&ann().with("inactive"))));
    assert_eq!(lab.said(), ["ann HeldByRemote", "ann s1 sent stop Hold g1", "ann s2 received stop Hold g1"]);
}

#[test]
fn r23_a_late_offer_is_answered_only_by_what_goes_to_its_branch() {
    let mut lab = lab();
    let other = Dialog { b: "c", ..D };
    lab.send(ANN, PBX, &D.invite(1, None));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx())));
    lab.send(PBX, ANN, &other.response(183, "INVITE", true, 1, Some(&Sdp::secure("10.0.0.8:6000", 'Q'))));
    assert_eq!(lab.said(), ["ann Dialing"]);
    lab.send(ANN, PBX, &other.request("PRACK", true, 2, Some(&ann())));
    assert_eq!(lab.said(), ["ann s1 sent open 10.0.0.8:6000 g1 A", "ann s2 received open 10.0.0.2:4000 g1 Q"]);
    lab.send(ANN, PBX, &D.request("PRACK", true, 2, Some(&Sdp::secure("10.0.0.2:4000", 'B'))));
    assert_eq!(lab.said(), ["ann s3 sent open 10.0.0.1:5000 g1 B", "ann s4 received open 10.0.0.2:4000 g1 P"]);
}

#[test]
fn r22_a_challenge_that_was_lost_leaves_nothing_behind() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann())));
    lab.send(ANN, PBX, &D.invite(2, Some(&ann())));
    // Overtaken by the INVITE that answers it.
    lab.send(PBX, ANN, &D.response(401, "INVITE", true, 1, None));
    lab.wait(Duration::from_secs(60));
    lab.send(PBX, ANN, &D.ok(2, Some(&pbx())));
    assert_eq!(lab.said().len(), 4);
    lab.send(ANN, PBX, &D.request("INVITE", true, 3, Some(&ann().with("sendonly"))));
    lab.send(PBX, ANN, &D.response(500, "INVITE", true, 3, None));
    lab.wait(Duration::from_secs(60));
    assert_eq!(lab.said(), [""; 0]);
}

#[test]
fn r42b_a_lost_answer_leaves_the_key_unknown() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann())));
    lab.send(ANN, PBX, &D.request("ACK", true, 1, None));
    assert_eq!(lab.said(), ["ann Dialing"]);
    lab.wait(Duration::from_secs(2));
    assert_eq!(lab.said(), ["ann Connected", "ann s1 received open 10.0.0.2:4000 g1 unknown"]);
    // The next offer that is answered tells the keys.
    lab.send(ANN, PBX, &D.request("INVITE", true, 2, Some(&ann())));
    lab.send(PBX, ANN, &D.ok(2, Some(&pbx())));
    assert_eq!(
        lab.said(),
        [
            "ann s2 sent open 10.0.0.1:5000 g1 A",
            "ann s1 received stop Changed g1",
            "ann s1 received open 10.0.0.2:4000 g2 P",
        ]
    );
}

#[test]
fn r42b_a_rekey_whose_answer_is_lost_leaves_no_old_key_in_force() {
    let mut lab = connected();
    lab.send(ANN, PBX, &D.request("INVITE", true, 2, Some(&Sdp::secure("10.0.0.2:4000", 'B'))));
    lab.send(ANN, PBX, &D.request("ACK", true, 2, None));
    lab.wait(Duration::from_secs(2));
    assert_eq!(
        lab.said(),
        [
            "ann s1 sent stop Changed g1",
            "ann s1 sent open 10.0.0.1:5000 g2 unknown",
            "ann s2 received stop Changed g1",
            "ann s2 received open 10.0.0.2:4000 g2 unknown",
        ]
    );
}

#[test]
fn r42b_a_lost_offer_leaves_the_key_unknown() {
    let mut lab = lab();
    lab.send(PBX, ANN, &D.invite(1, None));
    lab.send(PBX, ANN, &D.request("ACK", true, 1, Some(&pbx())));
    lab.wait(Duration::from_secs(2));
    assert_eq!(lab.said(), ["ann Offered", "ann Connected", "ann s1 sent open 10.0.0.1:5000 g1 unknown"]);
}

#[test]
fn r42b_an_unreadable_answer_is_an_answer_that_wasn_t_seen() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann())));
    lab.send(PBX, ANN, &D.ok(1, Some(&Sdp { formats: "", proto: "", ..pbx() })));
    assert_eq!(lab.said(), ["ann Dialing", "ann Connected", "ann s1 received open 10.0.0.2:4000 g1 unknown"]);
}

#[test]
fn r42b_messages_of_an_unknown_dialog_make_nothing() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.request("BYE", true, 2, None));
    lab.send(ANN, PBX, &D.request("ACK", true, 1, Some(&ann())));
    lab.send(PBX, ANN, &D.ok(1, Some(&pbx())));
    lab.send(PBX, ANN, &D.response(180, "INVITE", true, 1, None));
    lab.send(ANN, PBX, &D.request("UPDATE", true, 3, Some(&ann())));
    lab.wait(Duration::from_secs(100));
    assert_eq!(lab.said(), [""; 0]);
    assert_eq!(lab.feed.deadline(), None);
}

#[test]
fn r42b_an_offer_in_mid_call_that_is_rejected_makes_nothing() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.request("INVITE", true, 2, Some(&ann())));
    lab.send(PBX, ANN, &D.response(488, "INVITE", true, 2, None));
    lab.send(ANN, PBX, &D.request("BYE", true, 3, None));
    lab.wait(Duration::from_secs(100));
    assert_eq!(lab.said(), [""; 0]);
    assert_eq!(lab.feed.deadline(), None);
}

#[test]
fn an_answer_may_overtake_its_invite_by_a_moment_but_not_by_more() {
    let mut lab = lab();
    lab.send(PBX, ANN, &D.ok(1, Some(&pbx())));
    lab.send(ANN, PBX, &D.invite(1, Some(&ann())));
    assert_eq!(lab.said().len(), 4);

    let mut lab = self::lab();
    lab.send(PBX, ANN, &D.ok(1, Some(&pbx())));
    lab.wait(Duration::from_secs(2));
    lab.send(ANN, PBX, &D.invite(1, Some(&ann())));
    assert_eq!(lab.said(), ["ann Dialing"]);
}

#[test]
fn a_phone_that_tries_once_more_by_the_same_names_makes_another_call() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann())));
    lab.send(PBX, ANN, &D.response(503, "INVITE", true, 1, None));
    lab.send(ANN, PBX, &D.invite(1, Some(&ann())));
    lab.send(ANN, PBX, &D.invite(2, Some(&ann())));
    assert_eq!(lab.said(), ["ann Dialing", "ann Ended(Rejected(503))", "ann Dialing"]);
    assert_eq!(lab.calls().len(), 2);
}

#[test]
fn r42b_silent_calls_are_forgotten() {
    let mut lab = lab();
    lab.send(ANN, PBX, &dialog("two").invite(1, Some(&ann())));
    lab.wait(Duration::from_secs(301));
    assert_eq!(lab.said(), ["ann Dialing", "ann Ended(Forgotten)"]);

    let mut lab = connected();
    lab.wait(Duration::from_secs(23 * 3600));
    assert_eq!(lab.said(), [""; 0]);
    lab.wait(Duration::from_secs(3601));
    assert_eq!(lab.said()[2], "ann Ended(Forgotten)");
    lab.wait(Duration::from_secs(60));
    assert_eq!(lab.feed.deadline(), None);
}

#[test]
fn every_stream_that_was_told_of_is_told_to_be_over() {
    let mut lab = connected();
    lab.send(ANN, PBX, &D.request("BYE", true, 2, None));
    lab.send(PBX, ANN, &D.response(200, "BYE", true, 2, None));
    let ended = lab.events.iter().filter(|event| stopped(event, StopCause::Ended)).count();
    let opened = lab.events.iter().filter(|event| matches!(event.body, EventBody::MediaOpened(_))).count();
    assert_eq!((opened, ended), (2, 2));
}

#[test]
fn r22_a_late_answer_to_an_older_offer_says_nothing_of_now() {
    // The answer of the call itself, overtaken by an UPDATE.
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&ann())));
    lab.send(ANN, PBX, &D.request("ACK", true, 1, None));
    lab.wait(Duration::from_secs(2));
    lab.send(ANN, PBX, &D.request("UPDATE", true, 2, Some(&Sdp::secure("10.0.0.2:4000", 'B'))));
    lab.send(PBX, ANN, &D.response(200, "UPDATE", true, 2, Some(&Sdp::secure("10.0.0.1:5000", 'Q'))));
    lab.said();
    lab.send(PBX, ANN, &D.ok(1, Some(&pbx())));
    assert_eq!(lab.said(), [""; 0]);

    // The answer of a re-INVITE, overtaken by another one.
    let mut lab = connected();
    lab.send(ANN, PBX, &D.request("INVITE", true, 2, Some(&Sdp::secure("10.0.0.2:4000", 'B'))));
    lab.send(ANN, PBX, &D.request("INVITE", true, 3, Some(&Sdp::secure("10.0.0.2:4000", 'C'))));
    lab.send(PBX, ANN, &D.ok(3, Some(&Sdp::secure("10.0.0.1:5000", 'R'))));
    assert_eq!(lab.said().len(), 4);
    lab.send(PBX, ANN, &D.ok(2, Some(&Sdp::secure("10.0.0.1:5000", 'Q'))));
    lab.wait(Duration::from_secs(60));
    assert_eq!(lab.said(), [""; 0]);
}

#[test]
fn r22_an_answer_in_a_183_of_a_re_invite_counts_once_it_is_accepted() {
    let other = (Sdp::secure("10.0.0.2:4000", 'B'), Sdp::secure("10.0.0.1:5000", 'Q'));
    for (code, copy) in [(488, false), (200, false), (200, true)] {
        let mut lab = connected();
        lab.send(ANN, PBX, &D.request("INVITE", true, 2, Some(&other.0)));
        lab.send(PBX, ANN, &D.response(183, "INVITE", true, 2, Some(&other.1)));
        assert_eq!(lab.said(), [""; 0]);
        lab.send(PBX, ANN, &D.response(code, "INVITE", true, 2, copy.then_some(&other.1)));
        let changed = [
            "ann s1 sent stop Changed g1",
            "ann s1 sent open 10.0.0.1:5000 g2 B",
            "ann s2 received stop Changed g1",
            "ann s2 received open 10.0.0.2:4000 g2 Q",
        ];
        assert_eq!(lab.said(), if code == 200 { &changed[..] } else { &[] });
        lab.wait(Duration::from_secs(60));
        assert_eq!(lab.said(), [""; 0]);
    }
}

#[test]
fn r22_a_late_offer_in_a_183_of_a_re_invite_is_settled_by_its_200() {
    let mut lab = connected();
    lab.send(ANN, PBX, &D.request("INVITE", true, 2, None));
    lab.send(PBX, ANN, &D.response(183, "INVITE", true, 2, Some(&Sdp::secure("10.0.0.1:5000", 'Q'))));
    lab.send(ANN, PBX, &D.request("PRACK", true, 3, Some(&ann())));
    assert_eq!(lab.said(), [""; 0]);
    lab.send(PBX, ANN, &D.ok(2, None));
    assert_eq!(lab.said(), ["ann s2 received stop Changed g1", "ann s2 received open 10.0.0.2:4000 g2 Q"]);
}

#[test]
fn r23_a_branch_that_answers_without_a_description_has_that_of_its_183() {
    let other = Dialog { b: "c", ..D };
    let early = |updated: bool| {
        let mut lab = lab();
        lab.send(ANN, PBX, &D.invite(1, Some(&ann())));
        lab.send(PBX, ANN, &D.response(183, "INVITE", true, 1, Some(&pbx())));
        if updated {
            lab.send(ANN, PBX, &D.request("UPDATE", true, 2, Some(&ann())));
        }
        lab.send(PBX, ANN, &other.response(183, "INVITE", true, 1, Some(&Sdp::secure("10.0.0.8:6000", 'Q'))));
        lab.said();
        lab.send(PBX, ANN, &D.ok(1, None));
        lab.wait(Duration::from_secs(2));
        lab.said()
    };
    // Its streams are open since then, and those of the other one are over.
    let over = ["ann Connected", "ann s3 sent stop Ended g1", "ann s4 received stop Ended g1"];
    assert_eq!(early(false), over);
    // An offer that nobody was seen to answer changes nothing.
    assert_eq!(early(true), over);
}

#[test]
fn r42b_a_bye_that_is_out_of_order_or_refused_ends_nothing() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(10, Some(&ann())));
    lab.send(PBX, ANN, &D.ok(10, Some(&pbx())));
    lab.said();
    lab.send(ANN, PBX, &D.request("BYE", true, 3, None));
    lab.send(PBX, ANN, &D.response(500, "BYE", true, 3, None));
    // The BYE to this one wasn't seen.
    lab.send(PBX, ANN, &D.response(403, "BYE", true, 12, None));
    lab.wait(Duration::from_secs(60));
    assert_eq!(lab.said(), [""; 0]);
    lab.send(ANN, PBX, &D.request("BYE", true, 11, None));
    lab.send(PBX, ANN, &D.response(200, "BYE", true, 11, None));
    assert_eq!(lab.said(), ENDED);
}

#[test]
fn a_first_invite_that_comes_after_the_second_begins_no_other_call() {
    let mut lab = lab();
    lab.send(PBX, ANN, &D.request("INVITE", false, 1, Some(&pbx())));
    lab.send(ANN, PBX, &D.invite(1, Some(&ann())));
    lab.send(ANN, PBX, &D.response(200, "INVITE", false, 1, Some(&ann())));
    lab.send(ANN, PBX, &D.request("BYE", true, 2, None));
    lab.send(PBX, ANN, &D.response(200, "BYE", true, 2, None));
    assert_eq!(lab.said().last().unwrap(), "ann Ended(Hangup)");
    assert_eq!(lab.calls().len(), 1);
    lab.wait(Duration::from_secs(60));
    assert_eq!(lab.feed.deadline(), None);
}
