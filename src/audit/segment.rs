//! Segments: the files of the log, and the header that each begins with.
//!
//! `{"segment":3,"after":1200,"head":"...","time":"...","why":"rotated","format":1,"mac":"..."}`. The records of a segment
//! go on behind record `after`, whose mac is `head`; the header's own mac is made as that of a record in this place, and
//! nothing stands behind the header in the chain. So the same records, byte for byte, can stand behind another header.

use std::io::Write;

use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    chain::{AuditKey, Mac, Sealed},
    line::stamp,
};

/// The format of the lines.
const FORMAT: u32 = 1;
const PREFIX: &str = "audit-";
const ENDING: &str = ".jsonl";

/// A place in the chain: a record's number and mac. Before the first one it is number 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The record's number.
    pub n: u64,
    /// Its mac.
    pub mac: Mac,
}

impl Head {
    /// Before the first record.
    pub const START: Self = Self { n: 0, mac: Mac::START };
}

/// Why a segment was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The log had lost its end: it was shorter than a checkpoint says. It goes on behind that.
    Cut,
    /// It is the log's first one.
    First,
    /// The one before it couldn't be written or flushed. What isn't known to be on the disk from there stands here again.
    Healed,
    /// The gateway didn't end in order. What isn't known to be on the disk from before stands here again.
    Restarted,
    /// The one before it was full or old.
    Rotated,
}

impl Why {
    fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::First => "first",
            Self::Healed => "healed",
            Self::Restarted => "restarted",
            Self::Rotated => "rotated",
        }
    }

    /// Whether records that stand in earlier segments may stand in this one again.
    pub(super) fn repeats(self) -> bool {
        matches!(self, Self::Healed | Self::Restarted)
    }
}

/// The first line of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The segment's number.
    pub segment: u64,
    /// The record that its first one stands behind.
    pub after: Head,
    /// When it was begun.
    pub time: OffsetDateTime,
    /// Why.
    pub why: Why,
}

impl Header {
    /// Appends the line.
    pub(super) fn write(&self, key: &AuditKey, out: &mut Vec<u8>) {
        let Self { segment, after: Head { n, mac }, time, why } = self;
        let from = out.len();
        // Writing to memory doesn't fail.
        let _ = write!(out, "{{\"segment\":{segment},\"after\":{n},\"head\":\"{mac}\",\"time\":\"");
        stamp(out, *time);
        let _ = write!(out, "\",\"why\":\"{}\",\"format\":{FORMAT}", why.name());
        key.seal(out, from, *mac);
    }

    /// Reads a line, whoever wrote it. `None`: it is no header that is known here.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Line<'a> {
            segment: u64,
            after: u64,
            head: &'a str,
            time: &'a str,
            why: Why,
            format: u32,
        }
        let line: Line<'_> = serde_json::from_slice(line).ok()?;
        let after = Head { n: line.after, mac: Mac::from_hex(line.head.as_bytes())? };
        let time = OffsetDateTime::parse(line.time, &Rfc3339).ok()?;
        (line.format == FORMAT).then_some(Self { segment: line.segment, after, time, why: line.why })
    }

    /// Whether it is one of ours.
    pub(super) fn is_made_by(&self, key: &AuditKey, line: &[u8]) -> bool {
        Sealed::of(line).is_some_and(|sealed| key.has_made(&sealed, self.after.mac))
    }
}

/// The name of a segment's file. Names are in the order of the segments.
pub fn file_name(segment: u64) -> String {
    format!("{PREFIX}{segment:010}{ENDING}")
}

/// Which segment a file is, by its name.
pub fn number_of(name: &str) -> Option<u64> {
    let segment = name.strip_prefix(PREFIX)?.strip_suffix(ENDING)?.parse().ok()?;
    (file_name(segment) == name).then_some(segment)
}
