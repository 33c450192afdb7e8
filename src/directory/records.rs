//! Users, groups and devices as administrators wrote them: the values of the store.
//!
//! A record is judged when it is changed (`super::change`). What a session sees is not in it but in the
//! [`Directory`](super::Directory) that `super::resolve` makes of all records.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{DevicePattern, Directory, Line, ScramVerifier, UserKind};
use crate::{
    model::{Address, DeviceName, GroupName, Groups, UserName},
    store::{Bucket, Entry, Version},
};

/// All records, as they stand at one moment. A clone shares them; a change of one kind copies what is of that kind.
#[derive(Debug, Clone, Default)]
pub struct Records {
    /// Users, by name.
    pub users: Arc<BTreeMap<UserName, Stored<UserRecord>>>,
    /// Groups of the operator's own, by name.
    pub groups: Arc<BTreeMap<GroupName, Stored<GroupRecord>>>,
    /// Devices, by name.
    pub devices: Arc<BTreeMap<DeviceName, Stored<DeviceRecord>>>,
    /// The devices of switches that make them up. Of those that have a record, the record counts.
    pub made_up: Arc<BTreeSet<DeviceName>>,
}

/// A record and which state of it this is.
#[derive(Debug)]
pub struct Stored<T> {
    /// Which state.
    pub version: Version,
    /// The record.
    pub record: Arc<T>,
}

/// A user as it was written.
#[derive(Debug, Clone, Default)]
pub struct UserRecord {
    /// What anybody who administers may read.
    pub settings: UserSettings,
    /// What proves its password (R14).
    pub password: Option<Arc<ScramVerifier>>,
}

/// A user without its password.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserSettings {
    /// Application or end user (R6).
    pub kind: UserKind,
    /// For people; up to [`MAX_DESCRIPTION`](super::MAX_DESCRIPTION) bytes.
    pub description: String,
    /// Its standard groups (R7).
    pub groups: Groups,
    /// Groups of the operator's own, whose devices are its devices, too.
    pub own_groups: BTreeSet<GroupName>,
    /// Devices by name (R13).
    pub devices: BTreeSet<DeviceName>,
    /// Devices by pattern (R13).
    pub patterns: BTreeSet<DevicePattern>,
    /// Locked: no session opens, and none stays open (R14).
    pub locked: bool,
    /// On the TLS door its password is asked for besides its certificate (R14).
    pub password_on_tls: bool,
}

/// A group of the operator's own: devices that all its members see.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GroupRecord {
    /// For people; up to [`MAX_DESCRIPTION`](super::MAX_DESCRIPTION) bytes.
    pub description: String,
    /// Devices by name (R13).
    pub devices: BTreeSet<DeviceName>,
    /// Devices by pattern (R13).
    pub patterns: BTreeSet<DevicePattern>,
}

/// A device as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeviceRecord {
    /// For people; up to [`MAX_DESCRIPTION`](super::MAX_DESCRIPTION) bytes.
    pub description: String,
    /// Where it is reached. Switches are told of them at their start.
    pub addresses: Vec<Address>,
    /// Its lines; none stands for line 1.
    pub lines: Vec<Line>,
    /// Restricted: no app sees it (R13).
    pub restricted: bool,
}

/// A value of the store can't be read: it is damaged, or of a later version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{bucket}/{key}: {reason}")]
pub struct Unreadable {
    /// The bucket.
    pub bucket: &'static str,
    /// The key.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Records {
    /// The buckets that records are in.
    pub const BUCKETS: [Bucket; 3] = [Bucket::USERS, Bucket::GROUPS, Bucket::DEVICES];

    /// Takes what a key of a bucket has now; `None` for one that is gone. Entries of other buckets are none of these.
    ///
    /// # Errors
    /// [`Unreadable`]: then the record is as it was.
    pub fn take(&mut self, bucket: Bucket, key: &str, entry: Option<&Entry>) -> Result<(), Unreadable> {
        let unreadable = |reason: String| Unreadable { bucket: bucket.0, key: key.into(), reason };
        match bucket {
            Bucket::USERS => put(Arc::make_mut(&mut self.users), key, entry, UserRecord::from_value),
            Bucket::GROUPS => put(Arc::make_mut(&mut self.groups), key, entry, from_json),
            Bucket::DEVICES => put(Arc::make_mut(&mut self.devices), key, entry, from_json),
            _ => Ok(()),
        }
        .map_err(unreadable)
    }

    /// The records that stand for these users and devices: what a config seeds a store with. Versions are 0.
    pub fn of(directory: &Directory) -> Self {
        let version = Version(0);
        let mut users = BTreeMap::new();
        for user in directory.users() {
            let settings = UserSettings {
                kind: user.kind,
                groups: user.groups,
                devices: (*user.devices).clone(),
                locked: user.locked,
                password_on_tls: user.password_on_tls,
                ..UserSettings::default()
            };
            let record = Arc::new(UserRecord { settings, password: user.password.clone() });
            users.insert(user.name.clone(), Stored { version, record });
        }
        let mut devices = BTreeMap::new();
        for device in directory.devices() {
            let record = Arc::new(DeviceRecord {
                description: device.description.clone(),
                addresses: device.addresses.clone(),
                lines: device.lines.clone(),
                restricted: device.restricted,
            });
            devices.insert(device.name.clone(), Stored { version, record });
        }
        Self { users: Arc::new(users), devices: Arc::new(devices), ..Self::default() }
    }
}

