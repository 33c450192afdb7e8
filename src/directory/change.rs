//! What a change of users, groups and devices does: the one place that decides whether it is allowed (R7, R8, R13).
//!
//! A change becomes a list of steps, each one key of the store with the version that it expects. They are in such an order
//! that a crash between two of them leaves nobody with more rights than before or after, and that the same change, made
//! again, finishes the rest.

mod checks;
mod difference;
mod plans;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use callgate_wire::v1::ErrorCode;
use zeroize::Zeroizing;

use super::{DeviceRecord, GroupRecord, Records, ScramVerifier, UserRecord, UserSettings};
use crate::{
    model::{DeviceName, Group, GroupName, Groups, UserName},
    store::{Becomes, Bucket, Entry, Expect, KeyWrite, Version},
};
use plans::{put_device, put_group, put_user, remove_device, remove_group, user_step, version};

pub use checks::{MAX_ADDRESSES, MAX_NAMED, MAX_PATTERNS};

/// One thing that an administrator wants.
#[derive(Debug, Clone)]
pub enum Change {
    /// A user is made, with its password for the clear door if it has one. It must be new.
    AddUser(UserName, UserSettings, Option<Arc<ScramVerifier>>),
    /// A device is made or replaced.
    PutDevice(DeviceName, DeviceRecord),
    /// A group of the operator's own is made or replaced.
    PutGroup(GroupName, GroupRecord),
    /// A user is made or replaced; its password stays.
    PutUser(UserName, UserSettings),
    /// A user is made or replaced, and its password for the clear door with it; `None` takes that away.
    PutUserWithPassword(UserName, UserSettings, Option<Arc<ScramVerifier>>),
    /// A device goes.
    RemoveDevice(DeviceName),
    /// A group of the operator's own goes.
    RemoveGroup(GroupName),
    /// A user goes.
    RemoveUser(UserName),
    /// A user's password for the clear door; `None` takes it away.
    SetPassword(UserName, Option<Arc<ScramVerifier>>),
}

/// What the change is a change of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// Whatever is there, if anything is.
    Latest,
    /// Nothing: it must be new.
    New,
    /// This state, and no other: whoever changed it meanwhile isn't overruled.
    Version(Version),
}

/// How a change does what stands against it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Cascade {
    /// What needs or names it is changed with it.
    All,
    /// Then it is refused.
    #[default]
    Nothing,
}

/// What a change comes to.
#[derive(Debug)]
pub struct Plan {
    /// What is written, in this order.
    pub steps: Vec<Step>,
    /// What it does to rights.
    pub direction: Direction,
    /// What is different by it, for the record: names with a `+` or a `-` before them.
    pub detail: String,
}

/// One key of the store.
#[derive(Debug)]
pub struct Step {
    /// Where.
    pub bucket: Bucket,
    /// Which.
    pub key: String,
    /// What it is to be.
    pub write: Write,
}

impl Step {
    /// It, as the store takes it.
    pub fn as_write(&self) -> KeyWrite<'_> {
        let becomes = match &self.write {
            Write::Delete(version) => Becomes::Gone(*version),
            Write::Put(value, expect) => Becomes::Value(value, *expect),
        };
        KeyWrite { bucket: self.bucket, key: &self.key, becomes }
    }

    /// The version that the key has to have before; `None`: it mustn't be there.
    pub fn expected(&self) -> Option<Version> {
        match &self.write {
            Write::Delete(version) | Write::Put(_, Expect::Version(version)) => Some(*version),
            Write::Put(_, Expect::Absent) => None,
        }
    }

    /// What the key has when it was written as this version; `None`: it is gone.
    pub fn entry(&self, version: Version) -> Option<Entry> {
        match &self.write {
            Write::Delete(_) => None,
            Write::Put(value, _) => Some(Entry { key: self.key.clone(), value: value.as_slice().into(), version }),
        }
    }
}

