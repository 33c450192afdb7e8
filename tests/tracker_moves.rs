//! Calls that move: transfers, replaced dialogs, phones at new addresses, registrations that come and go.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "common/sip.rs"]
mod sip;

use std::time::Duration;

use sip::{Dialog, Lab, Sdp, register, registered, with};

const PBX: &str = "10.0.0.1:5060";
const ANN: &str = "10.0.0.2:5060";
const BOB: &str = "10.0.0.3:5060";
const D: Dialog = Dialog { call_id: "one", b: "b" };
const NEW: Dialog = Dialog { call_id: "new", b: "n" };

fn lab() -> Lab {
    Lab::new(&[PBX], &["ann=10.0.0.2:5060", "bob=10.0.0.3:5060"])
}

fn ann() -> Sdp {
    Sdp::secure("10.0.0.2:4000", 'A')
}

fn pbx(letter: char) -> Sdp {
    Sdp::secure("10.0.0.1:5000", letter)
}

/// A call from this address that is answered.
fn call(lab: &mut Lab, from: &str, dialog: Dialog) {
    lab.send(from, PBX, &dialog.invite(1, Some(&ann())));
    lab.send(PBX, from, &dialog.ok(1, Some(&pbx('P'))));
    lab.send(from, PBX, &dialog.request("ACK", true, 1, None));
    assert_eq!(lab.said().len(), 4);
}

const ENDED: [&str; 3] = ["ann s1 sent stop Ended g1", "ann s2 received stop Ended g1", "ann Ended(Hangup)"];

#[test]
fn a_blind_transfer_ends_the_transferors_call_and_nothing_else() {
    let mut lab = lab();
    call(&mut lab, ANN, D);
    lab.send(ANN, PBX, &with(&D.request("REFER", true, 2, None), "Refer-To: <sip:carl@example.com>"));
    lab.send(PBX, ANN, &D.response(202, "REFER", true, 2, None));
    for cseq in 1..=2 {
        lab.send(PBX, ANN, &D.request("NOTIFY", false, cseq, None));
        lab.send(ANN, PBX, &D.response(200, "NOTIFY", false, cseq, None));
    }
    assert_eq!(lab.said(), [""; 0]);
    lab.send(ANN, PBX, &D.request("BYE", true, 3, None));
    lab.send(PBX, ANN, &D.response(200, "BYE", true, 3, None));
    assert_eq!(lab.said(), ENDED);
}

#[test]
fn who_is_referred_begins_a_call_of_its_own() {
    let mut lab = lab();
    call(&mut lab, ANN, D);
    lab.send(PBX, ANN, &with(&D.request("REFER", false, 1, None), "Refer-To: <sip:carl@example.com>"));
    lab.send(ANN, PBX, &D.response(202, "REFER", false, 1, None));
    call(&mut lab, ANN, NEW);
    lab.send(PBX, ANN, &D.request("BYE", false, 2, None));
    lab.send(ANN, PBX, &D.response(200, "BYE", false, 2, None));
    assert_eq!(lab.said(), ENDED);
    assert_eq!(lab.calls().len(), 2);
}

/// An INVITE to the PBX, or to ann, that is to replace the dialog of [`call`].
fn replacing(dialog: Dialog, known_by: &str) -> (String, String) {
    let tags = match known_by {
        PBX => "to-tag=b;from-tag=a",
        _ => "to-tag=a;from-tag=b",
    };
    let invite = with(&dialog.invite(1, Some(&Sdp::secure("10.0.0.3:4000", 'B'))), &format!("Replaces: one;{tags}"));
    (invite, with(&dialog.ok(1, Some(&pbx('Q'))), "Supported: replaces"))
}

#[test]
fn an_accepted_replaces_ends_the_replaced_call_also_if_its_bye_is_lost() {
    // Bob takes ann's call over at the PBX; and somebody replaces the PBX at ann.
    for at in [PBX, ANN] {
        let mut lab = lab();
        call(&mut lab, ANN, D);
        let (invite, ok) = replacing(NEW, at);
        let from = if at == PBX { BOB } else { PBX };
        lab.send(from, at, &invite);
        lab.send(at, from, &ok);
        assert_eq!(lab.said().len(), 4, "the new call");
        lab.wait(Duration::from_secs(31));
        assert_eq!(lab.said(), [""; 0], "the BYE may come");
        lab.wait(Duration::from_secs(2));
        assert_eq!(lab.said(), ENDED);
    }
}

