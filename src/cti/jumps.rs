//! Whether the wall clock is to be believed (R42a): it goes with the monotonic one, or it has jumped. Pure.
//!
//! What a clock says by itself means nothing here but for certificates' dates. A step of up to an hour is taken at once, as
//! time servers make it; a larger one only when a second reading, a minute later, agrees with the first. Until then the
//! time goes on as it was, or is what the clock says if that is earlier: nothing ends while only one of both says so.

/// A step that is taken at once, in milliseconds.
const STEP: i64 = 3_600_000;
/// How long a larger one must last, in milliseconds.
const PATIENCE: i64 = 60_000;

/// The difference of both clocks, as far as it is believed. All times are milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Jumps {
    difference: i64,
    doubt: Option<Doubt>,
}

/// A difference that isn't believed yet.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    difference: i64,
    /// Since when, by the monotonic clock.
    since: i64,
}

/// What a reading has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum News {
    /// The wall clock has jumped by so much, and isn't believed yet.
    Jumped(i64),
    /// It stays so: it is believed, and so much later than before.
    Agreed(i64),
    /// It is back where it was.
    Back,
}

impl Jumps {
    /// From a first reading, which is believed: there is nothing to compare it with.
    pub(super) fn new(monotonic: i64, wall: i64) -> Self {
        Self { difference: wall.saturating_sub(monotonic), doubt: None }
    }

    /// Takes a reading of both clocks. Returns the wall clock's time as far as it is believed, and what is new. In doubt
    /// that is the earlier one.
    pub(super) fn read(&mut self, monotonic: i64, wall: i64) -> (i64, Option<News>) {
        let difference = wall.saturating_sub(monotonic);
        let step = difference.saturating_sub(self.difference);
        let news = if is_small(step) {
            self.difference = difference;
            self.doubt.take().map(|_| News::Back)
        } else {
            match self.doubt {
                Some(doubt) if is_small(difference.saturating_sub(doubt.difference)) => {
                    let agrees = monotonic.saturating_sub(doubt.since) >= PATIENCE;
                    agrees.then(|| {
                        *self = Self { difference, doubt: None };
                        News::Agreed(step)
                    })
                }
                _ => {
                    self.doubt = Some(Doubt { difference, since: monotonic });
                    Some(News::Jumped(step))
                }
            }
        };
        let believed = monotonic.saturating_add(self.difference);
        (if self.doubt.is_some() { believed.min(wall) } else { believed }, news)
    }
}

fn is_small(step: i64) -> bool {
    step.saturating_abs() <= STEP
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1000;
    const HOUR: i64 = STEP;
    const START: i64 = 1_800_000_000_000;

    /// Readings at so many seconds, with so much added to the wall clock, and what comes of them: what of it is believed,
    /// and the news.
    fn check(name: &str, readings: &[(i64, i64, i64, Option<News>)]) {
        let mut jumps = Jumps::new(0, START);
        for (at, added, believed, news) in readings {
            let at = at * SECOND;
            let (time, heard) = jumps.read(at, START + at + added);
            assert_eq!((time - START - at, heard), (*believed, *news), "{name}: at {at}");
        }
    }

    #[test]
    fn r42a_small_steps_are_taken_at_once_and_jumps_when_a_minute_agrees() {
        use News::{Agreed, Back, Jumped};
        let far = 30 * 24 * HOUR;
        check("no step", &[(1, 0, 0, None), (86_400, 0, 0, None)]);
        check("a drift that adds up", &[(1, HOUR, HOUR, None), (2, 2 * HOUR, 2 * HOUR, None)]);
        check("back by an hour", &[(1, -HOUR, -HOUR, None)]);
        check(
            "a jump that stays",
            &[
                (1, far, 0, Some(Jumped(far))),
                (2, far, 0, None),
                (60, far, 0, None),
                (61, far, far, Some(Agreed(far))),
                (62, far, far, None),
            ],
        );
        check("a jump back in time", &[(1, -far, -far, Some(Jumped(-far))), (61, -far, -far, Some(Agreed(-far)))]);
        check("a jump back that is taken back", &[(1, -far, -far, Some(Jumped(-far))), (30, 5, 5, Some(Back))]);
        check("a jump that is taken back", &[(1, far, 0, Some(Jumped(far))), (30, 5, 5, Some(Back)), (90, 5, 5, None)]);
        check(
            "a jump with a drift",
            &[(1, far, 0, Some(Jumped(far))), (61, far + 9 * SECOND, far + 9 * SECOND, Some(Agreed(far + 9 * SECOND)))],
        );
        check(
            "another jump begins another minute",
            &[
                (1, far, 0, Some(Jumped(far))),
                (50, 2 * far, 0, Some(Jumped(2 * far))),
                (70, 2 * far, 0, None),
                (110, 2 * far, 2 * far, Some(Agreed(2 * far))),
            ],
        );
        check(
            "a clock that jumps to and fro is never believed",
            &[
                (1, far, 0, Some(Jumped(far))),
                (40, -far, -far, Some(Jumped(-far))),
                (80, far, 0, Some(Jumped(far))),
                (120, -far, -far, Some(Jumped(-far))),
            ],
        );
        check("a single reading, however late, agrees with nothing", &[(7200, far, 0, Some(Jumped(far)))]);
    }

    #[test]
    fn r42a_the_edge_is_an_hour() {
        check("an hour", &[(1, HOUR, HOUR, None)]);
        check("and a millisecond", &[(1, HOUR + 1, 0, Some(News::Jumped(HOUR + 1)))]);
    }

    #[test]
    fn clocks_that_say_anything_are_no_overflow() {
        for (monotonic, wall) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (0, i64::MIN)] {
            let mut jumps = Jumps::new(monotonic, wall);
            let _ = (jumps.read(wall, monotonic), jumps.read(monotonic, wall));
        }
    }
}
