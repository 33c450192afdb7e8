//! Scenarios of SIP: short messages, a HEP writer, and a log of what a feed makes of them.
#![allow(dead_code, unreachable_pub, reason = "each scenario file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "test code")]

use std::{
    collections::HashMap,
    fmt::Write,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use callgate::{
    model::{
        Address, CallId, DeviceName, EventBody, MediaOpened, Protection, StopCause, StreamDirection, StreamId,
        SwitchEvent, Timestamp, Transport,
    },
    switch::{
        feed::{FeedConfig, FeedError, HepFeed},
        tracker::TrackerLimits,
    },
};

pub const SUITE: &str = "AES_CM_128_HMAC_SHA1_80";

/// Key and salt of 30 equal letters: `key('A')` is shown as `A` in a log.
pub fn key(letter: char) -> String {
    STANDARD.encode([letter as u8; 30])
}

/// A session description: one media line, and more if there are.
#[derive(Clone)]
pub struct Sdp {
    pub address: SocketAddr,
    pub media: &'static str,
    pub proto: &'static str,
    pub formats: &'static str,
    pub attributes: Vec<String>,
    pub more: Vec<Self>,
}

impl Sdp {
    pub fn plain(address: &str) -> Self {
        let address = address.parse().unwrap();
        Self { address, media: "audio", proto: "RTP/AVP", formats: "0", attributes: Vec::new(), more: Vec::new() }
    }

    pub fn secure(address: &str, letter: char) -> Self {
        Self { proto: "RTP/SAVP", ..Self::plain(address) }.crypto(1, SUITE, letter)
    }

    pub fn crypto(self, tag: u32, suite: &str, letter: char) -> Self {
        self.with(&format!("crypto:{tag} {suite} inline:{}", key(letter)))
    }

    pub fn with(mut self, attribute: &str) -> Self {
        self.attributes.push(attribute.into());
        self
    }

    /// Another media line.
    pub fn and(mut self, line: Self) -> Self {
        self.more.push(line);
        self
    }

    fn text(&self) -> String {
        let family = if self.address.is_ipv4() { "IP4" } else { "IP6" };
        let mut text = format!(
            "v=0\r\no=- 1 1 IN {family} {ip}\r\ns=-\r\nc=IN {family} {ip}\r\nt=0 0\r\n",
            ip = self.address.ip()
        );
        for line in std::iter::once(self).chain(&self.more) {
            write!(text, "m={} {} {} {}\r\n", line.media, line.address.port(), line.proto, line.formats).unwrap();
            for attribute in &line.attributes {
                write!(text, "a={attribute}\r\n").unwrap();
            }
        }
        text
    }
}

/// The message with one header more.
pub fn with(text: &str, header: &str) -> String {
    text.replacen("Call-ID:", &format!("{header}\r\nCall-ID:"), 1)
}

/// The message on another branch of the topmost Via: another transaction (RFC 3261, 17.1.3).
pub fn on_branch(text: &str, branch: &str) -> String {
    let (begin, rest) = text.split_once(";branch=").unwrap();
    let (_, end) = rest.split_once("\r\n").unwrap();
    format!("{begin};branch=z9hG4bK{branch}\r\n{end}")
}

/// The branches of requests: a response that has none yet gets that of the last request that it can answer.
#[derive(Default)]
pub struct Branches(HashMap<[String; 3], String>);

impl Branches {
    pub fn fill(&mut self, text: &str) -> String {
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim_end().to_owned()
        };
        let from = field("From:").split(";tag=").nth(1).unwrap_or_default().to_owned();
        let name = [field("Call-ID:"), field("CSeq:"), from];
        if !text.starts_with("SIP/2.0 ") {
            let via = field("Via:");
            let branch = via.split_once(";branch=z9hG4bK").map(|(_, branch)| branch.to_owned());
            self.0.extend(branch.map(|branch| (name, branch)));
            return text.to_owned();
        }
        let open = text.contains(";branch=z9hG4bK\r\n");
        match self.0.get(&name).filter(|_| open) {
            Some(branch) => on_branch(text, branch),
            None => text.to_owned(),
        }
    }
}

