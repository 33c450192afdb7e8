//! A simulated app: its socket, and the model of what it must get.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use bytes::Bytes;
use callgate_wire::{
    FrameDecoder, MAX_FRAME_OPEN,
    v1::{self, ErrorCode, ToApp, event, to_app},
};

use super::spec::{Spec, Who};
use crate::{
    cti::{
        backlog::{AboutRef, Backlog, Full},
        socket::{Connection, SendError},
    },
    hub::SessionKey,
};

/// As much as is sealed at once, in bytes: some frames.
const RECORD: usize = 1000;
const WRITE: usize = 2 * RECORD;

/// What has left, in order: handed to the seal.
#[derive(Default)]
pub(super) struct Left {
    pub(super) messages: Vec<to_app::Message>,
    /// How many of them are events.
    pub(super) events: usize,
    /// Events with keys, each with the step at which it left.
    pub(super) keys: Vec<(usize, u64)>,
    pub(super) closed: Option<ErrorCode>,
}

/// A socket with room for so many frames.
pub(super) struct FakeSocket {
    pub(super) left: Rc<RefCell<Left>>,
    step: Rc<Cell<u64>>,
    backlog: Backlog,
    sealed: usize,
    room: usize,
    is_full: bool,
    /// What a barrier gets to see instead of the backlog, when the simulation is to fail.
    hidden: Option<Backlog>,
}

impl FakeSocket {
    pub(super) fn new(max_backlog: usize, room: usize, step: Rc<Cell<u64>>, hides_backlog: bool) -> Self {
        let hidden = hides_backlog.then(|| Backlog::new(max_backlog));
        let left = Rc::default();
        Self { left, step, backlog: Backlog::new(max_backlog), sealed: 0, room, is_full: false, hidden }
    }

    /// The app reads so many frames.
    pub(super) fn drain(&mut self, frames: usize) {
        self.room += frames;
        while self.write() && !self.backlog.is_empty() {
            let (whole, frames) = {
                let (slices, count) = self.backlog.slices(RECORD);
                let frames: Vec<_> = slices[..count].iter().map(|frame| Bytes::copy_from_slice(frame)).collect();
                (frames.iter().map(Bytes::len).sum(), frames)
            };
            frames.iter().for_each(|frame| self.seal(frame));
            self.backlog.advance(whole);
        }
    }

    fn seal(&mut self, frame: &Bytes) {
        self.sealed += 1;
        let mut decoder = FrameDecoder::new(MAX_FRAME_OPEN);
        decoder.extend(frame);
        let message = decoder.next_message::<ToApp>().unwrap().unwrap().message.unwrap();
        assert_eq!(decoder.buffered(), 0, "a frame that is not whole");
        let mut left = self.left.borrow_mut();
        if let to_app::Message::Event(event) = &message {
            left.events += 1;
            if has_key(event) {
                let place = left.messages.len();
                left.keys.push((place, self.step.get()));
            }
        }
        left.messages.push(message);
    }

    /// Whether all that is sealed is gone.
    fn write(&mut self) -> bool {
        let written = self.sealed.min(self.room);
        self.sealed -= written;
        self.room -= written;
        self.sealed == 0
    }
}

impl Connection for FakeSocket {
    fn send(&mut self, frame: Bytes, about: Option<AboutRef<'_>>) -> Result<(), SendError> {
        if self.is_waiting() {
            return self.backlog.push(frame, about).map_err(|Full| SendError::Full);
        }
        self.seal(&frame);
        self.is_full = !self.write();
        Ok(())
    }

    fn hold(&mut self, frame: Bytes, about: Option<AboutRef<'_>>) -> Result<(), SendError> {
        if self.backlog.needs_flush(frame.len(), WRITE, self.is_full) {
            self.flush()?;
        }
        self.backlog.push(frame, about).map_err(|Full| SendError::Full)
    }

    fn flush(&mut self) -> Result<(), SendError> {
        self.drain(0);
        self.is_full = self.is_waiting();
        Ok(())
    }

