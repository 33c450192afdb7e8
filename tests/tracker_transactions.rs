//! Several transactions of one Call-ID and CSeq: a response belongs to the branch of its topmost Via (RFC 3261, 17.1.3).
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "common/sip.rs"]
mod sip;

use std::time::Duration;

use sip::{Dialog, Lab, Sdp, on_branch};

const PBX: &str = "10.0.0.1:5060";
const ANN: &str = "10.0.0.2:5060";
const BOB: &str = "10.0.0.3:5060";
const D: Dialog = Dialog { call_id: "one", b: "b" };
const OTHER: Dialog = Dialog { call_id: "one", b: "c" };

fn lab() -> Lab {
    Lab::new(&[PBX], &["ann=10.0.0.2:5060", "bob=10.0.0.3:5060"])
}

fn offer(letter: char) -> Sdp {
    Sdp::secure("10.0.0.2:4000", letter)
}

fn answer() -> Sdp {
    Sdp::secure("10.0.0.1:5000", 'P')
}

/// Both streams of ann's call, with her key.
fn talking(letter: char) -> [String; 3] {
    [
        "ann Connected".to_owned(),
        format!("ann s1 sent open 10.0.0.1:5000 g1 {letter}"),
        "ann s2 received open 10.0.0.2:4000 g1 P".to_owned(),
    ]
}

#[test]
fn r42b_a_refused_second_branch_of_an_invite_leaves_the_first() {
    for code in [482, 420, 486, 401] {
        let mut lab = lab();
        lab.send(ANN, PBX, &D.invite(1, Some(&offer('A'))));
        lab.send(ANN, PBX, &on_branch(&D.invite(1, Some(&offer('X'))), "second"));
        assert_eq!(lab.said(), ["ann Dialing"]);
        lab.send(PBX, ANN, &on_branch(&OTHER.response(code, "INVITE", true, 1, None), "second"));
        lab.send(ANN, PBX, &on_branch(&OTHER.ack_failure(1), "second"));
        lab.wait(Duration::from_secs(40));
        assert_eq!(lab.said(), [""; 0], "{code}");
        lab.send(PBX, ANN, &on_branch(&D.ok(1, Some(&answer())), "one-i1"));
        assert_eq!(lab.said(), talking('A'), "{code}");
    }
}

#[test]
fn r42b_each_branch_of_an_invite_has_its_own_offer() {
    let mut lab = lab();
    lab.send(ANN, PBX, &on_branch(&D.invite(1, Some(&offer('A'))), "first"));
    lab.send(ANN, PBX, &on_branch(&D.invite(1, Some(&offer('X'))), "second"));
    lab.send(PBX, ANN, &on_branch(&OTHER.response(183, "INVITE", true, 1, Some(&answer())), "first"));
    lab.send(PBX, ANN, &on_branch(&D.ok(1, Some(&answer())), "second"));
    let opened: Vec<_> = lab.said().into_iter().filter(|line| line.contains("sent open")).collect();
    assert_eq!(opened, ["ann s1 sent open 10.0.0.1:5000 g1 A", "ann s3 sent open 10.0.0.1:5000 g1 X"]);
}

#[test]
fn r42b_an_answer_without_a_branch_to_one_of_two_offers_gives_no_key() {
    let mut lab = lab();
    lab.send(ANN, PBX, &on_branch(&D.invite(1, Some(&offer('A'))), "first"));
    lab.send(ANN, PBX, &on_branch(&D.invite(1, Some(&offer('X'))), "second"));
    lab.send(PBX, ANN, &D.ok(1, Some(&answer())).replace(";branch=z9hG4bK\r\n", "\r\n"));
    assert_eq!(lab.said(), ["ann Dialing", "ann Connected", "ann s1 sent open 10.0.0.1:5000 g1 unknown"]);
}

#[test]
fn r41a_of_very_many_branches_an_unknown_one_connects_without_a_key() {
    let mut lab = lab();
    for i in 0..20 {
        lab.send(ANN, PBX, &on_branch(&D.invite(1, Some(&offer('A'))), &format!("branch{i}")));
    }
    lab.send(PBX, ANN, &on_branch(&D.ok(1, Some(&answer())), "branch15"));
    assert_eq!(lab.said(), ["ann Dialing", "ann Connected", "ann s1 sent open 10.0.0.1:5000 g1 unknown"]);
}

