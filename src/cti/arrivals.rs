//! Connections whose session isn't open yet: how many there are, and which one makes room for the next. Pure.
//!
//! Whoever connects gets a place (R41a). When all are taken, the source that has the most loses its oldest: so one source
//! can't keep the others out, and among equals those stay who arrived last. An app needs its place for some milliseconds,
//! a stranger who only holds one loses it.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

/// The connections that are being opened, each with what ends it.
pub(super) struct Arrivals<T> {
    most: usize,
    next: u64,
    connections: HashMap<Ticket, Connection<T>>,
    /// The connections of each source, oldest first.
    sources: HashMap<IpAddr, BTreeSet<Ticket>>,
    /// The sources, by who makes room: the last one does.
    crowds: BTreeSet<(usize, Reverse<Ticket>, IpAddr)>,
}

/// Names a connection. A later one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket(u64);

struct Connection<T> {
    source: IpAddr,
    end: T,
}

impl<T> Arrivals<T> {
    /// Room for `most` connections, at least 1.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            next: 0,
            connections: HashMap::new(),
            sources: HashMap::new(),
            crowds: BTreeSet::new(),
        }
    }

    /// How many connections there are.
    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// A connection has come. If there was no room for it, also returns what ends the one that makes room.
    #[must_use = "the connection that makes room must be ended"]
    pub(super) fn enter(&mut self, source: IpAddr, end: T) -> (Ticket, Option<T>) {
        let displaced = if self.connections.len() >= self.most { self.displace() } else { None };
        let ticket = Ticket(self.next);
        self.next += 1;
        self.connections.insert(ticket, Connection { source, end });
        self.change(source, |tickets| tickets.insert(ticket));
        (ticket, displaced)
    }

    /// A connection is open, or has ended, or was displaced.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        self.remove(ticket);
    }

    /// Takes the place of the connection that is the first to make room.
    #[must_use = "the connection that makes room must be ended"]
    pub(super) fn displace(&mut self) -> Option<T> {
        let Reverse(oldest) = self.crowds.last()?.1;
        self.remove(oldest)
    }

    fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let Connection { source, end } = self.connections.remove(&ticket)?;
        self.change(source, |tickets| tickets.remove(&ticket));
        Some(end)
    }

    /// Changes the connections of a source, and keeps the order of the sources true.
    fn change(&mut self, source: IpAddr, change: impl FnOnce(&mut BTreeSet<Ticket>) -> bool) {
        let tickets = self.sources.entry(source).or_default();
        if let Some(oldest) = tickets.first() {
            self.crowds.remove(&(tickets.len(), Reverse(*oldest), source));
        }
        change(tickets);
        match tickets.first() {
            Some(oldest) => {
                self.crowds.insert((tickets.len(), Reverse(*oldest), source));
            }
            None => {
                self.sources.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn source(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    #[test]
    fn r41a_the_source_with_the_most_loses_its_oldest() {
        let mut arrivals = Arrivals::new(4);
        for (n, name) in [(1, "app"), (2, "flood 1"), (2, "flood 2"), (2, "flood 3")] {
            assert_eq!(arrivals.enter(source(n), name).1, None);
        }
        assert_eq!(arrivals.enter(source(3), "other").1, Some("flood 1"));
        assert_eq!(arrivals.enter(source(2), "flood 4").1, Some("flood 2"));
        // All equal now but for the flood's two.
        assert_eq!(arrivals.enter(source(4), "third").1, Some("flood 3"));
        assert_eq!(arrivals.enter(source(5), "fourth").1, Some("app"), "among equals the oldest");
    }

    #[test]
    fn who_left_makes_no_room_twice() {
        let mut arrivals = Arrivals::new(1);
        let (ticket, _) = arrivals.enter(source(1), 1);
        arrivals.leave(ticket);
        arrivals.leave(ticket);
        let (ticket, displaced) = arrivals.enter(source(1), 2);
        assert_eq!(displaced, None);
        assert_eq!(arrivals.enter(source(2), 3).1, Some(2));
        arrivals.leave(ticket);
        assert_eq!(arrivals.displace(), Some(3));
        assert_eq!(arrivals.displace(), None);
        assert!(arrivals.sources.is_empty() && arrivals.crowds.is_empty() && arrivals.connections.is_empty());
    }

    proptest! {
        #[test]
        fn r41a_the_bound_holds_and_who_makes_room_is_of_a_source_with_the_most(
            most in 1usize..12,
            steps in proptest::collection::vec((any::<bool>(), 0u8..5, any::<prop::sample::Index>()), 0..200),
        ) {
            let mut arrivals = Arrivals::new(most);
            let mut model: Vec<(Ticket, u8)> = Vec::new();
            for (enters, n, index) in steps {
                if enters {
                    let count = |of: u8| model.iter().filter(|(_, n)| *n == of).count();
                    let largest = (0..5).map(count).max().unwrap();
                    let expected = model.iter().find(|(_, n)| count(*n) == largest).copied();
                    let was_full = model.len() == most;
                    let (ticket, displaced) = arrivals.enter(source(n), arrivals.next);
                    prop_assert_eq!(displaced, expected.filter(|_| was_full).map(|(ticket, _)| ticket.0));
                    model.retain(|(ticket, _)| Some(ticket.0) != displaced);
                    model.push((ticket, n));
                } else if !model.is_empty() {
                    arrivals.leave(model.remove(index.index(model.len())).0);
                }
                prop_assert_eq!(arrivals.connections.len(), model.len());
                prop_assert!(model.len() <= most);
                prop_assert_eq!(arrivals.crowds.len(), arrivals.sources.len());
            }
        }
    }
}
