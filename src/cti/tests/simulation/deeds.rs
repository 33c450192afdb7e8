//! What simulated administrators do: as they say it to the gateway, and what it comes to, by the rules (R7, R8, R11, R13).

use callgate_wire::v1::ErrorCode;

use super::{
    Random,
    wishes::{Certificate, DEVICES, Named, OWN_GROUPS, PATTERNS, Person, Phone, USERS, Wishes},
};
use crate::{
    directory::{Cascade, Change, DeviceRecord, GroupRecord, Line, UserSettings},
    model::{Group, LineNumber},
};

/// One thing that an administrator does.
#[derive(Debug, Clone)]
pub(super) enum Deed {
    /// A certificate is added to the ledger for a user.
    Issue(usize),
    /// Mode, and whether doors are lenient.
    Mode {
        mixed: bool,
        lenient: bool,
    },
    PutDevice(usize, Phone),
    PutGroup(usize, Named),
    PutUser(usize, Person, Cascade),
    RemoveDevice(usize, Cascade),
    RemoveGroup(usize, Cascade),
    RemoveUser(usize, Cascade),
    Revoke(usize),
}

impl Deed {
    /// All that makes these users, groups and devices.
    pub(super) fn from_nothing(wishes: &Wishes) -> Vec<Self> {
        let devices = wishes.devices.iter().enumerate();
        let devices = devices.filter_map(|(device, phone)| Some(Self::PutDevice(device, (*phone)?)));
        let groups = wishes.groups.iter().enumerate();
        let groups = groups.filter_map(|(group, named)| Some(Self::PutGroup(group, (*named)?)));
        let users = wishes.users.iter().enumerate();
        let users = users.filter_map(|(user, person)| Some(Self::PutUser(user, (*person)?, Cascade::Nothing)));
        devices.chain(groups).chain(users).collect()
    }

    /// A little different from what is.
    pub(super) fn draw(random: &mut Random, now: &Wishes) -> Self {
        let (user, device, group) = (random.below(3), random.below(4), random.below(2));
        let cascade = if random.below(2) == 0 { Cascade::All } else { Cascade::Nothing };
        match random.below(24) {
            0..=10 => Self::draw_user(random, now, user, cascade),
            11..=13 => {
                let mut phone = now.devices[device].unwrap_or_default();
                match random.below(3) {
                    0 => phone.restricted = !phone.restricted,
                    _ => phone.first_line_restricted = !phone.first_line_restricted,
                }
                Self::PutDevice(device, phone)
            }
            14 | 15 => Self::RemoveDevice(device, cascade),
            16 | 17 => {
                let mut named = now.groups[group].unwrap_or_default();
                toggle(random, &mut named);
                Self::PutGroup(group, named)
            }
            18 => Self::RemoveGroup(group, cascade),
            19 => Self::RemoveUser(user, cascade),
            20 if !now.certificates.is_empty() => Self::Revoke(random.below(now.certificates.len())),
            20 | 21 if now.users[user].is_some() => Self::Issue(user),
            _ => match random.below(4) {
                0 => Self::Mode { mixed: !now.mixed, lenient: now.lenient },
                1 => Self::Mode { mixed: now.mixed, lenient: !now.lenient },
                _ => Self::Mode { mixed: true, lenient: now.lenient },
            },
        }
    }

    fn draw_user(random: &mut Random, now: &Wishes, user: usize, cascade: Cascade) -> Self {
        let Some(mut person) = now.users[user] else {
            // Who was removed is made anew.
            let (secure, named) = (user < 2, Named { devices: [false; 4], patterns: [true, false, true, false] });
            let person = Person {
                born: 0,
                enabled: true,
                secure,
                srtp: secure,
                all_devices: false,
                locked: false,
                password_on_tls: false,
                named,
                groups: [false; 2],
            };
            return Self::PutUser(user, person, cascade);
        };
        if (person.locked || person.password_on_tls) && random.below(2) == 0 {
            (person.locked, person.password_on_tls) = (false, false);
            return Self::PutUser(user, person, cascade);
        }
        match random.below(14) {
            12 => person.locked = true,
            13 => person.password_on_tls = true,
            0..=4 => person.srtp = !person.srtp,
            5 => person.enabled = random.below(4) > 0,
            6 => person.secure = !person.secure,
            7 => person.all_devices = !person.all_devices,
            8 => {
                let group = random.below(2);
                person.groups[group] = !person.groups[group];
            }
            _ => toggle(random, &mut person.named),
        }
        Self::PutUser(user, person, cascade)
    }

