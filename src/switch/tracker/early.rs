//! Messages that answer something that wasn't seen yet: they wait a moment for it.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::Parsed;
use crate::{
    model::Timestamp,
    switch::sip::{Kind, Method},
};

#[derive(Debug, Default)]
pub(super) struct Early {
    /// In the order of arrival, and so of deadlines.
    waiting: VecDeque<Waiting>,
    /// How many made room.
    pub(super) displaced: u64,
}

#[derive(Debug)]
pub(super) struct Waiting {
    until: Instant,
    pub(super) parsed: Parsed,
    pub(super) at: Timestamp,
}

impl Early {
    /// Keeps a message for the time `patience`; the oldest of `max` makes room.
    pub(super) fn keep(&mut self, parsed: Parsed, at: Timestamp, now: Instant, patience: Duration, max: usize) {
        if self.waiting.len() >= max.max(1) {
            self.displaced += 1;
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting { until: now + patience, parsed, at });
    }

    /// Drops what waited for too long.
    pub(super) fn forget(&mut self, now: Instant) {
        while self.waiting.front().is_some_and(|waiting| waiting.until <= now) {
            self.waiting.pop_front();
        }
    }

    /// When something will have waited for too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.front().map(|waiting| waiting.until)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether anything waits for the call `call_id`.
    pub(super) fn has(&self, call_id: &str) -> bool {
        self.waiting.iter().any(|waiting| waiting.is_of(call_id))
    }

    /// Takes all out. What is still too early is to be put back at once, in the same order.
    pub(super) fn take(&mut self) -> VecDeque<Waiting> {
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn put_back(&mut self, waiting: Waiting) {
        self.waiting.push_back(waiting);
    }
}

impl Waiting {
    pub(super) fn is_of(&self, call_id: &str) -> bool {
        self.parsed.captured.message.call_id == call_id
    }
}

/// Whether a message may answer something that is still to come.
pub(super) fn may_be_early(parsed: &Parsed) -> bool {
    let message = &parsed.captured.message;
    match (message.kind, message.method) {
        (Kind::Response(_), Method::Invite | Method::Prack | Method::Update) | (Kind::Request, Method::Cancel) => true,
        (Kind::Request, Method::Ack | Method::Prack) => parsed.sdp.is_some(),
        _ => false,
    }
}
