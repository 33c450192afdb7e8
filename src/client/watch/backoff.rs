//! How long to wait before the next try: longer each time, up to a bound.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);

/// Doubles from try to try.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// A session has ended that was open for this long. Who was thrown out soon comes back more slowly each time, so that
    /// two who want the same place don't throw each other out for ever; who was in for a while begins anew.
    pub(super) fn was_open_for(&mut self, duration: Duration) {
        if duration >= LONGEST {
            self.tries = 0;
        }
    }

    /// The time until the next try.
    pub(super) fn next_delay(&mut self) -> Duration {
        let delay = FIRST.saturating_mul(1u32.checked_shl(self.tries).unwrap_or(u32::MAX)).min(LONGEST);
        self.tries = self.tries.saturating_add(1);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_get_rarer_up_to_a_bound_and_begin_anew_after_a_long_session() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..9).map(|_| backoff.next_delay().as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        (0..100).for_each(|_| assert_eq!(backoff.next_delay(), LONGEST));
        backoff.was_open_for(Duration::from_secs(29));
        assert_eq!(backoff.next_delay(), LONGEST);
        backoff.was_open_for(Duration::from_secs(30));
        assert_eq!(backoff.next_delay(), FIRST);
    }
}
