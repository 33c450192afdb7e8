//! Makes calls and media streams of SIP messages.
//!
//! The tracker owns every call, in one view per device that has a part in it: the messages that the device sent or
//! received. A message that a proxy passes on is seen on both its sides and falls apart into one view a side; an end
//! that is a PBX has no view. Messages are ordered by their arrival. What answers something that wasn't seen yet waits
//! a moment for it; a message of an unknown dialog makes nothing.
//!
//! It has no clock: `now` is an argument, and [`Tracker::on_time`] must be called when [`Tracker::deadline`] is there.
//! Everything in it is bounded (R41a), and nothing is guessed (R42b).

mod addresses;
mod agree;
mod calls;
mod counts;
mod early;
mod evidence;
mod exchange;
mod forgotten;
mod limits;
mod media;
mod registrations;
mod ring;
mod roles;
mod view;

use std::{sync::Arc, time::Instant};

use self::{
    calls::Calls,
    early::{Early, makes_way, may_be_early},
    evidence::{Byes, is_routed},
    forgotten::Forgotten,
    registrations::Registrations,
    roles::{Role, Roles},
    view::{Passing, Taken, View},
};
pub use self::{
    counts::{Bound, TrackerCounts},
    limits::TrackerLimits,
};
use super::{
    sdp::Sdp,
    sip::{Kind, Message, Method},
};
use crate::model::{Address, CallDirection, CallId, CallRef, DeviceName, EndCause, SwitchEvent, SwitchName, Timestamp};

/// A moment, by the clock that runs and by the one on the wall.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// For deadlines.
    pub now: Instant,
    /// For people.
    pub at: Timestamp,
}

/// A SIP message on its way.
#[derive(Debug)]
pub struct Captured {
    /// Who sent it.
    pub source: Address,
    /// Who it was sent to.
    pub destination: Address,
    /// What the switch calls the call, if it has a name of its own.
    pub switch_call: Option<String>,
    /// The message.
    pub message: Message,
}

/// Follows the calls of one switch.
#[derive(Debug)]
pub struct Tracker {
    switch: SwitchName,
    roles: Roles,
    registrations: Registrations,
    calls: Calls,
    early: Early,
    byes: Byes,
    common: Common,
    /// How often early messages were taken once more.
    #[cfg(test)]
    replays: usize,
}

/// What all calls share.
#[derive(Debug)]
struct Common {
    limits: TrackerLimits,
    forgotten: Forgotten,
    ids: Ids,
    /// Of what has no count of its own.
    counts: TrackerCounts,
}

/// A captured message whose session description can be shared.
#[derive(Debug)]
struct Parsed {
    captured: Captured,
    sdp: Option<Option<Arc<Sdp>>>,
}

/// What stands at one end of a message.
enum Side {
    /// The device of this view.
    View(usize),
    /// The device of this view, as it seems, at an address where it wasn't met yet.
    Moved(usize),
    /// A device without a part in the call.
    Nobody,
    Pbx,
}

/// Counts up; every call and stream takes the next.
#[derive(Debug)]
struct Ids(u64);

impl Ids {
    fn next(&mut self) -> u64 {
        let id = self.0;
        self.0 = self.0.wrapping_add(1);
        id
    }
}

impl Tracker {
    /// A tracker that knows these PBXes and devices, and numbers calls and streams from `first_id` on.
    pub fn new(
        switch: SwitchName,
        pbxes: Vec<Address>,
        devices: Vec<(Address, DeviceName)>,
        first_id: u64,
        limits: TrackerLimits,
    ) -> Self {
        let forgotten = Forgotten::new(limits.max_forgotten, limits.remembered);
        Self {
            switch,
            roles: Roles::new(pbxes, devices, limits.max_addresses, limits.max_pbxes),
            registrations: Registrations::default(),
            calls: Calls::default(),
            early: Early::default(),
            byes: Byes::default(),
            common: Common { limits, forgotten, ids: Ids(first_id), counts: TrackerCounts::default() },
            #[cfg(test)]
            replays: 0,
        }
    }

