//! Users, groups, devices, and who is associated with what.
//!
//! A [`Directory`] is one immutable snapshot. It checks itself when it is made (R6, R8, unique names and addresses), so
//! that whoever holds one needs no check of its own. It knows nothing of files, sockets and sessions.
//!
//! What administrators write are [`Records`], the values of the store. A [`Change`] of them is planned here, and a
//! [`Resolver`] makes a directory of them.

mod change;
mod meant;
mod pattern;
mod records;
mod resolve;
mod scram;
mod user_password;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::model::{Address, DeviceName, Group, Groups, LineNumber, UserName};

pub use change::{Cascade, Change, Direction, MAX_ADDRESSES, MAX_NAMED, MAX_PATTERNS, Of, Plan, Refusal, Step, Write};
pub use pattern::DevicePattern;
pub use records::{DeviceRecord, GroupRecord, Records, Stored, Unreadable, UserRecord, UserSettings};
pub use resolve::{Disagreement, Resolver};
pub use scram::{ScramError, ScramVerifier};
pub use user_password::{NewPassword, NewPasswordError};

/// The longest description, in bytes: what an app is told of a device fits into a frame (R41a).
pub const MAX_DESCRIPTION: usize = 512;
/// The longest label of a line, in bytes (R41a).
pub const MAX_LABEL: usize = 64;
/// The most lines of a device (R41a).
pub const MAX_LINES: usize = 64;

/// One snapshot of all users and devices.
#[derive(Debug, Default)]
pub struct Directory {
    users: BTreeMap<UserName, Arc<User>>,
    /// Snapshots that differ in users alone share them.
    devices: Arc<BTreeMap<DeviceName, Arc<Device>>>,
}

/// A user: the account that apps open sessions as.
pub struct User {
    /// Unique across both kinds (R6).
    pub name: UserName,
    /// Application or end user.
    pub kind: UserKind,
    /// Its standard groups (R7).
    pub groups: Groups,
    /// The devices associated with it (R13). Users of the same devices can share them.
    pub devices: Arc<BTreeSet<DeviceName>>,
    /// What proves its password (R14). Without it no password is right.
    pub password: Option<Arc<ScramVerifier>>,
    /// No session of it opens, and none stays open (R14).
    pub locked: bool,
    /// On the TLS door its password is asked for besides its certificate (R14).
    pub password_on_tls: bool,
    /// Tells it from one of the same name that was removed before it was made: sessions of that one aren't its sessions
    /// (R15). It counts while the gateway runs, and is 0 where nobody is made or removed.
    pub incarnation: u64,
}

/// An app is assigned to one of the two kinds (R6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserKind {
    /// Stands for an application.
    #[default]
    Application,
    /// Stands for a person.
    EndUser,
}

/// A device as the operator described it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub name: DeviceName,
    /// Where it is reached; may be empty.
    pub addresses: Vec<Address>,
    /// Its lines, by number; at least one.
    pub lines: Vec<Line>,
    /// For people.
    pub description: String,
    /// Restricted: no app sees it (R13).
    pub restricted: bool,
}

/// A line of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Its number, unique within the device.
    pub number: LineNumber,
    /// For people.
    #[serde(default)]
    pub label: String,
    /// Restricted: no app sees it (R13).
    #[serde(default)]
    pub restricted: bool,
}

/// Why users and devices don't make a directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectoryError {
    /// Two users have one name (R6).
    #[error("there are two users called {0:?}, and names are unique across both kinds of users (R6)")]
    DuplicateUser(UserName),
    /// Two devices have one name.
    #[error("there are two devices called {0:?}")]
    DuplicateDevice(DeviceName),
    /// Two devices have one address.
    #[error("the address {address} belongs to the device {first:?} already")]
    DuplicateAddress {
        /// The address.
        address: Address,
        /// The device that has it.
        first: DeviceName,
        /// The device that has it too.
        second: DeviceName,
    },
    /// Two lines of a device have one number.
    #[error("the device {device:?} has two lines {line}")]
    DuplicateLine {
        /// The device.
        device: DeviceName,
        /// The number.
        line: LineNumber,
    },
    /// A user is associated with a device that is not there.
    #[error("the user {user:?} is associated with {device:?}, and there is no such device")]
    UnknownDevice {
        /// The user.
        user: UserName,
        /// The name of no device.
        device: DeviceName,
    },
    /// A user is in the SRTP group and not in the two others (R8).
    #[error(
        "the user {user:?} is in {:?} and not in {}: a user enters that group only when already in the other two (R8)",
        Group::SrtpKeyMaterial.name(),
        names(missing)
    )]
    KeyGroupWithoutOthers {
        /// The user.
        user: UserName,
        /// The groups that it lacks.
        missing: Vec<Group>,
    },
}

