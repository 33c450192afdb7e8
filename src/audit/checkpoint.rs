//! Checkpoints: signed statements about the log, kept outside of its folder.
//!
//! `{"checkpoint":5000,"head":"...","time":"...","public_key":"...","signature":"..."}` says that record 5000 has this mac,
//! and that all up to it was on the disk at this time. `{"start":3000,...}` says that everything up to record 3000 was
//! deleted because it was old. What is signed (Ed25519) is the line up to the signature.

use std::io::Write;

use serde::Deserialize;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    chain::{AuditKey, Mac, from_hex, to_hex},
    line::{shown, stamp},
    segment::Head,
};

const BEFORE_SIGNATURE: &[u8] = b",\"signature\":\"";
const AFTER_SIGNATURE: &[u8] = b"\"}";

/// What a checkpoint says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Up to this record the log was whole.
    Whole,
    /// Up to this record it was deleted in order.
    Deleted,
}

/// A statement about the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// What it says.
    pub says: Says,
    /// Of which record.
    pub head: Head,
    /// When.
    pub time: OffsetDateTime,
}

/// Why a line is no checkpoint of this log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoCheckpoint {
    /// It is something else.
    #[error("it isn't a checkpoint")]
    Malformed,
    /// Somebody else signed it, or it was changed.
    #[error("its signature isn't by this log's key")]
    NotSigned,
}

impl Checkpoint {
    /// Appends the line, signed.
    pub(super) fn write(&self, key: &AuditKey, out: &mut Vec<u8>) {
        let from = out.len();
        let says = match self.says {
            Says::Deleted => "start",
            Says::Whole => "checkpoint",
        };
        // Writing to memory doesn't fail.
        let _ = write!(out, "{{\"{says}\":{},\"head\":\"{}\",\"time\":\"", self.head.n, self.head.mac);
        stamp(out, self.time);
        out.extend_from_slice(b"\",\"public_key\":\"");
        out.extend_from_slice(&to_hex::<32, 64>(&key.public()));
        out.push(b'"');
        let signature = key.sign(out.get(from..).unwrap_or_default());
        out.extend_from_slice(BEFORE_SIGNATURE);
        out.extend_from_slice(&to_hex::<64, 128>(&signature));
        out.extend_from_slice(AFTER_SIGNATURE);
        out.push(b'\n');
    }

    /// Reads a line, without its end, and checks who signed it.
    ///
    /// # Errors
    /// [`NoCheckpoint`].
    pub fn read(key: &AuditKey, line: &[u8]) -> Result<Self, NoCheckpoint> {
        let checkpoint = Self::parse(line).ok_or(NoCheckpoint::Malformed)?;
        let (content, signature) = parts(line).ok_or(NoCheckpoint::Malformed)?;
        if key.has_signed(content, &signature) { Ok(checkpoint) } else { Err(NoCheckpoint::NotSigned) }
    }

    /// When it was made, as records have it.
    pub fn when(&self) -> String {
        shown(self.time)
    }

    fn parse(line: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Line<'a> {
            checkpoint: Option<u64>,
            start: Option<u64>,
            head: &'a str,
            time: &'a str,
        }
        let line: Line<'_> = serde_json::from_slice(line).ok()?;
        let (says, n) = match (line.checkpoint, line.start) {
            (Some(n), None) => (Says::Whole, n),
            (None, Some(n)) => (Says::Deleted, n),
            _ => return None,
        };
        let head = Head { n, mac: Mac::from_hex(line.head.as_bytes())? };
        Some(Self { says, head, time: OffsetDateTime::parse(line.time, &Rfc3339).ok()? })
    }
}

/// What was signed, and the signature.
fn parts(line: &[u8]) -> Option<(&[u8], [u8; 64])> {
    let line = line.strip_suffix(AFTER_SIGNATURE)?;
    let (content, signature) = line.split_at_checked(line.len().checked_sub(128)?)?;
    Some((content.strip_suffix(BEFORE_SIGNATURE)?, from_hex(signature)?))
}
