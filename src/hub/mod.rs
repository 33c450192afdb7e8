//! Events and requests between switches and workers.
//!
//! The hub owns one topic per device: numbers, the calls in progress, and which workers have subscribers. An event is
//! handed once to each of those workers, as one shared object. Requests of sessions and events go through the same
//! first-in-first-out queues, so "before" and "after" mean the same everywhere (R16). A change of rights is a barrier in
//! the same queues (R15).
//!
//! [`Hub`] is pure; [`run`] is its shell.

mod published;
mod pulse;
mod rights;
mod run;
mod topic;
mod view;

pub use published::{Moment, Published};
pub use pulse::{BEAT, Pulse};
pub use rights::{Certificates, Effect, Rights, Standing};
pub use run::{Barrier, HubHandle, HubInput, run};
pub use topic::{CallPicture, CallSecurity, Snapshot};
pub use view::{CallView, DeviceView, Look, Opened, Protected, Seen, StreamView};

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    ops::Bound,
    sync::Arc,
    time::Instant,
};

use crate::model::{DeviceName, SwitchEvent};
use topic::Topic;

/// How many names one request looks at: a filter that fits nothing must not hold the hub up.
const MAX_EXAMINED: usize = 4096;

/// A worker, by its place in the list of workers: below [`WorkerId::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WorkerId(pub u8);

impl WorkerId {
    /// The most workers that a hub serves.
    pub const MAX: usize = 64;
}

/// A session on its worker. A place is used again, its `turn` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey {
    /// The place in the worker's table.
    pub place: u32,
    /// How often the place was taken before.
    pub turn: u32,
}

/// What a session asks of the hub. The answer is a [`ToWorker`] with the same session and request.
#[derive(Debug)]
pub struct Request {
    /// The worker that the session lives on.
    pub worker: WorkerId,
    /// The session.
    pub session: SessionKey,
    /// The app's request id.
    pub request_id: u64,
    /// What it asks.
    pub ask: Ask,
}

/// What a session asks. The worker has checked that it may (R13).
#[derive(Debug)]
pub enum Ask {
    /// Deliver the device's events to the session's worker from now on, until `Forget`. Asking again only tells the
    /// moment.
    Subscribe(DeviceName),
    /// Changes nothing: the answer comes after all events before it, and before all after it.
    Fence,
    /// The opposite of `Subscribe`. It has no answer.
    Forget(DeviceName),
    /// How the device stands.
    Snapshot(DeviceName),
    /// The names of up to `limit` devices behind `after`, in order: for users who see all of them.
    Names {
        /// The last name of the page before.
        after: Option<DeviceName>,
        /// Only names that contain this, whatever the case of ASCII letters.
        contains: String,
        /// The most names.
        limit: usize,
    },
}

/// What the hub hands to a worker.
#[derive(Debug)]
pub enum ToWorker {
    /// Events of devices that the worker subscribed to, in order: at least one, and at most [`ToWorker::MOST_EVENTS`].
    Events(Vec<Arc<Published>>),
    /// The answer to a request.
    Answer {
        /// The session that asked.
        session: SessionKey,
        /// Its request id.
        request_id: u64,
        /// The answer.
        answer: Answer,
    },
    /// From here on these rights count (R15).
    Barrier(Barrier),
}

impl ToWorker {
    /// The most events of one message: so many messages in a mailbox are a bound on events, too (R41a).
    pub const MOST_EVENTS: usize = 64;
}

/// An answer of the hub.
#[derive(Debug)]
pub enum Answer {
    /// To `Subscribe`: events behind `moment` follow.
    Subscribed {
        /// When.
        moment: Moment,
        /// How the device stood then.
        snapshot: Snapshot,
    },
    /// To `Fence`.
    Done,
    /// To `Snapshot`.
    Snapshot(Snapshot),
    /// There is no such device.
    UnknownDevice(DeviceName),
    /// To `Names`.
    Names {
        /// The names, in order. There can be fewer than were asked for, or none, and yet more behind them.
        names: Vec<DeviceName>,
        /// The last name that was looked at, if there are more behind it.
        resume: Option<DeviceName>,
    },
}

/// An event and the workers that it goes to.
#[derive(Debug)]
pub struct Delivery {
    /// The event.
    pub event: Arc<Published>,
    workers: u64,
}

impl Delivery {
    /// The workers that have subscribers.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> {
        let workers = self.workers;
        (0..64u8).filter(move |worker| workers >> worker & 1 == 1).map(WorkerId)
    }
}

/// There are as many devices as may be that stand in no configuration, and all of them are busy (R41a).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no room for one more device that is not configured")]
pub struct NoRoom;

/// All topics.
pub struct Hub {
    topics: BTreeMap<DeviceName, Topic>,
    /// Devices that only their calls made known, with the configured ones left out: how many, at most, and which of
    /// them have been idle for longest.
    discovered: usize,
    max_discovered: usize,
    idle: VecDeque<DeviceName>,
    /// An event was refused.
    has_refused: bool,
    /// When what is published next has arrived, if anybody measures that.
    arrived: Option<Instant>,
}

impl Hub {
    /// A hub with a topic for each configured device and room for `max_discovered` others.
    pub fn new(configured: impl IntoIterator<Item = DeviceName>, max_discovered: usize) -> Self {
        let topics = configured.into_iter().map(|device| (device.clone(), Topic::new(device, true, false))).collect();
        Self { topics, discovered: 0, max_discovered, idle: VecDeque::new(), has_refused: false, arrived: None }
    }

