//! Which end of a dialog is a device, and which a PBX.
//!
//! This module owns the judgement of addresses. Its order is fixed: a PBX if configured; a device if configured; a
//! device if it sent a REGISTER seen answered 2xx, until that expires; a PBX if it answered a REGISTER; a device if it
//! is the Contact of a REGISTER seen answered 2xx, until that expires; a PBX if it stands in the Record-Route of what it
//! sends itself, or takes part in dialogs with two or more other addresses; otherwise a device named by its address.
//! From, To and P-Asserted-Identity never decide.
//! A proxy that forwards the REGISTERs of others is their source too, but no device: it received them, or it registers
//! several contacts.
//!
//! Who registers may write any Contact, so a Contact never moves an address that is known for itself (R42b): one that
//! is configured, counts as a PBX, was the source of a REGISTER, or is the Contact of somebody else. A Contact and its
//! source are one device only if they are one host. A configured Contact of another host gives the source its name,
//! which is how a phone behind a translated address is known, but only as long as nothing was heard of that address
//! itself.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::addresses::{Addresses, Bound, Seen, Standing};
use crate::model::{Address, DeviceName};

/// What an address is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    Pbx,
    /// A device; its own address if several lead to it.
    Device(Address, DeviceName),
}

/// A registration binds contacts for at most this long, whatever the message says.
const MAX_EXPIRES: Duration = Duration::from_secs(7 * 24 * 3600);
/// How many dialogs of an address are remembered, to tell whether it has two peers.
const PEERS: usize = 4;

#[derive(Debug)]
pub(super) struct Roles {
    pbxes: Vec<Address>,
    devices: HashMap<Address, DeviceName>,
    addresses: Addresses,
}

impl Roles {
    pub(super) fn new(pbxes: Vec<Address>, devices: Vec<(Address, DeviceName)>, max: usize, max_pbxes: usize) -> Self {
        Self { pbxes, devices: devices.into_iter().collect(), addresses: Addresses::new(max, max_pbxes) }
    }

    /// What `address` is now; `None` only if it can't be named, which no address is.
    pub(super) fn of(&self, address: Address, now: Instant) -> Option<Role> {
        if self.pbxes.contains(&address) {
            return Some(Role::Pbx);
        }
        if let Some(name) = self.devices.get(&address) {
            return Some(Role::Device(address, name.clone()));
        }
        let seen = self.addresses.get(address);
        if let Some(seen) = seen.filter(|seen| seen.is_registered(now)) {
            return self.registered(address, seen, now);
        }
        if seen.is_some_and(|seen| seen.registrar) {
            return Some(Role::Pbx);
        }
        if let Some(bound) = seen.and_then(|seen| seen.bound(now)) {
            let by = self.addresses.get(bound.by).filter(|by| bound.same_device && by.is_registered(now));
            return match (by, self.devices.get(&bound.by)) {
                (Some(_), Some(name)) => Some(Role::Device(bound.by, name.clone())),
                (Some(by), None) => self.registered(bound.by, by, now),
                (None, _) => unnamed(address),
            };
        }
        if seen.is_some_and(|seen| seen.pbx) { Some(Role::Pbx) } else { unnamed(address) }
    }

    /// The device that registered from `address`. The configured name wins, whichever of its two addresses has it.
    fn registered(&self, address: Address, seen: &Seen, now: Instant) -> Option<Role> {
        let contact = seen.contact.filter(|contact| {
            let bound = self.addresses.get(*contact).filter(|contact| !contact.was_source);
            bound.and_then(|contact| contact.bound(now)).is_some_and(|bound| bound.by == address)
        });
        match contact.and_then(|contact| Some((contact, self.devices.get(&contact)?.clone()))) {
            Some((contact, name)) => Some(Role::Device(contact, name)),
            None => unnamed(address),
        }
    }

    pub(super) fn is_pbx(&self, address: Address, now: Instant) -> bool {
        matches!(self.of(address, now), Some(Role::Pbx))
    }

    /// `address` had a call as a device.
    pub(super) fn note_device(&mut self, address: Address, now: Instant) {
        self.addresses.touch(address, now).was_device = true;
    }

