//! What is looked after now and then: segments that are full, old, or too many, and what is signed.

use std::{
    io,
    time::{Duration, Instant},
};

use metrics::counter;
use time::OffsetDateTime;
use tracing::{info, warn};

use super::{
    keeper::{HOUSE, Keeper, Known},
    state::{Damage, Gate},
};
use crate::audit::{
    checkpoint::{Checkpoint, Says},
    disk::SegmentFile,
    segment::{Head, Header, Why},
};

/// A checkpoint is made after so many records, or so long after the last one if there are any.
const CHECKPOINT_RECORDS: u64 = 1000;
const CHECKPOINT_AGE: Duration = Duration::from_secs(60);
/// The system's clock has to say for so long that a segment is too old: it may have jumped (R42a), and what is deleted is gone.
const AGREED: Duration = Duration::from_secs(60);
/// How long it is waited if a new segment can't be begun.
const CANNOT_ROTATE: Duration = Duration::from_secs(60);
/// When the gate has been open for so long, the next try to heal is a first one again.
const HEALTHY: Duration = Duration::from_secs(60);

/// Since when something has been so, each time that it was looked at.
#[derive(Debug, Default)]
pub(super) struct Lasting(Option<Instant>);

impl Lasting {
    /// It is so now, or it isn't. Whether it has been so for as long as this.
    fn has_been(&mut self, is_so: bool, span: Duration, now: Instant) -> bool {
        self.0 = if is_so { self.0.or(Some(now)) } else { None };
        self.0.is_some_and(|since| now.saturating_duration_since(since) >= span)
    }
}

impl Keeper {
    pub(super) fn keep_house(&mut self, now: Instant) {
        if now.duration_since(self.retry_at) >= HEALTHY {
            self.retry = self.shared.options.retry;
        }
        self.look_for_the_segment();
        self.tell_lost();
        if now >= self.rotate_at {
            self.rotate_if_due(now);
        }
        if let Err(error) = self.delete_old(now) {
            warn!(%error, "old segments of the audit log can't be deleted");
        }
    }

    /// What is written to a file that somebody has deleted is written to nowhere.
    fn look_for_the_segment(&self) {
        let segment = self.shared.lock().segment.as_ref().map(SegmentFile::handle);
        if segment.is_some_and(|segment| segment.is_deleted()) {
            let mut state = self.shared.lock();
            state.error = Some(io::Error::new(io::ErrorKind::NotFound, "somebody has deleted its newest segment"));
            state.gate = Gate::Closed(Damage::Flush);
            self.shared.show(&state);
        }
    }

    /// Records how many records were lost, when there is room for such records again.
    fn tell_lost(&self) {
        let mut state = self.shared.lock();
        let options = &self.shared.options;
        if state.is_open() && state.waiting.has_lost() && state.has_room_for_ordinary(0, options) {
            let _ = state.reopen(&self.shared.key, options);
            self.shared.show(&state);
        }
    }

    fn rotate_if_due(&mut self, now: Instant) {
        let options = &self.shared.options;
        let (head, number) = {
            let state = self.shared.lock();
            let Some(segment) = state.segment.as_ref().filter(|_| state.is_open()) else { return };
            let is_old = OffsetDateTime::now_utc() - state.begun > options.segment_age;
            if segment.len() < options.segment_bytes && !is_old || !state.has_room_for_ordinary(0, options) {
                return;
            }
            (state.head, state.number + 1)
        };
        if self.segments.back().is_some_and(|known| known.after.n == head.n) {
            return;
        }
        if let Err(error) = self.rotate(number) {
            warn!(%error, "the audit log can't begin a new segment, and goes on in the old one");
            let _ = self.shared.disk.remove(number);
            self.rotate_at = now + CANNOT_ROTATE;
        }
    }

    /// Goes on in a new segment, since the old one is full or old.
    fn rotate(&mut self, number: u64) -> io::Result<()> {
        let disk = &self.shared.disk;
        let mut segment = disk.create(number)?;
        let end = self.hold(&segment.handle(), 0, true)?;
        segment.has_room_to(end);
        disk.flush()?;

        let mut state = self.shared.lock();
        if !state.is_open() {
            return Err(io::Error::other("its gate was closed meanwhile"));
        }
        let header = Header { segment: number, after: state.head, time: OffsetDateTime::now_utc(), why: Why::Rotated };
        let mut line = Vec::new();
        header.write(&self.shared.key, &mut line);
        segment.write(&line)?;
        let old = state.segment.replace(segment);
        state.number = number;
        state.begun = header.time;
        drop(state);
        if let Some(mut old) = old {
            old.give_up_room();
            self.old.push(old.handle());
        }
        self.segments.push_back(Known { number, after: header.after, begun: header.time });
        self.flush();
        Ok(())
    }

    /// Deletes segments that are too many or too old, the oldest first. That they were deleted in order is signed before.
    fn delete_old(&mut self, now: Instant) -> io::Result<()> {
        let options = &self.shared.options;
        let time = OffsetDateTime::now_utc();
        while let (Some(oldest), Some(next)) = (self.segments.front(), self.segments.get(1)) {
            let too_many = options.keep_segments.is_some_and(|keep| self.segments.len() > keep.max(2));
            let too_old = options
                .keep_age
                .is_some_and(|keep| self.too_old.has_been(time - next.begun > keep, keep.min(AGREED), now));
            // The next one must be whole without it.
            if !too_many && !too_old || self.signed < next.after.n {
                break;
            }
            let (number, head) = (oldest.number, next.after);
            self.checkpoints.add(&self.shared.key, &Checkpoint { says: Says::Deleted, head, time })?;
            self.shared.disk.remove(number)?;
            self.segments.pop_front();
            info!(segment = number, "an old segment of the audit log was deleted");
        }
        Ok(())
    }

    pub(super) fn sign_if_due(&mut self, now: Instant) {
        let flushed = self.shared.lock().flushed;
        let is_old = now.duration_since(self.signed_at) >= CHECKPOINT_AGE;
        if now < self.sign_at {
            return;
        }
        if flushed.n >= self.signed + CHECKPOINT_RECORDS || flushed.n > self.signed && is_old {
            self.sign(flushed, now);
        }
    }

    pub(super) fn sign(&mut self, head: Head, now: Instant) {
        let checkpoint = Checkpoint { says: Says::Whole, head, time: OffsetDateTime::now_utc() };
        match self.checkpoints.add(&self.shared.key, &checkpoint) {
            Ok(()) => self.signed = head.n,
            Err(error) => {
                counter!("callgate_audit_failures_total", "operation" => "checkpoint").increment(1);
                warn!(%error, "a checkpoint of the audit log can't be written");
                self.sign_at = now + HOUSE;
            }
        }
        self.signed_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r42a_by_a_clock_that_jumps_forth_and_back_no_segment_is_too_old() {
        let (mut too_old, start) = (Lasting::default(), Instant::now());
        let mut look = |seconds, is_old| too_old.has_been(is_old, AGREED, start + Duration::from_secs(seconds));
        assert!(!look(0, true) && !look(59, true));
        assert!(!look(60, false), "it jumped back");
        assert!(!look(61, true) && !look(120, true));
        assert!(look(121, true) && look(122, true), "it is so");
    }
}
