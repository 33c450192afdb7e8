//! From records to the [`Directory`] that sessions are judged by: groups and patterns become devices.
//!
//! Records can disagree where two nodes wrote at once, or where one was left over by a crash: then the answer is the one
//! that gives fewer rights, and it is told.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    sync::Arc,
};

use super::{
    Device, DevicePattern, DeviceRecord, Directory, GroupRecord, Records, Stored, User, UserRecord, UserSettings,
    meant::Meant,
};
use crate::{
    model::{Address, DeviceName, Group, GroupName, UserName},
    store::Version,
};

/// Makes directories of records, and remembers what didn't change: a change of one user is no work for the others, and none for
/// the devices.
#[derive(Debug, Default)]
pub struct Resolver {
    devices: HashMap<DeviceName, (Version, Arc<Device>)>,
    known: KnownDevices,
    /// The names of the known devices, in their order.
    names: Vec<DeviceName>,
    groups: Arc<BTreeMap<GroupName, Stored<GroupRecord>>>,
    associations: HashMap<Associations, Arc<BTreeSet<DeviceName>>>,
    users: HashMap<UserName, KnownUser>,
    /// How many users were made.
    incarnations: u64,
}

/// All devices, and what they were made of.
#[derive(Debug, Default)]
struct KnownDevices {
    records: Arc<BTreeMap<DeviceName, Stored<DeviceRecord>>>,
    made_up: Arc<BTreeSet<DeviceName>>,
    devices: Arc<BTreeMap<DeviceName, Arc<Device>>>,
    disagreements: Vec<Disagreement>,
}

/// A user, and what it was made of besides groups and devices.
#[derive(Debug)]
struct KnownUser {
    record: Arc<UserRecord>,
    /// Its record agrees with the others.
    agrees: bool,
    user: Arc<User>,
}

/// The devices of groups, as far as they were looked for: once for all users of a group.
type OfGroups = HashMap<GroupName, Vec<usize>>;

/// What a user's devices are named by, its groups' included.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Associations {
    devices: BTreeSet<DeviceName>,
    patterns: BTreeSet<DevicePattern>,
}

/// Where records disagree, and what was made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disagreement {
    /// Two devices have one address. The one that was written first keeps it.
    Address {
        /// The address.
        address: Address,
        /// Who keeps it.
        keeps: DeviceName,
        /// Who goes without.
        without: DeviceName,
    },
    /// A user is in the group of SRTP key material and not in the other two (R8): it counts as not in it.
    KeyGroup(UserName),
    /// A user is in a group that isn't there.
    UnknownGroup {
        /// The user.
        user: UserName,
        /// The name of no group.
        group: GroupName,
    },
}

impl Resolver {
    /// The directory of these records, and where they disagree.
    pub fn directory(&mut self, records: &Records) -> (Directory, Vec<Disagreement>) {
        let are_others_same = self.take_devices(records) && Arc::ptr_eq(&self.groups, &records.groups);
        self.groups = Arc::clone(&records.groups);
        let mut disagreements = self.known.disagreements.clone();
        let mut of_groups = OfGroups::new();
        let mut users = BTreeMap::new();
        for (name, stored) in &*records.users {
            let user = match self.users.get(name) {
                Some(known) if are_others_same && known.agrees && Arc::ptr_eq(&known.record, &stored.record) => {
                    Arc::clone(&known.user)
                }
                _ => self.user(name, stored, records, &mut of_groups, &mut disagreements),
            };
            users.insert(name.clone(), user);
        }
        self.users.retain(|name, _| users.contains_key(name));
        // Sets that nobody has any more.
        self.associations.retain(|_, devices| Arc::strong_count(devices) > 1);
        (Directory { users, devices: Arc::clone(&self.known.devices) }, disagreements)
    }

