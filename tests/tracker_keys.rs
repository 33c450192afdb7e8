//! Which key counts for which stream: tags, suites, MKIs, parameters, profiles.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "common/sip.rs"]
mod sip;

use callgate::model::{EventBody, KeyMaterial, Protection, StreamDirection};
use sip::{Dialog, Lab, SUITE, Sdp, key};

const PBX: &str = "10.0.0.1:5060";
const ANN: &str = "10.0.0.2:5060";
const D: Dialog = Dialog { call_id: "one", b: "b" };

/// What the two streams are after this offer of ann's and this answer of the PBX's.
fn agreed(offer: &Sdp, answer: &Sdp) -> (Lab, Vec<String>) {
    let mut lab = Lab::new(&[PBX], &["ann=10.0.0.2:5060"]);
    lab.send(ANN, PBX, &D.invite(1, Some(offer)));
    lab.send(PBX, ANN, &D.ok(1, Some(answer)));
    let said = lab.said();
    let shown = said.iter().skip(2).map(|line| line.split(' ').skip(5).collect::<Vec<_>>().join(" ")).collect();
    (lab, shown)
}

fn said(offer: &Sdp, answer: &Sdp) -> Vec<String> {
    agreed(offer, answer).1
}

fn secure(address: &str) -> Sdp {
    Sdp { proto: "RTP/SAVP", ..Sdp::plain(address) }
}

fn ann() -> Sdp {
    secure("10.0.0.2:4000")
}

fn pbx() -> Sdp {
    secure("10.0.0.1:5000")
}

fn material(lab: &Lab, n: usize) -> &KeyMaterial {
    let mut keyed = lab.events.iter().filter_map(|event| match &event.body {
        EventBody::MediaOpened(opened) => match &opened.protection {
            Protection::Keyed { keys, .. } => Some(&**keys),
            _ => None,
        },
        _ => None,
    });
    keyed.nth(n).unwrap()
}

#[test]
fn the_answers_tag_says_which_line_of_the_offer_counts() {
    let offer =
        ann().crypto(1, "AEAD_AES_256_GCM", 'A').crypto(2, SUITE, 'B').crypto(3, "AES_CM_128_HMAC_SHA1_32", 'C');
    assert_eq!(said(&offer, &pbx().crypto(2, SUITE, 'P')), ["g1 B", "g1 P"]);
}

#[test]
fn r42b_an_answer_that_fits_no_line_gives_no_key() {
    let offer = ann().crypto(1, SUITE, 'A').crypto(2, "AES_CM_128_HMAC_SHA1_32", 'B');
    let unknown = ["g1 unknown", "g1 unknown"];
    assert_eq!(said(&offer, &pbx().crypto(3, SUITE, 'P')), unknown, "a tag that was not offered");
    assert_eq!(said(&offer, &pbx().crypto(2, SUITE, 'P')), unknown, "a suite other than the tag's");
    assert_eq!(said(&offer, &pbx().crypto(1, SUITE, 'P').crypto(2, SUITE, 'Q')), unknown, "two lines");
    assert_eq!(said(&offer, &pbx()), unknown, "none at all");
    let twice = ann().crypto(1, SUITE, 'A').crypto(1, SUITE, 'B');
    assert_eq!(said(&twice, &pbx().crypto(1, SUITE, 'P')), unknown, "a tag offered twice");
}

#[test]
fn r42b_a_suite_or_parameter_that_is_not_understood_gives_no_key() {
    let unknown = ["g1 unknown", "g1 unknown"];
    assert_eq!(said(&ann().crypto(1, "ROT13", 'A'), &pbx().crypto(1, "ROT13", 'P')), unknown);
    let new = ann().with(&format!("crypto:1 {SUITE} inline:{} NEW=1", key('A')));
    assert_eq!(said(&new, &pbx().crypto(1, SUITE, 'P')), ["g1 unknown", "g1 P"]);
}

#[test]
fn r18_a_key_of_a_wrong_length_is_refused() {
    let suite = "AES_256_CM_HMAC_SHA1_80";
    assert_eq!(said(&ann().crypto(1, suite, 'A'), &pbx().crypto(1, suite, 'P')), ["g1 unknown", "g1 unknown"]);
}

#[test]
fn r18_mki_lifetime_and_several_keys_are_handed_on() {
    let line = format!("crypto:1 {SUITE} inline:{}|2^20|1:4;inline:{}|2^21|2:4 KDR=1", key('A'), key('B'));
    let (lab, shown) = agreed(&ann().with(&line), &pbx().crypto(1, SUITE, 'P'));
    assert_eq!(shown, ["g1 AB", "g1 P"]);
    let keys = material(&lab, 0).keys();
    assert_eq!(keys[1].mki.as_ref().unwrap().as_bytes(), [0, 0, 0, 2]);
    assert_eq!((keys[0].lifetime, keys[1].lifetime), (Some(1 << 20), Some(1 << 21)));
    assert_eq!(material(&lab, 0).parameters().key_derivation_rate_log2, 1);
    assert_eq!((keys[0].key.len(), keys[0].salt.len()), (16, 14));
}

