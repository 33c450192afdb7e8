//! The sessions of a worker, and the delivery of events to them.

mod delivery;
mod orders;

use std::{
    cell::Cell,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use callgate_wire::v1::{self, ErrorCode, to_app};
use metrics::counter;
use tokio::{io::Ready, sync::mpsc};

pub(super) use delivery::More;

use delivery::Judged;

use self::orders::LastWord;
use super::{
    FAREWELL, MOST_LEAVING, SLOW_FAREWELL, WorkerSettings,
    audit::{self, Withheld},
    backlog::About,
    encode,
    expiries::Expiries,
    judging::judge_again,
    live::{Live, Outlook},
    meters::Meters,
    orders::Order,
    renewal::Renewal,
    session::{Action, Classes},
    socket::{Connection, Socket},
    subscribers::Subscribers,
};
use crate::{
    audit::Trail,
    hub::{Answer, Ask, Effect, Request, Rights, SessionKey},
};

/// How many requests of one session are taken before others have their turn.
const REQUESTS_PER_TURN: usize = 32;
/// As much as one read takes from a socket.
const SCRATCH: usize = 16 * 1024;

/// The sessions of a worker. All of them know the same rights, which change only at a barrier (R15).
pub(super) struct Sessions<C = Socket> {
    worker: WorkerSettings,
    rights: Arc<Rights>,
    places: Vec<Place<C>>,
    free: Vec<u32>,
    /// Sessions that were opened by rights whose barrier has not come yet.
    early: Vec<Live<C>>,
    subscribers: Subscribers,
    /// Who holds frames until the end of the worker's turn.
    holding: Vec<SessionKey>,
    /// Who gets the event that is being delivered. Kept for its memory.
    judged: Vec<Judged>,
    scratch: Box<[u8]>,
    load: Arc<AtomicUsize>,
    leaving: Rc<Cell<usize>>,
    /// The way to itself, for who asks a session whether it is alive.
    orders: mpsc::UnboundedSender<Order>,
    expiries: Expiries,
    meters: Meters,
    /// What sessions are told before the gateway stops, once they are (R42).
    last_word: Option<LastWord>,
}

/// What sessions are to be told of a change.
pub(super) struct News<C = Socket> {
    /// Those that it has closed, with the code.
    closed: Vec<(C, ErrorCode)>,
    changed: Vec<(SessionKey, Vec<Action>)>,
}

impl<C> Default for News<C> {
    fn default() -> Self {
        Self { closed: Vec::new(), changed: Vec::new() }
    }
}

struct Place<C> {
    turn: u32,
    live: Option<Box<Live<C>>>,
}

impl<C: Connection> Sessions<C> {
    pub(super) fn new(worker: WorkerSettings, load: Arc<AtomicUsize>, orders: mpsc::UnboundedSender<Order>) -> Self {
        Self {
            rights: Arc::clone(&worker.rights),
            last_word: None,
            meters: Meters::new(worker.id),
            worker,
            places: Vec::new(),
            free: Vec::new(),
            early: Vec::new(),
            subscribers: Subscribers::default(),
            holding: Vec::new(),
            judged: Vec::new(),
            scratch: vec![0; SCRATCH].into(),
            load,
            leaving: Rc::default(),
            orders,
            expiries: Expiries::default(),
        }
    }

    /// Takes a session in that a door has opened, and judges it by the rights of now: they may have changed on its way.
    /// `None`: it was opened by newer ones, and waits until they count here too.
    pub(super) fn adopt(&mut self, live: Live<C>) -> Option<SessionKey> {
        if live.session.rights_version() > self.rights.version {
            self.early.push(live);
            return None;
        }
        let key = self.insert(live);
        let mut renewal = self.renewal();
        let mut news = News::default();
        self.renew(key, &mut renewal, &mut Effect::default(), &mut news);
        self.tell(news);
        self.settle(key);
        self.tell_last_word(key);
        Some(key)
    }

    /// The barrier: from here on these rights count. When it returns, nothing that waits, and nothing that comes, leaves
    /// by the old ones (R15). Returns what it did, and the sessions that have waited for these rights. What there is to tell is told by
    /// [`tell`](Self::tell), before anything else: no acknowledgement waits for a write to each session.
    pub(super) fn on_barrier(&mut self, rights: Arc<Rights>) -> (Effect, Vec<SessionKey>, News<C>) {
        self.rights = rights;
        let mut renewal = self.renewal();
        let (mut effect, mut news) = (Effect::default(), News::default());
        for key in self.keys() {
            self.renew(key, &mut renewal, &mut effect, &mut news);
        }
        let adopted = std::mem::take(&mut self.early).into_iter().filter_map(|live| self.adopt(live)).collect();
        effect.sessions = self.places.iter().filter(|place| place.live.is_some()).count();
        (effect, adopted, news)
    }

    /// Tells sessions what changed for them, with all of their records before: so these are one write. One that has no room for it is
    /// closed.
    pub(super) fn tell(&mut self, News { closed, changed }: News<C>) {
        for (key, _) in &changed {
            if let Some(live) = live_at(&mut self.places, *key) {
                let identity = live.session.identity();
                audit::rights_changed(&*self.worker.trail, live.name(), identity, self.rights.version);
            }
        }
        for (connection, code) in closed {
            self.say_good_bye(connection, code);
        }
        for (key, actions) in changed {
            // Also when the first of them has closed it: it monitors nothing any more.
            actions.into_iter().for_each(|action| self.perform(key, action));
        }
    }

    fn renewal(&self) -> Renewal {
        Renewal::new(Arc::clone(&self.rights), self.worker.hub.device_count())
    }

    /// Judges a session and what waits for it anew.
    fn renew(&mut self, key: SessionKey, renewal: &mut Renewal, effect: &mut Effect, news: &mut News<C>) {
        let Some(live) = live_at(&mut self.places, key) else { return };
        let was = live.session.rights_version();
        let actions = live.session.on_rights(renewal);
        if let [Action::Close(code)] = actions.as_slice() {
            effect.closed += 1;
            if let Some((connection, withheld)) = self.end(key, *code) {
                effect.withheld += withheld;
                news.closed.push((connection, *code));
            }
            return;
        }
        if was != self.rights.version {
            effect.withheld += judge_waiting(&*self.worker.trail, &self.rights, live);
        }
        if !actions.is_empty() {
            effect.changed += 1;
            news.changed.push((key, actions));
        }
    }

    /// The session, if it may stay, lives here from now on.
    fn settle(&mut self, key: SessionKey) {
        let Some(live) = live_at(&mut self.places, key) else { return };
        live.settle(&self.orders, key);
        if let Some(expiry) = live.session.expiry() {
            self.expiries.add(key, &expiry);
            self.on_wall_time(self.worker.clock.unix_seconds());
        }
    }

    fn insert(&mut self, live: Live<C>) -> SessionKey {
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

    /// Tells how much waits: for slow apps, and for this worker.
    pub(super) fn measure(&mut self, mailbox: usize) {
        let live = self.places.iter_mut().filter_map(|place| place.live.as_deref_mut());
        let queued: usize = live.map(|live| live.socket.backlog().bytes()).sum();
        self.meters.queued.set(queued as f64);
        self.meters.mailbox.set(mailbox as f64);
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

    /// Takes requests that have arrived whole: so many in one turn, and none while as many wait for answers as may, or
    /// while the app doesn't read those that it has.
    ///
    /// Others have their turn before the rest is taken.
    pub(super) fn on_buffered(&mut self, key: SessionKey) {
        for _ in 0..REQUESTS_PER_TURN {
            let Some(live) = self.live(key) else { return };
            if live.session.is_busy() || live.socket.is_waiting() {
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
    pub(super) fn on_time(&mut self, key: SessionKey, now: Instant) {
        if let Some(live) = self.live(key)
            && let Some(action) = live.on_time(now)
        {
            self.perform(key, action);
        }
    }

    /// Ends a session: tells it why if it can still be told, forgets what it monitored, and frees its place.
    pub(super) fn close(&mut self, key: SessionKey, code: ErrorCode) {
        if let Some((connection, _)) = self.end(key, code) {
            self.say_good_bye(connection, code);
        }
    }

    /// The same without a word. Returns its connection, and how many frames with a key waited, and don't leave.
    fn end(&mut self, key: SessionKey, code: ErrorCode) -> Option<(C, usize)> {
        let place = place_at(&mut self.places, key)?;
        let mut live = place.live.take()?;
        place.turn = place.turn.wrapping_add(1);
        self.free.push(key.place);
        self.load.fetch_sub(1, Ordering::Relaxed);

        if let Some(expiry) = live.session.expiry() {
            self.expiries.remove(key, &expiry);
        }
        let mut monitored: Vec<_> = live.session.monitored().cloned().collect();
        // In their order, so that what happens is the same each time.
        monitored.sort_unstable();
        for device in monitored {
            self.subscribers.keep(&device, key, Classes::default());
            self.ask(key, 0, Ask::Forget(device));
        }
        // What waits would only delay the news, and who loses its rights must not have it (R15).
        let mut withheld = 0;
        for about in live.socket.backlog().forget() {
            if let About::Key { published, .. } = about {
                withheld += 1;
                let identity = live.session.identity();
                audit::withheld(&*self.worker.trail, live.name(), identity, &published, Withheld::Closed(code));
            }
        }
        audit::closed(&*self.worker.trail, live.name(), live.session.identity(), code);
        Some((live.leave(), withheld))
    }

    fn say_good_bye(&self, connection: C, code: ErrorCode) {
        if code == ErrorCode::ConnectionLost {
            return;
        }
        let patience = patience(code, self.leaving.get());
        if patience.is_zero() {
            counter!("callgate_farewells_cut_short_total").increment(1);
        }
        connection.farewell(encode::close(code), patience, Rc::clone(&self.leaving));
    }

    /// Ends all sessions, since the gateway stops.
    pub(super) fn stop(&mut self) {
        for live in std::mem::take(&mut self.early) {
            self.insert(live);
        }
        for key in self.keys() {
            self.close(key, ErrorCode::GatewayStopping);
        }
    }

    fn keys(&self) -> Vec<SessionKey> {
        (0u32..).zip(&self.places).map(|(place, entry)| SessionKey { place, turn: entry.turn }).collect()
    }

    fn perform(&mut self, key: SessionKey, action: Action) {
        match action {
            Action::Send(reply_to, message) => self.send(key, reply_to, message),
            Action::Refuse(reply_to, code, subject) => {
                if let Some(live) = live_at(&mut self.places, key) {
                    live.refused(&*self.worker.trail, code, &subject);
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

    /// A session that can't take it is closed.
    fn send(&mut self, key: SessionKey, reply_to: u64, message: to_app::Message) {
        let Some(live) = self.live(key) else { return };
        if let Err(code) = live.send(encode::frame(reply_to, message), None) {
            self.close(key, code);
        }
    }

    fn ask(&self, session: SessionKey, request_id: u64, ask: Ask) {
        self.worker.hub.ask(Request { worker: self.worker.id, session, request_id, ask });
    }

    pub(super) fn live(&mut self, key: SessionKey) -> Option<&mut Live<C>> {
        live_at(&mut self.places, key)
    }
}

impl Sessions {
    /// What the session's task waits for. `None`: the session is gone.
    pub(super) fn outlook(&self, key: SessionKey) -> Option<Outlook> {
        let place = self.places.get(key.place as usize).filter(|place| place.turn == key.turn)?;
        place.live.as_deref().map(Outlook::of)
    }

    /// The session's deadline has come, on a thread that may have had no time for what its app sent.
    pub(super) fn on_deadline(&mut self, key: SessionKey) {
        if let Some(live) = self.live(key) {
            live.note_unread();
        }
        self.on_time(key, Instant::now());
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
}

/// How long a session's end may wait for its app, while so many others are `leaving`. Without patience the last message is
/// written if there is room for it, and the socket is closed.
fn patience(code: ErrorCode, leaving: usize) -> Duration {
    match code {
        // Nobody comes in any more, so these sockets don't add up.
        ErrorCode::GatewayStopping => FAREWELL,
        _ if leaving >= MOST_LEAVING => Duration::ZERO,
        // It reads what is sealed already first.
        ErrorCode::SlowConsumer => SLOW_FAREWELL,
        _ => FAREWELL,
    }
}

/// The session's place, unless the session is gone and another may have it.
fn place_at<C>(places: &mut [Place<C>], key: SessionKey) -> Option<&mut Place<C>> {
    places.get_mut(key.place as usize).filter(|place| place.turn == key.turn)
}

fn live_at<C>(places: &mut [Place<C>], key: SessionKey) -> Option<&mut Live<C>> {
    place_at(places, key)?.live.as_deref_mut()
}

/// Judges what waits for a session again, by new rights, and records what doesn't leave after all (R15, R21). Returns how
/// many frames with a key that was.
fn judge_waiting<C: Connection>(trail: &dyn Trail, rights: &Rights, live: &mut Live<C>) -> usize {
    let mut withheld = 0;
    let (name, identity) = (Arc::clone(live.name()), live.session.identity());
    live.socket.backlog().judge(|about| {
        let (fate, decision) = judge_again(rights, identity, about);
        if let (About::Key { published, .. }, Some(decision)) = (about, decision) {
            withheld += 1;
            audit::withheld(trail, &name, identity, published, Withheld::Judged(decision));
        }
        fate
    });
    withheld
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r41a_who_leaves_is_waited_for_while_few_do() {
        assert_eq!(patience(ErrorCode::ClosedByApp, MOST_LEAVING - 1), FAREWELL);
        assert_eq!(patience(ErrorCode::SlowConsumer, 0), SLOW_FAREWELL);
        for code in [ErrorCode::ClosedByApp, ErrorCode::SlowConsumer, ErrorCode::CtiNotEnabled] {
            assert_eq!(patience(code, MOST_LEAVING), Duration::ZERO, "{code:?}");
        }
        assert_eq!(patience(ErrorCode::GatewayStopping, usize::MAX), FAREWELL, "they are as many as they were");
    }
}
