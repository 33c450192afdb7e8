//! One device: its numbers, its calls in progress, its subscribers.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Weak},
    time::Instant,
};

use super::{
    Moment, Published, SessionKey, WorkerId,
    view::{CallView, DeviceView, Opened, StreamView},
};
use crate::model::{
    CallId, CallRef, CallState, DeviceName, EventBody, EventClass, Generation, KeyMaterial, LineNumber, Protection,
    StopCause, StreamId, SwitchEvent,
};

/// How many generations of a stream are remembered.
const MAX_GENERATIONS: usize = 16;
/// How much key material of a call is remembered, as long as its connector remembers it: many times more than that does.
const MAX_KEYS: usize = 1024;

/// How a device stands. It never holds a key (R19).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The device.
    pub device: DeviceName,
    /// The number of the device's last event; 0 if there was none.
    pub number: u64,
    /// The calls in progress, oldest first.
    pub calls: Vec<CallPicture>,
}

/// A call in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallPicture {
    /// Its names.
    pub call: Arc<CallRef>,
    /// The line that it is on.
    pub line: LineNumber,
    /// Its state.
    pub state: CallState,
    /// How secure it is.
    pub security: CallSecurity,
}

/// Whether a call's media are encrypted (R19).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallSecurity {
    /// It has no media stream yet.
    NoMedia,
    /// At least one stream is not SRTP.
    NotSecure,
    /// Every stream is SRTP.
    Secure,
}

pub(super) struct Topic {
    device: DeviceName,
    /// Events were refused before it was made, and may have been its own.
    missed_some: bool,
    /// The operator named it: it is never forgotten.
    pub(super) configured: bool,
    /// It stands in the hub's queue of idle topics.
    pub(super) queued_as_idle: bool,
    number: u64,
    class_numbers: BTreeMap<(LineNumber, EventClass), u64>,
    moment: u64,
    calls: BTreeMap<CallId, Call>,
    /// Who subscribed, by worker.
    subscribers: Vec<(WorkerId, HashSet<SessionKey>)>,
}

struct Call {
    names: Arc<CallRef>,
    line: LineNumber,
    state: CallState,
    streams: BTreeMap<StreamId, Stream>,
    /// When key material was first seen, oldest first: another stream may go on with it (R16). It holds none (R19).
    keys: Vec<(Weak<KeyMaterial>, Moment)>,
    /// Its beginning may have been refused, and a key with it: none of its generations is known to be new (R16).
    is_old: bool,
}

struct Stream {
    /// What was told when it flowed last; `None` until it flows for the first time.
    opened: Option<Opened>,
    /// When each generation was first seen, the one named last at the end: one that comes back is no new one (R16, R22).
    generations: Vec<(Generation, Moment)>,
}

impl Topic {
    pub(super) fn new(device: DeviceName, configured: bool, missed_some: bool) -> Self {
        Self {
            device,
            missed_some,
            configured,
            queued_as_idle: false,
            number: 0,
            class_numbers: BTreeMap::new(),
            moment: 0,
            calls: BTreeMap::new(),
            subscribers: Vec::new(),
        }
    }

    pub(super) fn device(&self) -> &DeviceName {
        &self.device
    }

    /// Numbers the event and keeps the picture of the device. `None` for what is no event for apps.
    pub(super) fn publish(&mut self, event: SwitchEvent, arrived: Option<Instant>) -> Option<Arc<Published>> {
        let moment = self.pass();
        let first_seen = self.note(&event, moment);
        let class = event.body.class()?;

        self.number += 1;
        let class_number = self.class_numbers.entry((event.line, class)).or_default();
        *class_number += 1;
        Some(Arc::new(Published::new(event, class, self.number, *class_number, first_seen, arrived)))
    }

    /// Takes the event into the picture. Returns when the generation that it names was first seen.
    fn note(&mut self, event: &SwitchEvent, moment: Moment) -> Moment {
        let id = event.call.id;
        match &event.body {
            EventBody::Call(CallState::Ended(_)) => {
                self.calls.remove(&id);
                return moment;
            }
            EventBody::MediaStopped(media) => {
                if let Some(call) = self.calls.get_mut(&id) {
                    call.stop(media.stream, media.cause);
                }
                return moment;
            }
            EventBody::Call(_) | EventBody::MediaKeyed { .. } | EventBody::MediaOpened(_) => {}
        }
        let is_first = matches!(event.body, EventBody::Call(CallState::Offered | CallState::Dialing));
        let call = self.calls.entry(id).or_insert_with(|| Call {
            is_old: self.missed_some && !is_first,
            names: Arc::clone(&event.call),
            line: event.line,
            state: CallState::Offered,
            streams: BTreeMap::new(),
            keys: Vec::new(),
        });
        // Nobody has monitored before the first moment.
        let moment = if call.is_old { Moment(0) } else { moment };
        match &event.body {
            EventBody::Call(state) => {
                call.state = *state;
                moment
            }
            EventBody::MediaKeyed { stream, generation, keys } => {
                let moment = call.see(keys, moment);
                call.stream(*stream).see(Some(*generation), moment)
            }
            EventBody::MediaOpened(media) => {
                let generation = match &media.protection {
                    Protection::Clear => None,
                    Protection::Keyed { generation, .. } | Protection::Unknown { generation, .. } => Some(*generation),
                };
                let moment = match &media.protection {
                    Protection::Keyed { keys, .. } => call.see(keys, moment),
                    Protection::Clear | Protection::Unknown { .. } => moment,
                };
                let stream = call.stream(media.stream);
                stream.opened = Some(Opened::new(media));
                stream.see(generation, moment)
            }
            EventBody::MediaStopped(_) => moment,
        }
    }

