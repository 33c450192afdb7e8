//! A user leaves the SRTP group in the middle of a call load: no key after the acknowledgement (R15, R16).
//!
//! `CALLGATE_LONG=1` repeats it 1,000 times.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use callgate::model::{CallRef, SwitchEvent};
use callgate_wire::v1::{self, Indicator, event, to_app};
use common::{
    ALL_THREE, SECURE, TestGateway, TestUser,
    raw::RawClient,
    scripted::{Script, call, fresh_key},
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};

/// The stream of events that tell how far things are.
const MARKER: u64 = 99;
/// How many events of the load may be on their way.
const IN_FLIGHT: usize = 512;
/// Far more than the buffers of a socket hold, in events of 16 KiB.
const LARGE: u32 = 320;
/// No step takes as long as this.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a reader of the load tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// Its rights changed: whether it may have keys, and how many events came without one while it might have.
    Changed { keys: bool, withheld: usize },
    /// A marker came: with or without a key.
    Marker { with_key: bool },
}

/// What one session has heard.
struct Hearing {
    may_have_keys: bool,
    withheld: usize,
    events: u64,
}

impl Hearing {
    fn new() -> Self {
        Self { may_have_keys: true, withheld: 0, events: 0 }
    }

    /// Takes a message. **A key after the message that says that there are none is what must not be.**
    fn take(&mut self, message: to_app::Message) -> Option<News> {
        match message {
            to_app::Message::CapabilityChanged(changed) => {
                let withheld = std::mem::take(&mut self.withheld);
                self.may_have_keys = changed.keys;
                Some(News::Changed { keys: changed.keys, withheld })
            }
            to_app::Message::Event(v1::Event { body: Some(event::Body::MediaOpened(opened)), .. }) => {
                self.events += 1;
                let with_key = opened.indicator() == Indicator::KeysAvailable;
                assert_eq!(with_key, opened.keys.is_some());
                assert!(self.may_have_keys || !with_key, "a key by rights that were taken away");
                self.withheld += usize::from(self.may_have_keys && !with_key);
                (opened.stream == format!("m{MARKER:013x}")).then_some(News::Marker { with_key })
            }
            to_app::Message::Heartbeat(_) => None,
            other => panic!("{other:?}"),
        }
    }
}

async fn next(client: &mut RawClient) -> to_app::Message {
    client.received.clear();
    client.next().await.expect("the session ended").message.unwrap()
}

async fn recorder(gateway: &TestGateway, instance: &str, device: &str) -> RawClient {
    let config = gateway.tls_client("recorder", instance);
    let mut client = match device {
        "1002" => RawClient::tls_narrow(gateway.tls(), config).await,
        _ => RawClient::tls(gateway.tls(), config).await,
    };
    client.open("recorder", instance).await.unwrap();
    client.monitor(device).await;
    client
}

/// New keys of device 1001, as fast as the first reader takes them.
async fn load(script: Script, key: Vec<u8>, room: Arc<Semaphore>, stop: Arc<AtomicBool>) {
    let call = call("1001", 1);
    for first in (1u32..).step_by(8) {
        room.acquire_many(8).await.unwrap().forget();
        if stop.load(Ordering::Relaxed) {
            return;
        }
        script.say((first..first + 8).map(|generation| call.opened(1, generation, Some(&key))).collect()).await;
    }
}

