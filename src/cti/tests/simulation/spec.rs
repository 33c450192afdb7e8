//! What the simulated operator wants, in plain words, and the rights that are made of it.

use std::sync::Arc;

use super::Random;
use crate::{
    cti::identity::Identity,
    directory::{Device, Directory, Line, User, UserKind},
    hub::{Certificates, Rights},
    model::{Door, Group, LineNumber, Mode},
    trust::{Entry, LedgerSnapshot, Status},
};

pub(super) const DEVICES: [&str; 3] = ["1001", "1002", "1003"];
pub(super) const USERS: [&str; 3] = ["recorder", "viewer", "dashboard"];

/// One version of the operator's wishes.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub(super) version: u64,
    mixed: bool,
    lenient: bool,
    users: [Wish; 3],
    restricted: [bool; 3],
    second_line_restricted: [bool; 3],
    /// By the number of the session that has the certificate. Revoked is for good.
    pub(super) revoked: Vec<usize>,
}

/// A user.
#[derive(Debug, Clone, Copy)]
struct Wish {
    exists: bool,
    enabled: bool,
    secure: bool,
    srtp: bool,
    all_devices: bool,
    devices: [bool; 3],
}

/// Who a simulated app is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Who {
    pub(super) number: usize,
    pub(super) user: usize,
    pub(super) door: Door,
}

impl Spec {
    /// How it begins: the first two users get keys.
    pub(super) fn first() -> Self {
        let wish =
            |secure| Wish { exists: true, enabled: true, secure, srtp: secure, all_devices: false, devices: [true; 3] };
        Self {
            version: 1,
            mixed: true,
            lenient: false,
            users: [wish(true), wish(true), wish(false)],
            restricted: [false; 3],
            second_line_restricted: [false; 3],
            revoked: Vec::new(),
        }
    }

    /// The next version, a little different.
    pub(super) fn changed(&self, random: &mut Random, sessions: usize) -> Self {
        let mut next = Self { version: self.version + 1, ..self.clone() };
        for _ in 0..=random.below(2) {
            let user = &mut next.users[random.below(3)];
            let device = random.below(3);
            match random.below(16) {
                0..=5 => user.srtp = !user.srtp,
                6 => user.enabled = random.below(4) > 0,
                7 => user.exists = random.below(4) > 0,
                8 => user.secure = !user.secure,
                9 | 10 => user.devices[device] = !user.devices[device],
                11 => user.all_devices = !user.all_devices,
                12 => next.restricted[device] = !next.restricted[device],
                13 => next.second_line_restricted[device] = !next.second_line_restricted[device],
                14 if sessions > 0 => next.revoked.push(random.below(sessions)),
                _ => match random.below(4) {
                    0 => next.mixed = !next.mixed,
                    1 => next.lenient = !next.lenient,
                    _ => next.mixed = true,
                },
            }
        }
        for user in &mut next.users {
            user.srtp &= user.enabled && user.secure;
        }
        next
    }

    /// The same wishes after `other`.
    pub(super) fn again(&self, other: &Self) -> Self {
        Self { version: other.version + 1, revoked: other.revoked.clone(), ..self.clone() }
    }

    /// Whether the session may be open (R2, R3, R9, R10).
    pub(super) fn admits(&self, who: Who) -> bool {
        let user = self.users[who.user];
        let by_tls = who.door == Door::Tls;
        let door_is_right = !self.mixed || self.lenient || user.secure == by_tls;
        user.exists && user.enabled && door_is_right && (!by_tls || self.mixed && !self.revoked.contains(&who.number))
    }

    /// Whether it sees the device (R13).
    pub(super) fn shows(&self, who: Who, device: usize) -> bool {
        let user = self.users[who.user];
        user.exists && (user.all_devices || user.devices[device]) && !self.restricted[device]
    }

    /// Whether it sees the line (R13).
    pub(super) fn shows_line(&self, who: Who, device: usize, line: u32) -> bool {
        self.shows(who, device) && !(line == 2 && self.second_line_restricted[device])
    }

    /// Whether it may have keys, as far as the user and the door are concerned (R16).
    pub(super) fn gives_keys(&self, who: Who) -> bool {
        let user = self.users[who.user];
        self.admits(who) && self.mixed && who.door == Door::Tls && user.enabled && user.secure && user.srtp
    }

    /// The user's groups.
    pub(super) fn groups(&self, who: Who) -> [bool; 4] {
        let Wish { enabled, secure, srtp, all_devices, .. } = self.users[who.user];
        [enabled, secure, srtp, all_devices]
    }

    /// The same as the gateway has it.
    pub(super) fn rights(&self, sessions: usize) -> Arc<Rights> {
        let users = USERS.iter().zip(self.users).filter(|(_, wish)| wish.exists).map(|(name, wish)| {
            let groups = [
                (wish.enabled, Group::CtiEnabled),
                (wish.secure, Group::SecureConnection),
                (wish.srtp, Group::SrtpKeyMaterial),
                (wish.all_devices, Group::ControlOfAllDevices),
            ];
            let devices = DEVICES.iter().zip(wish.devices).filter(|(_, associated)| *associated);
            User {
                name: name.parse().unwrap(),
                kind: UserKind::Application,
                groups: groups.into_iter().filter_map(|(is_in, group)| is_in.then_some(group)).collect(),
                devices: Arc::new(devices.map(|(device, _)| device.parse().unwrap()).collect()),
                password: None,
            }
        });
        let devices = (0..3).map(|device| Device {
            restricted: self.restricted[device],
            lines: [(1, false), (2, self.second_line_restricted[device])]
                .map(|(number, restricted)| Line { number: LineNumber(number), label: String::new(), restricted })
                .into(),
            ..Device::named(DEVICES[device].parse().unwrap())
        });
        let entries = (0..sessions).map(|number| Entry {
            user: "whoever".parse().unwrap(),
            instance: "1".parse().unwrap(),
            sha256: sha256(number),
            serial: String::new(),
            not_after: 0,
            foreign: None,
            status: match self.revoked.contains(&number) {
                true => Status::Revoked { at: String::new(), reason: String::new() },
                false => Status::Issued,
            },
        });
        Arc::new(Rights {
            version: self.version,
            mode: if self.mixed { Mode::Mixed } else { Mode::NonSecure },
            lenient_doors: self.lenient,
            directory: Arc::new(Directory::new(users, devices).unwrap()),
            certificates: Certificates { known: Arc::new(LedgerSnapshot::of(entries)), ..Certificates::default() },
        })
    }
}

impl Who {
    /// What a door makes of it by these rights.
    pub(super) fn identity(self, rights: &Rights) -> Identity {
        Identity {
            user: Arc::clone(rights.directory.user(USERS[self.user]).unwrap()),
            instance: format!("{}", self.number).parse().unwrap(),
            door: self.door,
            certificate: (self.door == Door::Tls).then(|| sha256(self.number)),
        }
    }
}

fn sha256(number: usize) -> [u8; 32] {
    [u8::try_from(number).unwrap(); 32]
}
