//! Messages, well-formed and not.

use super::*;

fn parse(text: &str) -> Result<Message, SipError> {
    Message::parse(text.as_bytes(), &Keys::default())
}

const HEAD: &str = "INVITE sip:1002@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa;rport\r\n\
    From: \"A \\\"<b>\\\" c\" <sip:1001@example.com;user=phone>;tag=f1\r\nTo: <sip:1002@example.com>\r\n\
    Call-ID: abc\r\nCSeq: 7 INVITE\r\nContact: <sip:1001@192.0.2.1:5062;transport=tls>;expires=60\r\n";

#[test]
fn a_request_is_read() {
    let message = parse(&format!("{HEAD}\r\n")).unwrap();
    assert_eq!((message.kind, message.method, message.cseq), (Kind::Request, Method::Invite, 7));
    assert_eq!(message.from.party.uri, "sip:1001@example.com");
    assert_eq!(message.from.party.name, "A \"<b>\" c");
    assert_eq!((message.from.tag.as_str(), message.to.tag.as_str()), ("f1", ""));
    assert_eq!(message.branch, "z9hG4bKa");
    let ip = "192.0.2.1".parse().unwrap();
    assert_eq!(
        message.contacts,
        [Contact { at: Some((Some(Transport::Tcp), ip, 5062)), expires: Some(60), all: false }]
    );
    assert!(message.sdp.is_none());
    assert_eq!((message.replaces, message.knows_replaces), (None, false));
}

#[test]
fn replaces_is_read_and_who_knows_it() {
    for (headers, knows) in [
        ("Replaces: x@y;from-tag=f;to-tag=t;early-only\r\nRequire: 100rel, Replaces\r\n", true),
        ("replaces: x@y ; to-tag=t ; from-tag=f\r\nk: replaces\r\n", false),
    ] {
        let message = parse(&format!("{HEAD}{headers}\r\n")).unwrap();
        let replaces = message.replaces.unwrap();
        assert_eq!([&*replaces.call_id, &*replaces.to_tag, &*replaces.from_tag], ["x@y", "t", "f"]);
        assert_eq!(message.knows_replaces, knows);
    }
    assert_eq!(parse(&format!("{HEAD}Replaces: x@y;to-tag=t\r\n\r\n")).unwrap().replaces, None);
}

#[test]
fn r20_a_password_in_a_uri_is_not_shown() {
    let text = HEAD.replace("sip:1001@example.com", "sip:1001:hush@example.com");
    assert_eq!(parse(&text).unwrap().from.party.uri, "sip:1001@example.com");
    for password in ["hu;sh", "hu?sh", "h;u@s?h"] {
        let text = HEAD.replace("sip:1001@example.com", &format!("sip:1001:{password}@example.com"));
        assert_eq!(parse(&text).unwrap().from.party.uri, "sip:1001@example.com", "{password}");
    }
}

#[test]
fn what_can_t_be_shown_is_no_part_of_a_name() {
    let text = HEAD.replace("\"A ", "\"\u{1b}[31m\u{202e}A ");
    assert_eq!(parse(&text).unwrap().from.party.name, "[31mA \"<b>\" c");
    for id in ["a\u{1b}[31mc", "a\u{202e}c"] {
        assert_eq!(parse(&HEAD.replace("abc", id)).err(), Some(SipError::Header("Call-ID")));
    }
}

#[test]
fn compact_folded_and_bare_lf_heads_are_read() {
    let text = "SIP/2.0 180 Ringing\nv: SIP/2.0/UDP 192.0.2.1\n ;branch=z9hG4bKb\nf: sip:1001@example.com\n\t;tag=f1\n\
        t : <sip:1002@example.com>;tag=t1\ni:abc\nCSEQ: 7\tINVITE\nm: <sip:[2001:db8::1]:5070>, \"x,y\" <sip:host.example>\n\n";
    let message = parse(text).unwrap();
    assert_eq!(message.status(), Some(180));
    assert_eq!((message.from.tag.as_str(), message.to.tag.as_str()), ("f1", "t1"));
    assert_eq!(message.branch, "z9hG4bKb");
    assert_eq!(message.contacts.len(), 2);
    assert_eq!(message.contacts[0].at, Some((None, "2001:db8::1".parse().unwrap(), 5070)));
    assert_eq!(message.contacts[1].at, None);
}