#[test]
fn a_replaced_call_ends_at_once_by_its_bye() {
    let mut lab = lab();
    call(&mut lab, ANN, D);
    let (invite, ok) = replacing(NEW, PBX);
    lab.send(BOB, PBX, &invite);
    lab.send(PBX, BOB, &ok);
    lab.said();
    lab.send(PBX, ANN, &D.request("BYE", false, 1, None));
    lab.send(ANN, PBX, &D.response(200, "BYE", false, 1, None));
    assert_eq!(lab.said(), ENDED);
}

#[test]
fn a_ringing_call_that_is_picked_up_elsewhere_was_cancelled() {
    let mut lab = lab();
    lab.send(PBX, ANN, &D.invite(1, Some(&pbx('P'))));
    lab.send(ANN, PBX, &D.response(180, "INVITE", true, 1, None));
    let invite = with(&NEW.invite(1, Some(&ann())), "Replaces: one;to-tag=a;from-tag=b;early-only");
    lab.send(BOB, PBX, &invite);
    lab.send(PBX, BOB, &with(&NEW.ok(1, Some(&pbx('Q'))), "Supported: timer, replaces"));
    lab.said();
    // Its CANCEL and its 487 are lost.
    lab.wait(Duration::from_secs(33));
    assert_eq!(lab.said(), ["ann Ended(Cancelled)"]);
}

#[test]
fn r42b_a_replaces_that_wasn_t_accepted_or_understood_ends_nothing() {
    let (invite, ok) = replacing(NEW, PBX);
    let plain_ok = ok.replace("Supported: replaces\r\n", "");
    let refused = NEW.response(481, "INVITE", true, 1, None);
    let other_tags = invite.replace("to-tag=b", "to-tag=x");
    let other_call = invite.replace("Replaces: one", "Replaces: two");
    for (invite, answer) in [(&invite, &plain_ok), (&invite, &refused), (&other_tags, &ok), (&other_call, &ok)] {
        let mut lab = lab();
        call(&mut lab, ANN, D);
        lab.send(BOB, PBX, invite);
        lab.send(PBX, BOB, answer);
        lab.said();
        lab.wait(Duration::from_secs(60));
        assert_eq!(lab.said(), [""; 0]);
    }
    // Who must understand it does.
    let mut lab = lab();
    call(&mut lab, ANN, D);
    lab.send(BOB, PBX, &with(&invite, "Require: replaces"));
    lab.send(PBX, BOB, &plain_ok);
    lab.said();
    // A dialog that is used goes on, whatever was said of it.
    lab.send(PBX, ANN, &D.request("UPDATE", false, 1, Some(&pbx('P'))));
    lab.send(ANN, PBX, &D.response(200, "UPDATE", false, 1, Some(&ann())));
    lab.wait(Duration::from_secs(60));
    assert_eq!(lab.said(), [""; 0]);
}

#[test]
fn r42b_who_accepts_a_replaces_of_a_call_that_it_has_no_part_in_ends_nothing() {
    let mut lab = lab();
    call(&mut lab, ANN, D);
    let (invite, ok) = replacing(NEW, PBX);
    lab.send("10.9.9.9:5060", BOB, &invite);
    lab.send(BOB, "10.9.9.9:5060", &ok);
    lab.said();
    lab.wait(Duration::from_secs(60));
    assert_eq!(lab.said(), [""; 0]);
}

#[test]
fn r22_a_phone_with_new_media_addresses_keeps_its_generations() {
    let mut lab = lab();
    call(&mut lab, ANN, D);
    let moved = Sdp::secure("10.0.7.7:4700", 'A');
    lab.send(ANN, PBX, &D.request("INVITE", true, 2, Some(&moved)));
    lab.send(PBX, ANN, &D.ok(2, Some(&pbx('P'))));
    assert_eq!(lab.said(), ["ann s2 received stop Changed g1", "ann s2 received open 10.0.7.7:4700 g1 P"]);
}

