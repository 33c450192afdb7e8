//! A trail that closes when a test wants, and keeps what it is told.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::hmac;
use callgate::audit::{Closed, Kind, Record, Trail, Value};
use callgate_wire::v1::SrtpKeys;

/// When it closes, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Outage {
    /// The write that fails, counted from 1.
    pub at: usize,
    /// It is open again when so many records wait.
    pub until_waiting: usize,
}

/// A record, with its values as texts.
#[derive(Debug, Clone)]
pub struct Kept {
    pub kind: Kind,
    fields: BTreeMap<&'static str, String>,
    /// As `SESSION:USER:INSTANCE:DOOR`.
    pub receivers: Vec<String>,
}

#[derive(Debug, Default)]
pub struct TestTrail {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    outage: Option<Outage>,
    writes: usize,
    is_closed: bool,
    records: Vec<Kept>,
    waiting: Vec<Kept>,
    /// How often somebody who wanted to give something away heard that it can't be recorded.
    refused: usize,
}

/// What records of a trail name a key by.
pub fn fingerprint(trail: &dyn Trail, suite: &str, keys: &SrtpKeys) -> String {
    let mut context = hmac::Context::with_key(trail.fingerprint_key().unwrap());
    context.update(suite.as_bytes());
    for key in &keys.keys {
        context.update(&key.key);
        context.update(&key.salt);
    }
    context.sign().as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

impl TestTrail {
    pub fn with(outage: Outage) -> Self {
        Self { state: Mutex::new(State { outage: Some(outage), ..State::default() }) }
    }

    /// From now on nothing can be written.
    pub fn close(&self) {
        self.state().is_closed = true;
    }

    /// From now on everything can.
    pub fn heal(&self) {
        let mut state = self.state();
        state.outage = None;
        state.open();
    }

    /// What is written, in order.
    pub fn records(&self) -> Vec<Kept> {
        self.state().records.clone()
    }

    /// How many writes of what is about to be given away have failed.
    pub fn refused(&self) -> usize {
        self.state().refused
    }

    /// As [`fingerprint`].
    pub fn fingerprint(&self, suite: &str, keys: &SrtpKeys) -> String {
        fingerprint(self, suite, keys)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Trail for TestTrail {
    fn write_all(&self, records: &[Record<'_>]) -> Result<(), Closed> {
        let mut state = self.state();
        if !state.may_write() {
            state.refused += 1;
            return Err(Closed);
        }
        state.records.extend(records.iter().map(Kept::of));
        Ok(())
    }

    fn write_soon(&self, record: &Record<'_>) {
        let mut state = self.state();
        if state.may_write() {
            state.records.push(Kept::of(record));
            return;
        }
        state.waiting.push(Kept::of(record));
        if state.outage.is_some_and(|outage| state.waiting.len() >= outage.until_waiting) {
            state.outage = None;
            state.open();
        }
    }

    fn write_once(&self, mark: &str, record: &Record<'_>) -> Result<(), Closed> {
        let is_there = self.state().records.iter().any(|kept| kept.field("mark") == mark);
        if is_there {
            return Ok(());
        }
        self.write(record)?;
        self.state().records.last_mut().unwrap().fields.insert("mark", mark.into());
        Ok(())
    }

    fn is_open(&self) -> bool {
        !self.state().is_closed
    }
}

impl State {
    fn may_write(&mut self) -> bool {
        self.writes += 1;
        self.is_closed |= self.outage.is_some_and(|outage| outage.at == self.writes);
        !self.is_closed
    }

    fn open(&mut self) {
        self.is_closed = false;
        self.records.append(&mut self.waiting);
    }
}

impl Kept {
    fn of(record: &Record<'_>) -> Self {
        let text = |value: &Value<'_>| match value {
            Value::Absent => None,
            Value::Number(number) => Some(number.to_string()),
            Value::Shown(shown) => Some(shown.to_string()),
            Value::Text(text) => Some((*text).to_owned()),
        };
        let fields = record.fields().iter().filter_map(|(name, value)| Some((*name, text(value)?))).collect();
        let mut receivers = Vec::new();
        if let Some(those) = record.receivers() {
            those.each(&mut |receiver| receivers.push(receiver.to_string()));
        }
        Self { kind: record.kind(), fields, receivers }
    }

    /// The value of a field; empty if it hasn't got it.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// Whether it is about this session.
    pub fn names(&self, session: &str) -> bool {
        self.field("session") == session
            || self.receivers.iter().any(|receiver| receiver.split(':').next() == Some(session))
    }
}
