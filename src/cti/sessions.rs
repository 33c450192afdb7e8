//! The sessions of a worker, and the delivery of events to them.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use callgate_wire::v1::{self, ErrorCode, to_app};
use metrics::counter;
use tokio::{io::Ready, task::spawn_local, time::timeout};

use super::{
    FAREWELL, SLOW_FAREWELL, WorkerSettings,
    audit::{self, Fingerprint},
    encode,
    live::{Live, Outlook},
    session::{Action, Classes},
    subscribers::{Subscriber, Subscribers},
};
use crate::{
    hub::{Answer, Ask, Published, Request, SessionKey},
    model::{EventBody, Protection},
    policy::{Disclosure, Indication, MediaAccess, Rule, StreamProtection, disclose},
};

/// How many requests of one session are taken before others have their turn.
const REQUESTS_PER_TURN: usize = 32;
/// As much as one read takes from a socket.
const SCRATCH: usize = 16 * 1024;

/// The sessions of a worker.
pub(super) struct Sessions {
    worker: WorkerSettings,
    places: Vec<Place>,
    free: Vec<u32>,
    subscribers: Subscribers,
    /// Who holds frames until the end of the worker's turn.
    holding: Vec<SessionKey>,
    scratch: Box<[u8]>,
    load: Arc<AtomicUsize>,
    leaving: Rc<Cell<usize>>,
}

/// Whether more is delivered in the same turn of the worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum More {
    /// Frames are held, so that they leave together.
    Follows,
    /// Frames leave at once.
    Nothing,
}

struct Place {
    turn: u32,
    live: Option<Box<Live>>,
}

impl Sessions {
    pub(super) fn new(worker: WorkerSettings, load: Arc<AtomicUsize>) -> Self {
        Self {
            worker,
            places: Vec::new(),
            free: Vec::new(),
            subscribers: Subscribers::default(),
            holding: Vec::new(),
            scratch: vec![0; SCRATCH].into(),
            load,
            leaving: Rc::default(),
        }
    }

