//! The ends of certificates, as gauges and in the log (R32).

use std::{sync::Arc, time::Duration};

use metrics::gauge;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::{
    cti::{Clock, Entrance},
    trust::Ends,
};

const DAY: i64 = 86_400;
/// How long before the end of a certificate of the gateway's own side it is warned of, once a day.
const SOON: i64 = 30 * DAY;
/// How often both clocks are read, and the gauges set.
const PERIOD: Duration = Duration::from_secs(1);

/// Tells of certificates that end, until `stop`. `ends` are those of what listens for TLS, if anything does.
pub(super) async fn watch(
    entrance: Arc<Entrance>,
    clock: Arc<Clock>,
    mut ends: watch::Receiver<Option<Ends>>,
    stop: CancellationToken,
) {
    let mut period = interval(PERIOD);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut warned = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = period.tick() => {}
        }
        let now = clock.unix_seconds();
        let known = *ends.borrow_and_update();
        set("app", entrance.soonest_expiry());
        set("gateway", known.map(|ends| ends.gateway));
        set("client_ca", known.map(|ends| ends.client_ca));
        if let Some(ends) = known.filter(|ends| is_due(warned, *ends, now)) {
            for (what, left) in soon(ends, now) {
                warn!(what, days_left = left.div_euclid(DAY), "a certificate that is in use ends soon: renew it");
            }
            warned = Some((ends, now));
        }
    }
}

/// Where there is none, it ends never: a gauge can't be taken back.
fn set(kind: &'static str, ends: Option<i64>) {
    #[expect(clippy::cast_precision_loss, reason = "a year of the far future is as good as the next one")]
    let seconds = ends.map_or(f64::INFINITY, |ends| ends as f64);
    gauge!("callgate_certificate_expiry_timestamp_seconds", "kind" => kind).set(seconds);
}

/// At the start, when they are others, once a day, and when the clock was set back.
fn is_due(warned: Option<(Ends, i64)>, ends: Ends, now: i64) -> bool {
    warned.is_none_or(|(last, at)| last != ends || !(at..at.saturating_add(DAY)).contains(&now))
}

/// What ends soon, and how much of it is left in seconds.
fn soon(ends: Ends, now: i64) -> impl Iterator<Item = (&'static str, i64)> {
    let all = [("the gateway's certificate", ends.gateway), ("a CA in tls.client_ca", ends.client_ca)];
    all.into_iter().map(move |(what, ends)| (what, ends.saturating_sub(now))).filter(|(_, left)| *left <= SOON)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDS: Ends = Ends { gateway: 100 * DAY, client_ca: 200 * DAY };

    #[test]
    fn r32_what_ends_within_30_days_is_warned_of_at_the_start_daily_and_when_it_changes() {
        let soon = |now| soon(ENDS, now).map(|(_, left)| left).collect::<Vec<_>>();
        assert!(soon(70 * DAY - 1).is_empty());
        assert_eq!(soon(70 * DAY), [30 * DAY]);
        assert_eq!(soon(190 * DAY), [-90 * DAY, 10 * DAY]);

        assert!(is_due(None, ENDS, 0));
        let told = Some((ENDS, 70 * DAY));
        for (now, is) in [(70 * DAY, false), (71 * DAY - 1, false), (71 * DAY, true), (69 * DAY, true)] {
            assert_eq!(is_due(told, ENDS, now), is, "{now}");
        }
        assert!(is_due(told, Ends { gateway: 0, ..ENDS }, 70 * DAY));
    }
}
