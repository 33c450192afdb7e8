//! A change of rights, as far as one worker's sessions are concerned (R15): who stays, and what became different.
//!
//! One [`Renewal`] serves all sessions of a worker, so that what is the same for all sessions of a user is found out once.

use std::{collections::HashMap, sync::Arc};

use callgate_wire::v1::ErrorCode;

use super::identity::Identity;
use crate::{
    directory::{Device, User},
    hub::{Rights, Standing},
    model::{Door, Group, Mode, UserName},
    policy::{Admission, Entrance, Verdict, admit},
};

/// The new rights, and what was found out about them.
pub(super) struct Renewal {
    /// What counts now.
    pub(super) rights: Arc<Rights>,
    known_devices: usize,
    /// By user, and by the version that the session had before.
    changes: HashMap<(UserName, u64), Changes>,
}

/// What is different for the sessions of a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changes {
    /// The groups.
    pub(super) groups: bool,
    /// The list of devices, or what it says of one.
    pub(super) devices: bool,
    /// How many devices it sees now.
    pub(super) device_count: u32,
}

impl Renewal {
    /// A change to these rights. `known_devices` is how many devices there are, found ones included.
    pub(super) fn new(rights: Arc<Rights>, known_devices: usize) -> Self {
        Self { rights, known_devices, changes: HashMap::new() }
    }

    /// Whether a session may stay: the user, as the directory has it now.
    ///
    /// # Errors
    /// The code to close it with: the one that it would be refused with if it opened now.
    pub(super) fn judge(&self, identity: &Identity) -> Result<Arc<User>, ErrorCode> {
        let rights = &self.rights;
        let user = rights.directory.user(identity.user.name.as_str());
        let (entrance, certificate) = match (identity.door, &identity.certificate) {
            (Door::Clear, _) => (Entrance::Clear, Standing::Issued),
            // What the ledger says of a certificate's owner never changes.
            (Door::Tls, Some(sha256)) => {
                (Entrance::Tls { certificate_matches: true }, rights.certificates.standing(sha256))
            }
            (Door::Tls, None) => (Entrance::Tls { certificate_matches: true }, Standing::Unknown),
        };
        let verdict = admit(&Admission {
            mode: rights.mode,
            lenient_doors: rights.lenient_doors,
            groups: user.map(|user| user.groups).unwrap_or_default(),
            locked: user.is_some_and(|user| user.locked),
            password_on_tls: user.is_some_and(|user| user.password_on_tls),
            password_proven: identity.password_proven,
            entrance,
        });
        match (verdict, certificate, user) {
            _ if rights.mode == Mode::NonSecure && identity.door == Door::Tls => Err(ErrorCode::ModeNonSecure),
            (_, Standing::Revoked, _) => Err(ErrorCode::CertificateRevoked),
            (_, Standing::Unknown, _) => Err(ErrorCode::CertificateNotInLedger),
            (Verdict::Refuse(code, _), ..) => Err(code),
            (Verdict::Admit(_), _, Some(user)) if user.incarnation == identity.user.incarnation => Ok(Arc::clone(user)),
            // Somebody else has its name by now. Without a group nobody is admitted.
            (Verdict::Admit(_), ..) => Err(ErrorCode::CtiNotEnabled),
        }
    }

    /// What is different for a session of `user`, who was `was` by the rights `before`.
    pub(super) fn changes(&mut self, before: &Rights, was: &User, user: &User) -> Changes {
        let (rights, known_devices) = (&self.rights, self.known_devices);
        let key = (user.name.clone(), before.version);
        *self.changes.entry(key).or_insert_with(|| Changes {
            groups: was.groups != user.groups,
            devices: !seen(before, was).eq(seen(rights, user)),
            device_count: u32::try_from(rights.device_count(user, known_devices)).unwrap_or(u32::MAX),
        })
    }
}

/// What the list says of the configured devices that the user sees.
fn seen<'a>(rights: &'a Rights, user: &'a User) -> impl Iterator<Item = Seen<'a>> {
    let (all, some) = if user.groups.contains(Group::ControlOfAllDevices) {
        (Some(rights.directory.devices()), None)
    } else {
        (None, Some(user.devices.iter().filter_map(|name| rights.directory.device(name.as_str()))))
    };
    let devices = all.into_iter().flatten().chain(some.into_iter().flatten());
    devices.filter(|device| !device.restricted).map(|device| Seen(device))
}

/// A device as the list shows it.
struct Seen<'a>(&'a Device);

impl PartialEq for Seen<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
            && self.0.description == other.0.description
            && self.0.visible_lines().eq(other.0.visible_lines())
    }
}
