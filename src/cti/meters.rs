//! What a worker measures, looked up once: a delivery takes no look at the clock, and its turn one.

use std::time::Instant;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::hub::WorkerId;

/// The meters of a worker.
pub(super) struct Meters {
    pub(super) deliveries: Counter,
    pub(super) queued: Gauge,
    pub(super) mailbox: Gauge,
    latency: Histogram,
    /// When what was delivered in this turn has arrived, and how many events of a batch that were. Kept for its memory.
    delivered: Vec<(Instant, usize)>,
}

impl Meters {
    pub(super) fn new(worker: WorkerId) -> Self {
        let worker = worker.0.to_string();
        Self {
            deliveries: counter!("callgate_deliveries_total"),
            queued: gauge!("callgate_session_queue_bytes", "worker" => worker.clone()),
            mailbox: gauge!("callgate_worker_queue_messages", "worker" => worker),
            latency: histogram!("callgate_delivery_seconds"),
            delivered: Vec::new(),
        }
    }

    /// An event that arrived then was handed to so many sessions, and leaves with the end of the turn.
    pub(super) fn deliver(&mut self, arrived: Option<Instant>, deliveries: usize) {
        self.deliveries.increment(deliveries as u64);
        let Some(arrived) = arrived.filter(|_| deliveries > 0) else { return };
        match self.delivered.last_mut() {
            Some((same, count)) if *same == arrived => *count += 1,
            _ => self.delivered.push((arrived, 1)),
        }
    }

    /// What was delivered has left, as far as there was room for it.
    pub(super) fn leave(&mut self) {
        if self.delivered.is_empty() {
            return;
        }
        let now = Instant::now();
        for (arrived, count) in self.delivered.drain(..) {
            self.latency.record_many(now.saturating_duration_since(arrived).as_secs_f64(), count);
        }
    }
}