    fn is_waiting(&self) -> bool {
        !self.backlog.is_empty() || self.sealed > 0
    }

    fn backlog(&mut self) -> &mut Backlog {
        self.hidden.as_mut().unwrap_or(&mut self.backlog)
    }

    fn farewell(mut self, last_word: Bytes, _: Duration, _: Rc<Cell<usize>>) {
        assert!(self.hidden.is_some() || self.backlog.is_empty(), "what waits is not sent");
        self.seal(&last_word);
        let mut left = self.left.borrow_mut();
        let Some(to_app::Message::Close(close)) = left.messages.last() else { panic!("no Close") };
        left.closed = Some(close.reason.as_ref().unwrap().code());
    }
}

pub(super) fn has_key(event: &v1::Event) -> bool {
    matches!(&event.body, Some(event::Body::MediaOpened(opened)) if opened.keys.is_some())
}

/// What the app must get, found out without the gateway's code.
pub(super) struct App {
    pub(super) who: Who,
    pub(super) worker: usize,
    pub(super) state: State,
    pub(super) left: Rc<RefCell<Left>>,
    /// By device: classes, and since when media, by the hub's count.
    pub(super) monitors: HashMap<usize, Monitored>,
    pub(super) asked: HashMap<u64, Asked>,
    pub(super) next_token: u64,
    pub(super) expected: Vec<Expected>,
    /// Versions by which its groups became others, and whether it may have keys since.
    pub(super) changes: Vec<(u64, bool)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// On its way to the worker, by the rights of this version.
    Queued(u64),
    /// At the worker, before the barrier of this version.
    Early(u64),
    Open(SessionKey),
    Closed,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Monitored {
    pub(super) calls: bool,
    /// Since when.
    pub(super) media: Option<u64>,
}

/// A request under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) device: usize,
    pub(super) monitor: bool,
    pub(super) calls: bool,
    pub(super) media: bool,
    /// When the hub answered.
    pub(super) at: u64,
}

/// An event as the switch told it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) device: usize,
    pub(super) line: u32,
    pub(super) is_media: bool,
    /// When its key was first seen, if it has one.
    pub(super) keyed: Option<u64>,
    pub(super) number: u64,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub(super) told: Told,
    pub(super) with_key: bool,
}

impl App {
    /// An event is delivered.
    pub(super) fn on_event(&mut self, told: Told, spec: &Spec) {
        let Some(monitored) = self.monitors.get(&told.device) else { return };
        let wanted = if told.is_media { monitored.media.is_some() } else { monitored.calls };
        if !wanted || !spec.shows_line(self.who, told.device, told.line) {
            return;
        }
        let since = monitored.media.unwrap_or(u64::MAX);
        let with_key = spec.gives_keys(self.who) && told.keyed.is_some_and(|keyed| since < keyed);
        self.expected.push(Expected { told, with_key });
    }

    /// The rights of its worker change. Returns how many keys that waited don't leave.
    pub(super) fn on_rights(&mut self, old: &Spec, spec: &Spec) -> usize {
        let gone = self.left.borrow().events.min(self.expected.len());
        let mut waiting = self.expected.split_off(gone);
        let keys = |waiting: &[Expected]| waiting.iter().filter(|expected| expected.with_key).count();
        let before = keys(&waiting);
        if !spec.admits(self.who) {
            self.state = State::Closed;
            return before;
        }
        self.note_groups(old, spec);
        let who = self.who;
        self.monitors.retain(|device, _| spec.shows(who, *device));
        waiting.retain(|expected| spec.shows_line(who, expected.told.device, expected.told.line));
        for expected in &mut waiting {
            expected.with_key &= spec.gives_keys(who);
        }
        let after = keys(&waiting);
        self.expected.extend(waiting);
        before - after
    }

