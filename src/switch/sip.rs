//! The syntax of a SIP message: what the tracker needs to know of it, in our own words.
//!
//! What is needed is read strictly: a message whose method, status, Via, tags, Call-ID, CSeq or Content-Length can't be
//! read in one way only, or stand there twice, is refused. Whatever isn't needed is passed over, well-formed or not: real
//! elements work on much that breaks the grammar, and a message that we alone refuse would hide a call.
//!
//! The text must have gone through [`super::scan::redact`] before. Nothing here panics on any input.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{
    head::{self, Fields, Start},
    scan::Keys,
    sdp::{Sdp, SdpError},
    syntax::{Host, Parameters, address_behind_name, host_port, list, lossy, name_address, parameter, parts, shown},
};
use crate::model::{Party, Transport};

pub use super::head::SipError;

/// The longest Call-ID or tag that is taken, in bytes.
pub const MAX_ID_LEN: usize = 256;
/// The longest head that is taken, in bytes.
pub const MAX_HEAD_LEN: usize = 32 * 1024;

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
    /// Whether it is a `*`, which stands for all contacts (RFC 3261, 10.2.2).
    pub all: bool,
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
        let (head, body) = head::split(text);
        if head.len() > MAX_HEAD_LEN {
            return Err(SipError::Head(head.len()));
        }
        let head = lossy(head);
        let (start, fields) = head::read(&head)?;

        let (cseq, cseq_method) = fields.cseq.as_deref().and_then(cseq).ok_or(SipError::Header("CSeq"))?;
        let (kind, method) = match start {
            Start::Request(method) if method != cseq_method => return Err(SipError::Header("CSeq")),
            Start::Request(method) => (Kind::Request, Method::of(method)),
            Start::Response(code) => (Kind::Response(code), Method::of(cseq_method)),
        };
        let call_id = fields.call_id.as_deref().filter(|id| !id.is_empty() && is_name(id));
        let call_id = call_id.ok_or(SipError::Header("Call-ID"))?;
        let from = End::parse(fields.from.as_deref(), "From")?;
        if from.tag.is_empty() {
            return Err(SipError::Header("From tag"));
        }
        let to = End::parse(fields.to.as_deref(), "To")?;
        let branch = fields.via.as_deref().and_then(via_branch).ok_or(SipError::Header("Via"))?;

        let (whole, contacts) = contacts(&fields.contacts);
        if !whole && method == Method::Register {
            return Err(SipError::Header("Contact"));
        }

        Ok(Self {
            kind,
            method,
            call_id: bounded(call_id, "Call-ID")?.to_owned(),
            from,
            to,
            cseq,
            branch: bounded(branch, "Via branch")?.to_owned(),
            contacts,
            record_routes: self::contacts(&fields.record_routes).1,
            expires: fields.expires.as_deref().and_then(|text| text.parse().ok()),
            replaces: fields.replaces.as_deref().and_then(Replaces::parse),
            knows_replaces: (if kind == Kind::Request { &fields.require } else { &fields.supported })
                .iter()
                .any(|options| has_replaces(options)),
            sdp: session_description(&fields, body)?.map(|sdp| Sdp::parse(sdp?, keys)),
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
    /// Methods are case-sensitive (RFC 3261, 7.1).
    fn of(name: &str) -> Self {
        match name {
            "ACK" => Self::Ack,
            "BYE" => Self::Bye,
            "CANCEL" => Self::Cancel,
            "INVITE" => Self::Invite,
            "PRACK" => Self::Prack,
            "REGISTER" => Self::Register,
            "UPDATE" => Self::Update,
            _ => Self::Other,
        }
    }
}

impl End {
    fn parse(value: Option<&str>, what: &'static str) -> Result<Self, SipError> {
        let liberal = |value| address_behind_name(value).map(|(uri, rest)| (Cow::Borrowed(""), uri, rest));
        let read = value.and_then(|value| name_address(value).or_else(|| liberal(value)));
        let (name, uri, parameters) = read.ok_or(SipError::Header(what))?;
        let mut tag = None;
        for parameter in Parameters::of(parameters) {
            let (key, value) = parameter.ok_or(SipError::Header(what))?;
            if key.eq_ignore_ascii_case("tag") && tag.replace(value.unwrap_or_default()).is_some() {
                return Err(SipError::Repeated(what));
            }
        }
        // A password may have both characters in it that end the URI.
        let uri = without_password(uri);
        let end = uri.find([';', '?']).unwrap_or(uri.len());
        let party =
            Party { uri: shown(uri.get(..end).unwrap_or_default(), MAX_ID_LEN), name: shown(&name, MAX_ID_LEN) };
        let tag = Some(tag.unwrap_or_default()).filter(|tag| is_name(tag)).ok_or(SipError::Header(what))?;
        Ok(Self { party, tag: bounded(tag, what)?.to_owned() })
    }
}

/// The number and the method of a CSeq.
fn cseq(value: &str) -> Option<(u32, &str)> {
    let (number, method) = value.split_once([' ', '\t'])?;
    let number = number.parse().ok().filter(|_| number.bytes().all(|byte| byte.is_ascii_digit()))?;
    let method = method.trim_ascii();
    head::is_token(method).then_some((number, method))
}

/// The branch of the topmost entry of a Via, or an empty text if it has none (RFC 2543). `None` if the entry is malformed,
/// or has two.
fn via_branch(value: &str) -> Option<&str> {
    let entry = list(value).next()?;
    let (way, parameters) = entry.split_once(';').map_or((entry, None), |(way, rest)| (way, Some(rest)));
    let (name, rest) = way.split_once('/')?;
    let (version, rest) = rest.split_once('/')?;
    let (transport, by) = rest.trim_ascii_start().split_once([' ', '\t'])?;
    if !name.trim_ascii().eq_ignore_ascii_case("SIP")
        || version.trim_ascii() != "2.0"
        || !head::is_token(transport)
        || by.trim_ascii().is_empty()
    {
        return None;
    }
    let mut branch = None;
    for parameter in parameters.into_iter().flat_map(Parameters::behind) {
        let (key, value) = parameter?;
        if key.eq_ignore_ascii_case("branch") && branch.replace(value.unwrap_or_default()).is_some() {
            return None;
        }
    }
    let branch = branch.unwrap_or_default();
    // The cookie alone is as good as none (RFC 4475, 3.2.1).
    Some(if branch.eq_ignore_ascii_case("z9hG4bK") { "" } else { branch })
}

/// The first entries, and whether all of them can be read.
fn contacts(values: &[Cow<'_, str>]) -> (bool, Vec<Contact>) {
    let (mut whole, mut contacts) = (true, Vec::new());
    for entry in values.iter().flat_map(|value| list(value)).take(16) {
        let contact = contact(entry);
        whole &= contact.is_some();
        contacts.extend(contact);
    }
    (whole, contacts)
}

/// The session description of a body: all of it, or the part of a multipart that is one.
///
/// # Errors
/// [`SipError`]: the length can't be read, or the body is cut. The inner error says why there is one that isn't read here.
fn session_description<'a>(
    fields: &Fields<'_>,
    body: &'a [u8],
) -> Result<Option<Result<&'a [u8], SdpError>>, SipError> {
    let body = match fields.content_length.as_deref() {
        None => body,
        Some(said) => {
            let digits = said.bytes().all(|byte| byte.is_ascii_digit());
            let said = said.parse().ok().filter(|_| digits).ok_or(SipError::Header("Content-Length"))?;
            // A cut description could lack its crypto lines, and make a secure stream look clear.
            body.get(..said).ok_or(SipError::Truncated { said, has: body.len() })?
        }
    };
    let kind = fields.content_type.as_deref().unwrap_or("application/sdp");
    let encoded = fields.content_encoding.as_deref().is_some_and(|kind| !kind.eq_ignore_ascii_case("identity"));
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    if is_kind(kind, "application/sdp") {
        let ambiguous = !fields.content_dispositions.iter().all(|disposition| is_kind(disposition, "session"));
        return Ok(Some(match () {
            () if encoded => Err(SdpError::Encoded),
            () if ambiguous => Err(SdpError::Ambiguous),
            () => Ok(body),
        }));
    }
    if !is_multipart(kind) {
        return Ok(None);
    }
    if encoded {
        return Ok(Some(Err(SdpError::Encoded)));
    }
    let Some(boundary) = parameter(kind, "boundary").filter(|boundary| !boundary.is_empty()) else { return Ok(None) };
    // Of several the last one may be meant (RFC 2046, 5.1.4), or the only one of the session (RFC 3959): nothing is
    // guessed.
    let mut found = parts(body, boundary.as_bytes()).into_iter().filter_map(description_of_part);
    Ok(found.next().map(|first| if found.next().is_some() { Err(SdpError::Ambiguous) } else { first }))
}

