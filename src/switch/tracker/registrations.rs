//! REGISTER requests that wait for their answer.
//!
//! Only an answered REGISTER says who is a device and who a registrar. What waits is bounded and short-lived.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use super::{Moment, TrackerLimits, roles::Roles};
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
    expires: Option<u32>,
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
        // A challenge comes from a registrar too; other refusals come from anyone.
        if !matches!(code, 200..=299 | 401 | 407 | 423) {
            return;
        }
        roles.note_registrar(source, moment.now);
        let forwards = waiting.hops.iter().any(|hop| hop.to == destination);
        if (200..300).contains(&code) && !forwards {
            let address = |contact: &Contact| {
                let (transport, ip, port) = contact.at?;
                Some(Address::new(transport.unwrap_or(destination.transport), ip, port))
            };
            let contact = hop.contact.as_ref();
            let bound = contact.and_then(address);
            // The answer lists every binding of the name; the one that was asked for counts.
            let granted = message.contacts.iter().find(|answered| bound.is_some() && address(answered) == bound);
            let expires = granted
                .and_then(|granted| granted.expires)
                .or(message.expires)
                .or(contact.and_then(|contact| contact.expires))
                .or(hop.expires)
                .unwrap_or(DEFAULT_EXPIRES);
            roles.note_registered(destination, bound, Duration::from_secs(expires.into()), moment.now);
        }
    }

    fn note(&mut self, key: Key, hop: (Address, Address), message: &Message, now: Instant, limits: &TrackerLimits) {
        let (from, to) = hop;
        let hop = Hop { from, to, contact: message.contacts.first().cloned(), expires: message.expires };
        if let Some(waiting) = self.waiting.get_mut(&key) {
            if !waiting.hops.iter().any(|known| known.from == from && known.to == to)
                && waiting.hops.len() < limits.max_hops
            {
                waiting.hops.push(hop);
            }
            return;
        }
        if self.waiting.len() >= limits.max_registrations
            && let Some((_, oldest)) = self.order.pop_front()
        {
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
