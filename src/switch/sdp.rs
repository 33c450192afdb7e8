//! The syntax of a session description: media lines, addresses, directions, payload formats, crypto lines.
//!
//! Only `m=`, `c=` and `a=` lines are read, and a description is refused only for a fault in what is read of them: much
//! that is out there breaks RFC 8866 in lines that tell us nothing. Crypto lines are read by [`super::sdes`].

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use super::{
    scan::Keys,
    sdes::{CryptoLine, Material},
    syntax::{lossy, shown},
};
use crate::model::Codec;

/// More media lines than this are not read: the description counts as unreadable.
pub const MAX_LINES: usize = 32;
/// Media lines after these keep their place, but count as no RTP: no more streams are told of (R41a).
pub const MAX_RTP: usize = 8;
/// More payload formats, or crypto lines, of one media line are ignored.
pub const MAX_PER_LINE: usize = 32;

/// Why a session description can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SdpError {
    /// There are several, or it is said to be of something else than the session.
    #[error("the message doesn't say which session description counts")]
    Ambiguous,
    /// It is compressed, or encoded for transfer.
    #[error("the session description is encoded")]
    Encoded,
    /// It breaks the syntax of RFC 8866.
    #[error("the session description is malformed")]
    Syntax,
    /// It has more media lines than [`MAX_LINES`].
    #[error("{0} media lines")]
    TooMany(usize),
}

/// A session description.
#[derive(Debug, Clone)]
pub struct Sdp {
    /// The media lines, in their order: their index ties an answer's line to its offer's (RFC 3264, 6).
    pub lines: Vec<MediaLine>,
}

/// One media line.
#[derive(Debug, Clone)]
pub struct MediaLine {
    /// "audio", "video" ...
    pub media: Arc<str>,
    /// Where its owner receives. `None` if the line is rejected (port 0), or names its host by a name.
    pub address: Option<SocketAddr>,
    /// Whether the line is rejected or ended (port 0).
    pub rejected: bool,
    /// How it is carried.
    pub transport: MediaTransport,
    /// Whether its owner is ready for DTLS on it (RFC 5763, 5): it has a fingerprint, or the description has one.
    pub fingerprint: bool,
    /// What its owner is willing to do.
    pub direction: Direction,
    /// The payload formats, in order of preference.
    pub codecs: Arc<[Codec]>,
    /// The crypto lines (RFC 4568).
    pub crypto: Vec<CryptoLine>,
}

/// How the media of a line are carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaTransport {
    /// RTP inside TLS, or keyed by DTLS: never clear, and no crypto line is a key of it.
    Dtls,
    /// Not RTP at all.
    Other,
    /// RTP/AVP and RTP/AVPF: secure only if offer and answer have crypto lines (RFC 8643), or fingerprints.
    Plain,
    /// RTP/SAVP and RTP/SAVPF, by whatever they are keyed: never clear.
    Secure,
}

/// What an end is willing to do on a line (RFC 8866, 6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Direction {
    /// It sends.
    pub send: bool,
    /// It receives.
    pub receive: bool,
}

