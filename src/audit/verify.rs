//! Whether a log is as it was written.
//!
//! A [`Verifier`] is told the segments and their lines in order, and keeps a few numbers: a log of any length is verified
//! in bounded memory. What follows directly behind a gap is taken for granted, since its mac depends on what is missing;
//! everything behind it is proven again.

use std::collections::HashMap;

use super::{
    chain::{AuditKey, Mac, Sealed},
    checkpoint::{Checkpoint, Says},
    finding::{Finding, Place},
    folder::{Limit, Line, Segment},
    segment::{Head, Header, Why},
};

/// More findings are only counted.
const MOST_FINDINGS: usize = 1000;

/// What is found out about a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// How many segments there are.
    pub segments: u64,
    /// How many records count.
    pub records: u64,
    /// The record before the first one.
    pub after: Option<Head>,
    /// The last record.
    pub last: Head,
    /// Records that stand in two segments, since it wasn't known whether the first was on the disk.
    pub repeated: u64,
    /// Lines that a failed write has left behind in a segment that ended by it. Nothing was given by them.
    pub left_behind: u64,
    /// Whether the last line has no end yet: it is being written, or was when the gateway was killed.
    pub is_unfinished: bool,
    /// The newest checkpoint that agrees with the log.
    pub checkpoint: Option<Checkpoint>,
    /// What is wrong; the first of it, if it is very much.
    pub findings: Vec<Finding>,
    /// How many findings there are.
    pub found: u64,
}

/// Goes through a log.
#[derive(Debug)]
pub struct Verifier<'a> {
    key: &'a AuditKey,
    checkpoints: HashMap<u64, Checkpoint>,
    newest: Option<Checkpoint>,
    starts: Vec<Head>,
    place: Place,
    /// Whether the next line is a segment's first.
    is_first_line: bool,
    limit: Option<Limit>,
    /// What the mac of the next record may be made with: of a record that was changed, its own mac and the right one.
    before: [Mac; 2],
    /// Lines that can't be read, since the last record.
    unreadable: u64,
    /// The last one of those that stand in a later segment again.
    superseded: Head,
    /// Those of them that haven't been met again.
    expected: HashMap<u64, (Mac, Place, Limit)>,
    report: Report,
}

impl<'a> Verifier<'a> {
    /// With what was signed of the log.
    pub fn new(key: &'a AuditKey, checkpoints: &[Checkpoint]) -> Self {
        let of = |says| checkpoints.iter().filter(move |checkpoint| checkpoint.says == says);
        Self {
            key,
            checkpoints: of(Says::Whole).map(|checkpoint| (checkpoint.head.n, *checkpoint)).collect(),
            newest: of(Says::Whole).max_by_key(|checkpoint| checkpoint.head.n).copied(),
            starts: of(Says::Deleted).map(|checkpoint| checkpoint.head).collect(),
            place: Place { file: String::new(), line: 0 },
            is_first_line: false,
            limit: None,
            before: [Mac::START; 2],
            unreadable: 0,
            superseded: Head::START,
            expected: HashMap::new(),
            report: Report {
                segments: 0,
                records: 0,
                after: None,
                last: Head::START,
                repeated: 0,
                left_behind: 0,
                is_unfinished: false,
                checkpoint: None,
                findings: Vec::new(),
                found: 0,
            },
        }
    }

    /// The next segment begins.
    pub fn segment(&mut self, segment: &Segment) {
        self.end_of_segment();
        let file = segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        self.place = Place { file, line: 0 };
        self.is_first_line = true;
        self.limit = segment.limit;
        self.report.segments += 1;
        self.report.is_unfinished = false;
    }

    /// The next line.
    pub fn line(&mut self, line: &Line<'_>) {
        self.place.line += 1;
        self.report.is_unfinished = !line.is_whole;
        if !line.is_whole {
            return;
        }
        if std::mem::take(&mut self.is_first_line) {
            match Header::read(line.bytes).filter(|header| header.is_made_by(self.key, line.bytes)) {
                Some(header) => return self.header(&header),
                None => self.find(Finding::NoHeader { place: self.place.clone() }),
            }
        }
        let superseded = self.limit.filter(|limit| self.report.last.n >= limit.after);
        match (Sealed::of(line.bytes).and_then(|sealed| Some((sealed.number()?, sealed))), superseded) {
            (Some((n, sealed)), Some(limit)) if n > limit.after => self.superseded(n, &sealed, limit),
            (Some((n, sealed)), _) => self.record(n, &sealed),
            (None, Some(limit)) => self.left_behind(limit),
            (None, None) => self.unreadable(),
        }
    }

