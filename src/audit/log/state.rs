//! What is written, and how far it has come.

use std::io::{self, Write};

use time::OffsetDateTime;

use super::{Options, waiting::Waiting};
use crate::audit::{
    chain::AuditKey,
    disk::SegmentFile,
    segment::{Head, Why},
};

/// Whether records can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    Closed(Damage),
}

/// Why the gate is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Damage {
    /// Too much is written and not flushed: the disk is slow, or stands still.
    Behind,
    /// A flush failed: what wasn't flushed before may not be on the disk, and no flush of these files tells the truth again.
    Flush,
    /// A write failed. What was written before is there.
    Write,
}

/// What lines begin with as room: more than what is written between two flushes by most.
pub(super) const USUAL: usize = 256 * 1024;

/// Makes room for other lines. What a slow disk or a closed gate has added to it is given back.
pub(super) fn clear(lines: &mut Vec<u8>) {
    lines.clear();
    lines.shrink_to(USUAL);
}

/// The log as it stands. Whoever writes has it locked.
pub(super) struct State {
    pub(super) gate: Gate,
    /// The segment that is written to; none before the first one is begun.
    pub(super) segment: Option<SegmentFile>,
    /// Its number.
    pub(super) number: u64,
    /// When it was begun.
    pub(super) begun: OffsetDateTime,
    /// Why the next one will be begun, if it is by healing.
    pub(super) why: Why,
    /// The last record that is written.
    pub(super) head: Head,
    /// The last record that is on the disk.
    pub(super) flushed: Head,
    /// The lines that are written, and that no flush has begun for.
    pub(super) pending: Vec<u8>,
    /// How many bytes of lines are being flushed.
    pub(super) in_flight: usize,
    pub(super) waiting: Waiting,
    /// Of the last write that failed.
    pub(super) error: Option<io::Error>,
    /// The keeper shall end.
    pub(super) stop: bool,
    /// The lines that are being written, whose memory is used again.
    pub(super) line: Vec<u8>,
}

impl State {
    pub(super) fn is_open(&self) -> bool {
        self.gate == Gate::Open
    }

    /// Whether so many bytes can be written without touching what is held back for privileged records.
    pub(super) fn has_room_for_ordinary(&self, bytes: usize, options: &Options) -> bool {
        let room = self.segment.as_ref().map_or(0, SegmentFile::room);
        // The number and the mac are still to come.
        options.reserve_bytes == 0 || room >= options.reserve_bytes + 2 * bytes as u64
    }

    /// Gives the bodies their places in the chain, and writes them: all, or none. If that fails the gate is closed.
    ///
    /// # Errors
    /// Why it is.
    pub(super) fn put(&mut self, key: &AuditKey, bodies: &[u8], most: usize) -> Result<(), Damage> {
        self.line.clear();
        let mut head = self.head;
        for body in bodies.split(|byte| *byte == b'\n').filter(|body| !body.is_empty()) {
            let (from, n) = (self.line.len(), head.n + 1);
            // Writing to memory doesn't fail.
            let _ = write!(self.line, "{{\"n\":{n},");
            self.line.extend_from_slice(body);
            head = Head { n, mac: key.seal(&mut self.line, from, head.mac) };
        }
        if self.pending.len() + self.in_flight + self.line.len() > most {
            return self.close(Damage::Behind);
        }
        let written = match &mut self.segment {
            Some(segment) => segment.write(&self.line),
            None => Err(io::ErrorKind::NotFound.into()),
        };
        if let Err(error) = written {
            self.error = Some(error);
            return self.close(Damage::Write);
        }
        self.pending.extend_from_slice(&self.line);
        self.head = head;
        Ok(())
    }

    fn close(&mut self, damage: Damage) -> Result<(), Damage> {
        self.gate = Gate::Closed(damage);
        Err(damage)
    }

    /// Writes all that waits, and opens the gate.
    ///
    /// # Errors
    /// It is closed again.
    pub(super) fn reopen(&mut self, key: &AuditKey, options: &Options) -> Result<(), Damage> {
        const AT_ONCE: usize = 256 * 1024;
        loop {
            if self.waiting.is_empty() {
                self.waiting.tell_lost(options.waiting_bytes);
            }
            if self.waiting.is_empty() {
                break;
            }
            let mut waiting = std::mem::take(&mut self.waiting);
            let some = waiting.first(AT_ONCE);
            let bytes = some.len();
            let put = self.put(key, some, usize::MAX);
            if put.is_ok() {
                waiting.written(bytes);
            }
            self.waiting = waiting;
            put?;
        }
        clear(&mut self.line);
        self.gate = Gate::Open;
        Ok(())
    }
}
