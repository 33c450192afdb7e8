//! Calls: every way in which offers and answers come, and the keys that hold when they have.

use crate::scene::{By, Dialog, Scene, Voice, at, avp, cm, dialog, savp};

/// Voices of A and P under the keys 1 and 2.
fn voices() -> (Voice, Voice) {
    (Voice::secure("a", "p", 0xa, &cm(1)), Voice::secure("p", "a", 0xb, &cm(2)))
}

fn offer() -> String {
    savp("a", &cm(1))
}

fn answer() -> String {
    savp("p", &cm(2))
}

/// A secure call with `n` packets each way.
const fn all(n: usize) -> [&'static str; 2] {
    match n {
        10 => ["c A sent CM keys a>p [a] 10/10", "c A received CM keys p>a [b] 10/10"],
        20 => ["c A sent CM keys a>p [a] 20/20", "c A received CM keys p>a [b] 20/20"],
        _ => ["c A sent CM keys a>p [a] 30/30", "c A received CM keys p>a [b] 30/30"],
    }
}

#[test]
fn the_offer_may_come_late() {
    let (mut scene, call, (mut a, mut p)) = (Scene::new(), dialog("c", "A P"), voices());
    scene.request(&call, By::Caller, "INVITE", 1, "").response(&call, By::Caller, 180, "1 INVITE", "");
    scene.response(&call, By::Caller, 200, "1 INVITE", &answer()).request(&call, By::Caller, "ACK", 1, &offer());
    scene.talk(&mut [&mut a, &mut p], 10).bye(&call, By::Called);
    scene.decrypt().is(0, &all(10));
}

#[test]
fn early_media_are_decrypted_and_the_repeated_answer_changes_nothing() {
    let (mut scene, call, (mut a, mut p)) = (Scene::new(), dialog("c", "A P"), voices());
    scene.request(&call, By::Caller, "INVITE", 1, &offer());
    // Media may overtake the answer.
    scene.talk(&mut [&mut p], 5).response(&call, By::Caller, 183, "1 INVITE", &answer());
    scene.talk(&mut [&mut a, &mut p], 5).response(&call, By::Caller, 180, "1 INVITE", "");
    scene.response(&call, By::Caller, 200, "1 INVITE", &answer()).request(&call, By::Caller, "ACK", 1, "");
    scene.talk(&mut [&mut a], 5).bye(&call, By::Caller);
    scene.decrypt().is(0, &all(10));
}

#[test]
fn a_call_that_is_cancelled_had_its_early_media() {
    let (mut scene, call, (_, mut p)) = (Scene::new(), dialog("c", "A P"), voices());
    scene.request(&call, By::Caller, "INVITE", 1, &offer());
    scene.response(&call, By::Caller, 183, "1 INVITE", &answer()).talk(&mut [&mut p], 5);
    scene.request(&call, By::Caller, "CANCEL", 1, "").response(&call, By::Caller, 200, "1 CANCEL", "");
    scene.response(&call, By::Caller, 487, "1 INVITE", "").request(&call, By::Caller, "ACK", 1, "");
    scene.decrypt().is(0, &["c A sent CM keys ->p [] 0/0", "c A received CM keys p>a [b] 5/5"]);
}

#[test]
fn a_call_that_is_never_answered_has_no_streams() {
    for code in [486, 603, 487] {
        let (mut scene, call) = (Scene::new(), dialog("c", "A P"));
        scene.request(&call, By::Caller, "INVITE", 1, &offer()).response(&call, By::Caller, 180, "1 INVITE", "");
        scene.response(&call, By::Caller, code, "1 INVITE", "").request(&call, By::Caller, "ACK", 1, "");
        scene.decrypt().is(0, &[]);
    }
}

#[test]
fn a_digest_challenge_may_change_the_offer() {
    for (first, port) in [(savp("a", &cm(1)), "a"), (savp("a2", &cm(9)), "a2")] {
        let (mut scene, call, (mut a, mut p)) = (Scene::new(), dialog("c", "A P"), voices());
        assert!(first.contains(&at(port).port().to_string()));
        scene.request(&call, By::Caller, "INVITE", 1, &first).response(&call, By::Caller, 401, "1 INVITE", "");
        scene.request(&call, By::Caller, "ACK", 1, "").request(&call, By::Caller, "INVITE", 2, &offer());
        scene.response(&call, By::Caller, 200, "2 INVITE", &answer()).request(&call, By::Caller, "ACK", 2, "");
        scene.talk(&mut [&mut a, &mut p], 10).bye(&call, By::Caller);
        scene.decrypt().is(0, &all(10));
    }
}

