//! What administrator and apps have noted, as figures.

use super::{Changed, Kind, Log, Phase, app::Heard};
use crate::results::{AdministrationRow, Quantiles};

/// The figures of one load.
///
/// # Panics
/// If a key left after an acknowledgement, or somebody wasn't told.
pub fn row(phase: &Phase, log: &Log, heard: &Heard) -> AdministrationRow {
    let is_in = |at: u64| (phase.from..phase.until).contains(&at);
    let changes: Vec<&Changed> = log.changes.iter().filter(|change| is_in(change.begun)).collect();
    let (mut told, mut closed) = (Vec::new(), Vec::new());
    for change in &changes {
        let since = |at: u64| at.saturating_sub(change.acknowledged);
        let of_it = heard.told.iter().filter(|(version, _)| *version == change.version);
        let before = told.len();
        told.extend(of_it.map(|(_, at)| since(*at)));
        // Who came in meanwhile is told, and not counted. Who is closed by the next change gets nothing that waits (R15), and so
        // may not have been told of this one.
        let next = log.changes.iter().filter(|next| next.version > change.version).min_by_key(|next| next.version);
        let cut_off = next.map_or(0, |next| next.closed);
        assert!(
            told.len() - before + cut_off >= change.told,
            "{change:?}: {} were told, and up to {cut_off} closed before it",
            told.len() - before
        );
        if let Kind::Revoked { place } = change.kind {
            let at = heard.closed.iter().find(|(known, _)| *known == place);
            closed.extend(at.map(|(_, at)| since(*at)));
            assert!(at.is_some() || change.closed == 0, "{change:?}: it was not told why");
        }
    }
    let time = |from: fn(&Changed) -> u64, until: fn(&Changed) -> u64| {
        Quantiles::of(changes.iter().map(|change| until(change).saturating_sub(from(change))).collect())
    };
    let of_phase = |notes: &[(u64, u64)]| notes.iter().filter(|(at, _)| is_in(*at)).map(|(_, took)| *took).collect();
    let deliveries: Vec<u64> = of_phase(&heard.deliveries);
    AdministrationRow {
        events_per_second: phase.events_per_second,
        deliveries_per_second: deliveries.len() as f64 * 1e9 / (phase.until - phase.from) as f64,
        changes: changes.len(),
        withheld: changes.iter().map(|change| change.withheld).sum(),
        keys_after_acknowledgement: keys_after(log, heard),
        bare_commit: Quantiles::of(of_phase(&log.bare)),
        commit: time(|change| change.begun, |change| change.committed),
        acknowledged: time(|change| change.committed, |change| change.acknowledged),
        told: Quantiles::of(told),
        closed: Quantiles::of(closed),
        delivery: Quantiles::of(deliveries),
    }
}

/// How many events with a key were made while their receiver's user had been taken its keys, for all that the
/// administrator knew.
fn keys_after(log: &Log, heard: &Heard) -> usize {
    let mut after = 0;
    for taken in log.changes.iter().filter(|change| change.kind == Kind::KeysTaken) {
        let given = log.changes.iter().filter(|change| change.kind == Kind::KeysGiven && change.user == taken.user);
        let given = given.map(|change| change.begun).find(|begun| *begun > taken.acknowledged);
        let without = taken.acknowledged..given.unwrap_or(u64::MAX);
        after += heard.keys[taken.user].iter().filter(|made| without.contains(made)).count();
    }
    assert_eq!(after, 0, "keys left after the acknowledgement");
    after
}

pub fn print(row: &AdministrationRow) {
    let shown = |quantiles: &Quantiles| {
        let [p50, p99, most] = [quantiles.p50, quantiles.p99, quantiles.most].map(|micros| micros / 1000.0);
        format!("{p50:7.3} {p99:8.3} {most:8.3}")
    };
    println!(
        "{} events/s, {:.0} deliveries/s: {} changes, {} keys withheld, {} keys after an acknowledgement",
        row.events_per_second, row.deliveries_per_second, row.changes, row.withheld, row.keys_after_acknowledgement
    );
    println!("{:36} {:>7} {:>8} {:>8} ms", "", "p50", "p99", "most");
    for (name, quantiles) in [
        ("a bare write to the store", &row.bare_commit),
        ("a change, until it is durable", &row.commit),
        ("from there to the acknowledgement", &row.acknowledged),
        ("from there until a session is told", &row.told),
        ("from there until one is closed", &row.closed),
        ("an event, from switch to app", &row.delivery),
    ] {
        println!("{name:36} {} of {}", shown(quantiles), quantiles.count);
    }
}
