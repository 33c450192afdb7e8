//! The recorded calls, what is true of them, and what can be known of a damaged copy: worked out without the code that is
//! tested.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a test"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use webrtc_srtp::{context::Context, protection_profile::ProtectionProfile};

pub const NAMES: [&str; 5] =
    ["asterisk22-basic", "asterisk22-hold", "asterisk22-transfer", "kamailio-basic", "kamailio-rekey"];
pub const PBXES: [&str; 2] = ["127.0.0.1:15060", "127.0.0.1:15070"];
/// The password in the copies that Asterisk sent.
pub const PASSWORD: &[u8] = b"hepsecret";

/// The phones of all recordings. Those of `kamailio-rekey` stand in for the others.
pub const PHONES: [(&str, &str); 4] = [
    ("127.0.0.1:16010", "1001"),
    ("127.0.0.1:16020", "1002"),
    ("127.0.0.1:16110", "1001"),
    ("127.0.0.1:16120", "1002"),
];

/// Device, destination, and key and salt of a stream.
pub type Known = BTreeSet<(String, SocketAddr, Vec<u8>)>;

/// A HEP datagram, with what it says to whom.
#[derive(Clone)]
pub struct Datagram {
    /// When it was captured, in microseconds.
    pub at: i64,
    pub bytes: Vec<u8>,
    message: Message,
}

#[derive(Clone)]
struct Message {
    ends: [SocketAddr; 2],
    /// Call-ID, the From tag, and the number of CSeq.
    transaction: (String, String, u32),
    invites: bool,
    /// Offers with 0, answers with 200.
    status: u16,
    sdp: Option<Sdp>,
}

#[derive(Clone)]
struct Sdp {
    address: SocketAddr,
    sends: bool,
    receives: bool,
    /// Tag and key.
    crypto: Vec<(String, Vec<u8>)>,
}

pub struct Recording {
    pub name: &'static str,
    pub datagrams: Vec<Datagram>,
    /// For each destination of RTP the keys that its packets authenticate under, and when the last one did.
    pub truth: BTreeMap<SocketAddr, BTreeMap<Vec<u8>, i64>>,
    /// Every key that stands in it, used or not, by its suite.
    pub keys: BTreeSet<(String, Vec<u8>)>,
}

impl Recording {
    pub fn load(name: &'static str) -> Self {
        let path = format!("{}/tests/data/{name}/call.pcap", env!("CARGO_MANIFEST_DIR"));
        let packets = packets(&fs::read(path).unwrap());
        let mut recording = Self { name, datagrams: Vec::new(), truth: BTreeMap::new(), keys: BTreeSet::new() };
        let mut rtp: BTreeMap<SocketAddr, Vec<(i64, &[u8])>> = BTreeMap::new();
        for (at, to, payload) in &packets {
            if to.port() == 9060 {
                let (ends, text) = read_hep(payload);
                recording.keys.extend(crypto_lines(&text).into_iter().map(|(_, suite, key)| (suite, key)));
                let message = read_sip(ends, &text);
                recording.datagrams.push(Datagram { at: *at, bytes: payload.clone(), message });
            } else if payload.len() > 12 && payload[0] >> 6 == 2 && !(192..=223).contains(&payload[1]) {
                rtp.entry(*to).or_default().push((*at, payload));
            }
        }
        for (to, packets) in rtp {
            let keys = recording.keys.iter();
            let found = keys.filter_map(|(suite, key)| Some((key.clone(), last_authentic(suite, key, &packets)?)));
            recording.truth.insert(to, found.collect());
        }
        recording
    }

    /// The key of each stream that was the last to be used.
    pub fn last_key(&self, destination: SocketAddr) -> Option<&Vec<u8>> {
        self.truth[&destination].iter().max_by_key(|(_, at)| **at).map(|(key, _)| key)
    }

    /// Panics if a key never was one of its stream.
    pub fn assert_true(&self, known: &Known, what: &str) {
        for (device, destination, key) in known {
            let keys =
                self.truth.get(destination).unwrap_or_else(|| panic!("{}: {what}: no RTP to {destination}", self.name));
            assert!(keys.contains_key(key), "{}: {what}: a wrong key for {device} to {destination}", self.name);
        }
    }
}

/// What can be known of these messages: keys whose offer and answer came by at the same phone.
///
/// The sender's key stands in its own description; of several lines the answer's tag chooses one (RFC 4568, 5.1.2). A
/// stream flows if its sender sends and its receiver receives (RFC 3264, 6.1).
pub fn knowable<'a>(datagrams: impl IntoIterator<Item = &'a Datagram>) -> Known {
    let mut offers: BTreeMap<(SocketAddr, _), &Sdp> = BTreeMap::new();
    let mut answers = offers.clone();
    for datagram in datagrams {
        let message = &datagram.message;
        let (true, Some(sdp)) = (message.invites, &message.sdp) else { continue };
        let side = if message.status == 0 { &mut offers } else { &mut answers };
        for end in message.ends {
            side.insert((end, message.transaction.clone()), sdp);
        }
    }
    let mut known = Known::new();
    for ((end, transaction), answer) in answers {
        let device = PHONES.iter().find(|(phone, _)| end == phone.parse().unwrap());
        let (Some((_, device)), Some(offer)) = (device, offers.get(&(end, transaction))) else { continue };
        let (tag, key_of_answer) = &answer.crypto[0];
        let (_, key_of_offer) = offer.crypto.iter().find(|(offered, _)| offered == tag).unwrap();
        for (from, to, key) in [(*offer, answer, key_of_offer), (answer, *offer, key_of_answer)] {
            if from.sends && to.receives {
                known.insert(((*device).into(), to.address, key.clone()));
            }
        }
    }
    known
}

