//! Room that is held back: a file beside the store, given up bit by bit when the disk is full and rights must be taken away.
//!
//! It is filled with random bytes: no file system has them in less room than they need. What is made and what is given up is
//! flushed, since some file systems give room away only then. A bit is no larger than a removal may need, so that others
//! who want the room can't have all of it at once.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
};

use aws_lc_rs::rand;
use metrics::gauge;
use tracing::{info, warn};

use super::place::{Place, private};

/// How much is given up at once. A commit of one key takes some 20 pages of 4 KiB. One of many keys takes a page more for each of
/// them, all at once: it gets nothing of the ballast, and its keys are to be written one by one.
const BIT: u64 = 128 * 1024;

/// The room that is held back.
#[derive(Debug)]
pub(super) struct Ballast {
    place: Place,
    /// How much it should be, and how much it is.
    bytes: u64,
    held: u64,
}

impl Ballast {
    /// So much, of which some may be there.
    pub(super) fn new(place: &Place, bytes: u64) -> Self {
        // Blocks are of 512 bytes here, whatever the file system's are.
        let held = fs::metadata(place.ballast()).map_or(0, |file| file.len().min(file.blocks().saturating_mul(512)));
        let ballast = Self { place: place.clone(), bytes, held: held.min(bytes) };
        ballast.show();
        ballast
    }

    /// Whether there is as much as there should be.
    pub(super) fn is_whole(&self) -> bool {
        self.held == self.bytes
    }

    /// Fills it up. If there isn't room for all of it, it stays as it is.
    pub(super) fn fill(&mut self) -> io::Result<()> {
        if self.is_whole() {
            return Ok(());
        }
        if self.place.room()? < self.bytes - self.held {
            // Nothing is tried: it would take the last of the room from others, again and again.
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no room is left to hold back for removals"));
        }
        let mut file = private().create(true).truncate(false).open(self.place.ballast())?;
        if let Err(error) = self.extend(&mut file) {
            // What it can't have whole it leaves to others.
            file.set_len(self.held)?;
            return Err(error);
        }
        self.held = self.bytes;
        self.show();
        info!(bytes = self.bytes, "the store holds room back for removals");
        Ok(())
    }

    /// Gives a bit of it away. Returns whether there was any.
    pub(super) fn give_up(&mut self) -> bool {
        if self.held == 0 {
            return false;
        }
        if self.is_whole() {
            warn!("the disk is full: the store gives up room that it held back, for a removal");
        }
        self.held = self.held.saturating_sub(BIT);
        self.show();
        let cut = private().open(self.place.ballast()).and_then(|file| {
            file.set_len(self.held)?;
            file.sync_all()
        });
        if let Err(error) = cut {
            warn!(%error, "the room that the store held back can't be given up");
        }
        true
    }

    fn extend(&self, file: &mut File) -> io::Result<()> {
        file.set_len(self.held)?;
        file.seek(SeekFrom::Start(self.held))?;
        let (mut block, mut left) = ([0; 64 * 1024], self.bytes - self.held);
        while left > 0 {
            rand::fill(&mut block).map_err(|_| io::Error::other("no randomness"))?;
            let some = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
            file.write_all(block.get(..some).unwrap_or_default())?;
            left -= some as u64;
        }
        file.sync_all()?;
        self.place.flush()
    }

    fn show(&self) {
        gauge!("callgate_store_ballast_bytes").set(self.held as f64);
    }
}
