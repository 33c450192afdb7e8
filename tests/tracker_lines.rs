//! Several media lines: rejected, ended, used anew; and what their keys are then.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "common/sip.rs"]
mod sip;

use std::sync::Arc;

use callgate::model::{EventBody, Protection, StreamDirection};
use sip::{Dialog, Lab, Sdp, with};

const PBX: &str = "10.0.0.1:5060";
const ANN: &str = "10.0.0.2:5060";
const D: Dialog = Dialog { call_id: "one", b: "b" };

fn line(media: &'static str, address: &str, letter: char) -> Sdp {
    Sdp { media, ..Sdp::secure(address, letter) }
}

/// A line that is rejected, or ended.
fn none(media: &'static str) -> Sdp {
    Sdp { media, proto: "RTP/SAVP", ..Sdp::plain("10.0.0.2:0") }
}

fn lab() -> Lab {
    Lab::new(&[PBX], &["ann=10.0.0.2:5060"])
}

fn agree(lab: &mut Lab, cseq: u32, offer: &Sdp, answer: &Sdp) -> Vec<String> {
    match cseq {
        1 => lab.send(ANN, PBX, &D.invite(1, Some(offer))),
        _ => lab.send(ANN, PBX, &D.request("INVITE", true, cseq, Some(offer))),
    }
    lab.send(PBX, ANN, &D.ok(cseq, Some(answer)));
    lab.said()
}

fn audio() -> (Sdp, Sdp) {
    (line("audio", "10.0.0.2:4000", 'A'), line("audio", "10.0.0.1:5000", 'P'))
}

fn video() -> (Sdp, Sdp) {
    (line("video", "10.0.0.2:4002", 'V'), line("video", "10.0.0.1:5002", 'W'))
}

#[test]
fn each_line_has_its_own_streams_and_keys() {
    let mut lab = lab();
    let (offer, answer) = (audio().0.and(video().0), audio().1.and(video().1));
    assert_eq!(
        agree(&mut lab, 1, &offer, &answer)[2..],
        [
            "ann s1 sent open 10.0.0.1:5000 g1 A",
            "ann s2 received open 10.0.0.2:4000 g1 P",
            "ann s3 sent open 10.0.0.1:5002 g1 V",
            "ann s4 received open 10.0.0.2:4002 g1 W",
        ]
    );
    // A new key on one line is nobody else's.
    let offer = audio().0.and(line("video", "10.0.0.2:4002", 'X'));
    let said = agree(&mut lab, 2, &offer, &answer);
    assert_eq!(said, ["ann s3 sent stop Changed g1", "ann s3 sent open 10.0.0.1:5002 g2 X"]);
}

#[test]
fn r23_a_line_that_ends_withdraws_its_keys_and_one_that_is_used_anew_is_a_new_stream() {
    let mut lab = lab();
    let (offer, answer) = (audio().0.and(video().0), audio().1.and(video().1));
    agree(&mut lab, 1, &offer, &answer);
    let said = agree(&mut lab, 2, &audio().0.and(none("video")), &audio().1.and(none("video")));
    assert_eq!(said, ["ann s3 sent stop Ended g1", "ann s4 received stop Ended g1"]);
    let said = agree(&mut lab, 3, &offer, &answer);
    assert_eq!(said, ["ann s5 sent open 10.0.0.1:5002 g1 V", "ann s6 received open 10.0.0.2:4002 g1 W"]);
    // The place of a line that ended may be used by another medium (RFC 3264, 8.2).
    agree(&mut lab, 4, &audio().0.and(none("video")), &audio().1.and(none("video")));
    let text = (line("text", "10.0.0.2:4004", 'T'), line("text", "10.0.0.1:5004", 'U'));
    let said = agree(&mut lab, 5, &audio().0.and(text.0), &audio().1.and(text.1));
    assert_eq!(said, ["ann s7 sent open 10.0.0.1:5004 g1 T", "ann s8 received open 10.0.0.2:4004 g1 U"]);
}

#[test]
fn a_line_that_the_answer_rejects_has_no_streams_and_the_others_have() {
    let (offer, answer) = (audio().0.and(video().0), audio().1.and(none("video")));
    assert_eq!(agree(&mut lab(), 1, &offer, &answer).len(), 4);
    // Also if the answer lacks it.
    assert_eq!(agree(&mut lab(), 1, &offer, &audio().1).len(), 4);
    // A secure and a clear line to choose from: what is chosen counts.
    let offer = audio().0.and(Sdp::plain("10.0.0.2:4002"));
    let answer = Sdp { more: vec![Sdp::plain("10.0.0.1:5002")], ..none("audio") };
    let answer = Sdp { address: "10.0.0.1:0".parse().unwrap(), ..answer };
    let said = agree(&mut lab(), 1, &offer, &answer);
    assert_eq!(said[2..], ["ann s1 sent open 10.0.0.1:5002 clear", "ann s2 received open 10.0.0.2:4002 clear"]);
}

