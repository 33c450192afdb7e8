//! How often a bound of the tracker's state was reached.

use std::collections::BTreeMap;

/// What of a feed's state has a bound (R41a).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Bound {
    /// Addresses of which only dialogs are known: the one that was silent longest made room.
    Addresses,
    /// Branches of a fork: one more wasn't told of before it answers.
    Branches,
    /// BYEs of unknown calls: the oldest made room.
    Byes,
    /// Calls: one was forgotten, and told so.
    Calls,
    /// Devices with a part in one call: one more has none.
    Devices,
    /// Messages that wait for what they answer: the oldest made room.
    Early,
    /// Offers within a dialog that wait for their answers: the oldest made room.
    Exchanges,
    /// Fingerprints of keys: one made room, and keys that could be old are given to nobody.
    Fingerprints,
    /// Hops of one INVITE, of which the first made room, or of one REGISTER, of which one more wasn't kept.
    Hops,
    /// Keys of one call: the oldest made room.
    Keys,
    /// Bytes of offers, over all calls: those of a call that nothing answered made room.
    Offers,
    /// Bytes of offers of one call, or over all calls where no other can make room: one more counts as unreadable.
    OffersOfCall,
    /// PBXes that were found: the one that was silent longest made room.
    Pbxes,
    /// REGISTERs that wait for their answer: the oldest made room.
    Registers,
    /// Addresses that registered: the one that was silent longest made room.
    Registrations,
    /// First INVITEs of one CSeq: one more isn't told from the others.
    Transactions,
}

impl Bound {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Branches => "branches of a call",
            Self::Byes => "BYEs of unknown calls",
            Self::Calls => "calls",
            Self::Devices => "devices of a call",
            Self::Early => "early messages",
            Self::Exchanges => "exchanges of a call",
            Self::Fingerprints => "fingerprints",
            Self::Hops => "hops",
            Self::Keys => "keys of a call",
            Self::Offers => "offers",
            Self::OffersOfCall => "offers of a call",
            Self::Pbxes => "PBXes",
            Self::Registers => "REGISTERs",
            Self::Registrations => "registrations",
            Self::Transactions => "INVITEs of a call",
        }
    }
}

/// How often each bound was reached: something made room, or was refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrackerCounts(BTreeMap<Bound, u64>);

impl TrackerCounts {
    /// How often this one was reached.
    pub fn of(&self, bound: Bound) -> u64 {
        self.0.get(&bound).copied().unwrap_or_default()
    }

    /// Those that were reached, and how often.
    pub fn reached(&self) -> impl Iterator<Item = (Bound, u64)> {
        self.0.iter().map(|(bound, count)| (*bound, *count))
    }

    /// It was reached once more.
    pub(in crate::switch) fn note(&mut self, bound: Bound) {
        self.add(bound, 1);
    }

    /// It was reached so often besides.
    pub(super) fn add(&mut self, bound: Bound, times: u64) {
        if times > 0 {
            *self.0.entry(bound).or_default() += times;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const ALL: [Bound; 16] = [
        Bound::Addresses,
        Bound::Branches,
        Bound::Byes,
        Bound::Calls,
        Bound::Devices,
        Bound::Early,
        Bound::Exchanges,
        Bound::Fingerprints,
        Bound::Hops,
        Bound::Keys,
        Bound::Offers,
        Bound::OffersOfCall,
        Bound::Pbxes,
        Bound::Registers,
        Bound::Registrations,
        Bound::Transactions,
    ];

    #[test]
    fn r41a_each_bound_has_a_count_and_a_name_of_its_own() {
        let names: HashSet<_> = ALL.into_iter().map(Bound::name).collect();
        assert_eq!(names.len(), ALL.len());
        let mut counts = TrackerCounts::default();
        for (bound, times) in ALL.into_iter().zip(1..) {
            counts.add(bound, times);
        }
        assert!(counts.reached().eq(ALL.into_iter().zip(1..)), "{counts:?}");
    }
}
