//! The hub's shell: one task that owns the topics.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use metrics::counter;
use tokio::sync::mpsc;

use super::{Hub, NoRoom, Request, ToWorker};
use crate::model::SwitchEvent;

/// What reaches the hub.
#[derive(Debug)]
pub enum HubInput {
    /// What a switch reports, in order.
    Events(Vec<SwitchEvent>),
    /// A session's request.
    Request(Request),
}

/// The way to the hub, for workers.
///
/// It never blocks: how much can wait here is bounded by the requests that each session may have open (R41a).
#[derive(Debug, Clone)]
pub struct HubHandle {
    requests: mpsc::UnboundedSender<Request>,
    devices: Arc<AtomicUsize>,
}

impl HubHandle {
    /// A handle, and the end of it that [`run`] needs.
    pub fn new(configured_devices: usize) -> (Self, mpsc::UnboundedReceiver<Request>) {
        let (requests, receiver) = mpsc::unbounded_channel();
        (Self { requests, devices: Arc::new(AtomicUsize::new(configured_devices)) }, receiver)
    }

    /// Asks the hub. A hub that has stopped doesn't answer: sessions are being closed then.
    pub fn ask(&self, request: Request) {
        let _ = self.requests.send(request);
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
    mut requests: mpsc::UnboundedReceiver<Request>,
    mut events: mpsc::Receiver<Vec<SwitchEvent>>,
    workers: Vec<mpsc::Sender<ToWorker>>,
) {
    let devices = Arc::clone(&handle.devices);
    drop(handle);
    let mut switches_live = true;
    loop {
        // Fair between both: neither a flood of events nor one of requests starves the other.
        let input = tokio::select! {
            batch = events.recv(), if switches_live => match batch {
                Some(batch) => HubInput::Events(batch),
                None => { switches_live = false; continue }
            },
            request = requests.recv() => match request {
                Some(request) => HubInput::Request(request),
                None => return,
            },
        };
        match input {
            HubInput::Events(batch) => {
                counter!("callgate_switch_events_total").increment(batch.len() as u64);
                for event in batch {
                    match hub.publish(event) {
                        Ok(None) => {}
                        Ok(Some(delivery)) => {
                            for worker in delivery.workers() {
                                send(&workers, worker, ToWorker::Event(Arc::clone(&delivery.event))).await;
                            }
                        }
                        Err(NoRoom) => counter!("callgate_switch_events_refused_total").increment(1),
                    }
                }
                devices.store(hub.device_count(), Ordering::Relaxed);
            }
            HubInput::Request(Request { worker, session, request_id, ask }) => {
                if let Some(answer) = hub.answer(worker, session, ask) {
                    send(&workers, worker, ToWorker::Answer { session, request_id, answer }).await;
                }
            }
        }
    }
}

async fn send(workers: &[mpsc::Sender<ToWorker>], worker: super::WorkerId, message: ToWorker) {
    if let Some(mailbox) = workers.get(usize::from(worker.0)) {
        // A worker that is gone has no sessions left.
        let _ = mailbox.send(message).await;
    }
}
