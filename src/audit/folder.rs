//! The log as it lies on the disk, for who reads it.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use super::{
    line::MAX_LINE,
    segment::{Header, Why, number_of},
};

/// The segments of a log, in order.
#[derive(Debug)]
pub struct Folder {
    segments: Vec<Segment>,
}

/// A segment's file.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Its number.
    pub number: u64,
    /// Its file.
    pub path: PathBuf,
    /// What its first line says, if that is a header.
    pub header: Option<Header>,
    /// The first line as it stands there.
    pub first_line: Vec<u8>,
    /// From where on its records count no more, if a later segment has them again.
    pub limit: Option<Limit>,
}

/// The end of what counts in a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// The last record that counts here.
    pub after: u64,
    /// Why the later segment was begun.
    pub why: Why,
}

impl Folder {
    /// Looks which segments there are.
    ///
    /// # Errors
    /// The folder or a file can't be read.
    pub fn read(path: &Path) -> io::Result<Self> {
        Self::read_from(path, 0)
    }

    /// The same without segments of lower numbers.
    pub(super) fn read_from(path: &Path, from: u64) -> io::Result<Self> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(path)? {
            let path = entry?.path();
            let number = path.file_name().and_then(|name| number_of(name.to_str()?));
            let Some(number) = number.filter(|number| *number >= from) else { continue };
            let mut lines = Lines::open(&path)?;
            let first_line = lines.next()?.filter(|line| line.is_whole).map(|line| line.bytes.to_vec());
            let first_line = first_line.unwrap_or_default();
            segments.push(Segment { number, path, header: Header::read(&first_line), first_line, limit: None });
        }
        segments.sort_by_key(|segment| segment.number);
        let mut limit: Option<Limit> = None;
        for segment in segments.iter_mut().rev() {
            segment.limit = limit;
            if let Some(Header { after, why, .. }) = segment.header.filter(|header| header.why.repeats())
                && limit.is_none_or(|limit| after.n < limit.after)
            {
                limit = Some(Limit { after: after.n, why });
            }
        }
        Ok(Self { segments })
    }

    /// Takes the newest segment out if it has no header yet, so that nothing was ever acknowledged in it.
    pub(super) fn pop_unused(&mut self) -> Option<u64> {
        self.segments.pop_if(|segment| segment.first_line.is_empty()).map(|segment| segment.number)
    }

    /// The oldest segment, if its header is there.
    pub(super) fn into_next(self) -> Option<Segment> {
        self.segments.into_iter().next().filter(|segment| !segment.first_line.is_empty())
    }

    /// The segments, the oldest first.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }
}

/// A line of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Without its end. Of one that is longer than any line of a log, only the beginning.
    pub bytes: &'a [u8],
    /// Whether it has an end.
    pub is_whole: bool,
}

/// The lines of a file, one at a time, in bounded memory.
#[derive(Debug)]
pub struct Lines<R> {
    from: R,
    line: Vec<u8>,
}

impl Lines<BufReader<File>> {
    /// The lines of this file.
    ///
    /// # Errors
    /// It can't be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self::of(BufReader::with_capacity(256 * 1024, File::open(path)?)))
    }
}

impl<R: BufRead> Lines<R> {
    /// The lines of what is read.
    pub fn of(from: R) -> Self {
        Self { from, line: Vec::new() }
    }

    /// The next one. `None`: there is nothing more, now.
    ///
    /// # Errors
    /// It can't be read.
    #[expect(clippy::should_implement_trait, reason = "a line is lent until the next call, which no iterator can")]
    pub fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let most = MAX_LINE as u64 + 1;
        if self.from.by_ref().take(most).read_until(b'\n', &mut self.line)? == 0 {
            return Ok(None);
        }
        let is_whole = self.line.pop_if(|byte| *byte == b'\n').is_some();
        if !is_whole && self.line.len() as u64 == most {
            self.line.truncate(MAX_LINE / 2);
            return Ok(Some(Line { is_whole: self.skip()?, bytes: &self.line }));
        }
        Ok(Some(Line { bytes: &self.line, is_whole }))
    }

    /// Goes behind the end of this line, and says whether there is one.
    fn skip(&mut self) -> io::Result<bool> {
        loop {
            let buffer = self.from.fill_buf()?;
            if buffer.is_empty() {
                return Ok(false);
            }
            let (used, found) = memchr::memchr(b'\n', buffer).map_or((buffer.len(), false), |at| (at + 1, true));
            self.from.consume(used);
            if found {
                return Ok(true);
            }
        }
    }
}