#[test]
fn a_phone_behind_a_translator_keeps_its_call_at_a_new_port() {
    let new = "10.0.0.2:60001";
    // Its BYE counts by its answer, the PBX's own at once.
    for by_phone in [true, false] {
        let mut lab = lab();
        call(&mut lab, ANN, D);
        if by_phone {
            lab.send(new, PBX, &D.request("BYE", true, 2, None));
            assert_eq!(lab.said(), [""; 0]);
            lab.send(PBX, new, &D.response(200, "BYE", true, 2, None));
        } else {
            lab.send(PBX, new, &D.request("BYE", false, 2, None));
            lab.send(new, PBX, &D.response(200, "BYE", false, 2, None));
        }
        assert_eq!(lab.said(), ENDED);
    }
    // A re-INVITE from there is of the same call.
    let mut lab = lab();
    call(&mut lab, ANN, D);
    lab.send(new, PBX, &D.request("INVITE", true, 2, Some(&ann().with("sendonly"))));
    lab.send(PBX, new, &D.ok(2, Some(&pbx('P').with("recvonly"))));
    assert_eq!(lab.said(), ["ann Held", "ann s2 received stop Hold g1"]);
    // Once answered there, it is at home there.
    lab.send(new, PBX, &D.request("BYE", true, 3, None));
    lab.send(PBX, new, &D.response(200, "BYE", true, 3, None));
    assert_eq!(lab.said().last().unwrap(), "ann Ended(Hangup)");
    assert_eq!(lab.calls().len(), 1);
}

#[test]
fn a_phone_that_registers_from_another_host_keeps_its_call() {
    let (home, away) = ("198.51.100.2:5060", "203.0.113.9:40000");
    let mut lab = Lab::new(&[PBX], &[]);
    let registers = |lab: &mut Lab, cseq, user, from: &str| {
        let request = register("reg", user, cseq, &format!("<sip:x@{from}>;expires=600"));
        lab.send(from, PBX, &request);
        lab.send(PBX, from, &registered(&request, &format!("<sip:x@{from}>;expires=600")));
    };
    registers(&mut lab, 1, "ann", home);
    call(&mut lab, home, D);
    // Another user from there is another phone.
    registers(&mut lab, 2, "eve", away);
    lab.send(PBX, away, &D.request("BYE", false, 1, None));
    assert_eq!(lab.said(), [""; 0]);
    registers(&mut lab, 3, "ann", away);
    lab.send(PBX, away, &D.request("INVITE", false, 2, Some(&pbx('P'))));
    lab.send(away, PBX, &D.response(200, "INVITE", false, 2, Some(&Sdp::secure("203.0.113.9:4000", 'A'))));
    let moved =
        ["198.51.100.2:5060 s2 received stop Changed g1", "198.51.100.2:5060 s2 received open 203.0.113.9:4000 g1 P"];
    assert_eq!(lab.said(), moved);
}

#[test]
fn r42b_a_message_from_elsewhere_moves_no_call() {
    for (from, text) in [
        // Another host; the same host with a wrong tag, or without the other one; from the caller's side to elsewhere.
        ("10.9.9.9:5060", D.request("INVITE", true, 2, Some(&Sdp::secure("10.9.9.9:4000", 'E')))),
        ("10.0.0.2:6666", Dialog { b: "x", ..D }.request("INVITE", true, 2, Some(&Sdp::secure("10.9.9.9:4000", 'E')))),
        ("10.0.0.2:6666", D.request("INVITE", true, 2, Some(&ann())).replace("tag=a", "tag=x")),
    ] {
        let mut lab = lab();
        call(&mut lab, ANN, D);
        lab.send(from, PBX, &text);
        lab.send(PBX, from, &D.ok(2, Some(&pbx('Q'))));
        let said = lab.said();
        assert!(!said.iter().any(|line| line.starts_with("ann ")), "{said:?}");
        lab.send(ANN, PBX, &D.request("BYE", true, 3, None));
        lab.send(PBX, ANN, &D.response(200, "BYE", true, 3, None));
        assert_eq!(lab.said().iter().filter(|line| line.starts_with("ann ")).count(), 3);
    }
    // Over a proxy the far end knows both tags: being at the same host proves nothing then.
    let mut lab = lab();
    for (from, to, text) in [
        (ANN, PBX, D.invite(1, Some(&ann()))),
        (PBX, BOB, D.invite(1, Some(&ann()))),
        (BOB, PBX, D.ok(1, Some(&pbx('B')))),
        (PBX, ANN, D.ok(1, Some(&pbx('B')))),
    ] {
        lab.send(from, to, &text);
    }
    lab.said();
    lab.send("10.0.0.2:6666", PBX, &D.request("INVITE", true, 2, Some(&Sdp::secure("10.9.9.9:4000", 'E'))));
    lab.send(PBX, "10.0.0.2:6666", &D.ok(2, Some(&pbx('B'))));
    assert!(!lab.said().iter().any(|line| line.starts_with("ann ")));
}