/// The session description that a part of a multipart is, or that may be in it.
fn description_of_part(part: &[u8]) -> Option<Result<&[u8], SdpError>> {
    let (head, content) = match part.trim_ascii_start() {
        // A part without headers begins with its empty line.
        trimmed if trimmed.starts_with(b"v=0") => (&[][..], trimmed),
        _ => head::split(part),
    };
    let head = String::from_utf8_lossy(head);
    // Folded fields are one line (RFC 5322, 2.2.3).
    let head = head.replace("\r\n", "\n").replace("\n ", " ").replace("\n\t", " ");
    let fields = |wanted: &'static str| {
        head.lines().filter_map(move |line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    let kind = fields("content-type").next().unwrap_or_default();
    if is_multipart(kind) {
        // A multipart in a multipart isn't looked into, but it isn't passed over either.
        const NAME: &[u8] = b"application/sdp";
        let named = content.windows(NAME.len()).any(|text| text.eq_ignore_ascii_case(NAME));
        return named.then_some(Err(SdpError::Ambiguous));
    }
    if !is_kind(kind, "application/sdp") {
        return None;
    }
    let plain = |value: &str| ["", "identity", "7bit", "8bit", "binary"].contains(&&*value.to_ascii_lowercase());
    let encoded = ["content-transfer-encoding", "content-encoding"].into_iter().flat_map(fields).any(|how| !plain(how));
    Some(match () {
        () if encoded => Err(SdpError::Encoded),
        () if !fields("content-disposition").all(|disposition| is_kind(disposition, "session")) => {
            Err(SdpError::Ambiguous)
        }
        () => Ok(content),
    })
}

/// Whether a value is this one, parameters apart.
fn is_kind(value: &str, name: &str) -> bool {
    value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(name))
}