/// What becomes of a key.
pub enum Write {
    /// It goes, if it has this version.
    Delete(Version),
    /// It gets this value, if it is as expected.
    Put(Zeroizing<Vec<u8>>, Expect),
}

/// What a change does to rights. It decides what happens while no record can be written (R21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Somebody may get more by it: it needs its record first.
    Grants,
    /// Nobody gets more or less by it. It waits for its record, too.
    Neutral,
    /// It takes something from somebody and gives nothing to anybody: it is done at once, whatever the log.
    Takes,
}

impl Direction {
    /// Of a change that adds something, or takes something away.
    pub fn of(adds: bool, takes: bool) -> Self {
        match (adds, takes) {
            (true, _) => Self::Grants,
            (false, true) => Self::Takes,
            (false, false) => Self::Neutral,
        }
    }
}

/// Why a change isn't made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There is one of this name.
    #[error("there is {0} already")]
    AlreadyExists(String),
    /// A value isn't allowed.
    #[error("{field}: {problem}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong, and what is allowed.
        problem: String,
    },
    /// The SRTP group without the others (R8).
    #[error("{user:?} enters {:?} only when in {}, too", Group::SrtpKeyMaterial.name(), listed(missing))]
    GroupNeedsOthers {
        /// The user.
        user: UserName,
        /// The groups that it lacks.
        missing: Groups,
    },
    /// A group that the SRTP group needs is taken away (R8).
    #[error("{user:?} is in {:?}, which needs {}", Group::SrtpKeyMaterial.name(), listed(taken))]
    GroupStillNeeded {
        /// The user.
        user: UserName,
        /// The groups that would be taken.
        taken: Groups,
    },
    /// There is nothing of this name.
    #[error("there is no {0}")]
    NotFound(String),
    /// It is restricted, and would be so no more.
    #[error(
        "device {0:?} is restricted, and that ends when it goes: who sees all devices would see it again as soon as it has calls"
    )]
    StillRestricted(DeviceName),
    /// The name of a standard group, or one that looks like it (R7).
    #[error("{0:?}: names of standard groups are theirs alone")]
    StandardGroup(GroupName),
    /// Others name it.
    #[error("{what} is named by {}", some(by))]
    StillReferenced {
        /// What should go.
        what: String,
        /// Who names it.
        by: Vec<String>,
    },
    /// It was changed meanwhile.
    #[error("{what} is at version {}, and not at {}", found.0, expected.0)]
    VersionConflict {
        /// What.
        what: String,
        /// Its version.
        found: Version,
        /// The version that was expected.
        expected: Version,
    },
}

impl Refusal {
    /// The stable code (R43).
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::AlreadyExists(_) => ErrorCode::AlreadyExists,
            Self::Field { .. } => ErrorCode::FieldInvalid,
            Self::GroupNeedsOthers { .. } => ErrorCode::GroupNeedsOthers,
            Self::GroupStillNeeded { .. } => ErrorCode::GroupStillNeeded,
            Self::NotFound(_) => ErrorCode::NotFound,
            Self::StandardGroup(_) => ErrorCode::StandardGroup,
            Self::StillReferenced { .. } | Self::StillRestricted(_) => ErrorCode::StillReferenced,
            Self::VersionConflict { .. } => ErrorCode::VersionConflict,
        }
    }
}

impl Of {
    /// What a put expects, if it may be made at all of what has this version, if it is there.
    ///
    /// # Errors
    /// [`Refusal`]: it is there and shouldn't be, isn't there and should be, or was changed meanwhile.
    pub fn expect(self, found: Option<Version>, what: impl Fn() -> String) -> Result<Expect, Refusal> {
        match (self, found) {
            (Self::New | Self::Latest, None) => Ok(Expect::Absent),
            _ => self.version(found, what).map(Expect::Version),
        }
    }

