//! What can be wrong with a log.

use std::fmt;

use time::OffsetDateTime;

use super::line::shown;

/// Where something was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The segment's file.
    pub file: String,
    /// The line in it, from 1 on.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Finding {
    /// A record's content isn't what was written here.
    #[error("{place}: record {n} was changed, or is none of this log's key")]
    Changed {
        /// Where.
        place: Place,
        /// The number that it has.
        n: u64,
    },
    /// A record isn't the one that a checkpoint has signed.
    #[error("{place}: record {n} isn't the one of the checkpoint of {}: the log was written anew up to here", shown(*time))]
    CheckpointDiffers {
        /// Where.
        place: Place,
        /// Its number.
        n: u64,
        /// When the checkpoint was made.
        time: OffsetDateTime,
    },
    /// The log ends before a checkpoint.
    #[error("the log ends with record {last}, and the checkpoint of {} has signed record {signed}: its end was cut off", shown(*time))]
    CutTail {
        /// The last record.
        last: u64,
        /// The record of the checkpoint.
        signed: u64,
        /// When the checkpoint was made.
        time: OffsetDateTime,
    },
    /// Records are missing.
    #[error("{place}: {} before this line", records_missing(*from, *to))]
    Missing {
        /// The first line behind them.
        place: Place,
        /// The first one.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// A record stands behind a later one.
    #[error("{place}: record {n} stands here behind record {behind}: it was moved, or put in again")]
    Moved {
        /// Where.
        place: Place,
        /// Its number.
        n: u64,
        /// The newest one before it.
        behind: u64,
    },
    /// A segment doesn't begin with a header of this log.
    #[error("{place}: the segment's header was changed, or is none of this log's key")]
    NoHeader {
        /// Where.
        place: Place,
    },
    /// The beginning of the log is missing.
    #[error(
        "{place}: the log begins behind record {after}, and no checkpoint says that what was before was deleted in order"
    )]
    NoStart {
        /// Where.
        place: Place,
        /// The record that it begins behind.
        after: u64,
    },
    /// A line isn't one of a log.
    #[error("{place}: this line can't be read")]
    Unreadable {
        /// Where.
        place: Place,
    },
    /// A record was written, and what stands in its place now is another one.
    #[error("{place}: record {n} is another one in the segment that goes on from here")]
    WrittenAnew {
        /// Where it stood.
        place: Place,
        /// Its number.
        n: u64,
    },
}

impl Finding {
    /// Where it is, if it is in one place.
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Changed { place, .. }
            | Self::CheckpointDiffers { place, .. }
            | Self::Missing { place, .. }
            | Self::Moved { place, .. }
            | Self::NoHeader { place }
            | Self::NoStart { place, .. }
            | Self::Unreadable { place }
            | Self::WrittenAnew { place, .. } => Some(place),
            Self::CutTail { .. } => None,
        }
    }

    /// The number of the record that it is about; of several, the first.
    pub fn record(&self) -> Option<u64> {
        match self {
            Self::Changed { n, .. }
            | Self::CheckpointDiffers { n, .. }
            | Self::Missing { from: n, .. }
            | Self::Moved { n, .. }
            | Self::WrittenAnew { n, .. } => Some(*n),
            Self::CutTail { last, .. } => Some(last + 1),
            Self::NoStart { after, .. } => Some(after + 1),
            Self::NoHeader { .. } | Self::Unreadable { .. } => None,
        }
    }

    /// The record, if it was moved.
    pub(super) fn moved(&self) -> Option<u64> {
        match self {
            Self::Moved { n, .. } => Some(*n),
            _ => None,
        }
    }
}

fn records_missing(from: u64, to: u64) -> String {
    if from == to { format!("record {from} is missing") } else { format!("records {from} to {to} are missing") }
}
