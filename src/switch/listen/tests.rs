use std::sync::Mutex;

use tokio::{net::UdpSocket, sync::oneshot};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    model::{Address, CallDirection, CallId, CallRef, CallState, EventBatch, EventBody, LineNumber, Timestamp},
    switch::{
        Action, Command, CommandError, KnownDevices,
        feed::Refusal,
        tracker::{Bound, TrackerCounts},
    },
};

/// What a feed was told of devices at once.
type Told = Vec<(Address, DeviceName)>;

/// How long after a datagram that begins with `later` something is due.
const LATER: Duration = Duration::from_millis(100);

/// Keeps what it gets, makes an event of each datagram that begins with `event`, and refuses those that begin with `bad`.
#[derive(Default)]
struct Fake {
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
    /// When each datagram came; `None` stands for a deadline.
    arrivals: Arc<Mutex<Vec<Option<Timestamp>>>>,
    deadline: Option<Instant>,
    /// What it was told of devices.
    devices: Arc<Mutex<Vec<Told>>>,
}

impl Feed for Fake {
    fn on_datagram(
        &mut self,
        datagram: &mut [u8],
        at: Timestamp,
        now: Instant,
        out: &mut Vec<SwitchEvent>,
    ) -> Result<(), Refusal> {
        self.seen.lock().unwrap().push(datagram.to_vec());
        self.arrivals.lock().unwrap().push(Some(at));
        if datagram.starts_with(b"event") {
            out.push(event("127.0.0.1:5060", at));
        }
        if datagram.starts_with(b"later") {
            self.deadline = Some(now + LATER);
        }
        if datagram.starts_with(b"bad") { Err(Refusal::NotHep) } else { Ok(()) }
    }

    fn set_devices(&mut self, devices: &[(Address, DeviceName)]) {
        self.devices.lock().unwrap().push(devices.to_vec());
    }

    fn on_time(&mut self, now: Instant, out: &mut Vec<SwitchEvent>) {
        if self.deadline.take_if(|deadline| *deadline <= now).is_some() {
            self.arrivals.lock().unwrap().push(None);
            out.push(event("timer", Timestamp(0)));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    fn bounds(&self) -> TrackerCounts {
        let mut counts = TrackerCounts::default();
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|datagram| datagram.starts_with(b"bad")).for_each(|_| counts.note(Bound::Calls));
        counts
    }
}

fn event(device: &str, at: Timestamp) -> SwitchEvent {
    call_event(device, at, CallState::Dialing)
}

pub(super) fn call_event(device: &str, at: Timestamp, state: CallState) -> SwitchEvent {
    let call = CallRef {
        id: CallId(1),
        switch: "pbx".parse().unwrap(),
        switch_call: None,
        sip_call_id: "a".into(),
        direction: CallDirection::Outgoing,
        calling: Default::default(),
        called: Default::default(),
    };
    let (device, line) = (device.parse().unwrap(), LineNumber::FIRST);
    SwitchEvent { at, device, line, call: Arc::new(call), body: EventBody::Call(state) }
}

/// A listener that runs, and both ends of it.
struct Scene {
    sender: UdpSocket,
    counts: watch::Receiver<ListenCounts>,
    events: mpsc::Receiver<EventBatch>,
    commands: mpsc::Sender<Command>,
    known: watch::Sender<Arc<KnownDevices>>,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<Result<(), SwitchError>>,
}

impl Scene {
    async fn start(networks: &[&str], feed: Fake) -> Self {
        let settings = ListenSettings {
            name: "pbx".parse().unwrap(),
            address: "127.0.0.1:0".parse().unwrap(),
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            queue_bytes: 0,
            devices: HashSet::new(),
        };
        let listener = HepListener::bind(settings, feed).unwrap();
        let sender = UdpSocket::bind("127.0.0.2:0").await.unwrap();
        sender.connect(listener.local_addr()).await.unwrap();
        let counts = listener.counts();
        let (events_in, events) = mpsc::channel(1);
        let (commands, commands_out) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let (known, devices) = watch::channel(Arc::default());
        let io = SwitchIo { events: events_in, commands: commands_out, devices, stop: stop.clone() };
        let running = tokio::spawn(Box::new(listener).run(io));
        Self { sender, counts, events, commands, known, stop, running }
    }

