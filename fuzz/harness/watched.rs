//! A feed that is watched: whatever comes in, no key stays in a datagram, and none goes out that nobody sent.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use callgate::{
    model::{Address, EventBody, KeyMaterial, Protection, SwitchEvent, Timestamp},
    switch::{
        feed::{FeedConfig, FeedError, HepFeed},
        tracker::TrackerLimits,
    },
};

use super::inline;

/// See the module.
pub struct Watched {
    feed: HepFeed,
    start: Instant,
    micros: u64,
    /// The datagrams with keys so far, and their keys.
    keyed: Vec<(Vec<u8>, Vec<Vec<u8>>)>,
    /// How many are remembered.
    memory: usize,
    /// What the feed said.
    pub events: Vec<SwitchEvent>,
    judged: usize,
}

impl Watched {
    /// `devices` are `name=address`.
    pub fn new(pbxes: &[&str], devices: &[&str]) -> Self {
        Self::with_limits(pbxes, devices, TrackerLimits::default())
    }

    pub fn with_limits(pbxes: &[&str], devices: &[&str], limits: TrackerLimits) -> Self {
        let devices = devices.iter().map(|device| {
            let (name, address) = device.split_once('=').unwrap();
            (address.parse().unwrap(), name.parse().unwrap())
        });
        let feed = HepFeed::new(FeedConfig {
            name: "watched".parse().unwrap(),
            pbxes: pbxes.iter().map(|address| address.parse().unwrap()).collect(),
            devices: devices.collect(),
            password: None,
            first_id: 1,
            limits,
        });
        // The zero of this feed's clock; only differences count.
        let start = Instant::now();
        Self { feed, start, micros: 0, keyed: Vec::new(), memory: 4096, events: Vec::new(), judged: 0 }
    }

    /// Lets so many microseconds pass.
    pub fn wait(&mut self, micros: u64) {
        self.micros = self.micros.saturating_add(micros).min(1 << 50);
        self.feed.on_time(self.now(), &mut self.events);
        self.judge();
    }

    /// Takes a datagram, a copy of which is wiped.
    pub fn datagram(&mut self, datagram: &[u8]) -> Result<(), FeedError> {
        let known = inline::keys(datagram);
        let mut wiped = datagram.to_vec();
        self.micros += 1;
        let at = Timestamp(i64::try_from(self.micros).unwrap());
        let now = self.now();
        let result = self.feed.on_datagram(&mut wiped, at, now, &mut self.events);
        // What was refused is the source of no key.
        if result.is_ok() && !known.is_empty() {
            if self.keyed.len() >= self.memory {
                self.keyed.remove(0);
            }
            self.keyed.push((datagram.to_vec(), known));
        }
        // A `HEP3` that isn't one says nothing of where its payload is: all is wiped.
        inline::assert_wiped(datagram, &wiped);
        self.judge();
        result
    }

    /// Forgets what was said.
    pub fn forget(&mut self) {
        self.events.clear();
        self.judged = 0;
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_micros(self.micros)
    }

    /// A key must have stood in a message of its Call-ID. This doesn't see one of the wrong direction, or of an offer
    /// that was refused: the model in `tests/tracker_model.rs` does.
    fn judge(&mut self) {
        for event in &self.events[self.judged..] {
            let Some(keys) = keys(event) else { continue };
            let call_id = event.call.sip_call_id.as_bytes();
            inline::assert_material(keys, |key| {
                self.keyed
                    .iter()
                    .filter(|(_, keys)| keys.iter().any(|known| known == key))
                    .any(|(text, _)| text.windows(call_id.len()).any(|part| part == call_id))
            });
        }
        self.judged = self.events.len();
    }
}

/// The key material that an event tells of.
pub fn keys(event: &SwitchEvent) -> Option<&KeyMaterial> {
    match &event.body {
        EventBody::MediaKeyed { keys, .. } => Some(keys),
        EventBody::MediaOpened(opened) => match &opened.protection {
            Protection::Keyed { keys, .. } => Some(keys),
            Protection::Clear | Protection::Unknown { .. } => None,
        },
        EventBody::Call(_) | EventBody::MediaStopped(_) => None,
    }
}

/// A HEPv3 packet around a payload.
pub fn hep(from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let address = |text: &str| text.parse::<Address>().unwrap().socket;
    let (from, to) = (address(from), address(to));
    let mut body = Vec::new();
    let mut chunk = |kind: u16, value: &[u8]| {
        body.extend_from_slice(&[0, 0]);
        body.extend_from_slice(&kind.to_be_bytes());
        body.extend_from_slice(&u16::try_from(value.len() + 6).unwrap().to_be_bytes());
        body.extend_from_slice(value);
    };
    chunk(2, &[17]);
    chunk(7, &from.port().to_be_bytes());
    chunk(8, &to.port().to_be_bytes());
    chunk(11, &[1]);
    for (kind, ip) in [(3, from.ip()), (4, to.ip())] {
        match ip {
            IpAddr::V4(ip) => chunk(kind, &ip.octets()),
            IpAddr::V6(ip) => chunk(kind + 2, &ip.octets()),
        }
    }
    let room = usize::from(u16::MAX) - 6 - body_len(from.ip()) - 6;
    chunk(15, &payload[..payload.len().min(room)]);
    let len = u16::try_from(body.len() + 6).unwrap();
    [b"HEP3", &len.to_be_bytes()[..], &body].concat()
}

/// The bytes of all chunks but the payload's.
fn body_len(ip: IpAddr) -> usize {
    let address = if ip.is_ipv4() { 4 } else { 16 };
    7 + 8 + 8 + 7 + 2 * (6 + address)
}
