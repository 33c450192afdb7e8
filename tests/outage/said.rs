//! What the log has of an outage.

use std::collections::HashMap;

use serde_json::Value;

use crate::world::Seen;

/// All records of a log.
pub struct Said(pub Vec<Value>);

impl Said {
    /// Each key that an app got is on record for its session, as often as it came, and so is each refusal and each end.
    pub fn check(&self, seen: &[Seen]) {
        let void: Vec<_> = self.of("log").filter(|record| record["event"] == "void").collect();
        let is_void = |record: &&Value| {
            let n = record["n"].as_u64();
            void.iter().any(|void| void["first"].as_u64() <= n && n <= void["last"].as_u64())
        };
        let (mut disclosed, mut unrecordable) = (HashMap::new(), HashMap::new());
        for record in self.of("disclosed").filter(|record| !is_void(record)) {
            let key = format!("{} {} {}", text(record, "stream"), record["generation"], text(record, "fingerprint"));
            for session in receivers(record) {
                *disclosed.entry((session, key.clone())).or_insert(0) += 1;
            }
        }
        for record in self.of("refused").filter(|record| record["reason"] == "AUDIT_UNAVAILABLE") {
            for session in receivers(record) {
                *unrecordable.entry(session).or_insert(0) += 1;
            }
        }
        for app in seen {
            let mut count = HashMap::new();
            for key in &app.keys {
                *count.entry(key.clone()).or_insert(0) += 1;
            }
            for (key, count) in count {
                let recorded = disclosed.get(&(app.session.clone(), key.clone())).copied().unwrap_or(0);
                assert!(count <= recorded, "{} got {key} {count} times, on record are {recorded}", app.session);
            }
            let recorded = unrecordable.get(&app.session).copied().unwrap_or(0);
            assert!(app.unrecordable <= recorded, "{}: {} refusals, {recorded}", app.session, app.unrecordable);
            if app.closed.is_some() {
                let ends = self.of("closed").filter(|record| record["session"] == app.session.as_str()).count();
                assert_eq!(ends, 1, "the end of {}", app.session);
            }
        }
    }

    /// A change that was acknowledged is on record, with one of these outcomes.
    pub fn assert_told(&self, done: &str, outcomes: &[&str]) {
        let (verb, name) = done.split_once(' ').unwrap();
        let is = |record: &Value| {
            record["verb"] == verb && record["name"] == name && outcomes.contains(&text(record, "outcome"))
        };
        assert!(self.of("administration").any(is), "{done} is not on record");
    }

    pub fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |record| record["record"] == kind)
    }
}

fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record[field].as_str().unwrap_or_default()
}

fn receivers(record: &Value) -> impl Iterator<Item = String> {
    let receivers = record["receivers"].as_array().into_iter().flatten();
    receivers.map(|receiver| receiver.as_str().unwrap().split(':').next().unwrap().to_owned())
}
