//! What each change of users, groups and devices comes to, step by step.

use std::{collections::BTreeSet, sync::Arc};

use zeroize::Zeroizing;

use super::{
    Cascade, Direction, Of, Plan, Refusal, Step, Write,
    checks::{addresses, description, known_devices, lines, named, patterns},
    difference::Difference,
    some,
};
use crate::{
    directory::{DeviceRecord, GroupRecord, Records, ScramVerifier, Stored, UserRecord, UserSettings},
    model::{DeviceName, Group, GroupName, Groups, LineNumber, UserName},
    store::{Bucket, Expect, Version},
};

/// `password`: what becomes of it; `None`: it stays.
pub(super) fn put_user(
    name: &UserName,
    mut settings: UserSettings,
    password: Option<Option<&Arc<ScramVerifier>>>,
    (of, cascade): (Of, Cascade),
    records: &Records,
) -> Result<Plan, Refusal> {
    let before = records.users.get(name);
    let expect = expect(of, before, || format!("user {name:?}"))?;
    description(&settings.description)?;
    named("devices", settings.devices.len())?;
    patterns(&settings.patterns)?;
    named("own_groups", settings.own_groups.len())?;
    let nothing = UserSettings::default();
    let was = before.map_or(&nothing, |stored| &stored.record.settings);
    let had = before.and_then(|stored| stored.record.password.as_ref());
    if settings.groups.contains(Group::SrtpKeyMaterial) && !settings.groups.allow_keys() {
        let needed = Groups::from_iter([Group::CtiEnabled, Group::SecureConnection]);
        let missing = needed.beyond(settings.groups);
        if !was.groups.contains(Group::SrtpKeyMaterial) {
            return Err(Refusal::GroupNeedsOthers { user: name.clone(), missing });
        }
        if cascade == Cascade::Nothing {
            return Err(Refusal::GroupStillNeeded { user: name.clone(), taken: missing });
        }
        settings.groups = settings.groups.without(Group::SrtpKeyMaterial);
    }
    known_devices(&settings.devices, &was.devices, records)?;
    if let Some(unknown) =
        settings.own_groups.difference(&was.own_groups).find(|group| !records.groups.contains_key(*group))
    {
        return Err(Refusal::Field { field: "own_groups", problem: format!("there is no group {unknown:?}") });
    }
    let adds = !settings.groups.beyond(was.groups).is_empty()
        || !settings.devices.is_subset(&was.devices)
        || !settings.patterns.is_subset(&was.patterns)
        || !settings.own_groups.is_subset(&was.own_groups)
        || was.locked && !settings.locked
        || was.password_on_tls && !settings.password_on_tls
        || before.is_some() && matches!(password, Some(Some(_)));
    let takes = !was.groups.beyond(settings.groups).is_empty()
        || !was.devices.is_subset(&settings.devices)
        || !was.patterns.is_subset(&settings.patterns)
        || !was.own_groups.is_subset(&settings.own_groups)
        || !was.locked && settings.locked
        || !was.password_on_tls && settings.password_on_tls
        || matches!(password, Some(None)) && had.is_some();
    let mut difference = Difference::default();
    difference.names("group", was.groups.iter(), settings.groups.iter());
    difference.names("own group", &was.own_groups, &settings.own_groups);
    difference.names("device", &was.devices, &settings.devices);
    difference.names("pattern", &was.patterns, &settings.patterns);
    difference.value("kind", &was.kind, &settings.kind);
    difference.value("description", &was.description, &settings.description);
    difference.switch("lock", was.locked, settings.locked);
    difference.switch("password on TLS", was.password_on_tls, settings.password_on_tls);
    match password {
        Some(Some(_)) => difference.came("password"),
        Some(None) if had.is_some() => difference.went("password"),
        Some(None) | None => {}
    }
    let record = UserRecord { settings, password: password.unwrap_or(had).cloned() };
    let steps = vec![user_step(name, &record, expect)];
    Ok(Plan { steps, direction: Direction::of(adds, takes), detail: difference.told() })
}

pub(super) fn put_group(name: &GroupName, record: &GroupRecord, of: Of, records: &Records) -> Result<Plan, Refusal> {
    // In any case, and also those that a later gateway may know.
    if name.as_str().to_lowercase().starts_with("standard ") {
        return Err(Refusal::StandardGroup(name.clone()));
    }
    let before = records.groups.get(name);
    let expect = expect(of, before, || format!("group {name:?}"))?;
    description(&record.description)?;
    named("devices", record.devices.len())?;
    patterns(&record.patterns)?;
    let nothing = GroupRecord::default();
    let was = before.map_or(&nothing, |stored| &*stored.record);
    known_devices(&record.devices, &was.devices, records)?;
    let adds = !record.devices.is_subset(&was.devices) || !record.patterns.is_subset(&was.patterns);
    let takes = !was.devices.is_subset(&record.devices) || !was.patterns.is_subset(&record.patterns);
    let mut difference = Difference::default();
    difference.names("device", &was.devices, &record.devices);
    difference.names("pattern", &was.patterns, &record.patterns);
    difference.value("description", &was.description, &record.description);
    let steps = vec![group_step(name, record, expect)];
    Ok(Plan { steps, direction: Direction::of(adds, takes), detail: difference.told() })
}

