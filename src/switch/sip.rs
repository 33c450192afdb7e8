//! The syntax of a SIP message: what the tracker needs to know of it, in our own words.
//!
//! The start line and the headers are read by rsipstack, behind [`Message`]. Its parser (0.7.14) is lenient in places
//! and strict in others, so the head is made plain before it and judged after it:
//! - it stops reading headers at the first line that isn't UTF-8: the head is made UTF-8;
//! - it demands CRLF twice after the head: bare LF becomes CRLF;
//! - it fails on request URIs of schemes that it doesn't know; the URI tells us nothing, so a stand-in goes in;
//! - it takes a body of no Content-Length as empty, and a cut one as whole: the body is taken by ourselves;
//! - its address headers break at `<` in a quoted name: they are read by our own `name_address`.
//!
//! The text must have gone through [`super::scan::redact`] before. Nothing here panics on any input.

use std::net::IpAddr;

use rsipstack::sip::{HasHeaders, Header, SipMessage, parse_uri, uri::Host};

use super::{
    scan::Keys,
    sdp::{Sdp, SdpError},
    syntax::{is_shown, list, name_address, parameter, parts, shown, split},
};
use crate::model::{Party, Transport};

/// The longest Call-ID or tag that is taken, in bytes.
pub const MAX_ID_LEN: usize = 256;
/// The longest head that is taken, in bytes.
pub const MAX_HEAD_LEN: usize = 32 * 1024;

/// Why a text is no SIP message that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SipError {
    /// It has no start line of SIP/2.0, or its method is not known.
    #[error("not a SIP message of a known method")]
    Start,
    /// The head is longer than [`MAX_HEAD_LEN`].
    #[error("a head of {0} bytes")]
    Head(usize),
    /// A header without which a message means nothing is missing or unreadable.
    #[error("{0} is missing or unreadable")]
    Header(&'static str),
    /// A name in a header is too long.
    #[error("{what} has {len} bytes")]
    TooLong {
        /// Which header.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
    },
    /// The body ends before its Content-Length.
    #[error("the body has {has} bytes of {said}")]
    Truncated {
        /// What Content-Length says.
        said: usize,
        /// What is there.
        has: usize,
    },
}

/// The methods that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Method {
    Ack,
    Bye,
    Cancel,
    Invite,
    Prack,
    Register,
    Update,
    Other,
}

/// Whether a message asks or answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request of the method in [`Message::method`].
    Request,
    /// A response with this status, to a request of the method in [`Message::method`].
    Response(u16),
}

/// One end of a dialog as From or To shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// For display.
    pub party: Party,
    /// The tag; empty if there is none.
    pub tag: String,
}

/// An address that a Contact or a Record-Route names by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contact {
    /// Where it is, if an IP address and not a name says so. The transport is `None` if the URI doesn't say it.
    pub at: Option<(Option<Transport>, IpAddr, u16)>,
    /// In seconds, if the header says so.
    pub expires: Option<u32>,
}

/// The dialog that an INVITE is to replace (RFC 3891, 6.1), as the end that gets the INVITE knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replaces {
    /// Its Call-ID.
    pub call_id: String,
    /// The tag of the end that gets the INVITE.
    pub to_tag: String,
    /// The tag of the other end.
    pub from_tag: String,
}

/// The part of a SIP message that the tracker looks at.
#[derive(Debug, Clone)]
pub struct Message {
    /// Request or response.
    pub kind: Kind,
    /// The method: of the request, or the one that CSeq says a response answers.
    pub method: Method,
    /// The Call-ID.
    pub call_id: String,
    /// From.
    pub from: End,
    /// To.
    pub to: End,
    /// The number in CSeq.
    pub cseq: u32,
    /// The branch of the topmost Via; empty if there is none.
    pub branch: String,
    /// The contacts.
    pub contacts: Vec<Contact>,
    /// The proxies that stay in the dialog's way.
    pub record_routes: Vec<Contact>,
    /// Expires, in seconds.
    pub expires: Option<u32>,
    /// The dialog that it is to replace.
    pub replaces: Option<Replaces>,
    /// Whether its receiver must know `replaces`, or its sender does: Require of a request, Supported of a response.
    pub knows_replaces: bool,
    /// The session description, if the message has one.
    pub sdp: Option<Result<Sdp, SdpError>>,
}

