//! What every switch keeps to in what it reports, whatever makes its events: the order of a call's states, and the lives
//! of its streams and keys.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, unreachable_pub, missing_docs, reason = "a test")]

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::Arc,
};

use callgate::model::{
    CallDirection, CallId, CallRef, CallState, Codec, DeviceName, EndCause, EventBody, Generation, KeyMaterial,
    LineNumber, MediaOpened, Protection, StopCause, StreamDirection, StreamId, SwitchEvent, Timestamp,
};

/// Looks at every event of one switch, in their order.
#[derive(Default)]
pub struct Lifecycles {
    /// A call by its device: one behind a proxy has several.
    calls: HashMap<(CallId, DeviceName), Call>,
    streams: HashSet<StreamId>,
    /// How often each kind of step was seen: a checker that saw nothing proves nothing.
    pub seen: HashMap<&'static str, u64>,
    /// `false` where the switch's own clock is told, and messages may pass each other.
    pub times_are_ordered: bool,
    last: Option<Timestamp>,
}

struct Call {
    names: Arc<CallRef>,
    line: LineNumber,
    state: CallState,
    answered: bool,
    streams: HashMap<StreamId, Stream>,
}

struct Stream {
    direction: StreamDirection,
    flows: bool,
    /// Stopped because it changed: the very next event opens it anew.
    changing: bool,
    over: bool,
    opened: Option<Opened>,
    /// What is in force; `None` in the clear.
    generation: Option<Generation>,
    /// Every generation with its beginning, and its keys if they were told.
    known: HashMap<Generation, (Timestamp, Option<Arc<KeyMaterial>>)>,
}

#[derive(PartialEq)]
struct Opened {
    destination: SocketAddr,
    codecs: Arc<[Codec]>,
    generation: Option<Generation>,
}

impl Lifecycles {
    /// # Errors
    /// What the event breaks.
    pub fn take(&mut self, event: &SwitchEvent) -> Result<(), String> {
        self.check(event).map_err(|why| format!("{why}: {event:?}"))
    }

    /// # Errors
    /// What is left open when everything is over.
    pub fn finish(&self) -> Result<(), String> {
        match self.calls.values().find(|call| !matches!(call.state, CallState::Ended(_))) {
            Some(call) => Err(format!("a call has no end: {:?}", call.names)),
            None => Ok(()),
        }
    }

    pub fn open_calls(&self) -> usize {
        self.calls.values().filter(|call| !matches!(call.state, CallState::Ended(_))).count()
    }

    fn check(&mut self, event: &SwitchEvent) -> Result<(), String> {
        ensure(!self.times_are_ordered || self.last.is_none_or(|last| last <= event.at), "time goes back")?;
        self.last = Some(event.at);
        let Some(call) = self.calls.get_mut(&(event.call.id, event.device.clone())) else {
            return self.begin(event);
        };
        ensure(!matches!(call.state, CallState::Ended(_)), "an event behind the end of its call")?;
        ensure(call.names == event.call, "the names of a call change")?;
        ensure(call.line == event.line, "a call changes its line")?;
        let changing = call.streams.iter().find(|(_, stream)| stream.changing).map(|(id, _)| *id);
        if let Some(id) = changing {
            let opens = matches!(&event.body, EventBody::MediaOpened(opened) if opened.stream == id);
            ensure(opens, "a stream that changed is not opened anew at once")?;
        }
        let step = match &event.body {
            EventBody::Call(state) => call.change(*state)?,
            EventBody::MediaKeyed { stream, generation, .. } => {
                ensure(call.streams.contains_key(stream) || self.streams.insert(*stream), "a stream has two calls")?;
                let stream = call.streams.entry(*stream).or_insert_with(|| Stream::new(StreamDirection::Sent));
                stream.keyed(*generation, event.at)?
            }
            EventBody::MediaOpened(opened) => {
                let id = &opened.stream;
                ensure(call.streams.contains_key(id) || self.streams.insert(*id), "a stream has two calls")?;
                let stream = call.streams.entry(*id).or_insert_with(|| Stream::new(opened.direction));
                stream.open(opened, event.at)?
            }
            EventBody::MediaStopped(stopped) => {
                let on_hold = matches!(call.state, CallState::Held | CallState::HeldByRemote);
                ensure(on_hold || stopped.cause != StopCause::Hold, "a stream is on hold, and its call is not")?;
                let stream = call.streams.get_mut(&stopped.stream).ok_or("a stream stops that never was")?;
                stream.stop(stopped.cause, stopped.generation)?
            }
        };
        *self.seen.entry(step).or_default() += 1;
        Ok(())
    }

    fn begin(&mut self, event: &SwitchEvent) -> Result<(), String> {
        let EventBody::Call(state) = event.body else { return Err("a call begins with its media".into()) };
        let good = match event.call.direction {
            CallDirection::Outgoing => state == CallState::Dialing,
            CallDirection::Incoming => state == CallState::Offered,
            CallDirection::Unknown => state == CallState::Connected,
        };
        ensure(good, "a call begins with another state than its direction has")?;
        let call = Call {
            names: Arc::clone(&event.call),
            line: event.line,
            state,
            answered: state == CallState::Connected,
            streams: HashMap::new(),
        };
        self.calls.insert((event.call.id, event.device.clone()), call);
        *self.seen.entry("begin").or_default() += 1;
        Ok(())
    }
}

