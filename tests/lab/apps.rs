//! The three apps of `callgate demo`, as third parties: one that may have keys, one that may not, one on the clear door.

use std::net::SocketAddr;

use callgate::{model::Group, switch::capture::Packet};
use callgate_sdk::{
    SrtpKeys,
    client::{CallState, Connector, Event, Events, Identity, Indicator, MediaDirection, Roots, Session},
    media::{StreamDecryptor, g711::G711},
};

use super::{
    common::{ALL_THREE, CLEAR, PASSWORD, SECURE},
    gateway::Served,
    phone::PHONES,
    process::PATIENCE,
};

/// Who an app is.
pub struct Who {
    pub user: &'static str,
    pub groups: &'static [Group],
    /// On 2749, by certificate; otherwise on 2748, by password.
    pub secure: bool,
}

pub const APPS: [Who; 3] = [
    Who { user: "recorder", groups: ALL_THREE, secure: true },
    Who { user: "viewer", groups: SECURE, secure: true },
    Who { user: "dashboard", groups: CLEAR, secure: false },
];

/// Two devices, each with a stream that it sends and one that it receives.
const STREAMS: usize = 4;

/// All three, with open sessions that monitor both phones.
pub struct Apps {
    pub recorder: App,
    pub viewer: App,
    pub dashboard: App,
}

/// An app with what it heard until now.
pub struct App {
    pub user: &'static str,
    session: Session,
    events: Events,
    heard: Vec<Event>,
}

impl Apps {
    pub async fn open(gateway: &Served) -> Self {
        let [recorder, viewer, dashboard] = APPS;
        Self {
            recorder: App::open(&recorder, gateway).await,
            viewer: App::open(&viewer, gateway).await,
            dashboard: App::open(&dashboard, gateway).await,
        }
    }

    fn all(&mut self) -> [&mut App; 3] {
        [&mut self.recorder, &mut self.viewer, &mut self.dashboard]
    }

    /// Until all have been told of all streams.
    pub async fn wait_for_streams(&mut self) {
        for app in self.all() {
            app.wait("for four streams", |heard| opened(heard).count() == STREAMS).await;
        }
    }

    /// Until all have been told that the call is over on both phones.
    pub async fn wait_for_the_end(&mut self) {
        let is_end =
            |event: &&Event| matches!(event, Event::CallState(_, changed) if changed.state == CallState::Ended);
        for app in self.all() {
            app.wait("for the call's end", |heard| heard.iter().filter(is_end).count() == PHONES.len()).await;
        }
    }

    pub async fn close(self) {
        for app in [self.recorder, self.viewer, self.dashboard] {
            app.session.close().await;
        }
    }
}

impl App {
    async fn open(who: &Who, gateway: &Served) -> Self {
        let user = who.user;
        let connector = if who.secure {
            let [certificate, key] = ["pem", "key"].map(|end| gateway.read(&format!("{user}-1.{end}")));
            let identity = Identity::from_pem(&certificate, &key).unwrap();
            let roots = Roots::from_pem(&gateway.read("ca.pem")).unwrap();
            Connector::tls(gateway.tls(), "localhost", identity, roots)
        } else {
            Connector::clear(gateway.clear().to_string(), user, PASSWORD)
        };
        let (session, events) = connector.open(user, "1").await.unwrap();
        for (device, _) in PHONES {
            session.monitor(device, &[]).await.unwrap();
        }
        Self { user, session, events, heard: Vec::new() }
    }

    async fn wait(&mut self, what: &str, enough: impl Fn(&[Event]) -> bool) {
        let hear = async {
            while !enough(&self.heard) {
                let event = self.events.next().await;
                self.heard.push(event.unwrap_or_else(|| panic!("{}: closed: {:?}", self.user, self.events.closed())));
            }
        };
        let heard = tokio::time::timeout(PATIENCE, hear).await;
        assert!(heard.is_ok(), "{} waits {what} in vain, after {:#?}", self.user, self.heard);
    }

