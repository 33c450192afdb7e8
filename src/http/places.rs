//! The places for connections: so many in all, and so many for each source (R41a).

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use callgate_wire::v1::ErrorCode;

use crate::model::Network;

/// The places of a service.
pub(super) struct Places {
    most: usize,
    most_per_source: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    sources: HashMap<IpAddr, usize>,
}

/// A place, given back when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    /// `None`: somebody on this machine.
    source: Option<IpAddr>,
}

impl Places {
    pub(super) fn new(most: usize, most_per_source: usize) -> Arc<Self> {
        Arc::new(Self { most, most_per_source, taken: Mutex::default() })
    }

    /// A place for a connection from this address, or from this machine's own socket.
    ///
    /// # Errors
    /// Which places are all taken: `TOO_MANY_HTTP_CONNECTIONS` or `TOO_MANY_HTTP_CONNECTIONS_OF_SOURCE`.
    pub(super) fn take(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, ErrorCode> {
        let source = address.map(source);
        let mut taken = self.taken();
        if taken.all >= self.most {
            return Err(ErrorCode::TooManyHttpConnections);
        }
        if let Some(source) = source {
            let of_source = taken.sources.entry(source).or_default();
            if *of_source >= self.most_per_source {
                return Err(ErrorCode::TooManyHttpConnectionsOfSource);
            }
            *of_source += 1;
        }
        taken.all += 1;
        Ok(Place { places: Arc::clone(self), source })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all = taken.all.saturating_sub(1);
        if let Some(source) = self.source
            && let Some(of_source) = taken.sources.get_mut(&source)
        {
            *of_source -= 1;
            if *of_source == 0 {
                taken.sources.remove(&source);
            }
        }
    }
}

/// Who counts as one source: an IPv4 address, and an IPv6 network of 64 bits, of which one machine has all addresses.
fn source(address: IpAddr) -> IpAddr {
    let address = address.to_canonical();
    Network::around(address, if address.is_ipv4() { 32 } else { 64 }).first()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r41a_places_are_bounded_by_source_and_in_all_and_come_back() {
        let places = Places::new(3, 2);
        let take = |address: &str| places.take(Some(address.parse().unwrap()));
        let (first, second) = (take("2001:db8::1").unwrap(), take("2001:db8::2").unwrap());
        assert_eq!(take("2001:db8::3").err(), Some(ErrorCode::TooManyHttpConnectionsOfSource), "the same network");
        let local = places.take(None).unwrap();
        for all_are_taken in [take("192.0.2.1"), places.take(None)] {
            assert_eq!(all_are_taken.err(), Some(ErrorCode::TooManyHttpConnections));
        }
        drop((first, local));
        let other = take("::ffff:192.0.2.1").unwrap();
        assert!(take("2001:db8::3").is_ok());
        drop((second, other));
        assert!(places.taken().sources.is_empty() && places.taken().all == 0);
    }
}
