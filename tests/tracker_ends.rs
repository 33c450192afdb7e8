//! Which end of a dialog is a device: proxies, registrations, PBXes that nobody configured.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "common/sip.rs"]
mod sip;

use std::time::Duration;

use sip::{Dialog, Lab, Sdp, dialog};

const PROXY: &str = "10.0.0.1:5060";
const ANN: &str = "10.0.0.2:5060";
const BOB: &str = "10.0.0.3:5060";
const D: Dialog = Dialog { call_id: "one", b: "b" };

fn ann() -> Sdp {
    Sdp::secure("10.0.0.2:4000", 'A')
}

fn bob() -> Sdp {
    Sdp::secure("10.0.0.3:5000", 'B')
}

/// Passes a message over the proxy: it is seen on both sides.
fn pass(lab: &mut Lab, from: &str, to: &str, text: &str) {
    lab.send(from, PROXY, text);
    lab.send(PROXY, to, text);
}

fn call_over_proxy(lab: &mut Lab) {
    pass(lab, ANN, BOB, &D.invite(1, Some(&ann())));
    pass(lab, BOB, ANN, &D.response(180, "INVITE", true, 1, None));
    pass(lab, BOB, ANN, &D.ok(1, Some(&bob())));
    pass(lab, ANN, BOB, &D.request("ACK", true, 1, None));
    pass(lab, BOB, ANN, &D.request("BYE", false, 1, None));
    pass(lab, ANN, BOB, &D.response(200, "BYE", false, 1, None));
}

const OVER_PROXY: [&str; 16] = [
    "ann Dialing",
    "bob Offered",
    "bob Alerting",
    "ann Alerting",
    "bob Connected",
    "bob s1 sent open 10.0.0.2:4000 g1 B",
    "bob s2 received open 10.0.0.3:5000 g1 A",
    "ann Connected",
    "ann s3 sent open 10.0.0.3:5000 g1 A",
    "ann s4 received open 10.0.0.2:4000 g1 B",
    "ann s3 sent stop Ended g1",
    "ann s4 received stop Ended g1",
    "ann Ended(Hangup)",
    "bob s1 sent stop Ended g1",
    "bob s2 received stop Ended g1",
    "bob Ended(Hangup)",
];

#[test]
fn a_call_over_a_proxy_is_one_call_and_both_devices_see_it() {
    let mut lab = Lab::new(&[PROXY], &["ann=10.0.0.2:5060", "bob=10.0.0.3:5060"]);
    call_over_proxy(&mut lab);
    assert_eq!(lab.said(), OVER_PROXY);
    assert_eq!(lab.calls().len(), 1);
}

#[test]
fn a_proxy_that_nobody_configured_is_found_by_what_it_passes_on() {
    let mut lab = Lab::new(&[], &["ann=10.0.0.2:5060", "bob=10.0.0.3:5060"]);
    call_over_proxy(&mut lab);
    let said = lab.said();
    let (of_proxy, of_phones): (Vec<_>, Vec<_>) = said.iter().partition(|line| line.starts_with(PROXY));
    assert_eq!(of_proxy, ["10.0.0.1:5060 Offered", "10.0.0.1:5060 Ended(NotADevice)"]);
    assert_eq!(of_phones, OVER_PROXY.iter().collect::<Vec<_>>());
    assert_eq!(lab.feed.pbxes(), [PROXY.parse().unwrap()]);
    let mut devices: Vec<_> = lab.feed.devices().map(|(_, name)| name.to_string()).collect();
    devices.sort();
    assert_eq!(devices, ["ann", "bob"]);
}

