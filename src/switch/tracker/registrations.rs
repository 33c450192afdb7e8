//! REGISTER requests that wait for their answer.
//!
//! Only an answered REGISTER says who is a device and who a registrar. What waits is bounded and short-lived.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    time::{Duration, Instant},
};

use super::{
    Moment, TrackerLimits,
    roles::{Proof, Registration, Roles},
};
use crate::{
    model::Address,
    switch::sip::{Contact, Kind, Message},
};

/// RFC 3261, 10.2.1.1 leaves it to the registrar; an hour is what it proposes.
const DEFAULT_EXPIRES: u32 = 3600;

#[derive(Debug, Default)]
pub(super) struct Registrations {
    waiting: HashMap<Key, Waiting>,
    order: VecDeque<(Instant, Key)>,
    /// How many made room.
    pub(super) displaced: u64,
    /// How many hops of one REGISTER were too many.
    pub(super) refused_hops: u64,
}

/// Call-ID, tag of From, and CSeq.
type Key = (String, String, u32);

#[derive(Debug)]
struct Waiting {
    /// Several, if a proxy forwards it.
    hops: Vec<Hop>,
}

/// A REGISTER on its way from one to another. An answer on the same way answers this one and no other of its name
/// (R42b).
#[derive(Debug)]
struct Hop {
    from: Address,
    to: Address,
    contact: Option<Contact>,
    /// `None` if it only asks for the bindings.
    asked: Option<Asked>,
}

/// How long a binding is to last, if the REGISTER says so.
#[derive(Debug, Clone, Copy)]
struct Asked {
    seconds: Option<u32>,
}

/// A number for the user whom a REGISTER is about.
fn user_of(message: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.to.party.uri.hash(&mut hasher);
    hasher.finish()
}

impl Registrations {
    /// Takes a REGISTER or an answer to one, and notes who is a device and who a registrar.
    pub(super) fn on_message(
        &mut self,
        (source, destination): (Address, Address),
        message: &Message,
        moment: Moment,
        limits: &TrackerLimits,
        roles: &mut Roles,
    ) {
        self.forget(moment.now, limits);
        let key = (message.call_id.clone(), message.from.tag.clone(), message.cseq);
        let code = match message.kind {
            Kind::Request => {
                self.note(key, (source, destination), message, moment.now, limits);
                return;
            }
            Kind::Response(code) => code,
        };
        let Some(waiting) = self.waiting.get(&key) else { return };
        let Some(hop) = waiting.hops.iter().find(|hop| hop.from == destination && hop.to == source) else { return };
        match code {
            200..=299 => roles.note_registrar(source, moment.now),
            // A challenge comes from a registrar too; other refusals come from anyone.
            401 | 407 | 423 => {
                roles.note_pbx(source, Proof::Weak, moment.now);
                return;
            }
            _ => return,
        }
        let forwards = waiting.hops.iter().any(|hop| hop.to == destination);
        if !forwards && let Some(asked) = hop.asked {
            let address = |contact: &Contact| {
                let (transport, ip, port) = contact.at?;
                Some(Address::new(transport.unwrap_or(destination.transport), ip, port))
            };
            let contact = hop.contact.as_ref().and_then(address);
            // The answer lists every binding of the name; the one that was asked for counts.
            let granted = message.contacts.iter().find(|answered| contact.is_some() && address(answered) == contact);
            let granted = granted.and_then(|granted| granted.expires).or(message.expires).or(asked.seconds);
            let expires = if asked.seconds == Some(0) { 0 } else { granted.unwrap_or(DEFAULT_EXPIRES) };
            let expires = Duration::from_secs(expires.into());
            let user = user_of(message);
            // `Contact: *` takes all back (RFC 3261, 10.2.2).
            if hop.contact.as_ref().is_some_and(|contact| contact.all) {
                roles.note_unregistered(destination, moment.now);
            } else {
                roles.note_registered(Registration { source: destination, user, contact, expires }, moment.now);
            }
        }
    }

    fn note(&mut self, key: Key, hop: (Address, Address), message: &Message, now: Instant, limits: &TrackerLimits) {
        let (from, to) = hop;
        // One REGISTER may remove a binding and make another.
        let kept = |contact: &&Contact| contact.expires.or(message.expires) != Some(0);
        let contact = message.contacts.iter().find(kept).or(message.contacts.first()).cloned();
        let seconds = contact.as_ref().and_then(|contact| contact.expires).or(message.expires);
        // Without a Contact it only asks (RFC 3261, 10.2.3).
        let asked = contact.is_some().then_some(Asked { seconds });
        let hop = Hop { from, to, contact, asked };
        if let Some(waiting) = self.waiting.get_mut(&key) {
            if waiting.hops.iter().any(|known| known.from == from && known.to == to) {
                return;
            }
            if waiting.hops.len() < limits.max_hops {
                waiting.hops.push(hop);
            } else {
                self.refused_hops += 1;
            }
            return;
        }
        if self.waiting.len() >= limits.max_registrations
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.displaced += 1;
            self.waiting.remove(&oldest);
        }
        self.order.push_back((now, key.clone()));
        self.waiting.insert(key, Waiting { hops: vec![hop] });
    }

    fn forget(&mut self, now: Instant, limits: &TrackerLimits) {
        while self.order.front().is_some_and(|(since, _)| now.saturating_duration_since(*since) > limits.transaction) {
            if let Some((_, key)) = self.order.pop_front() {
                self.waiting.remove(&key);
            }
        }
    }
}