    /// Takes the devices of these records. Whether they have the names that they had.
    fn take_devices(&mut self, records: &Records) -> bool {
        let are_same =
            Arc::ptr_eq(&self.known.records, &records.devices) && Arc::ptr_eq(&self.known.made_up, &records.made_up);
        if are_same {
            return true;
        }
        let mut disagreements = Vec::new();
        let devices = Arc::new(self.devices(records, &mut disagreements));
        let before = std::mem::replace(
            &mut self.known,
            KnownDevices {
                records: Arc::clone(&records.devices),
                made_up: Arc::clone(&records.made_up),
                devices: Arc::clone(&devices),
                disagreements,
            },
        );
        let come: Vec<&DeviceName> = devices.keys().filter(|name| !before.devices.contains_key(*name)).collect();
        let gone: Vec<&DeviceName> = before.devices.keys().filter(|name| !devices.contains_key(*name)).collect();
        if come.is_empty() && gone.is_empty() {
            return true;
        }
        self.rename(&come, &gone);
        self.names = devices.keys().cloned().collect();
        false
    }

    /// Other devices are there than before. A device that comes or goes is looked at alone: all of them, for each pattern of each
    /// user, would be seconds in which nothing else is changed.
    fn rename(&mut self, come: &[&DeviceName], gone: &[&DeviceName]) {
        for (named, devices) in &mut self.associations {
            let come: Vec<&&DeviceName> = come.iter().filter(|name| named.mean(name)).collect();
            let gone: Vec<&&DeviceName> = gone.iter().filter(|name| devices.contains(**name)).collect();
            if come.is_empty() && gone.is_empty() {
                continue;
            }
            let devices = Arc::make_mut(devices);
            for name in gone {
                devices.remove(*name);
            }
            devices.extend(come.into_iter().map(|name| (*name).clone()));
        }
    }

    fn devices(
        &mut self,
        records: &Records,
        disagreements: &mut Vec<Disagreement>,
    ) -> BTreeMap<DeviceName, Arc<Device>> {
        self.devices.retain(|name, _| records.devices.contains_key(name));
        let mut owners: HashMap<Address, (Version, &DeviceName)> = HashMap::new();
        for (name, stored) in &*records.devices {
            for address in &stored.record.addresses {
                let owner = owners.entry(*address).or_insert((stored.version, name));
                if stored.version < owner.0 {
                    *owner = (stored.version, name);
                }
            }
        }
        let mut devices = BTreeMap::new();
        for (name, stored) in &*records.devices {
            let lost = |address: &&Address| owners.get(*address).is_some_and(|(_, owner)| *owner != name);
            let lost: Vec<Address> = stored.record.addresses.iter().filter(lost).copied().collect();
            let device = if lost.is_empty() {
                self.device(name, stored)
            } else {
                Arc::new(effective(name, &stored.record, &lost))
            };
            for address in lost {
                let keeps = owners.get(&address).map_or(name, |(_, owner)| *owner).clone();
                disagreements.push(Disagreement::Address { address, keeps, without: name.clone() });
            }
            devices.insert(name.clone(), device);
        }
        for name in &*records.made_up {
            devices.entry(name.clone()).or_insert_with(|| Arc::new(Device::named(name.clone())));
        }
        devices
    }

    fn device(&mut self, name: &DeviceName, stored: &Stored<DeviceRecord>) -> Arc<Device> {
        match self.devices.get(name) {
            Some((version, device)) if *version == stored.version => Arc::clone(device),
            _ => {
                let device = Arc::new(effective(name, &stored.record, &[]));
                self.devices.insert(name.clone(), (stored.version, Arc::clone(&device)));
                device
            }
        }
    }

