//! Bytes of a capture in pieces that are whole.

use std::io::{ErrorKind, Read};

use zeroize::Zeroizing;

use super::{Fault, MAX_RECORD};

/// A reader with a buffer of fixed size that is wiped in the end.
pub(super) struct Source {
    reader: Box<dyn Read + Send>,
    buffer: Zeroizing<Vec<u8>>,
    start: usize,
    end: usize,
    /// The position of `start` in the file.
    byte: u64,
}

impl Source {
    pub(super) fn new(reader: Box<dyn Read + Send>) -> Self {
        Self { reader, buffer: Zeroizing::new(vec![0; MAX_RECORD]), start: 0, end: 0, byte: 0 }
    }

    /// Where the next piece begins, in bytes.
    pub(super) fn byte(&self) -> u64 {
        self.byte
    }

    /// The next `len` bytes, or fewer if the file ends before. They stay where they are.
    pub(super) fn peek(&mut self, len: usize) -> Result<&[u8], Fault> {
        if len > self.buffer.len() {
            return Err(Fault::Wrong { byte: self.byte, what: "is longer than any packet" });
        }
        self.fill(len)?;
        let end = self.end.min(self.start + len);
        Ok(self.buffer.get(self.start..end).unwrap_or_default())
    }

    /// Takes the next `len` bytes; [`Fault::End`] if the file ends before.
    pub(super) fn take(&mut self, len: usize) -> Result<&[u8], Fault> {
        let there = self.peek(len)?.len();
        let end = self.byte + there as u64;
        if there < len {
            return Err(Fault::End { byte: end });
        }
        let from = self.start;
        self.start += len;
        self.byte = end;
        Ok(self.buffer.get(from..from + len).unwrap_or_default())
    }

    /// Goes on by `len` bytes without keeping them.
    pub(super) fn skip(&mut self, mut len: u64) -> Result<(), Fault> {
        while len > 0 {
            let piece = len.min(MAX_RECORD as u64 / 2);
            self.take(usize::try_from(piece).unwrap_or(MAX_RECORD / 2))?;
            len -= piece;
        }
        Ok(())
    }

    /// Whether nothing is left.
    pub(super) fn is_at_end(&mut self) -> Result<bool, Fault> {
        Ok(self.peek(1)?.is_empty())
    }

    fn fill(&mut self, len: usize) -> Result<(), Fault> {
        if self.end - self.start >= len {
            return Ok(());
        }
        if self.start + len > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        while self.end - self.start < len {
            let free = self.buffer.get_mut(self.end..).unwrap_or_default();
            match self.reader.read(free) {
                Ok(0) => break,
                Ok(read) => self.end = self.buffer.len().min(self.end + read),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    let byte = self.byte + (self.end - self.start) as u64;
                    return Err(Fault::Read { byte, text: error.to_string() });
                }
            }
        }
        Ok(())
    }
}
