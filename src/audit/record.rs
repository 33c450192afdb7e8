//! What is recorded: kinds of records, their fields, and the values of these.

use std::fmt;

use tracing::field::{DisplayValue, display};

/// Whether a record may use the room that is held back for the time when the disk is nearly full (R21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// It may not: what strangers and refused requests cause.
    Ordinary,
    /// It may: disclosures, sessions, administration.
    Privileged,
}

/// The kinds of records: name, class, and the fields that one may have.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident, $name:literal, $class:ident: $($field:ident)*;)*) => {
        /// What a record is about.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// Its name in records. All refusals have the same one: their fields say what was refused.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// The fields that it may have, in the order of the log.
            pub fn fields(self) -> &'static [&'static str] {
                match self { $(Self::$kind => &[$(stringify!($field),)*],)* }
            }

            /// Whether it may use the room that is held back.
            pub fn class(self) -> Class {
                match self { $(Self::$kind => Class::$class,)* }
            }
        }

        /// Logs a record on the target `audit`.
        pub(super) fn log(record: &Record<'_>, receivers: Option<&str>) {
            match record.kind {
                $(Kind::$kind => tracing::info!(
                    target: "audit", record = $name, receivers, $($field = record.logged(stringify!($field)),)*
                ),)*
            }
        }
    };
}

kinds! {
    /// Users, groups, devices or certificates are changed.
    Administration, "administration", Privileged: change actor verb kind name detail outcome;
    /// Somebody who isn't let in has tried to administer.
    AdministrationTried, "administration", Ordinary: change actor verb kind name detail outcome;
    /// A session ended.
    Closed, "closed", Privileged: session user instance door code number;
    /// A connection was refused before it was a session.
    ConnectionRefused, "refused", Ordinary:
        door peer user code number rule cause sha256 serial subject_name owner;
    /// Refusals of connections for the same reason, so many times more within a minute.
    ConnectionRefusedAgain, "refused again", Ordinary: door source user count code number cause;
    /// A key leaves.
    Disclosed, "disclosed", Privileged:
        device call stream generation suite indicator reason code number rule fingerprint;
    /// A key doesn't leave.
    KeyRefused, "refused", Privileged:
        device call stream generation suite indicator reason code number rule fingerprint;
    /// What happened to the audit log itself.
    Log, "log", Privileged: event first last ordinary privileged torn unreadable;
    /// A session was opened.
    Opened, "opened", Privileged: session user instance door software peer;
    /// A request of an open session was refused.
    RequestRefused, "refused", Ordinary: session user instance code number subject;
    /// A session goes on with other rights.
    RightsChanged, "rights_changed", Privileged: session user instance door version;
    /// A key that was recorded as disclosed did not leave after all.
    Withheld, "withheld", Privileged:
        session user instance door device call stream generation suite indicator reason code number rule fingerprint;
}

/// One record. It borrows all that it says.
#[derive(Clone, Copy)]
pub struct Record<'a> {
    pub(super) kind: Kind,
    pub(super) fields: &'a [(&'static str, Value<'a>)],
    pub(super) receivers: Option<&'a dyn Receivers>,
}

impl<'a> Record<'a> {
    /// A record with these fields, which are among those of its kind ([`Kind::fields`]).
    pub fn new(kind: Kind, fields: &'a [(&'static str, Value<'a>)]) -> Self {
        debug_assert!(
            fields.iter().all(|(name, _)| kind.fields().contains(name)),
            "{kind:?} has no such field: {fields:?}"
        );
        Self { kind, fields, receivers: None }
    }

    /// The same record about these sessions. If they are too many for one line it is several, with the same fields.
    #[must_use]
    pub fn to(self, receivers: &'a dyn Receivers) -> Self {
        Self { receivers: Some(receivers), ..self }
    }

    /// What it is about.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Its fields.
    pub fn fields(&self) -> &'a [(&'static str, Value<'a>)] {
        self.fields
    }

    /// The sessions that it is about, if it is one of several.
    pub fn receivers(&self) -> Option<&'a dyn Receivers> {
        self.receivers
    }

    /// The value of a field, for the log.
    fn logged(&self, name: &str) -> Option<&dyn tracing::Value> {
        let (_, value) = self.fields.iter().find(|(known, _)| *known == name)?;
        match value {
            Value::Absent => None,
            Value::Number(number) => Some(number),
            Value::Shown(shown) => Some(shown),
            Value::Text(text) => Some(text),
        }
    }
}

impl fmt::Debug for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("kind", &self.kind).field("fields", &self.fields).finish_non_exhaustive()
    }
}

/// The value of a field. What comes from outside may have any characters: the trail sees to it that they break nothing.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    /// The record hasn't got this field.
    Absent,
    /// A number.
    Number(u64),
    /// What something is written as. Made by [`Value::shown`].
    Shown(DisplayValue<&'a dyn fmt::Display>),
    /// A text.
    Text(&'a str),
}

impl<'a> Value<'a> {
    /// What something is written as.
    pub fn shown(value: &'a dyn fmt::Display) -> Self {
        Self::Shown(display(value))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u64> for Value<'_> {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl<'a, T: Into<Self>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Into::into)
    }
}

/// A session that a record is about. None of the names has a `:` or a `/` in it (R6, R28).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receiver<'a> {
    /// The session's name.
    pub session: &'a str,
    /// Its user.
    pub user: &'a str,
    /// Its instance.
    pub instance: &'a str,
    /// The door that it came in by.
    pub door: &'static str,
}

impl Receiver<'_> {
    /// Its text in a record, in parts: a disclosure names as many receivers as there are sessions, too many for a formatter.
    pub(super) fn parts(&self) -> [&str; 7] {
        [self.session, ":", self.user, ":", self.instance, ":", self.door]
    }
}

impl fmt::Display for Receiver<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.parts().into_iter().try_for_each(|part| f.write_str(part))
    }
}

/// The sessions that a record is about. A closure is one.
pub trait Receivers {
    /// Calls for each of them, in the same order each time.
    fn each(&self, tell: &mut dyn FnMut(Receiver<'_>));
}

impl<F: Fn(&mut dyn FnMut(Receiver<'_>))> Receivers for F {
    fn each(&self, tell: &mut dyn FnMut(Receiver<'_>)) {
        self(tell);
    }
}
