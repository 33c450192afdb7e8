//! IP packets put together of their fragments (RFC 791, RFC 8200), within bounds.

use std::{collections::VecDeque, net::IpAddr};

use etherparse::{IpFragOffset, IpNumber, defrag::IpDefragBuf};
use zeroize::Zeroizing;

use crate::model::Timestamp;

/// How many packets are put together at the same time, of 64 KiB at most each. The oldest gives way.
const MAX_OPEN: usize = 64;

/// The longest IP packet.
const MAX_PACKET: usize = 65_535;

/// How long a packet may lack a fragment, in microseconds of capture time (RFC 1122, section 3.3.2).
const PATIENCE_MICROS: i64 = 60_000_000;

#[derive(PartialEq, Eq)]
pub(super) struct FragmentId {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) identification: u32,
    pub(super) protocol: IpNumber,
}

#[derive(Default)]
pub(super) struct Fragments {
    open: VecDeque<Open>,
    lost: u64,
}

struct Open {
    id: FragmentId,
    since: Timestamp,
    parts: u64,
    buffer: Option<IpDefragBuf>,
}

impl Fragments {
    /// Adds a fragment, and gives the packet back if it was the last one. `part` is `None` for a fragment that the
    /// capture didn't keep whole: its packet can't be mended.
    pub(super) fn add(
        &mut self,
        at: Timestamp,
        id: FragmentId,
        offset: IpFragOffset,
        more: bool,
        part: Option<&[u8]>,
    ) -> Option<Zeroizing<Vec<u8>>> {
        self.forget(at);
        let place = self.open.iter().position(|open| open.id == id).unwrap_or_else(|| self.begin(at, id));
        let open = self.open.get_mut(place)?;
        open.parts += 1;
        let added = match (&mut open.buffer, part) {
            (Some(buffer), Some(part)) => buffer.add(offset, more, part).is_ok(),
            _ => false,
        };
        if !added {
            // Later fragments of this packet still find it here, and stay without effect.
            open.wipe();
        }
        if !open.buffer.as_ref().is_some_and(IpDefragBuf::is_complete) {
            return None;
        }
        let mut whole = self.open.remove(place)?;
        whole.buffer.take().map(|buffer| Zeroizing::new(buffer.take_bufs().0))
    }

    /// Fragments of packets that were given up, or are not whole yet.
    pub(super) fn lost(&self) -> u64 {
        self.lost + self.open.iter().map(|open| open.parts).sum::<u64>()
    }

    #[cfg(test)]
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    fn begin(&mut self, at: Timestamp, id: FragmentId) -> usize {
        if self.open.len() == MAX_OPEN {
            self.give_up_oldest();
        }
        // Of the longest size from the start: a buffer that grew would leave what it held where it was.
        let buffer = IpDefragBuf::new(id.protocol, Vec::with_capacity(MAX_PACKET), Vec::new());
        self.open.push_back(Open { id, since: at, parts: 0, buffer: Some(buffer) });
        self.open.len() - 1
    }

    fn forget(&mut self, now: Timestamp) {
        while self.open.front().is_some_and(|oldest| now.0.saturating_sub(oldest.since.0) > PATIENCE_MICROS) {
            self.give_up_oldest();
        }
    }

    fn give_up_oldest(&mut self) {
        if let Some(oldest) = self.open.pop_front() {
            self.lost += oldest.parts;
        }
    }
}

impl Open {
    fn wipe(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            drop(Zeroizing::new(buffer.take_bufs().0));
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.wipe();
    }
}
