//! What one end of a network can forge: it moves no call, no key and no address of another.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "common/sip.rs"]
mod sip;

use callgate::switch::tracker::TrackerLimits;
use sip::{Lab, Sdp, dialog};

const PBX: &str = "10.0.0.1:5060";
/// A phone that nobody configured.
const ANN: &str = "10.0.0.2:5060";
/// A configured phone in hostile hands.
const EVE: &str = "10.0.0.5:5060";
/// An address that nobody knows.
const STRANGER: &str = "10.9.9.9:5060";

fn lab(pbxes: &[&str]) -> Lab {
    Lab::new(pbxes, &["eve=10.0.0.5:5060"])
}

fn register(call_id: &'static str, cseq: u32, contact: &str) -> String {
    let headers = format!("Contact: <sip:x@{contact}>\r\nExpires: 600\r\nContent-Length");
    dialog(call_id)
        .invite(cseq, None)
        .replace("INVITE sip:bob@example.com", "REGISTER sip:example.com")
        .replace(&format!("{cseq} INVITE"), &format!("{cseq} REGISTER"))
        .replace("Content-Length", &headers)
}

fn registers(lab: &mut Lab, call_id: &'static str, cseq: u32, from: &str, contact: &str) {
    let request = register(call_id, cseq, contact);
    lab.send(from, PBX, &request);
    lab.send(PBX, from, &request.replace("REGISTER sip:example.com SIP/2.0", "SIP/2.0 200 OK"));
}

/// Who is told of a call from `from`.
fn told_of_call(lab: &mut Lab, call_id: &'static str, from: &str) -> String {
    lab.said();
    lab.send(from, PBX, &dialog(call_id).invite(1, Some(&Sdp::secure("10.0.0.2:4000", 'A'))));
    lab.send(PBX, from, &dialog(call_id).ok(1, Some(&Sdp::secure("10.0.0.1:5000", 'P'))));
    lab.said()[0].split(' ').next().unwrap().to_owned()
}

#[test]
fn r42b_a_contact_that_is_another_phone_moves_none_of_its_calls() {
    // Whoever of the two registers first, or again.
    for order in ["ae", "ea", "aea", "e", "eae"] {
        let mut lab = lab(&[PBX]);
        for (cseq, who) in (1..).zip(order.chars()) {
            match who {
                'a' => registers(&mut lab, "ann", cseq, ANN, ANN),
                _ => registers(&mut lab, "eve", cseq, EVE, ANN),
            }
        }
        assert_eq!(told_of_call(&mut lab, "one", ANN), ANN, "{order}");
    }
}

#[test]
fn r42b_a_contact_that_is_the_pbx_makes_no_device_of_it() {
    let mut lab = lab(&[]);
    registers(&mut lab, "ann", 1, ANN, ANN);
    registers(&mut lab, "eve", 1, EVE, PBX);
    assert_eq!(lab.feed.pbxes(), [PBX.parse().unwrap()]);
    assert_eq!(told_of_call(&mut lab, "one", ANN), ANN);
    assert!(lab.events.iter().all(|event| event.device.as_str() == ANN));
}

#[test]
fn r42b_a_record_route_of_another_makes_no_pbx_of_it() {
    let mut lab = lab(&[PBX]);
    assert_eq!(told_of_call(&mut lab, "one", ANN), ANN);
    let routed = format!("Record-Route: <sip:{ANN};lr>\r\nCall-ID");
    lab.send(STRANGER, PBX, &dialog("evil").invite(1, None).replace("Call-ID", &routed));
    assert!(!lab.said().iter().any(|line| line.ends_with("Ended(NotADevice)")));
    assert_eq!(told_of_call(&mut lab, "two", ANN), ANN);
    assert_eq!(lab.feed.pbxes(), [PBX.parse().unwrap()]);
}

