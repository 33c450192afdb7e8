//! The wall clock, as far as it is believed (R42a). Nothing but certificates' dates goes by it.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Instant, SystemTime},
};

use metrics::counter;
use tracing::{info, warn};

use super::jumps::{Jumps, News};

/// Reads both clocks.
pub struct Clock {
    start: Instant,
    wall: Box<dyn Fn() -> SystemTime + Send + Sync>,
    jumps: Mutex<Jumps>,
}

impl Clock {
    /// The system's.
    pub fn system() -> Self {
        Self::by(SystemTime::now)
    }

    /// One whose wall clock is somebody else's, for tests.
    #[doc(hidden)]
    pub fn by(wall: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        let jumps = Mutex::new(Jumps::new(0, unix_millis(wall())));
        Self { start: Instant::now(), wall: Box::new(wall), jumps }
    }

    /// What time it is, in seconds since 1970. A jump raises an alarm, and isn't believed at first.
    pub fn unix_seconds(&self) -> i64 {
        let (time, news) = {
            let mut jumps = self.jumps();
            let monotonic = i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX);
            jumps.read(monotonic, unix_millis((self.wall)()))
        };
        match news {
            None => {}
            Some(News::Jumped(by)) => {
                counter!("callgate_clock_jumps_total").increment(1);
                warn!(
                    seconds = by / 1000,
                    "the system's clock has jumped: no certificate ends by it before a reading a minute later agrees; \
                     check what sets it"
                );
            }
            Some(News::Agreed(by)) => warn!(seconds = by / 1000, "the jump of the system's clock counts from now on"),
            Some(News::Back) => info!("the system's clock is back where it was"),
        }
        time.div_euclid(1000)
    }

    fn jumps(&self) -> MutexGuard<'_, Jumps> {
        self.jumps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("jumps", &*self.jumps()).finish_non_exhaustive()
    }
}

fn unix_millis(time: SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };

    use super::*;

    #[test]
    fn r42a_a_jump_is_not_believed_at_once() {
        let unix = Arc::new(AtomicU64::new(1_800_000_000));
        let wall = Arc::clone(&unix);
        let clock = Clock::by(move || SystemTime::UNIX_EPOCH + Duration::from_secs(wall.load(Ordering::Relaxed)));
        unix.fetch_add(600, Ordering::Relaxed);
        assert_eq!(clock.unix_seconds(), 1_800_000_600, "ten minutes are");
        unix.fetch_add(7200, Ordering::Relaxed);
        assert!((1_800_000_600..1_800_000_700).contains(&clock.unix_seconds()));
    }

    #[test]
    fn a_clock_before_1970_is_one_too() {
        assert_eq!(unix_millis(SystemTime::UNIX_EPOCH - Duration::from_millis(1500)), -1500);
    }
}
