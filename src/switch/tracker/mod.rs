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
mod exchange;
mod media;
mod registrations;
mod roles;
mod view;

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::{Duration, Instant},
};

use self::{
    registrations::Registrations,
    roles::{Role, Roles},
    view::{Passing, Taken, View},
};
use super::{
    sdp::Sdp,
    sip::{Kind, Message, Method},
};
use crate::model::{Address, CallDirection, CallId, CallRef, DeviceName, EndCause, SwitchEvent, SwitchName, Timestamp};

/// How much is kept, and for how long (R41a, R42b).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackerLimits {
    /// Calls at once. The one that would be forgotten first makes room: an unanswered one before an answered one.
    pub max_calls: usize,
    /// Devices with a part in one call.
    pub max_views: usize,
    /// Offers of one view that wait for their answers.
    pub max_exchanges: usize,
    /// Bytes of offers that wait for their answers, over all calls; above it an offer counts as unreadable.
    pub max_offered: usize,
    /// Hops of one request that are remembered, to tell who passes it on.
    pub max_hops: usize,
    /// Messages that wait for what they answer.
    pub max_early: usize,
    /// Addresses of which something is known: as many that registered, and as many of which only dialogs are known.
    pub max_addresses: usize,
    /// PBXes that were found, configured ones apart.
    pub max_pbxes: usize,
    /// REGISTERs that wait for their answer.
    pub max_registrations: usize,
    /// How long a message waits for what it answers, and a call for an answer that is overdue.
    pub reorder: Duration,
    /// How long a transaction may take: after a challenge, after CANCEL, after a late offer, after the end of a call.
    pub transaction: Duration,
    /// After this silence a call that isn't answered is forgotten.
    pub unanswered: Duration,
    /// After this silence an answered call, or an address, is forgotten.
    pub silent: Duration,
}

impl Default for TrackerLimits {
    fn default() -> Self {
        Self {
            max_calls: 20_000,
            max_views: 16,
            max_exchanges: 8,
            max_offered: 64 * 1024 * 1024,
            max_hops: 16,
            max_early: 256,
            max_addresses: 50_000,
            max_pbxes: 1024,
            max_registrations: 4096,
            reorder: Duration::from_secs(1),
            transaction: Duration::from_secs(32),
            unanswered: Duration::from_secs(5 * 60),
            silent: Duration::from_secs(24 * 3600),
        }
    }
}

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
    limits: TrackerLimits,
    roles: Roles,
    registrations: Registrations,
    calls: HashMap<u64, Call>,
    by_key: HashMap<Key, u64>,
    /// The calls that each device has a part in.
    by_device: HashMap<Address, BTreeSet<u64>>,
    /// When each call has something to do: exactly one entry a call. The first is also the first to make room.
    due: BTreeSet<(Instant, u64)>,
    early: VecDeque<Early>,
    /// Bytes of offers that wait for their answers.
    offered: usize,
    ids: Ids,
}

/// Call-ID, and the tag of the end that began (or that was heard first).
type Key = (String, String);

#[derive(Debug)]
struct Call {
    id: CallId,
    key: Key,
    due: Instant,
    touched: Instant,
    views: Vec<View>,
    /// Bytes of its offers that wait for their answers.
    offered: usize,
    /// INVITEs seen: CSeq, tag, source, destination.
    hops: VecDeque<(u32, String, Address, Address)>,
}

#[derive(Debug)]
struct Early {
    until: Instant,
    captured: Parsed,
    at: Timestamp,
}

/// A captured message whose session description can be shared.
#[derive(Debug)]
struct Parsed {
    captured: Captured,
    sdp: Option<Option<Arc<Sdp>>>,
}