#[test]
fn r22_hold_and_resume_keep_the_keys() {
    let with = |sdp: &str, line: &str| format!("{sdp}{line}\r\n");
    let zeros = |sdp: String| sdp.replace("c=IN IP4 10.0.0.11", "c=IN IP4 0.0.0.0");
    for (hold, held) in [
        (with(&offer(), "a=sendonly"), with(&answer(), "a=recvonly")),
        (with(&offer(), "a=inactive"), with(&answer(), "a=inactive")),
        (zeros(offer()), answer()),
        (zeros(with(&offer(), "a=inactive")).replace("4000", "9"), with(&answer(), "a=inactive").replace("6000", "9")),
    ] {
        let (mut scene, call, (mut a, mut p)) = (Scene::new(), dialog("c", "A P"), voices());
        scene.call(&call, &offer(), &answer()).talk(&mut [&mut a, &mut p], 10);
        scene.reinvite(&call, By::Caller, 10, &hold, &held).talk(&mut [&mut a], 10).wait(60_000);
        scene.reinvite(&call, By::Caller, 11, &offer(), &answer()).talk(&mut [&mut a, &mut p], 10);
        scene.talk(&mut [&mut p], 10).bye(&call, By::Called);
        scene.decrypt().is(0, &all(30));
    }
}

#[test]
fn packets_after_the_end_count_only_for_the_time_of_a_round_trip() {
    let (mut scene, call, (mut a, mut p)) = (Scene::new(), dialog("c", "A P"), voices());
    scene.call(&call, &offer(), &answer()).talk(&mut [&mut a, &mut p], 9);
    scene.bye(&call, By::Called).talk(&mut [&mut a, &mut p], 1).wait(2000).talk(&mut [&mut a, &mut p], 5);
    scene.decrypt().is(0, &all(10));
}

#[test]
fn r42b_a_lost_answer_leaves_the_keys_unknown() {
    let (mut scene, call, (mut a, mut p)) = (Scene::new(), dialog("c", "A P"), voices());
    scene.request(&call, By::Caller, "INVITE", 1, &offer()).request(&call, By::Caller, "ACK", 1, "");
    scene.talk(&mut [&mut a, &mut p], 100).bye(&call, By::Caller);
    scene.decrypt().is(0, &["c A received - unknown p>a [b] 0/100"]);
}

#[test]
fn the_next_call_on_the_same_ports_has_its_own_keys() {
    let (mut scene, (mut a, mut p)) = (Scene::new(), voices());
    scene.call(&dialog("c", "A P"), &offer(), &answer()).talk(&mut [&mut a, &mut p], 10);
    scene.bye(&dialog("c", "A P"), By::Caller);
    let (mut a, mut p) = (Voice::secure("a", "p", 0xc, &cm(3)), Voice::secure("p", "a", 0xd, &cm(4)));
    scene.call(&dialog("d", "A P"), &savp("a", &cm(3)), &savp("p", &cm(4))).talk(&mut [&mut a, &mut p], 10);
    scene.bye(&dialog("d", "A P"), By::Called);
    let [sent, received] = all(10);
    let rows = [sent, received, "d A sent CM keys a>p [c] 10/10", "d A received CM keys p>a [d] 10/10"];
    scene.decrypt().is(0, &rows);
}

#[test]
fn two_calls_at_the_same_time_don_t_mix() {
    let (mut scene, (mut a, mut p)) = (Scene::new(), voices());
    let (one, two) = (dialog("c", "A P"), dialog("d", "P A"));
    scene.call(&one, &offer(), &answer()).call(&two, &savp("p2", &cm(3)), &avp("a2"));
    let (mut a2, mut p2) = (Voice::clear("a2", "p2", 0xc), Voice::clear("p2", "a2", 0xd));
    scene.call(&dialog("e", "A P"), &savp("10.0.0.11:4004", &cm(5)), &savp("10.0.0.1:6004", &cm(6)));
    scene.talk(&mut [&mut a, &mut a2, &mut p, &mut p2], 10).bye(&one, By::Caller).bye(&two, By::Caller);
    let [sent, received] = all(10);
    let rows = [
        sent,
        received,
        "d A sent - unknown a2>p2 [c] 0/10",
        "d A received - unknown p2>a2 [d] 0/10",
        "e A sent CM keys ->10.0.0.1:6004 [] 0/0",
        "e A received CM keys ->10.0.0.11:4004 [] 0/0",
    ];
    scene.decrypt().is(0, &rows);
}