    /// The next moment.
    pub(super) fn pass(&mut self) -> Moment {
        self.moment += 1;
        Moment(self.moment)
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let calls = self.calls.values().map(|call| CallPicture {
            call: Arc::clone(&call.names),
            line: call.line,
            state: call.state,
            security: call.security(),
        });
        Snapshot { device: self.device.clone(), number: self.number, calls: calls.collect() }
    }

    pub(super) fn view(&self) -> DeviceView {
        DeviceView {
            device: self.device.clone(),
            configured: self.configured,
            number: self.number,
            monitors: self.subscribers.iter().map(|(_, sessions)| sessions.len()).sum(),
            calls: self.calls.values().map(Call::view).collect(),
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        !self.calls.is_empty()
    }

    pub(super) fn subscribe(&mut self, worker: WorkerId, session: SessionKey) {
        match self.subscribers.iter_mut().find(|(id, _)| *id == worker) {
            Some((_, sessions)) => {
                sessions.insert(session);
            }
            None => self.subscribers.push((worker, HashSet::from([session]))),
        }
    }

    pub(super) fn unsubscribe(&mut self, worker: WorkerId, session: SessionKey) {
        if let Some((_, sessions)) = self.subscribers.iter_mut().find(|(id, _)| *id == worker) {
            sessions.remove(&session);
        }
        self.subscribers.retain(|(_, sessions)| !sessions.is_empty());
    }

    /// The workers with subscribers, one bit each.
    pub(super) fn workers(&self) -> u64 {
        self.subscribers.iter().fold(0, |workers, (worker, _)| workers | 1 << (worker.0 % 64))
    }

    /// Nobody listens and nothing goes on.
    pub(super) fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.subscribers.is_empty()
    }
}

impl Call {
    fn stream(&mut self, id: StreamId) -> &mut Stream {
        self.streams.entry(id).or_insert(Stream { opened: None, generations: Vec::new() })
    }

    fn stop(&mut self, stream: StreamId, cause: StopCause) {
        if cause == StopCause::Ended {
            self.streams.remove(&stream);
        } else if let Some(opened) = self.streams.get_mut(&stream).and_then(|stream| stream.opened.as_mut()) {
            opened.stop(cause);
        }
    }

    /// When this key material was first seen, in whichever of the call's streams.
    fn see(&mut self, keys: &Arc<KeyMaterial>, moment: Moment) -> Moment {
        if let Some((_, first_seen)) = self.keys.iter().find(|(known, _)| known.as_ptr() == Arc::as_ptr(keys)) {
            return *first_seen;
        }
        self.keys.retain(|(known, _)| known.strong_count() > 0);
        if self.keys.len() >= MAX_KEYS {
            self.keys.remove(0);
        }
        self.keys.push((Arc::downgrade(keys), moment));
        moment
    }

    fn security(&self) -> CallSecurity {
        let mut streams = self.streams.values().filter_map(|stream| stream.opened.as_ref()).peekable();
        if streams.peek().is_none() {
            CallSecurity::NoMedia
        } else if streams.all(Opened::is_encrypted) {
            CallSecurity::Secure
        } else {
            CallSecurity::NotSecure
        }
    }

    fn view(&self) -> CallView {
        CallView {
            call: Arc::clone(&self.names),
            line: self.line,
            state: self.state,
            security: self.security(),
            streams: self.streams.iter().map(|(id, stream)| stream.view(*id)).collect(),
        }
    }
}

impl Stream {
    fn view(&self, stream: StreamId) -> StreamView {
        let is_clear = self.opened.as_ref().is_some_and(|opened| !opened.is_encrypted());
        let generation = self.generations.last().map(|(generation, _)| *generation).filter(|_| !is_clear);
        StreamView { stream, generation, opened: self.opened.clone() }
    }

    fn see(&mut self, generation: Option<Generation>, moment: Moment) -> Moment {
        let Some(generation) = generation else { return moment };
        let known = self.generations.iter().position(|(known, _)| *known == generation);
        let seen = match known {
            Some(i) => self.generations.remove(i),
            None => (generation, moment),
        };
        if self.generations.len() >= MAX_GENERATIONS {
            self.generations.remove(0);
        }
        self.generations.push(seen);
        seen.1
    }
}