    /// Takes a message and tells what it changes.
    pub fn on_message(&mut self, mut captured: Captured, moment: Moment, out: &mut Vec<SwitchEvent>) {
        if captured.message.method == Method::Register {
            self.on_register(&captured, moment, out);
            return;
        }
        let sdp = captured.message.sdp.take().map(|sdp| sdp.ok().map(Arc::new));
        let parsed = Parsed { captured, sdp };
        let taken = self.take(&parsed, moment, out);
        let limits = &self.common.limits;
        if taken == Taken::TooEarly {
            if let Some(oldest) = self.early.keep(parsed, moment, limits.reorder, limits.max_early) {
                self.on_unmatched(&oldest, moment.now, out);
            }
            return;
        }
        // What came too early may be in time now; a message may make way for the next.
        if !makes_way(&parsed) {
            return;
        }
        for _ in 0..limits.max_exchanges {
            if self.early.is_empty() || !self.replay(&parsed.captured.message.call_id, moment, out) {
                break;
            }
        }
    }

    /// Addresses that are devices from now on. Calls that have begun keep the devices that they have.
    pub fn set_devices(&mut self, devices: Vec<(Address, DeviceName)>) {
        self.roles.set_devices(devices);
    }

    /// Does what is due at `now`: gives up answers that didn't come, and forgets what was silent for too long.
    pub fn on_time(&mut self, now: Instant, out: &mut Vec<SwitchEvent>) {
        while let Some(waiting) = self.early.expired(now) {
            self.on_unmatched(&waiting, now, out);
        }
        self.roles.forget(self.common.limits.silent, now);
        while let Some((_, number)) = self.calls.first_due().filter(|(due, _)| *due <= now) {
            if let Some(call) = self.calls.get_mut(number) {
                for view in &mut call.views {
                    if view.due(&self.common.limits) <= now {
                        view.on_time(now, &mut self.common, out);
                    }
                }
            }
            // A view goes when its call is told to be over, and late copies can't come any more.
            self.calls.forget_views(number, now, &self.common.limits);
            self.calls.reschedule(number, now, &self.common.limits);
        }
    }

    /// When [`Self::on_time`] has something to do, if ever.
    pub fn deadline(&self) -> Option<Instant> {
        self.calls.first_due().map(|(due, _)| due).into_iter().chain(self.early.deadline()).min()
    }

    /// Every device that is configured, registered, or ever had a call and is still remembered.
    pub fn devices(&self) -> impl Iterator<Item = (Address, DeviceName)> {
        self.roles.devices()
    }

    /// Every address that counts as a PBX, configured or found.
    pub fn pbxes(&self) -> Vec<Address> {
        self.roles.pbxes()
    }

    /// How often each bound was reached (R41a).
    pub fn counts(&self) -> TrackerCounts {
        let mut counts = self.common.counts.clone();
        let [addresses, pbxes, registrations] = self.roles.displaced();
        for (bound, times) in [
            (Bound::Addresses, addresses),
            (Bound::Byes, self.byes.displaced),
            (Bound::Early, self.early.displaced),
            (Bound::Fingerprints, self.common.forgotten.displaced),
            (Bound::Hops, self.registrations.refused_hops),
            (Bound::Keys, self.common.forgotten.crowded_out),
            (Bound::Offers, self.calls.dropped_offers),
            (Bound::OffersOfCall, self.calls.refused_offers),
            (Bound::Pbxes, pbxes),
            (Bound::Registers, self.registrations.displaced),
            (Bound::Registrations, registrations),
        ] {
            counts.add(bound, times);
        }
        counts
    }

