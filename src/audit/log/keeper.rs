//! The thread that flushes, and does all else that may take long: `heal`, `room` and `house` are parts of it.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use metrics::histogram;
use time::OffsetDateTime;
use tracing::{error, warn};

use super::{
    Flush, Shared,
    checkpoints::Checkpoints,
    failed,
    house::Lasting,
    state::{Damage, Gate, USUAL, clear},
};
use crate::audit::{
    Kind, Record,
    disk::{Handle, SegmentFile},
    segment::Head,
};

/// How often it is looked what there is to do besides flushing.
pub(super) const HOUSE: Duration = Duration::from_secs(1);

/// What the keeper begins with.
pub(super) struct Begin {
    pub(super) checkpoints: Checkpoints,
    /// The last record that is signed.
    pub(super) signed: u64,
    pub(super) segments: VecDeque<Known>,
}

/// A segment, as its header has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) number: u64,
    pub(super) after: Head,
    pub(super) begun: OffsetDateTime,
}

/// The keeper.
pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) checkpoints: Checkpoints,
    pub(super) signed: u64,
    pub(super) signed_at: Instant,
    /// Not before then, since it has failed.
    pub(super) sign_at: Instant,
    /// The newest is written to.
    pub(super) segments: VecDeque<Known>,
    /// Whether the oldest of them is too old.
    pub(super) too_old: Lasting,
    /// Segments that are written to no more, and not flushed.
    pub(super) old: Vec<Handle>,
    /// Lines that are being flushed, whose memory is used again.
    pub(super) flushing: Vec<u8>,
    pub(super) retry: Duration,
    pub(super) retry_at: Instant,
    pub(super) house_at: Instant,
    /// Not before then is it tried to hold back more room, since there was none.
    pub(super) room_at: Instant,
    /// Whether that has been told.
    pub(super) is_tight: bool,
    /// Not before then is a new segment begun, since it couldn't be.
    pub(super) rotate_at: Instant,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, begin: Begin) -> Self {
        let now = Instant::now();
        Self {
            retry: shared.options.retry,
            shared,
            checkpoints: begin.checkpoints,
            signed: begin.signed,
            signed_at: now,
            sign_at: now,
            segments: begin.segments,
            too_old: Lasting::default(),
            old: Vec::new(),
            flushing: Vec::with_capacity(USUAL),
            retry_at: now,
            house_at: now,
            room_at: now,
            is_tight: false,
            rotate_at: now,
        }
    }

    /// Begins: with the segment that is there, or with a new one.
    pub(super) fn heal_now(&mut self) {
        let damage = {
            let mut state = self.shared.lock();
            let Gate::Closed(damage) = state.gate else { return };
            if state.segment.is_some() {
                let _ = state.reopen(&self.shared.key, &self.shared.options);
                self.shared.show(&state);
                None
            } else {
                Some(damage)
            }
        };
        if let Some(damage) = damage {
            self.heal(damage);
        }
        self.make_room();
    }

    pub(super) fn run(mut self) {
        while !self.wait() {
            self.turn();
        }
        self.end();
    }

    /// Waits until there is something to do. Whether that is to end.
    fn wait(&self) -> bool {
        let mut state = self.shared.lock();
        let (mut until, mut has_pending) = (self.house_at, false);
        loop {
            let now = Instant::now();
            if state.stop {
                return true;
            }
            match state.gate {
                Gate::Closed(Damage::Behind) => return false,
                Gate::Closed(_) => until = self.retry_at,
                Gate::Open if state.pending.is_empty() || has_pending => {}
                Gate::Open => match self.shared.options.flush {
                    Flush::Always => return false,
                    Flush::Every(time) => {
                        has_pending = true;
                        until = until.min(now + time);
                    }
                },
            }
            let Some(left) = until.checked_duration_since(now).filter(|left| !left.is_zero()) else { return false };
            (state, _) = self.shared.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn turn(&mut self) {
        let gate = self.shared.lock().gate;
        match gate {
            Gate::Open => _ = self.flush(),
            Gate::Closed(Damage::Behind) => self.catch_up(),
            Gate::Closed(damage) => self.heal(damage),
        }
        let now = Instant::now();
        if now >= self.house_at {
            self.house_at = now + HOUSE;
            self.keep_house(now);
        }
        self.make_room();
        self.sign_if_due(now);
    }

    /// Flushes what is written by now. Whether that succeeded.
    pub(super) fn flush(&mut self) -> bool {
        let (target, handles) = {
            let mut state = self.shared.lock();
            if state.pending.is_empty() && self.old.is_empty() {
                return true;
            }
            std::mem::swap(&mut state.pending, &mut self.flushing);
            state.in_flight = self.flushing.len();
            let current = state.segment.as_ref().map(SegmentFile::handle);
            (state.head, self.old.drain(..).chain(current).collect::<Vec<_>>())
        };
        let begun = Instant::now();
        let flushed = handles.iter().try_for_each(Handle::flush);
        histogram!("callgate_audit_flush_seconds").record(begun.elapsed().as_secs_f64());

        let mut state = self.shared.lock();
        state.in_flight = 0;
        match &flushed {
            Ok(()) => {
                state.flushed = target;
                self.shared.flushed.notify_all();
            }
            Err(_) => {
                // What isn't on the disk is kept, in its order.
                self.flushing.extend_from_slice(&state.pending);
                std::mem::swap(&mut state.pending, &mut self.flushing);
                state.gate = Gate::Closed(Damage::Flush);
                self.shared.show(&state);
            }
        }
        drop(state);
        clear(&mut self.flushing);
        if let Err(error) = &flushed {
            failed("flush", error);
        }
        flushed.is_ok()
    }

    /// The gate was closed since too much was not flushed.
    fn catch_up(&mut self) {
        warn!("the disk of the audit log is too slow: no key leaves and no right is granted until it has caught up");
        if self.flush() {
            let mut state = self.shared.lock();
            let _ = state.reopen(&self.shared.key, &self.shared.options);
            self.shared.show(&state);
        }
    }

    /// The log ends in order, if it can.
    fn end(&mut self) {
        let gate = self.shared.lock().gate;
        if let Gate::Closed(damage) = gate {
            self.heal(damage);
        }
        {
            let mut state = self.shared.lock();
            if state.is_open() {
                let fields = [("event", "stopped".into())];
                state.waiting.note(&Record::new(Kind::Log, &fields), usize::MAX);
                let _ = state.reopen(&self.shared.key, &self.shared.options);
            }
        }
        if !self.flush() {
            self.heal(Damage::Flush);
        }
        let mut state = self.shared.lock();
        let (flushed, waiting) = (state.flushed, state.waiting.len());
        if let Some(segment) = &mut state.segment {
            segment.give_up_room();
        }
        state.gate = Gate::Closed(Damage::Write);
        self.shared.show(&state);
        drop(state);
        if flushed.n > self.signed {
            self.sign(flushed, Instant::now());
        }
        if waiting > 0 {
            error!(bytes = waiting, "the gateway ends while the audit log can't be written: records are lost");
        }
    }
}
