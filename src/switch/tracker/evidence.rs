//! What messages prove about the addresses that they go between.
//!
//! Anyone may send anything to anyone, so nothing is believed of an address that it didn't say itself, and little that
//! nobody answered (R42b): a dialog counts once it was answered on the way that its request came, and a Record-Route
//! once the answer repeats it.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
    time::Instant,
};

use super::{Bound, Captured, Moment, Tracker, TrackerLimits, calls::Hop, roles::Proof, view::View};
use crate::{
    model::{Address, EndCause, SwitchEvent, Transport},
    switch::sip::{Kind, Message, Replaces},
};

/// BYEs of calls that aren't known: their answers tell of dialogs that the feed met at their end.
#[derive(Debug, Default)]
pub(super) struct Byes {
    waiting: VecDeque<Bye>,
    /// How many made room.
    pub(super) displaced: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bye {
    until: Instant,
    dialog: u64,
    cseq: u32,
    from: Address,
    to: Address,
}

impl Byes {
    /// Takes a BYE of an unknown call, or an answer to one. Returns the dialog that is proven by it.
    fn on_message(&mut self, captured: &Captured, now: Instant, limits: &TrackerLimits) -> Option<u64> {
        let message = &captured.message;
        while self.waiting.front().is_some_and(|bye| bye.until <= now) {
            self.waiting.pop_front();
        }
        if message.to.tag.is_empty() {
            return None;
        }
        let (dialog, cseq) = (dialog_of(message), message.cseq);
        match message.kind {
            Kind::Request => {
                if self.waiting.len() >= limits.max_early.max(1) {
                    self.displaced += 1;
                    self.waiting.pop_front();
                }
                let until = now + limits.transaction;
                self.waiting.push_back(Bye { until, dialog, cseq, from: captured.source, to: captured.destination });
                None
            }
            Kind::Response(200..=299) => {
                let (from, to) = (captured.destination, captured.source);
                let named = |bye: &Bye| (bye.dialog, bye.cseq, bye.from, bye.to) == (dialog, cseq, from, to);
                let i = self.waiting.iter().position(named)?;
                self.waiting.remove(i).map(|bye| bye.dialog)
            }
            Kind::Response(_) => None,
        }
    }
}

/// A number for the dialogs of one Call-ID, the same on each hop.
fn dialog_of(message: &Message) -> u64 {
    let mut hasher = DefaultHasher::new();
    message.call_id.hash(&mut hasher);
    hasher.finish()
}

/// Whether the sender stands in its own Record-Route: so a proxy stays in the way of a dialog.
pub(super) fn is_routed(message: &Message, sender: Address) -> bool {
    let routes = message.record_routes.iter().filter_map(|route| route.at);
    routes
        .into_iter()
        .any(|(transport, ip, port)| sender == Address::new(transport.unwrap_or(sender.transport), ip, port))
}

impl Tracker {
    /// Learns from an INVITE of the call `number`, or from an answer to one.
    pub(super) fn learn(&mut self, number: u64, captured: &Captured, moment: Moment, out: &mut Vec<SwitchEvent>) {
        let Captured { source, destination, message, .. } = captured;
        if self.is_port_of_pbx(*source, message, moment) {
            self.found(*source, Proof::Strong, moment, out);
        }
        match message.kind {
            Kind::Request => self.learn_of_hop(number, captured, moment, out),
            Kind::Response(..=100) => {}
            Kind::Response(code) => {
                let Some(call) = self.calls.get_mut(number) else { return };
                let answered = |hop: &&Hop| {
                    hop.cseq == message.cseq
                        && hop.from == *destination
                        && hop.to == *source
                        && hop.tag == message.from.tag
                };
                let Some(hop) = call.hops.iter().find(answered) else { return };
                let routed = hop.routed && is_routed(message, *destination);
                let replaces = hop.replaces.as_ref().filter(|(_, known)| *known || message.knows_replaces);
                let replaces = replaces.filter(|_| (200..300).contains(&code)).map(|(replaces, _)| replaces.clone());
                if routed && code < 300 {
                    self.found(*destination, Proof::Strong, moment, out);
                }
                match code {
                    200..=299 => self.learn_of_dialog(dialog_of(message), captured, moment, out),
                    // Who asks callers for credentials has users.
                    401 | 407 => self.found(*source, Proof::Weak, moment, out),
                    _ => {}
                }
                if let Some(replaces) = replaces {
                    self.on_replaced(&replaces, *source, moment);
                }
            }
        }
    }