#[test]
fn a_proxy_in_record_route_is_no_device_from_the_start() {
    let mut lab = Lab::new(&[], &[]);
    let routed = D.invite(1, Some(&ann())).replace("Call-ID", "Record-Route: <sip:10.0.0.1;lr>\r\nCall-ID");
    lab.send(PROXY, BOB, &routed);
    assert_eq!(lab.said(), ["10.0.0.3:5060 Offered"]);
    // It is one as soon as the answer repeats it, and may be a phone that says so until then (R42b).
    assert_eq!(lab.feed.pbxes(), []);
    let ok = D.ok(1, Some(&bob()));
    lab.send(BOB, PROXY, &ok.replace("Call-ID", "Record-Route: <sip:10.0.0.9;lr>\r\nCall-ID"));
    assert_eq!(lab.feed.pbxes(), []);
    lab.send(BOB, PROXY, &ok.replace("Call-ID", "Record-Route: <sip:10.0.0.1;lr>\r\nCall-ID"));
    assert_eq!(lab.feed.pbxes(), [PROXY.parse().unwrap()]);
}

#[test]
fn a_device_with_a_second_address_of_its_pbx_stays_a_device() {
    let mut lab = Lab::new(&[], &[]);
    lab.send(ANN, PROXY, &D.invite(1, Some(&ann())));
    lab.send("10.0.0.9:5060", ANN, &D.request("INVITE", false, 1, Some(&bob())));
    assert_eq!(lab.feed.pbxes(), []);
}

fn register(contact: &str, expires: u32) -> String {
    D.invite(1, None)
        .replace("INVITE sip:bob@example.com", "REGISTER sip:example.com")
        .replace("1 INVITE", "1 REGISTER")
        .replace("Content-Length", &format!("Contact: <sip:ann@{contact}>\r\nExpires: {expires}\r\nContent-Length"))
}

fn registered(contact: &str, expires: u32) -> String {
    register(contact, expires).replace("REGISTER sip:example.com SIP/2.0", "SIP/2.0 200 OK")
}

#[test]
fn a_registered_device_is_one_by_contact_and_by_source_until_it_expires() {
    let nat = "198.51.100.7:40000";
    let mut lab = Lab::new(&[], &["desk=192.168.1.7:5060"]);
    lab.send(nat, PROXY, &register("192.168.1.7:5060", 600));
    lab.send(PROXY, nat, &registered("192.168.1.7:5060", 600));
    assert_eq!(lab.feed.pbxes(), [PROXY.parse().unwrap()]);
    lab.send(PROXY, nat, &dialog("in").invite(1, Some(&bob())));
    lab.send("192.168.1.7:5060", PROXY, &dialog("in").response(180, "INVITE", true, 1, None));
    assert_eq!(lab.said(), ["desk Offered", "desk Alerting"]);
    lab.send("192.168.1.7:5060", PROXY, &dialog("in").ok(1, Some(&ann())));
    lab.wait(Duration::from_secs(601));
    lab.said();
    // Its calls go on; the next one is of a device that nothing is known of.
    lab.send("192.168.1.7:5060", PROXY, &dialog("in").request("BYE", false, 1, None));
    lab.send(PROXY, "192.168.1.7:5060", &dialog("in").response(200, "BYE", false, 1, None));
    assert_eq!(lab.said().last().unwrap(), "desk Ended(Hangup)");
    lab.send(PROXY, nat, &dialog("later").invite(1, Some(&bob())));
    assert_eq!(lab.said(), ["198.51.100.7:40000 Offered"]);
}

