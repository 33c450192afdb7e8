//! What was read from the socket and waits to be tracked. Pure: batches of bytes, and who may have more of them.
//!
//! Datagrams lie one behind the other in large buffers that are used again and again, so that none is copied and none has
//! an allocation of its own. What a buffer held is wiped before it is used again, and when it goes.

use std::{collections::VecDeque, fmt, net::SocketAddr, ops::Range, time::Instant};

use zeroize::Zeroize;

use crate::model::Timestamp;

/// The size of one buffer.
pub(super) const BATCH_BYTES: usize = 256 * 1024;
/// No UDP datagram is larger.
pub(super) const MAX_DATAGRAM: usize = 65_536;
/// The smallest queue: one batch is read into while another is tracked, and a third waits.
const MIN_BATCHES: usize = 3;

/// When a datagram was read, and who sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Arrival {
    /// For deadlines.
    pub(super) now: Instant,
    /// For people.
    pub(super) at: Timestamp,
    /// Who sent it.
    pub(super) from: SocketAddr,
}

/// Datagrams in the order of their arrival, and the room for more.
pub(super) struct Batch {
    bytes: Box<[u8]>,
    used: usize,
    datagrams: Vec<(Range<usize>, Arrival)>,
}

impl Batch {
    fn new() -> Self {
        Self { bytes: vec![0; BATCH_BYTES].into(), used: 0, datagrams: Vec::new() }
    }

    /// Where the next datagram can be read to.
    pub(super) fn room(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.used..).unwrap_or_default()
    }

    /// Keeps the `len` bytes that were read.
    pub(super) fn keep(&mut self, len: usize, arrival: Arrival) {
        let end = self.used.saturating_add(len).min(self.bytes.len());
        self.datagrams.push((self.used..end, arrival));
        self.used = end;
    }

    /// Wipes the `len` bytes that were read.
    pub(super) fn discard(&mut self, len: usize) {
        let room = self.room();
        let len = len.min(room.len());
        room.get_mut(..len).unwrap_or_default().fill(0);
    }

    /// Every datagram with its arrival, in order.
    pub(super) fn datagrams(&mut self) -> impl Iterator<Item = (&mut [u8], Arrival)> {
        let mut rest = &mut *self.bytes;
        self.datagrams.iter().map(move |(range, arrival)| {
            let (datagram, behind) = std::mem::take(&mut rest).split_at_mut_checked(range.len()).unwrap_or_default();
            rest = behind;
            (datagram, *arrival)
        })
    }

    /// Wipes what was in it. The buffer is used again, so nothing of this can be left out as useless.
    pub(super) fn wipe(&mut self) {
        self.bytes.get_mut(..self.used).unwrap_or_default().fill(0);
        self.used = 0;
        self.datagrams.clear();
    }

    fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    fn has_room(&self) -> bool {
        // A flood of datagrams without bytes takes no room, but its list would grow.
        self.bytes.len() - self.used >= MAX_DATAGRAM && self.datagrams.len() < BATCH_BYTES / 64
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.bytes.get_mut(..self.used).unwrap_or_default().zeroize();
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} datagrams)", self.datagrams.len())
    }
}

/// The batches of one feed: as many as its bound allows, and no more.
pub(super) struct Queue {
    /// The one that is filled.
    open: Option<Batch>,
    /// Full ones, oldest first.
    waiting: VecDeque<Batch>,
    free: Vec<Batch>,
    /// How many may still be made.
    unmade: usize,
}

impl Queue {
    /// A queue of so many bytes, but at least of three batches.
    pub(super) fn new(bytes: usize) -> Self {
        let unmade = batches(bytes);
        Self { open: None, waiting: VecDeque::new(), free: Vec::new(), unmade }
    }

    /// A batch with room for any datagram; `None` when all batches are full.
    pub(super) fn room(&mut self) -> Option<&mut Batch> {
        if let Some(full) = self.open.take_if(|open| !open.has_room()) {
            self.waiting.push_back(full);
        }
        if self.open.is_none() {
            self.open = self.free.pop().or_else(|| {
                self.unmade = self.unmade.checked_sub(1)?;
                Some(Batch::new())
            });
        }
        self.open.as_mut()
    }

