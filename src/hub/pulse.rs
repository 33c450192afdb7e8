//! Whether a loop still turns: it beats, and others see when it did last.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How often a loop that has nothing to do beats all the same.
pub const BEAT: Duration = Duration::from_secs(1);

/// A loop's pulse. All clones are the same.
#[derive(Debug, Clone)]
pub struct Pulse {
    begun: Instant,
    /// Milliseconds from the beginning to the last beat.
    last: Arc<AtomicU64>,
}

impl Pulse {
    /// The first beat is now.
    pub fn begin() -> Self {
        Self { begun: Instant::now(), last: Arc::default() }
    }

    /// The loop turns.
    pub fn beat(&self) {
        let since = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(since, Ordering::Relaxed);
    }

    /// How long ago it beat last.
    pub fn age(&self) -> Duration {
        self.begun.elapsed().saturating_sub(Duration::from_millis(self.last.load(Ordering::Relaxed)))
    }
}
