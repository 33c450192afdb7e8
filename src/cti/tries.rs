//! Failed tries to open, by source (R41a). Pure.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use crate::model::Network;

/// How many sources of failed tries are remembered.
const MAX_SOURCES: usize = 65_536;
/// How long a failed try counts.
const WINDOW: Duration = Duration::from_secs(60);

/// Failed tries by source. A minute begins with a source's first one.
#[derive(Default)]
pub(super) struct Tries {
    sources: HashMap<IpAddr, (u32, Instant)>,
    /// The same sources, the oldest minute first: what is due is at the front, and nothing has to be swept.
    order: VecDeque<(IpAddr, Instant)>,
}

impl Tries {
    /// How many tries of a source count now.
    pub(super) fn of(&self, source: IpAddr, now: Instant) -> u32 {
        let tries = self.sources.get(&source).filter(|(_, since)| !is_over(*since, now));
        tries.map_or(0, |(tries, _)| *tries)
    }

    /// Counts a failed try.
    pub(super) fn count(&mut self, source: IpAddr, now: Instant) {
        while self.order.front().is_some_and(|(_, since)| is_over(*since, now)) {
            self.forget_oldest();
        }
        if let Some((tries, _)) = self.sources.get_mut(&source) {
            *tries = tries.saturating_add(1);
            return;
        }
        if self.sources.len() >= MAX_SOURCES {
            // So many sources at once are an attack of many. The limit on connections holds them; each still counts.
            self.forget_oldest();
        }
        self.sources.insert(source, (1, now));
        self.order.push_back((source, now));
    }

    fn forget_oldest(&mut self) {
        if let Some((source, _)) = self.order.pop_front() {
            self.sources.remove(&source);
        }
    }
}

fn is_over(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) >= WINDOW
}

/// Who counts as one source: an IPv4 address, and an IPv6 network of 64 bits, of which one machine has all addresses.
pub(super) fn network(source: IpAddr) -> IpAddr {
    let source = source.to_canonical();
    Network::around(source, if source.is_ipv4() { 32 } else { 64 }).first()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Limits, cti::registry::Registry};

    fn registry() -> Registry {
        Registry::new(Limits { tries_per_source_per_minute: 2, ..Limits::default() }, 0)
    }

    #[test]
    fn r41a_failed_tries_of_a_source_count_for_a_minute() {
        let registry = registry();
        let source = IpAddr::from([127, 0, 0, 1]);
        let start = Instant::now();
        registry.failed(source, start);
        assert!(registry.may_try(source, start));
        registry.failed(source, start);
        assert!(!registry.may_try(source, start));
        assert!(registry.may_try(IpAddr::from([127, 0, 0, 2]), start));
        assert!(registry.may_try(source, start + WINDOW));
    }

    #[test]
    fn r41a_all_addresses_of_an_ipv6_network_are_one_source() {
        let registry = registry();
        let (one, other, far) = ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1");
        let [one, other, far] = [one, other, far].map(|address| address.parse::<IpAddr>().unwrap());
        let now = Instant::now();
        registry.failed(one, now);
        registry.failed(other, now);
        assert!(!registry.may_try(one, now) && !registry.may_try(other, now) && registry.may_try(far, now));
        // IPv4 in IPv6's clothes is IPv4, not one network of all.
        registry.failed("::ffff:192.0.2.1".parse().unwrap(), now);
        registry.failed("::ffff:192.0.2.2".parse().unwrap(), now);
        assert!(registry.may_try("192.0.2.1".parse().unwrap(), now));
    }

    #[test]
    fn r41a_a_source_counts_however_many_there_are_and_the_oldest_is_forgotten() {
        let registry = registry();
        let start = Instant::now();
        let source = |n: u32| IpAddr::from(n.to_be_bytes());
        let sources = u32::try_from(MAX_SOURCES).unwrap();
        for n in 0..sources {
            registry.failed(source(n), start);
            registry.failed(source(n), start);
        }
        assert!(!registry.may_try(source(0), start));
        for _ in 0..2 {
            registry.failed(source(sources), start + Duration::from_secs(1));
        }
        assert!(!registry.may_try(source(sources), start + Duration::from_secs(1)), "it is counted");
        assert!(registry.may_try(source(0), start) && !registry.may_try(source(1), start));
        registry.failed(source(1), start + WINDOW);
        let tries = registry.tries();
        assert_eq!((tries.sources.len(), tries.order.len()), (2, 2), "what is over is gone");
    }
}