    fn on_register(&mut self, captured: &Captured, moment: Moment, out: &mut Vec<SwitchEvent>) {
        let ends = [captured.source, captured.destination];
        let known = ends.map(|end| self.roles.is_pbx(end, moment.now));
        let (limits, roles) = (&self.common.limits, &mut self.roles);
        self.registrations.on_message(
            (captured.source, captured.destination),
            &captured.message,
            moment,
            limits,
            roles,
        );
        for (end, _) in ends.into_iter().zip(known).filter(|(_, known)| !known) {
            self.end_views_of_pbx(end, moment, out);
        }
    }

    fn take(&mut self, parsed: &Parsed, moment: Moment, out: &mut Vec<SwitchEvent>) -> Taken {
        let Captured { source, destination, message, .. } = &parsed.captured;
        let Some(number) = self.call_of(message, moment, out) else {
            if message.method == Method::Bye {
                self.learn_of_bye(&parsed.captured, moment, out);
            }
            return if may_be_early(parsed) { Taken::TooEarly } else { Taken::Done };
        };
        if message.method == Method::Invite {
            self.learn(number, &parsed.captured, moment, out);
        }

        let mut sdp = parsed.sdp.as_ref().map(Option::as_ref);
        let offering = message.kind == Kind::Request && message.method != Method::Ack;
        if offering && sdp.is_some() && !self.calls.may_offer(number, &self.common.limits) {
            sdp = sdp.map(|_| None);
        }
        let mut taken = Taken::Done;
        for sent in [true, false] {
            let (address, peer) = if sent { (*source, *destination) } else { (*destination, *source) };
            let (i, moved) = match self.side(number, &parsed.captured, sent, moment, out) {
                Side::View(i) => (i, false),
                Side::Moved(i) => (i, true),
                Side::Nobody => {
                    if may_be_early(parsed) {
                        taken = Taken::TooEarly;
                    }
                    continue;
                }
                Side::Pbx => continue,
            };
            let Some(view) = self.calls.get_mut(number).and_then(|call| call.views.get_mut(i)) else { continue };
            // Where a device moved to is proven by what goes there: the answer to its BYE, not the BYE.
            if moved && sent && message.kind == Kind::Request && message.method == Method::Bye {
                continue;
            }
            match view.on_message(Passing { message, sdp, sent }, moment, &mut self.common, out) {
                Taken::TooEarly => {
                    taken = Taken::TooEarly;
                    continue;
                }
                Taken::Overtaken if taken == Taken::Done => taken = Taken::Overtaken,
                Taken::Overtaken | Taken::Done => {}
            }
            if !moved || !sent && matches!(message.kind, Kind::Request | Kind::Response(200..=299)) {
                view.note_addresses(address, peer);
            }
        }
        if let Some(call) = self.calls.get_mut(number) {
            call.touched = moment.now;
        }
        self.calls.reschedule(number, moment.now, &self.common.limits);
        taken
    }