    /// What takes it back, as far as it can be.
    pub(super) fn back(&self, before: &Wishes) -> Option<Self> {
        match *self {
            Self::Mode { .. } => Some(Self::Mode { mixed: before.mixed, lenient: before.lenient }),
            Self::PutDevice(device, _) | Self::RemoveDevice(device, _) => {
                Some(Self::PutDevice(device, before.devices[device]?))
            }
            Self::PutGroup(group, _) | Self::RemoveGroup(group, _) => {
                Some(Self::PutGroup(group, before.groups[group]?))
            }
            Self::PutUser(user, _, cascade) | Self::RemoveUser(user, cascade) => {
                Some(Self::PutUser(user, before.users[user]?, cascade))
            }
            Self::Issue(_) | Self::Revoke(_) => None,
        }
    }

    /// What it comes to.
    ///
    /// # Errors
    /// Why it is refused.
    pub(super) fn make(&self, now: &Wishes) -> Result<Wishes, ErrorCode> {
        let mut next = Wishes { version: now.version + 1, ..now.clone() };
        match *self {
            Self::Issue(user) if now.users[user].is_none() => return Err(ErrorCode::FieldInvalid),
            Self::Issue(user) => next.certificates.push(Certificate { user, revoked: false }),
            Self::Mode { mixed, lenient } => (next.mixed, next.lenient) = (mixed, lenient),
            Self::PutDevice(device, phone) => next.devices[device] = Some(phone),
            Self::PutGroup(group, named) => {
                let was = now.groups[group].unwrap_or_default();
                names_known_devices(now, &named, &was)?;
                next.groups[group] = Some(named);
            }
            Self::PutUser(user, person, cascade) => next.put_user(user, person, cascade)?,
            Self::RemoveDevice(device, cascade) => {
                let phone = next.devices[device].take().ok_or(ErrorCode::NotFound)?;
                if cascade == Cascade::Nothing && (phone.restricted || phone.first_line_restricted) {
                    return Err(ErrorCode::StillReferenced);
                }
                let people = next.users.iter_mut().flatten().map(|person| &mut person.named);
                let mut names = people.chain(next.groups.iter_mut().flatten()).map(|named| &mut named.devices[device]);
                if cascade == Cascade::Nothing && names.any(|named| *named) {
                    return Err(ErrorCode::StillReferenced);
                }
                names.for_each(|named| *named = false);
            }
            Self::RemoveGroup(group, cascade) => {
                next.groups[group].take().ok_or(ErrorCode::NotFound)?;
                let mut members = next.users.iter_mut().flatten().map(|person| &mut person.groups[group]);
                if cascade == Cascade::Nothing && members.any(|is_member| *is_member) {
                    return Err(ErrorCode::StillReferenced);
                }
                members.for_each(|is_member| *is_member = false);
            }
            Self::RemoveUser(user, cascade) => {
                next.users[user].take().ok_or(ErrorCode::NotFound)?;
                let mut counting = next.certificates.iter_mut().filter(|known| known.user == user && !known.revoked);
                if cascade == Cascade::Nothing && counting.next().is_some() {
                    return Err(ErrorCode::StillCertified);
                }
                counting.for_each(|certificate| certificate.revoked = true);
            }
            Self::Revoke(certificate) => next.certificates[certificate].revoked = true,
        }
        Ok(next)
    }

