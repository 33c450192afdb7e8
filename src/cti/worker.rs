//! A worker: one thread with the sessions that live on it.
//!
//! The hub hands it an event once; it walks the subscribers, judges, writes the record, seals and sends at once. No
//! session is woken for that. What the thread owns is reached by nobody else, so nothing is locked.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::ready,
    io,
    pin::pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use callgate_wire::v1::ErrorCode;
use tokio::{
    sync::mpsc,
    task::{LocalSet, spawn_local, yield_now},
    time::{MissedTickBehavior, interval, timeout},
};
use tracing::{debug, error};

use super::{
    FAREWELL, WorkerSettings,
    live::{Happened, Live},
    log_writer,
    orders::Order,
    sessions::{More, Sessions},
};
use crate::hub::{BEAT, Barrier, Pulse, SessionKey, ToWorker};

/// How many messages of the hub may wait for a worker, before it holds the hub back.
const MAILBOX: usize = 1024;
/// How many messages, or events in them, are handled in one turn: their frames leave together. The last message is handled
/// whole.
const TURN: usize = 4 * ToWorker::MOST_EVENTS;
/// Stands for the end of a certificate where there is none.
const NONE_EXPIRES: i64 = i64::MAX;
/// So many deliveries end a turn, too: the sessions' tasks wait for some 10 ms at most.
const TURN_DELIVERIES: usize = 16 * 1024;

/// The way to a worker, for doors.
#[derive(Clone)]
pub struct WorkerHandle {
    adopt: mpsc::UnboundedSender<Live>,
    orders: mpsc::UnboundedSender<Order>,
    load: Arc<AtomicUsize>,
    soonest_expiry: Arc<AtomicI64>,
    pulse: Pulse,
}

impl WorkerHandle {
    /// Beats for as long as the worker turns.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// How many sessions live on the worker, or are on their way to it.
    pub(super) fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    /// Moves an open session to the worker. The doors bound how many there are.
    pub(super) fn adopt(&self, live: Live) {
        self.load.fetch_add(1, Ordering::Relaxed);
        let _ = self.adopt.send(live);
    }

    /// The way to ask it for something.
    pub(super) fn orders(&self) -> mpsc::UnboundedSender<Order> {
        self.orders.clone()
    }

    /// The end of the certificate of one of its sessions that ends first, in seconds since 1970, as of a second ago.
    pub(super) fn soonest_expiry(&self) -> Option<i64> {
        Some(self.soonest_expiry.load(Ordering::Relaxed)).filter(|ends| *ends != NONE_EXPIRES)
    }
}

/// A worker's handle, its mailbox for the hub, and its thread, which ends after `stop`.
pub(crate) type Spawned = (WorkerHandle, mpsc::Sender<ToWorker>, thread::JoinHandle<()>);

/// Starts a worker on a thread of its own.
///
/// # Errors
/// When the system gives no thread or no event queue.
pub fn spawn_worker(settings: WorkerSettings) -> io::Result<Spawned> {
    let (mailbox, messages) = mpsc::channel(MAILBOX);
    let (adopt, adopted) = mpsc::unbounded_channel();
    let (orders, ordered) = mpsc::unbounded_channel();
    let handle = WorkerHandle {
        adopt,
        orders,
        load: Arc::default(),
        soonest_expiry: Arc::new(AtomicI64::new(NONE_EXPIRES)),
        pulse: Pulse::begin(),
    };
    let own = handle.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let thread = thread::Builder::new().name(format!("worker-{}", settings.id.0)).spawn(move || {
        // A worker that ends by a panic takes the gateway with it: it must not go on without its sessions.
        let _stops_all = settings.gateway.clone().drop_guard();
        LocalSet::new().block_on(&runtime, run(settings, messages, adopted, ordered, own));
    })?;
    Ok((handle, mailbox, thread))
}

async fn run(
    settings: WorkerSettings,
    mut messages: mpsc::Receiver<ToWorker>,
    mut adopted: mpsc::UnboundedReceiver<Live>,
    mut ordered: mpsc::UnboundedReceiver<Order>,
    own: WorkerHandle,
) {
    let stop = settings.stop.clone();
    let clock = Arc::clone(&settings.clock);
    let WorkerHandle { orders, load, soonest_expiry, pulse, .. } = own;
    let sessions = Rc::new(RefCell::new(Sessions::new(settings, load, orders)));
    let mut stopped = pin!(stop.cancelled());
    let mut taken = Vec::with_capacity(TURN);
    let mut waiting = VecDeque::with_capacity(TURN);
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = &mut stopped => break,
            _ = beat.tick() => {
                pulse.beat();
                let mut sessions = sessions.borrow_mut();
                sessions.measure(messages.len() + waiting.len());
                sessions.on_wall_time(clock.unix_seconds());
                soonest_expiry.store(sessions.soonest_expiry().unwrap_or(NONE_EXPIRES), Ordering::Relaxed);
            }
            count = messages.recv_many(&mut taken, TURN), if waiting.is_empty() => {
                if count == 0 {
                    break;
                }
                waiting.extend(taken.drain(..));
            }
            () = ready(()), if !waiting.is_empty() => {}
            live = adopted.recv() => match live {
                Some(live) => adopt(&sessions, live),
                None => break,
            },
            Some(order) = ordered.recv() => {
                // Who was told that it is open before is among those who are meant.
                while let Ok(live) = adopted.try_recv() {
                    adopt(&sessions, live);
                }
                sessions.borrow_mut().on_order(order, Instant::now());
            }
        }
        if !waiting.is_empty() && take_turn(&sessions, &mut waiting) {
            // There may be more, and the sessions' tasks have waited for long enough.
            yield_now().await;
        }
    }
    // Also those that were told that they are open a moment ago.
    while let Ok(live) = adopted.try_recv() {
        adopt(&sessions, live);
    }
    sessions.borrow_mut().stop();
    // The sessions' last words.
    let all_gone = async {
        while sessions.borrow().leaving() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if timeout(FAREWELL + FAREWELL, all_gone).await.is_err() {
        debug!("some sessions did not take their leave in time");
    }
}

