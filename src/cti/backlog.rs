//! The frames that wait for room in a socket: shared, in order, bounded in bytes (R41a).
//!
//! A frame of an event keeps what it is about, so that it can be judged again when rights change (R15). **A frame leaves
//! whole or not at all**, but for the front one on the clear door, which no key goes by.

use std::{collections::VecDeque, io::IoSlice, sync::Arc};

use bytes::{Buf, Bytes};

use crate::{hub::Published, policy::Indication};

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
#[derive(Debug, Clone)]
pub(super) struct About {
    /// The event.
    pub(super) published: Arc<Published>,
    /// The form that the frame has.
    pub(super) indication: Indication,
    /// The session monitored the device's media before the stream's generation was first seen (R16).
    pub(super) monitored_before: bool,
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
    /// It leaves in this form instead.
    Replace(Bytes, Indication),
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

    /// Appends a frame, whatever the bound: the first one that waits, and the last word.
    pub(super) fn push_regardless(&mut self, frame: Bytes, about: Option<AboutRef<'_>>) {
        self.bytes += frame.len();
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
                Fate::Replace(other, indication) => {
                    *bytes = *bytes - frame.len() + other.len();
                    *frame = other;
                    about.indication = indication;
                    true
                }
                Fate::Drop => {
                    *bytes -= frame.len();
                    false
                }
            }
        });
    }

    /// Up to 16 frames from the front, of which only the first may reach beyond `max_bytes`.
    pub(super) fn slices(&self, max_bytes: usize) -> ([IoSlice<'_>; 16], usize) {
        let mut slices = [IoSlice::new(&[]); 16];
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

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

impl From<AboutRef<'_>> for About {
    fn from(AboutRef { published, indication, monitored_before }: AboutRef<'_>) -> Self {
        Self { published: Arc::clone(published), indication, monitored_before }
    }
}