impl Message {
    /// Reads a redacted message; `keys` are those that were cut out of it.
    ///
    /// # Errors
    /// [`SipError`]: it isn't SIP, or lacks what RFC 3261, 8.1.1 demands. An unreadable session description is no
    /// error of the message, and stands in [`Message::sdp`].
    pub fn parse(text: &[u8], keys: &Keys) -> Result<Self, SipError> {
        let (head, body) = split(text);
        if head.len() > MAX_HEAD_LEN {
            return Err(SipError::Head(head.len()));
        }
        let read = SipMessage::try_from(plain(head)?.as_str()).map_err(|_| SipError::Start)?;
        let headers = Headers(&read);

        let cseq = headers.first("CSeq").ok_or(SipError::Header("CSeq"))?;
        let (number, cseq_method) =
            cseq.split_once(|c: char| c.is_ascii_whitespace()).ok_or(SipError::Header("CSeq"))?;
        let cseq = number.parse().map_err(|_| SipError::Header("CSeq"))?;
        let (kind, method) = match &read {
            SipMessage::Request(request) => (Kind::Request, Method::of(&request.method.to_string())),
            SipMessage::Response(response) => {
                let code = response.status_code.code();
                if !(100..700).contains(&code) {
                    return Err(SipError::Start);
                }
                (Kind::Response(code), Method::of(cseq_method.trim()))
            }
        };
        if kind == Kind::Request && method != Method::of(cseq_method.trim()) {
            return Err(SipError::Header("CSeq"));
        }
        let call_id = headers.first("Call-ID").filter(|id| !id.is_empty() && id.chars().all(is_shown));
        let call_id = call_id.ok_or(SipError::Header("Call-ID"))?;
        let from = End::parse(headers.first("From").ok_or(SipError::Header("From"))?, "From")?;
        if from.tag.is_empty() {
            return Err(SipError::Header("From tag"));
        }
        let to = End::parse(headers.first("To").ok_or(SipError::Header("To"))?, "To")?;
        let branch =
            headers.first("Via").and_then(|via| parameter(via.split(',').next()?, "branch")).unwrap_or_default();

        Ok(Self {
            kind,
            method,
            call_id: bounded(call_id, "Call-ID")?.to_owned(),
            from,
            to,
            cseq,
            branch: bounded(branch, "Via branch")?.to_owned(),
            contacts: headers.contacts("Contact"),
            record_routes: headers.contacts("Record-Route"),
            expires: headers.first("Expires").and_then(|text| text.trim().parse().ok()),
            replaces: headers.first("Replaces").and_then(Replaces::parse),
            knows_replaces: headers.all(if kind == Kind::Request { "Require" } else { "Supported" }).any(has_replaces),
            sdp: session_description(&headers, body)?.map(|sdp| Sdp::parse(sdp, keys)),
        })
    }

    /// The status of a response.
    pub fn status(&self) -> Option<u16> {
        match self.kind {
            Kind::Request => None,
            Kind::Response(code) => Some(code),
        }
    }
}

impl Replaces {
    fn parse(value: &str) -> Option<Self> {
        let (call_id, parameters) = value.split_once(';')?;
        let part =
            |text: &str| bounded(text.trim(), "Replaces").ok().filter(|text| !text.is_empty()).map(str::to_owned);
        Some(Self {
            call_id: part(call_id)?,
            to_tag: part(parameter(parameters, "to-tag")?)?,
            from_tag: part(parameter(parameters, "from-tag")?)?,
        })
    }
}

fn has_replaces(options: &str) -> bool {
    options.split(',').any(|option| option.trim().eq_ignore_ascii_case("replaces"))
}

impl Method {
    fn of(name: &str) -> Self {
        [
            ("ACK", Self::Ack),
            ("BYE", Self::Bye),
            ("CANCEL", Self::Cancel),
            ("INVITE", Self::Invite),
            ("PRACK", Self::Prack),
            ("REGISTER", Self::Register),
            ("UPDATE", Self::Update),
        ]
        .into_iter()
        .find_map(|(known, method)| known.eq_ignore_ascii_case(name).then_some(method))
        .unwrap_or(Self::Other)
    }
}

impl End {
    fn parse(value: &str, what: &'static str) -> Result<Self, SipError> {
        let (name, uri, parameters) = name_address(value).ok_or(SipError::Header(what))?;
        let tag = parameter(parameters, "tag").unwrap_or_default();
        // A password may have both characters in it that end the URI.
        let uri = without_password(uri);
        let uri = uri.split([';', '?']).next().unwrap_or_default();
        let party = Party { uri: shown(uri, MAX_ID_LEN), name: shown(&name, MAX_ID_LEN) };
        Ok(Self { party, tag: bounded(tag, what)?.to_owned() })
    }
}

struct Headers<'a>(&'a SipMessage);

impl<'a> Headers<'a> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a str> {
        self.0.headers().iter().filter(move |header| header.name() == name).map(Header::value)
    }

    /// The first header of this name: a second one of a header that must not repeat is ignored.
    fn first(&self, name: &'static str) -> Option<&'a str> {
        self.all(name).next().map(str::trim)
    }

    fn contacts(&self, name: &'static str) -> Vec<Contact> {
        self.all(name).flat_map(list).filter_map(|entry| contact(&entry)).take(16).collect()
    }
}

/// The head as rsipstack reads it safely: UTF-8, CRLF, no empty line, a request URI that means nothing.
fn plain(head: &[u8]) -> Result<String, SipError> {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines().map(|line| line.trim_end_matches('\r')).skip_while(|line| line.trim().is_empty());
    let start = lines.next().unwrap_or_default();
    let mut words = start.split_ascii_whitespace();
    let mut plain = match (words.next(), words.next_back()) {
        (Some("SIP/2.0"), _) => start.to_owned(),
        (Some(method), Some("SIP/2.0")) => format!("{method} sip:stand-in.invalid SIP/2.0"),
        _ => return Err(SipError::Start),
    };
    for line in lines {
        plain.push_str("\r\n");
        plain.push_str(line);
    }
    plain.push_str("\r\n\r\n");
    Ok(plain)
}