/// Handles what waits, as much as one turn takes. Returns whether it was as much as that.
fn take_turn(sessions: &Rc<RefCell<Sessions>>, waiting: &mut VecDeque<ToWorker>) -> bool {
    let is_alone = match waiting.front() {
        Some(ToWorker::Events(events)) => waiting.len() + events.len() <= 2,
        _ => waiting.len() <= 1,
    };
    let more = if is_alone { More::Nothing } else { More::Follows };
    // The records of a burst are one write, before the first of its frames goes to the seal (R21).
    let many = more == More::Follows || matches!(waiting.front(), Some(ToWorker::Barrier(_)));
    let _lines = many.then(log_writer::Turn::begin);
    let (mut done, mut deliveries) = (0, 0);
    while done < TURN
        && deliveries < TURN_DELIVERIES
        && let Some(message) = waiting.pop_front()
    {
        done += 1;
        match message {
            ToWorker::Events(events) => {
                done += events.len().saturating_sub(1);
                let mut sessions = sessions.borrow_mut();
                deliveries += events.iter().map(|published| sessions.deliver(published, more)).sum::<usize>();
            }
            ToWorker::Answer { session, request_id, answer } => {
                sessions.borrow_mut().on_answer(session, request_id, answer);
            }
            ToWorker::Barrier(Barrier { rights, done }) => {
                // What is held waits like any other frame, and is judged again.
                let (effect, adopted, news) = sessions.borrow_mut().on_barrier(rights);
                // What it took is on record before anybody says that it is done (R21). The records of sessions that go on come with
                // their news.
                log_writer::write_out();
                // Only now: nothing that waits can leave by the old rights any more (R15).
                let _ = done.send(effect);
                // With one core for all, whoever waits for the acknowledgement would wait for the news as well.
                thread::yield_now();
                sessions.borrow_mut().tell(news);
                adopted.into_iter().for_each(|key| start(sessions, key));
            }
        }
    }
    sessions.borrow_mut().flush_held();
    done >= TURN || deliveries >= TURN_DELIVERIES
}

fn adopt(sessions: &Rc<RefCell<Sessions>>, live: Live) {
    let name = Arc::clone(live.name());
    match live.adopt() {
        Ok(live) => {
            let key = sessions.borrow_mut().adopt(live);
            if let Some(key) = key {
                start(sessions, key);
            }
        }
        Err(e) => {
            sessions.borrow_mut().lost_one();
            error!(session = %name, error = %e, "a session could not be moved to its worker");
        }
    }
}

fn start(sessions: &Rc<RefCell<Sessions>>, key: SessionKey) {
    spawn_local(run_session(Rc::clone(sessions), key));
}

/// Waits on a session's socket and clock for as long as the session lives.
async fn run_session(sessions: Rc<RefCell<Sessions>>, key: SessionKey) {
    let _cleanup = Cleanup { sessions: Rc::clone(&sessions), key };
    // A first request may have come with the last message of the opening.
    sessions.borrow_mut().on_buffered(key);
    loop {
        let Some(outlook) = sessions.borrow().outlook(key) else { return };
        match outlook.happen().await {
            Happened::Ready(ready) => sessions.borrow_mut().on_ready(key, ready),
            Happened::Requests => sessions.borrow_mut().on_buffered(key),
            Happened::Time => sessions.borrow_mut().on_deadline(key),
            Happened::Changed => {}
        }
        // A socket that is always ready would keep all others waiting: its readiness spends no budget of the runtime.
        yield_now().await;
    }
}

/// Takes a session out even if its task ends by a panic.
struct Cleanup {
    sessions: Rc<RefCell<Sessions>>,
    key: SessionKey,
}

impl Drop for Cleanup {
    fn drop(&mut self) {
        if let Ok(mut sessions) = self.sessions.try_borrow_mut() {
            sessions.close(self.key, ErrorCode::Internal);
        }
    }
}