    /// What is published from now on has arrived at `now`.
    pub fn arrive(&mut self, now: Instant) {
        self.arrived = Some(now);
    }

    /// How many devices there are.
    pub fn device_count(&self) -> usize {
        self.topics.len()
    }

    /// From now on these devices are the configured ones: each has a topic that is never forgotten. One that isn't among
    /// them any more goes on like a device that only its calls made known.
    pub fn configure(&mut self, devices: impl IntoIterator<Item = DeviceName>) {
        let configured: BTreeSet<DeviceName> = devices.into_iter().collect();
        let mut left = Vec::new();
        for (name, topic) in &mut self.topics {
            match (topic.configured, configured.contains(name)) {
                (true, false) => {
                    left.push(name.clone());
                    self.discovered += 1;
                }
                (false, true) => self.discovered -= 1,
                _ => continue,
            }
            topic.configured = !topic.configured;
        }
        for device in configured {
            self.topics.entry(device.clone()).or_insert_with(|| Topic::new(device, true, self.has_refused));
        }
        for device in &left {
            if let Some(topic) = self.topics.get_mut(device) {
                note_idle(&mut self.idle, topic);
            }
        }
    }

    /// Numbers an event and says who gets it. `None`: nobody does.
    ///
    /// # Errors
    /// [`NoRoom`]: its device is not configured, and there is no room for one more.
    pub fn publish(&mut self, event: SwitchEvent) -> Result<Option<Delivery>, NoRoom> {
        let topic = match self.topics.get_mut(&event.device) {
            Some(topic) => topic,
            None => {
                self.make_room().inspect_err(|NoRoom| self.has_refused = true)?;
                self.discovered += 1;
                let device = event.device.clone();
                self.topics.entry(device.clone()).or_insert_with(|| Topic::new(device, false, self.has_refused))
            }
        };
        let (event, workers) = (topic.publish(event, self.arrived), topic.workers());
        note_idle(&mut self.idle, topic);
        Ok(event.filter(|_| workers != 0).map(|event| Delivery { event, workers }))
    }

    /// Answers a session.
    pub fn answer(&mut self, worker: WorkerId, session: SessionKey, ask: Ask) -> Option<Answer> {
        let answer = match ask {
            Ask::Subscribe(device) => match self.topics.get_mut(&device) {
                None => Answer::UnknownDevice(device),
                Some(topic) => {
                    topic.subscribe(worker, session);
                    Answer::Subscribed { moment: topic.pass(), snapshot: topic.snapshot() }
                }
            },
            Ask::Fence => Answer::Done,
            Ask::Forget(device) => {
                if let Some(topic) = self.topics.get_mut(&device) {
                    topic.unsubscribe(worker, session);
                    note_idle(&mut self.idle, topic);
                }
                return None;
            }
            Ask::Snapshot(device) => match self.topics.get(&device) {
                None => Answer::UnknownDevice(device),
                Some(topic) => Answer::Snapshot(topic.snapshot()),
            },
            Ask::Names { after, contains, limit } => self.names(after, &contains, limit),
        };
        Some(answer)
    }

    fn names(&self, after: Option<DeviceName>, contains: &str, limit: usize) -> Answer {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut examined = self.topics.range((from, Bound::Unbounded)).map(|(name, _)| name);
        let (mut names, mut last) = (Vec::new(), None);
        for name in examined.by_ref().take(MAX_EXAMINED) {
            last = Some(name);
            if contains_ignore_ascii_case(name.as_str(), contains) {
                names.push(name.clone());
                if names.len() >= limit {
                    break;
                }
            }
        }
        let resume = last.filter(|_| examined.next().is_some()).cloned();
        Answer::Names { names, resume }
    }

    /// How devices stand, for the administration.
    pub fn look(&self, look: &Look) -> Seen {
        let from = look.from.clone().map_or(Bound::Unbounded, Bound::Included);
        let mut topics = self.topics.range((from, Bound::Unbounded));
        let is_meant = |topic: &Topic| {
            (!look.busy || topic.is_busy()) && contains_ignore_ascii_case(topic.device().as_str(), &look.contains)
        };
        let mut devices = Vec::new();
        for (_, topic) in topics.by_ref().take(MAX_EXAMINED) {
            if is_meant(topic) {
                devices.push(topic.view());
                if devices.len() >= look.limit {
                    break;
                }
            }
        }
        Seen { devices, resume: topics.next().map(|(name, _)| name.clone()) }
    }

    /// Makes room for one more discovered device, at the cost of the one that has been idle for longest.
    fn make_room(&mut self) -> Result<(), NoRoom> {
        while self.discovered >= self.max_discovered {
            let oldest = self.idle.pop_front().ok_or(NoRoom)?;
            let Some(topic) = self.topics.get_mut(&oldest) else { continue };
            topic.queued_as_idle = false;
            if topic.is_idle() && !topic.configured {
                self.topics.remove(&oldest);
                self.discovered -= 1;
            }
        }
        Ok(())
    }
}

/// Queues a topic that can be forgotten if there is need for room.
fn note_idle(idle: &mut VecDeque<DeviceName>, topic: &mut Topic) {
    if !topic.configured && topic.is_idle() && !topic.queued_as_idle {
        topic.queued_as_idle = true;
        idle.push_back(topic.device().clone());
    }
}

/// Whether `text` contains `part`, whatever the case of ASCII letters.
pub fn contains_ignore_ascii_case(text: &str, part: &str) -> bool {
    part.is_empty() || text.as_bytes().windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()))
}

#[cfg(test)]
mod tests;