/// Counts up; every call and stream takes the next.
#[derive(Debug)]
pub(super) struct Ids(u64);

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
        Self {
            switch,
            roles: Roles::new(pbxes, devices, limits.max_addresses, limits.max_pbxes),
            limits,
            registrations: Registrations::default(),
            calls: HashMap::new(),
            by_key: HashMap::new(),
            by_device: HashMap::new(),
            due: BTreeSet::new(),
            early: VecDeque::new(),
            offered: 0,
            ids: Ids(first_id),
        }
    }

    /// Takes a message and tells what it changes.
    pub fn on_message(&mut self, mut captured: Captured, moment: Moment, out: &mut Vec<SwitchEvent>) {
        let ends = (captured.source, captured.destination);
        if captured.message.method == Method::Register {
            let known = self.roles.is_pbx(captured.source, moment.now);
            self.registrations.on_message(ends, &captured.message, moment, &self.limits, &mut self.roles);
            if !known {
                self.end_views_of_pbx(captured.source, moment, out);
            }
            return;
        }
        let sdp = captured.message.sdp.take().map(|sdp| sdp.ok().map(Arc::new));
        let parsed = Parsed { captured, sdp };
        let call_id = parsed.captured.message.call_id.clone();
        if self.take(&parsed, moment, out) == Taken::TooEarly {
            self.keep(parsed, moment.now + self.limits.reorder, moment.at);
            return;
        }
        // What came too early may be in time now; a message may make way for the next.
        for _ in 0..self.limits.max_exchanges {
            if !self.replay(&call_id, moment, out) {
                break;
            }
        }
    }

    /// Does what is due at `now`: gives up answers that didn't come, and forgets what was silent for too long.
    pub fn on_time(&mut self, now: Instant, out: &mut Vec<SwitchEvent>) {
        while self.early.front().is_some_and(|early| early.until <= now) {
            self.early.pop_front();
        }
        self.roles.forget(self.limits.silent, now);
        while let Some((_, number)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            if let Some(call) = self.calls.get_mut(&number) {
                for view in call.views.iter_mut().filter(|view| view.due(&self.limits) <= now) {
                    view.on_time(now, &self.limits, &mut self.ids, out);
                }
                // A view goes when its call is told to be over, and late copies can't come any more.
                let by_device = &mut self.by_device;
                call.views.retain(|view| {
                    let stays = !view.ended() || view.due(&self.limits) > now;
                    if !stays {
                        forget_part(by_device, view.device, number);
                    }
                    stays
                });
            }
            self.reschedule(number, now);
        }
    }

    /// When [`Self::on_time`] has something to do, if ever.
    pub fn deadline(&self) -> Option<Instant> {
        let early = self.early.front().map(|early| early.until);
        self.due.first().map(|(due, _)| *due).into_iter().chain(early).min()
    }

    /// Every device that is configured, registered, or ever had a call and is still remembered.
    pub fn devices(&self) -> impl Iterator<Item = (Address, DeviceName)> {
        self.roles.devices()
    }

    /// Every address that counts as a PBX, configured or found.
    pub fn pbxes(&self) -> Vec<Address> {
        self.roles.pbxes()
    }

    fn take(&mut self, parsed: &Parsed, moment: Moment, out: &mut Vec<SwitchEvent>) -> Taken {
        let Captured { source, destination, message, .. } = &parsed.captured;
        let inviting = message.kind == Kind::Request && message.method == Method::Invite;
        let Some(number) = self.call_of(message, inviting, moment, out) else {
            if message.kind == Kind::Request && message.method == Method::Bye {
                self.learn_of_bye(&parsed.captured, moment, out);
            }
            return if may_be_early(parsed) { Taken::TooEarly } else { Taken::Done };
        };
        if inviting {
            self.learn(number, parsed, moment, out);
        }

        let mut sdp = parsed.sdp.as_ref().map(Option::as_ref);
        if message.kind == Kind::Request && message.method != Method::Ack && self.offered >= self.limits.max_offered {
            sdp = sdp.map(|_| None);
        }
        let mut taken = Taken::Done;
        for (address, sent) in [(*source, true), (*destination, false)] {
            let Some(call) = self.calls.get_mut(&number) else { break };
            // An address that has a part keeps it, also when its registration expires in mid-call.
            let mut known = call.views.iter().position(|view| view.is_at(address));
            if known.is_none() {
                let Some(Role::Device(device, name)) = self.roles.of(address, moment.now) else { continue };
                known = call.views.iter().position(|view| view.device == device);
                if known.is_none() && inviting && call.views.len() < self.limits.max_views {
                    let call_ref = call_ref(call.id, &self.switch, &parsed.captured, sent);
                    self.roles.note_device(device, moment.now);
                    known = Some(call.views.len());
                    self.by_device.entry(device).or_default().insert(number);
                    call.views.push(View::new(device, name, call_ref, moment, out));
                }
            }
            let Some(view) = known.and_then(|known| call.views.get_mut(known)) else {
                if may_be_early(parsed) {
                    taken = Taken::TooEarly;
                }
                continue;
            };
            view.note_address(address);
            let passing = Passing { message, sdp, sent };
            if view.on_message(passing, moment, &self.limits, &mut self.ids, out) == Taken::TooEarly {
                taken = Taken::TooEarly;
            }
        }
        if let Some(call) = self.calls.get_mut(&number) {
            call.touched = moment.now;
        }
        self.reschedule(number, moment.now);
        taken
    }

    /// The call that a message belongs to; an INVITE begins one.
    fn call_of(
        &mut self,
        message: &Message,
        inviting: bool,
        moment: Moment,
        out: &mut Vec<SwitchEvent>,
    ) -> Option<u64> {
        let key = |tag: &str| (message.call_id.clone(), tag.to_owned());
        let tags = [message.from.tag.as_str(), message.to.tag.as_str()];
        let known = tags.into_iter().find_map(|tag| self.by_key.get(&key(tag)).copied());
        if let Some(number) = known {
            // The same names again, after all is over: another call (a phone that tries once more).
            let again =
                inviting && message.to.tag.is_empty() && self.calls.get(&number).is_some_and(|c| c.is_over(message));
            if !again {
                return Some(number);
            }
            self.remove(number, moment, out);
        }
        if !inviting {
            return None;
        }
        while self.calls.len() >= self.limits.max_calls.max(1) {
            let (_, number) = *self.due.first()?;
            self.remove(number, moment, out);
        }
        let key = key(&message.from.tag);
        let number = self.ids.next();
        self.by_key.insert(key.clone(), number);
        let call = Call {
            id: CallId(number),
            key,
            due: moment.now,
            touched: moment.now,
            views: Vec::new(),
            offered: 0,
            hops: VecDeque::new(),
        };
        self.due.insert((call.due, number));
        self.calls.insert(number, call);
        Some(number)
    }

    /// Learns from an INVITE which of its ends is a PBX.
    fn learn(&mut self, number: u64, parsed: &Parsed, moment: Moment, out: &mut Vec<SwitchEvent>) {
        let Captured { source, destination, message, .. } = &parsed.captured;
        let mut found = Vec::new();
        // Anyone may write any Record-Route. A proxy that is one writes itself into what it sends (R42b).
        let by_sender = message
            .record_routes
            .iter()
            .filter_map(|route| route.at)
            .any(|(transport, ip, port)| *source == Address::new(transport.unwrap_or(source.transport), ip, port));
        if by_sender {
            found.push(*source);
        }
        if let Some(call) = self.calls.get_mut(&number) {
            let same = |hop: &&(u32, String, Address, Address)| hop.0 == message.cseq && hop.1 == message.from.tag;
            for (_, _, from, to) in call.hops.iter().filter(same) {
                // In from one, out to another: it passes the request on.
                if to == source && from != destination {
                    found.push(*source);
                }
                if from == destination && to != source {
                    found.push(*destination);
                }
            }
            let hop = (message.cseq, message.from.tag.clone(), *source, *destination);
            if !call.hops.contains(&hop) {
                if call.hops.len() >= self.limits.max_hops {
                    call.hops.pop_front();
                }
                call.hops.push_back(hop);
            }
        }
        self.learn_of_dialog([*source, *destination], number, found, moment, out);
    }

    /// A call that ends had two ends, also if the feed began in the middle of it.
    fn learn_of_bye(&mut self, captured: &Captured, moment: Moment, out: &mut Vec<SwitchEvent>) {
        if captured.message.to.tag.is_empty() {
            return;
        }
        // It has no number of ours; its Call-ID makes one that is the same on each hop.
        let mut hasher = DefaultHasher::new();
        captured.message.call_id.hash(&mut hasher);
        self.learn_of_dialog([captured.source, captured.destination], hasher.finish(), Vec::new(), moment, out);
    }

    /// `ends` have a dialog, and the addresses in `found` are PBXs.
    fn learn_of_dialog(
        &mut self,
        ends: [Address; 2],
        dialog: u64,
        found: Vec<Address>,
        moment: Moment,
        out: &mut Vec<SwitchEvent>,
    ) {
        let now = moment.now;
        let known: Vec<bool> = found.iter().chain(&ends).map(|address| self.roles.is_pbx(*address, now)).collect();
        for address in &found {
            self.roles.note_pbx(*address, now);
        }
        let [one, other] = ends;
        self.roles.note_dialog(one, other, dialog, now);
        self.roles.note_dialog(other, one, dialog, now);
        for (address, _) in found.into_iter().chain(ends).zip(known).filter(|(_, known)| !known) {
            self.end_views_of_pbx(address, moment, out);
        }
    }

    /// If an address that was taken for a device proved to be a PBX, its calls as a device are over.
    fn end_views_of_pbx(&mut self, address: Address, moment: Moment, out: &mut Vec<SwitchEvent>) {
        if !self.roles.is_pbx(address, moment.now) {
            return;
        }
        for number in self.by_device.get(&address).cloned().unwrap_or_default() {
            if let Some(call) = self.calls.get_mut(&number) {
                for view in call.views.iter_mut().filter(|view| view.device == address) {
                    view.end(EndCause::NotADevice, moment.at, out);
                }
            }
            self.reschedule(number, moment.now);
        }
    }

    fn keep(&mut self, captured: Parsed, until: Instant, at: Timestamp) {
        if self.early.len() >= self.limits.max_early {
            self.early.pop_front();
        }
        self.early.push_back(Early { until, captured, at });
    }

    /// Takes what came too early for the call `call_id` once more. Returns whether any of it is in time now.
    fn replay(&mut self, call_id: &str, moment: Moment, out: &mut Vec<SwitchEvent>) -> bool {
        let concerned = |early: &Early| early.captured.captured.message.call_id == call_id;
        if !self.early.iter().any(concerned) {
            return false;
        }
        let mut any = false;
        // Those still too early are put back at their place: the order is that of arrival, and of deadlines.
        for early in std::mem::take(&mut self.early) {
            if early.until <= moment.now {
                continue;
            }
            let then = Moment { now: moment.now, at: early.at };
            if concerned(&early) && self.take(&early.captured, then, out) == Taken::Done {
                any = true;
            } else {
                self.early.push_back(early);
            }
        }
        any
    }

    fn reschedule(&mut self, number: u64, now: Instant) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        self.due.remove(&(call.due, number));
        let offered = call.views.iter_mut().map(View::tidy).sum();
        self.offered = self.offered.saturating_sub(call.offered).saturating_add(offered);
        call.offered = offered;
        let views = call.views.iter().map(|view| view.due(&self.limits));
        let due = views.min().unwrap_or(call.touched + self.limits.transaction);
        if call.views.is_empty() && due <= now {
            if let Some(call) = self.calls.remove(&number) {
                self.by_key.remove(&call.key);
            }
            return;
        }
        call.due = due;
        self.due.insert((due, number));
    }

    /// Forgets a call, and tells so where it still ran.
    fn remove(&mut self, number: u64, moment: Moment, out: &mut Vec<SwitchEvent>) {
        let Some(call) = self.calls.remove(&number) else { return };
        self.due.remove(&(call.due, number));
        self.by_key.remove(&call.key);
        self.offered = self.offered.saturating_sub(call.offered);
        for mut view in call.views {
            forget_part(&mut self.by_device, view.device, number);
            view.end(EndCause::Forgotten, moment.at, out);
        }
    }
}

impl Call {
    /// Whether all is told to be over, and `message` is none of the old requests.
    fn is_over(&self, message: &Message) -> bool {
        !self.views.is_empty()
            && self.views.iter().all(|view| view.ended() && view.last_cseq().is_none_or(|last| last < message.cseq))
    }
}

/// `device` has no part in the call `number` any more.
fn forget_part(by_device: &mut HashMap<Address, BTreeSet<u64>>, device: Address, number: u64) {
    if let Some(numbers) = by_device.get_mut(&device) {
        numbers.remove(&number);
        if numbers.is_empty() {
            by_device.remove(&device);
        }
    }
}

/// Whether a message may answer something that is still to come.
fn may_be_early(parsed: &Parsed) -> bool {
    let message = &parsed.captured.message;
    match (message.kind, message.method) {
        (Kind::Response(_), Method::Invite | Method::Prack | Method::Update) | (Kind::Request, Method::Cancel) => true,
        (Kind::Request, Method::Ack) => parsed.sdp.is_some(),
        _ => false,
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
