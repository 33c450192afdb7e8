//! The live listener through a whole gateway: HEP over a real UDP socket, and an app on the TLS door that gets keys.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{collections::HashSet, fs, sync::LazyLock, time::Duration};

use callgate::{
    model::Secret,
    switch::{
        feed::{FeedConfig, HepFeed, Refusal},
        listen::{HepListener, ListenCounts, ListenSettings},
        replay::{Replay, Speed},
        tracker::TrackerLimits,
    },
};
use callgate_sdk::client::{Connector, Event, Identity, Roots};
use callgate_wire::v1::{self, Indicator, UnavailableReason, event, to_app, to_gateway};
use common::{
    TestGateway, leaks,
    raw::RawClient,
    recorded::{self, Datagram, Known, NAMES, PBXES, PHONES, Random, Recording, knowable, lossy, shuffled, twice},
    served::Served,
};
use tokio::{net::UdpSocket, sync::watch, time::timeout};

/// Nothing takes as long as this.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many datagrams are on their way at once: no kernel's buffer is too small for them.
const AT_ONCE: u64 = 8;

/// All of them, with what is true of them: worked out once.
fn recordings() -> &'static [Recording] {
    static RECORDINGS: LazyLock<Vec<Recording>> = LazyLock::new(|| NAMES.map(Recording::load).into());
    &RECORDINGS
}

fn load(name: &str) -> &'static Recording {
    recordings().iter().find(|recording| recording.name == name).unwrap()
}

fn feed(password: Option<&[u8]>) -> HepFeed {
    HepFeed::new(FeedConfig {
        name: "pbx".parse().unwrap(),
        pbxes: PBXES.map(|pbx| pbx.parse().unwrap()).into(),
        devices: PHONES.map(|(address, name)| (address.parse().unwrap(), name.parse().unwrap())).into(),
        password: password.map(|password| Secret::new(password.to_vec())),
        first_id: 1,
        // However slow the machine is, nothing is given up while a test sends.
        limits: TrackerLimits { reorder: 10 * PATIENCE, ..TrackerLimits::default() },
    })
}

fn listener(networks: &[&str], password: Option<&[u8]>) -> HepListener {
    let settings = ListenSettings {
        name: "pbx".parse().unwrap(),
        address: "127.0.0.1:0".parse().unwrap(),
        networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
        queue_bytes: 0,
        devices: ["1001".parse().unwrap(), "1002".parse().unwrap()].into(),
    };
    HepListener::bind(settings, feed(password)).unwrap()
}

/// A gateway, an app that gets keys, and perhaps a live feed.
struct Scene {
    gateway: TestGateway,
    app: RawClient,
    sender: UdpSocket,
    counts: watch::Receiver<ListenCounts>,
    sent: u64,
}

impl Scene {
    async fn start(networks: &[&str], password: Option<&[u8]>) -> Self {
        let (gateway, app) = gateway().await;
        let mut scene = Self {
            gateway,
            app,
            sender: UdpSocket::bind("127.0.0.2:0").await.unwrap(),
            counts: watch::channel(ListenCounts::default()).1,
            sent: 0,
        };
        scene.attach(listener(networks, password)).await;
        scene
    }

    async fn attach(&mut self, listener: HepListener) {
        self.sender.connect(listener.local_addr()).await.unwrap();
        self.counts = listener.counts();
        self.gateway.attach(Box::new(listener));
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.sender.send(bytes).await.unwrap();
        self.sent += 1;
        if self.sent.is_multiple_of(AT_ONCE) {
            self.arrived().await;
        }
    }

    /// Waits until the feed has seen everything that was sent, one way or another.
    async fn arrived(&mut self) -> ListenCounts {
        let sent = self.sent;
        let seen = |counts: &ListenCounts| counts.feed.datagrams + counts.foreign + counts.dropped >= sent;
        timeout(PATIENCE, self.counts.wait_for(seen)).await.expect("a datagram is missing").unwrap().clone()
    }