    /// The version of what is there and is meant.
    ///
    /// # Errors
    /// As [`expect`](Self::expect), and if it isn't there.
    pub fn version(self, found: Option<Version>, what: impl Fn() -> String) -> Result<Version, Refusal> {
        let found = found.ok_or_else(|| Refusal::NotFound(what()))?;
        match self {
            Self::New => Err(Refusal::AlreadyExists(what())),
            Self::Version(expected) if found != expected => {
                Err(Refusal::VersionConflict { what: what(), found, expected })
            }
            Self::Latest | Self::Version(_) => Ok(found),
        }
    }
}

impl Change {
    /// What the change comes to, by the records of now.
    ///
    /// # Errors
    /// [`Refusal`]: then nothing is to be done.
    pub fn plan(&self, of: Of, cascade: Cascade, records: &Records) -> Result<Plan, Refusal> {
        match self {
            Self::PutDevice(name, record) => put_device(name, record, of, records),
            Self::PutGroup(name, record) => put_group(name, record, of, records),
            Self::AddUser(name, settings, password) => {
                let password = password.as_ref().map(Some);
                put_user(name, settings.clone(), password, (Of::New, cascade), records)
            }
            Self::PutUser(name, settings) => put_user(name, settings.clone(), None, (of, cascade), records),
            Self::PutUserWithPassword(name, settings, password) => {
                put_user(name, settings.clone(), Some(password.as_ref()), (of, cascade), records)
            }
            Self::RemoveDevice(name) => remove_device(name, of, cascade, records),
            Self::RemoveGroup(name) => remove_group(name, of, cascade, records),
            Self::RemoveUser(name) => {
                let version = version(of, records.users.get(name), || format!("user {name:?}"))?;
                let gone = Step { bucket: Bucket::USERS, key: name.to_string(), write: Write::Delete(version) };
                Ok(Plan { steps: vec![gone], direction: Direction::Takes, detail: String::new() })
            }
            Self::SetPassword(name, password) => {
                let stored = records.users.get(name);
                let version = version(of, stored, || format!("user {name:?}"))?;
                let settings = stored.map(|stored| stored.record.settings.clone()).unwrap_or_default();
                let direction = if password.is_none() { Direction::Takes } else { Direction::Grants };
                let record = UserRecord { settings, password: password.clone() };
                let steps = vec![user_step(name, &record, Expect::Version(version))];
                Ok(Plan { steps, direction, detail: String::new() })
            }
        }
    }

    /// What it is a change of, as records and errors call it: `user`, `group` or `device`, and the name.
    pub fn subject(&self) -> (&'static str, &str) {
        match self {
            Self::PutDevice(name, _) | Self::RemoveDevice(name) => ("device", name.as_str()),
            Self::PutGroup(name, _) | Self::RemoveGroup(name) => ("group", name.as_str()),
            Self::AddUser(name, ..)
            | Self::PutUser(name, _)
            | Self::PutUserWithPassword(name, ..)
            | Self::RemoveUser(name)
            | Self::SetPassword(name, _) => ("user", name.as_str()),
        }
    }

    /// What it does, as records call it.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::AddUser(..) => "add",
            Self::PutDevice(..) | Self::PutGroup(..) | Self::PutUser(..) | Self::PutUserWithPassword(..) => "put",
            Self::RemoveDevice(_) | Self::RemoveGroup(_) | Self::RemoveUser(_) => "remove",
            Self::SetPassword(_, None) => "remove password",
            Self::SetPassword(_, Some(_)) => "set password",
        }
    }
}

fn listed(groups: &Groups) -> String {
    groups.iter().map(|group| format!("{:?}", group.name())).collect::<Vec<_>>().join(" and ")
}

fn some(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Without the value: a user's holds the verifier of its password.
impl fmt::Debug for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delete(version) => f.debug_tuple("Delete").field(version).finish(),
            Self::Put(value, expect) => f.debug_tuple("Put").field(&value.len()).field(expect).finish(),
        }
    }
}