/// A generator of the same numbers for the same seed (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % end
    }
}

/// One in ten is lost.
pub fn lossy(datagrams: &[Datagram], random: &mut Random) -> Vec<Datagram> {
    datagrams.iter().filter(|_| random.below(10) > 0).cloned().collect()
}

/// Each is up to 5 ms late.
pub fn shuffled(datagrams: &[Datagram], random: &mut Random) -> Vec<Datagram> {
    let mut shuffled: Vec<_> = datagrams.to_vec();
    shuffled.iter_mut().for_each(|datagram| datagram.at += i64::try_from(random.below(5000)).unwrap());
    shuffled.sort_by_key(|datagram| datagram.at);
    shuffled
}

/// Each comes twice.
pub fn twice(datagrams: &[Datagram]) -> Vec<Datagram> {
    datagrams.iter().flat_map(|datagram| [datagram.clone(), datagram.clone()]).collect()
}

/// UDP packets of a little-endian pcap of Ethernet frames: when, whither, what.
fn packets(file: &[u8]) -> Vec<(i64, SocketAddr, Vec<u8>)> {
    let number = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let mut packets = Vec::new();
    let mut at = 24;
    while at + 16 <= file.len() {
        let frame = &file[at + 16..][..number(at + 8) as usize];
        let udp = &frame[14 + usize::from(frame[14] & 0x0f) * 4..];
        if frame[14 + 9] == 17 {
            let ip: [u8; 4] = frame[30..34].try_into().unwrap();
            let to = SocketAddr::from((ip, u16::from_be_bytes([udp[2], udp[3]])));
            let micros = i64::from(number(at)) * 1_000_000 + i64::from(number(at + 4));
            packets.push((micros, to, udp[8..].to_vec()));
        }
        at += 16 + frame.len();
    }
    packets
}

/// Source, destination and text of a HEPv3 packet over IPv4.
fn read_hep(packet: &[u8]) -> ([SocketAddr; 2], String) {
    let be16 = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let mut chunks = BTreeMap::new();
    let mut at = 6;
    while at < packet.len() {
        let len = usize::from(be16(at + 4));
        chunks.insert(be16(at + 2), &packet[at + 6..at + len]);
        at += len;
    }
    let end = |ip: u16, port: u16| {
        let ip: [u8; 4] = chunks[&ip].try_into().unwrap();
        SocketAddr::from((ip, u16::from_be_bytes(chunks[&port].try_into().unwrap())))
    };
    ([end(3, 7), end(4, 8)], String::from_utf8_lossy(chunks[&15]).into_owned())
}

fn read_sip(ends: [SocketAddr; 2], text: &str) -> Message {
    let header = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim().to_owned()
    };
    let cseq = header("CSeq");
    let (number, method) = cseq.split_once(' ').unwrap_or(("0", ""));
    let tag = header("From").split("tag=").nth(1).unwrap_or_default().to_owned();
    let status = text.strip_prefix("SIP/2.0 ").map_or(0, |rest| rest[..3].parse().unwrap());
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    // An offer or the answer to it; what comes before the answer may change yet.
    let counts = method.trim() == "INVITE" && (status == 0 && text.starts_with("INVITE") || status == 200);
    Message {
        ends,
        transaction: (header("Call-ID"), tag, number.parse().unwrap()),
        invites: counts,
        status,
        sdp: body.starts_with("v=0").then(|| read_sdp(body)),
    }
}

fn read_sdp(body: &str) -> Sdp {
    let value = |name: &str| body.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let port = value("m=audio ").split(' ').next().unwrap();
    let has = |name: &str| body.lines().any(|line| line.trim() == name);
    Sdp {
        address: format!("{}:{port}", value("c=IN IP4 ").trim()).parse().unwrap(),
        sends: !has("a=recvonly") && !has("a=inactive"),
        receives: !has("a=sendonly") && !has("a=inactive"),
        crypto: crypto_lines(body).into_iter().map(|(tag, _, key)| (tag, key)).collect(),
    }
}

/// Tag, suite, and key with salt.
fn crypto_lines(text: &str) -> Vec<(String, String, Vec<u8>)> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("a=crypto:"));
    lines
        .map(|line| {
            let mut words = line.split([' ', '|']);
            let (tag, suite) = (words.next().unwrap(), words.next().unwrap());
            let key = words.next().unwrap().strip_prefix("inline:").unwrap().trim();
            (tag.into(), suite.into(), BASE64_STANDARD.decode(key).unwrap())
        })
        .collect()
}

/// When the last packet was authentic under this key; `None`: none was.
fn last_authentic(suite: &str, key: &[u8], packets: &[(i64, &[u8])]) -> Option<i64> {
    let profile = match suite {
        "AES_CM_128_HMAC_SHA1_80" => ProtectionProfile::Aes128CmHmacSha1_80,
        "AEAD_AES_128_GCM" => ProtectionProfile::AeadAes128Gcm,
        other => panic!("{other}"),
    };
    let mut context = Context::new(&key[..16], &key[16..], profile, None, None).unwrap();
    let authentic = packets.iter().filter(|(_, packet)| context.decrypt_rtp(packet).is_ok());
    authentic.map(|(at, _)| *at).max()
}