    /// Learns from a BYE, or an answer to one, of a call that isn't known.
    pub(super) fn learn_of_bye(&mut self, captured: &Captured, moment: Moment, out: &mut Vec<SwitchEvent>) {
        if let Some(dialog) = self.byes.on_message(captured, moment.now, &self.common.limits) {
            self.learn_of_dialog(dialog, captured, moment, out);
        }
    }

    /// An INVITE that came in from one and goes out to another is passed on.
    fn learn_of_hop(&mut self, number: u64, captured: &Captured, moment: Moment, out: &mut Vec<SwitchEvent>) {
        let Captured { source, destination, message, .. } = captured;
        let Some(call) = self.calls.get_mut(number) else { return };
        let same = |hop: &&Hop| hop.cseq == message.cseq && hop.tag == message.from.tag;
        let passed_on = call.hops.iter().filter(same).any(|hop| hop.to == *source && hop.from != *destination);
        let known = call.hops.iter().filter(same).any(|hop| hop.from == *source && hop.to == *destination);
        if !known {
            if call.hops.len() >= self.common.limits.max_hops.max(1) {
                // An older request is of no more use.
                if call.hops.pop_front().is_some_and(|hop| same(&&hop)) {
                    self.common.counts.note(Bound::Hops);
                }
            }
            call.hops.push_back(Hop {
                cseq: message.cseq,
                tag: message.from.tag.clone(),
                from: *source,
                to: *destination,
                routed: is_routed(message, *source),
                replaces: message.replaces.clone().map(|replaces| (replaces.into(), message.knows_replaces)),
            });
        }
        if passed_on {
            self.found(*source, Proof::Strong, moment, out);
        }
    }

    /// The ends of `captured` have a dialog.
    fn learn_of_dialog(&mut self, dialog: u64, captured: &Captured, moment: Moment, out: &mut Vec<SwitchEvent>) {
        let [one, other] = [captured.source, captured.destination];
        for (address, peer) in [(one, other), (other, one)] {
            if self.roles.note_dialog(address, peer, dialog, moment.now) {
                self.found(address, Proof::Weak, moment, out);
            }
        }
    }

    /// A connection that a PBX opened comes from any port of its host; it still names the port where it listens. No
    /// other host can say so, and what is known to be a device stays one.
    fn is_port_of_pbx(&self, source: Address, message: &Message, moment: Moment) -> bool {
        let Some((_, ip, port)) = message.contacts.first().and_then(|contact| contact.at) else { return false };
        if ip.to_canonical() != source.socket.ip() || port == source.socket.port() {
            return false;
        }
        let listens = [Transport::Udp, Transport::Tcp].map(|t| Address::new(t, ip, port));
        listens.into_iter().any(|address| self.roles.is_pbx(address, moment.now))
            && !self.roles.is_known_device(source, moment.now)
    }

    /// The call that `replaces` names is replaced at the end `by`, which accepted that (RFC 3891, 3).
    fn on_replaced(&mut self, replaces: &Replaces, by: Address, moment: Moment) {
        let tags = [replaces.to_tag.as_str(), replaces.from_tag.as_str()];
        let Some(number) = self.calls.find(&replaces.call_id, tags) else { return };
        let Some(call) = self.calls.get_mut(number) else { return };
        let [to, from] = tags;
        let concerned = |view: &&mut View| view.has_dialog(to, from) && (view.is_at(by) || view.is_with(by));
        for view in call.views.iter_mut().filter(concerned) {
            view.on_replaced(moment.now, &self.common.limits);
        }
        self.calls.reschedule(number, moment.now, &self.common.limits);
    }

    /// Something proves that `address` is a PBX. If it was taken for a device, its calls as one are over.
    pub(super) fn found(&mut self, address: Address, proof: Proof, moment: Moment, out: &mut Vec<SwitchEvent>) {
        if self.roles.note_pbx(address, proof, moment.now) {
            self.end_views_of_pbx(address, moment, out);
        }
    }

    /// If an address that was taken for a device proved to be a PBX, its calls as a device are over.
    pub(super) fn end_views_of_pbx(&mut self, address: Address, moment: Moment, out: &mut Vec<SwitchEvent>) {
        if !self.roles.is_pbx(address, moment.now) {
            return;
        }
        for number in self.calls.of_device(address) {
            if let Some(call) = self.calls.get_mut(number) {
                for view in call.views.iter_mut().filter(|view| view.device == address) {
                    view.abandon(EndCause::NotADevice, moment, &mut self.common, out);
                }
            }
            self.calls.reschedule(number, moment.now, &self.common.limits);
        }
    }
}
