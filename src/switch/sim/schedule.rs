//! When calls begin, who takes part in them, and what is due next.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    SimSettings,
    call::{Call, Common, Device},
    draw::Draw,
};
use crate::model::{Codec, DeviceName, SwitchEvent, SwitchName, Timestamp};

/// So many events are made at once, or a few more: the rest waits for its turn.
const BATCH: usize = 1024;

/// Simulated devices and their calls.
///
/// It has no clock: `now` is an argument, and [`on_time`](Self::on_time) must be called when [`deadline`](Self::deadline)
/// is there. What is late is made as if it were not: an event's time is when it was due.
pub struct Sim {
    settings: SimSettings,
    start: Instant,
    common: Common,
    devices: Box<[DeviceName]>,
    /// The places of the devices without a call.
    idle: Vec<u32>,
    /// Calls in progress, with what is due next of each.
    calls: BinaryHeap<Reverse<Due>>,
    /// The number of the call that begins next, and when.
    next: u64,
    next_due: Option<Duration>,
    counts: SimCounts,
}

/// What was simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SimCounts {
    /// Calls that began.
    pub calls: u64,
    /// Calls that did not begin because fewer than two devices were idle.
    pub skipped: u64,
}

/// A call in progress, ordered by what is due next, and of what is due at once by age.
struct Due {
    at: Duration,
    call: Box<Call>,
}

impl Sim {
    /// A switch called `name`, which begins now. Ids of calls and streams are counted from `first_id`, and the times of
    /// events from `at`.
    pub fn new(name: SwitchName, settings: SimSettings, first_id: u64, now: Instant, at: Timestamp) -> Self {
        let devices: Box<[DeviceName]> = settings.device_names(&name).filter_map(Result::ok).collect();
        let codecs = Arc::new([Codec { payload_type: 0, name: "PCMU".into(), clock_rate: 8000 }]);
        let common = Common { switch: name, next_id: first_id, start: at, media: "audio".into(), codecs };
        let mut sim = Self {
            start: now,
            common,
            idle: (0..u32::try_from(devices.len()).unwrap_or(u32::MAX)).collect(),
            devices,
            calls: BinaryHeap::new(),
            next: 0,
            next_due: None,
            counts: SimCounts::default(),
            settings,
        };
        sim.next_due = sim.due(0);
        sim
    }

    /// Makes what is due: up to about a thousand events, in the order of their times. There may be more: ask
    /// [`deadline`](Self::deadline).
    pub fn on_time(&mut self, now: Instant, out: &mut Vec<SwitchEvent>) {
        let passed = now.saturating_duration_since(self.start);
        let enough = out.len() + BATCH;
        while out.len() < enough {
            let call_due = self.calls.peek().map(|Reverse(due)| due.at);
            match (call_due, self.next_due) {
                (Some(at), begin) if at <= passed && begin.is_none_or(|begin| at <= begin) => self.go_on(out),
                (_, Some(begin)) if begin <= passed => self.begin(begin, out),
                _ => return,
            }
        }
    }

    /// When something is due. `None`: never.
    pub fn deadline(&self) -> Option<Instant> {
        let call_due = self.calls.peek().map(|Reverse(due)| due.at);
        let due = call_due.into_iter().chain(self.next_due).min()?;
        self.start.checked_add(due)
    }

    /// What was simulated so far.
    pub fn counts(&self) -> SimCounts {
        self.counts
    }

    /// How many calls are in progress.
    pub fn calls_in_progress(&self) -> usize {
        self.calls.len()
    }

    /// When the call of this number begins. Never, if there is nobody to call, or if that is beyond all time.
    fn due(&self, number: u64) -> Option<Duration> {
        if self.devices.len() < 2 || self.settings.calls_per_second <= 0.0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "it begins after some ten thousand years")]
        Duration::try_from_secs_f64(number as f64 / self.settings.calls_per_second).ok()
    }

    fn begin(&mut self, at: Duration, out: &mut Vec<SwitchEvent>) {
        let number = self.next;
        self.next += 1;
        self.next_due = self.due(self.next);
        if self.idle.len() < 2 {
            self.counts.skipped += 1;
            return;
        }
        self.counts.calls += 1;
        let mut draw = Draw::course(self.settings.seed, number);
        let devices = [self.take_idle(&mut draw), self.take_idle(&mut draw)];
        let call = Call::new(number, at, devices, &self.settings, &mut draw, &mut self.common);
        self.step(Box::new(call), out);
    }

    fn go_on(&mut self, out: &mut Vec<SwitchEvent>) {
        if let Some(Reverse(due)) = self.calls.pop() {
            self.step(due.call, out);
        }
    }

    fn step(&mut self, mut call: Box<Call>, out: &mut Vec<SwitchEvent>) {
        call.step(&self.settings, &self.common, out);
        match call.due() {
            Some(at) => self.calls.push(Reverse(Due { at, call })),
            None => self.idle.extend(call.places()),
        }
    }

    /// One of the devices without a call, of which there is one at least. It has a call from now on.
    #[expect(clippy::indexing_slicing, reason = "whoever is idle has a place among the devices")]
    fn take_idle(&mut self, draw: &mut Draw) -> Device {
        let place = self.idle.swap_remove(draw.below(self.idle.len()));
        Device { place, name: self.devices[place as usize].clone() }
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.call.number()).cmp(&(other.at, other.call.number()))
    }
}