#[test]
fn r41a_a_flood_of_strangers_and_found_pbxes_evicts_no_registration() {
    let limits = TrackerLimits { max_addresses: 50, max_pbxes: 10, max_calls: 50, ..TrackerLimits::default() };
    let mut lab = Lab::with_limits(&[PBX], &["desk=192.168.1.7:5060"], limits);
    registers(&mut lab, "desk", 1, "198.51.100.7:40000", "192.168.1.7:5060");
    for i in 1..=200 {
        let found = format!("10.8.0.{i}:5060");
        let invite = dialog("flood").invite(1, None).replace("Call-ID: flood", &format!("Call-ID: flood{i}"));
        let routed = format!("Record-Route: <sip:{found};lr>\r\nCall-ID");
        lab.send(&found, PBX, &invite.replace("Call-ID", &routed));
        let ok = dialog("flood").ok(1, None).replace("Call-ID: flood", &format!("Call-ID: flood{i}"));
        lab.send(PBX, &found, &ok.replace("Call-ID", &routed));
    }
    // The configured one answered a REGISTER, and is one of the ten.
    assert_eq!(lab.feed.pbxes().len(), 10);
    assert_eq!(told_of_call(&mut lab, "one", "198.51.100.7:40000"), "desk");
}

#[test]
fn r42b_a_register_of_another_supplies_no_contact_for_an_answer() {
    // The names of the phone's next REGISTER are known to the stranger, and the phone's port is at the same host.
    let contact = "10.0.0.2:5999";
    let mut lab = Lab::new(&[PBX], &["ann=10.0.0.2:5060"]);
    lab.send(STRANGER, PBX, &register("ann", 1, contact));
    registers(&mut lab, "ann", 1, ANN, ANN);
    assert_eq!(told_of_call(&mut lab, "one", contact), contact);
}

#[test]
fn r42b_strangers_make_no_pbx_of_a_phone_that_nobody_configured() {
    let mut lab = lab(&[PBX]);
    assert_eq!(told_of_call(&mut lab, "one", ANN), ANN);
    lab.said();
    for (i, from) in ["10.9.9.1:5060", "10.9.9.2:5060", "10.9.9.3:5060"].into_iter().enumerate() {
        let call = dialog(["x", "y", "z"][i]);
        // Calls that it doesn't take, BYEs that it knows nothing of, answers and challenges to nothing.
        lab.send(from, ANN, &call.invite(1, None));
        lab.send(ANN, from, &call.response(486, "INVITE", true, 1, None));
        lab.send(from, ANN, &call.request("BYE", true, 2, None));
        lab.send(ANN, from, &call.response(481, "BYE", true, 2, None));
        lab.send(from, ANN, &dialog("never").ok(1, None));
        lab.send(from, ANN, &dialog("never").response(200, "BYE", true, 1, None));
        lab.send(from, ANN, &dialog("never").response(407, "INVITE", true, 1, None));
        // Its own address in a forged Record-Route, as if it had sent that.
        let routed = format!("Record-Route: <sip:{ANN};lr>\r\nCall-ID");
        lab.send(ANN, from, &dialog("spoofed").invite(1, None).replace("Call-ID", &routed));
    }
    assert_eq!(lab.feed.pbxes(), [PBX.parse().unwrap()]);
    assert!(!lab.said().iter().any(|line| line.contains("NotADevice")));
    assert_eq!(told_of_call(&mut lab, "two", ANN), ANN);
}

#[test]
fn r42b_a_call_that_comes_back_to_its_caller_makes_no_pbx_of_it() {
    let mut lab = lab(&[]);
    let invite = dialog("spiral").invite(1, None);
    lab.send(ANN, "10.0.0.11:5060", &invite);
    lab.send("10.0.0.11:5060", "10.0.0.12:5060", &invite);
    lab.send("10.0.0.12:5060", ANN, &invite);
    let found: Vec<String> = lab.feed.pbxes().iter().map(ToString::to_string).collect();
    assert_eq!(found, ["10.0.0.11:5060", "10.0.0.12:5060"]);
}
