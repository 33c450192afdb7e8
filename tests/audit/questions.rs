//! Who got which key.

use std::{collections::BTreeMap, time::Duration};

use callgate::audit::{
    AuditLog, Bound, Came, Entry, Finder, Found, Kind, Options, Part, Query, Record, Records, Search, Stopped, Trail,
    search,
};
use proptest::prelude::*;

use crate::{Place, disclose, wait_until};

fn ask(place: &Place, query: Query) -> Vec<Found> {
    let mut finder = Finder::new(query);
    let mut records = Records::of(&place.path().join("log"));
    while let Some(line) = records.next().unwrap() {
        finder.record(&Entry::read(line).unwrap());
    }
    finder.finish()
}

fn withhold(log: &AuditLog, stream: &str, session: &str) {
    log.write_soon(&Record::new(
        Kind::Withheld,
        &[
            ("session", session.into()),
            ("user", "recorder".into()),
            ("instance", "1".into()),
            ("door", "tls".into()),
            ("device", "1001".into()),
            ("call", "c1".into()),
            ("stream", stream.into()),
            ("generation", 1_u32.into()),
            ("rule", "R41".into()),
        ],
    ));
}

/// Session and stream of what was disclosed and stands.
fn got(found: &[Found]) -> Vec<(&str, &str)> {
    let stands = found.iter().filter(|found| found.outcome == Came::Disclosed);
    stands.map(|found| (found.session.as_str(), found.stream.as_str())).collect()
}

#[test]
fn r21_who_got_which_key_is_what_was_disclosed_without_what_was_withheld() {
    let place = Place::new();
    let log = place.open();
    disclose(&log, "m1", "recorder", &["s1", "s2"]).unwrap();
    disclose(&log, "m2", "dashboard", &["s3"]).unwrap();
    withhold(&log, "m1", "s2");
    disclose(&log, "m1", "recorder", &["s2"]).unwrap();
    withhold(&log, "m2", "s1");
    let receivers = |tell: &mut dyn FnMut(callgate::audit::Receiver<'_>)| {
        tell(callgate::audit::Receiver { session: "s4", user: "lobby", instance: "9", door: "clear" });
    };
    let fields = [("device", "1002".into()), ("call", "c2".into()), ("stream", "m3".into()), ("reason", "DOOR".into())];
    log.write(&Record::new(Kind::KeyRefused, &fields).to(&receivers)).unwrap();
    drop(log);

    let all = ask(&place, Query::default());
    assert_eq!(got(&all), [("s1", "m1"), ("s3", "m2"), ("s2", "m1")]);
    assert_eq!(all.iter().filter(|found| found.outcome == Came::Withheld).count(), 1);
    let refused = all.iter().find(|found| found.outcome == Came::Refused).unwrap();
    assert_eq!((refused.user.as_str(), refused.instance.as_str(), refused.door.as_str()), ("lobby", "9", "clear"));

    let some = |text: &str| Some(text.to_owned());
    for (query, count) in [
        (Query { user: some("recorder"), ..Query::default() }, 3),
        (Query { user: some("record"), ..Query::default() }, 0),
        (Query { session: some("s2"), ..Query::default() }, 2),
        (Query { instance: some("9"), ..Query::default() }, 1),
        (Query { device: some("1001"), ..Query::default() }, 4),
        (Query { call: some("c2"), ..Query::default() }, 1),
        (Query { call: some("c2"), user: some("recorder"), ..Query::default() }, 0),
        (Query { from: some("2020"), to: some("2999-12-31"), ..Query::default() }, 5),
        (Query { from: some("2999"), ..Query::default() }, 0),
        (Query { to: some("2020"), ..Query::default() }, 0),
        (Query { to: some(&all[0].time[..10]), ..Query::default() }, 5),
    ] {
        assert_eq!(ask(&place, query.clone()).len(), count, "{query:?}");
    }
}

#[test]
fn r21_the_answer_agrees_with_a_simple_count() {
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    let steps = prop::collection::vec((any::<bool>(), 0_usize..4, 0_usize..3), 1..60);
    proptest!(config, |(steps in steps)| {
        let place = Place::new();
        let log = place.open();
        let mut stands: BTreeMap<(String, String), u32> = BTreeMap::new();
        for (is_disclosed, session, stream) in steps {
            let (session, stream) = (format!("s{session}"), format!("m{stream}"));
            let count = stands.entry((session.clone(), stream.clone())).or_default();
            if is_disclosed {
                disclose(&log, &stream, "recorder", &[&session]).unwrap();
                *count += 1;
            } else if *count > 0 {
                withhold(&log, &stream, &session);
                *count -= 1;
            }
        }
        drop(log);
        let mut found: BTreeMap<(String, String), u32> = BTreeMap::new();
        for (session, stream) in got(&ask(&place, Query::default())) {
            *found.entry((session.into(), stream.into())).or_default() += 1;
        }
        stands.retain(|_, count| *count > 0);
        prop_assert_eq!(found, stands);
    });
}

