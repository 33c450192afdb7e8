//! Refusals before a session is open, gathered so that strangers can't fill the log (R21). Pure.
//!
//! The first of a source and code within a minute is told at once, all others of that minute together at its end.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use callgate_wire::v1::ErrorCode;

/// How many pairs of source and code are remembered.
const MOST: usize = 16_384;
const MINUTE: Duration = Duration::from_secs(60);

/// What was refused in the last minute.
#[derive(Default)]
pub(super) struct Refusals {
    counts: HashMap<(IpAddr, ErrorCode), u64>,
    /// The same pairs, the oldest minute first.
    order: VecDeque<(Instant, IpAddr, ErrorCode)>,
}

/// Refusals that were counted and not told yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Repeated {
    /// Whose.
    pub(super) source: IpAddr,
    /// With which code.
    pub(super) code: ErrorCode,
    /// How many there were after the first one.
    pub(super) count: u64,
}

/// What is to be told of a refusal now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// All of it; and what was only counted of the one that is forgotten for it.
    First(Option<Repeated>),
    /// Nothing.
    Counted,
}

impl Refusals {
    /// Counts a refusal.
    pub(super) fn note(&mut self, source: IpAddr, code: ErrorCode, now: Instant) -> Noted {
        if let Some(count) = self.counts.get_mut(&(source, code)) {
            *count += 1;
            return Noted::Counted;
        }
        let makes_room = if self.order.len() >= MOST { self.take_oldest() } else { None };
        self.counts.insert((source, code), 0);
        self.order.push_back((now, source, code));
        Noted::First(makes_room)
    }

    /// What is to be told at `now`: the minutes that are over.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Repeated> {
        let mut repeated = Vec::new();
        while let Some((since, ..)) = self.order.front()
            && now.saturating_duration_since(*since) >= MINUTE
        {
            repeated.extend(self.take_oldest());
        }
        repeated
    }

    /// Forgets the oldest. What is still to be told of it, if anything.
    fn take_oldest(&mut self) -> Option<Repeated> {
        let (_, source, code) = self.order.pop_front()?;
        let count = self.counts.remove(&(source, code)).filter(|count| *count > 0)?;
        Some(Repeated { source, code, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn r21_a_flood_is_two_records_a_minute() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        assert_eq!(refusals.note(STRANGER, ErrorCode::OpenTimeout, start), Noted::First(None));
        assert_eq!(refusals.note(STRANGER, ErrorCode::TooManyTries, start), Noted::First(None), "another reason");
        for _ in 0..1000 {
            assert_eq!(refusals.note(STRANGER, ErrorCode::OpenTimeout, start), Noted::Counted);
        }
        assert_eq!(refusals.due(start + MINUTE / 2), []);
        let repeated = Repeated { source: STRANGER, code: ErrorCode::OpenTimeout, count: 1000 };
        assert_eq!(refusals.due(start + MINUTE), [repeated]);
        let next = refusals.note(STRANGER, ErrorCode::OpenTimeout, start + MINUTE);
        assert_eq!(next, Noted::First(None), "the next minute begins");
    }

    #[test]
    fn r21_many_sources_are_bounded_and_none_is_lost() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let sources = u32::try_from(MOST).unwrap() + 10;
        let mut told = 0;
        for n in 0..sources {
            let source = IpAddr::from(n.to_be_bytes());
            for _ in 0..2 {
                if let Noted::First(makes_room) = refusals.note(source, ErrorCode::OpenTimeout, now) {
                    told += 1 + makes_room.map_or(0, |repeated| repeated.count);
                }
            }
            assert!(refusals.counts.len() <= MOST && refusals.order.len() <= MOST);
        }
        told += refusals.due(now + MINUTE).iter().map(|repeated| repeated.count).sum::<u64>();
        assert_eq!(told, 2 * u64::from(sources));
    }
}
