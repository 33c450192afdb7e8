//! Which end of a dialog is a device, and which a PBX.
//!
//! This module owns what was seen of addresses. The order of judgement is fixed: a PBX if configured; a device if
//! configured; a device if it is the Contact or the source of a REGISTER seen answered 2xx, until that expires; a PBX
//! if it answered a REGISTER, stands in Record-Route, or takes part in dialogs with two or more other addresses;
//! otherwise a device named by its address. From, To and P-Asserted-Identity never decide.
//! A proxy that forwards the REGISTERs of others is their source too, but no device: it received them, or it registers
//! several contacts.
//!
//! Memory is bounded: addresses of which nothing but a dialog is known are forgotten first, the oldest first.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

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

#[derive(Debug, Default)]
pub(super) struct Roles {
    pbxes: Vec<Address>,
    devices: HashMap<Address, DeviceName>,
    seen: HashMap<Address, Seen>,
    /// The order of forgetting: plain addresses before those with standing, each the oldest first.
    order: BTreeMap<(Standing, u64), Address>,
    clock: u64,
    /// The latest moment that was heard of.
    latest: Option<Instant>,
    max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Plain,
    Earned,
}

#[derive(Debug)]
struct Seen {
    place: (Standing, u64),
    touched: Instant,
    /// It is a registered device until then.
    registered: Option<Instant>,
    /// The address that registered this one as its Contact: both are one device.
    owner: Option<Address>,
    /// The Contact that this address registered.
    contact: Option<Address>,
    pbx: bool,
    was_device: bool,
    peers: Vec<(Address, u64)>,
}

impl Roles {
    pub(super) fn new(pbxes: Vec<Address>, devices: Vec<(Address, DeviceName)>, max: usize) -> Self {
        Self { pbxes, devices: devices.into_iter().collect(), max: max.max(1), ..Self::default() }
    }

    /// What `address` is now; `None` only if it can't be named, which no address is.
    pub(super) fn of(&self, address: Address, now: Instant) -> Option<Role> {
        if self.pbxes.contains(&address) {
            return Some(Role::Pbx);
        }
        if let Some(name) = self.devices.get(&address) {
            return Some(Role::Device(address, name.clone()));
        }
        let seen = self.seen.get(&address);
        let registered = seen.is_some_and(|seen| seen.registered.is_some_and(|until| now < until));
        if !registered && seen.is_some_and(|seen| seen.pbx) {
            return Some(Role::Pbx);
        }
        let own = seen.and_then(|seen| seen.owner).filter(|_| registered).unwrap_or(address);
        // The configured name wins, whichever of the two addresses has it.
        let named = [own, address]
            .into_iter()
            .chain(self.seen.get(&own).filter(|_| registered).and_then(|seen| seen.contact))
            .find_map(|address| self.devices.get(&address).map(|name| (address, name.clone())));
        match named {
            Some((address, name)) => Some(Role::Device(address, name)),
            None => Some(Role::Device(own, own.device_name().ok()?)),
        }
    }

    pub(super) fn is_pbx(&self, address: Address, now: Instant) -> bool {
        matches!(self.of(address, now), Some(Role::Pbx))
    }

    /// `address` had a call as a device.
    pub(super) fn note_device(&mut self, address: Address, now: Instant) {
        if !self.devices.contains_key(&address) {
            self.touch(address, now).was_device = true;
        }
    }

    /// `address` proved to be a PBX.
    pub(super) fn note_pbx(&mut self, address: Address, now: Instant) {
        self.touch(address, now).pbx = true;
        self.promote(address);
    }

    /// `address` has the dialog `dialog` with `peer`. Two peers in two dialogs make a PBX; two peers in one don't, since
    /// the other end may have several addresses.
    pub(super) fn note_dialog(&mut self, address: Address, peer: Address, dialog: u64, now: Instant) {
        let seen = self.touch(address, now);
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
        let known = self.touch(source, now);
        if let (Some(before), Some(contact)) = (known.contact, contact)
            && before != contact
            && known.registered.is_some_and(|until| now < until)
        {
            // Several contacts from one source: an edge that forwards for phones, and no phone itself.
            (known.registered, known.pbx) = (None, true);
            self.disown(before);
            self.promote(source);
        }
        let edge = self.touch(source, now).pbx;
        if !edge {
            let known = self.touch(source, now);
            (known.registered, known.contact) = (until, contact.filter(|contact| *contact != source));
            self.promote(source);
        }
        if let Some(contact) = contact.filter(|contact| *contact != source) {
            let bound = self.touch(contact, now);
            (bound.registered, bound.owner) = (until, (!edge).then_some(source));
            self.promote(contact);
        }
    }

    /// Forgets plain addresses that were silent for `after`.
    pub(super) fn forget(&mut self, after: Duration, now: Instant) {
        self.latest = Some(now);
        while let Some((place, address)) = self.order.first_key_value().map(|(place, address)| (*place, *address)) {
            let silent = self.seen.get(&address).is_none_or(|seen| now.duration_since(seen.touched) > after);
            if !silent {
                return;
            }
            self.order.remove(&place);
            self.seen.remove(&address);
        }
    }

