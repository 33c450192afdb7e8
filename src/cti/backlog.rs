//! The frames that wait for room in a socket: shared, in order, bounded in bytes (R41a).
//!
//! A frame of an event keeps what it is about, so that it can be judged again when rights change (R15). **A frame leaves
//! whole or not at all**, but for the front one on the clear door, which no key goes by.

use std::{collections::VecDeque, io::IoSlice, sync::Arc};

use bytes::{Buf, Bytes};

use crate::{
    hub::Published,
    model::{DeviceName, LineNumber},
    policy::Indication,
};

/// How many frames a backlog has room for at first: a worker's turn.
const FEW: usize = 64;
/// The most frames that leave in one record, or in one system call on the clear door.
const FRAMES: usize = 128;

/// The frames that wait.
pub(super) struct Backlog {
    frames: VecDeque<Waiting>,
    bytes: usize,
    /// A part of the first frame has been sent.
    front_is_begun: bool,
    max_bytes: usize,
}

struct Waiting {
    frame: Bytes,
    about: Option<About>,
}

/// What a frame with an event is about.
#[derive(Debug)]
pub(super) enum About {
    /// It has a key. Only these keep their event, so that a backlog takes little more memory than its frames.
    Key {
        /// The event.
        published: Arc<Published>,
        /// The session monitored the device's media before the stream's generation was first seen (R16).
        monitored_before: bool,
    },
    /// It has none: where it happened is all that can hide it.
    Other {
        /// The device.
        device: DeviceName,
        /// Its line.
        line: LineNumber,
    },
}

/// The same on its way: nothing is counted or copied for a frame that doesn't wait.
#[derive(Clone, Copy)]
pub(super) struct AboutRef<'a> {
    pub(super) published: &'a Arc<Published>,
    pub(super) indication: Indication,
    pub(super) monitored_before: bool,
}

/// What becomes of a frame that waits.
pub(super) enum Fate {
    /// It leaves as it is.
    Keep,
    /// It leaves in this form instead, which has no key.
    Replace(Bytes),
    /// It doesn't leave.
    Drop,
}

