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
        let UserSettings { kind, groups, own_groups, devices, patterns, description: _ } = &stored.record.settings;
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
            same_password && (known.kind, known.groups) == (*kind, groups) && Arc::ptr_eq(&known.devices, &devices)
        };
        let user = known.filter(is_same).cloned().unwrap_or_else(|| {
            let incarnation = known.map_or(self.incarnations + 1, |known| known.incarnation);
            let (name, password) = (name.clone(), password.clone());
            Arc::new(User { name, kind: *kind, groups, devices, password, incarnation })
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
mod tests {
    use super::*;

    fn stored<T>(version: u64, record: T) -> Stored<T> {
        Stored { version: Version(version), record: Arc::new(record) }
    }

    fn user(groups: &[Group], own_groups: &[&str], devices: &[&str], patterns: &[&str]) -> UserRecord {
        let settings = UserSettings {
            groups: groups.iter().copied().collect(),
            own_groups: own_groups.iter().map(|name| name.parse().unwrap()).collect(),
            devices: devices.iter().map(|name| name.parse().unwrap()).collect(),
            patterns: patterns.iter().map(|pattern| pattern.parse().unwrap()).collect(),
            ..UserSettings::default()
        };
        UserRecord { settings, password: None }
    }

    fn records(devices: &[&str]) -> Records {
        let mut records = Records::default();
        for (version, name) in (1..).zip(devices) {
            Arc::make_mut(&mut records.devices).insert(name.parse().unwrap(), stored(version, DeviceRecord::default()));
        }
        records
    }

    fn seen(directory: &Directory, user: &str) -> Vec<String> {
        directory.devices_of(directory.user(user).unwrap()).map(|device| device.name.to_string()).collect()
    }

    #[test]
    fn r13_names_patterns_and_groups_add_up_and_unknown_names_are_none() {
        let mut records = records(&["1001", "1002", "2001", "3001"]);
        let group = GroupRecord { patterns: BTreeSet::from(["2*".parse().unwrap()]), ..GroupRecord::default() };
        Arc::make_mut(&mut records.groups).insert("floor 2".parse().unwrap(), stored(9, group));
        Arc::make_mut(&mut records.users)
            .insert("u".parse().unwrap(), stored(10, user(&[], &["floor 2", "gone"], &["3001", "4001"], &["1?01"])));
        records.made_up = Arc::new(BTreeSet::from(["5001".parse().unwrap()]));
        let mut resolver = Resolver::default();
        let (directory, disagreements) = resolver.directory(&records);
        assert_eq!(seen(&directory, "u"), ["1001", "2001", "3001"]);
        assert!(directory.device("5001").is_some(), "made up by a switch");
        let unknown = Disagreement::UnknownGroup { user: "u".parse().unwrap(), group: "gone".parse().unwrap() };
        assert_eq!(disagreements, [unknown]);

        Arc::make_mut(&mut records.devices).insert("2002".parse().unwrap(), stored(11, DeviceRecord::default()));
        assert_eq!(seen(&resolver.directory(&records).0, "u"), ["1001", "2001", "2002", "3001"], "a new device counts");
    }

    #[test]
    fn r13_devices_that_come_and_go_leave_users_with_what_they_had_if_all_were_looked_at_anew() {
        let name = |n: u32| format!("{}{:03}", n % 3, n).parse::<DeviceName>().unwrap();
        let mut records = Records::default();
        let users = [user(&[], &[], &["0003", "1004"], &[]), user(&[], &[], &["0000"], &["1*", "??07"])];
        let users = users.into_iter().chain([user(&[], &["floor"], &["2005"], &[]), user(&[], &[], &[], &["*"])]);
        for (n, user) in (0..).zip(users) {
            Arc::make_mut(&mut records.users).insert(format!("u{n}").parse().unwrap(), stored(n, user));
        }
        let group = GroupRecord { patterns: BTreeSet::from(["2*".parse().unwrap()]), ..GroupRecord::default() };
        Arc::make_mut(&mut records.groups).insert("floor".parse().unwrap(), stored(9, group));
        let mut resolver = Resolver::default();
        // Each step takes some devices away and brings others, several at once.
        for step in 0..200_u32 {
            for n in (0..12).filter(|n| step.wrapping_mul(2_654_435_761).rotate_left(*n) & 3 == 0) {
                if Arc::make_mut(&mut records.devices).remove(&name(n)).is_none() {
                    Arc::make_mut(&mut records.devices)
                        .insert(name(n), stored(u64::from(step), DeviceRecord::default()));
                }
            }
            let (kept, anew) = (resolver.directory(&records).0, Resolver::default().directory(&records).0);
            for user in ["u0", "u1", "u2", "u3"] {
                assert_eq!(seen(&kept, user), seen(&anew, user), "{user} at step {step}");
            }
        }
        let before = resolver.directory(&records).0;
        Arc::make_mut(&mut records.devices).insert("1999".parse().unwrap(), stored(999, DeviceRecord::default()));
        let after = resolver.directory(&records).0;
        let keeps = |user: &str| Arc::ptr_eq(&before.user(user).unwrap().devices, &after.user(user).unwrap().devices);
        assert_eq!(["u0", "u1", "u2", "u3"].map(keeps), [true, false, true, false], "whom it is none of keeps its set");
    }

    #[test]
    fn r8_a_user_with_the_key_group_alone_gets_no_key() {
        let mut records = Records::default();
        Arc::make_mut(&mut records.users)
            .insert("u".parse().unwrap(), stored(1, user(&[Group::SrtpKeyMaterial], &[], &[], &[])));
        let (directory, disagreements) = Resolver::default().directory(&records);
        assert!(directory.user("u").unwrap().groups.is_empty());
        assert_eq!(disagreements, [Disagreement::KeyGroup("u".parse().unwrap())]);
    }

    #[test]
    fn of_two_devices_with_one_address_the_first_to_have_it_keeps_it() {
        let address: Address = "udp:192.0.2.1:5060".parse().unwrap();
        let device = || DeviceRecord { addresses: vec![address], ..DeviceRecord::default() };
        let mut records = Records::default();
        Arc::make_mut(&mut records.devices).insert("a".parse().unwrap(), stored(2, device()));
        Arc::make_mut(&mut records.devices).insert("b".parse().unwrap(), stored(1, device()));
        let (directory, disagreements) = Resolver::default().directory(&records);
        assert!(directory.device("a").unwrap().addresses.is_empty());
        assert_eq!(directory.device("b").unwrap().addresses, [address]);
        assert_eq!(disagreements.len(), 1);
    }

    #[test]
    fn r15_who_is_made_anew_under_a_name_is_somebody_else() {
        let mut records = Records::default();
        let mut resolver = Resolver::default();
        let mut incarnation = |there: bool, groups: &[Group]| {
            Arc::make_mut(&mut records.users).insert("other".parse().unwrap(), stored(1, user(&[], &[], &[], &[])));
            match there {
                true => drop(
                    Arc::make_mut(&mut records.users)
                        .insert("u".parse().unwrap(), stored(2, user(groups, &[], &[], &[]))),
                ),
                false => drop(Arc::make_mut(&mut records.users).remove("u")),
            }
            let (directory, _) = resolver.directory(&records);
            directory.user("u").map(|user| user.incarnation)
        };
        let first = incarnation(true, &[]).unwrap();
        assert_eq!(incarnation(true, &[Group::CtiEnabled]), Some(first), "another group is no other user");
        assert_eq!(incarnation(false, &[]), None);
        assert!(incarnation(true, &[Group::CtiEnabled]).unwrap() > first);
    }

    #[test]
    fn what_did_not_change_is_not_made_anew() {
        let mut records = records(&["1001", "1002"]);
        Arc::make_mut(&mut records.users).insert("a".parse().unwrap(), stored(5, user(&[], &[], &[], &["*"])));
        Arc::make_mut(&mut records.users).insert("b".parse().unwrap(), stored(6, user(&[], &[], &[], &["*"])));
        let mut resolver = Resolver::default();
        let before = resolver.directory(&records).0;
        Arc::make_mut(&mut records.users)
            .insert("b".parse().unwrap(), stored(7, user(&[Group::CtiEnabled], &[], &[], &["*"])));
        let after = resolver.directory(&records).0;
        assert!(Arc::ptr_eq(before.user("a").unwrap(), after.user("a").unwrap()));
        assert!(!Arc::ptr_eq(before.user("b").unwrap(), after.user("b").unwrap()));
        assert!(Arc::ptr_eq(&after.user("a").unwrap().devices, &after.user("b").unwrap().devices));
        assert!(Arc::ptr_eq(&before.devices, &after.devices), "a change of a user is no work for the devices");
    }

    #[test]
    fn r13_a_user_that_did_not_change_follows_its_groups_and_is_told_of_again_while_it_disagrees() {
        let mut records = records(&["1001", "1002"]);
        Arc::make_mut(&mut records.users).insert("u".parse().unwrap(), stored(5, user(&[], &["floor"], &[], &[])));
        let mut resolver = Resolver::default();
        let unknown = || Disagreement::UnknownGroup { user: "u".parse().unwrap(), group: "floor".parse().unwrap() };
        for version in 6..8 {
            Arc::make_mut(&mut records.users).insert("v".parse().unwrap(), stored(version, user(&[], &[], &[], &[])));
            assert_eq!(resolver.directory(&records).1, [unknown()]);
        }
        for (version, pattern, means) in [(8, "*1", &["1001"][..]), (9, "*2", &["1002"]), (10, "1*", &["1001", "1002"])]
        {
            let group = GroupRecord { patterns: BTreeSet::from([pattern.parse().unwrap()]), ..GroupRecord::default() };
            Arc::make_mut(&mut records.groups).insert("floor".parse().unwrap(), stored(version, group));
            let (directory, disagreements) = resolver.directory(&records);
            assert_eq!(
                (seen(&directory, "u"), disagreements),
                (means.iter().map(ToString::to_string).collect(), vec![])
            );
        }
        Arc::make_mut(&mut records.groups).clear();
        let (directory, disagreements) = resolver.directory(&records);
        assert_eq!((seen(&directory, "u").len(), disagreements), (0, vec![unknown()]));
    }
}
