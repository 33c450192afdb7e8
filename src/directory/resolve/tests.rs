//! What users see, and what stays as it was when something else changes.

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
                Arc::make_mut(&mut records.devices).insert(name(n), stored(u64::from(step), DeviceRecord::default()));
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
                Arc::make_mut(&mut records.users).insert("u".parse().unwrap(), stored(2, user(groups, &[], &[], &[]))),
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
    for (version, pattern, means) in [(8, "*1", &["1001"][..]), (9, "*2", &["1002"]), (10, "1*", &["1001", "1002"])] {
        let group = GroupRecord { patterns: BTreeSet::from([pattern.parse().unwrap()]), ..GroupRecord::default() };
        Arc::make_mut(&mut records.groups).insert("floor".parse().unwrap(), stored(version, group));
        let (directory, disagreements) = resolver.directory(&records);
        assert_eq!((seen(&directory, "u"), disagreements), (means.iter().map(ToString::to_string).collect(), vec![]));
    }
    Arc::make_mut(&mut records.groups).clear();
    let (directory, disagreements) = resolver.directory(&records);
    assert_eq!((seen(&directory, "u").len(), disagreements), (0, vec![unknown()]));
}