impl Call {
    fn change(&mut self, to: CallState) -> Result<&'static str, String> {
        use CallState::{Alerting, Connected, Dialing, Ended, Held, HeldByRemote, Offered};
        ensure(self.state != to, "the same state twice")?;
        let step = match (self.state, to) {
            (Dialing | Offered, Alerting) => "ring",
            (Dialing | Offered | Alerting, Connected) => "answer",
            (Connected | Held | HeldByRemote, Connected | Held | HeldByRemote) => {
                if to == Connected {
                    "retrieve"
                } else {
                    "hold"
                }
            }
            (_, Ended(cause)) => {
                let live = self.streams.values().any(|stream| stream.flows || stream.opened.is_some() && !stream.over);
                ensure(!live, "a call ends before its streams")?;
                match cause {
                    EndCause::Hangup => ensure(self.answered, "hung up, and never answered")?,
                    EndCause::Cancelled => ensure(!self.answered, "given up, and answered before")?,
                    EndCause::Rejected(code) => {
                        ensure(!self.answered && (300..700).contains(&code), "refused, and answered before")?;
                    }
                    EndCause::Forgotten | EndCause::NotADevice => {}
                }
                "end"
            }
            _ => return Err(format!("{:?} doesn't follow {:?}", to, self.state)),
        };
        self.answered |= to == Connected;
        self.state = to;
        Ok(step)
    }
}

impl Stream {
    fn new(direction: StreamDirection) -> Self {
        Self {
            direction,
            flows: false,
            changing: false,
            over: false,
            opened: None,
            generation: None,
            known: HashMap::new(),
        }
    }

    fn keyed(&mut self, generation: Generation, at: Timestamp) -> Result<&'static str, String> {
        ensure(!self.flows && !self.over, "new keys are told apart, and the stream flows or is over")?;
        ensure(Some(generation) != self.generation, "keys are told that are in force already")?;
        if !self.known.contains_key(&generation) {
            self.next(generation)?;
            self.known.insert(generation, (at, None));
        }
        self.generation = Some(generation);
        Ok("keyed")
    }

    fn open(&mut self, opened: &MediaOpened, at: Timestamp) -> Result<&'static str, String> {
        ensure(!self.flows, "a stream is opened that flows")?;
        ensure(!self.over, "a stream is opened that is over")?;
        // `keyed` doesn't tell the direction.
        ensure(self.opened.is_none() || self.direction == opened.direction, "a stream changes its direction")?;
        self.direction = opened.direction;
        let generation = match &opened.protection {
            Protection::Clear => None,
            Protection::Keyed { generation, since, keys } => {
                self.told(*generation, *since, at, Some(keys))?;
                Some(*generation)
            }
            Protection::Unknown { generation, since } => {
                self.told(*generation, *since, at, None)?;
                Some(*generation)
            }
        };
        let now = Opened { destination: opened.destination, codecs: Arc::clone(&opened.codecs), generation };
        let step = match &self.opened {
            None => "open",
            Some(before) if self.changing => {
                ensure(*before != now, "a stream changes, and is opened as it was")?;
                if before.generation == generation { "change" } else { "rekey" }
            }
            Some(_) => "reopen",
        };
        (self.flows, self.changing) = (true, false);
        (self.opened, self.generation) = (Some(now), generation);
        Ok(step)
    }

    fn stop(&mut self, cause: StopCause, generation: Option<Generation>) -> Result<&'static str, String> {
        ensure(!self.over, "a stream stops that is over")?;
        ensure(generation == self.generation, "a stream stops by another generation than the one in force (R22)")?;
        let step = match cause {
            StopCause::Hold => "pause",
            StopCause::Changed => "changes",
            StopCause::Ended => "over",
        };
        ensure(self.flows || cause == StopCause::Ended, "a stream stops that doesn't flow")?;
        (self.flows, self.changing, self.over) = (false, cause == StopCause::Changed, cause == StopCause::Ended);
        Ok(step)
    }

    /// R22: a generation is told with the same keys and the same beginning each time, and a new one is the next.
    fn told(
        &mut self,
        generation: Generation,
        since: Timestamp,
        at: Timestamp,
        keys: Option<&Arc<KeyMaterial>>,
    ) -> Result<(), String> {
        ensure(since <= at, "keys that were seen later than now")?;
        for (other, (_, known)) in &self.known {
            let same = known.as_ref().zip(keys).is_some_and(|(known, keys)| known.same_generation(keys));
            ensure(!same || *other == generation, "the same keys are two generations (R22)")?;
        }
        match self.known.get_mut(&generation) {
            Some((first, known)) => {
                ensure(*first == since, "a generation has two beginnings")?;
                if let (Some(known), Some(keys)) = (&known, keys) {
                    ensure(known.same_generation(keys), "one generation has two sets of keys (R22)")?;
                }
                *known = known.take().or_else(|| keys.cloned());
            }
            None => {
                self.next(generation)?;
                ensure(since == at, "a new generation that was seen before")?;
                self.known.insert(generation, (since, keys.cloned()));
            }
        }
        Ok(())
    }

    fn next(&self, generation: Generation) -> Result<(), String> {
        let next = self.known.keys().max().map_or(Generation::FIRST, |highest| highest.next());
        ensure(generation == next, "a new generation is not the next one")
    }
}

fn ensure(holds: bool, what: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what.into()) }
}