/// A REGISTER of this user, to be answered.
pub fn register(call_id: &'static str, user: &str, cseq: u32, contact: &str) -> String {
    dialog(call_id)
        .invite(cseq, None)
        .replace("INVITE sip:bob@example.com", "REGISTER sip:example.com")
        .replace(&format!("{cseq} INVITE"), &format!("{cseq} REGISTER"))
        .replace("To: <sip:bob@example.com>", &format!("To: <sip:{user}@example.com>"))
        .replace("Content-Length", &format!("Contact: {contact}\r\nContent-Length"))
}

/// The answer to a REGISTER, with these Contacts.
pub fn registered(request: &str, contact: &str) -> String {
    let text = request.replace("REGISTER sip:example.com SIP/2.0", "SIP/2.0 200 OK");
    let (begin, rest) = text.split_once("Contact: ").unwrap();
    let (_, end) = rest.split_once("\r\n").unwrap();
    // The answer has an Expires of its own, if any.
    let end = end.strip_prefix("Expires: ").and_then(|rest| Some(rest.split_once("\r\n")?.1)).unwrap_or(end);
    format!("{begin}Contact: {contact}\r\n{end}")
}

/// A dialog: the caller has tag `a`, the called end the tag in `b`.
#[derive(Clone, Copy)]
pub struct Dialog {
    pub call_id: &'static str,
    pub b: &'static str,
}

pub fn dialog(call_id: &'static str) -> Dialog {
    Dialog { call_id, b: "b" }
}

impl Dialog {
    fn message(
        &self,
        start: &str,
        by_caller: bool,
        tagged: bool,
        cseq: &str,
        branch: &str,
        sdp: Option<&Sdp>,
    ) -> String {
        let called = if tagged { format!(";tag={}", self.b) } else { String::new() };
        let (caller, called) =
            ("\"Ann\" <sip:ann@example.com;x=y>;tag=a".to_owned(), format!("<sip:bob@example.com>{called}"));
        let (from, to) = if by_caller { (caller, called) } else { (called, caller) };
        let body = sdp.map(Sdp::text).unwrap_or_default();
        let kind = if sdp.is_some() { "Content-Type: application/sdp\r\n" } else { "" };
        format!(
            "{start}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{branch}\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: {}\r\n\
             CSeq: {cseq}\r\nAuthorization: Digest response=\"c0ffee\"\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            self.call_id,
            body.len()
        )
    }

    /// The first INVITE of a dialog.
    pub fn invite(&self, cseq: u32, sdp: Option<&Sdp>) -> String {
        let branch = format!("{}-i{cseq}", self.call_id);
        self.message("INVITE sip:bob@example.com SIP/2.0", true, false, &format!("{cseq} INVITE"), &branch, sdp)
    }

    /// A request within the dialog.
    pub fn request(&self, method: &str, by_caller: bool, cseq: u32, sdp: Option<&Sdp>) -> String {
        let start = format!("{method} sip:end@example.com SIP/2.0");
        let branch = format!("{}-{}{method}{cseq}", self.call_id, if by_caller { 'a' } else { 'b' });
        self.message(&start, by_caller, true, &format!("{cseq} {method}"), &branch, sdp)
    }

    /// The ACK of a failure: it belongs to the INVITE's transaction.
    pub fn ack_failure(&self, cseq: u32) -> String {
        let branch = format!("{}-i{cseq}", self.call_id);
        self.message("ACK sip:bob@example.com SIP/2.0", true, true, &format!("{cseq} ACK"), &branch, None)
    }

    pub fn cancel(&self, cseq: u32) -> String {
        let branch = format!("{}-i{cseq}", self.call_id);
        self.message("CANCEL sip:bob@example.com SIP/2.0", true, false, &format!("{cseq} CANCEL"), &branch, None)
    }

    /// A response to a request of the caller, or of the called end. Its branch is filled in when it is sent.
    pub fn response(&self, code: u16, method: &str, by_caller: bool, cseq: u32, sdp: Option<&Sdp>) -> String {
        let start = format!("SIP/2.0 {code} Whatever");
        self.message(&start, by_caller, code > 100, &format!("{cseq} {method}"), "", sdp)
    }