#[test]
fn odd_uris_and_bytes_outside_utf8_don_t_hide_a_message() {
    let text = HEAD.replace("sip:1002@192.0.2.2 SIP", "urn:service:sos SIP").replace("Call-ID", "X: \u{1}\r\nCall-ID");
    let mut bytes = format!("\r\n\r\n{text}\r\n").into_bytes();
    let odd = bytes.iter().position(|byte| *byte == 1).unwrap();
    bytes[odd] = 0xff;
    assert_eq!(Message::parse(&bytes, &Keys::default()).unwrap().call_id, "abc");
}

#[test]
fn r42b_what_lacks_a_needed_header_is_refused() {
    for (header, error) in [
        ("Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa;rport\r\n", SipError::Header("Via")),
        ("Call-ID: abc\r\n", SipError::Header("Call-ID")),
        ("CSeq: 7 INVITE\r\n", SipError::Header("CSeq")),
        ("To: <sip:1002@example.com>\r\n", SipError::Header("To")),
        (";tag=f1", SipError::Header("From tag")),
    ] {
        assert_eq!(parse(&HEAD.replace(header, "")).err(), Some(error));
    }
    assert_eq!(parse(&HEAD.replace("7 INVITE", "7 BYE")).err(), Some(SipError::Header("CSeq")));
    assert_eq!(parse(&HEAD.replace("7 INVITE", "99999999999 INVITE")).err(), Some(SipError::Header("CSeq")));
    assert_eq!(parse(&HEAD.replace("7 INVITE", "+7 INVITE")).err(), Some(SipError::Header("CSeq")));
    assert_eq!(parse(&HEAD.replace("tag=f1", "tag=f1;TAG=f2")).err(), Some(SipError::Repeated("From")));
    assert_eq!(parse(&HEAD.replace(";branch", ";;branch")).err(), Some(SipError::Header("Via")));
    assert_eq!(parse(&HEAD.replace(";rport", ";Branch=z9hG4bKb")).err(), Some(SipError::Header("Via")));
    assert_eq!(parse(&format!("{HEAD}i: abc\r\n")).err(), Some(SipError::Repeated("Call-ID")));
    assert_eq!(parse("OPTIONS").err(), Some(SipError::Start));
    assert_eq!(parse("").err(), Some(SipError::Start));
    let long = HEAD.replace("abc", &"a".repeat(257));
    assert_eq!(parse(&long).err(), Some(SipError::TooLong { what: "Call-ID", len: 257 }));
}

#[test]
fn where_a_contact_is_says_its_uri_and_nothing_else() {
    for (uri, at) in [
        ("sip:192.0.2.1", Some("None 192.0.2.1 5060")),
        ("SIPS:a;b?c@192.0.2.1", Some("Some(Tcp) 192.0.2.1 5061")),
        ("sip:a:1@[2001:db8::1];x=y;Transport=UDP?h=i", Some("Some(Udp) 2001:db8::1 5060")),
        ("sip:a@192.0.2.1:5070;transport=ws", Some("Some(Tcp) 192.0.2.1 5070")),
        ("sip:a@192.0.2.1:", None),
        ("sip:a@192.0.2.1:65536", None),
        ("sip:a@[192.0.2.1]", None),
        ("sip:a@2001:db8::1", None),
        ("sip:a@[2001:db8::1]5060", None),
        ("sip:192.0.2.1@host", None),
        ("tel:192.0.2.1", None),
        ("192.0.2.1", None),
    ] {
        let read = place(uri).map(|(transport, ip, port)| format!("{transport:?} {ip} {port}"));
        assert_eq!(read.as_deref(), at, "{uri}");
    }
}