/// The key material that each opened stream of this direction has, in order.
fn materials(lab: &Lab) -> Vec<Arc<callgate::model::KeyMaterial>> {
    let opened = lab.events.iter().filter_map(|event| match &event.body {
        EventBody::MediaOpened(opened) if opened.direction == StreamDirection::Sent => Some(&opened.protection),
        _ => None,
    });
    opened
        .map(|protection| match protection {
            Protection::Keyed { keys, .. } => keys.clone(),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn r16_a_key_that_another_stream_goes_on_with_is_the_same_object() {
    // A line that is used anew.
    let mut lab = lab();
    let (offer, answer) = (audio().0.and(video().0), audio().1.and(video().1));
    agree(&mut lab, 1, &offer, &answer);
    agree(&mut lab, 2, &audio().0.and(none("video")), &audio().1.and(none("video")));
    agree(&mut lab, 3, &offer, &answer);
    let [_, before, after] = materials(&lab).try_into().unwrap_or_else(|_| panic!());
    assert!(Arc::ptr_eq(&before, &after));
    // The branches of a fork.
    let mut lab = self::lab();
    lab.send(ANN, PBX, &D.invite(1, Some(&audio().0)));
    for b in ["b", "c"] {
        lab.send(PBX, ANN, &Dialog { b, ..D }.response(183, "INVITE", true, 1, Some(&audio().1)));
    }
    let [one, other] = materials(&lab).try_into().unwrap_or_else(|_| panic!());
    assert!(Arc::ptr_eq(&one, &other));
    // Another call is another matter: equal keys are nobody's old ones there.
    let another = Dialog { call_id: "two", b: "b" };
    lab.send(ANN, PBX, &another.invite(1, Some(&audio().0)));
    lab.send(PBX, ANN, &another.ok(1, Some(&audio().1)));
    assert!(!Arc::ptr_eq(&one, materials(&lab).last().unwrap()));
}

#[test]
fn r42b_parameters_that_both_must_agree_on_and_don_t_give_no_key() {
    let with = |letter, parameters: &str| {
        Sdp { proto: "RTP/SAVP", ..Sdp::plain("10.0.0.2:4000") }.with(&format!(
            "crypto:1 {} inline:{} {parameters}",
            sip::SUITE,
            sip::key(letter)
        ))
    };
    let shown = |offer: &str, answer: &str| {
        let said = agree(&mut lab(), 1, &with('A', offer), &with('P', answer));
        said[2..].iter().map(|line| line.split(' ').skip(5).collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(shown("UNAUTHENTICATED_SRTP", "UNAUTHENTICATED_SRTP"), ["g1 A", "g1 P"]);
    assert_eq!(shown("UNAUTHENTICATED_SRTP", ""), ["g1 unknown", "g1 unknown"]);
    assert_eq!(shown("", "UNAUTHENTICATED_SRTP"), ["g1 unknown", "g1 unknown"]);
    // What one end declares for itself the other need not.
    assert_eq!(shown("KDR=1 WSH=64 FEC_ORDER=FEC_SRTP -X=1", "UNENCRYPTED_SRTCP"), ["g1 A", "g1 P"]);
}

#[test]
fn compact_and_folded_headers_make_the_same_call() {
    let plain = |text: &str| text.to_owned();
    let compact = |text: &str| {
        text.replace("\r\nVia:", "\r\nv:")
            .replace("\r\nFrom:", "\r\nf :")
            .replace("\r\nTo:", "\r\nt:")
            .replace("\r\nCall-ID:", "\r\ni:")
            .replace("\r\nContent-Type:", "\r\nc:")
            .replace("\r\nContent-Length:", "\r\nl:")
    };
    let folded = |text: &str| {
        with(text, "X-Long: a,\r\n\tb").replace(";tag=", "\r\n ;tag=").replace(" INVITE\r", "\r\n INVITE\r")
    };
    let said = |change: &dyn Fn(&str) -> String| {
        let mut lab = lab();
        lab.send(ANN, PBX, &change(&D.invite(1, Some(&audio().0))));
        lab.send(PBX, ANN, &change(&D.response(180, "INVITE", true, 1, None)));
        lab.send(PBX, ANN, &change(&D.ok(1, Some(&audio().1))));
        lab.send(ANN, PBX, &change(&D.request("BYE", true, 2, None)));
        lab.send(PBX, ANN, &change(&D.response(200, "BYE", true, 2, None)));
        lab.said()
    };
    assert_eq!(said(&plain).len(), 8);
    assert_eq!(said(&compact), said(&plain));
    assert_eq!(said(&folded), said(&plain));
}

#[test]
fn r42b_an_encoded_session_description_is_unreadable_and_not_none() {
    use callgate::switch::{scan::Keys, sdp::SdpError, sip::Message};
    let invite = D.invite(1, Some(&audio().0));
    let (head, body) = invite.split_once("\r\n\r\n").unwrap();
    let head: String = head.lines().filter(|line| !line.starts_with("Content-")).map(|l| format!("{l}\r\n")).collect();
    let part = |headers: &str| {
        format!("{head}Content-Type: multipart/mixed;boundary=x\r\n\r\n--x\r\n{headers}\r\n\r\n{body}\r\n--x--\r\n")
    };
    let encoded = "Content-Transfer-Encoding: base64";
    for (text, lines) in [
        (
            format!("{head}Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n\r\n{body}"),
            Err(SdpError::Encoded),
        ),
        (part(&format!("Content-Type: application/sdp\r\n{encoded}")), Err(SdpError::Encoded)),
        (part("Content-Type:\r\n application/sdp"), Ok(1)),
        (part("Content-Type: application/sdp").replace("--x--", ""), Ok(1)),
    ] {
        let sdp = Message::parse(text.as_bytes(), &Keys::default()).unwrap().sdp.unwrap();
        assert_eq!(sdp.map(|sdp| sdp.lines.len()), lines, "{text}");
    }
}