    /// `address` proved to be a PBX.
    pub(super) fn note_pbx(&mut self, address: Address, now: Instant) {
        self.addresses.touch(address, now).pbx = true;
        self.addresses.promote(address, Standing::Pbx);
    }

    /// `address` answered a REGISTER.
    pub(super) fn note_registrar(&mut self, address: Address, now: Instant) {
        self.addresses.touch(address, now).registrar = true;
        self.note_pbx(address, now);
    }

    /// `address` has the dialog `dialog` with `peer`. Two peers in two dialogs make a PBX; two peers in one don't, since
    /// the other end may have several addresses.
    pub(super) fn note_dialog(&mut self, address: Address, peer: Address, dialog: u64, now: Instant) {
        let seen = self.addresses.touch(address, now);
        if seen.pbx || seen.peers.contains(&(peer, dialog)) {
            return;
        }
        if seen.peers.iter().any(|(other, before)| *other != peer && *before != dialog) {
            return self.note_pbx(address, now);
        }
        if seen.peers.len() == PEERS {
            seen.peers.remove(0);
        }
        seen.peers.push((peer, dialog));
    }

    /// A REGISTER from `source` was answered 2xx: `contact` is bound for `expires`, or no longer if that is zero.
    pub(super) fn note_registered(
        &mut self,
        source: Address,
        contact: Option<Address>,
        expires: Duration,
        now: Instant,
    ) {
        let until = Some(now + expires.min(MAX_EXPIRES)).filter(|_| !expires.is_zero());
        let contact = contact.filter(|contact| *contact != source);
        let configured = self.pbxes.contains(&source);
        let known = self.addresses.touch(source, now);
        // It speaks for itself now: whoever claimed it claims it no more.
        (known.was_source, known.bound) = (true, None);
        if let (Some(before), Some(contact)) = (known.contact, contact)
            && before != contact
            && known.is_registered(now)
        {
            // Several contacts from one source: an edge that forwards for phones, and no phone itself.
            (known.registered, known.pbx) = (None, true);
            self.addresses.promote(source, Standing::Pbx);
        }
        let known = self.addresses.touch(source, now);
        let edge = known.pbx || configured;
        if !edge {
            (known.registered, known.contact) = (until, contact);
            self.addresses.promote(source, Standing::Registered);
        }
        if let Some(contact) = contact {
            self.bind(contact, source, edge, until, now);
        }
    }

    /// Binds a Contact to who registered it, if nothing speaks against it.
    fn bind(&mut self, contact: Address, source: Address, edge: bool, until: Option<Instant>, now: Instant) {
        let same_host = contact.socket.ip() == source.socket.ip();
        let configured = self.devices.contains_key(&contact);
        let seen = self.addresses.get(contact);
        let mine = seen.and_then(|seen| seen.bound).is_some_and(|bound| bound.by == source);
        let known_for_itself = seen.is_some_and(|seen| seen.was_source || seen.registrar || seen.pbx);
        let others = seen.and_then(|seen| seen.bound(now)).is_some_and(|bound| bound.by != source);
        let had_calls = !same_host && !mine && seen.is_some_and(|seen| seen.was_device);
        // Of another host a Contact is believed only for its configured name, or if an edge says so.
        let foreign = !same_host && !edge && !configured;
        if self.pbxes.contains(&contact) || known_for_itself || others || had_calls || foreign {
            return;
        }
        let bound = until.map(|until| Bound { by: source, same_device: !edge, until });
        self.addresses.touch(contact, now).bound = bound;
        self.addresses.promote(contact, Standing::Registered);
    }

    /// Forgets addresses that were silent for `after`.
    pub(super) fn forget(&mut self, after: Duration, now: Instant) {
        self.addresses.forget(after, now);
    }

