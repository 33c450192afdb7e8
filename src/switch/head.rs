//! The head of a SIP message: its start line, and the header fields that somebody here reads.
//!
//! One pass, which copies nothing but folded values and what isn't UTF-8. It is strict about what is
//! used of a message, and passes over whatever it doesn't need, well-formed or not: others may have worked on it.

use std::borrow::Cow;

use memchr::memchr_iter;

/// Why a text is no SIP message that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SipError {
    /// It has no start line of SIP/2.0.
    #[error("not a SIP message")]
    Start,
    /// The head is longer than [`super::sip::MAX_HEAD_LEN`].
    #[error("a head of {0} bytes")]
    Head(usize),
    /// A header without which a message means nothing is missing or unreadable.
    #[error("{0} is missing or unreadable")]
    Header(&'static str),
    /// A header that may stand there once stands there twice: who may say which one counts?
    #[error("{0} comes more than once")]
    Repeated(&'static str),
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

/// A start line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start<'a> {
    /// A request, with its method as it is written.
    Request(&'a str),
    /// A response, with its status: 100 to 699.
    Response(u16),
}

/// The header fields that are read, without the blanks around them. Those that may not repeat do not.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) call_id: Option<Cow<'a, str>>,
    pub(super) contacts: Vec<Cow<'a, str>>,
    pub(super) content_dispositions: Vec<Cow<'a, str>>,
    pub(super) content_encoding: Option<Cow<'a, str>>,
    pub(super) content_length: Option<Cow<'a, str>>,
    pub(super) content_type: Option<Cow<'a, str>>,
    pub(super) cseq: Option<Cow<'a, str>>,
    pub(super) expires: Option<Cow<'a, str>>,
    pub(super) from: Option<Cow<'a, str>>,
    pub(super) record_routes: Vec<Cow<'a, str>>,
    pub(super) replaces: Option<Cow<'a, str>>,
    pub(super) require: Vec<Cow<'a, str>>,
    pub(super) supported: Vec<Cow<'a, str>>,
    pub(super) to: Option<Cow<'a, str>>,
    /// The topmost.
    pub(super) via: Option<Cow<'a, str>>,
}

/// Cuts the message at the first empty line, whatever its line ends are.
pub(super) fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let (mut start, mut begun) = (0, false);
    for feed in memchr_iter(b'\n', text) {
        let end = feed + 1;
        // A line of blanks is none: it continues the field before it, and who takes it for one reads another message.
        let empty = text.get(start..feed).unwrap_or_default().iter().all(|byte| *byte == b'\r');
        // Empty lines before the start line are allowed (RFC 3261, 7.5).
        if empty && begun {
            return (text.get(..start).unwrap_or_default(), text.get(end..).unwrap_or_default());
        }
        begun |= !empty;
        start = end;
    }
    (text, &[])
}

/// Reads a head.
///
/// # Errors
/// [`SipError`]: it has no start line of SIP/2.0, or a field twice that may stand there once (RFC 3261, 7.3.1).
pub(super) fn read(head: &str) -> Result<(Start<'_>, Fields<'_>), SipError> {
    let mut lines = Lines(head);
    let start = lines.find(|line| !line.trim_ascii().is_empty()).ok_or(SipError::Start)?;
    let start = start_line(start).ok_or(SipError::Start)?;

    let mut fields = Fields::default();
    let mut line = lines.next();
    while let Some(first) = line {
        line = lines.next();
        let Some((field, value)) = field(first) else { continue };
        let mut value = Cow::Borrowed(value.trim_ascii());
        // Continuation lines belong to the field (RFC 3261, 7.3.1).
        while let Some(more) = line.filter(|line| line.starts_with([' ', '\t'])) {
            let more = more.trim_ascii();
            if !more.is_empty() {
                let value = value.to_mut();
                value.push_str(if value.is_empty() { "" } else { " " });
                value.push_str(more);
            }
            line = lines.next();
        }
        fields.put(field, value)?;
    }
    Ok((start, fields))
}

/// Lines by LF, without the CRs before it.
struct Lines<'a>(&'a str);

impl<'a> Iterator for Lines<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let feed = memchr::memchr(b'\n', self.0.as_bytes());
        let (line, rest) =
            feed.and_then(|feed| Some((self.0.get(..feed)?, self.0.get(feed + 1..)?))).unwrap_or((self.0, ""));
        self.0 = rest;
        Some(line.trim_end_matches('\r'))
    }
}