/// The session description of a body: all of it, or the part of a multipart that is one.
fn session_description<'a>(headers: &Headers<'_>, body: &'a [u8]) -> Result<Option<&'a [u8]>, SipError> {
    let body = match headers.first("Content-Length").map(str::parse::<usize>) {
        // A cut description could lack its crypto lines, and make a secure stream look clear.
        Some(Ok(said)) => body.get(..said).ok_or(SipError::Truncated { said, has: body.len() })?,
        _ => body,
    };
    let kind = headers.first("Content-Type").unwrap_or("application/sdp");
    let encoded = headers.first("Content-Encoding").is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity"));
    if body.trim_ascii().is_empty() || encoded {
        return Ok(None);
    }
    let is = |kind: &str, name: &str| kind.split(';').next().is_some_and(|k| k.trim().eq_ignore_ascii_case(name));
    if is(kind, "application/sdp") {
        return Ok(Some(body));
    }
    if !kind.get(..10).is_some_and(|begin| begin.eq_ignore_ascii_case("multipart/")) {
        return Ok(None);
    }
    let Some(boundary) = parameter(kind, "boundary").filter(|boundary| !boundary.is_empty()) else { return Ok(None) };
    Ok(parts(body, boundary.as_bytes()).into_iter().find_map(|part| {
        let (head, content) = match part.trim_ascii_start() {
            // A part without headers begins with its empty line.
            trimmed if trimmed.starts_with(b"v=0") => (&[][..], trimmed),
            _ => split(part),
        };
        let head = String::from_utf8_lossy(head);
        let kind = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("content-type").then(|| value.trim())
        });
        is(kind.unwrap_or_default(), "application/sdp").then_some(content)
    }))
}

/// A URI may carry a password (RFC 3261, 19.1.1): nobody needs to see it.
fn without_password(uri: &str) -> String {
    let Some((user, host)) = uri.rsplit_once('@') else { return uri.to_owned() };
    let mut parts = user.splitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(scheme), Some(name), Some(_)) => format!("{scheme}:{name}@{host}"),
        _ => uri.to_owned(),
    }
}

fn contact(entry: &str) -> Option<Contact> {
    let (_, uri, parameters) = name_address(entry)?;
    let expires = parameter(parameters, "expires").and_then(|text| text.parse().ok());
    let at = parse_uri(uri).ok().and_then(|read| {
        let Host::IpAddr(ip) = read.host_with_port.host else { return None };
        let secure = uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sips:"));
        let transport = match parameter(uri, "transport") {
            Some(name) if name.eq_ignore_ascii_case("udp") => Some(Transport::Udp),
            Some(_) => Some(Transport::Tcp),
            None if secure => Some(Transport::Tcp),
            None => None,
        };
        let port = read.host_with_port.port.map_or(if secure { 5061 } else { 5060 }, u16::from);
        Some((transport, ip, port))
    });
    Some(Contact { at, expires })
}

fn bounded<'a>(text: &'a str, what: &'static str) -> Result<&'a str, SipError> {
    if text.len() > MAX_ID_LEN { Err(SipError::TooLong { what, len: text.len() }) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(message.contacts, [Contact { at: Some((Some(Transport::Tcp), ip, 5062)), expires: Some(60) }]);
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
        let text =
            HEAD.replace("sip:1002@192.0.2.2 SIP", "urn:service:sos SIP").replace("Call-ID", "X: \u{1}\r\nCall-ID");
        let mut bytes = format!("\r\n\r\n{text}\r\n").into_bytes();
        let odd = bytes.iter().position(|byte| *byte == 1).unwrap();
        bytes[odd] = 0xff;
        assert_eq!(Message::parse(&bytes, &Keys::default()).unwrap().call_id, "abc");
    }

    #[test]
    fn r42b_what_lacks_a_needed_header_is_refused() {
        for (header, error) in [
            ("Call-ID: abc\r\n", SipError::Header("Call-ID")),
            ("CSeq: 7 INVITE\r\n", SipError::Header("CSeq")),
            ("To: <sip:1002@example.com>\r\n", SipError::Header("To")),
            (";tag=f1", SipError::Header("From tag")),
        ] {
            assert_eq!(parse(&HEAD.replace(header, "")).err(), Some(error));
        }
        assert_eq!(parse(&HEAD.replace("7 INVITE", "7 BYE")).err(), Some(SipError::Header("CSeq")));
        assert_eq!(parse(&HEAD.replace("7 INVITE", "99999999999 INVITE")).err(), Some(SipError::Header("CSeq")));
        assert_eq!(parse("OPTIONS").err(), Some(SipError::Start));
        assert_eq!(parse("").err(), Some(SipError::Start));
        let long = HEAD.replace("abc", &"a".repeat(257));
        assert_eq!(parse(&long).err(), Some(SipError::TooLong { what: "Call-ID", len: 257 }));
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
}