    pub fn ok(&self, cseq: u32, sdp: Option<&Sdp>) -> String {
        self.response(200, "INVITE", true, cseq, sdp)
    }
}

/// Devices as `name=address`.
fn named(devices: &[&str]) -> Vec<(Address, DeviceName)> {
    let device = |device: &&str| {
        let (name, address) = device.split_once('=').unwrap();
        (address.parse().unwrap(), name.parse().unwrap())
    };
    devices.iter().map(device).collect()
}

/// A feed, and what it said in words.
pub struct Lab {
    pub feed: HepFeed,
    pub now: Instant,
    pub events: Vec<SwitchEvent>,
    start: Instant,
    seen: usize,
    streams: HashMap<StreamId, usize>,
    branches: Branches,
}

impl Lab {
    /// `pbxes` are addresses, `devices` are `name=address`.
    pub fn new(pbxes: &[&str], devices: &[&str]) -> Self {
        Self::with_limits(pbxes, devices, TrackerLimits::default())
    }

    pub fn with_limits(pbxes: &[&str], devices: &[&str], limits: TrackerLimits) -> Self {
        let feed = HepFeed::new(FeedConfig {
            name: "lab".parse().unwrap(),
            pbxes: pbxes.iter().map(|address| address.parse().unwrap()).collect(),
            devices: named(devices),
            password: None,
            first_id: 1,
            limits,
        });
        let now = Instant::now();
        Self {
            feed,
            now,
            events: Vec::new(),
            start: now,
            seen: 0,
            streams: HashMap::new(),
            branches: Branches::default(),
        }
    }

    /// Sends a message from one address to another, a millisecond after the last.
    pub fn send(&mut self, from: &str, to: &str, text: &str) {
        let at = 1_700_000_000_000_000 + i64::try_from((self.now - self.start).as_micros()).unwrap();
        let text = self.branches.fill(text);
        let datagram = hep(from.parse().unwrap(), to.parse().unwrap(), at, text.as_bytes());
        self.datagram(datagram).unwrap();
    }

    /// Takes a datagram, and proves that no key is left in it.
    pub fn datagram(&mut self, mut datagram: Vec<u8>) -> Result<(), FeedError> {
        let secrets = secrets_in(&datagram);
        self.now += Duration::from_millis(1);
        self.feed.on_time(self.now, &mut self.events);
        let result = self.feed.on_datagram(&mut datagram, Timestamp(0), self.now, &mut self.events);
        for secret in secrets {
            let left = datagram.windows(secret.len()).any(|window| window == secret);
            assert!(!left, "left behind: {:?}", String::from_utf8_lossy(&secret));
        }
        result
    }

    /// Lets time pass.
    /// The operator knows these devices from now on, as in [`new`](Self::new).
    pub fn set_devices(&mut self, devices: &[&str]) {
        self.feed.set_devices(&named(devices));
    }

    pub fn wait(&mut self, time: Duration) {
        self.now += time;
        self.feed.on_time(self.now, &mut self.events);
    }

    /// What was said since the last time, one line an event.
    pub fn said(&mut self) -> Vec<String> {
        let events = self.events[self.seen..].to_vec();
        self.seen = self.events.len();
        events.iter().map(|event| self.line(event)).collect()
    }

    pub fn calls(&self) -> Vec<CallId> {
        let mut calls: Vec<_> = self.events.iter().map(|event| event.call.id).collect();
        calls.sort_unstable();
        calls.dedup();
        calls
    }

    fn line(&mut self, event: &SwitchEvent) -> String {
        let device = &event.device;
        let next = self.streams.len() + 1;
        let mut stream = |id| format!("s{}", self.streams.entry(id).or_insert(next));
        match &event.body {
            EventBody::Call(state) => format!("{device} {state:?}"),
            EventBody::MediaKeyed { stream: id, generation, .. } => {
                format!("{device} {} keyed g{}", stream(*id), generation.0)
            }
            EventBody::MediaOpened(opened) => {
                format!("{device} {} {} open {}", stream(opened.stream), way(opened.direction), shown(opened))
            }
            EventBody::MediaStopped(stopped) => {
                let generation = stopped.generation.map_or("clear".into(), |generation| format!("g{}", generation.0));
                format!(
                    "{device} {} {} stop {:?} {generation}",
                    stream(stopped.stream),
                    way(stopped.direction),
                    stopped.cause
                )
            }
        }
    }
}