#[test]
fn a_binding_that_is_taken_back_leaves_the_others() {
    let nat = "198.51.100.7:40000";
    for (user, taken, expires, name) in [
        ("ann", "<sip:ann@192.168.1.66:5060>;expires=0", None, "desk"),
        ("ann", "<sip:ann@old.example.com>;expires=0", None, "desk"),
        ("bob", "<sip:bob@192.168.1.66:5060>;expires=0", None, "desk"),
        ("ann", "<sip:ann@192.168.1.7:5060>;expires=0", None, nat),
        ("ann", "<sip:ann@192.168.1.7:5060>", Some("0"), nat),
        ("ann", "*", Some("0"), nat),
    ] {
        let mut lab = Lab::new(&[], &["desk=192.168.1.7:5060"]);
        let mut exchange = |user, cseq, contact: &str, expires: Option<&str>| {
            let mut request = sip::register("reg", user, cseq, contact);
            if let Some(expires) = expires {
                request = request.replace("Content-Length", &format!("Expires: {expires}\r\nContent-Length"));
            }
            lab.send(nat, PROXY, &request);
            lab.send(PROXY, nat, &sip::registered(&request, contact));
        };
        exchange("ann", 1, "<sip:ann@192.168.1.7:5060>;expires=600", None);
        exchange(user, 2, taken, expires);
        lab.send(PROXY, nat, &dialog("in").invite(1, Some(&bob())));
        assert_eq!(lab.said(), [format!("{name} Offered")], "{user} {taken}");
        lab.send(PROXY, "192.168.1.7:5060", &dialog("other").invite(1, Some(&bob())));
        assert_eq!(lab.said(), ["desk Offered"], "{user} {taken}");
    }
    // Without any Contact it only asks.
    let mut lab = Lab::new(&[], &["desk=192.168.1.7:5060"]);
    for (cseq, contact) in [(1, "Contact: <sip:ann@192.168.1.7:5060>;expires=600"), (2, "Expires: 0")] {
        let request = sip::register("reg", "ann", cseq, "x").replace("Contact: x", contact);
        lab.send(nat, PROXY, &request);
        lab.send(PROXY, nat, &request.replace("REGISTER sip:example.com SIP/2.0", "SIP/2.0 200 OK"));
    }
    lab.send(PROXY, nat, &dialog("in").invite(1, Some(&bob())));
    assert_eq!(lab.said(), ["desk Offered"]);
}

#[test]
fn a_proxy_that_forwards_registrations_is_no_device() {
    let registrar = "10.0.0.5:5060";
    let mut lab = Lab::new(&[], &[]);
    pass_register(&mut lab, registrar);
    lab.send(PROXY, ANN, &dialog("in").invite(1, Some(&bob())));
    assert_eq!(lab.said(), ["10.0.0.2:5060 Offered"]);
    assert_eq!(lab.feed.pbxes(), [PROXY.parse().unwrap(), registrar.parse().unwrap()]);
}

fn pass_register(lab: &mut Lab, registrar: &str) {
    lab.send(ANN, PROXY, &register(ANN, 600));
    lab.send(PROXY, registrar, &register(ANN, 600));
    lab.send(registrar, PROXY, &registered(ANN, 600));
    lab.send(PROXY, ANN, &registered(ANN, 600));
}

#[test]
fn r42b_an_answer_to_no_registration_registers_nobody() {
    let mut lab = Lab::new(&[], &[]);
    lab.send(PROXY, ANN, &registered(ANN, 600));
    assert_eq!(lab.feed.pbxes(), []);
    assert_eq!(lab.feed.devices().count(), 0);
}

#[test]
fn messages_over_a_proxy_may_change_places_and_come_twice() {
    let call = [
        (ANN, PROXY, D.invite(1, None)),
        (PROXY, BOB, D.invite(1, None)),
        (BOB, PROXY, D.response(180, "INVITE", true, 1, None)),
        (PROXY, ANN, D.response(180, "INVITE", true, 1, None)),
        (BOB, PROXY, D.ok(1, Some(&bob()))),
        (PROXY, ANN, D.ok(1, Some(&bob()))),
        (ANN, PROXY, D.request("ACK", true, 1, Some(&ann()))),
        (PROXY, BOB, D.request("ACK", true, 1, Some(&ann()))),
        (BOB, PROXY, D.request("INVITE", false, 1, Some(&bob().with("sendonly")))),
        (PROXY, ANN, D.request("INVITE", false, 1, Some(&bob().with("sendonly")))),
        (ANN, PROXY, D.response(200, "INVITE", false, 1, Some(&ann().with("recvonly")))),
        (PROXY, BOB, D.response(200, "INVITE", false, 1, Some(&ann().with("recvonly")))),
        (BOB, PROXY, D.request("BYE", false, 2, None)),
        (PROXY, ANN, D.request("BYE", false, 2, None)),
        (ANN, PROXY, D.response(200, "BYE", false, 2, None)),
        (PROXY, BOB, D.response(200, "BYE", false, 2, None)),
    ];
    let run = |order: &[usize]| {
        let mut lab = Lab::new(&[PROXY], &["ann=10.0.0.2:5060", "bob=10.0.0.3:5060"]);
        for i in order {
            let (from, to, text) = &call[*i];
            lab.send(from, to, text);
        }
        lab.wait(Duration::from_secs(2));
        let mut said: Vec<_> = lab.said().iter().map(|line| without_stream(line)).collect();
        // Each device's own order counts.
        said.sort_by_key(|line| line.starts_with("bob"));
        said
    };
    let straight: Vec<usize> = (0..call.len()).collect();
    let expected = run(&straight);
    assert_eq!(expected.len(), 20, "{expected:#?}");
    assert!(expected.contains(&"ann HeldByRemote".to_owned()) && expected.contains(&"bob Held".to_owned()));
    let twice: Vec<usize> = straight.iter().flat_map(|i| [*i, *i]).collect();
    assert_eq!(run(&twice), expected);
    // Who hangs up before an answer comes is not told of it.
    for i in (1..call.len()).filter(|i| *i != 12) {
        let mut swapped = straight.clone();
        swapped.swap(i - 1, i);
        assert_eq!(run(&swapped), expected, "{} and {i} swapped", i - 1);
    }
}

