//! Who may do what, as one numbered snapshot.
//!
//! A change goes to the workers as a [`Barrier`](super::Barrier), through the same first-in-first-out mailboxes as the
//! events: what a worker does before it is by the old rights, what it does after it by the new ones (R15).

use std::{ops::AddAssign, sync::Arc};

use crate::{
    directory::{Directory, User},
    model::{DeviceName, Group, LineNumber, Mode},
    trust::{ClientCrls, Ledger, LedgerSnapshot, Status},
};

/// One version of the rights. It never changes.
#[derive(Debug)]
pub struct Rights {
    /// Counted from 1, from the start of the gateway.
    pub version: u64,
    /// The cluster security mode (R2).
    pub mode: Mode,
    /// Both kinds of users may use both doors (R10).
    pub lenient_doors: bool,
    /// Users and devices.
    pub directory: Arc<Directory>,
    /// Which certificates count.
    pub certificates: Certificates,
}

/// Which certificates count (R3, R11).
#[derive(Debug, Default)]
pub struct Certificates {
    /// The ledger, as it was when the rights were made.
    pub known: Arc<LedgerSnapshot>,
    /// The ledger itself, for certificates that were issued since; `None` where there is no TLS door.
    pub ledger: Option<Arc<Ledger>>,
    /// What other CAs have revoked.
    pub crls: Arc<ClientCrls>,
}

/// How a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It counts.
    Issued,
    /// It was revoked, by the ledger or by the CRL of its CA.
    Revoked,
    /// The ledger doesn't know it.
    Unknown,
}

/// What a worker did at a barrier, in numbers of sessions and frames. Sessions that are still on their way to it are
/// judged when they arrive, and not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Effect {
    /// Sessions that it has, after it.
    pub sessions: usize,
    /// Of those, sessions that were told of a change.
    pub changed: usize,
    /// Sessions that it closed.
    pub closed: usize,
    /// Frames with a key that waited, and left without it or not at all.
    pub withheld: usize,
}

impl Rights {
    /// Whether `user` must not see events there (R13): the device isn't the user's, or it or the line is restricted.
    pub fn hides(&self, user: &User, device: &DeviceName, line: LineNumber) -> bool {
        !self.directory.may_see(user, device) || self.restricts(device, line)
    }

    /// Whether the device or the line is restricted (R13).
    pub fn restricts(&self, device: &DeviceName, line: LineNumber) -> bool {
        self.directory.device(device.as_str()).is_some_and(|device| !device.line_is_visible(line))
    }

    /// How many devices `user` may see, if there are `known_devices` in all, found ones included.
    pub fn device_count(&self, user: &User, known_devices: usize) -> usize {
        if user.groups.contains(Group::ControlOfAllDevices) {
            let restricted = self.directory.devices().filter(|device| device.restricted).count();
            known_devices.saturating_sub(restricted)
        } else {
            user.devices.iter().filter(|device| self.directory.may_see(user, device)).count()
        }
    }

    /// The configured devices.
    pub fn devices(&self) -> impl Iterator<Item = DeviceName> {
        self.directory.devices().map(|device| device.name.clone())
    }
}

impl Certificates {
    /// How the certificate with this SHA-256 stands. Revoked is for good; one that was issued since counts, too.
    pub fn standing(&self, sha256: &[u8; 32]) -> Standing {
        let since = self.ledger.as_ref().map(|ledger| ledger.last_read());
        let entries = [Some(&self.known), since.as_ref()].map(|snapshot| snapshot?.lookup(sha256));
        let mut standing = Standing::Unknown;
        for entry in entries.into_iter().flatten() {
            match entry.status {
                Status::Issued if !self.crls.revokes(entry) => standing = Standing::Issued,
                Status::Issued | Status::Revoked { .. } => return Standing::Revoked,
            }
        }
        standing
    }
}

impl AddAssign for Effect {
    fn add_assign(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.changed += other.changed;
        self.closed += other.closed;
        self.withheld += other.withheld;
    }
}