    /// Takes a session in.
    pub(super) fn insert(&mut self, live: Live) -> SessionKey {
        let live = Some(Box::new(live));
        if let Some(place) = self.free.pop()
            && let Some(entry) = self.places.get_mut(place as usize)
        {
            entry.live = live;
            return SessionKey { place, turn: entry.turn };
        }
        self.places.push(Place { turn: 0, live });
        let place = u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX);
        SessionKey { place, turn: 0 }
    }

    /// A session that was meant for this worker did not arrive.
    pub(super) fn lost_one(&self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many sessions are saying good-bye.
    pub(super) fn leaving(&self) -> usize {
        self.leaving.get()
    }

    /// What the session's task waits for. `None`: the session is gone.
    pub(super) fn outlook(&self, key: SessionKey) -> Option<Outlook> {
        let place = self.places.get(key.place as usize).filter(|place| place.turn == key.turn)?;
        place.live.as_deref().map(Outlook::of)
    }

    /// Delivers an event to all who monitor its device.
    ///
    /// Whether a key leaves is decided here, and recorded, directly before the frame goes to the TLS seal (R16, R21): at
    /// once, or with [`flush_held`](Self::flush_held) at the end of the worker's turn if more is to be delivered in it.
    pub(super) fn deliver(&mut self, published: &Published, more: More) {
        let event = &published.event;
        let device = self.worker.settings.directory.device(event.device.as_str());
        let restricted = device.is_some_and(|device| !device.line_is_visible(event.line));
        let fingerprint = Fingerprint::of(published);
        let (mut deliveries, mut failed, mut judged) = (0, Vec::new(), Vec::new());

        for subscriber in self.subscribers.of(&event.device) {
            let key = subscriber.session;
            if !subscriber.wants(published.class) {
                continue;
            }
            let Some(live) = live_at(&mut self.places, key) else { continue };
            let disclosure = judge(&self.worker, live, subscriber, published, restricted);
            let Disclosure::Event(indication, rule) = disclosure else { continue };
            audit::disclosure(live.name(), live.session.identity(), published, &fingerprint, indication, rule);
            note(&mut judged, indication);
            let frame = published.frame(indication, || encode::event(published, indication, rule));
            let sent = match more {
                More::Nothing => live.send(frame).map(|()| false),
                More::Follows => live.hold(frame),
            };
            match sent {
                Ok(is_first_held) => {
                    deliveries += 1;
                    if is_first_held {
                        self.holding.push(key);
                    }
                }
                Err(code) => {
                    // Recorded, and then not sent after all (R21).
                    audit::dropped(live.name(), live.session.identity(), published, &fingerprint, indication, code);
                    failed.push((key, code));
                }
            }
        }
        counter!("callgate_deliveries_total").increment(deliveries);
        audit::count_disclosures(published, &judged);
        for (key, code) in failed {
            self.close(key, code);
        }
    }

    /// Sends what was held: the worker's turn ends.
    pub(super) fn flush_held(&mut self) {
        while let Some(key) = self.holding.pop() {
            if let Some(live) = self.live(key)
                && let Err(code) = live.flush_held()
            {
                self.close(key, code);
            }
        }
    }

    /// Takes an answer of the hub.
    pub(super) fn on_answer(&mut self, key: SessionKey, token: u64, answer: Answer) {
        let Some(live) = self.live(key) else { return };
        let was_busy = live.session.is_busy();
        let actions = live.session.on_answer(token, answer);
        if was_busy && !live.session.is_busy() {
            // Its task goes on taking requests.
            live.wake();
        }
        for action in actions {
            self.perform(key, action);
        }
    }

    /// The socket has something to read or room to write; `None`: it is broken.
    pub(super) fn on_ready(&mut self, key: SessionKey, ready: Option<Ready>) {
        let Some(ready) = ready else { return self.close(key, ErrorCode::ConnectionLost) };
        if ready.is_writable()
            && let Some(live) = self.live(key)
            && let Err(code) = live.flush()
        {
            return self.close(key, code);
        }
        if ready.is_readable() || ready.is_read_closed() {
            let Some(live) = live_at(&mut self.places, key) else { return };
            let received = live.receive(&mut self.scratch);
            // What came before the end still counts, as far as one turn takes it.
            self.on_buffered(key);
            if let Err(code) = received {
                self.close(key, code);
            }
        }
    }

    /// Takes requests that have arrived whole: so many in one turn, and none while as many wait for answers as may.
    ///
    /// Others have their turn before the rest is taken.
    pub(super) fn on_buffered(&mut self, key: SessionKey) {
        for _ in 0..REQUESTS_PER_TURN {
            let Some(live) = self.live(key) else { return };
            if live.session.is_busy() {
                return;
            }
            match live.decoder.next_message::<v1::ToGateway>() {
                Ok(None) => return,
                Ok(Some(message)) => {
                    if let Some(action) = live.session.on_message(message) {
                        self.perform(key, action);
                    }
                }
                Err(callgate_wire::FrameError::TooLarge { .. }) => return self.close(key, ErrorCode::FrameTooLarge),
                Err(_) => return self.close(key, ErrorCode::FrameMalformed),
            }
        }
    }

    /// The session's deadline has come.
    pub(super) fn on_time(&mut self, key: SessionKey) {
        if let Some(live) = self.live(key)
            && let Some(action) = live.session.on_time(Instant::now())
        {
            self.perform(key, action);
        }
    }

    /// Ends a session: tells it why if it can still be told, forgets what it monitored, and frees its place.
    pub(super) fn close(&mut self, key: SessionKey, code: ErrorCode) {
        let Some(place) = place_at(&mut self.places, key) else { return };
        let Some(live) = place.live.take() else { return };
        place.turn = place.turn.wrapping_add(1);
        self.free.push(key.place);
        self.load.fetch_sub(1, Ordering::Relaxed);

        for device in live.session.monitored() {
            self.subscribers.keep(device, key, Classes::default());
            self.ask(key, 0, Ask::Forget(device.clone()));
        }
        audit::closed(live.name(), live.session.identity(), code);
        if code == ErrorCode::ConnectionLost {
            return;
        }
        let mut socket = live.leave();
        // What waits for a slow consumer would only delay the news that it was one.
        socket.forget_waiting();
        let leaving = Rc::clone(&self.leaving);
        leaving.set(leaving.get() + 1);
        spawn_local(async move {
            let farewell = async {
                if socket.send_all(encode::close(code)).await.is_ok() {
                    socket.end().await;
                }
            };
            let patience = if code == ErrorCode::SlowConsumer { SLOW_FAREWELL } else { FAREWELL };
            let _ = timeout(patience, farewell).await;
            leaving.set(leaving.get() - 1);
        });
    }

    /// Ends all sessions, since the gateway stops.
    pub(super) fn stop(&mut self) {
        let keys: Vec<_> =
            (0u32..).zip(&self.places).map(|(place, entry)| SessionKey { place, turn: entry.turn }).collect();
        for key in keys {
            self.close(key, ErrorCode::GatewayStopping);
        }
    }

    fn perform(&mut self, key: SessionKey, action: Action) {
        match action {
            Action::Send(reply_to, message) => self.send(key, reply_to, message),
            Action::Refuse(reply_to, code, subject) => {
                if let Some(live) = self.live(key) {
                    live.refused(code, &subject);
                }
                let error = v1::Error { detail: audit::shortened(&subject).into(), ..code.into() };
                self.send(key, reply_to, to_app::Message::Refusal(v1::Refusal { error: Some(error) }));
            }
            Action::Ask(token, ask) => self.ask(key, token, ask),
            Action::Watch(device, classes, moment) => self.subscribers.watch(device, key, classes, moment),
            Action::Keep(device, classes) => self.subscribers.keep(&device, key, classes),
            Action::Forget(device) => self.ask(key, 0, Ask::Forget(device)),
            Action::Close(code) => self.close(key, code),
        }
    }

    fn send(&mut self, key: SessionKey, reply_to: u64, message: to_app::Message) {
        if let Some(live) = self.live(key)
            && let Err(code) = live.send(encode::frame(reply_to, message))
        {
            self.close(key, code);
        }
    }

    fn ask(&self, session: SessionKey, request_id: u64, ask: Ask) {
        self.worker.hub.ask(Request { worker: self.worker.id, session, request_id, ask });
    }

    fn live(&mut self, key: SessionKey) -> Option<&mut Live> {
        live_at(&mut self.places, key)
    }
}