/// Everything that a search tells, part by part; what later parts take back is taken back.
fn ask_in_parts(place: &Place, query: &Query, refused: bool, items: usize, bytes: u64) -> (Vec<Found>, Vec<Part>) {
    let (mut found, mut parts, mut after) = (Vec::<Found>::new(), Vec::new(), None);
    let bound = Bound { items, bytes, time: Duration::from_secs(60) };
    loop {
        // Between two parts it is a text.
        let asked = Search { query: query.clone(), refused, after };
        let part = search(&place.path().join("log"), asked, &bound).unwrap();
        assert!(part.found.len() <= items);
        for item in &part.found {
            if item.outcome != Came::TakenBack {
                found.push(item.clone());
                continue;
            }
            let key = |found: &Found| (found.session.clone(), found.stream.clone(), found.generation);
            let mut earlier = found.iter_mut().rev();
            let taken = earlier.find(|earlier| earlier.outcome == Came::Disclosed && key(earlier) == key(item));
            if let Some(taken) = taken {
                *taken = Found { outcome: Came::Withheld, n: taken.n, time: taken.time.clone(), ..item.clone() };
            }
        }
        after = part.next.map(|next| next.to_string().parse().unwrap());
        parts.push(part);
        if after.is_none() {
            return (found, parts);
        }
    }
}

#[test]
fn r21_all_parts_of_a_search_tell_what_one_search_of_all_tells() {
    let config = ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() };
    let steps = prop::collection::vec((any::<bool>(), 0_usize..4, 0_usize..3), 1..60);
    let bounds = (1_usize..9, 1_u64..4_000);
    proptest!(config, |(steps in steps, (items, bytes) in bounds)| {
        let place = Place::new();
        let log = place.open();
        for (is_disclosed, session, stream) in steps {
            let stream = format!("m{stream}");
            match (is_disclosed, session) {
                (true, 3) => disclose(&log, &stream, "recorder", &["s1", "s2", "s3"]).unwrap(),
                (true, _) => disclose(&log, &stream, "recorder", &[&format!("s{session}")]).unwrap(),
                (false, _) => withhold(&log, &stream, &format!("s{session}")),
            }
        }
        drop(log);
        let whole = ask(&place, Query::default());
        let plain = |found: &[Found]| found.iter().map(|f| (f.n, f.session.clone(), f.outcome)).collect::<Vec<_>>();
        let (found, parts) = ask_in_parts(&place, &Query::default(), true, items, bytes);
        prop_assert_eq!(plain(&found), plain(&whole));
        prop_assert_eq!(parts.last().unwrap().stopped, Stopped::End);
        let (found, _) = ask_in_parts(&place, &Query::default(), true, 500, u64::MAX);
        prop_assert_eq!(plain(&found), plain(&whole));
    });
}

#[test]
fn r21_a_search_begins_and_ends_near_the_time_that_is_asked_for() {
    let place = Place::new();
    let log = AuditLog::open(Options { segment_bytes: 2_000, ..place.options() }).unwrap();
    for n in 0..40 {
        disclose(&log, &format!("m{n}"), "recorder", &["s1"]).unwrap();
        // It is looked for once a second.
        wait_until("no new segment", || n % 15 != 14 || place.begun() > n / 15 + 1);
    }
    drop(log);
    assert!(place.begun() > 2, "the test needs segments");
    let all = ask(&place, Query::default());
    let query = |from: usize, to: usize| {
        let time = |at: usize| Some(all[at].time.trim_end_matches('Z').to_owned());
        Query { from: time(from), to: time(to), ..Query::default() }
    };
    for (from, to) in [(0, 39), (5, 5), (12, 30), (39, 39)] {
        let (found, _) = ask_in_parts(&place, &query(from, to), false, 7, 1_500);
        assert_eq!(found, all[from..=to], "{from} {to}");
    }
    // Segments may be deleted between two parts.
    let first = search(
        &place.path().join("log"),
        Search { query: Query::default(), refused: false, after: None },
        &Bound { items: 1, bytes: u64::MAX, time: Duration::from_secs(9) },
    );
    let next = first.unwrap().next.unwrap();
    let gone = place.segments().remove(0);
    std::fs::remove_file(gone).unwrap();
    let rest = search(
        &place.path().join("log"),
        Search { query: Query::default(), refused: false, after: Some(next) },
        &Bound { items: 100, bytes: u64::MAX, time: Duration::from_secs(9) },
    );
    let rest = rest.unwrap();
    assert!(!rest.found.is_empty() && all.ends_with(&rest.found), "{}", rest.found.len());
}