    async fn until(&mut self, done: impl Fn(&ListenCounts) -> bool) -> ListenCounts {
        let waiting = tokio::time::timeout(Duration::from_secs(30), self.counts.wait_for(|counts| done(counts)));
        waiting.await.expect("it never came to that").unwrap().clone()
    }
}

#[tokio::test]
async fn the_feed_knows_new_devices_before_what_comes_behind_them() {
    let fake = Fake::default();
    let (told, seen) = (Arc::clone(&fake.devices), Arc::clone(&fake.seen));
    let mut scene = Scene::start(&["127.0.0.2"], fake).await;
    let desk = ("udp:192.0.2.1:5060".parse().unwrap(), "desk".parse::<DeviceName>().unwrap());
    for devices in [vec![desk.clone()], vec![]] {
        let names = devices.iter().map(|(_, name)| name.clone()).collect();
        scene.known.send_replace(Arc::new(KnownDevices { addresses: devices.clone(), names }));
        let before = seen.lock().unwrap().len();
        scene.sender.send(b"any").await.unwrap();
        scene.until(|counts| counts.feed.datagrams == before as u64 + 1).await;
        assert_eq!(told.lock().unwrap().last(), Some(&devices));
    }
    assert_eq!(told.lock().unwrap().len(), 2, "once for each change");
}

#[tokio::test]
async fn datagrams_become_events_in_their_order_and_refusals_are_counted() {
    let fake = Fake::default();
    let seen = Arc::clone(&fake.seen);
    let mut scene = Scene::start(&["127.0.0.2"], fake).await;
    let largest = vec![b'x'; 65_507];
    for datagram in [&b"event 1"[..], b"", b"bad", &largest, b"event 2"] {
        scene.sender.send(datagram).await.unwrap();
    }
    let counts = scene.until(|counts| counts.feed.datagrams == 5).await;
    assert_eq!((counts.feed.refused(), counts.feed.refused[&Refusal::NotHep]), (1, 1));
    assert_eq!(*seen.lock().unwrap(), [&b"event 1"[..], b"", b"bad", &largest, b"event 2"]);
    assert!(!scene.events.recv().await.unwrap().is_empty());
    scene.stop.cancel();
    assert_eq!(scene.running.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn r5_a_foreign_source_is_counted_and_nothing_of_it_is_looked_at() {
    let fake = Fake::default();
    let seen = Arc::clone(&fake.seen);
    let mut scene = Scene::start(&["127.0.0.3/32"], fake).await;
    for _ in 0..10 {
        scene.sender.send(b"event").await.unwrap();
    }
    let counts = scene.until(|counts| counts.foreign == 10).await;
    assert_eq!((counts.feed.datagrams, seen.lock().unwrap().len()), (0, 0));
}

#[tokio::test]
async fn r41a_while_the_house_is_full_datagrams_wait_then_are_dropped_and_counted_and_then_it_goes_on() {
    let mut scene = Scene::start(&["127.0.0.2"], Fake::default()).await;
    let mut datagram = vec![0; 32_768];
    datagram[..5].copy_from_slice(b"event");
    // Nobody takes events. What the queue has no room for is dropped by it, if the kernel left anything to drop.
    let mut sent = 0;
    let dropped = loop {
        scene.sender.send(&datagram).await.unwrap();
        sent += 1;
        let counts = scene.counts.borrow().clone();
        if counts.dropped >= 10 {
            break counts.dropped;
        }
        assert!(sent < 10_000, "{counts:?}");
        if sent % 4 == 0 {
            tokio::task::yield_now().await;
        }
    };
    // Three batches of up to seven: what was taken is bounded by the queue, whatever came.
    assert!(sent - dropped >= 14, "{sent} {dropped}");
    scene.events.recv().await.unwrap();
    let mut events = 1;
    let mut taken = scene.counts.borrow().feed.datagrams;
    while taken < 14 {
        events += scene.events.recv().await.unwrap().len();
        taken = scene.counts.borrow().feed.datagrams;
    }
    assert!(events >= 1);
    scene.sender.send(b"later").await.unwrap();
    let timer = tokio::time::timeout(Duration::from_secs(30), async {
        loop {
            let batch = scene.events.recv().await.unwrap();
            if batch.iter().any(|event| event.device.as_str() == "timer") {
                break;
            }
        }
    });
    timer.await.expect("the feed goes on, and so does its time");
}

#[tokio::test]
async fn what_came_before_a_deadline_is_tracked_before_it_however_long_the_house_was_full() {
    let fake = Fake::default();
    let (seen, arrivals) = (Arc::clone(&fake.seen), Arc::clone(&fake.arrivals));
    let mut scene = Scene::start(&["127.0.0.2"], fake).await;
    // The house has room for one batch of events, so the second one waits, and all that comes behind it.
    for n in 1..=2 {
        scene.sender.send(b"event").await.unwrap();
        while seen.lock().unwrap().len() < n {
            tokio::task::yield_now().await;
        }
    }
    scene.sender.send(b"later").await.unwrap();
    for _ in 0..50 {
        tokio::task::yield_now().await;
        scene.sender.send(b"before").await.unwrap();
    }
    // The deadline passes while all of it waits.
    tokio::time::sleep(2 * LATER).await;
    let first = scene.events.recv().await.unwrap();
    assert!(first.arrived.elapsed() >= 2 * LATER, "what waits is as old as what said so, and not as its hand-over");
    let mut timer = false;
    while !timer {
        timer = scene.events.recv().await.unwrap().iter().any(|event| event.device.as_str() == "timer");
    }
    let arrivals = arrivals.lock().unwrap().clone();
    let later = arrivals[2].unwrap().0;
    let due = arrivals.iter().position(Option::is_none).unwrap();
    let deadline = later + i64::try_from(LATER.as_micros()).unwrap();
    let late = arrivals[due..].iter().flatten().filter(|at| at.0 < deadline).count();
    assert_eq!(late, 0, "{late} datagrams came before the deadline and were tracked after it");
    scene.until(|counts| counts.feed.datagrams == 53).await;
}

#[tokio::test]
async fn commands_are_refused_also_while_the_house_is_full() {
    let scene = Scene::start(&["127.0.0.2"], Fake::default()).await;
    for _ in 0..4 {
        scene.sender.send(b"event").await.unwrap();
    }
    let (answer, answered) = oneshot::channel();
    let action = Action::Drop { call: CallId(1) };
    scene.commands.send(Command { device: "1001".parse().unwrap(), action, answer }).await.unwrap();
    let refused = CommandError::Unsupported { switch: "pbx".parse().unwrap(), action: "drop" };
    assert_eq!(answered.await.unwrap(), Err(refused));
    scene.stop.cancel();
    assert_eq!(scene.running.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn a_feed_whose_house_is_gone_ends_with_an_error() {
    let mut scene = Scene::start(&["127.0.0.2"], Fake::default()).await;
    scene.events.close();
    scene.sender.send(b"event").await.unwrap();
    assert_eq!(scene.running.await.unwrap(), Err(SwitchError::Unheard("pbx".parse().unwrap())));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let settings = ListenSettings {
        name: "pbx".parse().unwrap(),
        address: taken.local_addr().unwrap(),
        networks: Vec::new(),
        queue_bytes: 0,
        devices: HashSet::new(),
    };
    let error = HepListener::bind(settings, Fake::default()).err().unwrap().to_string();
    assert!(error.starts_with("can't listen for HEP at 127.0.0.1:") && error.contains("in use"), "{error}");
}

/// What was counted, by name and labels.
#[derive(Default, Clone)]
struct Recorded(Arc<Mutex<std::collections::BTreeMap<String, Arc<std::sync::atomic::AtomicU64>>>>);

impl metrics::Recorder for Recorded {
    fn describe_counter(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_gauge(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}
    fn describe_histogram(&self, _: metrics::KeyName, _: Option<metrics::Unit>, _: metrics::SharedString) {}

    fn register_counter(&self, key: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Counter {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        metrics::Counter::from_arc(Arc::clone(self.0.lock().unwrap().entry(name).or_default()))
    }

    fn register_gauge(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Gauge {
        metrics::Gauge::noop()
    }

    fn register_histogram(&self, _: &metrics::Key, _: &metrics::Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::noop()
    }
}

#[test]
fn r43_every_count_has_its_metric() {
    let recorded = Recorded::default();
    metrics::with_local_recorder(&recorded, || {
        // One thread, so that the recorder is there wherever the tasks run.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut scene = Scene::start(&["127.0.0.2"], Fake::default()).await;
            let foreign = UdpSocket::bind("127.0.0.9:0").await.unwrap();
            foreign.send_to(b"x", scene.sender.peer_addr().unwrap()).await.unwrap();
            for datagram in [&b"x"[..], b"bad"] {
                scene.sender.send(datagram).await.unwrap();
            }
            scene.until(|counts| counts.feed.datagrams == 2 && counts.foreign == 1).await;
        });
    });
    let counted = recorded.0.lock().unwrap();
    let counted: Vec<_> =
        counted.iter().map(|(name, count)| (name.as_str(), count.load(std::sync::atomic::Ordering::Relaxed))).collect();
    assert_eq!(
        counted,
        [
            ("callgate_feed_bounds_reached_total{switch=pbx,bound=calls}", 1),
            ("callgate_feed_datagrams_dropped_total{switch=pbx,by=kernel}", 0),
            ("callgate_feed_datagrams_dropped_total{switch=pbx,by=queue}", 0),
            ("callgate_feed_datagrams_foreign_total{switch=pbx}", 1),
            ("callgate_feed_datagrams_refused_total{switch=pbx,reason=not HEPv3}", 1),
            ("callgate_feed_datagrams_total{switch=pbx}", 2),
            ("callgate_feed_receive_errors_total{switch=pbx}", 0),
        ]
    );
}