fn without_stream(line: &str) -> String {
    line.split(' ').filter(|word| !(word.len() == 2 && word.starts_with('s'))).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_pbx_is_found_by_the_end_of_a_call_that_the_feed_met_midway() {
    let mut lab = Lab::new(&[], &[]);
    let (one, other) = (Dialog { call_id: "one", b: "b" }, Dialog { call_id: "other", b: "b" });
    // A re-INVITE shows one leg of a back-to-back call; of the other leg nothing is seen but its BYE.
    lab.send(ANN, PROXY, &one.request("INVITE", true, 2, Some(&ann())));
    lab.send(PROXY, ANN, &one.ok(2, Some(&bob())));
    lab.send(PROXY, BOB, &other.request("BYE", true, 2, None));
    assert_eq!(lab.feed.pbxes(), [], "anyone may send a BYE");
    lab.send(BOB, PROXY, &other.response(200, "BYE", true, 2, None));
    assert!(lab.said().contains(&format!("{PROXY} Ended(NotADevice)")));
    assert_eq!(lab.feed.pbxes(), [PROXY.parse().unwrap()]);
}

#[test]
fn a_bye_over_two_hops_of_one_dialog_makes_no_pbx_of_its_ends() {
    let mut lab = Lab::new(&[], &[]);
    let answered = |lab: &mut Lab, to: &str, dialog: Dialog| {
        lab.send(ANN, to, &dialog.request("BYE", true, 2, None));
        lab.send(to, ANN, &dialog.response(200, "BYE", true, 2, None));
    };
    answered(&mut lab, PROXY, D);
    answered(&mut lab, BOB, D);
    assert_eq!(lab.feed.pbxes(), []);
    // A BYE outside a dialog shows nothing, nor does an answer to another one, or from elsewhere.
    let two = dialog("two");
    lab.send(ANN, "10.0.0.9:5060", &two.request("BYE", true, 2, None).replace(";tag=b", ""));
    lab.send("10.0.0.9:5060", ANN, &two.response(200, "BYE", true, 2, None));
    lab.send(ANN, "10.0.0.9:5060", &two.request("BYE", true, 2, None));
    lab.send("10.0.0.9:5060", ANN, &two.response(200, "BYE", true, 3, None));
    lab.send("10.0.0.9:5060", ANN, &two.response(481, "BYE", true, 2, None));
    lab.send("10.0.0.8:5060", ANN, &two.response(200, "BYE", true, 2, None));
    assert_eq!(lab.feed.pbxes(), []);
    answered(&mut lab, "10.0.0.9:5060", dialog("three"));
    assert_eq!(lab.feed.pbxes(), [ANN.parse().unwrap()]);
}

#[test]
fn who_asks_a_caller_for_credentials_is_a_pbx_and_a_registered_phone_that_does_is_none() {
    let mut lab = Lab::new(&[], &["ann=10.0.0.2:5060"]);
    lab.send(ANN, PROXY, &D.invite(1, Some(&ann())));
    // Of that INVITE, and by who got it.
    lab.send("10.0.0.9:5060", ANN, &D.response(407, "INVITE", true, 1, None));
    lab.send(PROXY, ANN, &D.response(407, "INVITE", true, 2, None));
    assert_eq!(lab.feed.pbxes(), []);
    lab.send(PROXY, ANN, &D.response(407, "INVITE", true, 1, None));
    assert_eq!(lab.said(), ["ann Dialing", "10.0.0.1:5060 Offered", "10.0.0.1:5060 Ended(NotADevice)"]);
    assert_eq!(lab.feed.pbxes(), [PROXY.parse().unwrap()]);
    // A configured phone, and one that registers.
    lab.send(BOB, PROXY, &register(BOB, 600));
    lab.send(PROXY, BOB, &registered(BOB, 600));
    for phone in [ANN, BOB] {
        lab.send(PROXY, phone, &dialog("in").invite(1, None));
        lab.send(phone, PROXY, &dialog("in").response(401, "INVITE", true, 1, None));
    }
    assert_eq!(lab.feed.pbxes(), [PROXY.parse().unwrap()]);
}

#[test]
fn a_connection_from_any_port_of_a_pbx_is_the_pbx() {
    let other = "tcp:10.0.0.1:49152";
    let contact = |at: &str| format!("Contact: <sip:x@{at};transport=tcp>\r\nCall-ID");
    let mut lab = Lab::new(&[PROXY], &["bob=tcp:10.0.0.3:5060"]);
    lab.send(other, "tcp:10.0.0.4:5060", &D.invite(1, None).replace("Call-ID", &contact("10.0.0.1:5060")));
    assert_eq!(lab.said(), ["tcp:10.0.0.4:5060 Offered"]);
    assert_eq!(lab.feed.pbxes().len(), 2);
    // Also if a phone calls over it.
    let third = "tcp:10.0.0.1:49153";
    lab.send("tcp:10.0.0.4:5060", third, &dialog("two").invite(1, None));
    lab.send(third, "tcp:10.0.0.4:5060", &dialog("two").ok(1, None).replace("Call-ID", &contact("10.0.0.1:5060")));
    assert!(lab.said().contains(&format!("{third} Ended(NotADevice)")));
    // Another host can't say so, a phone of that host has its own Contact, and a known one stays a device.
    lab.send("tcp:10.0.0.9:49152", BOB, &dialog("x").invite(1, None).replace("Call-ID", &contact("10.0.0.1:5060")));
    lab.send("tcp:10.0.0.1:6000", BOB, &dialog("y").invite(1, None).replace("Call-ID", &contact("10.0.0.1:6001")));
    assert_eq!(lab.said(), ["tcp:10.0.0.9:49152 Dialing", "bob Offered", "tcp:10.0.0.1:6000 Dialing", "bob Offered"]);
    assert_eq!(lab.feed.pbxes().len(), 3);
}

#[test]
fn a_pbx_of_two_answered_calls_is_found_without_any_registration() {
    let mut lab = Lab::new(&[], &[]);
    for (cseq, (phone, call)) in (1..).zip([(ANN, "one"), (BOB, "two")]) {
        lab.send(phone, PROXY, &dialog(call).invite(cseq, Some(&ann())));
        assert_eq!(lab.feed.pbxes(), []);
        lab.send(PROXY, phone, &dialog(call).ok(cseq, Some(&bob())));
    }
    assert_eq!(lab.feed.pbxes(), [PROXY.parse().unwrap()]);
    let said = lab.said();
    assert_eq!(said.iter().filter(|line| line.ends_with("Ended(NotADevice)")).count(), 2, "{said:?}");
    // The phones have more calls with it, and with another one that is found: they stay phones.
    lab.send("10.0.0.7:5060", ANN, &dialog("three").invite(1, None));
    lab.send(ANN, "10.0.0.7:5060", &dialog("three").ok(1, None));
    assert_eq!(lab.feed.pbxes(), [PROXY.parse().unwrap()]);
}
