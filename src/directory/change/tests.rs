use std::collections::BTreeSet;

use super::*;
use crate::{
    directory::{Line, Resolver},
    model::LineNumber,
};

fn named<T: std::str::FromStr<Err: fmt::Debug>>(name: &str) -> T {
    name.parse().unwrap()
}

fn groups(groups: &[Group]) -> Groups {
    groups.iter().copied().collect()
}

fn settings(of: &[Group], devices: &[&str]) -> UserSettings {
    let devices = devices.iter().map(|name| named(name)).collect();
    UserSettings { groups: groups(of), devices, ..UserSettings::default() }
}

/// The group `floor` with these devices and patterns.
fn group(devices: &[&str], patterns: &[&str]) -> Change {
    let devices = devices.iter().map(|name| named(name)).collect();
    let patterns = patterns.iter().map(|pattern| named(pattern)).collect();
    Change::PutGroup(named("floor"), GroupRecord { devices, patterns, ..GroupRecord::default() })
}

/// Makes the change and returns its direction.
fn change(records: &mut Records, change: &Change, cascade: Cascade) -> Result<Direction, Refusal> {
    let plan = change.plan(Of::Latest, cascade, records)?;
    static VERSION: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(100);
    for step in plan.steps {
        let version = Version(VERSION.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let entry = step.entry(version);
        records.take(step.bucket, &step.key, entry.as_ref()).unwrap();
    }
    Ok(plan.direction)
}

fn put(records: &mut Records, what: &Change) -> Result<Direction, Refusal> {
    change(records, what, Cascade::Nothing)
}

const ALL_THREE: &[Group] = &[Group::CtiEnabled, Group::SecureConnection, Group::SrtpKeyMaterial];

#[test]
fn r8_the_srtp_group_is_entered_with_the_others_and_left_before_them_or_with_cascade() {
    let mut records = Records::default();
    let user = |of: &[Group]| Change::PutUser(named("u"), settings(of, &[]));
    let lone = put(&mut records, &user(&[Group::SrtpKeyMaterial, Group::CtiEnabled])).unwrap_err();
    let missing = groups(&[Group::SecureConnection]);
    assert_eq!(lone, Refusal::GroupNeedsOthers { user: named("u"), missing });
    assert_eq!(put(&mut records, &user(ALL_THREE)), Ok(Direction::Grants));
    let less = user(&[Group::SrtpKeyMaterial, Group::CtiEnabled]);
    let still = put(&mut records, &less).unwrap_err();
    assert_eq!(still, Refusal::GroupStillNeeded { user: named("u"), taken: missing });
    assert_eq!(change(&mut records, &less, Cascade::All), Ok(Direction::Takes));
    let user = records.users.get("u").unwrap();
    assert_eq!(user.record.settings.groups, groups(&[Group::CtiEnabled]));
}

#[test]
fn r7_standard_groups_are_not_made_or_removed() {
    let mut records = Records::default();
    for name in ["Standard CTI Enabled", "standard cti enabled", "Standard Something"] {
        let made = put(&mut records, &Change::PutGroup(named(name), GroupRecord::default()));
        assert_eq!(made, Err(Refusal::StandardGroup(named(name))));
    }
    let name: GroupName = named("Standard CTI Enabled");
    assert_eq!(put(&mut records, &Change::RemoveGroup(name.clone())), Err(Refusal::StandardGroup(name)));
}

#[test]
fn r13_what_users_name_goes_only_with_cascade_and_from_them_first() {
    let mut records = Records::default();
    put(&mut records, &Change::PutDevice(named("1001"), DeviceRecord::default())).unwrap();
    let group = GroupRecord { devices: BTreeSet::from([named("1001")]), ..GroupRecord::default() };
    put(&mut records, &Change::PutGroup(named("floor"), group)).unwrap();
    let mut user = settings(&[], &["1001"]);
    user.own_groups.insert(named("floor"));
    put(&mut records, &Change::PutUser(named("u"), user)).unwrap();

    let device = Change::RemoveDevice(named("1001"));
    let refused = device.plan(Of::Latest, Cascade::Nothing, &records).unwrap_err();
    assert_eq!(refused.to_string(), "device \"1001\" is named by user \"u\", group \"floor\"");
    let plan = device.plan(Of::Latest, Cascade::All, &records).unwrap();
    let order: Vec<_> = plan.steps.iter().map(|step| (step.bucket, step.key.as_str())).collect();
    assert_eq!(order, [(Bucket::USERS, "u"), (Bucket::GROUPS, "floor"), (Bucket::DEVICES, "1001")]);

    let group = Change::RemoveGroup(named("floor"));
    assert!(matches!(put(&mut records, &group), Err(Refusal::StillReferenced { .. })));
    assert_eq!(change(&mut records, &group, Cascade::All), Ok(Direction::Takes));
    assert_eq!(change(&mut records, &device, Cascade::All), Ok(Direction::Takes));
    let (directory, disagreements) = Resolver::default().directory(&records);
    assert!(directory.user("u").unwrap().devices.is_empty() && disagreements.is_empty());
}

#[test]
fn r13_a_device_that_was_removed_is_nobodys_when_one_of_its_name_is_made_anew() {
    let mut records = Records::default();
    for device in ["1001", "1002"] {
        put(&mut records, &Change::PutDevice(named(device), DeviceRecord::default())).unwrap();
    }
    put(&mut records, &group(&["1001", "1002"], &[])).unwrap();
    let by_group = UserSettings { own_groups: BTreeSet::from([named("floor")]), ..UserSettings::default() };
    put(&mut records, &Change::PutUser(named("by group"), by_group)).unwrap();
    put(&mut records, &Change::PutUser(named("by name"), settings(&[], &["1001", "1002"]))).unwrap();

    change(&mut records, &Change::RemoveDevice(named("1001")), Cascade::All).unwrap();
    put(&mut records, &Change::PutDevice(named("1001"), DeviceRecord::default())).unwrap();
    let (directory, _) = Resolver::default().directory(&records);
    for user in ["by group", "by name"] {
        assert_eq!(*directory.user(user).unwrap().devices, BTreeSet::from([named("1002")]), "{user}");
    }
}

#[test]
fn a_change_is_of_what_its_author_saw() {
    let mut records = Records::default();
    let user = Change::PutUser(named("u"), UserSettings::default());
    let of = |of| user.plan(of, Cascade::Nothing, &records).map(drop);
    assert_eq!(of(Of::Version(Version(1))), Err(Refusal::NotFound("user \"u\"".into())));
    put(&mut records, &user).unwrap();
    let found = records.users.get("u").unwrap().version;
    let of = |of| user.plan(of, Cascade::Nothing, &records).map(drop);
    assert_eq!(of(Of::New), Err(Refusal::AlreadyExists("user \"u\"".into())));
    let expected = Version(found.0 - 1);
    let what = || "user \"u\"".to_owned();
    assert_eq!(of(Of::Version(expected)), Err(Refusal::VersionConflict { what: what(), found, expected }));
    assert_eq!(of(Of::Version(found)), Ok(()));
    let verifier = Arc::new(ScramVerifier::generate("pencil", 4096).unwrap());
    let with_password = Change::PutUserWithPassword(named("u"), UserSettings::default(), Some(verifier));
    let refused = with_password.plan(Of::Version(expected), Cascade::Nothing, &records).map(drop);
    assert_eq!(refused, Err(Refusal::VersionConflict { what: what(), found, expected }));
}

#[test]
fn r21_a_change_says_whether_it_gives_anything_to_anybody() {
    let mut records = Records::default();
    let device = |restricted| Change::PutDevice(named("1"), DeviceRecord { restricted, ..DeviceRecord::default() });
    let described = || DeviceRecord { description: "x".into(), restricted: true, ..DeviceRecord::default() };
    let user = |of: &[Group], devices: &[&str]| Change::PutUser(named("u"), settings(of, devices));
    let verifier = Arc::new(ScramVerifier::generate("pencil", 4096).unwrap());
    for (number, (what, direction)) in [
        (device(false), Direction::Grants),
        (device(true), Direction::Takes),
        (Change::PutDevice(named("1"), described()), Direction::Neutral),
        (Change::RemoveDevice(named("1")), Direction::Grants),
        // A switch may have made it up, or its calls made it known.
        (device(true), Direction::Takes),
        (device(false), Direction::Grants),
        (user(&[], &[]), Direction::Neutral),
        (user(&[Group::CtiEnabled], &[]), Direction::Grants),
        (user(&[], &["1"]), Direction::Grants),
        (user(&[], &[]), Direction::Takes),
        (Change::PutUserWithPassword(named("u"), settings(&[], &[]), Some(Arc::clone(&verifier))), Direction::Grants),
        (Change::SetPassword(named("u"), Some(verifier)), Direction::Grants),
        (user(&[], &[]), Direction::Neutral),
        (Change::PutUserWithPassword(named("u"), settings(&[], &[]), None), Direction::Takes),
        (Change::PutUserWithPassword(named("u"), settings(&[], &[]), None), Direction::Neutral),
        (Change::SetPassword(named("u"), None), Direction::Takes),
        (Change::RemoveDevice(named("1")), Direction::Takes),
        (Change::RemoveUser(named("u")), Direction::Takes),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(change(&mut records, &what, Cascade::All), Ok(direction), "change {number}");
    }
}

#[test]
fn r21_the_record_of_a_change_says_whether_a_password_was_given_or_taken() {
    let mut records = Records::default();
    let verifier = || Some(Arc::new(ScramVerifier::generate("pencil", 4096).unwrap()));
    let described = UserSettings { description: "x".into(), ..UserSettings::default() };
    let with = |password| Change::PutUserWithPassword(named("u"), described.clone(), password);
    for (what, detail) in [
        (Change::AddUser(named("u"), UserSettings::default(), verifier()), "+password"),
        (with(verifier()), "~description, +password"),
        (with(None), "-password"),
        (with(None), ""),
        (Change::PutUser(named("u"), described.clone()), ""),
    ] {
        let plan = what.plan(Of::Latest, Cascade::Nothing, &records).unwrap();
        assert_eq!(plan.detail, detail, "{what:?}");
        put(&mut records, &what).unwrap();
    }
}

#[test]
fn r13_a_restriction_ends_only_by_name_or_with_cascade() {
    let line = Line { number: LineNumber(1), label: String::new(), restricted: true };
    for record in [
        DeviceRecord { restricted: true, ..DeviceRecord::default() },
        DeviceRecord { lines: vec![line], ..DeviceRecord::default() },
    ] {
        let mut records = Records::default();
        put(&mut records, &Change::PutDevice(named("1001"), record.clone())).unwrap();
        put(&mut records, &Change::PutUser(named("u"), settings(&[], &["1001"]))).unwrap();
        let remove = Change::RemoveDevice(named("1001"));
        assert!(matches!(put(&mut records, &remove), Err(Refusal::StillReferenced { .. })));
        put(&mut records, &Change::PutUser(named("u"), settings(&[], &[]))).unwrap();
        // A switch that sees its calls would make it known again, and nobody restricted that one.
        assert_eq!(put(&mut records, &remove), Err(Refusal::StillRestricted(named("1001"))));
        let plan = remove.plan(Of::Latest, Cascade::All, &records).unwrap();
        assert_eq!((plan.direction, &*plan.detail), (Direction::Grants, "its restriction"));
        put(&mut records, &Change::PutDevice(named("1001"), DeviceRecord::default())).unwrap();
        assert_eq!(put(&mut records, &remove), Ok(Direction::Takes));
    }
}

#[test]
fn r21_devices_patterns_and_groups_give_and_take_whether_they_are_a_users_or_a_groups() {
    let mut records = Records::default();
    for device in ["1", "2"] {
        put(&mut records, &Change::PutDevice(named(device), DeviceRecord::default())).unwrap();
    }
    let user = |own_groups: &[&str], patterns: &[&str]| {
        let own_groups = own_groups.iter().map(|name| named(name)).collect();
        let patterns = patterns.iter().map(|pattern| named(pattern)).collect();
        Change::PutUser(named("u"), UserSettings { own_groups, patterns, ..UserSettings::default() })
    };
    for (number, (what, direction)) in [
        (group(&["1"], &[]), Direction::Grants),
        (group(&["1"], &["1*"]), Direction::Grants),
        (group(&["1"], &["1*"]), Direction::Neutral),
        // Less of the one and more of the other gives something.
        (group(&[], &["1*", "2*"]), Direction::Grants),
        (group(&["2"], &["2*"]), Direction::Grants),
        (group(&["2"], &[]), Direction::Takes),
        (group(&[], &[]), Direction::Takes),
        (user(&[], &["*"]), Direction::Grants),
        (user(&["floor"], &["*"]), Direction::Grants),
        (user(&["floor"], &[]), Direction::Takes),
        (user(&[], &["*"]), Direction::Grants),
        (user(&["floor"], &["*"]), Direction::Grants),
        (user(&[], &["*"]), Direction::Takes),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(put(&mut records, &what), Ok(direction), "change {number}");
    }
}

#[test]
fn a_password_outlives_other_changes_of_its_user() {
    let mut records = Records::default();
    let verifier = Arc::new(ScramVerifier::generate("pencil", 4096).unwrap());
    put(&mut records, &Change::PutUser(named("u"), UserSettings::default())).unwrap();
    put(&mut records, &Change::SetPassword(named("u"), Some(verifier))).unwrap();
    put(&mut records, &Change::PutUser(named("u"), settings(&[Group::CtiEnabled], &[]))).unwrap();
    assert!(records.users.get("u").unwrap().record.password.is_some());
}

#[test]
fn r41a_what_is_too_much_or_unknown_is_named() {
    let mut records = Records::default();
    let at = |address: &str| DeviceRecord { addresses: vec![named(address)], ..DeviceRecord::default() };
    put(&mut records, &Change::PutDevice(named("1"), at("udp:192.0.2.1:5060"))).unwrap();
    let long = "x".repeat(513);
    let lines = |lines: Vec<Line>| Change::PutDevice(named("2"), DeviceRecord { lines, ..DeviceRecord::default() });
    let line = |number, restricted| Line { number: LineNumber(number), label: String::new(), restricted };
    let described = UserSettings { description: long, ..UserSettings::default() };
    let mut unknown = UserSettings::default();
    unknown.own_groups.insert(named("g"));
    let many: Vec<String> = (0..257).map(|n| format!("{n}*")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let patterns = many.iter().map(|pattern| named(pattern)).collect();
    for (what, text) in [
        (Change::PutUser(named("u"), described), "description: 513 bytes: up to 512 are allowed"),
        (Change::PutUser(named("u"), settings(&[], &["2"])), "devices: there is no device \"2\""),
        (
            Change::PutUser(named("u"), UserSettings { patterns, ..UserSettings::default() }),
            "patterns: 257 patterns: up to 256 are allowed",
        ),
        (group(&[], &many), "patterns: 257 patterns: up to 256 are allowed"),
        (Change::PutUser(named("u"), unknown), "own_groups: there is no group \"g\""),
        (lines(vec![line(0, false)]), "lines: line 0: numbers from 1 to 65535 are allowed"),
        (lines(vec![line(1, false), line(1, true)]), "lines: line 1 is there twice"),
        (
            Change::PutDevice(named("2"), at("192.0.2.1:5060")),
            "addresses: 192.0.2.1:5060 belongs to the device \"1\" already",
        ),
    ] {
        let refusal = put(&mut records, &what).unwrap_err();
        assert_eq!((refusal.code(), refusal.to_string().as_str()), (ErrorCode::FieldInvalid, text));
    }
    assert!(put(&mut records, &lines(vec![line(2, true)])).unwrap_err().to_string().contains("would hide nothing"));
}