/// The bound is reached (R41).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl Backlog {
    /// Nothing waits, and so many bytes may.
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, front_is_begun: false, max_bytes }
    }

    /// Appends a frame.
    ///
    /// # Errors
    /// [`Full`].
    pub(super) fn push(&mut self, frame: Bytes, about: Option<AboutRef<'_>>) -> Result<(), Full> {
        if self.bytes + frame.len() > self.max_bytes {
            return Err(Full);
        }
        self.push_regardless(frame, about);
        Ok(())
    }

    /// Appends a frame, whatever the bound: the first one that waits.
    pub(super) fn push_regardless(&mut self, frame: Bytes, about: Option<AboutRef<'_>>) {
        self.bytes += frame.len();
        if self.frames.capacity() == 0 {
            // Where one waits, more follow: growing one by one costs more than all the rest of waiting.
            self.frames.reserve(FEW);
        }
        self.frames.push_back(Waiting { frame, about: about.map(Into::into) });
    }

    /// Drops what waits in whole frames; what is begun still goes out. Returns what the dropped ones were about.
    pub(super) fn forget(&mut self) -> impl Iterator<Item = About> + use<> {
        let begun = if self.front_is_begun { self.frames.pop_front() } else { None };
        let dropped = std::mem::take(&mut self.frames);
        self.bytes = begun.as_ref().map_or(0, |waiting| waiting.frame.len());
        self.frames.extend(begun);
        dropped.into_iter().filter_map(|waiting| waiting.about)
    }

    /// Judges again what waits in whole frames with events.
    pub(super) fn judge(&mut self, mut fate: impl FnMut(&About) -> Fate) {
        let mut is_begun = self.front_is_begun;
        let bytes = &mut self.bytes;
        self.frames.retain_mut(|Waiting { frame, about }| {
            let is_whole = !std::mem::take(&mut is_begun);
            let Some(about) = about.as_mut().filter(|_| is_whole) else { return true };
            match fate(about) {
                Fate::Keep => true,
                Fate::Replace(other) => {
                    *bytes = *bytes - frame.len() + other.len();
                    *frame = other;
                    about.forget_key();
                    true
                }
                Fate::Drop => {
                    *bytes -= frame.len();
                    false
                }
            }
        });
    }

    /// Up to [`FRAMES`] frames from the front, of which only the first may reach beyond `max_bytes`.
    pub(super) fn slices(&self, max_bytes: usize) -> ([IoSlice<'_>; FRAMES], usize) {
        let mut slices = [IoSlice::new(&[]); FRAMES];
        let (mut count, mut bytes) = (0, 0usize);
        for (slice, Waiting { frame, .. }) in slices.iter_mut().zip(&self.frames) {
            bytes = bytes.saturating_add(frame.len());
            if count > 0 && bytes > max_bytes {
                break;
            }
            *slice = IoSlice::new(frame);
            count += 1;
        }
        (slices, count)
    }

    /// Takes so many bytes from the front, since they were sent.
    pub(super) fn advance(&mut self, mut bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        while let Some(Waiting { frame, .. }) = self.frames.front_mut() {
            if bytes < frame.len() {
                self.front_is_begun |= bytes > 0;
                frame.advance(bytes);
                return;
            }
            self.front_is_begun = false;
            bytes -= frame.len();
            self.frames.pop_front();
        }
        // An idle session holds no buffer.
        if self.frames.capacity() > 16 {
            self.frames = VecDeque::new();
        }
    }

    /// How many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there must be room before a frame of so many bytes can be held: as much waits as a `write` takes. While the
    /// socket `is_full` trying is for those who have no other choice.
    pub(super) fn needs_flush(&self, bytes: usize, write: usize, is_full: bool) -> bool {
        let most = if is_full { self.max_bytes } else { self.max_bytes.min(write) };
        self.bytes + bytes > most
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

impl About {
    /// The key was taken out of the frame.
    fn forget_key(&mut self) {
        if let Self::Key { published, .. } = self {
            *self = Self::other(published);
        }
    }

    fn other(published: &Published) -> Self {
        Self::Other { device: published.event.device.clone(), line: published.event.line }
    }
}

impl From<AboutRef<'_>> for About {
    fn from(AboutRef { published, indication, monitored_before }: AboutRef<'_>) -> Self {
        match indication {
            Indication::KeysAvailable => Self::Key { published: Arc::clone(published), monitored_before },
            _ => Self::other(published),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        hub::Hub,
        model::{CallDirection, CallId, CallRef, CallState, EventBody, Party, SwitchEvent, Timestamp},
    };

    fn published() -> Arc<Published> {
        let device: DeviceName = "1001".parse().unwrap();
        let mut hub = Hub::new([device.clone()], 0);
        let session = crate::hub::SessionKey { place: 0, turn: 0 };
        hub.answer(crate::hub::WorkerId(0), session, crate::hub::Ask::Subscribe(device.clone()));
        let call = CallRef {
            id: CallId(1),
            switch: "pbx".parse().unwrap(),
            switch_call: None,
            sip_call_id: String::new(),
            direction: CallDirection::Incoming,
            calling: Party::default(),
            called: Party::default(),
        };
        let body = EventBody::Call(CallState::Connected);
        let event = SwitchEvent { at: Timestamp(0), device, line: LineNumber::FIRST, call: Arc::new(call), body };
        hub.publish(event).unwrap().unwrap().event
    }

    fn backlog(frames: &[(&'static str, bool)], published: &Arc<Published>) -> Backlog {
        let mut backlog = Backlog::new(20);
        for (frame, is_event) in frames {
            let about = AboutRef { published, indication: Indication::KeysAvailable, monitored_before: true };
            backlog.push(Bytes::from_static(frame.as_bytes()), is_event.then_some(about)).unwrap();
        }
        backlog
    }

    fn waiting(backlog: &Backlog) -> Vec<String> {
        let (slices, count) = backlog.slices(usize::MAX);
        slices[..count].iter().map(|frame| String::from_utf8(frame.to_vec()).unwrap()).collect()
    }

    #[test]
    fn r41a_the_bound_is_in_bytes_and_what_is_sent_makes_room() {
        let mut backlog = backlog(&[("0123456789", false), ("abcdefghi", false)], &published());
        let more = || Bytes::from_static(b"xy");
        assert_eq!(backlog.push(more(), None), Err(Full));
        backlog.advance(1);
        assert_eq!(backlog.push(more(), None), Ok(()));
        assert_eq!(waiting(&backlog), ["123456789", "abcdefghi", "xy"]);
        backlog.advance(20);
        assert!(backlog.is_empty() && backlog.bytes == 0 && !backlog.front_is_begun);
    }

    #[test]
    fn r15_what_is_judged_is_whole_and_in_order() {
        let published = published();
        let mut backlog = backlog(&[("aaaa", true), ("bbbb", true), ("answer", false), ("cc", true)], &published);
        let mut fates = [Fate::Replace(Bytes::from_static(b"b")), Fate::Drop].into_iter();
        // A part of the first one is on its way: it can't be judged any more.
        backlog.advance(1);
        backlog.judge(|_| fates.next().unwrap());
        assert_eq!(waiting(&backlog), ["aaa", "b", "answer"]);
        assert_eq!(backlog.bytes, 10);
        let mut again = Vec::new();
        backlog.judge(|about| {
            again.push(matches!(about, About::Key { .. }));
            Fate::Keep
        });
        assert_eq!(again, [false]);

        let dropped: Vec<_> = backlog.forget().map(|about| matches!(about, About::Key { .. })).collect();
        assert_eq!(dropped, [false], "answers are about no event");
        assert_eq!((waiting(&backlog), backlog.bytes), (vec!["aaa".to_owned()], 3));
    }

    #[test]
    fn frames_are_taken_whole_up_to_a_record() {
        let backlog = backlog(&[("0123456789", false), ("ab", false), ("cd", false)], &published());
        assert_eq!(backlog.slices(5).1, 1, "the first one goes however large it is");
        assert_eq!(backlog.slices(13).1, 2);
        assert_eq!(backlog.slices(14).1, 3);
    }
}