#[test]
fn r42b_after_a_refusal_the_same_cseq_on_another_branch_is_a_new_attempt() {
    for code in [486, 503, 487] {
        let mut lab = lab();
        lab.send(ANN, PBX, &D.invite(1, Some(&offer('A'))));
        lab.send(PBX, ANN, &D.response(code, "INVITE", true, 1, None));
        lab.said();
        // The old one once more begins nothing.
        lab.send(ANN, PBX, &D.invite(1, Some(&offer('A'))));
        assert_eq!(lab.said(), [""; 0]);
        lab.send(ANN, PBX, &on_branch(&D.invite(1, Some(&offer('B'))), "again"));
        lab.send(PBX, ANN, &D.ok(1, Some(&answer())));
        let said = lab.said();
        assert_eq!((said[0].as_str(), &said[1..]), ("ann Dialing", &talking('B')[..]), "{code}");
        assert_eq!(lab.calls().len(), 2);
    }
}

#[test]
fn r42b_a_device_is_hunted_again_while_the_caller_waits() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&offer('A'))));
    for (i, letter) in ['A', 'B'].into_iter().enumerate() {
        lab.send(PBX, BOB, &on_branch(&D.invite(1, Some(&offer(letter))), &format!("hunt{i}")));
        if i == 0 {
            lab.send(BOB, PBX, &D.response(486, "INVITE", true, 1, None));
            lab.send(PBX, BOB, &on_branch(&D.ack_failure(1), "hunt0"));
        }
    }
    lab.send(BOB, PBX, &OTHER.ok(1, Some(&Sdp::secure("10.0.0.3:5000", 'P'))));
    assert_eq!(
        lab.said(),
        [
            "ann Dialing",
            "bob Offered",
            "bob Ended(Rejected(486))",
            "bob Offered",
            "bob Connected",
            "bob s1 sent open 10.0.0.2:4000 g1 P",
            "bob s2 received open 10.0.0.3:5000 g1 B",
        ]
    );
}

#[test]
fn r42b_a_cancel_ends_only_its_own_branch() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&offer('A'))));
    lab.send(ANN, PBX, &on_branch(&D.invite(1, Some(&offer('A'))), "second"));
    lab.send(ANN, PBX, &on_branch(&D.cancel(1), "second"));
    lab.send(ANN, PBX, &on_branch(&D.cancel(1), "nonsense"));
    lab.wait(Duration::from_secs(60));
    assert_eq!(lab.said(), ["ann Dialing"]);
    lab.send(PBX, ANN, &on_branch(&D.response(487, "INVITE", true, 1, None), "second"));
    lab.send(ANN, PBX, &D.cancel(1));
    lab.wait(Duration::from_secs(60));
    assert_eq!(lab.said(), ["ann Ended(Cancelled)"]);
}

#[test]
fn r22_a_refused_second_branch_of_a_reinvite_leaves_the_first() {
    for method in ["INVITE", "UPDATE"] {
        let mut lab = lab();
        lab.send(ANN, PBX, &D.invite(1, Some(&offer('A'))));
        lab.send(PBX, ANN, &D.ok(1, Some(&answer())));
        lab.said();
        let request = |letter| D.request(method, true, 2, Some(&offer(letter)));
        lab.send(ANN, PBX, &on_branch(&request('B'), "first"));
        lab.send(ANN, PBX, &on_branch(&request('X'), "second"));
        lab.send(PBX, ANN, &on_branch(&D.response(420, method, true, 2, None), "second"));
        lab.send(PBX, ANN, &on_branch(&D.response(200, method, true, 2, Some(&answer())), "first"));
        let opened: Vec<_> = lab.said().into_iter().filter(|line| line.contains(" open ")).collect();
        assert_eq!(opened, ["ann s1 sent open 10.0.0.1:5000 g2 B"], "{method}");
        // And a new attempt after the refusal of the only one.
        let request = |letter| D.request(method, true, 3, Some(&offer(letter)));
        lab.send(ANN, PBX, &on_branch(&request('X'), "third"));
        lab.send(PBX, ANN, &on_branch(&D.response(420, method, true, 3, None), "third"));
        lab.send(ANN, PBX, &on_branch(&request('C'), "fourth"));
        lab.send(PBX, ANN, &on_branch(&D.response(200, method, true, 3, Some(&answer())), "fourth"));
        let opened: Vec<_> = lab.said().into_iter().filter(|line| line.contains(" open ")).collect();
        assert_eq!(opened, ["ann s1 sent open 10.0.0.1:5000 g3 C"], "{method}");
    }
}

#[test]
fn r42b_an_answer_that_overtakes_its_own_branch_waits_for_it() {
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&offer('A'))));
    lab.send(PBX, ANN, &on_branch(&D.ok(1, Some(&answer())), "second"));
    assert_eq!(lab.said(), ["ann Dialing"]);
    lab.send(ANN, PBX, &on_branch(&D.invite(1, Some(&offer('B'))), "second"));
    assert_eq!(lab.said(), talking('B'));
}

/// Ann's call is answered; nothing of it is left to be said.
fn answered(lab: &mut Lab) {
    lab.send(ANN, PBX, &D.invite(1, Some(&offer('A'))));
    lab.send(PBX, ANN, &D.ok(1, Some(&answer())));
    assert_eq!(lab.said().len(), 4);
}

