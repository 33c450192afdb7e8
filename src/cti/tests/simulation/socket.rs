//! A simulated socket, with room for so many frames, and what has left by it.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use callgate_wire::{
    FrameDecoder, MAX_FRAME_OPEN,
    v1::{self, ErrorCode, ToApp, event, to_app},
};

use super::trail::{self, FlakyTrail};
use crate::cti::{
    backlog::{AboutRef, Backlog, Full},
    socket::{Connection, SendError},
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
    /// How many of them the model foresees.
    pub(super) foreseen: usize,
    /// Events with keys, by their places, each with the step at which it left.
    pub(super) keys: Vec<(usize, u64)>,
    /// How many of them left of each generation.
    of_generation: HashMap<String, usize>,
    /// The first generation of which more left than is on record.
    pub(super) unrecorded: Option<String>,
    /// How many events said that the disclosure can't be recorded.
    pub(super) unrecordable: usize,
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
    trail: Arc<FlakyTrail>,
    session: Arc<str>,
}

impl FakeSocket {
    /// The socket of a session, whose keys are on record in `trail`.
    pub(super) fn new(
        max_backlog: usize,
        room: usize,
        step: Rc<Cell<u64>>,
        (trail, session): (Arc<FlakyTrail>, Arc<str>),
    ) -> Self {
        let (left, backlog) = (Rc::default(), Backlog::new(max_backlog));
        Self { left, step, backlog, sealed: 0, room, is_full: false, hidden: None, trail, session }
    }

    /// The same, with a backlog that no barrier sees.
    pub(super) fn hiding(self, max_backlog: usize) -> Self {
        Self { hidden: Some(Backlog::new(max_backlog)), ..self }
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
                let generation = generation(event);
                let count = left.of_generation.entry(generation.clone()).or_default();
                *count += 1;
                let recorded = self.trail.of(&self.session, &generation);
                if *count + recorded.withheld > recorded.disclosed {
                    left.unrecorded.get_or_insert(generation);
                }
            }
            left.unrecordable += usize::from(is_unrecordable(event));
        }
        left.foreseen += usize::from(is_foreseen(&message));
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

fn is_unrecordable(event: &v1::Event) -> bool {
    let reason = v1::UnavailableReason::AuditUnavailable;
    matches!(&event.body, Some(event::Body::MediaOpened(opened)) if opened.reason() == reason)
}

fn generation(event: &v1::Event) -> String {
    let Some(event::Body::MediaOpened(opened)) = &event.body else { panic!("{event:?}") };
    let call = event.call.as_ref().unwrap();
    trail::name(&event.device, &call.id, &opened.stream, &opened.generation.to_string())
}

/// Whether it is one of those that nobody asked for, which the model foresees.
pub(super) fn is_foreseen(message: &to_app::Message) -> bool {
    use to_app::Message::{CapabilityChanged, DeviceOutOfService, Event};
    matches!(message, Event(_) | CapabilityChanged(_) | DeviceOutOfService(_))
}