/// The session's place, unless the session is gone and another may have it.
fn place_at(places: &mut [Place], key: SessionKey) -> Option<&mut Place> {
    places.get_mut(key.place as usize).filter(|place| place.turn == key.turn)
}

fn live_at(places: &mut [Place], key: SessionKey) -> Option<&mut Live> {
    place_at(places, key)?.live.as_deref_mut()
}

/// One more session with this indication.
fn note(judged: &mut Vec<(Indication, u64)>, indication: Indication) {
    match judged.iter_mut().find(|(known, _)| *known == indication) {
        Some((_, count)) => *count += 1,
        None => judged.push((indication, 1)),
    }
}

/// What this session may see of the event.
fn judge(
    worker: &WorkerSettings,
    live: &Live,
    subscriber: &Subscriber,
    published: &Published,
    restricted: bool,
) -> Disclosure {
    let EventBody::MediaOpened(media) = &published.event.body else {
        // Only media events have something to hide from one who may see the device (R13).
        return if restricted {
            Disclosure::Nothing(Rule("R13"))
        } else {
            Disclosure::Event(Indication::NotEncrypted, Rule("R13"))
        };
    };
    let identity = live.session.identity();
    disclose(&MediaAccess {
        // Who was not associated could not subscribe; rights change with the config, and so with a restart.
        associated: true,
        restricted,
        protection: match media.protection {
            Protection::Clear => StreamProtection::Clear,
            Protection::Keyed { .. } => StreamProtection::Keyed,
            Protection::Unknown { .. } => StreamProtection::Unknown,
        },
        groups: identity.user.groups,
        mode: worker.settings.mode,
        door: identity.door,
        monitored_before: subscriber.media_since < published.first_seen,
        // The record goes to the log's target, which can't refuse it.
        recordable: true,
        // The hub knows no stream that was keyed before it started.
        seen_since_start: true,
    })
}