    /// Sends them all; the events that came of them.
    async fn play(&mut self, datagrams: &[Datagram]) -> Vec<v1::Event> {
        for datagram in datagrams {
            self.send(&datagram.bytes).await;
        }
        self.events().await
    }

    /// The app goes first: a gateway that stops would wait for it.
    async fn finish(self) {
        drop(self.app);
        self.gateway.finish().await;
    }

    async fn events(&mut self) -> Vec<v1::Event> {
        self.arrived().await;
        heard(&self.gateway, &mut self.app).await
    }
}

async fn gateway() -> (TestGateway, RawClient) {
    for recording in recordings() {
        recording.keys.iter().for_each(|(_, key)| leaks::watch_key(key));
    }
    let gateway = TestGateway::start().await;
    let mut app = RawClient::tls(gateway.tls(), gateway.tls_client("recorder", "1")).await;
    app.open("recorder", "1").await.unwrap();
    for device in ["1001", "1002"] {
        app.monitor(device).await;
    }
    (gateway, app)
}

/// Everything that the app was sent up to now.
async fn heard(gateway: &TestGateway, app: &mut RawClient) -> Vec<v1::Event> {
    gateway.gateway.flush().await;
    // The answer comes behind all events.
    app.send(to_gateway::Message::Monitor(v1::MonitorDevice { device: "1001".into(), classes: vec![] })).await;
    let mut events = Vec::new();
    loop {
        match app.next().await.unwrap().message.unwrap() {
            to_app::Message::Event(event) => events.push(event),
            to_app::Message::Monitored(_) => return events,
            _ => {}
        }
    }
}

fn opened(events: &[v1::Event]) -> impl Iterator<Item = (&v1::Event, &v1::MediaOpened)> {
    events.iter().filter_map(|event| match &event.body {
        Some(event::Body::MediaOpened(opened)) => Some((event, opened)),
        _ => None,
    })
}

/// The keys that came. A stream without one says why.
fn known(events: &[v1::Event]) -> Known {
    let mut known = Known::new();
    for (event, opened) in opened(events) {
        match &opened.keys {
            Some(keys) => {
                assert_eq!(opened.indicator(), Indicator::KeysAvailable);
                let key = [&keys.keys[0].key[..], &keys.keys[0].salt].concat();
                known.insert((event.device.clone(), opened.destination.parse().unwrap(), key));
            }
            None => {
                let why = (opened.indicator(), opened.reason());
                assert_eq!(why, (Indicator::KeysUnavailable, UnavailableReason::Switch));
            }
        }
    }
    known
}

#[tokio::test]
async fn in_order_and_twice_the_live_feed_says_what_the_replay_says() {
    for recording in recordings() {
        let (mut gateway, mut app) = gateway().await;
        let path = format!("{}/tests/data/{}/call.pcap", env!("CARGO_MANIFEST_DIR"), recording.name);
        let capture = callgate::switch::capture::Capture::open(path.as_ref()).unwrap();
        let replay = Replay::new("pbx".parse().unwrap(), capture, feed(None), Speed::AtOnce);
        gateway.attach(Box::new(replay));
        gateway.gateway.switch_ended().await.unwrap().1.unwrap();
        let replayed = heard(&gateway, &mut app).await;
        drop(app);
        gateway.finish().await;
        assert!(known(&replayed) == knowable(&recording.datagrams));

        for datagrams in [recording.datagrams.clone(), twice(&recording.datagrams)] {
            let mut scene = Scene::start(&["127.0.0.2"], None).await;
            let live = scene.play(&datagrams).await;
            // Numbers, times, calls, streams, generations and keys: all is the same, device by device.
            for device in ["1001", "1002"] {
                let of = |events: &[v1::Event]| -> Vec<_> {
                    events.iter().filter(|event| event.device == device).cloned().collect()
                };
                assert!(of(&live) == of(&replayed), "{}: {device}", recording.name);
            }
            recording.assert_true(&known(&live), "live");
            scene.finish().await;
        }
    }
}