#[test]
fn r18_a_key_whose_packets_are_to_be_read_in_another_way_is_not_told_as_it_was() {
    let line = |letter, parameters: &str| format!("crypto:1 {SUITE} inline:{} {parameters}", key(letter));
    let changed = |before: &str, after: &str| {
        let (mut lab, _) = agreed(&ann().with(&line('A', before)), &pbx().with(&line('P', before)));
        let mut shown = Vec::new();
        for (cseq, parameters) in [(2, after), (3, before)] {
            lab.send(ANN, PBX, &D.request("INVITE", true, cseq, Some(&ann().with(&line('A', parameters)))));
            lab.send(PBX, ANN, &D.ok(cseq, Some(&pbx().with(&line('P', parameters)))));
            let opened: Vec<_> = lab.said().into_iter().filter(|line| line.contains(" open ")).collect();
            shown.extend(opened.iter().map(|line| line.split(' ').skip(5).collect::<Vec<_>>().join(" ")));
        }
        shown
    };
    let unknown_and_back = ["g2 unknown", "g2 unknown", "g1 A", "g1 P"];
    assert_eq!(changed("", "UNAUTHENTICATED_SRTP"), unknown_and_back);
    assert_eq!(changed("UNAUTHENTICATED_SRTP", ""), unknown_and_back);
    assert_eq!(changed("", "UNENCRYPTED_SRTCP"), unknown_and_back);
    // A hint changes nothing, nor does what isn't known to.
    assert_eq!(changed("", "WSH=64"), [""; 0]);
    assert_eq!(changed("", "-X=1"), [""; 0]);
}

#[test]
fn r17_unencrypted_srtp_is_not_encrypted() {
    let line = |letter| format!("crypto:1 {SUITE} inline:{} UNENCRYPTED_SRTP", key(letter));
    assert_eq!(said(&ann().with(&line('A')), &pbx().with(&line('P'))), ["clear", "clear"]);
    let one_only = said(&ann().with(&line('A')), &pbx().crypto(1, SUITE, 'P'));
    assert_eq!(one_only, ["g1 unknown", "g1 unknown"]);
    let null = "NULL_HMAC_SHA1_80";
    assert_eq!(said(&ann().crypto(1, null, 'A'), &pbx().crypto(1, null, 'P')), ["clear", "clear"]);
}

#[test]
fn r17_plain_rtp_is_clear() {
    let (ann, pbx) = (Sdp::plain("10.0.0.2:4000"), Sdp::plain("10.0.0.1:5000"));
    assert_eq!(said(&ann, &pbx), ["clear", "clear"]);
    // Best effort (RFC 8643): secure only if the answer has crypto too.
    let best_effort = ann.crypto(1, SUITE, 'A');
    assert_eq!(said(&best_effort, &pbx), ["clear", "clear"]);
    assert_eq!(said(&best_effort, &pbx.crypto(1, SUITE, 'P')), ["g1 A", "g1 P"]);
}

#[test]
fn keys_by_dtls_are_unknown_never_clear() {
    let dtls = |address: &str| Sdp { proto: "UDP/TLS/RTP/SAVPF", ..Sdp::plain(address) }.with("fingerprint:sha-256 AA");
    assert_eq!(said(&dtls("10.0.0.2:4000"), &dtls("10.0.0.1:5000")), ["g1 unknown", "g1 unknown"]);
    let either = |address: &str| Sdp::plain(address).with("fingerprint:sha-256 AA");
    assert_eq!(said(&either("10.0.0.2:4000"), &either("10.0.0.1:5000")), ["g1 unknown", "g1 unknown"]);
    assert_eq!(said(&either("10.0.0.2:4000"), &Sdp::plain("10.0.0.1:5000")), ["clear", "clear"]);
}