/// Whose device a call from `from` is told of, and whether `from` is registered by its configured Contact.
fn name_at(lab: &mut Lab, call_id: &'static str, from: &str) -> String {
    lab.send(from, PBX, &Dialog { call_id, b: "b" }.invite(1, None));
    lab.said()[0].split(' ').next().unwrap().to_owned()
}

#[test]
fn a_registration_ends_when_it_is_taken_back() {
    let nat = "198.51.100.7:40000";
    let bound = "<sip:x@192.168.1.7:5060>";
    for (cseq, contact, answered) in [
        (2, format!("{bound};expires=0"), "<sip:x@192.0.2.99:5060>\r\nExpires: 600"),
        (3, "*\r\nExpires: 0".to_owned(), "<sip:x@192.0.2.99:5060>\r\nExpires: 600"),
    ] {
        let mut lab = Lab::new(&[PBX], &["desk=192.168.1.7:5060"]);
        let request = register("reg", "x", 1, &format!("{bound}\r\nExpires: 600"));
        lab.send(nat, PBX, &request);
        lab.send(PBX, nat, &registered(&request, &format!("{bound};expires=600")));
        assert_eq!(name_at(&mut lab, "one", nat), "desk");
        // Asking for the bindings changes none.
        let asks = register("reg", "x", 20, "?").replace("Contact: ?\r\n", "");
        lab.send(nat, PBX, &asks);
        lab.send(PBX, nat, &asks.replace("REGISTER sip:example.com SIP/2.0", "SIP/2.0 200 OK"));
        assert_eq!(name_at(&mut lab, "two", nat), "desk");
        let request = register("reg", "x", cseq, &contact);
        lab.send(nat, PBX, &request);
        lab.send(PBX, nat, &registered(&request, answered));
        assert_eq!(name_at(&mut lab, "three", nat), nat, "{contact}");
    }
}

#[test]
fn a_phone_that_registers_another_contact_has_moved_and_is_no_edge() {
    let nat = "198.51.100.7:40000";
    let mut lab = Lab::new(&[PBX], &["desk=192.168.1.8:5060"]);
    // It takes the old one back in the same REGISTER, or lets it expire.
    for (cseq, contact) in [
        (1, "<sip:x@192.168.1.7:5060>;expires=600"),
        (2, "<sip:x@192.168.1.7:5060>;expires=0, <sip:x@192.168.1.8:5060>;expires=600"),
    ] {
        let request = register("reg", "x", cseq, contact);
        lab.send(nat, PBX, &request);
        lab.send(
            PBX,
            nat,
            &registered(&request, "<sip:x@192.168.1.7:5060>;expires=600, <sip:x@192.168.1.8:5060>;expires=600"),
        );
    }
    assert_eq!(name_at(&mut lab, "one", nat), "desk");
    assert_eq!(lab.feed.pbxes(), [PBX.parse().unwrap()]);
}

#[test]
fn a_device_that_the_operator_names_has_its_name_from_its_next_call_on() {
    let phone = "192.0.2.7:5060";
    let mut lab = Lab::new(&[PBX], &[]);
    assert_eq!(name_at(&mut lab, "one", phone), phone);
    lab.set_devices(&["desk=192.0.2.7:5060"]);
    // The call that has begun keeps what it is called.
    lab.send(PBX, phone, &Dialog { call_id: "one", b: "b" }.response(180, "INVITE", true, 1, None));
    assert!(lab.said().iter().all(|line| line.starts_with(phone)));
    assert_eq!(name_at(&mut lab, "two", phone), "desk");
    lab.set_devices(&["reception=192.0.2.7:5060"]);
    assert_eq!(name_at(&mut lab, "three", phone), "reception");
    lab.set_devices(&[]);
    assert_eq!(name_at(&mut lab, "four", phone), phone);
}