impl Sdp {
    /// Reads a redacted description; `keys` are those that were cut out of the message.
    ///
    /// # Errors
    /// [`SdpError`]: it is malformed where it matters.
    pub fn parse(text: &[u8], keys: &Keys) -> Result<Self, SdpError> {
        let text = lossy(text);
        let Sections { session, medias, stray } = Sections::read(&text)?;
        if medias.len() > MAX_LINES {
            return Err(SdpError::TooMany(medias.len()));
        }
        let direction = direction(&session.attributes).unwrap_or(Direction::BOTH);
        let fingerprint = has(&session.attributes, "fingerprint");
        // A key that no media line has taken protects something, but what? (R42b)
        let crypto = medias.iter().flat_map(|(_, section)| values(&section.attributes, "crypto"));
        let stray = stray || keys.any_besides(crypto);
        let line = |(i, (media, section)): (usize, &(Media<'_>, Section<'_>))| {
            let ip = section.connection.or(session.connection).unwrap_or_default();
            let transport = match MediaTransport::of(media.proto) {
                _ if i >= MAX_RTP => MediaTransport::Other,
                MediaTransport::Plain if stray => MediaTransport::Secure,
                transport => transport,
            };
            let kept = if i < MAX_RTP { MAX_PER_LINE } else { 0 };
            MediaLine {
                media: shown(media.media, 32).into(),
                address: ip.filter(|_| media.port != 0).map(|ip| SocketAddr::new(ip.to_canonical(), media.port)),
                rejected: media.port == 0,
                transport,
                fingerprint: fingerprint || has(&section.attributes, "fingerprint"),
                direction: self::direction(&section.attributes).unwrap_or(direction),
                codecs: codecs(media.formats, &section.attributes, kept),
                crypto: values(&section.attributes, "crypto")
                    .take(kept)
                    .map(|value| CryptoLine::parse(value, keys))
                    .collect(),
            }
        };
        Ok(Self { lines: medias.iter().enumerate().map(line).collect() })
    }
}

impl Sdp {
    /// About how many bytes of memory it takes.
    pub fn weight(&self) -> usize {
        // What a crypto line keeps is its key, if it has one.
        let crypto = |line: &CryptoLine| if matches!(line.material, Material::Known(_)) { 256 } else { 32 };
        let line = |line: &MediaLine| 128 + 64 * line.codecs.len() + line.crypto.iter().map(crypto).sum::<usize>();
        self.lines.iter().map(line).sum()
    }
}

impl MediaLine {
    /// Whether its owner put the other end on hold by this line: it won't receive (RFC 3264, 8.4), or says so by an
    /// address of zeros (RFC 2543).
    pub fn holds(&self) -> bool {
        !self.direction.receive || self.address.is_some_and(|address| address.ip().is_unspecified())
    }

    /// The crypto line that an answer accepts: its only one.
    pub fn accepted(&self) -> Option<&CryptoLine> {
        match self.crypto.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }

    /// The crypto line with this tag, if exactly one has it.
    pub fn tagged(&self, tag: u32) -> Option<&CryptoLine> {
        let mut found = self.crypto.iter().filter(|line| line.tag == Some(tag));
        found.next().filter(|_| found.next().is_none())
    }
}

impl MediaTransport {
    fn of(proto: &str) -> Self {
        let profile = proto.rsplit('/').next().unwrap_or_default();
        let is = |names: [&str; 2]| names.iter().any(|name| profile.eq_ignore_ascii_case(name));
        let has = |name: &str| proto.split('/').any(|part| part.eq_ignore_ascii_case(name));
        match () {
            () if !has("RTP") || !is(["AVP", "AVPF"]) && !is(["SAVP", "SAVPF"]) => Self::Other,
            () if has("TLS") || has("DTLS") => Self::Dtls,
            () if is(["SAVP", "SAVPF"]) => Self::Secure,
            () => Self::Plain,
        }
    }
}

impl Direction {
    /// `sendrecv`, which is the default.
    pub const BOTH: Self = Self { send: true, receive: true };
}

/// What is read of a description, cut into its sections.
#[derive(Default)]
struct Sections<'a> {
    session: Section<'a>,
    medias: Vec<(Media<'a>, Section<'a>)>,
    /// Whether there is a crypto line that isn't read: of no media line, or misspelt.
    stray: bool,
}

/// The lines that belong together.
#[derive(Default)]
struct Section<'a> {
    /// The first connection line counts. The inner `None` is a host that is named by a name.
    connection: Option<Option<IpAddr>>,
    /// Names and values.
    attributes: Vec<(&'a str, &'a str)>,
}

/// An `m=` line.
struct Media<'a> {
    media: &'a str,
    port: u16,
    proto: &'a str,
    formats: &'a str,
}