impl UserRecord {
    /// The value that stands for it in the store. It holds the verifier of the password, which is as secret as a password
    /// hash, so it is wiped.
    pub fn to_value(&self) -> Zeroizing<Vec<u8>> {
        let password = self.password.as_ref().map(|password| password.to_line());
        Zeroizing::new(json(&WrittenUser { settings: self.settings.clone(), password }))
    }

    fn from_value(value: &[u8]) -> Result<Self, String> {
        let WrittenUser { settings, password } = from_json(value)?;
        let verifier = password.map(|line| line.parse().map_err(|error| format!("password: {error}"))).transpose()?;
        Ok(Self { settings, password: verifier.map(Arc::new) })
    }
}

/// How a user stands in the store.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenUser {
    settings: UserSettings,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "wiped")]
    password: Option<Zeroizing<String>>,
}

/// A text that is wiped behind its reading and writing.
mod wiped {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use zeroize::Zeroizing;

    pub(super) fn serialize<S: Serializer>(text: &Option<Zeroizing<String>>, to: S) -> Result<S::Ok, S::Error> {
        text.as_ref().map(|text| text.as_str()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Zeroizing<String>>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Zeroizing::new))
    }
}

impl GroupRecord {
    /// The value that stands for it in the store.
    pub fn to_value(&self) -> Vec<u8> {
        json(self)
    }
}

impl DeviceRecord {
    /// The value that stands for it in the store.
    pub fn to_value(&self) -> Vec<u8> {
        json(self)
    }
}

impl<T> Clone for Stored<T> {
    fn clone(&self) -> Self {
        Self { version: self.version, record: Arc::clone(&self.record) }
    }
}

fn put<N: Ord + std::str::FromStr<Err: std::fmt::Display>, T>(
    map: &mut BTreeMap<N, Stored<T>>,
    key: &str,
    entry: Option<&Entry>,
    read: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<(), String> {
    let name = key.parse::<N>().map_err(|error| error.to_string())?;
    match entry {
        Some(entry) => {
            map.insert(name, Stored { version: entry.version, record: Arc::new(read(&entry.value)?) });
        }
        None => {
            map.remove(&name);
        }
    }
    Ok(())
}

fn from_json<T: for<'de> Deserialize<'de>>(value: &[u8]) -> Result<T, String> {
    serde_json::from_slice(value).map_err(|error| error.to_string())
}

/// Names, numbers and lists of them: none of these can fail.
fn json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Group;

    fn entry(key: &str, value: &[u8]) -> Entry {
        Entry { key: key.into(), value: value.into(), version: Version(7) }
    }

    #[test]
    fn records_are_read_as_they_were_written() {
        let verifier = ScramVerifier::generate("pencil", 4096).unwrap();
        let line = verifier.to_line();
        let user = UserRecord {
            settings: UserSettings {
                kind: UserKind::EndUser,
                description: "Reception \"1\"\n".into(),
                groups: [Group::CtiEnabled, Group::CallMonitoring].into_iter().collect(),
                own_groups: BTreeSet::from(["Floor 1".parse().unwrap()]),
                devices: BTreeSet::from(["1001".parse().unwrap()]),
                patterns: BTreeSet::from(["SEP*".parse().unwrap()]),
                locked: true,
                password_on_tls: true,
            },
            password: Some(Arc::new(verifier)),
        };
        let mut records = Records::default();
        records.take(Bucket::USERS, "alice", Some(&entry("alice", &user.to_value()))).unwrap();
        let read = records.users.get("alice").unwrap();
        assert_eq!((read.version, &read.record.settings), (Version(7), &user.settings));
        assert_eq!(*read.record.password.as_ref().unwrap().to_line(), *line);

        let device = DeviceRecord {
            addresses: vec!["tcp:192.0.2.1:5061".parse().unwrap()],
            lines: vec![Line { number: crate::model::LineNumber(1), label: "x".into(), restricted: true }],
            ..DeviceRecord::default()
        };
        records.take(Bucket::DEVICES, "1001", Some(&entry("1001", &device.to_value()))).unwrap();
        assert_eq!(*records.devices.get("1001").unwrap().record, device);
        records.take(Bucket::DEVICES, "1001", None).unwrap();
        assert!(records.devices.is_empty());
    }

    #[test]
    fn a_value_that_can_t_be_read_is_named_and_changes_nothing() {
        let mut records = Records::default();
        records.take(Bucket::GROUPS, "g", Some(&entry("g", b"{}"))).unwrap();
        for (bucket, key, value) in [
            (Bucket::GROUPS, "g", "{\"later\":1}"),
            (Bucket::USERS, "u", "{\"settings\":{\"kind\":\"robot\"}}"),
            (Bucket::USERS, "u", "{\"settings\":{},\"password\":\"secret\"}"),
            (Bucket::USERS, "a/b", "{\"settings\":{}}"),
            (Bucket::DEVICES, "d", "["),
        ] {
            let error = records.take(bucket, key, Some(&entry(key, value.as_bytes()))).unwrap_err();
            assert_eq!((error.bucket, error.key.as_str()), (bucket.0, key));
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert_eq!((records.groups.len(), records.users.len(), records.devices.len()), (1, 0, 0));
    }
}