#[test]
fn each_media_line_has_its_own_keys_and_a_rejected_one_no_streams() {
    let video =
        |port: u16, seed| format!("m=video {port} RTP/SAVP 96\r\na=rtpmap:96 H264/90000\r\n{}", cm(seed).line(1));
    let (mut scene, call, (mut a, mut p)) = (Scene::new(), dialog("c", "A P"), voices());
    let third = "m=video 0 RTP/SAVP 96\r\n";
    let (offer, answer) = (offer() + &video(4002, 3) + &video(4004, 5), answer() + &video(6002, 4) + third);
    scene.call(&call, &offer, &answer);
    let (mut a2, mut p2) = (Voice::secure("a2", "p2", 0xc, &cm(3)), Voice::secure("p2", "a2", 0xd, &cm(4)));
    scene.talk(&mut [&mut a, &mut p, &mut a2, &mut p2], 10).bye(&call, By::Caller);
    let [sent, received] = all(10);
    let rows = [sent, received, "c A sent CM keys a2>p2 [c] 10/10", "c A received CM keys p2>a2 [d] 10/10"];
    scene.decrypt().is(0, &rows);
}

#[test]
fn a_device_that_moves_its_media_has_a_stream_for_each_destination() {
    let (mut scene, call, (mut a, mut p)) = (Scene::new(), dialog("c", "A P"), voices());
    scene.call(&call, &offer(), &answer()).talk(&mut [&mut a, &mut p], 10);
    scene.reinvite(&call, By::Caller, 10, &savp("a2", &cm(1)), &answer());
    (a.from, p.to) = (at("a2"), at("a2"));
    scene.talk(&mut [&mut a, &mut p], 10).bye(&call, By::Caller);
    let rows =
        ["c A sent CM keys a>p [a] 20/20", "c A received CM keys p>a [b] 10/10", "c A received CM keys p>a2 [b] 10/10"];
    scene.decrypt().is(0, &rows);
}

#[test]
fn a_back_to_back_pbx_has_one_call_for_each_phone() {
    let (mut scene, (mut a, mut p)) = (Scene::empty(), voices());
    let (mut q, mut b) = (Voice::secure("q", "b", 0xc, &cm(3)), Voice::secure("b", "q", 0xd, &cm(4)));
    scene.request(&dialog("c", "A P"), By::Caller, "INVITE", 1, &offer());
    scene.call(&dialog("d", "P B"), &savp("q", &cm(3)), &savp("b", &cm(4)));
    scene.response(&dialog("c", "A P"), By::Caller, 200, "1 INVITE", &answer());
    scene.talk(&mut [&mut a, &mut p, &mut q, &mut b], 10);
    scene.bye(&dialog("d", "P B"), By::Called).bye(&dialog("c", "A P"), By::Called);
    let [sent, received] = all(10);
    let rows = [sent, received, "d B sent CM keys b>q [d] 10/10", "d B received CM keys q>b [c] 10/10"];
    scene.decrypt().is(0, &rows);
}

#[test]
fn media_that_go_past_a_back_to_back_pbx_are_of_both_its_calls() {
    for secure in [true, false] {
        let mut scene = Scene::empty();
        let (ours, theirs) = if secure { (offer(), savp("b", &cm(2))) } else { (avp("a"), avp("b")) };
        scene.request(&dialog("c", "A P"), By::Caller, "INVITE", 1, &ours);
        scene.call(&dialog("d", "P B"), &ours, &theirs);
        scene.response(&dialog("c", "A P"), By::Caller, 200, "1 INVITE", &theirs);
        let voice = |from, to, ssrc, key: u8| match secure {
            true => Voice::secure(from, to, ssrc, &cm(key)),
            false => Voice::clear(from, to, ssrc),
        };
        scene.talk(&mut [&mut voice("a", "b", 0xa, 1), &mut voice("b", "a", 0xb, 2)], 10);
        scene.bye(&dialog("d", "P B"), By::Called).bye(&dialog("c", "A P"), By::Called);
        let how = |row: &str| {
            if secure { format!("{row} 10/10") } else { format!("{row} 0/10").replace("CM keys", "- clear") }
        };
        let rows = [
            how("c A sent CM keys a>b [a]"),
            how("c A received CM keys b>a [b]"),
            how("d B sent CM keys b>a [b]"),
            how("d B received CM keys a>b [a]"),
        ];
        scene.decrypt().is(0, &rows.each_ref().map(String::as_str));
    }
}