    fn user(
        &mut self,
        name: &UserName,
        stored: &Stored<UserRecord>,
        records: &Records,
        of_groups: &mut OfGroups,
        disagreements: &mut Vec<Disagreement>,
    ) -> Arc<User> {
        let disagreed = disagreements.len();
        let UserSettings { kind, groups, own_groups, devices, patterns, locked, password_on_tls, description: _ } =
            &stored.record.settings;
        let mut groups = *groups;
        if groups.contains(Group::SrtpKeyMaterial) && !groups.allow_keys() {
            groups = groups.without(Group::SrtpKeyMaterial);
            disagreements.push(Disagreement::KeyGroup(name.clone()));
        }
        let mut associations = Associations { devices: devices.clone(), patterns: patterns.clone() };
        for group in own_groups {
            match records.groups.get(group) {
                Some(stored) => {
                    associations.devices.extend(stored.record.devices.iter().cloned());
                    associations.patterns.extend(stored.record.patterns.iter().cloned());
                }
                None => disagreements.push(Disagreement::UnknownGroup { user: name.clone(), group: group.clone() }),
            }
        }
        let devices = self.associated(associations, &stored.record.settings, records, of_groups);
        let password = &stored.record.password;
        let known = self.users.get(name).map(|known| &known.user);
        let is_same = |known: &&Arc<User>| {
            let same_password = match (&known.password, password) {
                (Some(one), Some(other)) => Arc::ptr_eq(one, other),
                (None, None) => true,
                _ => false,
            };
            let same_settings = (known.kind, known.groups, known.locked, known.password_on_tls)
                == (*kind, groups, *locked, *password_on_tls);
            same_password && same_settings && Arc::ptr_eq(&known.devices, &devices)
        };
        let user = known.filter(is_same).cloned().unwrap_or_else(|| {
            let incarnation = known.map_or(self.incarnations + 1, |known| known.incarnation);
            let (name, password) = (name.clone(), password.clone());
            let (kind, locked, password_on_tls) = (*kind, *locked, *password_on_tls);
            Arc::new(User { name, kind, groups, devices, password, locked, password_on_tls, incarnation })
        });
        self.incarnations = self.incarnations.max(user.incarnation);
        let record = Arc::clone(&stored.record);
        let known = KnownUser { record, agrees: disagreements.len() == disagreed, user: Arc::clone(&user) };
        self.users.insert(name.clone(), known);
        user
    }

    /// The known devices that are meant. Users whose devices are named alike share one set.
    fn associated(
        &mut self,
        associations: Associations,
        UserSettings { own_groups, devices, patterns, .. }: &UserSettings,
        records: &Records,
        of_groups: &mut OfGroups,
    ) -> Arc<BTreeSet<DeviceName>> {
        if let Some(known) = self.associations.get(&associations) {
            return Arc::clone(known);
        }
        let mut meant = Meant::none_of(&self.names);
        meant.add_names(devices);
        meant.add_patterns(patterns);
        for group in own_groups {
            let Some(stored) = records.groups.get(group) else { continue };
            let places = of_groups.entry(group.clone()).or_insert_with(|| {
                let mut meant = Meant::none_of(&self.names);
                meant.add_names(&stored.record.devices);
                meant.add_patterns(&stored.record.patterns);
                meant.places()
            });
            meant.add_places(places);
        }
        let devices = Arc::new(meant.names());
        self.associations.insert(associations, Arc::clone(&devices));
        devices
    }
}

impl Associations {
    /// Whether a device of this name is one of them.
    fn mean(&self, name: &DeviceName) -> bool {
        self.devices.contains(name) || self.patterns.iter().any(|pattern| pattern.matches(name))
    }
}

/// The device as sessions see it, without these addresses.
fn effective(name: &DeviceName, record: &DeviceRecord, without: &[Address]) -> Device {
    let mut device = Device {
        name: name.clone(),
        addresses: record.addresses.iter().filter(|address| !without.contains(address)).copied().collect(),
        lines: record.lines.clone(),
        description: record.description.clone(),
        restricted: record.restricted,
    };
    device.complete();
    device
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { address, keeps, without } => {
                write!(
                    f,
                    "the devices {keeps:?} and {without:?} both have the address {address}: it is that of {keeps:?}"
                )
            }
            Self::KeyGroup(user) => {
                let group = Group::SrtpKeyMaterial.name();
                write!(f, "the user {user:?} is in {group:?} without the two others that it needs: it gets no key (R8)")
            }
            Self::UnknownGroup { user, group } => {
                write!(f, "the user {user:?} is in the group {group:?}, and there is no such group")
            }
        }
    }
}

#[cfg(test)]
mod tests;
