//! Who got which key: what was disclosed, without what was withheld after that.

use std::{borrow::Cow, collections::HashMap};

use serde::Serialize;

use super::entry::Entry;

/// What is asked for. What isn't set is not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// The call, as records name it.
    pub call: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// The device.
    pub device: Option<String>,
    /// The session.
    pub session: Option<String>,
    /// The instance.
    pub instance: Option<String>,
    /// Not before this time: the beginning of a time as records have it.
    pub from: Option<String>,
    /// Not after this time. `2026-11-29` is all of the day.
    pub to: Option<String>,
}

/// What became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Came {
    /// The session has it.
    Disclosed,
    /// It was decided that the session doesn't get it.
    Refused,
    /// It was on record as disclosed, and didn't leave.
    Withheld,
}

/// A key, a session, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Found {
    /// The record's number.
    pub n: u64,
    /// When, in UTC.
    pub time: String,
    /// What became of it.
    pub outcome: Came,
    /// The session.
    pub session: String,
    /// Its user.
    pub user: String,
    /// Its instance.
    pub instance: String,
    /// The door.
    pub door: String,
    /// The device.
    pub device: String,
    /// The call.
    pub call: String,
    /// The stream.
    pub stream: String,
    /// The generation of its keys.
    pub generation: u64,
    /// The suite.
    pub suite: String,
    /// How the stream stands for it.
    pub indicator: String,
    /// Why there is no key; empty if there is.
    pub reason: String,
    /// The rule that decided.
    pub rule: String,
    /// What names the key in records.
    pub fingerprint: String,
}

/// Goes through records, in their order.
#[derive(Debug)]
pub struct Finder {
    query: Query,
    found: Vec<Found>,
    /// The disclosures that stand, by session, device, stream and generation: places in what is found.
    standing: HashMap<(String, String, String, u64), Vec<usize>>,
}

impl Finder {
    /// Looks for this.
    pub fn new(query: Query) -> Self {
        Self { query, found: Vec::new(), standing: HashMap::new() }
    }

    /// The next record.
    pub fn record(&mut self, entry: &Entry<'_>) {
        match (&*entry.record, entry.event.as_deref()) {
            ("disclosed", _) => self.add(entry, Came::Disclosed),
            ("refused", _) if entry.stream.is_some() => self.add(entry, Came::Refused),
            ("withheld", _) => self.withhold(entry),
            ("log", Some("void")) => self.void(entry),
            _ => {}
        }
    }

    /// All that was found, in the order of the records.
    pub fn finish(self) -> Vec<Found> {
        let is_in_time = |found: &Found| {
            self.query.from.as_ref().is_none_or(|from| found.time.as_str() >= from.as_str())
                && self
                    .query
                    .to
                    .as_ref()
                    .is_none_or(|to| found.time.starts_with(to) || found.time.as_str() <= to.as_str())
        };
        self.found.into_iter().filter(is_in_time).collect()
    }

    fn add(&mut self, entry: &Entry<'_>, outcome: Came) {
        let is_asked =
            |asked: &Option<String>, is: Option<&str>| asked.as_deref().is_none_or(|asked| Some(asked) == is);
        if !is_asked(&self.query.call, entry.call.as_deref()) || !is_asked(&self.query.device, entry.device.as_deref())
        {
            return;
        }
        for receiver in &entry.receivers {
            let mut names = receiver.split(':');
            let mut name = || names.next().unwrap_or_default();
            let (session, user, instance, door) = (name(), name(), name(), name());
            if !is_asked(&self.query.session, Some(session))
                || !is_asked(&self.query.user, Some(user))
                || !is_asked(&self.query.instance, Some(instance))
            {
                continue;
            }
            let found = Found {
                n: entry.n,
                time: entry.time.clone().into_owned(),
                outcome,
                session: session.into(),
                user: user.into(),
                instance: instance.into(),
                door: door.into(),
                device: text(&entry.device),
                call: text(&entry.call),
                stream: text(&entry.stream),
                generation: entry.generation.unwrap_or_default(),
                suite: text(&entry.suite),
                indicator: text(&entry.indicator),
                reason: text(&entry.reason),
                rule: text(&entry.rule),
                fingerprint: text(&entry.fingerprint),
            };
            if outcome == Came::Disclosed {
                self.standing.entry(found.key()).or_default().push(self.found.len());
            }
            self.found.push(found);
        }
    }

    /// The newest disclosure of this key to this session came to nothing.
    fn withhold(&mut self, entry: &Entry<'_>) {
        let key =
            (text(&entry.session), text(&entry.device), text(&entry.stream), entry.generation.unwrap_or_default());
        let place = self.standing.get_mut(&key).and_then(Vec::pop);
        if let Some(found) = place.and_then(|place| self.found.get_mut(place)) {
            found.outcome = Came::Withheld;
            found.indicator = text(&entry.indicator);
            found.reason = text(&entry.reason);
            found.rule = text(&entry.rule);
        }
    }

    /// Nothing was given by the records of this span: whoever wrote them was told that they aren't safe.
    fn void(&mut self, entry: &Entry<'_>) {
        let span = entry.first.unwrap_or(u64::MAX)..=entry.last.unwrap_or(0);
        for (place, found) in self.found.iter_mut().enumerate().rev().take_while(|(_, found)| found.n >= *span.start())
        {
            if span.contains(&found.n) && found.outcome == Came::Disclosed {
                found.outcome = Came::Withheld;
                if let Some(standing) = self.standing.get_mut(&found.key()) {
                    standing.retain(|other| *other != place);
                }
            }
        }
    }
}

impl Found {
    fn key(&self) -> (String, String, String, u64) {
        (self.session.clone(), self.device.clone(), self.stream.clone(), self.generation)
    }
}

fn text(text: &Option<Cow<'_, str>>) -> String {
    text.as_deref().unwrap_or_default().to_owned()
}
