//! What a delivery allocates and copies: nothing besides what rustls does to seal a record.
//!
//! Everything runs in this process, so all allocations are counted, and what one more receiver costs is the difference
//! between many and few. The apps here take sealed bytes into memory that they have already, and look at them afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a test, with parts of the benchmarks"
)]

#[path = "../benches/paired/events.rs"]
mod events;
#[path = "../benches/paired/lab.rs"]
mod lab;

use std::{
    alloc::System,
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use callgate::{
    audit::{AuditLog, Fault, Kind, Options, Receiver, Record, Touch, Trail, Value},
    gateway::Gateway,
    hub::{Ask, Hub, SessionKey, WorkerId},
    model::{EventBatch, SwitchEvent, SwitchName},
    policy::Indication,
    switch::{Running, Switch, SwitchIo},
};
use callgate_wire::{
    VERSION, encode_frame,
    v1::{self, ToApp, ToGateway, to_app, to_gateway::Message},
};
use prost::Message as _;
use rustls::{ClientConfig, ClientConnection, ServerConnection, pki_types::ServerName};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};
use tokio::{runtime::Runtime, sync::mpsc};

use events::{DEVICE, Source, Subject};
use lab::{Lab, USER};

#[global_allocator]
static ALLOCATIONS: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Events of a round.
const EVENTS: usize = 200;
/// Rounds: one in which queues and buffers reach their size, and some of which the one with the fewest allocations counts. What
/// the process does by the clock, and a burst that a worker happens to take in two turns, only add to it.
const ROUNDS: usize = 4;
/// Events that come at once: a turn of a worker, and a record of their frames.
const BURST: usize = 50;
/// Receivers of a round, once few and once many.
const FEW: usize = 2;
const MANY: usize = 12;

/// All of the process is counted, so these tests take turns. The one that doesn't allocates little beside 2,400 deliveries.
static ALONE: Mutex<()> = Mutex::new(());

#[test]
fn a_delivery_allocates_what_its_seal_does_and_no_more() {
    let _alone = ALONE.lock();
    let lab = Lab::new(MANY);
    let seal = one_seal(&lab);
    println!("a seal: {:.3} allocations, {:.0} bytes", seal.allocations, seal.bytes);

    for subject in [Subject::Call, Subject::Keys] {
        let (few, many) = (deliveries(&lab, subject, FEW, 1), deliveries(&lab, subject, MANY, 1));
        let one = Cost {
            allocations: (many.allocations - few.allocations) / (MANY - FEW) as f64,
            bytes: (many.bytes - few.bytes) / (MANY - FEW) as f64,
        };
        let event = few.allocations - FEW as f64 * one.allocations;
        println!("{subject:?}: a delivery: {:.3} allocations, {:.0} bytes", one.allocations, one.bytes);
        println!("{subject:?}: an event, whoever gets it: {event:.1} allocations");
        assert!((one.allocations - seal.allocations).abs() < 0.05, "{subject:?}: a delivery allocates {one:?}");
        // A record of this length, and nothing of that size besides: the frame itself is not copied.
        assert!(one.bytes < seal.bytes + 64.0, "{subject:?}: a delivery allocates {one:?}");
    }
}

/// The events of a batch are one turn of the worker, so they leave in one record: for each session that is one seal, the
/// memory of its queue, and a list of what is sealed together, which rustls makes.
#[test]
fn a_burst_allocates_for_each_session_and_not_for_each_frame() {
    let _alone = ALONE.lock();
    let lab = Lab::new(MANY);
    let seal = one_seal(&lab);
    for subject in [Subject::Call, Subject::Keys] {
        let (few, many) = (deliveries(&lab, subject, FEW, BURST), deliveries(&lab, subject, MANY, BURST));
        let one = (many.allocations - few.allocations) / (MANY - FEW) as f64 * BURST as f64;
        println!("{subject:?}: {BURST} deliveries to a session: {one:.3} allocations");
        // A burst has an allocation more for each worker, too, and few sessions may be with one or with two.
        assert!(one < seal.allocations + 2.5, "{subject:?}: {BURST} deliveries to a session: {one} allocations");
    }
}

/// As often as a disclosure is recorded, whoever gets the key.
#[test]
fn r21_a_record_allocates_nothing() {
    const SESSIONS: [&str; 10] = ["s0660ea429d7e0"; 10];
    let _alone = ALONE.lock();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let log = AuditLog::open(Options::new(file("log"), file("key"), file("checkpoints"))).unwrap();
    let receivers = |tell: &mut dyn FnMut(Receiver<'_>)| {
        for session in SESSIONS {
            tell(Receiver { session, user: "recorder", instance: "1", door: "tls" });
        }
    };
    let (device, peer) = ("1001", SocketAddr::from(([192, 0, 2, 1], 4000)));
    let round = || {
        let region = Region::new(ALLOCATIONS);
        for generation in 0..50_u32 {
            let fields = [("device", device.into()), ("call", Value::shown(&peer)), ("generation", generation.into())];
            log.write(&Record::new(Kind::Disclosed, &fields).to(&receivers)).unwrap();
        }
        let stats = region.change();
        stats.allocations + stats.reallocations
    };
    // Buffers reach their size, and the keeper is at something else now and then.
    round();
    assert!((0..20).any(|_| round() == 0));
}

