//! An event on its way to the sessions.

use std::{sync::OnceLock, time::Instant};

use bytes::Bytes;

use crate::{
    model::{EventClass, SwitchEvent},
    policy::Indication,
};

/// A moment in the life of a topic: it orders what sessions do and what the switch shows.
///
/// A session that monitors at a moment has monitored before everything that is first seen at a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub(super) u64);

/// A numbered event, shared by all who get it.
///
/// It is encoded at most once for each [`Indication`]: the first worker that needs a form makes it, all others share its
/// memory.
#[derive(Debug)]
pub struct Published {
    /// What happened.
    pub event: SwitchEvent,
    /// Its class.
    pub class: EventClass,
    /// Counts all events of the device (R40).
    pub number: u64,
    /// Counts events of the device, line and class, without gaps (R40).
    pub class_number: u64,
    /// For an opened stream: when its generation was first seen (R16).
    pub first_seen: Moment,
    /// When the hub took it, for measuring only.
    pub arrived: Option<Instant>,
    frames: [OnceLock<Bytes>; Indication::COUNT],
}

impl Published {
    pub(super) fn new(
        event: SwitchEvent,
        class: EventClass,
        number: u64,
        class_number: u64,
        first_seen: Moment,
        arrived: Option<Instant>,
    ) -> Self {
        Self { event, class, number, class_number, first_seen, arrived, frames: Default::default() }
    }

    /// The frame for `indication`, made by `encode` if nobody needed it before. The bytes are shared, never copied.
    pub fn frame(&self, indication: Indication, encode: impl FnOnce() -> Bytes) -> Bytes {
        match self.frames.get(indication.index()) {
            Some(slot) => slot.get_or_init(encode).clone(),
            None => encode(),
        }
    }
}