/// Of a call through a proxy each message is seen twice, and each phone sees both streams.
fn through_a_proxy(headers: &str, hops_after: &str) {
    let mut scene = Scene::empty();
    let mut call = dialog("c", "A P B");
    call.headers = headers.into();
    let (mut a, mut b) = (Voice::secure("a", "b", 0xa, &cm(1)), Voice::secure("b", "a", 0xb, &cm(2)));
    scene.request(&call, By::Caller, "INVITE", 1, &offer());
    for code in [100, 180] {
        scene.response(&call, By::Caller, code, "1 INVITE", "");
    }
    scene.response(&call, By::Caller, 200, "1 INVITE", &savp("b", &cm(2)));
    let after = Dialog { hops: dialog("", hops_after).hops, ..call };
    scene.request(&after, By::Caller, "ACK", 1, "").talk(&mut [&mut a, &mut b], 10);
    scene.reinvite(&after, By::Called, 10, &savp("b", &cm(4)), &savp("a", &cm(1)));
    let mut b = b.rekeyed(&cm(4));
    scene.talk(&mut [&mut a, &mut b], 10).bye(&after, By::Called);
    let rows = [
        "c A sent CM keys a>b [a] 20/20",
        "c A received CM keys b>a [b] 20/20",
        "c B sent CM keys b>a [b] 20/20",
        "c B received CM keys a>b [a] 20/20",
    ];
    scene.decrypt().is(0, &rows);
}

#[test]
fn both_phones_of_a_proxy_see_both_streams() {
    through_a_proxy("Record-Route: <sip:10.0.0.1;lr>\r\n", "A P B");
}

#[test]
fn a_proxy_may_leave_the_way_of_the_dialog() {
    through_a_proxy("", "A B");
}

#[test]
fn phones_may_call_each_other_directly() {
    let (mut scene, call) = (Scene::empty(), dialog("c", "A B"));
    let (mut a, mut b) = (Voice::secure("a", "b", 0xa, &cm(1)), Voice::secure("b", "a", 0xb, &cm(2)));
    scene.call(&call, &offer(), &savp("b", &cm(2))).talk(&mut [&mut a, &mut b], 10).bye(&call, By::Called);
    let rows = [
        "c A sent CM keys a>b [a] 10/10",
        "c A received CM keys b>a [b] 10/10",
        "c B sent CM keys b>a [b] 10/10",
        "c B received CM keys a>b [a] 10/10",
    ];
    scene.decrypt().is(0, &rows);
}

#[test]
fn r23_of_a_fork_only_the_branch_that_answers_counts() {
    let (mut scene, (mut a, mut p)) = (Scene::new(), voices());
    let (lost, call) = (Dialog { tag: "lost".into(), ..dialog("c", "A P") }, dialog("c", "A P"));
    scene.request(&call, By::Caller, "INVITE", 1, &offer());
    scene.response(&lost, By::Caller, 183, "1 INVITE", &savp("p2", &cm(9)));
    let mut early = Voice::secure("p2", "a", 0xe, &cm(9));
    scene.talk(&mut [&mut early], 5).response(&call, By::Caller, 200, "1 INVITE", &answer());
    scene.request(&call, By::Caller, "ACK", 1, "").talk(&mut [&mut a, &mut p], 10).bye(&call, By::Caller);
    let rows =
        ["c A sent CM keys ->p2 [] 0/0", "c A sent CM keys a>p [a] 10/10", "c A received CM keys p2>a [e b] 15/15"];
    scene.decrypt().is(0, &rows);
}

#[test]
fn stun_rtcp_and_garbage_on_the_port_of_media_are_not_counted() {
    let (mut scene, call, (mut a, mut p)) = (Scene::new(), dialog("c", "A P"), voices());
    let mux = |sdp: String| sdp + "a=rtcp-mux\r\n";
    scene.call(&call, &mux(offer()), &mux(answer())).talk(&mut [&mut a, &mut p], 5);
    for _ in 0..3 {
        scene.udp("a", "p", b"\0\x01\0\0\x21\x12\xa4\x42abcdefghijkl").udp("a", "p", &[]).udp("a", "p", &[0]);
        scene.udp("a", "p", &[0; 4]).udp("a", "p", &[22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        scene.udp("a", "p", &[[0x80, 200, 0, 6].as_slice(), &[1; 40]].concat()).udp("a", "p", &[0xff; 200]);
        scene.udp("10.0.0.11:4001", "10.0.0.1:6001", &[[0x81, 201, 0, 7].as_slice(), &[1; 40]].concat());
    }
    scene.talk(&mut [&mut a, &mut p], 5).bye(&call, By::Caller);
    scene.decrypt().is(0, &all(10));
}

#[test]
fn a_secure_call_may_become_clear_and_secure_again() {
    let (mut scene, call, (mut a, mut p)) = (Scene::new(), dialog("c", "A P"), voices());
    scene.call(&call, &offer(), &answer()).talk(&mut [&mut a, &mut p], 10);
    scene.reinvite(&call, By::Caller, 10, &avp("a"), &avp("p"));
    scene.reinvite(&call, By::Caller, 11, &offer(), &answer()).talk(&mut [&mut a, &mut p], 10);
    scene.bye(&call, By::Caller);
    scene.decrypt().is(0, &all(20));
}
