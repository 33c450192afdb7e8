//! What a feed counts, wherever its datagrams come from, and how that becomes metrics.

use std::{collections::BTreeMap, fmt};

use metrics::{Counter, counter};

use super::{
    feed::{Feed, Refusal},
    tracker::{Bound, TrackerCounts},
};
use crate::model::SwitchName;

/// What came, and what was refused of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FeedCounts {
    /// Datagrams that the feed was given, refused ones included.
    pub datagrams: u64,
    /// Those that were refused, by kind.
    pub refused: BTreeMap<Refusal, u64>,
}

impl FeedCounts {
    /// Counts a datagram by what the feed made of it.
    pub fn note(&mut self, outcome: Result<(), Refusal>) {
        self.datagrams += 1;
        if let Err(refusal) = outcome {
            *self.refused.entry(refusal).or_default() += 1;
        }
    }

    /// How many were refused, of all kinds.
    pub fn refused(&self) -> u64 {
        self.refused.values().sum()
    }

    /// How many were of use.
    pub fn used(&self) -> u64 {
        self.datagrams.saturating_sub(self.refused())
    }
}

impl fmt::Display for FeedCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} HEP datagrams", self.datagrams)?;
        for (i, (kind, count)) in self.refused.iter().enumerate() {
            write!(f, "{}{count} refused: {}", if i == 0 { " (" } else { ", " }, kind.name())?;
        }
        f.write_str(if self.refused.is_empty() { "" } else { ")" })
    }
}

/// Carries the counts of one switch into `callgate_feed_datagrams_total{switch}`,
/// `callgate_feed_datagrams_refused_total{switch, reason}` and `callgate_feed_bounds_reached_total{switch, bound}`.
pub(super) struct FeedMeter {
    switch: SwitchName,
    datagrams: Counter,
    refused: BTreeMap<Refusal, Counter>,
    bounds: BTreeMap<Bound, Counter>,
    published: FeedCounts,
    published_bounds: TrackerCounts,
}

impl FeedMeter {
    pub(super) fn new(switch: &SwitchName) -> Self {
        let datagrams = counter!("callgate_feed_datagrams_total", "switch" => switch.to_string());
        let (refused, bounds) = (BTreeMap::new(), BTreeMap::new());
        Self {
            switch: switch.clone(),
            datagrams,
            refused,
            bounds,
            published: FeedCounts::default(),
            published_bounds: TrackerCounts::default(),
        }
    }

    /// Publishes what is new since the last time in `counts`, and in the bounds that `feed` has reached.
    pub(super) fn publish(&mut self, counts: &FeedCounts, feed: &(impl Feed + ?Sized)) {
        if counts.datagrams == self.published.datagrams {
            return;
        }
        self.datagrams.increment(counts.datagrams.saturating_sub(self.published.datagrams));
        self.published.datagrams = counts.datagrams;
        for (refusal, count) in &counts.refused {
            let published = self.published.refused.entry(*refusal).or_default();
            let metric = self.refused.entry(*refusal).or_insert_with(|| {
                let switch = self.switch.to_string();
                counter!("callgate_feed_datagrams_refused_total", "switch" => switch, "reason" => refusal.name())
            });
            metric.increment(count.saturating_sub(*published));
            *published = *count;
        }
        let bounds = feed.bounds();
        for (bound, count) in bounds.reached() {
            let metric = self.bounds.entry(bound).or_insert_with(|| {
                let switch = self.switch.to_string();
                counter!("callgate_feed_bounds_reached_total", "switch" => switch, "bound" => bound.name())
            });
            metric.increment(count.saturating_sub(self.published_bounds.of(bound)));
        }
        self.published_bounds = bounds;
    }
}