/// The first word and, of a request, the last one count. Elements may be liberal about blanks and about what stands for
/// the Request-URI (RFC 4475, 3.1.2.7 to 3.1.2.11), and whoever got the message may work on it; the URI isn't used here.
fn start_line(line: &str) -> Option<Start<'_>> {
    let (first, rest) = line.trim_ascii_end().split_once(' ')?;
    let rest = rest.trim_ascii_start();
    if first.eq_ignore_ascii_case("SIP/2.0") {
        let code = rest.split_once(' ').map_or(rest, |(code, _)| code);
        let code = code.parse().ok().filter(|_| code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit()))?;
        return (100..700).contains(&code).then_some(Start::Response(code));
    }
    let (uri, version) = rest.rsplit_once(' ')?;
    let fits = is_token(first) && !uri.trim_ascii().is_empty() && version.eq_ignore_ascii_case("SIP/2.0");
    fits.then_some(Start::Request(first))
}

/// A token (RFC 3261, 25.1).
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte))
}

/// Which field a line is, if it is read.
fn field(line: &str) -> Option<(Field, &str)> {
    // A quick look: what most lines are.
    let first = line.bytes().next()?.to_ascii_lowercase();
    if !matches!(first, b'c'..=b'f' | b'i' | b'k'..=b'm' | b'r'..=b't' | b'v') {
        return None;
    }
    let colon = line.bytes().position(|byte| byte == b':')?;
    let (name, value) = (line.get(..colon)?, line.get(colon + 1..)?);
    Some((Field::of(name.trim_ascii_end())?, value))
}

#[derive(Clone, Copy)]
enum Field {
    CallId,
    Contact,
    ContentDisposition,
    ContentEncoding,
    ContentLength,
    ContentType,
    CSeq,
    Expires,
    From,
    RecordRoute,
    Replaces,
    Require,
    Supported,
    To,
    Via,
}

impl Field {
    /// By its name, or its compact form (RFC 3261, 20).
    fn of(name: &str) -> Option<Self> {
        let is = |known: &str, field| name.eq_ignore_ascii_case(known).then_some(field);
        match name.len() {
            1 => match name.as_bytes().first()?.to_ascii_lowercase() {
                b'c' => Some(Self::ContentType),
                b'e' => Some(Self::ContentEncoding),
                b'f' => Some(Self::From),
                b'i' => Some(Self::CallId),
                b'k' => Some(Self::Supported),
                b'l' => Some(Self::ContentLength),
                b'm' => Some(Self::Contact),
                b't' => Some(Self::To),
                b'v' => Some(Self::Via),
                _ => None,
            },
            2 => is("To", Self::To),
            3 => is("Via", Self::Via),
            4 => is("From", Self::From).or_else(|| is("CSeq", Self::CSeq)),
            7 => is("Call-ID", Self::CallId)
                .or_else(|| is("Contact", Self::Contact))
                .or_else(|| is("Expires", Self::Expires))
                .or_else(|| is("Require", Self::Require)),
            8 => is("Replaces", Self::Replaces),
            9 => is("Supported", Self::Supported),
            12 => is("Content-Type", Self::ContentType).or_else(|| is("Record-Route", Self::RecordRoute)),
            14 => is("Content-Length", Self::ContentLength),
            16 => is("Content-Encoding", Self::ContentEncoding),
            19 => is("Content-Disposition", Self::ContentDisposition),
            _ => None,
        }
    }
}

impl<'a> Fields<'a> {
    fn put(&mut self, field: Field, value: Cow<'a, str>) -> Result<(), SipError> {
        let (place, name) = match field {
            Field::Contact => return keep(&mut self.contacts, value),
            Field::ContentDisposition => return keep(&mut self.content_dispositions, value),
            Field::RecordRoute => return keep(&mut self.record_routes, value),
            Field::Require => return keep(&mut self.require, value),
            Field::Supported => return keep(&mut self.supported, value),
            Field::Via => {
                self.via.get_or_insert(value);
                return Ok(());
            }
            Field::CallId => (&mut self.call_id, "Call-ID"),
            Field::ContentEncoding => (&mut self.content_encoding, "Content-Encoding"),
            Field::ContentLength => (&mut self.content_length, "Content-Length"),
            Field::ContentType => (&mut self.content_type, "Content-Type"),
            Field::CSeq => (&mut self.cseq, "CSeq"),
            Field::Expires => (&mut self.expires, "Expires"),
            Field::From => (&mut self.from, "From"),
            Field::Replaces => (&mut self.replaces, "Replaces"),
            Field::To => (&mut self.to, "To"),
        };
        if place.replace(value).is_some() { Err(SipError::Repeated(name)) } else { Ok(()) }
    }
}

