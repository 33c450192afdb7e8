//! The records of administration (R21).

use std::fmt::{self, Write as _};

use aws_lc_rs::rand;
use serde::{Deserialize, Serialize};

use crate::audit::{Closed, Kind, Record, Trail, Value};

/// One record. A change has two: that it is begun, before anything is granted by it, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminRecord {
    /// Names the change in both records.
    pub change: String,
    /// Who asked for it.
    pub actor: String,
    /// What it does, such as `put`.
    pub verb: String,
    /// Of what kind it is a change: `user`, `device`, `certificate`, ...
    pub kind: String,
    /// Of which.
    pub name: String,
    /// What is different by it, in few words.
    pub detail: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// The actor of what strangers cause.
pub(super) const NOBODY: &str = "nobody";

/// The system has no randomness, and so there is no name for a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system has no randomness")]
pub struct NoRandomness;

impl AdminRecord {
    /// That something is begun, by whom, and with verb, kind and name of what it is about. It gets a name that nothing else has.
    ///
    /// # Errors
    /// [`NoRandomness`].
    pub fn begun(
        actor: &dyn fmt::Display,
        (verb, kind, name): (&str, &str, &str),
        detail: String,
    ) -> Result<Self, NoRandomness> {
        let mut bytes = [0; 8];
        rand::fill(&mut bytes).map_err(|_| NoRandomness)?;
        let change = bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        let (actor, outcome) = (actor.to_string(), Outcome::Begun);
        Ok(Self { change, actor, verb: verb.into(), kind: kind.into(), name: name.into(), detail, outcome })
    }

    /// What strangers cause doesn't use the room that is held back for administration.
    fn kind(&self) -> Kind {
        if self.actor == NOBODY { Kind::AdministrationTried } else { Kind::Administration }
    }

    fn fields(&self) -> [(&'static str, Value<'_>); 7] {
        let Self { change, actor, verb, kind, name, detail, outcome } = self;
        [
            ("change", Value::Text(change)),
            ("actor", Value::Text(actor)),
            ("verb", Value::Text(verb)),
            ("kind", Value::Text(kind)),
            ("name", Value::Text(name)),
            ("detail", Value::Text(detail)),
            ("outcome", Value::Text(outcome.name())),
        ]
    }
}

/// What came of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is going to be made.
    Begun,
    /// It is in effect.
    Done,
    /// It could not be made, or not wholly: the next record of what it is about says how that stands.
    Failed,
    /// It is in effect, and not stored yet: a record that it is done follows when it is. Without that one the gateway ended
    /// first, and the change with it.
    InEffect,
    /// Found after a crash, and in effect.
    Recovered,
}

impl Outcome {
    /// Its name in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::InEffect => "in_effect",
            Self::Recovered => "recovered",
        }
    }
}

/// The log can't be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit log can't be written")]
pub struct JournalClosed;

impl From<Closed> for JournalClosed {
    fn from(Closed: Closed) -> Self {
        Self
    }
}

/// Where the records go.
pub trait Journal: Send + Sync + fmt::Debug {
    /// Writes a record. When it returns, the record is in the log.
    ///
    /// # Errors
    /// [`JournalClosed`]: it isn't, and nothing may be granted by it.
    fn write(&self, record: &AdminRecord) -> Result<(), JournalClosed>;

    /// Writes a record now, or when the log can be written again.
    fn write_soon(&self, record: &AdminRecord);

    /// Writes a record unless the log has one of this change and outcome, as it may after a crash.
    ///
    /// # Errors
    /// [`JournalClosed`]: it is not in the log, and must be tried again.
    fn write_once(&self, record: &AdminRecord) -> Result<(), JournalClosed>;

    /// Whether records can be written, as far as is known.
    fn can_write(&self) -> bool;
}

/// The audit log, and whatever else takes its records.
impl<T: Trail> Journal for T {
    fn write(&self, record: &AdminRecord) -> Result<(), JournalClosed> {
        Ok(Trail::write(self, &Record::new(record.kind(), &record.fields()))?)
    }

    fn write_soon(&self, record: &AdminRecord) {
        Trail::write_soon(self, &Record::new(record.kind(), &record.fields()));
    }

    fn write_once(&self, record: &AdminRecord) -> Result<(), JournalClosed> {
        let mark = format!("{} {}", record.change, record.outcome.name());
        Ok(Trail::write_once(self, &mark, &Record::new(record.kind(), &record.fields()))?)
    }

    fn can_write(&self) -> bool {
        Trail::is_open(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::audit::Class;

    /// A trail that only looks at which room a record may use.
    #[derive(Debug, Default)]
    struct Classes(Mutex<Vec<Class>>);

    impl Trail for Classes {
        fn write_all(&self, records: &[Record<'_>]) -> Result<(), Closed> {
            self.0.lock().unwrap().extend(records.iter().map(|record| record.kind().class()));
            Ok(())
        }

        fn write_soon(&self, record: &Record<'_>) {
            let _ = Trail::write(self, record);
        }

        fn write_once(&self, _: &str, record: &Record<'_>) -> Result<(), Closed> {
            Trail::write(self, record)
        }

        fn is_open(&self) -> bool {
            true
        }
    }

    #[test]
    fn r21_strangers_who_try_to_log_in_don_t_fill_the_room_of_administration() {
        let record = |actor: &str| AdminRecord {
            change: "c".into(),
            actor: actor.into(),
            verb: "log in".into(),
            kind: "account".into(),
            name: "root".into(),
            detail: String::new(),
            outcome: Outcome::Failed,
        };
        let classes = Classes::default();
        Journal::write_soon(&classes, &record(NOBODY));
        Journal::write_soon(&classes, &record("account:root"));
        assert_eq!(*classes.0.lock().unwrap(), [Class::Ordinary, Class::Privileged]);
    }
}