    /// The same as the gateway is told of users, groups and devices.
    pub(super) fn change(&self) -> Option<(Change, Cascade)> {
        let change = match *self {
            Self::PutDevice(device, phone) => {
                let lines = [(1, phone.first_line_restricted), (2, false)].map(|(number, restricted)| Line {
                    number: LineNumber(number),
                    label: String::new(),
                    restricted,
                });
                let record = DeviceRecord { lines: lines.into(), restricted: phone.restricted, ..Default::default() };
                Change::PutDevice(DEVICES[device].parse().unwrap(), record)
            }
            Self::PutGroup(group, Named { devices, patterns }) => {
                let (devices, patterns) = (some(&DEVICES, devices), some(&PATTERNS, patterns));
                let record = GroupRecord { devices, patterns, ..Default::default() };
                Change::PutGroup(OWN_GROUPS[group].parse().unwrap(), record)
            }
            Self::PutUser(user, person, _) => Change::PutUser(USERS[user].parse().unwrap(), settings(&person)),
            Self::RemoveDevice(device, _) => Change::RemoveDevice(DEVICES[device].parse().unwrap()),
            Self::RemoveGroup(group, _) => Change::RemoveGroup(OWN_GROUPS[group].parse().unwrap()),
            Self::RemoveUser(user, _) => Change::RemoveUser(USERS[user].parse().unwrap()),
            Self::Issue(_) | Self::Mode { .. } | Self::Revoke(_) => return None,
        };
        let cascade = match *self {
            Self::PutUser(.., cascade)
            | Self::RemoveDevice(_, cascade)
            | Self::RemoveGroup(_, cascade)
            | Self::RemoveUser(_, cascade) => cascade,
            _ => Cascade::Nothing,
        };
        Some((change, cascade))
    }
}

impl Wishes {
    fn put_user(&mut self, user: usize, mut person: Person, cascade: Cascade) -> Result<(), ErrorCode> {
        let was = self.users[user];
        if person.srtp && !(person.enabled && person.secure) {
            match (was.is_some_and(|was| was.srtp), cascade) {
                (false, _) => return Err(ErrorCode::GroupNeedsOthers),
                (true, Cascade::Nothing) => return Err(ErrorCode::GroupStillNeeded),
                (true, Cascade::All) => person.srtp = false,
            }
        }
        names_known_devices(self, &person.named, &was.map(|was| was.named).unwrap_or_default())?;
        let was_in = was.map(|was| was.groups).unwrap_or_default();
        if (0..OWN_GROUPS.len()).any(|group| person.groups[group] && !was_in[group] && self.groups[group].is_none()) {
            return Err(ErrorCode::FieldInvalid);
        }
        person.born = was.map_or(self.births + 1, |was| was.born);
        self.births = self.births.max(person.born);
        self.users[user] = Some(person);
        Ok(())
    }
}

/// Only a device that is there can be named. One that is named already may be gone.
fn names_known_devices(now: &Wishes, named: &Named, was: &Named) -> Result<(), ErrorCode> {
    let is_new = |device: usize| named.devices[device] && !was.devices[device];
    match (0..DEVICES.len()).any(|device| is_new(device) && now.devices[device].is_none()) {
        true => Err(ErrorCode::FieldInvalid),
        false => Ok(()),
    }
}

/// A user as the gateway has it.
fn settings(person: &Person) -> UserSettings {
    let groups = [
        (person.enabled, Group::CtiEnabled),
        (person.secure, Group::SecureConnection),
        (person.srtp, Group::SrtpKeyMaterial),
        (person.all_devices, Group::ControlOfAllDevices),
    ];
    UserSettings {
        groups: groups.into_iter().filter_map(|(is_in, group)| is_in.then_some(group)).collect(),
        own_groups: some(&OWN_GROUPS, person.groups),
        devices: some(&DEVICES, person.named.devices),
        patterns: some(&PATTERNS, person.named.patterns),
        locked: person.locked,
        password_on_tls: person.password_on_tls,
        ..UserSettings::default()
    }
}

fn toggle(random: &mut Random, named: &mut Named) {
    let place = random.below(4);
    let names = if random.below(3) == 0 { &mut named.patterns } else { &mut named.devices };
    names[place] = !names[place];
}

fn some<T: std::str::FromStr<Err: std::fmt::Debug> + Ord, const N: usize>(
    names: &[&str; N],
    which: [bool; N],
) -> std::collections::BTreeSet<T> {
    names.iter().zip(which).filter(|(_, is_meant)| *is_meant).map(|(name, _)| name.parse().unwrap()).collect()
}