#[test]
fn r42b_a_crypto_line_is_no_key_where_dtls_may_be() {
    let unknown = ["g1 unknown", "g1 unknown"];
    let line = |proto: &'static str, address: &str, letter| Sdp { proto, ..Sdp::secure(address, letter) };
    for proto in ["UDP/TLS/RTP/SAVPF", "udp/tls/rtp/savp", "TCP/DTLS/RTP/SAVPF", "TCP/TLS/RTP/AVP"] {
        let (offer, answer) = (line(proto, "10.0.0.2:4000", 'A'), line(proto, "10.0.0.1:5000", 'P'));
        assert_eq!(said(&offer, &answer), unknown, "{proto}");
        let bare = |address: &str| Sdp { proto, ..Sdp::plain(address) };
        assert_eq!(said(&bare("10.0.0.2:4000"), &bare("10.0.0.1:5000")), unknown, "{proto}");
    }
    for proto in ["RTP/SAVP", "RTP/AVP"] {
        let (offer, answer) = (line(proto, "10.0.0.2:4000", 'A'), line(proto, "10.0.0.1:5000", 'P'));
        let either = offer.clone().with("fingerprint:sha-256 AA");
        assert_eq!(said(&either, &answer.clone().with("fingerprint:sha-256 BB")), unknown, "{proto}");
        // What only one has isn't agreed on (RFC 5763, 5).
        assert_eq!(said(&either, &answer), ["g1 A", "g1 P"], "{proto}");
        assert_eq!(said(&offer, &answer.with("fingerprint:sha-256 BB")), ["g1 A", "g1 P"], "{proto}");
    }
}

#[test]
fn a_rejected_line_and_one_that_is_no_rtp_have_no_streams() {
    let refused = Sdp::plain("10.0.0.1:0");
    assert_eq!(said(&ann().crypto(1, SUITE, 'A'), &refused), [""; 0]);
    let fax = |address: &str| Sdp { media: "image", proto: "udptl", formats: "t38", ..Sdp::plain(address) };
    assert_eq!(said(&fax("10.0.0.2:4000"), &fax("10.0.0.1:5000")), [""; 0]);
}

#[test]
fn ipv6_works_in_all_places() {
    let mut lab = Lab::new(&["[2001:db8::1]:5060"], &["ann=[2001:db8::2]:5060"]);
    let (ann, pbx) = (Sdp::secure("[2001:db8::2]:4000", 'A'), Sdp::secure("[2001:db8::1]:5000", 'P'));
    lab.send("[2001:db8::2]:5060", "[2001:db8::1]:5060", &D.invite(1, Some(&ann)));
    lab.send("[2001:db8::1]:5060", "[2001:db8::2]:5060", &D.ok(1, Some(&pbx)));
    assert_eq!(
        lab.said()[2..],
        ["ann s1 sent open [2001:db8::1]:5000 g1 A", "ann s2 received open [2001:db8::2]:4000 g1 P"]
    );
}

#[test]
fn the_codecs_are_those_of_the_answer() {
    let offer = Sdp { formats: "8 0 101", ..ann() }.crypto(1, SUITE, 'A').with("rtpmap:101 telephone-event/8000");
    let answer = Sdp { formats: "0 96", ..pbx() }.crypto(1, SUITE, 'P').with("rtpmap:96 telephone-event/8000");
    let (lab, _) = agreed(&offer, &answer);
    let codecs: Vec<Vec<u8>> = lab
        .events
        .iter()
        .filter_map(|event| match &event.body {
            EventBody::MediaOpened(opened) => Some(opened.codecs.iter().map(|codec| codec.payload_type).collect()),
            _ => None,
        })
        .collect();
    // Each receiver's own numbers.
    assert_eq!(codecs, [[0, 96], [0, 101]]);
}

#[test]
fn r22_a_key_that_comes_back_is_the_generation_that_it_was() {
    let mut lab = Lab::new(&[PBX], &["ann=10.0.0.2:5060"]);
    lab.send(ANN, PBX, &D.invite(1, Some(&ann().crypto(1, SUITE, 'A'))));
    lab.send(PBX, ANN, &D.ok(1, Some(&pbx().crypto(1, SUITE, 'P'))));
    // `?` stands for a line that fits none of the answer's.
    for (cseq, letter) in (2..).zip("B?A?BC".chars()) {
        let (tag, letter) = if letter == '?' { (2, 'A') } else { (1, letter) };
        lab.send(ANN, PBX, &D.request("INVITE", true, cseq, Some(&ann().crypto(tag, SUITE, letter))));
        lab.send(PBX, ANN, &D.ok(cseq, Some(&pbx().crypto(1, SUITE, 'P'))));
    }
    let opened = lab.events.iter().filter_map(|event| match &event.body {
        EventBody::MediaOpened(opened) if opened.direction == StreamDirection::Sent => Some(&opened.protection),
        _ => None,
    });
    let shown: Vec<_> = opened
        .map(|protection| match protection {
            Protection::Keyed { generation, since, .. } => (generation.0, Some(*since)),
            Protection::Unknown { generation, .. } => (generation.0, None),
            other => panic!("{other:?}"),
        })
        .collect();
    let generations: Vec<_> = shown.iter().map(|(generation, _)| *generation).collect();
    assert_eq!(generations, [1, 2, 3, 1, 3, 2, 4]);
    // With the moment when it was first seen.
    assert_eq!((shown[3].1, shown[5].1), (shown[0].1, shown[1].1));
}
