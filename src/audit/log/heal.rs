//! A log that can't be written goes on in a new segment.

use std::{io, time::Instant};

use time::OffsetDateTime;
use tracing::info;

use super::{
    failed,
    keeper::{Keeper, Known},
    state::{Damage, Gate},
};
use crate::audit::{
    Kind, Record,
    disk::{Handle, SegmentFile},
    segment::{Header, Why},
};

/// The longest time between two tries, as a multiple of the first.
const SLOWEST: u32 = 50;

impl Keeper {
    /// Goes on in a new segment, which begins with all that may not be on the disk, and opens the gate.
    pub(super) fn heal(&mut self, mut damage: Damage) {
        let now = Instant::now();
        self.retry_at = now + self.retry;
        self.retry = (self.retry * 2).min(self.shared.options.retry * SLOWEST);
        if let Some(error) = self.shared.lock().error.take() {
            failed("write", &error);
        }
        if damage == Damage::Write {
            // What was written before can be flushed, and then it needn't be written again.
            let handles: Vec<_> =
                self.old.drain(..).chain(self.shared.lock().segment.as_ref().map(SegmentFile::handle)).collect();
            match handles.iter().try_for_each(Handle::flush) {
                Ok(()) => {
                    let mut state = self.shared.lock();
                    state.flushed = state.head;
                    state.pending.clear();
                    self.shared.flushed.notify_all();
                }
                Err(error) => {
                    failed("flush", &error);
                    damage = Damage::Flush;
                }
            }
        }
        let (header, mut lines) = {
            let mut state = self.shared.lock();
            // The files that failed are never flushed again.
            state.gate = Gate::Closed(damage);
            let why = if state.segment.is_some() { Why::Healed } else { state.why };
            let time = OffsetDateTime::now_utc();
            let header = Header { segment: state.number + 1, after: state.flushed, time, why };
            (header, std::mem::take(&mut state.pending))
        };
        self.old.clear();
        match self.begin(&header, &lines) {
            Err(error) => {
                failed("create", &error);
                self.shared.lock().pending = lines;
            }
            Ok(segment) => {
                lines.clear();
                let mut state = self.shared.lock();
                let old = state.segment.replace(segment);
                state.pending = lines;
                state.number = header.segment;
                state.begun = header.time;
                state.flushed = state.head;
                if header.why == Why::Healed {
                    let fields = [("event", "healed".into())];
                    state.waiting.note(&Record::new(Kind::Log, &fields), usize::MAX);
                }
                let reopened = state.reopen(&self.shared.key, &self.shared.options);
                self.shared.show(&state);
                drop(state);
                if let Some(mut old) = old {
                    old.give_up_room();
                }
                self.segments.push_back(Known { number: header.segment, after: header.after, begun: header.time });
                if reopened.is_ok() {
                    info!(segment = header.segment, why = ?header.why, "the audit log is open");
                }
            }
        }
    }

    /// Makes a segment with this header and these lines, which is there as a whole or not at all.
    fn begin(&self, header: &Header, lines: &[u8]) -> io::Result<SegmentFile> {
        const AT_ONCE: usize = 1024 * 1024;
        let disk = &self.shared.disk;
        disk.make()?;
        let fill = |segment: &mut SegmentFile| {
            let mut line = Vec::new();
            header.write(&self.shared.key, &mut line);
            segment.write(&line)?;
            lines.chunks(AT_ONCE).try_for_each(|some| segment.write(some))?;
            // Without a little room the gate would be closed again at once.
            let end = self.hold(&segment.handle(), segment.len(), true)?;
            segment.has_room_to(end);
            segment.handle().flush()?;
            disk.publish(header.segment)
        };
        let mut segment = disk.prepare(header.segment)?;
        if let Err(error) = fill(&mut segment) {
            // It would keep the room that it has. The next try removes it, too.
            let _ = disk.discard_unfinished();
            return Err(error);
        }
        Ok(segment)
    }
}