/// Takes one of those that may repeat.
#[expect(clippy::unnecessary_wraps, reason = "as its caller returns")]
fn keep<'a>(list: &mut Vec<Cow<'a, str>>, value: Cow<'a, str>) -> Result<(), SipError> {
    list.push(value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_the_first_empty_line() {
        assert_eq!(split(b"a\r\nb\r\n\r\nc\r\n\r\nd"), (&b"a\r\nb\r\n"[..], &b"c\r\n\r\nd"[..]));
        assert_eq!(split(b"\n\na\n\nb"), (&b"\n\na\n"[..], &b"b"[..]));
        assert_eq!(split(b"a\n"), (&b"a\n"[..], &b""[..]));
        assert_eq!(split(b"a"), (&b"a"[..], &b""[..]));
        assert_eq!(split(b"a\r\n \r\nb\r\n\r\nc"), (&b"a\r\n \r\nb\r\n"[..], &b"c"[..]));
    }

    #[test]
    fn start_lines_are_liberal_about_the_uri_and_blanks_only() {
        for (line, start) in [
            ("INVITE sip:a@b SIP/2.0", Start::Request("INVITE")),
            ("x%1 urn:service:sos sip/2.0", Start::Request("x%1")),
            ("INVITE sip:a?b@c SIP/2.0", Start::Request("INVITE")),
            ("INVITE sip:a@[2001:db8::1]:5070;x=y SIP/2.0", Start::Request("INVITE")),
            ("SIP/2.0 200 OK then", Start::Response(200)),
            ("SIP/2.0 100 ", Start::Response(100)),
            ("SIP/2.0 699", Start::Response(699)),
        ] {
            assert_eq!(start_line(line), Some(start), "{line}");
        }
        for line in [
            "INVITE  sip:a@b SIP/2.0",
            "INVITE sip:a@b  SIP/2.0",
            "INVITE sip:a@b SIP/2.0 ",
            "INVITE <sip:a@b> SIP/2.0",
            "INVITE sip:a@b; lr SIP/2.0",
            "INVITE sip:a@b?x=y SIP/2.0",
            "INVITE sip:2001:db8::1 SIP/2.0",
        ] {
            assert_eq!(start_line(line), Some(Start::Request("INVITE")), "{line}");
        }
        for line in [
            "INVITE SIP/2.0",
            "INVITE  SIP/2.0",
            "INVITE tip sip:a",
            "INVITE sip:a SIP/7.0",
            "IN(VITE sip:a SIP/2.0",
            "SIP/2.0 099 X",
            "SIP/2.0 700 X",
            "SIP/2.0 +20 X",
            "SIP/2.0 2000 X",
            "SIP/2.0",
            "",
        ] {
            assert_eq!(start_line(line), None, "{line}");
        }
    }

    #[test]
    fn fields_are_found_in_any_spelling_and_folding() {
        let (_, fields) = read(
            "\r\nACK sip:a@b SIP/2.0\r\ni : x\r\nnonsense\r\nfROM:\r\n\t<sip:a@b>\n  ;tag=1\r\nv: one\r\nVia: two\r\n\
             m: <sip:a>\r\nContact: <sip:b>\r\nX-To: y\r\n and on\r\nT:z",
        )
        .unwrap();
        assert_eq!((fields.call_id.as_deref(), fields.to.as_deref()), (Some("x"), Some("z")));
        assert_eq!(fields.from.as_deref(), Some("<sip:a@b> ;tag=1"));
        assert_eq!((fields.via.as_deref(), fields.contacts), (Some("one"), vec!["<sip:a>".into(), "<sip:b>".into()]));
    }

    #[test]
    fn r42b_what_may_stand_once_and_stands_twice_is_refused() {
        for name in ["Call-ID", "i", "CSeq", "From", "To", "Content-Length", "Content-Type", "Expires"] {
            let head = format!("ACK sip:a@b SIP/2.0\r\n{name}: 1\r\nX: y\r\n{name}: 1\r\n");
            assert!(matches!(read(&head), Err(SipError::Repeated(_))), "{name}");
        }
    }
}
