//! Who got which key: what was disclosed, without what was withheld after that.

use std::{borrow::Cow, collections::HashMap, ops::RangeInclusive};

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
    /// What is on record elsewhere as disclosed didn't leave: in a part of the log that was told before, or outside of the time
    /// that is asked for.
    TakenBack,
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
    /// Which names of the query some record has, in the order of [`Query::names`].
    named: [bool; 5],
    /// The disclosures that stand, by session, device, stream and generation: places in what is found.
    standing: HashMap<(String, String, String, u64), Vec<usize>>,
    /// Only a part of the log is gone through.
    part: Option<OfPart>,
}

/// How a part of a log is gone through.
#[derive(Debug)]
struct OfPart {
    /// Refusals are asked for.
    refused: bool,
    /// So many of what is found in the first record were told before.
    told: usize,
    /// The records by which nothing was given.
    void: Vec<RangeInclusive<u64>>,
}

impl Finder {
    /// Looks for this.
    pub fn new(query: Query) -> Self {
        Self { query, found: Vec::new(), named: [false; 5], standing: HashMap::new(), part: None }
    }

    /// Looks for this in a part of the log, with refusals or without. What the first record has was told up to `told`.
    pub(super) fn of_part(query: Query, refused: bool, told: usize) -> Self {
        Self { part: Some(OfPart { refused, told, void: Vec::new() }), ..Self::new(query) }
    }

    /// How much was found.
    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    /// What was found, and the records by which nothing was given, wherever they are.
    pub(super) fn finish_part(self) -> (Vec<Found>, Vec<RangeInclusive<u64>>) {
        (self.found, self.part.map(|part| part.void).unwrap_or_default())
    }

    /// The next record.
    pub fn record(&mut self, entry: &Entry<'_>) {
        self.note_names(entry);
        match (&*entry.record, entry.event.as_deref()) {
            ("disclosed", _) => self.add(entry, Came::Disclosed),
            ("refused", _) if entry.stream.is_some() && self.part.as_ref().is_none_or(|part| part.refused) => {
                self.add(entry, Came::Refused);
            }
            ("withheld", _) => self.withhold(entry),
            ("log", Some("void")) => self.void(entry),
            _ => {}
        }
        if let Some(part) = &mut self.part {
            part.told = 0;
        }
    }

    /// What is asked for and no record of a session or a key has, whenever it was: probably a slip of the pen.
    pub fn unnamed(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let names = self.query.names().into_iter().zip(self.named);
        names.filter_map(|((kind, name), is_named)| Some((kind, name.filter(|_| !is_named)?)))
    }

    fn note_names(&mut self, entry: &Entry<'_>) {
        let own = [&entry.call, &entry.device, &entry.session, &entry.user, &entry.instance].map(Option::as_deref);
        for (place, (_, asked)) in self.query.names().into_iter().enumerate() {
            let Some(asked) = asked else { continue };
            // Of a receiver: its session, user and instance.
            let mut of_receivers =
                entry.receivers.iter().map(|receiver| receiver.split(':').nth(place.wrapping_sub(2)));
            let is_named = own.get(place).is_some_and(|own| *own == Some(asked));
            if let Some(named) = self.named.get_mut(place) {
                *named |= is_named || place >= 2 && of_receivers.any(|name| name == Some(asked));
            }
        }
    }

    /// All that was found, in the order of the records.
    pub fn finish(self) -> Vec<Found> {
        self.found
    }

    fn add(&mut self, entry: &Entry<'_>, outcome: Came) {
        if !self.query.is_about(entry) || !self.query.begins_before(&entry.time) || !self.query.ends_after(&entry.time)
        {
            return;
        }
        for receiver in &entry.receivers {
            let mut names = receiver.split(':');
            let mut name = || names.next().unwrap_or_default();
            let (session, user, instance, door) = (name(), name(), name(), name());
            if !self.query.is_of(session, user, instance) {
                continue;
            }
            if let Some(part) = self.part.as_mut().filter(|part| part.told > 0) {
                part.told -= 1;
                continue;
            }
            let found = Found::of(entry, outcome, [session, user, instance, door]);
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
        } else if self.part.is_some() && self.query.is_about(entry) && self.query.begins_before(&entry.time) {
            let whose = [&entry.session, &entry.user, &entry.instance, &entry.door];
            let [session, user, instance, door] = whose.map(|name| name.as_deref().unwrap_or_default());
            if self.query.is_of(session, user, instance) {
                self.found.push(Found::of(entry, Came::TakenBack, [session, user, instance, door]));
            }
        }
    }