impl Directory {
    /// A snapshot of these users and devices. A device without lines gets line 1.
    ///
    /// # Errors
    /// Two users, devices, lines or addresses are the same (R6), a user is associated with an unknown device, or is in
    /// the SRTP group without the other two (R8).
    pub fn new(
        users: impl IntoIterator<Item = User>,
        devices: impl IntoIterator<Item = Device>,
    ) -> Result<Self, DirectoryError> {
        let mut known = BTreeMap::new();
        let mut owners: HashMap<Address, DeviceName> = HashMap::new();
        for mut device in devices {
            device.complete();
            device.check_lines()?;
            for address in &device.addresses {
                if let Some(first) = owners.insert(*address, device.name.clone()) {
                    return Err(DirectoryError::DuplicateAddress { address: *address, first, second: device.name });
                }
            }
            if let Some(first) = known.insert(device.name.clone(), Arc::new(device)) {
                return Err(DirectoryError::DuplicateDevice(first.name.clone()));
            }
        }
        let mut directory = Self { users: BTreeMap::new(), devices: Arc::new(known) };
        for user in users {
            directory.check(&user)?;
            if let Some(first) = directory.users.insert(user.name.clone(), Arc::new(user)) {
                return Err(DirectoryError::DuplicateUser(first.name.clone()));
            }
        }
        Ok(directory)
    }

    /// The user of this name.
    pub fn user(&self, name: &str) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// The device of this name, restricted or not.
    pub fn device(&self, name: &str) -> Option<&Arc<Device>> {
        self.devices.get(name)
    }

    /// Every user, in the order of the names.
    pub fn users(&self) -> impl Iterator<Item = &Arc<User>> {
        self.users.values()
    }

    /// Every device, restricted ones too, in the order of the names.
    pub fn devices(&self) -> impl Iterator<Item = &Arc<Device>> {
        self.devices.values()
    }

    /// Whether both have the very same devices.
    pub fn has_devices_of(&self, other: &Self) -> bool {
        let have_same =
            || self.devices.values().zip(other.devices.values()).all(|(one, other)| Arc::ptr_eq(one, other));
        Arc::ptr_eq(&self.devices, &other.devices) || (self.devices.len() == other.devices.len() && have_same())
    }

    /// The devices that `user` may see (R13), in the order of the names.
    pub fn devices_of<'a>(&'a self, user: &'a User) -> impl Iterator<Item = &'a Arc<Device>> {
        self.devices.values().filter(|device| !device.restricted && user.is_associated_with(&device.name))
    }

    /// Whether `user` may see the device of this name (R13).
    ///
    /// A device that stands in no configuration, which a switch reported by its address, is seen only with *Control of
    /// All Devices*: nobody can be associated with it.
    pub fn may_see(&self, user: &User, device: &DeviceName) -> bool {
        let restricted = self.device(device.as_str()).is_some_and(|device| device.restricted);
        !restricted && user.is_associated_with(device)
    }

    fn check(&self, user: &User) -> Result<(), DirectoryError> {
        if user.groups.contains(Group::SrtpKeyMaterial) && !user.groups.allow_keys() {
            let missing = [Group::CtiEnabled, Group::SecureConnection]
                .into_iter()
                .filter(|group| !user.groups.contains(*group))
                .collect();
            return Err(DirectoryError::KeyGroupWithoutOthers { user: user.name.clone(), missing });
        }
        match user.devices.iter().find(|device| !self.devices.contains_key(*device)) {
            Some(device) => Err(DirectoryError::UnknownDevice { user: user.name.clone(), device: device.clone() }),
            None => Ok(()),
        }
    }
}

impl User {
    /// Associated with the device, or with all of them by *Control of All Devices*. A restriction is not looked at.
    fn is_associated_with(&self, device: &DeviceName) -> bool {
        self.groups.contains(Group::ControlOfAllDevices) || self.devices.contains(device)
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("groups", &self.groups)
            .field("devices", &self.devices)
            .field("has_password", &self.password.is_some())
            .finish()
    }
}

impl Device {
    /// A device with this name and line 1, and nothing else known of it.
    pub fn named(name: DeviceName) -> Self {
        let line = Line { number: LineNumber::FIRST, label: String::new(), restricted: false };
        Self { name, addresses: Vec::new(), lines: vec![line], description: String::new(), restricted: false }
    }

    /// The lines that apps may see: those that aren't restricted (R13). None of a restricted device.
    pub fn visible_lines(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| !self.restricted && !line.restricted)
    }

    /// Whether events of `line` may be seen (R13). A line that nobody described is one like any other.
    pub fn line_is_visible(&self, line: LineNumber) -> bool {
        !self.restricted && !self.lines.iter().any(|known| known.number == line && known.restricted)
    }

    fn complete(&mut self) {
        self.lines.sort_by_key(|line| line.number);
        if self.lines.is_empty() {
            self.lines.push(Line { number: LineNumber::FIRST, label: String::new(), restricted: false });
        }
    }

    fn check_lines(&self) -> Result<(), DirectoryError> {
        let mut numbers = BTreeSet::new();
        match self.lines.iter().find(|line| !numbers.insert(line.number)) {
            Some(line) => Err(DirectoryError::DuplicateLine { device: self.name.clone(), line: line.number }),
            None => Ok(()),
        }
    }
}