/// What waited for a disk that stood still, or that took nothing, needs no memory once it is there.
#[test]
fn r21_the_log_gives_back_what_a_bad_disk_has_made_it_take() {
    const BAD: u64 = 4 * 1024 * 1024;
    let _alone = ALONE.lock();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    let (stands_still, takes_nothing) = (Arc::new(RwLock::new(())), Arc::new(AtomicBool::new(false)));
    let (still, nothing) = (Arc::clone(&stands_still), Arc::clone(&takes_nothing));
    let fault = Fault::new(move |touch| match touch {
        Touch::Flush => still.read().map(drop).map_err(|_| ErrorKind::Other.into()),
        Touch::Write if nothing.load(Ordering::Relaxed) => Err(ErrorKind::StorageFull.into()),
        _ => Ok(()),
    });
    let options = Options::new(file("log"), file("key"), file("checkpoints"));
    let log = AuditLog::open(Options { fault: Some(fault), ..options }).unwrap();
    let live = || {
        let stats = ALLOCATIONS.stats();
        stats.bytes_allocated - stats.bytes_deallocated
    };
    let write = |bytes: u64| {
        let detail = "x".repeat(500);
        for _ in 0..bytes / 500 {
            log.write_soon(&Record::new(Kind::Administration, &[("detail", (&*detail).into())]));
        }
    };
    let comes_back = |before: usize| {
        let until = Instant::now() + Duration::from_secs(60);
        while live() > before + 256 * 1024 {
            assert!(Instant::now() < until, "{} bytes more than before", live() - before);
            thread::sleep(Duration::from_millis(10));
        }
    };

    write(1000);
    let before = live();
    let disk = stands_still.write().unwrap();
    write(BAD);
    assert!(live() > before + BAD as usize, "it waits in memory");
    drop(disk);
    comes_back(before);

    takes_nothing.store(true, Ordering::Relaxed);
    write(BAD / 2);
    assert!(live() > before + BAD as usize / 2, "it waits in memory");
    takes_nothing.store(false, Ordering::Relaxed);
    comes_back(before);
}

#[test]
fn all_receivers_share_the_memory_of_one_frame() {
    let mut hub = Hub::new([DEVICE.parse().unwrap()], 0);
    for (worker, place) in [(0, 0), (0, 1), (1, 0)] {
        let session = SessionKey { place, turn: 0 };
        hub.answer(WorkerId(worker), session, Ask::Subscribe(DEVICE.parse().unwrap())).unwrap();
    }
    let delivery = hub.publish(Source::new(Subject::Keys).event()).unwrap().unwrap();
    assert_eq!(delivery.workers().collect::<Vec<_>>(), [WorkerId(0), WorkerId(1)]);

    let first = delivery.event.frame(Indication::KeysAvailable, || Bytes::from(vec![1; 200]));
    let second = delivery.event.frame(Indication::KeysAvailable, || panic!("encoded a second time"));
    assert_eq!(first.as_ptr(), second.as_ptr());
    let without = delivery.event.frame(Indication::UserNotAuthorized, || Bytes::from(vec![2; 100]));
    assert_ne!(first.as_ptr(), without.as_ptr());
}

/// What one thing costs.
#[derive(Debug, Clone, Copy)]
struct Cost {
    allocations: f64,
    bytes: f64,
}

impl Cost {
    fn of(stats: Stats, things: usize) -> Self {
        let per = |count: usize| count as f64 / things as f64;
        Self { allocations: per(stats.allocations + stats.reallocations), bytes: per(stats.bytes_allocated) }
    }
}

/// What rustls allocates to seal a frame of the usual length.
fn one_seal(lab: &Lab) -> Cost {
    let name = ServerName::try_from("localhost").unwrap();
    let mut app = ClientConnection::new(Arc::clone(&lab.apps[0]), name).unwrap();
    let mut gateway = ServerConnection::new(lab::bare_config(lab.folder.path())).unwrap();
    let mut wire = Vec::with_capacity(64 * 1024);
    while app.is_handshaking() || gateway.is_handshaking() {
        app.write_tls(&mut wire).unwrap();
        gateway.read_tls(&mut &wire[..]).unwrap();
        gateway.process_new_packets().unwrap();
        wire.clear();
        while gateway.wants_write() {
            gateway.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            app.read_tls(&mut rest).unwrap();
            app.process_new_packets().unwrap();
        }
        wire.clear();
    }
    let frame = events::Template::new().frame(0);
    let mut seal = || {
        gateway.writer().write_all(&frame).unwrap();
        gateway.write_tls(&mut wire).unwrap();
        wire.clear();
    };
    seal();
    let region = Region::new(ALLOCATIONS);
    for _ in 0..EVENTS {
        seal();
    }
    Cost::of(region.change(), EVENTS)
}