    /// Nothing was given by the records of this span: whoever wrote them was told that they aren't safe.
    fn void(&mut self, entry: &Entry<'_>) {
        let span = entry.first.unwrap_or(u64::MAX)..=entry.last.unwrap_or(0);
        if let Some(part) = &mut self.part {
            part.void.push(span.clone());
        }
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

impl Query {
    /// What is asked for by name.
    fn names(&self) -> [(&'static str, Option<&str>); 5] {
        [
            ("call", self.call.as_deref()),
            ("device", self.device.as_deref()),
            ("session", self.session.as_deref()),
            ("user", self.user.as_deref()),
            ("instance", self.instance.as_deref()),
        ]
    }

    /// Whether it is this call and device, if one is asked for.
    fn is_about(&self, entry: &Entry<'_>) -> bool {
        is_asked(&self.call, entry.call.as_deref()) && is_asked(&self.device, entry.device.as_deref())
    }

    /// Whether it is this session, user and instance, if one is asked for.
    fn is_of(&self, session: &str, user: &str, instance: &str) -> bool {
        is_asked(&self.session, Some(session))
            && is_asked(&self.user, Some(user))
            && is_asked(&self.instance, Some(instance))
    }

    pub(super) fn begins_before(&self, time: &str) -> bool {
        self.from.as_deref().is_none_or(|from| time >= from)
    }

    pub(super) fn ends_after(&self, time: &str) -> bool {
        self.to.as_deref().is_none_or(|to| time.starts_with(to) || time <= to)
    }
}

/// The beginning of a time as records have it, such as `2026-11-29`, or all of one.
///
/// # Errors
/// It is none; the error says what is.
pub fn beginning(text: &str) -> Result<String, &'static str> {
    const FORM: &[u8] = b"0000-00-00T00:00:00.000000";
    // Whole parts only: an end in the middle of a number would compare as another one.
    const WHOLE: [usize; 7] = [4, 7, 10, 13, 16, 19, 26];
    let fits = |(byte, form): (u8, &u8)| if *form == b'0' { byte.is_ascii_digit() } else { byte == *form };
    let time = text.strip_suffix('Z').filter(|time| time.len() >= 19).unwrap_or(text);
    if WHOLE.contains(&time.len()) && time.bytes().zip(FORM).all(fits) {
        return Ok(time.into());
    }
    Err("such as 2026-11-29 or 2026-11-29T10:44:35, in UTC")
}

fn is_asked(asked: &Option<String>, is: Option<&str>) -> bool {
    asked.as_deref().is_none_or(|asked| Some(asked) == is)
}

impl Found {
    fn of(entry: &Entry<'_>, outcome: Came, [session, user, instance, door]: [&str; 4]) -> Self {
        Self {
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
        }
    }

    fn key(&self) -> (String, String, String, u64) {
        (self.session.clone(), self.device.clone(), self.stream.clone(), self.generation)
    }
}

fn text(text: &Option<Cow<'_, str>>) -> String {
    text.as_deref().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_given_in_whole_parts() {
        for (given, taken) in [
            ("2026", "2026"),
            ("2026-11-29", "2026-11-29"),
            ("2026-11-29T10:44:35Z", "2026-11-29T10:44:35"),
            ("2026-11-29T10:44:35.123456Z", "2026-11-29T10:44:35.123456"),
        ] {
            assert_eq!(beginning(given), Ok(taken.into()), "{given}");
        }
        for wrong in ["", "today", "2026-1", "2026-11-29 10", "2026-11-29T10:44:35+01:00", "2026-11-29T10:4"] {
            assert!(beginning(wrong).is_err(), "{wrong}");
        }
    }
}