fn large(generation: u32, key: &[u8]) -> SwitchEvent {
    let mut event = call("1002", 2).opened(2, generation, Some(key));
    event.call = Arc::new(CallRef { sip_call_id: "x".repeat(16 * 1024), ..(*event.call).clone() });
    event
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_no_key_after_the_acknowledgement_that_the_user_has_left_the_srtp_group() {
    let repetitions: u32 = if common::is_long() { 1000 } else { 10 };
    // Its clients send no heartbeats.
    let head = "[heartbeat]\ndefault_seconds = 3600\nmax_seconds = 3600\n[limits]\nworkers = 2\nqueued_bytes_per_session = 67108864\n";
    let user = |groups| [TestUser { name: "recorder", groups, devices: &["1001", "1002"] }];
    let mut gateway = TestGateway::start_unwatched(&user(ALL_THREE), head).await;
    let (with_keys, without) = (gateway.config(&user(ALL_THREE), head), gateway.config(&user(SECURE), head));
    let key = fresh_key();

    // Three that read at once, on two workers, and two that read only after each change: what waits for them counts, too.
    let (room, stop, heard) =
        (Arc::new(Semaphore::new(IN_FLIGHT)), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut quick = Vec::new();
    for instance in ["1", "2", "3"] {
        let mut client = recorder(&gateway, instance, "1001").await;
        let (news, receiver) = mpsc::unbounded_channel();
        let (room, heard) = ((instance == "1").then(|| Arc::clone(&room)), Arc::clone(&heard));
        let reads = tokio::spawn(async move {
            let mut hearing = Hearing::new();
            loop {
                let before = hearing.events;
                let said = hearing.take(next(&mut client).await);
                heard.fetch_add(hearing.events - before, Ordering::Relaxed);
                match (said, &room) {
                    (Some(said), _) if news.send(said).is_err() => return,
                    (None, Some(room)) if hearing.events > before => room.add_permits(1),
                    _ => {}
                }
            }
        });
        quick.push((receiver, reads));
    }
    let mut slow = Vec::new();
    for instance in ["4", "5"] {
        slow.push((recorder(&gateway, instance, "1002").await, Hearing::new()));
    }
    let script = gateway.script.clone();
    let loading = tokio::spawn(load(script.clone(), key.clone(), Arc::clone(&room), Arc::clone(&stop)));

    let marker_call = call("1001", 3);
    let (begin, mut withheld_in_all, mut slowest, mut generation) = (Instant::now(), 0, Duration::ZERO, 0);
    for repetition in 1..=repetitions {
        generation += 1;
        for first in (0..LARGE).step_by(10) {
            let numbers = (repetition * LARGE + first)..(repetition * LARGE + first + 10);
            script.say(numbers.map(|generation| large(generation, &key)).collect()).await;
        }
        // When the marker is there the large ones have been delivered, as far as the sockets took them.
        script.say(vec![marker_call.opened(MARKER, generation, Some(&key))]).await;
        for (news, _) in &mut quick {
            assert_eq!(told(news).await, News::Marker { with_key: true });
        }

        let asked = Instant::now();
        let reloaded = gateway.reload(without.clone()).await;
        slowest = slowest.max(asked.elapsed());
        assert_eq!((reloaded.effect.sessions, reloaded.effect.changed, reloaded.effect.closed), (5, 5, 0));
        // What the switch says from now on leaves without its key.
        generation += 1;
        script.say(vec![marker_call.opened(MARKER, generation, Some(&key))]).await;
        let mut withheld = 0;
        for (news, _) in &mut quick {
            let News::Changed { keys: false, withheld: some } = told(news).await else { panic!("not told") };
            withheld += some;
            assert_eq!(told(news).await, News::Marker { with_key: false });
        }
        for (client, hearing) in &mut slow {
            let News::Changed { keys: false, withheld: some } = until_changed(client, hearing).await else { panic!() };
            assert!(some > 0, "nothing waited of {} events", hearing.events);
            withheld += some;
        }
        // Each key that was taken out of a frame is one that an app didn't get.
        assert_eq!(withheld, reloaded.effect.withheld);
        withheld_in_all += withheld;

        gateway.reload(with_keys.clone()).await;
        for (news, _) in &mut quick {
            assert_eq!(told(news).await, News::Changed { keys: true, withheld: 0 });
        }
        for (client, hearing) in &mut slow {
            assert_eq!(until_changed(client, hearing).await, News::Changed { keys: true, withheld: 0 });
        }
    }
    println!(
        "{repetitions} repetitions in {:.1?}: {} events of the load heard, {withheld_in_all} keys taken out of what waited, \
         the slowest acknowledgement after {slowest:.1?}",
        begin.elapsed(),
        heard.load(Ordering::Relaxed),
    );
    stop.store(true, Ordering::Relaxed);
    room.add_permits(8);
    loading.await.unwrap();
    for (news, reads) in quick {
        drop(news);
        reads.abort();
        assert!(!reads.await.is_err_and(|error| error.is_panic()), "a reader found a key");
    }
    gateway.gateway.stop().await;
}

async fn told(news: &mut mpsc::UnboundedReceiver<News>) -> News {
    timeout(PATIENCE, news.recv()).await.expect("nothing was told").expect("a reader found a key")
}

async fn until_changed(client: &mut RawClient, hearing: &mut Hearing) -> News {
    loop {
        if let Some(news) = hearing.take(next(client).await) {
            return news;
        }
    }
}
