//! Messages that answer something that wasn't seen yet: they wait a moment for it. What waited in vain is handed back, as
//! it says that something was lost.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Moment, Parsed};
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
    /// When it came.
    pub(super) since: Instant,
    until: Instant,
    pub(super) parsed: Parsed,
    pub(super) at: Timestamp,
}

impl Early {
    /// Keeps a message that came at `moment` for the time `patience`. Returns the oldest if it makes room, of `max`.
    pub(super) fn keep(&mut self, parsed: Parsed, moment: Moment, patience: Duration, max: usize) -> Option<Waiting> {
        let oldest = if self.waiting.len() >= max.max(1) { self.waiting.pop_front() } else { None };
        self.displaced += u64::from(oldest.is_some());
        let until = moment.now + patience;
        self.waiting.push_back(Waiting { since: moment.now, until, parsed, at: moment.at });
        oldest
    }

    /// Takes out one that waited for too long.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Waiting> {
        if self.waiting.front()?.until > now {
            return None;
        }
        self.waiting.pop_front()
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

/// Whether a message that waited in vain says by itself that a request was accepted that wasn't seen, and could have
/// changed the keys.
pub(super) fn proves_exchange(parsed: &Parsed) -> bool {
    let message = &parsed.captured.message;
    let accepted = matches!(
        (message.kind, message.method),
        (Kind::Response(200..=299), Method::Invite | Method::Prack | Method::Update) | (Kind::Request, Method::Ack)
    );
    accepted && parsed.sdp.is_some()
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