    /// The streams whose keys it has, by device and direction.
    pub fn streams(&self) -> Vec<Stream> {
        let keyed = opened(&self.heard).filter_map(|event| {
            let Event::MediaOpened(head, media) = event else { return None };
            let direction = match media.direction {
                MediaDirection::Received => Direction::Received,
                _ => Direction::Sent,
            };
            Some(Stream {
                device: head.device.clone(),
                direction,
                destination: media.destination,
                generation: media.generation,
                suite: media.suite.clone()?,
                keys: media.keys.clone()?,
            })
        });
        let mut streams: Vec<_> = keyed.collect();
        streams.sort_by(|a, b| (&a.device, a.direction).cmp(&(&b.device, b.direction)));
        streams
    }

    /// The keys with their salts, each once: two devices may see one stream.
    pub fn key_bytes(&self) -> Vec<Vec<u8>> {
        let streams = self.streams();
        let keys = streams.iter().flat_map(|stream| &stream.keys.keys);
        let mut bytes: Vec<_> = keys.map(|key| [key.key.expose(), key.salt.expose()].concat()).collect();
        bytes.sort();
        bytes.dedup();
        bytes
    }

    pub fn keys(&self) -> usize {
        opened(&self.heard)
            .filter(|event| matches!(event, Event::MediaOpened(_, media) if media.keys.is_some()))
            .count()
    }

    pub fn indicators(&self) -> Vec<&'static str> {
        let name = |event: &Event| match event {
            Event::MediaOpened(_, media) if media.indicator == Indicator::UserNotAuthorized => "USER_NOT_AUTHORIZED",
            _ => "another",
        };
        opened(&self.heard).map(name).collect()
    }

    /// Device, number and class number of all events, by device: events of different devices may overtake each other.
    pub fn numbers(&self) -> Vec<(&str, u64, u64)> {
        let heads = self.heard.iter().map(|event| event.head().expect("no gap"));
        let mut numbers: Vec<_> = heads.map(|head| (head.device.as_str(), head.number, head.class_number)).collect();
        numbers.sort_unstable();
        numbers
    }
}

fn opened(heard: &[Event]) -> impl Iterator<Item = &Event> {
    heard.iter().filter(|event| matches!(event, Event::MediaOpened(..)))
}

/// As a device sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    Received,
    Sent,
}

/// A stream whose keys an app has.
pub struct Stream {
    pub device: String,
    pub direction: Direction,
    pub destination: SocketAddr,
    generation: u32,
    suite: String,
    keys: SrtpKeys,
}

/// What an app makes of the packets to a stream's destination.
pub struct Heard {
    pub packets: usize,
    pub authentic: usize,
    pub voice: Vec<f64>,
}

impl Stream {
    /// The voice that must be in it: a phone's own where it sends, the other one's where it receives.
    pub fn tone(&self) -> u32 {
        let own = |(name, _): &&(&str, u32)| *name == self.device;
        let is_sent = self.direction == Direction::Sent;
        PHONES.iter().find(|phone| own(phone) == is_sent).unwrap().1
    }

    pub fn decrypt(&self, packets: &[Packet]) -> Heard {
        let mut decryptor = StreamDecryptor::new();
        decryptor.add_generation(self.generation, &self.suite, &self.keys).unwrap();
        let mut heard = Heard { packets: 0, authentic: 0, voice: Vec::new() };
        for packet in packets.iter().filter(|packet| packet.destination == self.destination) {
            heard.packets += 1;
            let Ok(plain) = decryptor.decrypt(&packet.payload) else { continue };
            heard.authentic += 1;
            if plain.header.payload_type == 0 {
                heard.voice.extend(plain.payload().unwrap().iter().map(|code| f64::from(G711::MuLaw.decode(*code))));
            }
        }
        heard
    }
}
