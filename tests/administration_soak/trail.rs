//! A trail that remembers which keys are on record and weren't seen yet, and which sessions are open.

use std::{
    collections::{HashMap, HashSet},
    sync::Mutex,
};

use callgate::audit::{self, Closed, Kind, Record, Value};

/// A session, device, call, stream and generation.
type Key = (String, String, String, String, String);

#[derive(Debug, Default)]
pub struct Trail(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// How often a key is on record as disclosed, and was not seen.
    disclosed: HashMap<Key, usize>,
    open: HashSet<String>,
}

impl Trail {
    /// An app has got a key. Whether that was on record.
    pub fn seen(&self, key: &Key) -> bool {
        let mut known = self.0.lock().unwrap();
        known.take(key)
    }

    pub fn open_sessions(&self) -> usize {
        self.0.lock().unwrap().open.len()
    }

    fn take(&self, record: &Record<'_>) {
        let text = |name: &str| field(record, name);
        let mut known = self.0.lock().unwrap();
        let key =
            |session: &str| (session.to_owned(), text("device"), text("call"), text("stream"), text("generation"));
        match record.kind() {
            Kind::Disclosed => {
                if let Some(receivers) = record.receivers() {
                    receivers.each(&mut |receiver| *known.disclosed.entry(key(receiver.session)).or_default() += 1);
                }
            }
            Kind::Withheld => {
                known.take(&key(&text("session")));
            }
            Kind::Opened => drop(known.open.insert(text("session"))),
            Kind::Closed => {
                let session = text("session");
                known.open.remove(&session);
            }
            _ => {}
        }
    }
}

impl Known {
    fn take(&mut self, key: &Key) -> bool {
        let Some(count) = self.disclosed.get_mut(key) else { return false };
        *count -= 1;
        if *count == 0 {
            self.disclosed.remove(key);
        }
        true
    }
}

impl audit::Trail for Trail {
    fn write_all(&self, records: &[Record<'_>]) -> Result<(), Closed> {
        records.iter().for_each(|record| self.take(record));
        Ok(())
    }

    fn write_soon(&self, record: &Record<'_>) {
        self.take(record);
    }

    fn write_once(&self, _: &str, record: &Record<'_>) -> Result<(), Closed> {
        self.take(record);
        Ok(())
    }

    fn is_open(&self) -> bool {
        true
    }
}

fn field(record: &Record<'_>, name: &str) -> String {
    match record.fields().iter().find(|(known, _)| *known == name) {
        Some((_, Value::Text(text))) => (*text).to_owned(),
        Some((_, Value::Number(number))) => number.to_string(),
        Some((_, Value::Shown(shown))) => shown.to_string(),
        Some((_, Value::Absent)) | None => String::new(),
    }
}

#[test]
fn a_key_is_seen_as_often_as_it_was_disclosed_and_not_withheld() {
    use callgate::audit::{Receiver, Trail as _};

    let trail = Trail::default();
    let fields = [("device", "1001"), ("call", "c1"), ("stream", "m1"), ("generation", "1")]
        .map(|(name, text)| (name, text.into()));
    let to = |tell: &mut dyn FnMut(Receiver<'_>)| {
        tell(Receiver { session: "s1", user: "u", instance: "1", door: "tls" });
    };
    let disclosed = Record::new(Kind::Disclosed, &fields).to(&to);
    trail.write_all(&[disclosed, disclosed]).unwrap();
    let withheld: Vec<_> = fields.iter().cloned().chain([("session", "s1".into())]).collect();
    trail.write_soon(&Record::new(Kind::Withheld, &withheld));
    let key = |session: &str| (session.into(), "1001".into(), "c1".into(), "m1".into(), "1".into());
    assert!(trail.seen(&key("s1")));
    assert!(!trail.seen(&key("s1")) && !trail.seen(&key("s2")));
}
