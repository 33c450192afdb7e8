//! Who may send (R5). Pure.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use super::notices::{Occasion, Tally};
use crate::model::Network;

/// So many of them are kept apart. Those beyond count as one.
const MAX_NETWORKS: usize = 64;
/// What counts as one network: IPv4 and IPv6.
const PREFIXES: (u8, u8) = (24, 48);

/// The networks that may send, and those that tried.
pub(super) struct Sources {
    allowed: Vec<Network>,
    refused: BTreeMap<Option<Network>, (Tally, SocketAddr)>,
}

/// Datagrams that came from where nobody may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Foreign {
    /// Where from; `None` for the many networks that are not kept apart.
    pub(super) network: Option<Network>,
    /// How many since the last time.
    pub(super) datagrams: u64,
    /// Who sent the latest of them.
    pub(super) from: SocketAddr,
}

impl Sources {
    pub(super) fn new(allowed: Vec<Network>) -> Self {
        Self { allowed, refused: BTreeMap::new() }
    }

    /// Whether `source` may send.
    pub(super) fn allows(&self, source: IpAddr) -> bool {
        self.allowed.iter().any(|network| network.contains(source))
    }

    /// Notes that a datagram was refused, which came `from` there.
    pub(super) fn refuse(&mut self, from: SocketAddr) {
        let source = from.ip().to_canonical();
        let prefix = if source.is_ipv4() { PREFIXES.0 } else { PREFIXES.1 };
        let network = Some(Network::around(source, prefix));
        let room = self.refused.len() < MAX_NETWORKS || self.refused.contains_key(&network);
        let entry = self.refused.entry(network.filter(|_| room));
        let (tally, latest) = entry.or_insert_with(|| (Tally::default(), from));
        tally.add(1);
        *latest = from;
    }

    /// What is to be told now: each network at most once a minute.
    pub(super) fn tell(&mut self, occasion: Occasion) -> Vec<Foreign> {
        let mut foreign = Vec::new();
        self.refused.retain(|network, (tally, from)| {
            let told = tally.tell(occasion).map(|datagrams| Foreign { network: *network, datagrams, from: *from });
            foreign.extend(told);
            match occasion {
                Occasion::Look(now) => !tally.is_idle(now),
                Occasion::End => false,
            }
        });
        foreign
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::switch::listen::notices::AGAIN;

    fn sources(allowed: &[&str]) -> Sources {
        Sources::new(allowed.iter().map(|network| network.parse().unwrap()).collect())
    }

    fn told(sources: &mut Sources, now: Instant) -> Vec<(String, u64)> {
        let told = sources.tell(Occasion::Look(now));
        told.iter().map(|f| (f.network.map_or("others".into(), |n| n.to_string()), f.datagrams)).collect()
    }

    #[test]
    fn r5_only_networks_that_are_named_may_send() {
        let sources = sources(&["127.0.0.3", "2001:db8::/32"]);
        for (source, allowed) in [
            ("127.0.0.3", true),
            ("::ffff:127.0.0.3", true),
            ("127.0.0.2", false),
            ("2001:db8::1", true),
            ("::1", false),
        ] {
            assert_eq!(sources.allows(source.parse().unwrap()), allowed, "{source}");
        }
    }

    #[test]
    fn r5_a_refused_network_is_told_once_a_minute_with_what_it_sent() {
        let mut sources = sources(&[]);
        let start = Instant::now();
        for source in ["192.0.2.1", "192.0.2.9", "2001:db8:0:1::1", "2001:db8::1"] {
            sources.refuse(SocketAddr::new(source.parse().unwrap(), 9060));
        }
        assert_eq!(told(&mut sources, start), [("192.0.2.0/24".into(), 2), ("2001:db8::/48".into(), 2)]);
        let from = ["192.0.2.1:5", "192.0.2.77:6"].map(|from| from.parse().unwrap());
        from.into_iter().for_each(|from| sources.refuse(from));
        assert_eq!(told(&mut sources, start + Duration::from_secs(59)), []);
        let network = Some("192.0.2.0/24".parse().unwrap());
        let latest = Foreign { network, datagrams: 2, from: from[1] };
        assert_eq!(sources.tell(Occasion::Look(start + AGAIN)), [latest]);
        assert_eq!(told(&mut sources, start + 2 * AGAIN), []);
        assert!(sources.refused.is_empty(), "who is silent is forgotten");
        (0..2).for_each(|_| sources.refuse(from[0]));
        assert_eq!(told(&mut sources, start + 2 * AGAIN), [("192.0.2.0/24".into(), 2)]);
        sources.refuse(from[1]);
        assert_eq!(told(&mut sources, start + 2 * AGAIN), []);
        assert_eq!(sources.tell(Occasion::End), [Foreign { network, datagrams: 1, from: from[1] }]);
    }

    #[test]
    fn r41a_many_networks_count_as_one() {
        let mut sources = sources(&[]);
        for a in 0..=255 {
            sources.refuse(([10, 0, a, 1], 9060).into());
        }
        let told = told(&mut sources, Instant::now());
        assert_eq!((told.len(), told[0].clone()), (MAX_NETWORKS + 1, ("others".into(), 256 - MAX_NETWORKS as u64)));
    }
}
