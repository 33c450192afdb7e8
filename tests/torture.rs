//! The torture messages of RFC 4475: what is valid is read as it is meant, and nothing invalid becomes a call or a key.
//!
//! `tests/data/rfc4475/` has all of section 3, a file a message, in the bytes that the RFC's notation stands for.
#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

#[path = "common/sip.rs"]
mod sip;

use std::{collections::BTreeSet, fs, path::PathBuf};

use callgate::{
    model::EventBody,
    switch::{
        feed::FeedError,
        scan,
        sip::{
            Kind::{self, Request, Response},
            Message,
            Method::{self, Invite, Other, Register},
            SipError,
        },
    },
};
use sip::{Dialog, Lab, Sdp, dialog, hep};

const ANN: &str = "192.0.2.1:5060";
const PBX: &str = "192.0.2.10:5060";

/// What a message must be read as.
struct Read {
    kind: Kind,
    method: Method,
    call_id: &'static str,
    cseq: u32,
    tags: [&'static str; 2],
    media_lines: Option<usize>,
}

const fn read(
    (kind, method): (Kind, Method),
    call_id: &'static str,
    cseq: u32,
    tags: [&'static str; 2],
    media_lines: Option<usize>,
) -> Result<Read, SipError> {
    Ok(Read { kind, method, call_id, cseq, tags, media_lines })
}

/// Every message, in the order of the RFC.
fn expected() -> Vec<(&'static str, Result<Read, SipError>)> {
    const INVITES: (Kind, Method) = (Request, Invite);
    const REGISTERS: (Kind, Method) = (Request, Register);
    const OTHER: (Kind, Method) = (Request, Other);
    let header = |name| Err(SipError::Header(name));
    let repeated = |name| Err(SipError::Repeated(name));
    let long_id = "longreq.onereallyreallyreallyreallyreallyreallyreallyreallyreallyreallyreallyreallyreallyreallyreallyreally\
                   reallyreallyreallyreallylongcallid";
    let long_tag = format!("12{}424", "982".repeat(50)).leak();
    vec![
        // 3.1.1: valid, if strange.
        ("wsinv", read(INVITES, "wsinv.ndaksdj@192.0.2.1", 9, ["98asjd8", "1918181833n"], Some(2))),
        (
            "intmeth",
            read(OTHER, "intmeth.word%ZK-!.*_+'@word`~)(><:\\/\"][?}{", 139_122_385, ["_token~1'+`*%!-.", ""], None),
        ),
        ("esc01", read(INVITES, "esc01.239409asdfakjkn23onasd0-3234", 234_234, ["938", ""], Some(2))),
        (
            "escnull",
            read(REGISTERS, "escnull.39203ndfvkjdasfkq3w4otrq0adsfdfnavd", 14_398_234, ["839923423", ""], None),
        ),
        // An escape in a method means nothing: this is no REGISTER.
        ("esc02", read(OTHER, "esc02.asdfnqwo34rq23i34jrjasdcnl23nrlknsdf", 29344, ["f232jadfj23", ""], None)),
        ("lwsdisp", read(OTHER, "lwsdisp.1234abcd@funky.example.com", 60, ["323", ""], None)),
        ("longreq", read(INVITES, long_id, 3_882_340, [long_tag, ""], Some(2))),
        // What stands behind the message in its datagram is not looked at.
        ("dblreq", read(REGISTERS, "dblreq.0ha0isndaksdj99sdfafnl3lk233412", 8, ["43251j3j324", ""], None)),
        ("semiuri", read(OTHER, "semiuri.0ha0isndaksdj", 8, ["33242", ""], None)),
        ("transports", read(OTHER, "transports.kijh4akdnaqjkwendsasfdj", 60, ["323", ""], None)),
        ("mpart01", read(OTHER, "3d9485ad0c49859b@Zmx1ZmZ5LW1hYy0xNi5sb2NhbA..", 1, ["2fb0dcc9", ""], None)),
        (
            "unreason",
            read((Response(200), Invite), "unreason.1234ksdfak3j2erwedfsASdf", 35, ["11141343", "2229"], Some(2)),
        ),
        (
            "noreason",
            read((Response(100), Invite), "noreason.asndj203insdf99223ndf", 35, ["39ansfi3", "902jndnke3"], None),
        ),
        // 3.1.2: invalid.
        ("badinv01", header("Via")),
        ("clerr", Err(SipError::Truncated { said: 9999, has: 154 })),
        ("ncl", header("Content-Length")),
        ("scalar02", header("CSeq")),
        ("scalarlg", header("CSeq")),
        ("quotbal", header("To")),
        // 3.1.2.7 to 3.1.2.11: who is liberal in what it accepts may ignore the brackets, the blanks, and the headers in
        // the Request-URI. So whoever got these may have worked on them; the URI is used for nothing here.
        ("ltgtruri", read(INVITES, "ltgtruri.1@192.0.2.5", 1, ["39291", ""], Some(2))),
        (
            "lwsruri",
            read(
                INVITES,
                "lwsruri.asdfasdoeoi2323-asdfwrn23-asd834rk423",
                2_130_706_432,
                ["231413434", "3xfe-9921883-z9f"],
                Some(2),
            ),
        ),
        (
            "lwsstart",
            read(INVITES, "lwsstart.dfknq234oi243099adsdfnawe3@example.com", 1_893_884, ["8814", ""], Some(2)),
        ),
        ("trws", read(OTHER, "trws.oicu34958239neffasdhr2345r", 238_923, ["329429089", ""], None)),
        (
            "escruri",
            read(INVITES, "escruri.23940-asdfhj-aje3br-234q098w-fawerh2q-h4n5", 149_209_342, ["341518", ""], Some(2)),
        ),
        // 3.1.2.12: an element that doesn't need the Date may ignore that it is malformed.
        ("baddate", read(INVITES, "baddate.239423mnsadf3j23lj42--sedfnm234", 1_392_934, ["2234923", ""], Some(2))),
        ("regbadct", header("Contact")),
        ("badaspec", header("To")),
        // 3.1.2.15: an element may take the name with its comma as if it were quoted.
        ("baddn", read(OTHER, "baddn.31415@c.example.com", 3_923_239, ["43", ""], None)),
        ("badvers", Err(SipError::Start)),
        ("mismatch01", header("CSeq")),
        ("mismatch02", header("CSeq")),
        ("bigcode", Err(SipError::Start)),
        // 3.2: a branch that is the cookie alone.
        ("badbranch", read(OTHER, "badbranch.sadonfo23i420jv0as0derf3j3n", 8, ["33242", ""], None)),
        // 3.3: the syntax is well, what is said is not.
        ("insuf", header("Call-ID")),
        ("unkscm", read(OTHER, "unkscm.nasdfasser0q239nwsdfasdkl34", 3_923_423, ["384", ""], None)),
        ("novelsc", read(OTHER, "novelsc.asdfasser0q239nwsdfasdkl34", 3_923_423, ["384", ""], None)),
        ("unksm2", read(REGISTERS, "unksm2.daksdj@hyphenated-host.example.com", 234_902, ["3234233", ""], None)),
        ("bext01", read(OTHER, "bext01.0ha0isndaksdj", 8, ["242etr", ""], None)),
        ("invut", read(INVITES, "invut.0ha0isndaksdjadsfij34n23d", 235_448, ["8392034", ""], None)),
        ("regaut01", read(REGISTERS, "regaut01.0ha0isndaksdj", 9338, ["87321hj23128", ""], None)),
        ("multi01", repeated("CSeq")),
        ("mcl01", repeated("Content-Length")),
        (
            "bcast",
            read((Response(200), Invite), "bcast.0384840201234ksdfak3j2erwedfsASdf", 35, ["11141343", "2229"], Some(2)),
        ),
        ("zeromf", read(OTHER, "zeromf.jfasdlfnm2o2l43r5u0asdfas", 39_234_321, ["3ghsd41", ""], None)),
        ("cparam01", read(REGISTERS, "cparam01.70710@saturn.example.com", 2, ["DkfVgjkrtMwaerKKpe", ""], None)),
        ("cparam02", read(REGISTERS, "cparam02.70710@saturn.example.com", 3, ["838293", ""], None)),
        ("regescrt", read(REGISTERS, "regescrt.k345asrl3fdbv@192.0.2.1", 14_398_234, ["8", ""], None)),
        ("sdp01", read(INVITES, "sdp01.ndaksdj9342dasdd", 8, ["234", ""], Some(2))),
        // 3.4: good by RFC 2543. Without a tag no dialog can be followed, so it is refused here.
        ("inv2543", header("From tag")),
    ]
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/rfc4475")
}

fn message(name: &str) -> Vec<u8> {
    fs::read(folder().join(format!("{name}.sip"))).unwrap()
}

fn lab() -> Lab {
    Lab::new(&[PBX], &[&format!("ann={ANN}")])
}

fn wrapped(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    hep(from.parse().unwrap(), to.parse().unwrap(), 0, payload)
}

/// A call of ann's with keys both ways, and where its offer and its answer are.
fn call(dialog: Dialog) -> (Vec<(bool, String)>, usize, usize) {
    let offer = Sdp::secure("192.0.2.1:4000", 'A');
    let answer = Sdp::secure("192.0.2.10:5000", 'B');
    let messages = vec![
        (true, dialog.invite(1, Some(&offer))),
        (false, dialog.response(180, "INVITE", true, 1, None)),
        (false, dialog.ok(1, Some(&answer))),
        (true, dialog.request("ACK", true, 1, None)),
        (true, dialog.request("BYE", true, 2, None)),
        (false, dialog.response(200, "BYE", true, 2, None)),
    ];
    (messages, 0, 2)
}

fn send(lab: &mut Lab, by_ann: bool, payload: &[u8]) -> Result<(), FeedError> {
    let (from, to) = if by_ann { (ANN, PBX) } else { (PBX, ANN) };
    lab.datagram(wrapped(from, to, payload))
}

fn opened(lab: &Lab) -> usize {
    lab.events.iter().filter(|event| matches!(event.body, EventBody::MediaOpened(_))).count()
}

#[test]
fn every_file_is_expected_and_every_expectation_has_a_file() {
    let files: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().unwrap().strip_suffix(".sip").map(Into::into))
        .collect();
    let expected: BTreeSet<String> = expected().iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(files, expected);
    assert_eq!(files.len(), 49, "RFC 4475 has 49 messages");
}

#[test]
fn r42b_each_message_is_read_as_it_is_meant_or_refused() {
    for (name, expected) in expected() {
        let mut text = message(name);
        let keys = scan::redact(&mut text);
        match (Message::parse(&text, &keys), expected) {
            (Ok(read), Ok(expected)) => {
                assert_eq!((read.kind, read.method), (expected.kind, expected.method), "{name}");
                assert_eq!((read.call_id.as_str(), read.cseq), (expected.call_id, expected.cseq), "{name}");
                assert_eq!([&*read.from.tag, &*read.to.tag], expected.tags, "{name}");
                assert_eq!(read.sdp.map(|sdp| sdp.unwrap().lines.len()), expected.media_lines, "{name}");
            }
            (read, expected) => assert_eq!(read.err(), expected.err(), "{name}"),
        }
    }
}

#[test]
fn the_strangest_of_the_valid_ones_are_read_to_the_letter() {
    let read = |name: &str| Message::parse(&message(name), &scan::Keys::default()).unwrap();
    let wsinv = read("wsinv");
    assert_eq!((wsinv.from.party.name.as_str(), wsinv.branch.as_str()), ("J Rosenberg \\\"", "390skdjuw"));
    assert_eq!(wsinv.to.party.uri, "sip:vivekg@chair-dnrc.example.com");
    let intmeth = read("intmeth");
    assert_eq!(intmeth.to.party.name, "BEL: NUL: DEL:", "control characters are not shown");
    assert_eq!(intmeth.branch, "z9hG4bK-.!%66*_+`'~");
    // An escaped name of a header or of a method is another name.
    assert_eq!(read("esc02").contacts.len(), 2);
    assert_eq!(read("escnull").contacts.len(), 2);
    assert_eq!(read("badbranch").branch, "", "the cookie alone tells no transaction from another");
    assert_eq!(read("transports").branch, "z9hG4bKkdjuw");
    assert!(read("unksm2").contacts.iter().all(|contact| contact.at.is_none()));
    let sdp = wsinv.sdp.unwrap().unwrap();
    assert_eq!(sdp.lines[0].address, Some("192.0.2.4:49217".parse().unwrap()));
}

#[test]
fn r42b_only_the_valid_invites_become_calls_and_none_has_a_key() {
    for (name, expected) in expected() {
        let mut lab = lab();
        let taken = send(&mut lab, true, &message(name));
        match &expected {
            Ok(_) => taken.unwrap(),
            Err(error) => assert_eq!(taken, Err(FeedError::Sip(*error)), "{name}"),
        }
        // An INVITE inside a dialog tells of no call before it is answered.
        let begins = expected.is_ok_and(|read| (read.kind, read.method, read.tags[1]) == (Request, Invite, ""));
        assert_eq!(lab.calls().len(), usize::from(begins), "{name}");
        assert_eq!(opened(&lab), 0, "{name}");
    }
}

#[test]
fn none_of_them_disturbs_a_call_that_goes_on() {
    let (messages, ..) = call(dialog("steady"));
    let mut undisturbed = lab();
    for (by_ann, text) in &messages {
        send(&mut undisturbed, *by_ann, text.as_bytes()).unwrap();
    }
    let undisturbed = undisturbed.said();
    assert_eq!(undisturbed.iter().filter(|line| line.contains(" open ")).count(), 2, "{undisturbed:?}");

    let mut lab = lab();
    for (by_ann, text) in &messages {
        for (name, _) in expected() {
            // Between strangers, so that what is said is of the call alone.
            let _ = lab.datagram(wrapped("192.0.2.77:5060", "192.0.2.10:5062", &message(name)));
        }
        send(&mut lab, *by_ann, text.as_bytes()).unwrap();
    }
    let of_ann: Vec<String> = lab.said().into_iter().filter(|line| line.starts_with("ann ")).collect();
    let plain = |lines: &[String]| -> Vec<String> {
        lines.iter().map(|line| line.split(' ').filter(|word| !word.starts_with('s')).collect()).collect()
    };
    assert_eq!(plain(&of_ann), plain(&undisturbed));
}

/// Puts the fault of a torture message into a good one.
type Fault = (&'static str, fn(&str) -> String);

const FAULTS: [Fault; 11] = [
    ("badinv01", |text| text.replacen(";branch=", ";;,;,,;branch=", 1)),
    ("clerr", |text| with_length(text, "9999")),
    ("ncl", |text| with_length(text, "-999")),
    ("scalar02", |text| text.replacen("CSeq: 1 ", "CSeq: 36893488147419103232 ", 1)),
    ("quotbal", |text| text.replacen("To: <", "To: \"Mr. J. User <", 1)),
    ("badaspec", |text| text.replacen("To: <sip:bob@example.com>", "To: < sip:bob@example.com >", 1)),
    ("badvers", |text| text.replacen("SIP/2.0", "SIP/7.0", 1)),
    ("mismatch01", |text| text.replacen("CSeq: 1 INVITE", "CSeq: 1 UPDATE", 1)),
    ("bigcode", |text| {
        text.replacen("SIP/2.0 200 ", "SIP/2.0 4294967496 ", 1).replacen("INVITE sip", "INVITE(tip) sip", 1)
    }),
    ("multi01", |text| text.replacen("CSeq:", "Call-ID: other\r\nCSeq:", 1)),
    ("insuf", |text| text.replacen("\r\nFrom:", "\r\nX-From:", 1)),
];

fn with_length(text: &str, length: &str) -> String {
    let (before, rest) = text.split_once("Content-Length: ").unwrap();
    format!("{before}Content-Length: {length}{}", &rest[rest.find('\r').unwrap()..])
}

#[test]
fn r42b_a_call_whose_invite_is_broken_is_none() {
    for (name, fault) in FAULTS {
        let (messages, offer, _) = call(dialog("broken-offer"));
        let mut lab = lab();
        for (i, (by_ann, text)) in messages.iter().enumerate() {
            let text = if i == offer { fault(text) } else { text.clone() };
            assert_eq!(send(&mut lab, *by_ann, text.as_bytes()).is_err(), i == offer, "{name}: {text}");
        }
        assert_eq!(lab.said(), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn r42b_a_call_whose_answer_is_broken_has_no_key() {
    for (name, fault) in FAULTS {
        let (messages, _, answer) = call(dialog("broken-answer"));
        let mut lab = lab();
        for (i, (by_ann, text)) in messages.iter().enumerate() {
            let broken = if i == answer { fault(text) } else { text.clone() };
            let taken = send(&mut lab, *by_ann, broken.as_bytes());
            // Of a response CSeq alone says what it answers: an answer to an UPDATE that nobody sent.
            assert_eq!(taken.is_err(), i == answer && name != "mismatch01", "{name}: {broken}");
        }
        let said = lab.said();
        assert!(said.iter().any(|line| line == "ann Dialing"), "{name}: {said:?}");
        assert!(!said.iter().any(|line| line.ends_with(" A") || line.ends_with(" B")), "{name}: {said:?}");
    }
}

/// RFC 5118, 4: the messages about IPv6 that differ in a URI, a Via or a session description.
#[test]
fn addresses_of_ipv6_are_read_as_rfc_5118_says() {
    let text = |uri: &str, via: &str, contact: &str, sdp: &str| {
        let length = sdp.len();
        format!(
            "INVITE {uri} SIP/2.0\r\nTo: sip:user@example.com\r\nFrom: sip:user@example.com;tag=81x2\r\n\
             Via: SIP/2.0/UDP {via};branch=z9hG4bKas3-111\r\nCall-ID: SSG9559905523997077@hlau_4100\r\nMax-Forwards: 70\r\n\
             Contact: \"Caller\" {contact}\r\nCSeq: 8612 INVITE\r\nContent-Type: application/sdp\r\n\
             Content-Length: {length}\r\n\r\n{sdp}"
        )
    };
    let sdp = "v=0\r\no=assistant 971731711378798081 0 IN IP6 2001:db8::20\r\ns=Live video feed\r\nc=IN IP6 2001:db8::20\r\n\
               t=3338481189 3370017201\r\nm=audio 6000 RTP/AVP 2\r\na=rtpmap:2 G726-32/8000\r\n\
               m=video 6024 RTP/AVP 107\r\nc=IN IP4 192.0.2.1\r\na=rtpmap:107 H263-1998/90000\r\n";
    let parse = |uri: &str, via: &str, contact: &str| {
        Message::parse(text(uri, via, contact, sdp).as_bytes(), &scan::Keys::default())
    };
    let (uri, via, contact) = ("sip:[2001:db8::10]", "[2001:db8::9:1]", "<sip:caller@[2001:db8::1]>");

    let read = parse(uri, via, contact).unwrap();
    let places: Vec<_> =
        read.sdp.unwrap().unwrap().lines.iter().map(|line| line.address.unwrap().to_string()).collect();
    assert_eq!(places, ["[2001:db8::20]:6000", "192.0.2.1:6024"], "4.7 and 4.8: each line by its own family");
    assert_eq!(read.contacts[0].at, Some((None, "2001:db8::1".parse().unwrap(), 5060)));

    // 4.2: no brackets; the Request-URI is used for nothing.
    assert!(parse("sip:2001:db8::10", via, contact).is_ok());
    // 4.3: the port is part of the address if it stands inside the brackets.
    let ambiguous = parse("sip:[2001:db8::10:5070]", via, "<sip:a@[2001:db8::10:5070]>").unwrap();
    assert_eq!(ambiguous.contacts[0].at, Some((None, "2001:db8::10:5070".parse().unwrap(), 5060)));
    let clear = parse("sip:[2001:db8::10]:5070", via, "<sip:a@[2001:db8::10]:5070>").unwrap();
    assert_eq!(clear.contacts[0].at, Some((None, "2001:db8::10".parse().unwrap(), 5070)));
    // 4.5: brackets around a received address, or none.
    for received in ["[2001:db8::9:255]", "2001:db8::9:255"] {
        assert_eq!(parse(uri, &format!("{via};received={received}"), contact).unwrap().branch, "z9hG4bKas3-111");
    }
    // 4.9: an IPv4-mapped address.
    let mapped = parse(uri, "[::ffff:192.0.2.10]:19823", "<sip:a@[::ffff:192.0.2.10]:19823>").unwrap();
    assert_eq!(mapped.contacts[0].at.unwrap().1.to_canonical(), "192.0.2.10".parse::<std::net::IpAddr>().unwrap());
    // 4.10: the three colons that an old grammar allowed; it is an address of nobody.
    assert_eq!(
        parse("sip:user@[2001:db8:::192.0.2.1]", via, "<sip:a@[2001:db8:::192.0.2.1]>").unwrap().contacts[0].at,
        None
    );
}