#[tokio::test]
async fn r42b_lost_shuffled_and_begun_late_no_key_is_wrong_and_what_can_be_known_is_known() {
    for recording in recordings() {
        let all = &recording.datagrams;
        let mut damaged = vec![("from the middle", all[all.len() / 2..].to_vec())];
        for seed in 1..=3 {
            damaged.push(("lossy", lossy(all, &mut Random::new(seed))));
            damaged.push(("shuffled", shuffled(all, &mut Random::new(seed))));
        }
        let (gateway, app) = gateway().await;
        let sender = UdpSocket::bind("127.0.0.2:0").await.unwrap();
        let mut scene = Scene { gateway, app, sender, counts: watch::channel(ListenCounts::default()).1, sent: 0 };
        for (what, datagrams) in damaged {
            // A feed of its own each, so that none knows the call of another.
            scene.sent = 0;
            scene.attach(listener(&["127.0.0.2"], None)).await;
            let known = known(&scene.play(&datagrams).await);
            recording.assert_true(&known, what);
            assert!(known == knowable(&datagrams), "{}: {what}", recording.name);
        }
        scene.finish().await;
    }
}

#[tokio::test]
async fn a_call_whose_invite_was_lost_has_no_key_until_it_is_offered_again() {
    let recording = load("asterisk22-hold");
    let mut scene = Scene::start(&["127.0.0.2"], None).await;
    let (beginning, rest) = recording.datagrams.split_at(12);
    // The offers are lost, the answers come.
    let without_offers: Vec<_> = beginning
        .iter()
        .filter(|d| !contains(&d.bytes, b"\r\n\r\nv=0") || !contains(&d.bytes, b"INVITE sip:"))
        .cloned()
        .collect();
    assert!(without_offers.len() < beginning.len());
    let before = scene.play(&without_offers).await;
    assert!(known(&before).is_empty());
    let after = scene.play(rest).await;
    let healed: HashSet<_> =
        opened(&after).map(|(event, opened)| (event.device.as_str(), opened.direction())).collect();
    assert_eq!(healed.len(), 2, "both directions of the phone that held");
    assert!(known(&after) == knowable(rest));
    recording.assert_true(&known(&after), "healed");
    scene.finish().await;
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn r42b_who_does_not_know_the_password_is_refused_and_who_does_is_heard() {
    let recording = load("asterisk22-basic");
    let mut scene = Scene::start(&["127.0.0.2"], Some(b"another password")).await;
    assert!(scene.play(&recording.datagrams).await.is_empty());
    // Kamailio sends none at all.
    let without = &load("kamailio-basic").datagrams;
    assert!(scene.play(without).await.is_empty());
    let counts = scene.counts.borrow().feed.clone();
    assert_eq!((counts.used(), counts.refused[&Refusal::WrongPassword]), (0, scene.sent));
    let logs = leaks::logs();
    assert!(logs.contains("nothing that came so far can be used") && logs.contains("capture_password in hep.conf"));
    assert!(!logs.contains("hepsecret") && !logs.contains("another password"));

    scene.sent = 0;
    scene.attach(listener(&["127.0.0.2"], Some(recorded::PASSWORD))).await;
    let heard = scene.play(&recording.datagrams).await;
    assert!(known(&heard) == knowable(&recording.datagrams));
    scene.finish().await;
}

#[tokio::test]
async fn r5_who_may_not_send_is_not_heard() {
    let recording = load("asterisk22-basic");
    // The sender is at 127.0.0.2.
    let mut scene = Scene::start(&["127.0.0.3/32"], None).await;
    assert!(scene.play(&recording.datagrams).await.is_empty());
    let counts = scene.counts.borrow().clone();
    assert_eq!((counts.foreign, counts.feed.datagrams), (scene.sent, 0));
    let (from, sent) = (format!(" from={}", scene.sender.local_addr().unwrap()), scene.sent);
    let told = || {
        let logs = leaks::logs();
        let of_us = |line: &&str| line.contains("nobody there may send") && line.ends_with(&from);
        logs.lines().filter(of_us).map(|line| number(line, "datagrams")).collect::<Vec<u64>>()
    };
    assert_eq!(told().len(), 1, "once a minute, whatever comes");
    scene.finish().await;
    let told = told();
    assert_eq!((told.len(), told.iter().sum()), (2, sent), "the others at the end");
}

#[tokio::test]
async fn r42b_garbage_makes_nothing_and_the_feed_goes_on() {
    let recording = load("asterisk22-transfer");
    let mut scene = Scene::start(&["127.0.0.2"], None).await;
    let mut random = Random::new(7);
    let mut garbage: Vec<Vec<u8>> =
        vec![Vec::new(), b"HEP3".to_vec(), vec![0xff; 65_507], b"OPTIONS sip:a SIP/2.0\r\n\r\n".to_vec()];
    // The largest HEP packet that UDP can carry.
    let mut largest = b"HEP3\xff\xe3".to_vec();
    largest.resize(65_507, 0x41);
    garbage.push(largest);
    for i in 0..200 {
        // A true one that is cut, or with some bytes of it changed. Every other one says its true length, and gets further.
        let datagram = &recording.datagrams[usize::try_from(random.below(recording.datagrams.len() as u64)).unwrap()];
        let mut bytes = datagram.bytes.clone();
        bytes.truncate(usize::try_from(random.below(bytes.len() as u64)).unwrap());
        for _ in 0..random.below(4) {
            if let Some(byte) = usize::try_from(random.below(1500)).ok().and_then(|at| bytes.get_mut(at)) {
                *byte = u8::try_from(random.below(256)).unwrap();
            }
        }
        if i % 2 == 0
            && let Ok(length) = u16::try_from(bytes.len())
            && let Some(said) = bytes.get_mut(4..6)
        {
            said.copy_from_slice(&length.to_be_bytes());
        }
        garbage.push(bytes);
    }
    for datagram in &garbage {
        scene.send(datagram).await;
    }
    assert!(scene.events().await.is_empty());
    let counts = scene.counts.borrow().feed.clone();
    assert_eq!((counts.datagrams, counts.used()), (garbage.len() as u64, 0), "{counts}");

    let heard = scene.play(&recording.datagrams).await;
    assert!(known(&heard) == knowable(&recording.datagrams));
    scene.finish().await;
}

#[tokio::test]
async fn serve_takes_a_live_feed_and_a_flood_costs_neither_memory_nor_the_feed() {
    let recording = load("asterisk22-basic");
    recording.keys.iter().for_each(|(_, key)| leaks::watch_key(key));
    let doors = "[doors]\nclear = \"closed\"\ntls = \"127.0.0.1:0\"";
    let feed = "kind = \"hep\"\nlisten = \"127.0.0.1:0\"\npassword_file = \"hep.password\"\nqueue_bytes = 1048576";
    let mut served = Served::start_with(doors, feed, |serve| {
        fs::write(serve.get_current_dir().unwrap().join("hep.password"), [recorded::PASSWORD, b"\n"].concat()).unwrap();
        serve
    });
    let address = served.log_line("listens for HEP switch=pbx address=");
    let tls = served.log_line("door=\"tls\" address=");
    let read = |name: &str| fs::read(served.folder.path().join(name)).unwrap();
    let identity = Identity::from_pem(&read("recorder-1.pem"), &read("recorder-1.key")).unwrap();
    let app = Connector::tls(tls, "localhost", identity, Roots::from_pem(&read("ca.pem")).unwrap());
    let (session, mut events) = app.open("recorder", "1").await.unwrap();
    session.monitor("1001", &[]).await.unwrap();

    let sender = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    sender.connect(address).await.unwrap();
    // As fast as it goes, without waiting for anybody.
    let flood = vec![b'x'; 8192];
    let mut resident = Vec::new();
    for _ in 0..4 {
        for _ in 0..4000 {
            sender.send(&flood).await.unwrap();
        }
        let statm = fs::read_to_string(format!("/proc/{}/statm", served.child.id())).unwrap();
        resident.push(statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096);
    }
    let grown = resident[3].saturating_sub(resident[0]);
    assert!(grown < 8 << 20, "{grown} bytes more after 100 MB more: {resident:?}");

    // The first message again and again, until the flood before it is gone: then all others.
    let heard = async {
        loop {
            sender.send(&recording.datagrams[0].bytes).await.unwrap();
            let first = timeout(Duration::from_millis(100), events.next()).await;
            if matches!(first, Ok(Some(Event::CallState(..)))) {
                break;
            }
        }
        for datagram in &recording.datagrams[1..] {
            sender.send(&datagram.bytes).await.unwrap();
        }
        let mut known = Known::new();
        loop {
            match events.next().await.expect("the session ended") {
                Event::MediaOpened(head, media) => {
                    let keys = media.keys.expect("it has keys");
                    let key = [keys.keys[0].key.expose(), keys.keys[0].salt.expose()].concat();
                    known.insert((head.device, media.destination, key));
                }
                Event::CallState(_, changed) if changed.cause.is_some() => return known,
                _ => {}
            }
        }
    };
    let known = timeout(PATIENCE, heard).await.expect("the feed goes on");
    let of_phone = |known: Known| known.into_iter().filter(|(device, ..)| device == "1001").collect::<Known>();
    assert!(known.len() == 2 && known == of_phone(knowable(&recording.datagrams)));

    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
    for line in ["the first datagram has come", "nothing that came so far can be used"] {
        assert_eq!(log.matches(line).count(), 1, "{line}: {log}");
    }
    assert!(log.contains("a device that isn't configured") && log.contains("device=127.0.0.1:16020"), "{log}");
    assert!(log.contains("others than its owner may read or write the password"), "{log}");
    assert!(!log.contains("hepsecret"));
}

#[test]
fn serve_tells_true_totals_of_what_it_refuses_and_the_rest_when_it_stops() {
    let recording = load("asterisk22-basic");
    let feed = "kind = \"hep\"\nlisten = \"127.0.0.1:0\"\nnetworks = [\"127.0.0.2\"]";
    let mut served = Served::start_with("[doors]\nclear = \"closed\"\ntls = \"127.0.0.1:0\"", feed, |serve| serve);
    let address = served.log_line("listens for HEP switch=pbx address=");
    let [sender, foreign] = ["127.0.0.2:0", "127.0.0.9:0"].map(|from| {
        let socket = std::net::UdpSocket::bind(from).unwrap();
        socket.connect(&address).unwrap();
        socket
    });
    let send = |datagram: &[u8]| assert_eq!(sender.send(datagram).unwrap(), datagram.len());
    recording.datagrams[..8].iter().for_each(|datagram| send(&datagram.bytes));
    send(b"junk");
    let first = served.log_line("refused ");
    (0..4).for_each(|_| send(b"junk"));
    (0..3).for_each(|_| assert_eq!(foreign.send(b"junk").unwrap(), 4));
    // What is refused for another reason is told at once, and came last.
    send(b"HEP3");
    served.log_line("reason=\"malformed HEP\"");
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");

    let from = format!(" from={} reason=\"not HEPv3\" mend=\"let the sender use HEP", sender.local_addr().unwrap());
    assert!(first.contains(&from) && !log.contains("nothing that came so far can be used"), "{log}");
    let refused: Vec<&str> = log.lines().filter(|line| line.contains(&from)).collect();
    assert_eq!(refused.iter().map(|line| number(line, "datagrams")).sum::<u64>(), 5, "{log}");
    let last = refused.last().unwrap();
    assert_eq!((number(last, "in_all"), number(last, "used")), (5, 8), "{log}");
    let foreign: Vec<&str> = log.lines().filter(|line| line.contains("network=127.0.0.0/24 datagrams=")).collect();
    assert_eq!(foreign.iter().map(|line| number(line, "datagrams")).sum::<u64>(), 3, "{log}");
    assert!(foreign.iter().all(|line| line.contains("from=127.0.0.9:")), "{log}");
}

/// A field of a log line.
fn number(line: &str, field: &str) -> u64 {
    let behind = line.split_once(&format!(" {field}=")).expect("the field is there").1;
    behind.split(' ').next().unwrap().parse().unwrap()
}