fn names(groups: &[Group]) -> String {
    groups.iter().map(|group| format!("{:?}", group.name())).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str, groups: &[Group], devices: &[&str]) -> User {
        User {
            name: name.parse().unwrap(),
            kind: UserKind::Application,
            groups: groups.iter().copied().collect(),
            devices: Arc::new(devices.iter().map(|device| device.parse().unwrap()).collect()),
            password: None,
            locked: false,
            password_on_tls: false,
            incarnation: 0,
        }
    }

    fn device(name: &str) -> Device {
        Device::named(name.parse().unwrap())
    }

    fn seen(directory: &Directory, name: &str) -> Vec<String> {
        let user = directory.user(name).unwrap();
        directory.devices_of(user).map(|device| device.name.to_string()).collect()
    }

    #[test]
    fn r13_a_user_sees_its_devices_without_restricted_ones_in_the_order_of_names() {
        let restricted = Device { restricted: true, ..device("1002") };
        let users = [
            user("some", &[], &["1003", "1001", "1002"]),
            user("all", &[Group::ControlOfAllDevices], &[]),
            user("none", &[], &[]),
        ];
        let directory = Directory::new(users, [device("1003"), restricted, device("1001"), device("1004")]).unwrap();
        assert_eq!(seen(&directory, "some"), ["1001", "1003"]);
        assert_eq!(seen(&directory, "all"), ["1001", "1003", "1004"]);
        assert_eq!(seen(&directory, "none"), [""; 0]);
        for user in directory.users() {
            for device in directory.devices() {
                let listed = seen(&directory, user.name.as_str()).contains(&device.name.to_string());
                assert_eq!(directory.may_see(user, &device.name), listed, "{user:?} {device:?}");
            }
        }
    }

    #[test]
    fn r13_a_device_found_by_its_address_is_seen_only_with_control_of_all_devices() {
        let users = [user("some", &[], &["1001"]), user("all", &[Group::ControlOfAllDevices], &[])];
        let directory = Directory::new(users, [device("1001")]).unwrap();
        let found = "192.0.2.1:5060".parse().unwrap();
        assert!(directory.may_see(directory.user("all").unwrap(), &found));
        assert!(!directory.may_see(directory.user("some").unwrap(), &found));
    }

    #[test]
    fn r13_restricted_lines_are_left_out() {
        let line = |number, restricted| Line { number: LineNumber(number), label: String::new(), restricted };
        let mut device = Device { lines: vec![line(1, false), line(2, true)], ..device("1001") };
        assert_eq!(device.visible_lines().map(|line| line.number.0).collect::<Vec<_>>(), [1]);
        assert!(device.line_is_visible(LineNumber(1)) && !device.line_is_visible(LineNumber(2)));
        device.restricted = true;
        assert_eq!(device.visible_lines().count(), 0);
        assert!(!device.line_is_visible(LineNumber(1)));
    }

    #[test]
    fn r8_the_srtp_group_needs_the_other_two() {
        let error = Directory::new([user("u", &[Group::SrtpKeyMaterial, Group::CtiEnabled], &[])], []).unwrap_err();
        let missing = vec![Group::SecureConnection];
        assert_eq!(error, DirectoryError::KeyGroupWithoutOthers { user: "u".parse().unwrap(), missing });
    }

    #[test]
    fn r6_names_addresses_and_lines_are_unique() {
        let twice = Directory::new([user("u", &[], &[]), user("u", &[], &[])], []);
        assert_eq!(twice.unwrap_err(), DirectoryError::DuplicateUser("u".parse().unwrap()));
        let twice = Directory::new([], [device("d"), device("d")]);
        assert_eq!(twice.unwrap_err(), DirectoryError::DuplicateDevice("d".parse().unwrap()));
        let address: Address = "udp:192.0.2.1:5060".parse().unwrap();
        let at = |name| Device { addresses: vec![address], ..device(name) };
        assert!(matches!(Directory::new([], [at("a"), at("b")]), Err(DirectoryError::DuplicateAddress { .. })));
        let lines = [1, 1].map(|n| Line { number: LineNumber(n), label: String::new(), restricted: false });
        let twice = Directory::new([], [Device { lines: lines.into(), ..device("d") }]);
        assert!(matches!(twice, Err(DirectoryError::DuplicateLine { .. })));
        assert!(matches!(Directory::new([user("u", &[], &["x"])], []), Err(DirectoryError::UnknownDevice { .. })));
    }
}