    /// How many keys wait and don't leave, since there was no room for the news of a change.
    pub(super) fn crowded_out(&self) -> usize {
        let left = self.left.borrow();
        let waiting = self.expected.get(left.events..).unwrap_or_default();
        match left.closed {
            Some(ErrorCode::SlowConsumer) => waiting.iter().filter(|expected| expected.with_key).count(),
            _ => 0,
        }
    }

    /// The rights that the session knows change.
    pub(super) fn note_groups(&mut self, old: &Spec, spec: &Spec) {
        if old.groups(self.who) != spec.groups(self.who) {
            self.changes.push((spec.version, spec.gives_keys(self.who)));
        }
    }

    /// An answer of the hub reaches its worker.
    pub(super) fn on_answer(&mut self, token: u64, spec: &Spec) {
        let asked = self.asked.remove(&token).unwrap();
        if !asked.monitor {
            if let Some(monitored) = self.monitors.get_mut(&asked.device) {
                monitored.calls &= !asked.calls;
                monitored.media = monitored.media.filter(|_| !asked.media);
                if !monitored.calls && monitored.media.is_none() {
                    self.monitors.remove(&asked.device);
                }
            }
        } else if spec.shows(self.who, asked.device) {
            let monitored = self.monitors.entry(asked.device).or_default();
            monitored.calls |= asked.calls;
            if asked.media && monitored.media.is_none() {
                monitored.media = Some(asked.at);
            }
        }
    }

    /// What an app checks: no hole in the class numbers that nobody told of (R40), and no key after the message that says
    /// that there are none.
    pub(super) fn check_as_app(&self) -> Result<(), String> {
        let (mut last, mut may_have_keys) = (HashMap::new(), true);
        for message in &self.left.borrow().messages {
            match message {
                to_app::Message::CapabilityChanged(changed) => may_have_keys = changed.keys,
                to_app::Message::DeviceOutOfService(out) => last.retain(|(device, line, _), _| {
                    *device != out.device || !out.lines.is_empty() && !out.lines.contains(line)
                }),
                to_app::Message::Unmonitored(left) => {
                    last.retain(|(device, _, class), _| *device != left.device || left.classes.contains(class));
                }
                to_app::Message::Event(event) => {
                    let place = (event.device.clone(), event.line, event.class);
                    if let Some(last) = last.insert(place, event.class_number)
                        && event.class_number != last + 1
                    {
                        return Err(format!("{:?}: {} follows {last}: {event:?}", self.who, event.class_number));
                    }
                    if has_key(event) && !may_have_keys {
                        return Err(format!("{:?}: a key after all were taken: {event:?}", self.who));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// All that it must get, and nothing else, in order.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_as_app()?;
        let left = self.left.borrow();
        let told = left.messages.iter().filter_map(|message| match message {
            to_app::Message::CapabilityChanged(changed) => {
                let groups = changed.changes.contains(&v1::CapabilityChange::Groups.into());
                groups.then_some((changed.rights_version, changed.keys))
            }
            _ => None,
        });
        let told: Vec<_> = told.collect();
        // What waits for who is closed is dropped.
        if matches!(self.state, State::Open(_)) && told != self.changes {
            return Err(format!("{:?} was told of {told:?}, not {:?}", self.who, self.changes));
        }
        let got = left.messages.iter().filter_map(|message| match message {
            to_app::Message::Event(event) => Some((event.device.as_str(), event.number, has_key(event))),
            _ => None,
        });
        let expected = self
            .expected
            .iter()
            .map(|Expected { told, with_key }| (super::spec::DEVICES[told.device], told.number, *with_key));
        let (got, expected): (Vec<_>, Vec<_>) = (got.collect(), expected.collect());
        let first = got.iter().zip(&expected).position(|(got, expected)| got != expected);
        match first {
            Some(at) => Err(format!("{:?}: event {at} is {:?}, not {:?}", self.who, got[at], expected[at])),
            None if got.len() != expected.len() => {
                Err(format!("{:?}: {} events, not {}", self.who, got.len(), expected.len()))
            }
            None => Ok(()),
        }
    }
}
