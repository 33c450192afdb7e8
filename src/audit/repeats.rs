//! What strangers cause again and again, gathered so that they can't fill the log (R21). Pure.
//!
//! The first of a kind within a minute is told at once, all others of that minute together at its end.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
    time::{Duration, Instant},
};

/// How many kinds are remembered.
const MOST: usize = 16_384;
const MINUTE: Duration = Duration::from_secs(60);

/// What there was in the last minute, by its kind: all that its record says.
#[derive(Debug)]
pub struct Repeats<K> {
    counts: HashMap<K, u64>,
    /// The same kinds, the oldest minute first.
    order: VecDeque<(Instant, K)>,
}

/// What was counted and not told yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated<K> {
    /// Which.
    pub kind: K,
    /// How often it came after the first time.
    pub count: u64,
}

/// What is to be told now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noted<K> {
    /// All of it; and what was only counted of the kind that is forgotten for it.
    First(Option<Repeated<K>>),
    /// Nothing.
    Counted,
}

impl<K: Hash + Eq + Clone> Repeats<K> {
    /// Counts one.
    pub fn note(&mut self, kind: K, now: Instant) -> Noted<K> {
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
    pub fn due(&mut self, now: Instant) -> Vec<Repeated<K>> {
        let mut repeated = Vec::new();
        while let Some((since, ..)) = self.order.front()
            && now.saturating_duration_since(*since) >= MINUTE
        {
            repeated.extend(self.take_oldest());
        }
        repeated
    }

    /// Forgets the oldest. What is still to be told of it, if anything.
    fn take_oldest(&mut self) -> Option<Repeated<K>> {
        let (_, kind) = self.order.pop_front()?;
        let count = self.counts.remove(&kind).filter(|count| *count > 0)?;
        Some(Repeated { kind, count })
    }
}

impl<K> Default for Repeats<K> {
    fn default() -> Self {
        Self { counts: HashMap::new(), order: VecDeque::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r21_a_flood_is_two_records_a_minute() {
        let (mut repeats, start) = (Repeats::default(), Instant::now());
        assert_eq!(repeats.note("late", start), Noted::First(None));
        assert_eq!(repeats.note("early", start), Noted::First(None), "another kind");
        for _ in 0..1000 {
            assert_eq!(repeats.note("late", start), Noted::Counted);
        }
        assert_eq!(repeats.due(start + MINUTE / 2), []);
        assert_eq!(repeats.due(start + MINUTE), [Repeated { kind: "late", count: 1000 }]);
        assert_eq!(repeats.note("late", start + MINUTE), Noted::First(None), "the next minute begins");
    }

    #[test]
    fn r21_many_sources_are_bounded_and_none_is_lost() {
        let (mut repeats, now) = (Repeats::default(), Instant::now());
        let sources = u32::try_from(MOST).unwrap() + 10;
        let mut told = 0;
        for source in 0..sources {
            for _ in 0..2 {
                if let Noted::First(makes_room) = repeats.note(source, now) {
                    told += 1 + makes_room.map_or(0, |repeated| repeated.count);
                }
            }
            assert!(repeats.counts.len() <= MOST && repeats.order.len() <= MOST);
        }
        told += repeats.due(now + MINUTE).iter().map(|repeated| repeated.count).sum::<u64>();
        assert_eq!(told, 2 * u64::from(sources));
    }
}