pub(super) fn put_device(name: &DeviceName, record: &DeviceRecord, of: Of, records: &Records) -> Result<Plan, Refusal> {
    let before = records.devices.get(name);
    let expect = expect(of, before, || format!("device {name:?}"))?;
    description(&record.description)?;
    lines(&record.lines)?;
    addresses(name, &record.addresses, records)?;
    let hidden = |record: &DeviceRecord| -> BTreeSet<LineNumber> {
        record.lines.iter().filter(|line| line.restricted).map(|line| line.number).collect()
    };
    // By a name that is new a pattern may mean it, and by an address calls become its calls. One that a switch made up or
    // calls made known was seen already: a restriction takes it away.
    let (adds, takes) = match before {
        None => (!record.restricted, record.restricted),
        Some(Stored { record: was, .. }) => (
            was.restricted && !record.restricted
                || !hidden(was).is_subset(&hidden(record))
                || was.addresses != record.addresses,
            !was.restricted && record.restricted || !hidden(record).is_subset(&hidden(was)),
        ),
    };
    let nothing = DeviceRecord::default();
    let was = before.map_or(&nothing, |stored| &*stored.record);
    let mut difference = Difference::default();
    difference.value("restricted", &was.restricted, &record.restricted);
    difference.names("restricted line", &hidden(was), &hidden(record));
    difference.names("address", &was.addresses, &record.addresses);
    difference.value("lines", &was.lines, &record.lines);
    difference.value("description", &was.description, &record.description);
    let write = Write::Put(Zeroizing::new(record.to_value()), expect);
    let steps = vec![Step { bucket: Bucket::DEVICES, key: name.to_string(), write }];
    Ok(Plan { steps, direction: Direction::of(adds, takes), detail: difference.told() })
}

pub(super) fn remove_device(name: &DeviceName, of: Of, cascade: Cascade, records: &Records) -> Result<Plan, Refusal> {
    let version = version(of, records.devices.get(name), || format!("device {name:?}"))?;
    // Who names it would have a device of this name again if one were made later.
    let users = records.users.iter().filter(|(_, stored)| stored.record.settings.devices.contains(name));
    let groups = records.groups.iter().filter(|(_, stored)| stored.record.devices.contains(name));
    let mut steps = Vec::new();
    let mut by = Vec::new();
    for (user, stored) in users {
        by.push(format!("user {user:?}"));
        let mut record = (*stored.record).clone();
        record.settings.devices.remove(name);
        steps.push(user_step(user, &record, Expect::Version(stored.version)));
    }
    for (group, stored) in groups {
        by.push(format!("group {group:?}"));
        let mut record = (*stored.record).clone();
        record.devices.remove(name);
        steps.push(group_step(group, &record, Expect::Version(stored.version)));
    }
    if !by.is_empty() && cascade == Cascade::Nothing {
        return Err(Refusal::StillReferenced { what: format!("device {name:?}"), by });
    }
    steps.push(Step { bucket: Bucket::DEVICES, key: name.to_string(), write: Write::Delete(version) });
    // A restriction goes with it: as one that nobody described it would be seen with control of all devices.
    let was_hidden = records
        .devices
        .get(name)
        .is_some_and(|stored| stored.record.restricted || stored.record.lines.iter().any(|line| line.restricted));
    if was_hidden && cascade == Cascade::Nothing {
        return Err(Refusal::StillRestricted(name.clone()));
    }
    if was_hidden {
        by.insert(0, "its restriction".into());
    }
    let direction = if was_hidden { Direction::Grants } else { Direction::Takes };
    Ok(Plan { steps, direction, detail: some(&by) })
}

pub(super) fn remove_group(name: &GroupName, of: Of, cascade: Cascade, records: &Records) -> Result<Plan, Refusal> {
    if Group::ALL.into_iter().any(|group| group.name() == name.as_str()) {
        return Err(Refusal::StandardGroup(name.clone()));
    }
    let version = version(of, records.groups.get(name), || format!("group {name:?}"))?;
    let mut steps = Vec::new();
    let mut by = Vec::new();
    for (user, stored) in records.users.iter().filter(|(_, stored)| stored.record.settings.own_groups.contains(name)) {
        by.push(format!("user {user:?}"));
        let mut record = (*stored.record).clone();
        record.settings.own_groups.remove(name);
        steps.push(user_step(user, &record, Expect::Version(stored.version)));
    }
    if !by.is_empty() && cascade == Cascade::Nothing {
        return Err(Refusal::StillReferenced { what: format!("group {name:?}"), by });
    }
    steps.push(Step { bucket: Bucket::GROUPS, key: name.to_string(), write: Write::Delete(version) });
    Ok(Plan { steps, direction: Direction::Takes, detail: some(&by) })
}

pub(super) fn user_step(name: &UserName, record: &UserRecord, expect: Expect) -> Step {
    Step { bucket: Bucket::USERS, key: name.to_string(), write: Write::Put(record.to_value(), expect) }
}

fn group_step(name: &GroupName, record: &GroupRecord, expect: Expect) -> Step {
    let write = Write::Put(Zeroizing::new(record.to_value()), expect);
    Step { bucket: Bucket::GROUPS, key: name.to_string(), write }
}

fn expect<T>(of: Of, stored: Option<&Stored<T>>, what: impl Fn() -> String) -> Result<Expect, Refusal> {
    of.expect(stored.map(|stored| stored.version), what)
}

pub(super) fn version<T>(of: Of, stored: Option<&Stored<T>>, what: impl Fn() -> String) -> Result<Version, Refusal> {
    of.version(stored.map(|stored| stored.version), what)
}