fn way(direction: StreamDirection) -> &'static str {
    match direction {
        StreamDirection::Sent => "sent",
        StreamDirection::Received => "received",
    }
}

fn shown(opened: &MediaOpened) -> String {
    let protection = match &opened.protection {
        Protection::Clear => "clear".into(),
        Protection::Keyed { generation, keys, .. } => {
            let letters: String = keys.keys().iter().map(|key| char::from(key.key.expose()[0])).collect();
            format!("g{} {letters}", generation.0)
        }
        Protection::Unknown { generation, .. } => format!("g{} unknown", generation.0),
    };
    format!("{} {protection}", opened.destination)
}

pub fn stopped(event: &SwitchEvent, cause: StopCause) -> bool {
    matches!(&event.body, EventBody::MediaStopped(stopped) if stopped.cause == cause)
}

/// A HEPv3 packet, in the order in which Asterisk writes its chunks.
pub fn hep(from: Address, to: Address, at: i64, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let mut chunk = |kind: u16, value: &[u8]| {
        body.extend_from_slice(&0u16.to_be_bytes());
        body.extend_from_slice(&kind.to_be_bytes());
        body.extend_from_slice(&u16::try_from(value.len() + 6).unwrap().to_be_bytes());
        body.extend_from_slice(value);
    };
    let v4 = from.socket.is_ipv4();
    chunk(1, &[if v4 { 2 } else { 10 }]);
    chunk(2, &[if from.transport == Transport::Udp { 17 } else { 6 }]);
    chunk(7, &from.socket.port().to_be_bytes());
    chunk(8, &to.socket.port().to_be_bytes());
    chunk(9, &u32::try_from(at / 1_000_000).unwrap().to_be_bytes());
    chunk(10, &u32::try_from(at % 1_000_000).unwrap().to_be_bytes());
    chunk(11, &[1]);
    chunk(12, &1u32.to_be_bytes());
    for (kind, ip) in [(3, from.socket.ip()), (4, to.socket.ip())] {
        match ip {
            IpAddr::V4(ip) => chunk(kind, &ip.octets()),
            IpAddr::V6(ip) => chunk(kind + 2, &ip.octets()),
        }
    }
    chunk(15, payload);
    let len = u16::try_from(body.len() + 6).unwrap();
    [b"HEP3", &len.to_be_bytes()[..], &body].concat()
}

/// Every secret in a datagram: what follows an `inline:`, and the digest response.
pub fn secrets_in(datagram: &[u8]) -> Vec<Vec<u8>> {
    let mut secrets = Vec::new();
    for (i, window) in datagram.windows(7).enumerate() {
        if window.eq_ignore_ascii_case(b"inline:") {
            let rest = datagram[i + 7..].iter().copied();
            let secret: Vec<u8> =
                rest.take_while(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte)).collect();
            if secret.len() >= 16 {
                secrets.push(secret);
            }
        }
    }
    if datagram.windows(6).any(|window| window == b"c0ffee") {
        secrets.push(b"c0ffee".to_vec());
    }
    secrets
}

/// The HEP datagrams of a recording: UDP to port 9060, in a little-endian pcap of Ethernet frames without options.
pub fn recording(name: &str) -> Vec<Vec<u8>> {
    let path = format!("{}/tests/data/{name}/call.pcap", env!("CARGO_MANIFEST_DIR"));
    let file = std::fs::read(path).unwrap();
    let mut datagrams = Vec::new();
    let mut at = 24;
    while at + 16 <= file.len() {
        let len = u32::from_le_bytes(file[at + 8..at + 12].try_into().unwrap()) as usize;
        let frame = &file[at + 16..at + 16 + len];
        let header = usize::from(frame[14] & 0x0f) * 4;
        let udp = &frame[14 + header..];
        if frame[14 + 9] == 17 && udp[2..4] == 9060u16.to_be_bytes() {
            datagrams.push(udp[8..].to_vec());
        }
        at += 16 + len;
    }
    datagrams
}