impl<'a> Sections<'a> {
    fn read(text: &'a str) -> Result<Self, SdpError> {
        let mut sections = Self::default();
        for line in text.split('\n').map(str::trim_ascii_end) {
            if is_crypto(line) && (sections.medias.is_empty() || !line.starts_with("a=")) {
                sections.stray = true;
            }
            let Some((key, value)) = line.split_at_checked(2) else { continue };
            let value = value.trim_ascii();
            let section = sections.medias.last_mut().map_or(&mut sections.session, |(_, section)| section);
            match key {
                "m=" => sections.medias.push((Media::parse(value).ok_or(SdpError::Syntax)?, Section::default())),
                // What can't be read of an address is an address that isn't known; the rest of the line holds.
                "c=" if section.connection.is_none() => {
                    section.connection = Some(connection(value).unwrap_or_default());
                }
                "a=" => {
                    let (name, value) = value.split_once(':').unwrap_or((value, ""));
                    section.attributes.push((name.trim_ascii(), value));
                }
                _ => {}
            }
        }
        Ok(sections)
    }
}

impl<'a> Media<'a> {
    /// Reads `<media> <port>[/<number>] <proto> <formats>` (RFC 8866, 5.14).
    fn parse(value: &'a str) -> Option<Self> {
        let word = |text: &'a str| text.split_once(|c: char| c.is_ascii_whitespace());
        let (media, rest) = word(value)?;
        let (port, rest) = word(rest.trim_ascii_start())?;
        let rest = rest.trim_ascii_start();
        let (proto, formats) = word(rest).unwrap_or((rest, ""));
        let (port, number) = port.split_once('/').unwrap_or((port, "1"));
        number.parse::<u16>().ok()?;
        // A line that is rejected is often left without its formats.
        if proto.is_empty() {
            return None;
        }
        Some(Self { media, port: port.parse().ok()?, proto, formats })
    }
}

/// Reads `<nettype> <addrtype> <address>[/<ttl>[/<number>]]` (RFC 8866, 5.7).
fn connection(value: &str) -> Option<Option<IpAddr>> {
    let mut words = value.split_ascii_whitespace();
    let (_, kind, address) = (words.next()?, words.next()?, words.next()?);
    if words.next().is_some() {
        return None;
    }
    let address = address.split_once('/').map_or(address, |(address, _)| address);
    Some(match () {
        () if kind.eq_ignore_ascii_case("IP4") => address.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        () if kind.eq_ignore_ascii_case("IP6") => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        () => None,
    })
}

/// Whether a line means to be a crypto line, however it is spelt.
fn is_crypto(line: &str) -> bool {
    let mut letters = line.chars().filter(|c| !c.is_whitespace() && !c.is_control()).map(|c| c.to_ascii_lowercase());
    "a=crypto:".chars().all(|c| letters.next() == Some(c))
}

fn values<'a>(attributes: &[(&'a str, &'a str)], name: &'static str) -> impl Iterator<Item = &'a str> {
    attributes.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
}

fn has(attributes: &[(&str, &str)], name: &'static str) -> bool {
    values(attributes, name).next().is_some()
}

fn direction(attributes: &[(&str, &str)]) -> Option<Direction> {
    attributes.iter().find_map(|(name, _)| {
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let (send, receive) = match () {
            () if is("sendrecv") => (true, true),
            () if is("sendonly") => (true, false),
            () if is("recvonly") => (false, true),
            () if is("inactive") => (false, false),
            () => return None,
        };
        Some(Direction { send, receive })
    })
}

/// Payload formats of a media line, named by `a=rtpmap` or by RFC 3551, 6.
fn codecs(formats: &str, attributes: &[(&str, &str)], max: usize) -> Arc<[Codec]> {
    let named: Vec<_> = values(attributes, "rtpmap").filter_map(rtpmap).collect();
    let formats = formats.split_ascii_whitespace().filter_map(|format| format.parse::<u8>().ok());
    let codec = |payload_type| {
        let named = named.iter().find(|(number, ..)| *number == payload_type);
        let (_, name, clock_rate) = named.or_else(|| STATIC.iter().find(|(number, ..)| *number == payload_type))?;
        Some(Codec { payload_type, name: shown(name, 64), clock_rate: *clock_rate })
    };
    let mut once = 0u128;
    let first = |format: &u8| {
        let bit = 1u128.checked_shl(u32::from(*format)).filter(|bit| once & bit == 0);
        once |= bit.unwrap_or_default();
        bit.is_some()
    };
    formats.filter(first).take(max).filter_map(codec).collect()
}