#[test]
fn r42b_a_length_that_is_no_number_is_refused() {
    for length in ["-1", "+5", "5 5", "x", "", "99999999999999999999999"] {
        let text = format!("{HEAD}Content-Length: {length}\r\n\r\nv=0\r\n");
        assert_eq!(parse(&text).err(), Some(SipError::Header("Content-Length")), "{length}");
    }
}

#[test]
fn r42b_a_line_of_blanks_ends_no_head() {
    let text = format!("{HEAD}Content-Length: 5\r\n \r\nv=0\r\n\r\n");
    assert_eq!(parse(&text).err(), Some(SipError::Truncated { said: 5, has: 0 }));
}

#[test]
fn r42b_a_cut_body_is_refused() {
    let text = format!("{HEAD}Content-Type: application/sdp\r\nContent-Length: 9\r\n\r\nv=0\r\n");
    assert_eq!(parse(&text).err(), Some(SipError::Truncated { said: 9, has: 5 }));
}

#[test]
fn the_description_in_a_multipart_is_found() {
    let sdp = "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n";
    let text = format!(
        "{HEAD}Content-Type: Multipart/Mixed;boundary=\"xyz\"\r\n\r\npreamble\r\n--xyz\r\nContent-Type: text/plain\r\n\r\n\
         v=0\r\n--xyz\r\ncontent-type: application/sdp;x=y\r\nContent-ID: <a>\r\n\r\n{sdp}\r\n--xyz--\r\n"
    );
    assert_eq!(parse(&text).unwrap().sdp.unwrap().unwrap().lines.len(), 1);
    let other = format!("{HEAD}Content-Type: text/plain\r\n\r\n{sdp}");
    assert!(parse(&other).unwrap().sdp.is_none());
}

#[test]
fn r42b_of_several_descriptions_none_is_taken() {
    let sdp = "v=0\r\nc=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n";
    let part = |headers: &str| format!("--xyz\r\n{headers}\r\n\r\n{sdp}");
    let of = |kind: &str, parts: &[String]| {
        let text = format!("{HEAD}Content-Type: multipart/{kind};boundary=xyz\r\n\r\n{}--xyz--\r\n", parts.concat());
        parse(&text).unwrap().sdp
    };
    let plain = part("Content-Type: application/sdp");
    let session = part("Content-Type: application/sdp\r\nContent-Disposition: Session;handling=required");
    let early = part("Content-Type: application/sdp\r\ncontent-disposition:\r\n early-session");
    let text = part("Content-Type: text/plain");
    let inner =
        format!("--xyz\r\nContent-Type: multipart/alternative;boundary=abc\r\n\r\n{}", plain.replace("xyz", "abc"));
    for parts in [vec![plain.clone()], vec![text.clone(), session.clone(), text.clone()]] {
        assert_eq!(of("mixed", &parts).unwrap().unwrap().lines.len(), 1);
    }
    // The last one may be meant (RFC 2046, 5.1.4), or the one of the session (RFC 3959).
    for parts in [vec![plain.clone(), plain.clone()], vec![early.clone(), session], vec![early], vec![inner, plain]] {
        assert_eq!(of("alternative", &parts).unwrap().err(), Some(SdpError::Ambiguous));
    }
    assert!(of("mixed", &[text]).is_none());
    for (disposition, read) in [("session ; handling=optional", true), ("early-session", false), ("render", false)] {
        let text = format!("{HEAD}Content-Disposition: {disposition}\r\nContent-Type: application/sdp\r\n\r\n{sdp}");
        assert_eq!(parse(&text).unwrap().sdp.unwrap().is_ok(), read, "{disposition}");
    }
}