/// What an event costs that goes to so many apps, each by TLS, if so many come at once.
fn deliveries(lab: &Lab, subject: Subject, receivers: usize, at_once: usize) -> Cost {
    let runtime = Runtime::new().unwrap();
    let mut gateway = runtime.block_on(Gateway::start(lab::gateway_config(lab.folder.path()))).unwrap();
    let (script, events) = mpsc::channel(1);
    let switch = Scripted { name: "bench".parse().unwrap(), events };
    runtime.block_on(async { gateway.attach(Box::new(switch)) });
    let address = gateway.tls_address().unwrap();
    let mut apps: Vec<_> = (0..receivers).map(|number| App::open(address, &lab.apps[number], number)).collect();

    let source = Source::new(subject);
    let round = |apps: &mut [App]| {
        let batch = || (0..at_once).map(|_| source.event()).collect();
        let batches: Vec<Vec<SwitchEvent>> = (0..EVENTS / at_once).map(|_| batch()).collect();
        let region = Region::new(ALLOCATIONS);
        for batch in batches {
            script.blocking_send(batch).unwrap();
            apps.iter_mut().for_each(App::take_record);
        }
        region.change()
    };
    round(&mut apps);
    let rounds = (1..ROUNDS).map(|_| round(&mut apps));
    let stats = rounds.min_by_key(|stats| stats.allocations + stats.reallocations).unwrap();
    for app in &mut apps {
        assert_eq!(
            app.numbers(),
            (1..=(ROUNDS * EVENTS) as u64).collect::<Vec<_>>(),
            "no event is lost or out of order"
        );
    }
    drop((script, apps));
    runtime.block_on(gateway.stop());
    Cost::of(stats, EVENTS)
}

/// An app that leaves what comes sealed until later.
struct App {
    tcp: TcpStream,
    tls: ClientConnection,
    sealed: Vec<u8>,
    taken: usize,
}

impl App {
    fn open(address: SocketAddr, config: &Arc<ClientConfig>, number: usize) -> Self {
        let tcp = TcpStream::connect(address).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let tls = ClientConnection::new(Arc::clone(config), name).unwrap();
        let mut app = Self { tcp, tls, sealed: Vec::new(), taken: 0 };
        app.ask(Message::Hello(v1::Hello { versions: vec![VERSION], ..Default::default() }));
        app.ask(Message::Open(v1::OpenRequest {
            user: USER.into(),
            instance: lab::instance(number),
            heartbeat_seconds: 0,
            authentication: Some(v1::open_request::Authentication::Certificate(v1::CertificateAuth {})),
        }));
        let monitored = app.ask(Message::Monitor(v1::MonitorDevice { device: DEVICE.into(), classes: vec![] }));
        assert!(matches!(monitored, to_app::Message::Monitored(_)), "{monitored:?}");
        app.sealed = vec![0; ROUNDS * EVENTS * 1024];
        app
    }

    fn ask(&mut self, message: Message) -> to_app::Message {
        let mut frame = Vec::new();
        encode_frame(&ToGateway { request_id: 1, message: Some(message) }, &mut frame);
        let mut stream = rustls::Stream::new(&mut self.tls, &mut self.tcp);
        stream.write_all(&frame).unwrap();
        let mut header = [0; 4];
        stream.read_exact(&mut header).unwrap();
        let mut answer = vec![0; u32::from_be_bytes(header) as usize];
        stream.read_exact(&mut answer).unwrap();
        ToApp::decode(&answer[..]).unwrap().message.unwrap()
    }

    /// Takes one TLS record, and allocates nothing.
    fn take_record(&mut self) {
        const HEADER: usize = 5;
        let (start, end) = (self.taken, self.taken + HEADER);
        self.tcp.read_exact(&mut self.sealed[start..end]).unwrap();
        let length = u16::from_be_bytes([self.sealed[start + 3], self.sealed[start + 4]]) as usize;
        self.tcp.read_exact(&mut self.sealed[end..end + length]).unwrap();
        self.taken = end + length;
    }

    /// The numbers of all events that came.
    fn numbers(&mut self) -> Vec<u64> {
        let (mut sealed, mut plain) = (&self.sealed[..self.taken], Vec::new());
        while !sealed.is_empty() {
            self.tls.read_tls(&mut sealed).unwrap();
            let state = self.tls.process_new_packets().unwrap();
            let at = plain.len();
            plain.resize(at + state.plaintext_bytes_to_read(), 0);
            self.tls.reader().read_exact(&mut plain[at..]).unwrap();
        }
        let mut numbers = Vec::new();
        let taken = events::messages(&plain, |message| numbers.push(events::number(message).unwrap()));
        assert_eq!(taken, plain.len());
        numbers
    }
}

struct Scripted {
    name: SwitchName,
    events: mpsc::Receiver<Vec<SwitchEvent>>,
}

impl Switch for Scripted {
    fn name(&self) -> &SwitchName {
        &self.name
    }

    fn run(mut self: Box<Self>, io: SwitchIo) -> Running {
        Box::pin(async move {
            while let Some(events) = self.events.recv().await {
                io.events.send(EventBatch { arrived: Instant::now(), events }).await.unwrap();
            }
            Ok(())
        })
    }
}
