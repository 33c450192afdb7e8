//! Packets that no key opens yet, in bounded room.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    net::SocketAddr,
};

use super::Packet;

/// What a packet costs besides its payload, in bytes: a flood of empty ones must not get room for nothing.
const OVERHEAD: usize = 128;

/// Packets that wait, the oldest of which go when the room is full.
pub(super) struct Waiting {
    room: usize,
    used: usize,
    last_number: u64,
    /// In the order in which they came.
    packets: BTreeMap<u64, Packet>,
    /// The numbers of the packets to each destination, in their order.
    by_destination: HashMap<SocketAddr, VecDeque<u64>>,
}

impl Waiting {
    pub(super) fn new(room: usize) -> Self {
        Self { room, used: 0, last_number: 0, packets: BTreeMap::new(), by_destination: HashMap::new() }
    }

    /// The place of a packet that has just come.
    pub(super) fn next_number(&mut self) -> u64 {
        self.last_number += 1;
        self.last_number
    }

    /// Keeps a packet at its place. Those of one destination come in the order of their numbers.
    pub(super) fn put(&mut self, number: u64, packet: Packet) {
        self.used += size(&packet);
        self.by_destination.entry(packet.destination).or_default().push_back(number);
        self.packets.insert(number, packet);
        while self.used > self.room {
            let Some((number, oldest)) = self.packets.pop_first() else { break };
            self.used -= size(&oldest);
            let is_empty = self.by_destination.get_mut(&oldest.destination).is_none_or(|numbers| {
                // The oldest of all is the oldest of its destination.
                if numbers.front() == Some(&number) {
                    numbers.pop_front();
                }
                numbers.is_empty()
            });
            if is_empty {
                self.by_destination.remove(&oldest.destination);
            }
        }
    }

    /// Takes out all packets to a destination, in the order in which they came.
    pub(super) fn take(&mut self, destination: SocketAddr) -> Vec<(u64, Packet)> {
        let numbers = self.by_destination.remove(&destination).unwrap_or_default();
        let taken: Vec<_> =
            numbers.into_iter().filter_map(|number| Some((number, self.packets.remove(&number)?))).collect();
        self.used -= taken.iter().map(|(_, packet)| size(packet)).sum::<usize>();
        taken
    }

    pub(super) fn len(&self) -> usize {
        self.packets.len()
    }
}

fn size(packet: &Packet) -> usize {
    packet.payload.len() + OVERHEAD
}
