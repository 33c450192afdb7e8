//! The end of a session's certificate: warnings before it, and the close an hour after it (R32). Pure: the wall clock's
//! time, as far as it is believed (R42a), is an argument. All times are seconds since 1970.

use callgate_wire::v1;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// How long before the end the app is told. Each counts once; who opens later hears of the last that has passed.
const WARNINGS: [i64; 5] = [14 * DAY, 7 * DAY, DAY, HOUR, 0];
/// How long a session lives on after the end.
const GRACE: i64 = HOUR;

/// A certificate's end, and what the app was told of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expiry {
    ends: i64,
    told: usize,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Step {
    /// Tell the app.
    Warn(v1::CertificateExpires),
    /// Close the session.
    Close,
}

impl Expiry {
    /// Of a certificate whose last moment this is.
    pub(super) fn new(ends: i64) -> Self {
        Self { ends, told: 0 }
    }

    /// The certificate's last moment.
    pub(super) fn ends(&self) -> i64 {
        self.ends
    }

    /// When [`step`](Self::step) has something.
    pub(super) fn due(&self) -> i64 {
        match WARNINGS.get(self.told) {
            Some(before) => self.ends.saturating_sub(*before),
            None => self.closes(),
        }
    }

    /// What is due now.
    pub(super) fn step(&mut self, now: i64) -> Option<Step> {
        if now >= self.closes() {
            return Some(Step::Close);
        }
        let passed = WARNINGS.iter().filter(|before| now >= self.ends.saturating_sub(**before)).count();
        if passed <= self.told {
            return None;
        }
        self.told = passed;
        Some(Step::Warn(v1::CertificateExpires {
            expires_unix_seconds: self.ends,
            seconds_left: self.ends.saturating_sub(now),
            closes_unix_seconds: self.closes(),
        }))
    }

    fn closes(&self) -> i64 {
        self.ends.saturating_add(GRACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: i64 = 1_800_000_000;

    fn left(step: Option<Step>) -> Option<i64> {
        match step {
            Some(Step::Warn(told)) => {
                assert_eq!((told.expires_unix_seconds, told.closes_unix_seconds), (ENDS, ENDS + HOUR));
                Some(told.seconds_left)
            }
            Some(Step::Close) => panic!("closed"),
            None => None,
        }
    }

    #[test]
    fn r32_an_app_hears_of_each_threshold_once_and_is_closed_an_hour_after_the_end() {
        let mut expiry = Expiry::new(ENDS);
        assert_eq!(left(expiry.step(ENDS - 14 * DAY - 1)), None);
        for before in WARNINGS {
            assert_eq!(expiry.due(), ENDS - before);
            assert_eq!(left(expiry.step(ENDS - before)), Some(before));
            assert_eq!(left(expiry.step(ENDS - before)), None, "once");
        }
        assert_eq!(expiry.due(), ENDS + HOUR);
        assert_eq!(left(expiry.step(ENDS + HOUR - 1)), None);
        assert_eq!(expiry.step(ENDS + HOUR), Some(Step::Close));
    }

    #[test]
    fn r32_who_opens_late_hears_once_of_what_is_left() {
        for (now, next) in [(ENDS - 10 * DAY, 7 * DAY), (ENDS - 2 * HOUR, HOUR), (ENDS - 1, 0)] {
            let mut expiry = Expiry::new(ENDS);
            assert_eq!(left(expiry.step(now)), Some(ENDS - now));
            assert_eq!((left(expiry.step(now)), expiry.due()), (None, ENDS - next));
        }
        let mut expiry = Expiry::new(ENDS);
        assert_eq!(left(expiry.step(ENDS + 60)), Some(-60), "below 0 within the grace");
    }

    #[test]
    fn ends_beyond_all_clocks_are_no_overflow() {
        for ends in [i64::MIN, i64::MAX] {
            let mut expiry = Expiry::new(ends);
            let _ = (expiry.due(), expiry.step(i64::MIN), expiry.step(i64::MAX));
        }
    }

    #[test]
    fn r42a_a_clock_that_was_set_back_repeats_nothing() {
        let mut expiry = Expiry::new(ENDS);
        assert!(left(expiry.step(ENDS - DAY)).is_some());
        assert_eq!(left(expiry.step(ENDS - 10 * DAY)), None);
        assert_eq!(left(expiry.step(ENDS - HOUR)), Some(HOUR));
    }
}