    /// Every device that is configured, registered, or ever had a call and is still remembered.
    pub(super) fn devices(&self) -> impl Iterator<Item = (Address, DeviceName)> {
        let seen = self.addresses.iter().filter_map(move |(address, seen)| {
            let now = self.addresses.latest()?;
            if self.devices.contains_key(&address) {
                return None;
            }
            if !seen.was_device && !seen.is_registered(now) && seen.bound(now).is_none() {
                return None;
            }
            match self.of(address, now)? {
                Role::Device(own, name) if own == address => Some((own, name)),
                _ => None,
            }
        });
        let configured = self.devices.iter().filter(|(address, _)| !self.pbxes.contains(address));
        configured.map(|(address, name)| (*address, name.clone())).chain(seen)
    }

    /// Every address that counts as a PBX.
    pub(super) fn pbxes(&self) -> Vec<Address> {
        let mut found = self.pbxes.clone();
        if let Some(now) = self.addresses.latest() {
            let seen = self.addresses.iter().map(|(address, _)| address);
            found.extend(seen.filter(|address| self.is_pbx(*address, now)));
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// A device that nothing but its address names.
fn unnamed(address: Address) -> Option<Role> {
    Some(Role::Device(address, address.device_name().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn device(roles: &Roles, address: &str, now: Instant) -> Option<String> {
        match roles.of(at(address), now)? {
            Role::Pbx => None,
            Role::Device(_, name) => Some(name.to_string()),
        }
    }

    #[test]
    fn an_address_is_judged_in_the_fixed_order() {
        let now = Instant::now();
        let name: DeviceName = "desk".parse().unwrap();
        let mut roles =
            Roles::new(vec![at("10.0.0.1:1")], vec![(at("10.0.0.1:1"), name.clone()), (at("10.0.0.2:1"), name)], 9, 9);
        assert_eq!(device(&roles, "10.0.0.1:1", now), None);
        roles.note_pbx(at("10.0.0.2:1"), now);
        assert_eq!(device(&roles, "10.0.0.2:1", now).as_deref(), Some("desk"));
        roles.note_pbx(at("10.0.0.3:1"), now);
        roles.note_registered(at("10.0.0.4:1"), None, HOUR, now);
        roles.note_pbx(at("10.0.0.4:1"), now);
        assert_eq!(device(&roles, "10.0.0.3:1", now), None);
        assert_eq!(device(&roles, "10.0.0.4:1", now).as_deref(), Some("10.0.0.4:1"));
        assert_eq!(device(&roles, "10.0.0.4:1", now + HOUR), None);
        assert_eq!(device(&roles, "10.0.0.5:1", now).as_deref(), Some("10.0.0.5:1"));
        assert_eq!(roles.pbxes(), [at("10.0.0.1:1"), at("10.0.0.3:1")]);
    }

    #[test]
    fn two_peers_in_two_dialogs_make_a_pbx_and_two_in_one_don_t() {
        let now = Instant::now();
        let mut roles = Roles::new(vec![], vec![], 9, 9);
        roles.note_dialog(at("10.0.0.1:1"), at("10.0.0.8:1"), 1, now);
        roles.note_dialog(at("10.0.0.1:1"), at("10.0.0.9:1"), 1, now);
        roles.note_dialog(at("10.0.0.2:1"), at("10.0.0.8:1"), 2, now);
        roles.note_dialog(at("10.0.0.2:1"), at("10.0.0.8:1"), 3, now);
        assert_eq!(roles.pbxes(), []);
        roles.note_dialog(at("10.0.0.1:1"), at("10.0.0.9:1"), 4, now);
        assert_eq!(roles.pbxes(), [at("10.0.0.1:1")]);
    }

    #[test]
    fn contact_and_source_are_one_device() {
        let now = Instant::now();
        let desk = (at("192.168.1.5:5060"), "desk".parse().unwrap());
        let mut roles = Roles::new(vec![], vec![desk], 9, 9);
        roles.note_registered(at("203.0.113.5:40000"), Some(at("192.168.1.5:5060")), HOUR, now);
        roles.note_registered(at("203.0.113.6:40000"), Some(at("203.0.113.6:5060")), HOUR, now);
        assert_eq!(device(&roles, "203.0.113.5:40000", now).as_deref(), Some("desk"));
        assert_eq!(device(&roles, "192.168.1.5:5060", now).as_deref(), Some("desk"));
        assert_eq!(device(&roles, "203.0.113.6:5060", now).as_deref(), Some("203.0.113.6:40000"));
        let mut devices: Vec<_> = roles.devices().map(|(_, name)| name.to_string()).collect();
        devices.sort();
        assert_eq!(devices, ["203.0.113.6:40000", "desk"]);
    }

    #[test]
    fn a_source_of_several_contacts_is_an_edge_and_its_contacts_are_devices() {
        let now = Instant::now();
        let mut roles = Roles::new(vec![], vec![], 9, 9);
        roles.note_registered(at("10.0.0.1:1"), Some(at("10.0.0.8:1")), HOUR, now);
        roles.note_registered(at("10.0.0.1:1"), Some(at("10.0.0.9:1")), HOUR, now);
        assert_eq!(device(&roles, "10.0.0.1:1", now), None);
        assert_eq!(device(&roles, "10.0.0.8:1", now).as_deref(), Some("10.0.0.8:1"));
        assert_eq!(device(&roles, "10.0.0.9:1", now).as_deref(), Some("10.0.0.9:1"));
    }

    #[test]
    fn r42b_a_contact_of_another_host_moves_nobody() {
        let now = Instant::now();
        let mut roles = Roles::new(vec![], vec![(at("10.0.0.5:1"), "mine".parse().unwrap())], 9, 9);
        // Not one that nothing is known of, nor one that has registered itself, before or after.
        roles.note_registered(at("10.0.0.9:1"), None, HOUR, now);
        for victim in ["10.0.0.8:1", "10.0.0.9:1"] {
            roles.note_registered(at("10.0.0.5:1"), Some(at(victim)), HOUR, now);
            assert_eq!(device(&roles, victim, now).as_deref(), Some(victim));
            roles.note_registered(at(victim), Some(at(victim)), HOUR, now);
            assert_eq!(device(&roles, victim, now).as_deref(), Some(victim));
        }
    }

    #[test]
    fn r42b_a_configured_name_goes_to_no_second_source_and_back_to_its_own_address() {
        let now = Instant::now();
        let desk = (at("192.168.1.5:5060"), "desk".parse().unwrap());
        let mut roles = Roles::new(vec![], vec![desk], 9, 9);
        roles.note_registered(at("203.0.113.5:1"), Some(at("192.168.1.5:5060")), HOUR, now);
        roles.note_registered(at("203.0.113.6:1"), Some(at("192.168.1.5:5060")), HOUR, now);
        assert_eq!(device(&roles, "203.0.113.5:1", now).as_deref(), Some("desk"));
        assert_eq!(device(&roles, "203.0.113.6:1", now).as_deref(), Some("203.0.113.6:1"));
        roles.note_registered(at("192.168.1.5:5060"), None, HOUR, now);
        assert_eq!(device(&roles, "203.0.113.5:1", now).as_deref(), Some("203.0.113.5:1"));
    }

    #[test]
    fn r42b_who_answered_a_register_is_no_device_by_the_contact_of_another() {
        let now = Instant::now();
        let mut roles = Roles::new(vec![], vec![], 9, 9);
        roles.note_registered(at("10.0.0.5:1"), Some(at("10.0.0.5:2")), HOUR, now);
        roles.note_registrar(at("10.0.0.5:2"), now);
        assert_eq!(device(&roles, "10.0.0.5:2", now), None);
    }

    #[test]
    fn r41a_addresses_are_bounded_and_those_with_standing_stay() {
        let now = Instant::now();
        let mut roles = Roles::new(vec![], vec![], 100, 9);
        roles.note_pbx(at("10.0.0.1:1"), now);
        roles.note_registered(at("10.0.0.2:1"), None, HOUR, now);
        for port in 1..=10_000 {
            roles.note_dialog(at(&format!("10.9.0.1:{port}")), at("10.0.0.1:1"), port, now);
        }
        // Each standing has its own bound: a hundred that are plain, a PBX, a registered device.
        assert_eq!(roles.addresses.len(), (102, 102));
        assert!(roles.is_pbx(at("10.0.0.1:1"), now));
        roles.forget(HOUR, now + 2 * HOUR);
        assert_eq!(roles.addresses.len(), (0, 0));
    }
}
