//! Reading a log from its folder, whether a gateway is writing it or not.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use time::{Duration, OffsetDateTime};

use super::{
    chain::{AuditKey, Sealed},
    checkpoint::{Checkpoint, NoCheckpoint},
    folder::{Folder, Lines, Segment},
    line::MAX_LINE,
    verify::{Report, Verifier},
};

/// Records of about the same moment may stand in an order that isn't that of their times, and clocks are set back a little.
const SLACK: Duration = Duration::minutes(1);

/// A place in a log, between two records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The segment.
    pub segment: u64,
    /// The byte in it.
    pub offset: u64,
    /// The record before it.
    pub n: u64,
}

/// Verifies the log in a folder.
///
/// # Errors
/// The folder or a file can't be read.
pub fn verify(folder: &Path, key: &AuditKey, checkpoints: &[Checkpoint]) -> io::Result<Report> {
    let mut verifier = Verifier::new(key, checkpoints);
    for segment in Folder::read(folder)?.segments() {
        verifier.segment(segment);
        let mut lines = Lines::open(&segment.path)?;
        while let Some(line) = lines.next()? {
            verifier.line(&line);
        }
    }
    Ok(verifier.finish())
}

/// What a file of checkpoints has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signed {
    /// The checkpoints, in the order of the file.
    pub checkpoints: Vec<Checkpoint>,
    /// The numbers of the lines that are none, and why.
    pub others: Vec<(u64, NoCheckpoint)>,
}

/// Reads a file of checkpoints.
///
/// # Errors
/// It can't be read.
pub fn checkpoints(path: &Path, key: &AuditKey) -> io::Result<Signed> {
    let mut signed = Signed::default();
    let mut lines = Lines::open(path)?;
    let mut number = 0;
    while let Some(line) = lines.next()? {
        number += 1;
        match Checkpoint::read(key, line.bytes) {
            Ok(checkpoint) => signed.checkpoints.push(checkpoint),
            Err(why) => signed.others.push((number, why)),
        }
    }
    Ok(signed)
}

/// The records of a log, each once and in order. It doesn't ask whether they are right: that is for [`verify`].
#[derive(Debug)]
pub struct Records {
    folder: PathBuf,
    /// What is being read.
    segment: Option<(Segment, BufReader<File>)>,
    /// Segments before it are left out.
    from: u64,
    /// Whether there is a later segment, so that nothing more comes into this one.
    is_full: bool,
    /// Where in the segment the next line begins.
    offset: u64,
    /// Where to begin in the segment that is opened first, if it is this one.
    begin: Option<Position>,
    /// The line, or the beginning of one whose end isn't there yet.
    line: Vec<u8>,
    is_whole: bool,
    /// The last record.
    last: u64,
    unreadable: u64,
}

impl Records {
    /// All records in this folder.
    pub fn of(folder: &Path) -> Self {
        Self {
            folder: folder.into(),
            segment: None,
            from: 0,
            is_full: true,
            offset: 0,
            begin: None,
            line: Vec::new(),
            is_whole: true,
            last: 0,
            unreadable: 0,
        }
    }

    /// The newest records, at least so many if there are as many.
    ///
    /// # Errors
    /// The folder or a file can't be read.
    pub fn newest(folder: &Path, count: u64) -> io::Result<Self> {
        let found = Folder::read(folder)?;
        let after = |segment: &Segment| segment.header.map_or(0, |header| header.after.n);
        let newest = found.segments().last().map_or(0, after);
        let first = found.segments().iter().rfind(|segment| after(segment).saturating_add(count) <= newest);
        let (from, last) = first.map_or((0, 0), |first| (first.number, after(first)));
        Ok(Self { from, last, ..Self::of(folder) })
    }

    /// The records from this time on, and some before it.
    ///
    /// # Errors
    /// The folder or a file can't be read.
    pub fn since(folder: &Path, from: OffsetDateTime) -> io::Result<Self> {
        let found = Folder::read(folder)?;
        let is_later = |segment: &Segment| segment.header.is_none_or(|header| header.time + SLACK > from);
        let later = found.segments().iter().position(is_later).unwrap_or(found.segments().len());
        let first = later.checked_sub(1).and_then(|before| found.segments().get(before));
        let after = |segment: &Segment| segment.header.map_or(0, |header| header.after.n);
        let (from, last) = first.map_or((0, 0), |first| (first.number, after(first)));
        Ok(Self { from, last, ..Self::of(folder) })
    }

    /// The records behind a position. If its segment was deleted since, those of the segments that are there.
    pub fn at(folder: &Path, position: Position) -> Self {
        Self { from: position.segment, last: position.n, begin: Some(position), ..Self::of(folder) }
    }

    /// Behind the record that was read last.
    pub fn position(&self) -> Position {
        let segment = self.segment.as_ref().map_or(self.from, |(segment, _)| segment.number);
        match self.begin {
            Some(begin) if self.segment.is_none() => begin,
            _ => Position { segment, offset: self.offset, n: self.last },
        }
    }

    /// The line of the next record, without its end. `None`: there is no more now, and may be later.
    ///
    /// # Errors
    /// The folder or a file can't be read.
    #[expect(clippy::should_implement_trait, reason = "a line is lent until the next call, which no iterator can")]
    pub fn next(&mut self) -> io::Result<Option<&[u8]>> {
        while self.next_line()? {
            if self.counts() {
                return Ok(Some(&self.line));
            }
        }
        Ok(None)
    }

    /// How many lines were none of a log.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Reads a whole line, from whichever segment has one.
    fn next_line(&mut self) -> io::Result<bool> {
        loop {
            if let Some((_, file)) = &mut self.segment {
                if self.is_whole {
                    self.line.clear();
                }
                let left = MAX_LINE.saturating_sub(self.line.len()) as u64;
                file.by_ref().take(left).read_until(b'\n', &mut self.line)?;
                let length = self.line.len() as u64;
                if self.line.pop_if(|byte| *byte == b'\n').is_some() || self.line.len() >= MAX_LINE {
                    self.is_whole = true;
                    self.offset += length;
                    return Ok(true);
                }
                self.is_whole = self.line.is_empty();
            }
            if !self.go_on()? {
                return Ok(false);
            }
        }
    }

    /// The segment is at its end: goes on to the next one, if there is one.
    fn go_on(&mut self) -> io::Result<bool> {
        let next = Folder::read_from(&self.folder, self.from)?.into_next();
        let Some(next) = next else { return Ok(false) };
        if !std::mem::replace(&mut self.is_full, true) {
            // Something may have been written since it was looked at last.
            return Ok(true);
        }
        if !self.is_whole {
            self.unreadable += 1;
        }
        self.from = next.number + 1;
        let mut file = File::open(&next.path)?;
        self.offset = match self.begin.take() {
            Some(begin) if begin.segment == next.number => {
                let end = file.metadata()?.len();
                file.seek(SeekFrom::Start(begin.offset.min(end)))?
            }
            _ => 0,
        };
        let file = BufReader::with_capacity(256 * 1024, file);
        (self.segment, self.is_full, self.is_whole) = (Some((next, file)), false, true);
        Ok(true)
    }

    /// Whether the line is the next record.
    fn counts(&mut self) -> bool {
        let Some((segment, _)) = &self.segment else { return false };
        let Some(n) = Sealed::of(&self.line).and_then(|sealed| sealed.number()) else {
            self.unreadable += u64::from(self.line != segment.first_line);
            return false;
        };
        let counts = n > self.last && segment.limit.is_none_or(|limit| n <= limit.after);
        if counts {
            self.last = n;
        }
        counts
    }
}
