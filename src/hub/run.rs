//! The hub's shell: one task that owns the topics.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use metrics::{Counter, Gauge, counter, gauge};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};

use super::{BEAT, Effect, Hub, Look, NoRoom, Published, Pulse, Request, Rights, Seen, ToWorker, WorkerId};
use crate::model::{EventBatch, EventClass};

/// What reaches the hub besides events.
#[derive(Debug)]
pub enum HubInput {
    /// A session's request.
    Request(Request),
    /// A change of rights.
    Barrier(Barrier),
    /// Somebody who administers looks at devices.
    Look(Look, oneshot::Sender<Seen>),
}

/// A change of rights, on its way to every worker (R15).
#[derive(Debug, Clone)]
pub struct Barrier {
    /// What counts behind it.
    pub rights: Arc<Rights>,
    /// The hub answers by it when every worker has the barrier before it, and each worker when no key can leave by the old
    /// rights any more. It closes when all have answered; a worker that is gone, whose sessions are gone with it, doesn't
    /// keep it open. If it closes without any answer the hub is gone.
    pub done: mpsc::UnboundedSender<Effect>,
}

/// The way to the hub, for workers.
///
/// It never blocks: how much can wait here is bounded by the requests that each session may have open (R41a).
#[derive(Debug, Clone)]
pub struct HubHandle {
    requests: mpsc::UnboundedSender<HubInput>,
    devices: Arc<AtomicUsize>,
    pulse: Pulse,
}

impl HubHandle {
    /// A handle, and the end of it that [`run`] needs.
    pub fn new(configured_devices: usize) -> (Self, mpsc::UnboundedReceiver<HubInput>) {
        let (requests, receiver) = mpsc::unbounded_channel();
        (Self { requests, devices: Arc::new(AtomicUsize::new(configured_devices)), pulse: Pulse::begin() }, receiver)
    }

    /// Asks the hub. A hub that has stopped doesn't answer: sessions are being closed then.
    pub fn ask(&self, request: Request) {
        let _ = self.requests.send(HubInput::Request(request));
    }

    /// Sends a change of rights to all workers. What it returns is [`Barrier::done`]'s other end.
    pub fn change_rights(&self, rights: Arc<Rights>) -> mpsc::UnboundedReceiver<Effect> {
        let (done, effects) = mpsc::unbounded_channel();
        let _ = self.requests.send(HubInput::Barrier(Barrier { rights, done }));
        effects
    }

    /// Beats for as long as the hub turns.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// How devices stand. Of a hub that has stopped, none are seen.
    pub async fn look(&self, look: Look) -> Seen {
        let (seen, answer) = oneshot::channel();
        let _ = self.requests.send(HubInput::Look(look, seen));
        answer.await.unwrap_or_default()
    }

    /// How many devices there are now.
    pub fn device_count(&self) -> usize {
        self.devices.load(Ordering::Relaxed)
    }
}

/// Runs the hub until all switches are gone and nobody can ask any more.
///
/// A worker's mailbox that is full holds the hub, and so the switches, back: events are never dropped here.
pub async fn run(
    mut hub: Hub,
    handle: HubHandle,
    mut requests: mpsc::UnboundedReceiver<HubInput>,
    mut events: mpsc::Receiver<EventBatch>,
    workers: Vec<mpsc::Sender<ToWorker>>,
) {
    let (devices, pulse) = (Arc::clone(&handle.devices), handle.pulse.clone());
    drop(handle);
    let meters = Meters::new();
    let mut beat = interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut switches_live = true;
    let mut parcels = vec![Vec::new(); workers.len()];
    loop {
        // Fair between both: neither a flood of events nor one of requests starves the other.
        tokio::select! {
            _ = beat.tick() => {
                pulse.beat();
                meters.waiting.set(events.len() as f64);
                meters.devices.set(hub.device_count() as f64);
            }
            batch = events.recv(), if switches_live => match batch {
                Some(batch) => {
                    hub.arrive(batch.arrived);
                    publish(&mut hub, batch, &workers, &mut parcels, &meters).await;
                    devices.store(hub.device_count(), Ordering::Relaxed);
                }
                None => switches_live = false,
            },
            input = requests.recv() => match input {
                Some(HubInput::Request(Request { worker, session, request_id, ask })) => {
                    if let Some(answer) = hub.answer(worker, session, ask) {
                        send(&workers, worker, ToWorker::Answer { session, request_id, answer }).await;
                    }
                }
                Some(HubInput::Barrier(barrier)) => {
                    hub.configure(barrier.rights.devices());
                    devices.store(hub.device_count(), Ordering::Relaxed);
                    for mailbox in &workers {
                        let _ = mailbox.send(ToWorker::Barrier(barrier.clone())).await;
                    }
                    let _ = barrier.done.send(Effect::default());
                }
                Some(HubInput::Look(look, seen)) => {
                    let _ = seen.send(hub.look(&look));
                }
                None => return,
            },
        }
    }
}

/// Numbers the events of a batch and hands each worker its own, as few messages as they fit into.
///
/// `parcels` are empty before and after, one for each worker: nothing stays here, so answers and barriers keep their place.
async fn publish(
    hub: &mut Hub,
    batch: EventBatch,
    workers: &[mpsc::Sender<ToWorker>],
    parcels: &mut [Vec<Arc<Published>>],
    meters: &Meters,
) {
    meters.events.increment(batch.len() as u64);
    let (mut left, mut calls, mut media) = (batch.len(), 0, 0);
    for event in batch {
        match event.body.class() {
            Some(EventClass::Call) => calls += 1,
            Some(EventClass::Media) => media += 1,
            None => {}
        }
        match hub.publish(event) {
            Ok(None) => {}
            Ok(Some(delivery)) => {
                for worker in delivery.workers() {
                    let Some(parcel) = parcels.get_mut(usize::from(worker.0)) else { continue };
                    if parcel.capacity() == 0 {
                        parcel.reserve_exact(left.min(ToWorker::MOST_EVENTS));
                    }
                    parcel.push(Arc::clone(&delivery.event));
                    if parcel.len() >= ToWorker::MOST_EVENTS {
                        send(workers, worker, ToWorker::Events(std::mem::take(parcel))).await;
                    }
                }
            }
            Err(NoRoom) => meters.refused.increment(1),
        }
        left -= 1;
    }
    meters.calls.increment(calls);
    meters.media.increment(media);
    for (mailbox, parcel) in workers.iter().zip(parcels) {
        if !parcel.is_empty() {
            // A worker that is gone has no sessions left.
            let _ = mailbox.send(ToWorker::Events(std::mem::take(parcel))).await;
        }
    }
}

/// What the hub counts, looked up once.
struct Meters {
    events: Counter,
    refused: Counter,
    calls: Counter,
    media: Counter,
    waiting: Gauge,
    devices: Gauge,
}

impl Meters {
    fn new() -> Self {
        Self {
            events: counter!("callgate_switch_events_total"),
            refused: counter!("callgate_switch_events_refused_total"),
            calls: counter!("callgate_events_total", "class" => "call"),
            media: counter!("callgate_events_total", "class" => "media"),
            waiting: gauge!("callgate_event_queue_batches"),
            devices: gauge!("callgate_devices"),
        }
    }
}

async fn send(workers: &[mpsc::Sender<ToWorker>], worker: WorkerId, message: ToWorker) {
    if let Some(mailbox) = workers.get(usize::from(worker.0)) {
        // A worker that is gone has no sessions left.
        let _ = mailbox.send(message).await;
    }
}
