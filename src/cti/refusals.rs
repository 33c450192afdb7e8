//! Refusals before a session is open, gathered so that strangers can't fill the log (R21). Pure.
//!
//! The first of a kind within a minute is told at once, all others of that minute together at its end.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use callgate_wire::v1::ErrorCode;

/// How many kinds are remembered.
const MOST: usize = 16_384;
const MINUTE: Duration = Duration::from_secs(60);

/// What was refused in the last minute.
#[derive(Default)]
pub(super) struct Refusals {
    counts: HashMap<Kind, u64>,
    /// The same kinds, the oldest minute first.
    order: VecDeque<(Instant, Kind)>,
}

/// Refusals that are told together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    /// Whose.
    pub(super) source: IpAddr,
    /// Of whom, if there is such a user: several apps may come from the same source.
    pub(super) user: Option<Arc<str>>,
    /// With which code.
    pub(super) code: ErrorCode,
    /// And why in truth (R14): one of few texts.
    pub(super) cause: &'static str,
}

/// Refusals that were counted and not told yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Repeated {
    /// Which.
    pub(super) kind: Kind,
    /// How many there were after the first one.
    pub(super) count: u64,
}

/// What is to be told of a refusal now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Noted {
    /// All of it; and what was only counted of the one that is forgotten for it.
    First(Option<Repeated>),
    /// Nothing.
    Counted,
}

impl Refusals {
    /// Counts a refusal.
    pub(super) fn note(&mut self, kind: Kind, now: Instant) -> Noted {
        if let Some(count) = self.counts.get_mut(&kind) {
            *count += 1;
            return Noted::Counted;
        }
        let makes_room = if self.order.len() >= MOST { self.take_oldest() } else { None };
        self.counts.insert(kind.clone(), 0);
        self.order.push_back((now, kind));
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
        let (_, kind) = self.order.pop_front()?;
        let count = self.counts.remove(&kind).filter(|count| *count > 0)?;
        Some(Repeated { kind, count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(user: Option<&str>, code: ErrorCode) -> Kind {
        Kind { source: IpAddr::from([192, 0, 2, 1]), user: user.map(Into::into), code, cause: "late" }
    }

    #[test]
    fn r21_a_flood_is_two_records_a_minute() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let late = kind(None, ErrorCode::OpenTimeout);
        assert_eq!(refusals.note(late.clone(), start), Noted::First(None));
        assert_eq!(refusals.note(kind(None, ErrorCode::TooManyTries), start), Noted::First(None), "another reason");
        assert_eq!(refusals.note(kind(Some("app"), ErrorCode::OpenTimeout), start), Noted::First(None), "a user");
        let other = Kind { cause: "early", ..late.clone() };
        assert_eq!(refusals.note(other, start), Noted::First(None), "another cause");
        for _ in 0..1000 {
            assert_eq!(refusals.note(late.clone(), start), Noted::Counted);
        }
        assert_eq!(refusals.due(start + MINUTE / 2), []);
        assert_eq!(refusals.due(start + MINUTE), [Repeated { kind: late.clone(), count: 1000 }]);
        let next = refusals.note(late, start + MINUTE);
        assert_eq!(next, Noted::First(None), "the next minute begins");
    }

    #[test]
    fn r21_many_sources_are_bounded_and_none_is_lost() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let sources = u32::try_from(MOST).unwrap() + 10;
        let mut told = 0;
        for n in 0..sources {
            let kind = Kind { source: IpAddr::from(n.to_be_bytes()), ..kind(None, ErrorCode::OpenTimeout) };
            for _ in 0..2 {
                if let Noted::First(makes_room) = refusals.note(kind.clone(), now) {
                    told += 1 + makes_room.map_or(0, |repeated| repeated.count);
                }
            }
            assert!(refusals.counts.len() <= MOST && refusals.order.len() <= MOST);
        }
        told += refusals.due(now + MINUTE).iter().map(|repeated| repeated.count).sum::<u64>();
        assert_eq!(told, 2 * u64::from(sources));
    }
}