const ENDED: [&str; 3] = ["ann s1 sent stop Ended g1", "ann s2 received stop Ended g1", "ann Ended(Hangup)"];

#[test]
fn r42b_a_bye_that_the_other_end_refuses_ends_nothing() {
    for code in [483, 420, 500] {
        let mut lab = lab();
        answered(&mut lab);
        lab.send(ANN, PBX, &D.request("BYE", true, 2, None));
        lab.send(PBX, ANN, &D.response(code, "BYE", true, 2, None));
        lab.wait(Duration::from_secs(60));
        assert_eq!(lab.said(), [""; 0], "{code}");
        // A refusal of another one keeps none alive.
        lab.send(ANN, PBX, &D.request("BYE", true, 3, None));
        lab.send(PBX, ANN, &on_branch(&D.response(code, "BYE", true, 3, None), "other"));
        lab.send(PBX, ANN, &D.response(200, "BYE", true, 3, None));
        assert_eq!(lab.said(), ENDED, "{code}");
    }
}

#[test]
fn a_bye_ends_the_call_without_an_answer_or_with_a_challenge_too() {
    for code in [None, Some(401), Some(407)] {
        let mut lab = lab();
        answered(&mut lab);
        lab.send(ANN, PBX, &D.request("BYE", true, 2, None));
        if let Some(code) = code {
            lab.send(PBX, ANN, &D.response(code, "BYE", true, 2, None));
        }
        assert_eq!(lab.said(), [""; 0]);
        lab.wait(Duration::from_secs(33));
        assert_eq!(lab.said(), ENDED);
    }
}

/// Ann's call is met again by a re-INVITE with the keys that it had.
fn met_again(lab: &mut Lab) -> Vec<String> {
    lab.wait(Duration::from_secs(40));
    lab.said();
    lab.send(ANN, PBX, &D.request("INVITE", true, 20, Some(&offer('A'))));
    lab.send(PBX, ANN, &D.ok(20, Some(&answer())));
    lab.said().into_iter().filter(|line| line.contains(" open ")).collect()
}

#[test]
fn r16_a_key_is_never_new_again_after_an_end_that_nobody_accepted() {
    let bye = D.request("BYE", true, 2, None);
    let answer = |code| D.response(code, "BYE", true, 2, None);
    for (seen, code) in [(true, None), (true, Some(481)), (true, Some(408)), (false, Some(200)), (false, Some(481))] {
        let mut lab = lab();
        answered(&mut lab);
        if seen {
            lab.send(ANN, PBX, &bye);
        }
        if let Some(code) = code {
            lab.send(PBX, ANN, &answer(code));
        }
        let opened = met_again(&mut lab);
        assert!(opened.len() == 2 && opened.iter().all(|line| line.ends_with("unknown")), "{seen} {code:?} {opened:?}");
    }
}

#[test]
fn r42b_a_bye_with_a_tag_of_another_dialog_ends_nothing() {
    let mut lab = lab();
    answered(&mut lab);
    let forged = |text: String| text.replace(";tag=a", ";tag=z");
    lab.send(ANN, PBX, &forged(D.request("BYE", true, 2, None)));
    lab.send(PBX, ANN, &forged(D.response(200, "BYE", true, 2, None)));
    lab.wait(Duration::from_secs(60));
    assert_eq!(lab.said(), [""; 0]);
}

#[test]
fn r42b_a_phone_that_rings_for_long_is_answered_all_the_same() {
    for code in [180, 183] {
        let mut lab = lab();
        lab.send(ANN, PBX, &D.invite(1, Some(&offer('A'))));
        lab.send(PBX, ANN, &D.response(code, "INVITE", true, 1, None));
        lab.wait(Duration::from_secs(55 * 60));
        lab.send(PBX, ANN, &D.ok(1, Some(&answer())));
        assert_eq!(lab.said().last().unwrap(), &talking('A')[2], "{code}");
    }
    // Where nobody rings, and even where somebody does, it ends.
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&offer('A'))));
    lab.send(PBX, ANN, &D.response(100, "INVITE", true, 1, None));
    lab.wait(Duration::from_secs(5 * 60));
    assert_eq!(lab.said(), ["ann Dialing", "ann Ended(Forgotten)"]);
}

#[test]
fn r42b_an_offer_and_an_answer_that_can_t_be_read_connect_the_call() {
    let unreadable = Sdp { formats: "0\r\nm=nonsense", ..Sdp::plain("10.0.0.2:4000") };
    let mut lab = lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&unreadable)));
    lab.send(PBX, ANN, &D.ok(1, Some(&unreadable)));
    assert_eq!(lab.said(), ["ann Dialing", "ann Connected"]);
}
