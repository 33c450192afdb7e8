//! Which end of a dialog is a device, and which a PBX.
//!
//! This module owns the judgement of addresses. Its order is fixed: a PBX if configured; a device if configured; a
//! device if it sent a REGISTER seen answered 2xx, until that expires; a PBX if it answered a REGISTER; a device if it
//! is the Contact of a REGISTER seen answered 2xx, until that expires; a PBX if something proves it; otherwise a device
//! named by its address. From, To and P-Asserted-Identity never decide.
//!
//! Strong proofs: it passes an INVITE on; the answer repeats its own Record-Route; it registers others; it is another
//! port of a PBX's host and names that PBX as its Contact. Weak ones, that a phone of an unusual kind may give too: it
//! asks for credentials; it has answered dialogs with two other addresses that are no PBXes. A weak proof counts
//! nothing against a registration, and a later one overrules it.
//! A proxy that forwards the REGISTERs of others is their source too, but no device: it received them, or it registers
//! several contacts for several users. A phone that registers another Contact has moved.
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

pub(super) use super::addresses::Proof;
use super::addresses::{Addresses, Bound, Seen, Standing};
use crate::model::{Address, DeviceName};

/// What an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Pbx,
    /// A device; its own address if several lead to it.
    Device(Address),
}

/// A REGISTER that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Registration {
    pub(super) source: Address,
    /// A number for the user that it registers.
    pub(super) user: u64,
    pub(super) contact: Option<Address>,
    /// Zero: no longer.
    pub(super) expires: Duration,
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

    /// These are the configured devices from now on.
    pub(super) fn set_devices(&mut self, devices: Vec<(Address, DeviceName)>) {
        self.devices = devices.into_iter().collect();
    }

    /// What `address` is now.
    pub(super) fn of(&self, address: Address, now: Instant) -> Role {
        if self.pbxes.contains(&address) {
            return Role::Pbx;
        }
        if self.devices.contains_key(&address) {
            return Role::Device(address);
        }
        let Some(seen) = self.addresses.get(address) else { return Role::Device(address) };
        if seen.is_registered(now) {
            return Role::Device(self.registered(address, seen, now));
        }
        if seen.registrar {
            return Role::Pbx;
        }
        if let Some(bound) = seen.bound(now) {
            let by = self.addresses.get(bound.by).filter(|by| bound.same_device && by.is_registered(now));
            return Role::Device(match by {
                Some(_) if self.devices.contains_key(&bound.by) => bound.by,
                Some(by) => self.registered(bound.by, by, now),
                None => address,
            });
        }
        if seen.pbx.is_some() { Role::Pbx } else { Role::Device(address) }
    }

    /// The name of the device whose own address this is; `None` only if it can't be named, which no address is.
    pub(super) fn name_of(&self, device: Address) -> Option<DeviceName> {
        self.devices.get(&device).cloned().or_else(|| device.device_name().ok())
    }

    /// The own address of the device that registered from `address`. The configured one wins, of the two that it has.
    fn registered(&self, address: Address, seen: &Seen, now: Instant) -> Address {
        let contact = seen.contact.filter(|contact| {
            let bound = self.addresses.get(*contact).filter(|contact| !contact.was_source);
            bound.and_then(|contact| contact.bound(now)).is_some_and(|bound| bound.by == address)
        });
        contact.filter(|contact| self.devices.contains_key(contact)).unwrap_or(address)
    }

    pub(super) fn is_pbx(&self, address: Address, now: Instant) -> bool {
        self.of(address, now) == Role::Pbx
    }

    /// Whether more is known of `address` as a device than that nothing else is.
    pub(super) fn is_known_device(&self, address: Address, now: Instant) -> bool {
        let seen = self.addresses.get(address);
        let registered = seen.is_some_and(|seen| seen.is_registered(now) || seen.bound(now).is_some());
        registered && !self.is_pbx(address, now) || self.devices.contains_key(&address)
    }

    /// Whether `address` is registered, for the user that one of `others` was last registered for.
    pub(super) fn have_one_user(&self, others: &[Address], address: Address, now: Instant) -> bool {
        let user = |address: Address| self.addresses.get(address).and_then(|seen| seen.user);
        let registered = self.addresses.get(address).is_some_and(|seen| seen.is_registered(now));
        registered && user(address).is_some() && others.iter().any(|other| user(*other) == user(address))
    }

    /// `address` had a call as a device.
    pub(super) fn note_device(&mut self, address: Address, now: Instant) {
        self.addresses.touch(address, now).was_device = true;
    }

    /// `address` proved to be a PBX. Returns whether that is news.
    pub(super) fn note_pbx(&mut self, address: Address, proof: Proof, now: Instant) -> bool {
        if self.addresses.get(address).and_then(|seen| seen.pbx) >= Some(proof)
            || proof == Proof::Weak && self.is_known_device(address, now)
        {
            return false;
        }
        self.addresses.touch(address, now).pbx = Some(proof);
        self.addresses.promote(address, Standing::Pbx);
        true
    }

    /// `address` answered a REGISTER.
    pub(super) fn note_registrar(&mut self, address: Address, now: Instant) {
        self.addresses.touch(address, now).registrar = true;
        self.note_pbx(address, Proof::Strong, now);
    }

    /// `address` has the answered dialog `dialog` with `peer`. Returns whether it looks like a PBX now: two peers in two
    /// dialogs do, and two in one don't, since the other end may have several addresses. A peer that is a PBX doesn't
    /// count: a phone may have several of these.
    pub(super) fn note_dialog(&mut self, address: Address, peer: Address, dialog: u64, now: Instant) -> bool {
        let seen = self.addresses.touch(address, now);
        if seen.pbx.is_some() || seen.peers.contains(&(peer, dialog)) {
            return false;
        }
        let others = seen.peers.clone();
        if self.is_pbx(peer, now) {
            return false;
        }
        let another =
            |(other, before): &(Address, u64)| *other != peer && *before != dialog && !self.is_pbx(*other, now);
        if others.iter().any(another) {
            return true;
        }
        let seen = self.addresses.touch(address, now);
        if seen.peers.len() == PEERS {
            seen.peers.remove(0);
        }
        seen.peers.push((peer, dialog));
        false
    }

    /// A REGISTER was answered 2xx that takes all back that `source` registered.
    pub(super) fn note_unregistered(&mut self, source: Address, now: Instant) {
        let known = self.addresses.touch(source, now);
        let (contact, user) = (known.contact, known.user.unwrap_or_default());
        self.note_registered(Registration { source, user, contact, expires: Duration::ZERO }, now);
    }

    /// A REGISTER was answered 2xx: its Contact is bound as long as it says.
    pub(super) fn note_registered(&mut self, registration: Registration, now: Instant) {
        let Registration { source, user, contact, expires } = registration;
        let until = Some(now + expires.min(MAX_EXPIRES)).filter(|_| !expires.is_zero());
        let itself = contact.is_some_and(|contact| contact.socket.ip() == source.socket.ip());
        let contact = contact.filter(|contact| *contact != source);
        let configured = self.pbxes.contains(&source);
        let known = self.addresses.touch(source, now);
        // It speaks for itself now: whoever claimed it claims it no more.
        (known.was_source, known.bound) = (true, None);
        if itself && known.pbx == Some(Proof::Weak) {
            known.pbx = None;
        }
        if let (Some(before), Some(contact)) = (known.contact, contact)
            && before != contact
            && known.user.is_some_and(|before| before != user)
            && known.is_registered(now)
            && until.is_some()
        {
            // Several contacts of several users from one source: an edge that forwards for phones, and no phone itself.
            (known.registered, known.pbx) = (None, Some(Proof::Strong));
            self.addresses.promote(source, Standing::Pbx);
        }
        let known = self.addresses.touch(source, now);
        let edge = known.pbx.is_some() || configured;
        // Of several bindings the one that was made last counts: who takes another one back keeps it.
        let counts = until.is_some() || known.contact == contact;
        if !edge && counts {
            (known.registered, known.contact, known.user) = (until, contact, Some(user));
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
        let known_for_itself = seen.is_some_and(|seen| seen.was_source || seen.registrar || seen.pbx.is_some());
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

    /// Forgets addresses that were silent for `after`, and aren't registered any more.
    pub(super) fn forget(&mut self, after: Duration, now: Instant) {
        self.addresses.forget(after, now);
    }

    /// How many addresses made room: those of which only dialogs are known, found PBXes, registered ones.
    pub(super) fn displaced(&self) -> [u64; 3] {
        self.addresses.displaced
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
            let own = self.of(address, now) == Role::Device(address);
            Some((address, self.name_of(address)?)).filter(|_| own)
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

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(text: &str) -> Address {
        text.parse().unwrap()
    }

    fn device(roles: &Roles, address: &str, now: Instant) -> Option<String> {
        match roles.of(at(address), now) {
            Role::Pbx => None,
            Role::Device(own) => roles.name_of(own).map(|name| name.to_string()),
        }
    }

    /// Each contact is that of a user of its own.
    fn registers(roles: &mut Roles, source: Address, contact: Option<Address>, now: Instant) {
        let mut hasher = DefaultHasher::new();
        contact.hash(&mut hasher);
        roles.note_registered(Registration { source, user: hasher.finish(), contact, expires: HOUR }, now);
    }

    fn has_dialog(roles: &mut Roles, address: &str, peer: &str, dialog: u64, now: Instant) {
        if roles.note_dialog(at(address), at(peer), dialog, now) {
            roles.note_pbx(at(address), Proof::Weak, now);
        }
    }

    #[test]
    fn an_address_is_judged_in_the_fixed_order() {
        let now = Instant::now();
        let name: DeviceName = "desk".parse().unwrap();
        let mut roles =
            Roles::new(vec![at("10.0.0.1:1")], vec![(at("10.0.0.1:1"), name.clone()), (at("10.0.0.2:1"), name)], 9, 9);
        assert_eq!(device(&roles, "10.0.0.1:1", now), None);
        roles.note_pbx(at("10.0.0.2:1"), Proof::Strong, now);
        assert_eq!(device(&roles, "10.0.0.2:1", now).as_deref(), Some("desk"));
        roles.note_pbx(at("10.0.0.3:1"), Proof::Strong, now);
        registers(&mut roles, at("10.0.0.4:1"), None, now);
        roles.note_pbx(at("10.0.0.4:1"), Proof::Strong, now);
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
        has_dialog(&mut roles, "10.0.0.1:1", "10.0.0.8:1", 1, now);
        has_dialog(&mut roles, "10.0.0.1:1", "10.0.0.9:1", 1, now);
        has_dialog(&mut roles, "10.0.0.2:1", "10.0.0.8:1", 2, now);
        has_dialog(&mut roles, "10.0.0.2:1", "10.0.0.8:1", 3, now);
        assert_eq!(roles.pbxes(), []);
        has_dialog(&mut roles, "10.0.0.1:1", "10.0.0.9:1", 4, now);
        assert_eq!(roles.pbxes(), [at("10.0.0.1:1")]);
    }

    #[test]
    fn a_phone_of_two_pbxes_is_none() {
        let now = Instant::now();
        let mut roles = Roles::new(vec![at("10.0.0.8:1")], vec![], 9, 9);
        roles.note_pbx(at("10.0.0.9:1"), Proof::Weak, now);
        for (peer, dialog) in [("10.0.0.8:1", 1), ("10.0.0.9:1", 2), ("10.0.0.8:1", 3), ("10.0.0.7:1", 4)] {
            has_dialog(&mut roles, "10.0.0.1:1", peer, dialog, now);
        }
        assert_eq!(device(&roles, "10.0.0.1:1", now).as_deref(), Some("10.0.0.1:1"));
    }

    #[test]
    fn a_weak_proof_counts_nothing_against_a_registration_and_a_strong_one_does() {
        let now = Instant::now();
        let phone = at("10.0.0.1:1");
        let mut roles = Roles::new(vec![], vec![], 9, 9);
        registers(&mut roles, phone, Some(phone), now);
        assert!(!roles.note_pbx(phone, Proof::Weak, now));
        assert_eq!(device(&roles, "10.0.0.1:1", now + HOUR).as_deref(), Some("10.0.0.1:1"));
        // Not registered any more, and again.
        assert!(roles.note_pbx(phone, Proof::Weak, now + HOUR));
        assert_eq!(device(&roles, "10.0.0.1:1", now + HOUR), None);
        registers(&mut roles, phone, Some(phone), now + HOUR);
        assert_eq!(device(&roles, "10.0.0.1:1", now + 3 * HOUR).as_deref(), Some("10.0.0.1:1"));
        roles.note_pbx(phone, Proof::Strong, now + 3 * HOUR);
        registers(&mut roles, phone, Some(phone), now + 3 * HOUR);
        assert_eq!(device(&roles, "10.0.0.1:1", now + 3 * HOUR), None);
    }

    #[test]
    fn contact_and_source_are_one_device() {
        let now = Instant::now();
        let desk = (at("192.168.1.5:5060"), "desk".parse().unwrap());
        let mut roles = Roles::new(vec![], vec![desk], 9, 9);
        registers(&mut roles, at("203.0.113.5:40000"), Some(at("192.168.1.5:5060")), now);
        registers(&mut roles, at("203.0.113.6:40000"), Some(at("203.0.113.6:5060")), now);
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
        registers(&mut roles, at("10.0.0.1:1"), Some(at("10.0.0.8:1")), now);
        registers(&mut roles, at("10.0.0.1:1"), Some(at("10.0.0.9:1")), now);
        assert_eq!(device(&roles, "10.0.0.1:1", now), None);
        assert_eq!(device(&roles, "10.0.0.8:1", now).as_deref(), Some("10.0.0.8:1"));
        assert_eq!(device(&roles, "10.0.0.9:1", now).as_deref(), Some("10.0.0.9:1"));
    }

    #[test]
    fn an_address_is_kept_as_long_as_its_registration_lasts() {
        let now = Instant::now();
        let desk = (at("192.168.1.5:5060"), "desk".parse().unwrap());
        let mut roles = Roles::new(vec![], vec![desk], 9, 9);
        let contact = Some(at("192.168.1.5:5060"));
        let registration = Registration { source: at("203.0.113.5:1"), user: 1, contact, expires: 48 * HOUR };
        roles.note_registered(registration, now);
        // Younger, and over earlier.
        registers(&mut roles, at("203.0.113.6:1"), None, now + HOUR);
        roles.forget(24 * HOUR, now + 26 * HOUR);
        assert_eq!(roles.addresses.len(), (2, 2));
        assert_eq!(device(&roles, "203.0.113.5:1", now + 47 * HOUR).as_deref(), Some("desk"));
        roles.forget(24 * HOUR, now + 48 * HOUR);
        assert_eq!(roles.addresses.len(), (0, 0));
    }

    #[test]
    fn r42b_a_contact_of_another_host_moves_nobody() {
        let now = Instant::now();
        let mut roles = Roles::new(vec![], vec![(at("10.0.0.5:1"), "mine".parse().unwrap())], 9, 9);
        // Not one that nothing is known of, nor one that has registered itself, before or after.
        registers(&mut roles, at("10.0.0.9:1"), None, now);
        for victim in ["10.0.0.8:1", "10.0.0.9:1"] {
            registers(&mut roles, at("10.0.0.5:1"), Some(at(victim)), now);
            assert_eq!(device(&roles, victim, now).as_deref(), Some(victim));
            registers(&mut roles, at(victim), Some(at(victim)), now);
            assert_eq!(device(&roles, victim, now).as_deref(), Some(victim));
        }
    }

    #[test]
    fn r42b_a_configured_name_goes_to_no_second_source_and_back_to_its_own_address() {
        let now = Instant::now();
        let desk = (at("192.168.1.5:5060"), "desk".parse().unwrap());
        let mut roles = Roles::new(vec![], vec![desk], 9, 9);
        registers(&mut roles, at("203.0.113.5:1"), Some(at("192.168.1.5:5060")), now);
        registers(&mut roles, at("203.0.113.6:1"), Some(at("192.168.1.5:5060")), now);
        assert_eq!(device(&roles, "203.0.113.5:1", now).as_deref(), Some("desk"));
        assert_eq!(device(&roles, "203.0.113.6:1", now).as_deref(), Some("203.0.113.6:1"));
        registers(&mut roles, at("192.168.1.5:5060"), None, now);
        assert_eq!(device(&roles, "203.0.113.5:1", now).as_deref(), Some("203.0.113.5:1"));
    }

    #[test]
    fn r42b_who_answered_a_register_is_no_device_by_the_contact_of_another() {
        let now = Instant::now();
        let mut roles = Roles::new(vec![], vec![], 9, 9);
        registers(&mut roles, at("10.0.0.5:1"), Some(at("10.0.0.5:2")), now);
        roles.note_registrar(at("10.0.0.5:2"), now);
        assert_eq!(device(&roles, "10.0.0.5:2", now), None);
    }

    #[test]
    fn r41a_addresses_are_bounded_and_those_with_standing_stay() {
        let now = Instant::now();
        let mut roles = Roles::new(vec![], vec![], 100, 9);
        roles.note_pbx(at("10.0.0.1:1"), Proof::Strong, now);
        registers(&mut roles, at("10.0.0.2:1"), None, now);
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