    /// What stands at the end of a message that sent it, or got it. A device that an INVITE brings in gets a view.
    fn side(
        &mut self,
        number: u64,
        captured: &Captured,
        sent: bool,
        moment: Moment,
        out: &mut Vec<SwitchEvent>,
    ) -> Side {
        let Captured { source, destination, message, .. } = captured;
        let (address, peer) = if sent { (*source, *destination) } else { (*destination, *source) };
        let Some(call) = self.calls.get_mut(number) else { return Side::Nobody };
        // An address that has a part keeps it, also when its registration expires in mid-call.
        let inviting = message.kind == Kind::Request && message.method == Method::Invite;
        if let Some(i) = call.view_at(address) {
            let over =
                inviting && message.to.tag.is_empty() && call.views.get(i).is_some_and(|view| view.is_over(message));
            if over && matches!(self.roles.of(address, moment.now), Role::Device(_)) {
                self.begin_anew(number, i, captured, sent, moment, out);
            }
            return Side::View(i);
        }
        let Role::Device(device) = self.roles.of(address, moment.now) else { return Side::Pbx };
        if let Some(i) = call.views.iter().position(|view| view.device == device) {
            return Side::View(i);
        }
        // The tags of a dialog are known to its ends only. Where the other end is no device, that is the device alone,
        // and its host; elsewhere the registrar must have said that it is the same user.
        let alone = call.views.len() == 1;
        let moved = |view: &View| {
            view.is_dialog_of(message, sent)
                && view.is_with(peer)
                && (alone && view.is_at_host(address)
                    || self.roles.have_one_user(view.addresses(), address, moment.now))
        };
        if let Some(i) = call.views.iter().position(moved) {
            return Side::Moved(i);
        }
        // A sender that says that it is a proxy may be one: the answer tells.
        let by_proxy = sent && is_routed(message, address) && !self.roles.is_known_device(address, moment.now);
        if !inviting || by_proxy {
            return Side::Nobody;
        }
        if call.views.len() >= self.common.limits.max_views {
            self.common.counts.note(Bound::Devices);
            return Side::Nobody;
        }
        let Some(name) = self.roles.name_of(device) else { return Side::Nobody };
        let (i, names) = (call.views.len(), call_ref(call.id, &self.switch, captured, sent));
        self.roles.note_device(device, moment.now);
        self.calls.join(number, View::new(device, name, names, (message, sent), moment, out));
        Side::View(i)
    }

    /// A device whose part in a call is over is invited once more: that is another call to it.
    fn begin_anew(
        &mut self,
        number: u64,
        i: usize,
        captured: &Captured,
        sent: bool,
        moment: Moment,
        out: &mut Vec<SwitchEvent>,
    ) {
        let id = CallId(self.common.ids.next());
        let Some(view) = self.calls.get_mut(number).and_then(|call| call.views.get_mut(i)) else { return };
        let names = call_ref(id, &self.switch, captured, sent);
        *view = View::new(view.device, view.name(), names, (&captured.message, sent), moment, out);
    }

    /// The call that a message belongs to; an INVITE begins one.
    fn call_of(&mut self, message: &Message, moment: Moment, out: &mut Vec<SwitchEvent>) -> Option<u64> {
        let inviting = message.kind == Kind::Request && message.method == Method::Invite;
        if let Some(number) = self.calls.find(&message.call_id, [&message.from.tag, &message.to.tag]) {
            // The same names again, after all is over: another call (a phone that tries once more).
            let over = self.calls.get_mut(number).is_some_and(|call| call.is_over(message));
            if !(inviting && message.to.tag.is_empty() && over) {
                return Some(number);
            }
            self.forget(number, moment, out);
        }
        if !inviting {
            return None;
        }
        while self.calls.len() >= self.common.limits.max_calls.max(1) {
            let first = self.calls.first_to_go()?;
            self.common.counts.note(Bound::Calls);
            self.forget(first, moment, out);
        }
        let number = self.common.ids.next();
        self.calls.begin(number, message, moment.now);
        Some(number)
    }

    /// Forgets a call, and tells so where it still ran.
    fn forget(&mut self, number: u64, moment: Moment, out: &mut Vec<SwitchEvent>) {
        let Some(call) = self.calls.remove(number) else { return };
        for mut view in call.views {
            view.abandon(EndCause::Forgotten, moment, &mut self.common, out);
        }
    }
}

fn call_ref(id: CallId, switch: &SwitchName, captured: &Captured, sent: bool) -> CallRef {
    let message = &captured.message;
    CallRef {
        id,
        switch: switch.clone(),
        switch_call: captured.switch_call.clone().filter(|name| *name != message.call_id),
        sip_call_id: message.call_id.clone(),
        direction: match (message.to.tag.is_empty(), sent) {
            (true, true) => CallDirection::Outgoing,
            (true, false) => CallDirection::Incoming,
            (false, _) => CallDirection::Unknown,
        },
        calling: message.from.party.clone(),
        called: message.to.party.clone(),
    }
}
