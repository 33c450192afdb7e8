//! Records as they are read.

use std::borrow::Cow;

use serde::Deserialize;

/// A record's line, as far as questions are asked about it. Lines have more fields than these.
#[derive(Debug, Clone, Deserialize)]
pub struct Entry<'a> {
    /// Its number.
    pub n: u64,
    /// When it was written, in UTC. Such times compare as texts do.
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    /// What it is about.
    #[serde(borrow)]
    pub record: Cow<'a, str>,
    /// The session, if it is one.
    #[serde(borrow)]
    pub session: Option<Cow<'a, str>>,
    /// Its user.
    #[serde(borrow)]
    pub user: Option<Cow<'a, str>>,
    /// Its instance.
    #[serde(borrow)]
    pub instance: Option<Cow<'a, str>>,
    /// The door.
    #[serde(borrow)]
    pub door: Option<Cow<'a, str>>,
    /// The sessions, if they may be several: `SESSION:USER:INSTANCE:DOOR`.
    #[serde(borrow, default)]
    pub receivers: Vec<Cow<'a, str>>,
    /// The device.
    #[serde(borrow)]
    pub device: Option<Cow<'a, str>>,
    /// The call.
    #[serde(borrow)]
    pub call: Option<Cow<'a, str>>,
    /// The stream.
    #[serde(borrow)]
    pub stream: Option<Cow<'a, str>>,
    /// The generation of its keys.
    pub generation: Option<u64>,
    /// The suite.
    #[serde(borrow)]
    pub suite: Option<Cow<'a, str>>,
    /// How the stream stands.
    #[serde(borrow)]
    pub indicator: Option<Cow<'a, str>>,
    /// Why there is no key.
    #[serde(borrow)]
    pub reason: Option<Cow<'a, str>>,
    /// The rule that decided.
    #[serde(borrow)]
    pub rule: Option<Cow<'a, str>>,
    /// What names the key.
    #[serde(borrow)]
    pub fingerprint: Option<Cow<'a, str>>,
    /// The mark of a record that is to be there once.
    #[serde(borrow)]
    pub once: Option<Cow<'a, str>>,
    /// Of the log's own records: what happened.
    #[serde(borrow)]
    pub event: Option<Cow<'a, str>>,
    /// Of the log's own records: the first record that it is about.
    pub first: Option<u64>,
    /// And the last one.
    pub last: Option<u64>,
}

impl<'a> Entry<'a> {
    /// Reads a line. `None`: it is a header, or no line of a log.
    pub fn read(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }
}