    /// Every device that is configured, registered, or ever had a call and is still remembered.
    pub(super) fn devices(&self) -> impl Iterator<Item = (Address, DeviceName)> {
        let seen = self.seen.iter().filter_map(move |(address, seen)| {
            let now = self.latest?;
            if self.devices.contains_key(address) {
                return None;
            }
            if !seen.was_device && seen.registered.is_none_or(|until| until <= now) {
                return None;
            }
            match self.of(*address, now)? {
                Role::Device(own, name) if own == *address => Some((own, name)),
                _ => None,
            }
        });
        let configured = self.devices.iter().filter(|(address, _)| !self.pbxes.contains(address));
        configured.map(|(address, name)| (*address, name.clone())).chain(seen)
    }

    /// Every address that counts as a PBX.
    pub(super) fn pbxes(&self) -> Vec<Address> {
        let mut found = self.pbxes.clone();
        if let Some(now) = self.latest {
            found.extend(self.seen.keys().filter(|address| self.is_pbx(**address, now)));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    fn disown(&mut self, contact: Address) {
        if let Some(seen) = self.seen.get_mut(&contact) {
            seen.owner = None;
        }
    }

    /// The record of `address`, which is now the youngest of its standing.
    fn touch(&mut self, address: Address, now: Instant) -> &mut Seen {
        self.clock += 1;
        self.latest = Some(now);
        if !self.seen.contains_key(&address)
            && self.seen.len() >= self.max
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.seen.remove(&oldest);
        }
        let place = (Standing::Plain, self.clock);
        let seen = self.seen.entry(address).or_insert_with(|| Seen {
            place,
            touched: now,
            registered: None,
            owner: None,
            contact: None,
            pbx: false,
            was_device: false,
            peers: Vec::new(),
        });
        self.order.remove(&seen.place);
        seen.place.1 = self.clock;
        seen.touched = now;
        self.order.insert(seen.place, address);
        seen
    }

    fn promote(&mut self, address: Address) {
        if let Some(seen) = self.seen.get_mut(&address) {
            self.order.remove(&seen.place);
            seen.place.0 = Standing::Earned;
            self.order.insert(seen.place, address);
        }
    }
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
            Roles::new(vec![at("10.0.0.1:1")], vec![(at("10.0.0.1:1"), name.clone()), (at("10.0.0.2:1"), name)], 9);
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
        let mut roles = Roles::new(vec![], vec![], 9);
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
        let mut roles = Roles::new(vec![], vec![desk], 9);
        roles.note_registered(at("203.0.113.5:40000"), Some(at("192.168.1.5:5060")), HOUR, now);
        roles.note_registered(at("203.0.113.6:40000"), Some(at("192.168.1.6:5060")), HOUR, now);
        assert_eq!(device(&roles, "203.0.113.5:40000", now).as_deref(), Some("desk"));
        assert_eq!(device(&roles, "192.168.1.5:5060", now).as_deref(), Some("desk"));
        assert_eq!(device(&roles, "192.168.1.6:5060", now).as_deref(), Some("203.0.113.6:40000"));
        let mut devices: Vec<_> = roles.devices().map(|(_, name)| name.to_string()).collect();
        devices.sort();
        assert_eq!(devices, ["203.0.113.6:40000", "desk"]);
    }

    #[test]
    fn a_source_of_several_contacts_is_an_edge_and_its_contacts_are_devices() {
        let now = Instant::now();
        let mut roles = Roles::new(vec![], vec![], 9);
        roles.note_registered(at("10.0.0.1:1"), Some(at("10.0.0.8:1")), HOUR, now);
        roles.note_registered(at("10.0.0.1:1"), Some(at("10.0.0.9:1")), HOUR, now);
        assert_eq!(device(&roles, "10.0.0.1:1", now), None);
        assert_eq!(device(&roles, "10.0.0.8:1", now).as_deref(), Some("10.0.0.8:1"));
        assert_eq!(device(&roles, "10.0.0.9:1", now).as_deref(), Some("10.0.0.9:1"));
    }

    #[test]
    fn r41a_addresses_are_bounded_and_those_with_standing_stay() {
        let now = Instant::now();
        let mut roles = Roles::new(vec![], vec![], 100);
        roles.note_pbx(at("10.0.0.1:1"), now);
        roles.note_registered(at("10.0.0.2:1"), None, HOUR, now);
        for port in 1..=10_000 {
            roles.note_dialog(at(&format!("10.9.0.1:{port}")), at("10.0.0.1:1"), port, now);
        }
        assert_eq!((roles.seen.len(), roles.order.len()), (100, 100));
        assert!(roles.is_pbx(at("10.0.0.1:1"), now));
        roles.forget(HOUR, now + 2 * HOUR);
        assert_eq!((roles.seen.len(), roles.order.len()), (0, 0));
    }
}