/// Reads `<format> <name>/<clock rate>[/<parameters>]` (RFC 8866, 6.6).
fn rtpmap(value: &str) -> Option<(u8, &str, u32)> {
    let (format, rest) = value.trim_ascii_start().split_once(' ')?;
    let mut parts = rest.trim_ascii_start().splitn(3, '/');
    Some((format.parse().ok()?, parts.next()?, parts.next()?.trim_ascii_end().parse().ok()?))
}

/// Static payload types (RFC 3551, 6): number, encoding name, clock rate in Hz.
const STATIC: [(u8, &str, u32); 24] = [
    (0, "PCMU", 8000),
    (3, "GSM", 8000),
    (4, "G723", 8000),
    (5, "DVI4", 8000),
    (6, "DVI4", 16000),
    (7, "LPC", 8000),
    (8, "PCMA", 8000),
    (9, "G722", 8000),
    (10, "L16", 44100),
    (11, "L16", 44100),
    (12, "QCELP", 8000),
    (13, "CN", 8000),
    (14, "MPA", 90000),
    (15, "G728", 8000),
    (16, "DVI4", 11025),
    (17, "DVI4", 22050),
    (18, "G729", 8000),
    (25, "CelB", 90000),
    (26, "JPEG", 90000),
    (28, "nv", 90000),
    (31, "H261", 90000),
    (32, "MPV", 90000),
    (33, "MP2T", 90000),
    (34, "H263", 90000),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Sdp {
        Sdp::parse(text.as_bytes(), &Keys::default()).unwrap()
    }

    #[test]
    fn lines_addresses_and_directions_are_read() {
        let sdp = parse(
            "v=0\r\no=- 99999999999999999999999 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nb=broken\r\nt=0 0\r\n\
             a=sendonly\r\nm=audio 4000 RTP/AVP 0 101 96\r\na=rtpmap:101 telephone-event/8000\r\n\
             m=video  0 RTP/SAVPF 97\r\nm=audio 4002/2 RTP/SAVP 8\r\nc=IN IP6 2001:db8::1\r\na=inactive\r\n\
             m=image 4004 udptl t38\r\n",
        );
        let [audio, video, six, image] = sdp.lines.as_slice() else { panic!("{sdp:?}") };
        assert_eq!(audio.address, Some("192.0.2.1:4000".parse().unwrap()));
        assert_eq!(audio.direction, Direction { send: true, receive: false });
        assert!(audio.holds());
        let names: Vec<_> = audio.codecs.iter().map(|c| (c.payload_type, c.name.as_str(), c.clock_rate)).collect();
        assert_eq!(names, [(0, "PCMU", 8000), (101, "telephone-event", 8000)]);
        assert_eq!((video.rejected, video.address, video.transport), (true, None, MediaTransport::Secure));
        assert_eq!(six.address, Some("[2001:db8::1]:4002".parse().unwrap()));
        assert_eq!(six.direction, Direction::default());
        assert_eq!(image.transport, MediaTransport::Other);
    }

    #[test]
    fn hold_by_zeros_is_hold() {
        let line = &parse("c=IN IP4 0.0.0.0\nm=audio 4000 RTP/AVP 0\n").lines[0];
        assert!(line.holds() && line.direction == Direction::BOTH);
        assert!(!parse("c=IN IP4 192.0.2.1\nm=audio 4000 RTP/AVP 0\n").lines[0].holds());
    }

    #[test]
    fn profiles_say_what_is_secure() {
        let of = |proto: &str| parse(&format!("m=audio 1 {proto} 0\n")).lines[0].transport;
        assert_eq!(of("rtp/avp"), MediaTransport::Plain);
        assert_eq!(of("RTP/SAVPF"), MediaTransport::Secure);
        assert_eq!(of("UDP/TLS/RTP/SAVPF"), MediaTransport::Dtls);
        assert_eq!(of("RTP/UNKNOWN"), MediaTransport::Other);
        assert_eq!(of("TCP/MSRP"), MediaTransport::Other);
        let fingerprint = |text: &str| parse(text).lines[0].fingerprint;
        assert!(fingerprint("a=fingerprint:sha-256 AA\nm=audio 1 RTP/AVP 0\n"));
        assert!(fingerprint("m=audio 1 RTP/AVP 0\na=Fingerprint:sha-256 AA\n"));
        assert!(!fingerprint("m=audio 1 RTP/AVP 0\nm=audio 1 RTP/AVP 0\na=fingerprint:sha-256 AA\n"));
    }

    #[test]
    fn r41a_formats_count_once_and_lines_up_to_a_bound() {
        let many = format!("m=audio 1 RTP/AVP{}\n", " 0 8 0".repeat(40)).repeat(MAX_RTP + 1);
        let sdp = parse(&many);
        assert!(sdp.lines[..MAX_RTP].iter().all(|line| line.codecs.len() == 2));
        assert_eq!((sdp.lines[MAX_RTP].transport, sdp.lines[MAX_RTP].codecs.len()), (MediaTransport::Other, 0));
        let dynamic: String = (64..127).map(|n| format!("a=rtpmap:{n} X/8000\n")).collect();
        let formats: String = (64..127).map(|n| format!(" {n}")).collect();
        assert_eq!(parse(&format!("m=audio 1 RTP/AVP{formats}\n{dynamic}")).lines[0].codecs.len(), MAX_PER_LINE);
    }

    #[test]
    fn r42b_a_crypto_line_that_no_media_line_takes_leaves_nothing_clear() {
        let crypto = "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n";
        let media = "m=audio 1 RTP/AVP 0\r\n";
        let transport = |text: String| {
            let mut text = text.into_bytes();
            let keys = super::super::scan::redact(&mut text);
            Sdp::parse(&text, &keys).unwrap().lines[0].transport
        };
        for text in [
            format!("{media} {crypto}"),
            format!("{media}{}", crypto.replace("a=", "a =")),
            format!("{media}{}", crypto.replace("a=", "A=")),
            format!("{media}{}", crypto.replace("inline:", "").replace("a=", "a =")),
            format!("{media}X{crypto}"),
            format!("{crypto}{media}"),
        ] {
            assert_eq!(transport(text.clone()), MediaTransport::Secure, "{text:?}");
        }
        assert_eq!(transport(format!("{media}{crypto}")), MediaTransport::Plain);
    }

    #[test]
    fn names_have_no_control_characters() {
        let line = &parse("m=au\u{1b}[2Jdio\u{202e} 1 RTP/AVP 96\na=rtpmap:96 A\u{7}\u{2066}B/8000\n").lines[0];
        assert_eq!((&*line.media, line.codecs[0].name.as_str()), ("au[2Jdio", "AB"));
    }

    #[test]
    fn r42b_one_odd_line_spoils_no_other() {
        let sdp = parse("c=IN IP4 192.0.2.1\nm=audio 4000 RTP/AVP 0\nm=video 0 RTP/AVP\nm=text 5 RTP/AVP 0\nc=IN\n");
        let addresses: Vec<_> = sdp.lines.iter().map(|line| line.address.map(|address| address.to_string())).collect();
        assert_eq!(addresses, [Some("192.0.2.1:4000".to_owned()), None, None]);
        assert!(sdp.lines.iter().map(|line| line.rejected).eq([false, true, false]));
    }

    #[test]
    fn what_can_t_be_read_is_refused() {
        let refused = |text: &str| Sdp::parse(text.as_bytes(), &Keys::default()).err();
        assert_eq!(refused("m=audio\n"), Some(SdpError::Syntax));
        assert_eq!(refused("m=audio 70000 RTP/AVP 0\n"), Some(SdpError::Syntax));
        assert_eq!(refused(&"m=audio 1 RTP/AVP 0\n".repeat(33)), Some(SdpError::TooMany(33)));
    }
}