    /// All was told.
    pub fn finish(mut self) -> Report {
        let last = self.report.last.n;
        for (n, (_, place, limit)) in std::mem::take(&mut self.expected) {
            self.written_anew(n, place, limit);
        }
        if let Some(Checkpoint { head, time, .. }) = self.newest.filter(|newest| newest.head.n > last) {
            self.find(Finding::CutTail { last, signed: head.n, time });
        }
        // Who was moved isn't missing.
        let moved: Vec<u64> = self.report.findings.iter().filter_map(Finding::moved).collect();
        let findings = self.report.findings.len();
        self.report.findings.retain(
            |finding| !matches!(finding, Finding::Missing { from, to, .. } if from == to && moved.contains(from)),
        );
        self.report.found -= (findings - self.report.findings.len()) as u64;
        self.report
    }

    fn header(&mut self, header: &Header) {
        let (after, place) = (header.after, self.place.clone());
        let last = self.report.last;
        if self.limit.is_some_and(|limit| after.n > limit.after && last.n >= limit.after) {
            // None of the segment counts.
            self.superseded = after;
            return;
        }
        if self.report.after.is_none() {
            self.report.after = Some(after);
            if after != Head::START && !self.starts.contains(&after) {
                self.find(Finding::NoStart { place, after: after.n });
            }
        } else if after.n > last.n {
            self.gap(after.n + 1);
        } else if after.n < last.n {
            self.find(Finding::Moved { place, n: after.n + 1, behind: last.n });
            return;
        } else if !self.before.contains(&after.mac) {
            self.find(Finding::Changed { place, n: after.n });
        }
        self.report.last = after;
        self.before = [after.mac; 2];
        self.superseded = after;
    }

    fn record(&mut self, n: u64, sealed: &Sealed<'_>) {
        let last = self.report.last;
        if n <= last.n {
            return self.find(Finding::Moved { place: self.place.clone(), n, behind: last.n });
        }
        if self.report.after.is_none() {
            // Its header is gone, and has been told.
            self.report.after = Some(Head { n: n - 1, mac: Mac::START });
        } else if n > last.n + 1 {
            self.gap(n);
        } else {
            let before = self.before.iter().find(|before| self.key.has_made(sealed, **before));
            if before.is_none() {
                self.find(Finding::Changed { place: self.place.clone(), n });
                self.before = [sealed.mac, self.key.mac(sealed.content, last.mac)];
                return self.counts(n, sealed.mac);
            }
        }
        self.before = [sealed.mac; 2];
        self.counts(n, sealed.mac);
    }

    fn counts(&mut self, n: u64, mac: Mac) {
        self.unreadable = 0;
        self.report.records += 1;
        self.report.last = Head { n, mac };
        self.superseded = self.report.last;
        if let Some(checkpoint) = self.checkpoints.get(&n).copied() {
            if checkpoint.head.mac == mac {
                self.report.checkpoint = Some(checkpoint);
            } else {
                self.find(Finding::CheckpointDiffers { place: self.place.clone(), n, time: checkpoint.time });
            }
        }
        match self.expected.remove(&n) {
            Some((before, ..)) if before == mac => self.report.repeated += 1,
            Some((_, place, limit)) => self.written_anew(n, place, limit),
            None => {}
        }
    }

    /// A record that should stand in a later segment again.
    fn superseded(&mut self, n: u64, sealed: &Sealed<'_>, limit: Limit) {
        if n != self.superseded.n + 1 || !self.key.has_made(sealed, self.superseded.mac) {
            return self.left_behind(limit);
        }
        self.superseded = Head { n, mac: sealed.mac };
        self.expected.insert(n, (sealed.mac, self.place.clone(), limit));
    }

    /// A line that nothing is known of, where a later segment goes on from a record before it. If the disk failed there,
    /// it is what that has left.
    fn left_behind(&mut self, limit: Limit) {
        if limit.why == Why::Healed {
            self.report.left_behind += 1;
        } else {
            self.unreadable();
        }
    }

    /// A record that doesn't stand again in the later segment. If the disk failed there, it was never acknowledged.
    fn written_anew(&mut self, n: u64, place: Place, limit: Limit) {
        if limit.why == Why::Healed {
            self.report.left_behind += 1;
        } else {
            self.find(Finding::WrittenAnew { place, n });
        }
    }

    fn unreadable(&mut self) {
        self.unreadable += 1;
        self.find(Finding::Unreadable { place: self.place.clone() });
    }

    /// Records are missing before record `next`, unless they are lines that can't be read and have been told.
    fn gap(&mut self, next: u64) {
        let from = self.report.last.n + 1;
        if next - from > self.unreadable {
            self.find(Finding::Missing { place: self.place.clone(), from, to: next - 1 });
        }
    }

    /// A piece of a line at the end of a segment that others follow.
    fn end_of_segment(&mut self) {
        match (self.report.is_unfinished, self.limit) {
            (true, Some(limit)) => self.left_behind(limit),
            (true, None) => self.unreadable(),
            (false, _) => {}
        }
    }

    fn find(&mut self, finding: Finding) {
        self.report.found += 1;
        if self.report.findings.len() < MOST_FINDINGS {
            self.report.findings.push(finding);
        }
    }
}