fn is_multipart(kind: &str) -> bool {
    kind.get(..10).is_some_and(|begin| begin.eq_ignore_ascii_case("multipart/"))
}

/// A URI may carry a password (RFC 3261, 19.1.1): nobody needs to see it.
fn without_password(uri: &str) -> Cow<'_, str> {
    let Some((user, host)) = uri.rsplit_once('@') else { return uri.into() };
    let mut parts = user.splitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(scheme), Some(name), Some(_)) => format!("{scheme}:{name}@{host}").into(),
        _ => uri.into(),
    }
}

/// `None` if it is malformed.
fn contact(entry: &str) -> Option<Contact> {
    let (_, uri, parameters) = name_address(entry)?;
    if Parameters::of(parameters).any(|parameter| parameter.is_none()) {
        return None;
    }
    let expires = parameter(parameters, "expires").and_then(|text| text.parse().ok());
    Some(Contact { at: place(uri), expires, all: uri == "*" })
}

/// Where a SIP URI points to, if it says so by number (RFC 3261, 19.1.1).
fn place(uri: &str) -> Option<(Option<Transport>, IpAddr, u16)> {
    let (scheme, rest) = uri.split_once(':')?;
    let secure = scheme.eq_ignore_ascii_case("sips");
    if !secure && !scheme.eq_ignore_ascii_case("sip") {
        return None;
    }
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    let rest = rest.split_once('?').map_or(rest, |(rest, _)| rest);
    let (host, parameters) = rest.split_once(';').unwrap_or((rest, ""));
    let (host, port) = host_port(host)?;
    let ip = match host {
        Host::Bracketed(ip) => IpAddr::V6(ip.parse::<Ipv6Addr>().ok()?),
        Host::Plain(ip) => IpAddr::V4(ip.parse::<Ipv4Addr>().ok()?),
    };
    let port = port.unwrap_or(if secure { 5061 } else { 5060 });
    let transport = match parameter(parameters, "transport") {
        Some(name) if name.eq_ignore_ascii_case("udp") => Some(Transport::Udp),
        Some(_) => Some(Transport::Tcp),
        None => secure.then_some(Transport::Tcp),
    };
    Some((transport, ip, port))
}

/// Whether a text can name a dialog: no blanks, and nothing that was replaced because it wasn't UTF-8, since then two
/// names could become one.
fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn bounded<'a>(text: &'a str, what: &'static str) -> Result<&'a str, SipError> {
    if text.len() > MAX_ID_LEN { Err(SipError::TooLong { what, len: text.len() }) } else { Ok(text) }
}

#[cfg(test)]
mod tests;
