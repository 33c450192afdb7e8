//! Whose session it is.

use std::sync::Arc;

use crate::{
    directory::User,
    model::{Door, Group, InstanceId},
};

/// Whose session it is, and how it came in.
#[derive(Clone)]
pub(super) struct Identity {
    /// The user, as the directory has it by the rights that the session knows.
    pub(super) user: Arc<User>,
    /// The app's instance.
    pub(super) instance: InstanceId,
    /// The door.
    pub(super) door: Door,
    /// Whether its app has proven that it knows the user's password: always on the clear door.
    pub(super) password_proven: bool,
    /// SHA-256 of the certificate that it opened by, on the TLS door: a revocation closes exactly its sessions.
    pub(super) certificate: Option<[u8; 32]>,
}

impl Identity {
    /// Whether the user controls all devices (R13).
    pub(super) fn sees_all_devices(&self) -> bool {
        self.user.groups.contains(Group::ControlOfAllDevices)
    }
}
