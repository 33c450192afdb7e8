//! When certificates of a worker's sessions want attention, soonest first: what isn't due costs nothing. Pure.

use std::collections::BTreeSet;

use super::expiry::Expiry;
use crate::hub::SessionKey;

/// The sessions that were opened by a certificate.
#[derive(Default)]
pub(super) struct Expiries {
    due: BTreeSet<(i64, SessionKey)>,
    ends: BTreeSet<(i64, SessionKey)>,
}

impl Expiries {
    /// Waits for what is due next.
    pub(super) fn add(&mut self, key: SessionKey, expiry: &Expiry) {
        self.due.insert((expiry.due(), key));
        self.ends.insert((expiry.ends(), key));
    }

    /// The session ends, or something was due and was done. `expiry` is as it was when it was added.
    pub(super) fn remove(&mut self, key: SessionKey, expiry: &Expiry) {
        self.due.remove(&(expiry.due(), key));
        self.ends.remove(&(expiry.ends(), key));
    }

    /// A session of which something is due.
    pub(super) fn next(&self, now: i64) -> Option<SessionKey> {
        self.due.first().filter(|(due, _)| *due <= now).map(|(_, key)| *key)
    }

    /// The end of the certificate that ends first.
    pub(super) fn soonest(&self) -> Option<i64> {
        self.ends.first().map(|(ends, _)| *ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r32_the_soonest_comes_first_and_who_is_gone_does_not() {
        let key = |place| SessionKey { place, turn: 0 };
        let mut expiries = Expiries::default();
        let (mut late, soon) = (Expiry::new(20_000_000), Expiry::new(10_000_000));
        expiries.add(key(0), &late);
        expiries.add(key(1), &soon);
        assert_eq!((expiries.next(0), expiries.soonest()), (None, Some(10_000_000)));
        assert_eq!(expiries.next(9_000_000), Some(key(1)));
        expiries.remove(key(1), &soon);
        assert_eq!((expiries.next(9_000_000), expiries.soonest()), (None, Some(20_000_000)));

        expiries.remove(key(0), &late);
        assert!(late.step(19_000_000).is_some());
        expiries.add(key(0), &late);
        assert_eq!(expiries.next(19_000_000), None, "what was done is not due again");
        expiries.remove(key(0), &late);
        assert!(expiries.due.is_empty() && expiries.ends.is_empty());
    }
}
