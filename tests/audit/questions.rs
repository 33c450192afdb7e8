//! Who got which key.

use std::collections::BTreeMap;

use callgate::audit::{AuditLog, Came, Entry, Finder, Found, Kind, Query, Record, Records, Trail};
use proptest::prelude::*;

use crate::{Place, disclose};

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