    /// The oldest datagrams.
    pub(super) fn next(&mut self) -> Option<Batch> {
        self.waiting.pop_front().or_else(|| self.open.take_if(|open| !open.is_empty()))
    }

    /// Takes a batch back, wiped.
    pub(super) fn give_back(&mut self, mut batch: Batch) {
        batch.wipe();
        self.free.push(batch);
    }

    /// When the oldest datagram came.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let oldest = self.waiting.front().or(self.open.as_ref())?;
        oldest.datagrams.first().map(|(_, arrival)| arrival.now)
    }

    /// How many bytes wait.
    pub(super) fn bytes(&self) -> usize {
        self.waiting.iter().chain(&self.open).map(|batch| batch.used).sum()
    }

    /// Whether there is nothing to take.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.open.as_ref().is_none_or(Batch::is_empty)
    }
}

/// How many batches a queue of so many bytes has.
pub(super) fn batches(bytes: usize) -> usize {
    (bytes / BATCH_BYTES).max(MIN_BATCHES)
}

/// Where datagrams go that nobody can take.
pub(super) fn spare() -> Batch {
    Batch::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrival() -> Arrival {
        Arrival { now: Instant::now(), at: Timestamp(1), from: ([127, 0, 0, 2], 9060).into() }
    }

    fn put(queue: &mut Queue, datagram: &[u8]) -> bool {
        let Some(batch) = queue.room() else { return false };
        batch.room()[..datagram.len()].copy_from_slice(datagram);
        batch.keep(datagram.len(), arrival());
        true
    }

    fn take(batch: &mut Batch) -> Vec<Vec<u8>> {
        batch.datagrams().map(|(datagram, _)| datagram.to_vec()).collect()
    }

    #[test]
    fn what_goes_in_comes_out_in_its_order() {
        let mut queue = Queue::new(0);
        assert!(queue.is_empty() && queue.next().is_none() && queue.oldest().is_none());
        for datagram in [&b"one"[..], b"", b"three"] {
            assert!(put(&mut queue, datagram));
        }
        let oldest = queue.oldest();
        assert_eq!(queue.bytes(), "onethree".len());
        let mut batch = queue.next().unwrap();
        assert_eq!(batch.datagrams().next().map(|(_, arrival)| arrival.now), oldest);
        assert_eq!(take(&mut batch), [&b"one"[..], b"", b"three"]);
        assert!(queue.is_empty() && queue.next().is_none());
    }

    #[test]
    fn r41a_a_queue_is_bounded_and_what_was_in_it_is_wiped() {
        let mut queue = Queue::new(3 * BATCH_BYTES);
        let large = [7; MAX_DATAGRAM];
        let put_in = (0..).take_while(|_| put(&mut queue, &large)).count();
        assert_eq!(put_in, 3 * BATCH_BYTES / MAX_DATAGRAM);
        let batch = queue.next().unwrap();
        assert!(!put(&mut queue, b"x"), "the one that was taken is still away");
        queue.give_back(batch);
        assert!(put(&mut queue, b"x"));
        let open = queue.open.as_ref().unwrap();
        assert!(open.bytes[1..].iter().all(|byte| *byte == 0));
        assert_eq!((0..).take_while(|_| queue.next().is_some()).count(), 3);
    }

    #[test]
    fn r41a_datagrams_without_bytes_fill_a_queue_too() {
        let mut queue = Queue::new(0);
        let put_in = (0..).take_while(|_| put(&mut queue, b"")).count();
        assert_eq!(put_in, MIN_BATCHES * BATCH_BYTES / 64);
    }

    #[test]
    fn what_is_discarded_is_wiped() {
        let mut batch = spare();
        batch.room()[..4].copy_from_slice(b"keys");
        batch.discard(4);
        assert!(batch.bytes.iter().all(|byte| *byte == 0) && batch.is_empty());
    }
}
