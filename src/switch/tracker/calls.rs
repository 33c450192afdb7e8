//! The table of calls: by their names, by device, and by when they have something to do.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Instant,
};

use super::{TrackerLimits, view::View};
use crate::{
    model::{Address, CallId},
    switch::sip::{Message, Replaces},
};

/// One call keeps at most this part of all offers, and never less than so many bytes.
const SHARE: usize = 64;
const MIN_SHARE: usize = 64 * 1024;

/// Every call that is followed.
#[derive(Debug, Default)]
pub(super) struct Calls {
    calls: HashMap<u64, Call>,
    /// By Call-ID and the tag of the end that began, as [`Calls::name`] joins them; of a call that the feed met midway by
    /// the tags of both ends, as its beginning may still come.
    by_name: HashMap<String, u64>,
    /// The calls that each device has a part in.
    by_device: HashMap<Address, BTreeSet<u64>>,
    /// When each call has something to do: exactly one entry a call, in one of both orders. The first is also the first
    /// to make room, of those that nothing answered, or that are over, before those that were answered.
    unanswered: BTreeSet<(Instant, u64)>,
    answered: BTreeSet<(Instant, u64)>,
    /// Bytes of offers that wait for their answers.
    offered: usize,
    /// The calls that nothing answered yet and that have such offers: the oldest is the first.
    offering: BTreeSet<u64>,
    /// How often the offers of a call made room.
    pub(super) dropped_offers: u64,
    /// How many offers were refused: their call had too many, or all are of answered calls.
    pub(super) refused_offers: u64,
    /// Where names are joined.
    scratch: String,
}

#[derive(Debug)]
pub(super) struct Call {
    pub(super) id: CallId,
    names: Vec<String>,
    due: Instant,
    /// In which order it stands.
    answered: bool,
    pub(super) touched: Instant,
    pub(super) views: Vec<View>,
    /// Bytes of its offers that wait for their answers.
    offered: usize,
    /// The INVITEs that were seen.
    pub(super) hops: VecDeque<Hop>,
}

/// An INVITE on its way from one to another.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) cseq: u32,
    /// Of From.
    pub(super) tag: String,
    pub(super) from: Address,
    pub(super) to: Address,
    /// Its sender stands in its Record-Route.
    pub(super) routed: bool,
    /// The dialog that it is to replace, and whether who accepts it must know what that means.
    pub(super) replaces: Option<(Box<Replaces>, bool)>,
}

impl Calls {
    /// The call that has one of these tags.
    pub(super) fn find(&mut self, call_id: &str, tags: [&str; 2]) -> Option<u64> {
        tags.into_iter().find_map(|tag| {
            self.name(call_id, tag);
            self.by_name.get(&self.scratch).copied()
        })
    }

    /// Begins a call of the number `number` by its first INVITE.
    pub(super) fn begin(&mut self, number: u64, invite: &Message, now: Instant) {
        let mut names = Vec::with_capacity(1);
        for tag in [&invite.from.tag, &invite.to.tag].into_iter().filter(|tag| !tag.is_empty()) {
            self.name(&invite.call_id, tag);
            names.push(self.scratch.clone());
            self.by_name.insert(self.scratch.clone(), number);
        }
        let call = Call {
            id: CallId(number),
            names,
            due: now,
            answered: false,
            touched: now,
            views: Vec::new(),
            offered: 0,
            hops: VecDeque::new(),
        };
        self.unanswered.insert((call.due, number));
        self.calls.insert(number, call);
    }

    /// Joins a call's name in `scratch`. A Call-ID has no line end in it.
    fn name(&mut self, call_id: &str, tag: &str) {
        self.scratch.clear();
        self.scratch.push_str(call_id);
        self.scratch.push('\n');
        self.scratch.push_str(tag);
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut Call> {
        self.calls.get_mut(&number)
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether the call `number` may keep one more offer. The oldest of calls that nothing answered make room by
    /// theirs; what one call keeps has a bound of its own.
    pub(super) fn may_offer(&mut self, number: u64, limits: &TrackerLimits) -> bool {
        let share = (limits.max_offered / SHARE).max(MIN_SHARE);
        if self.calls.get(&number).is_some_and(|call| call.offered >= share) {
            self.refused_offers += 1;
            return false;
        }
        while self.offered >= limits.max_offered {
            let Some(oldest) = self.offering.pop_first() else {
                self.refused_offers += 1;
                return false;
            };
            let Some(call) = self.calls.get_mut(&oldest) else { continue };
            self.dropped_offers += 1;
            call.views.iter_mut().for_each(View::drop_offers);
            self.offered = self.offered.saturating_sub(std::mem::take(&mut call.offered));
        }
        true
    }

    /// The call that has something to do first, and when.
    pub(super) fn first_due(&self) -> Option<(Instant, u64)> {
        self.unanswered.first().into_iter().chain(self.answered.first()).min().copied()
    }

    /// The call that makes room for another: the first that has something due, and none that was answered while there is
    /// one that wasn't.
    pub(super) fn first_to_go(&self) -> Option<u64> {
        self.unanswered.first().or(self.answered.first()).map(|(_, number)| *number)
    }

    /// The calls that `device` has a part in.
    pub(super) fn of_device(&self, device: Address) -> Vec<u64> {
        self.by_device.get(&device).into_iter().flatten().copied().collect()
    }

    /// `view` joins the call `number`.
    pub(super) fn join(&mut self, number: u64, view: View) {
        if let Some(call) = self.calls.get_mut(&number) {
            self.by_device.entry(view.device).or_default().insert(number);
            call.views.push(view);
        }
    }

    /// Forgets the views of the call `number` that are over and whose late copies can't come any more.
    pub(super) fn forget_views(&mut self, number: u64, now: Instant, limits: &TrackerLimits) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        let by_device = &mut self.by_device;
        call.views.retain(|view| {
            let stays = !view.ended() || view.due(limits) > now;
            if !stays {
                leave(by_device, view.device, number);
            }
            stays
        });
    }

    /// Puts the call `number` at its place in the order of what is due. A call without views goes when its time is over.
    pub(super) fn reschedule(&mut self, number: u64, now: Instant, limits: &TrackerLimits) {
        let Some(call) = self.calls.get_mut(&number) else { return };
        let offered = call.views.iter_mut().map(View::tidy).sum();
        self.offered = self.offered.saturating_sub(call.offered).saturating_add(offered);
        call.offered = offered;
        let answered = call.views.iter().any(View::is_answered);
        if offered > 0 && !answered {
            self.offering.insert(number);
        } else {
            self.offering.remove(&number);
        }
        let due = call.views.iter().map(|view| view.due(limits)).min().unwrap_or(call.touched + limits.transaction);
        if call.views.is_empty() && due <= now {
            self.remove(number);
        } else if (due, answered) != (call.due, call.answered) {
            order(&mut self.unanswered, &mut self.answered, call.answered).remove(&(call.due, number));
            (call.due, call.answered) = (due, answered);
            order(&mut self.unanswered, &mut self.answered, answered).insert((due, number));
        }
    }

    /// Takes a call out of the table.
    pub(super) fn remove(&mut self, number: u64) -> Option<Call> {
        let call = self.calls.remove(&number)?;
        order(&mut self.unanswered, &mut self.answered, call.answered).remove(&(call.due, number));
        self.offering.remove(&number);
        for name in &call.names {
            self.by_name.remove(name);
        }
        self.offered = self.offered.saturating_sub(call.offered);
        call.views.iter().for_each(|view| leave(&mut self.by_device, view.device, number));
        Some(call)
    }
}

impl Call {
    /// Whether all is told to be over, and this first INVITE is none of the old requests.
    pub(super) fn is_over(&self, invite: &Message) -> bool {
        !self.views.is_empty() && self.views.iter().all(|view| view.is_over(invite))
    }

    pub(super) fn view_at(&self, address: Address) -> Option<usize> {
        self.views.iter().position(|view| view.is_at(address))
    }
}

/// The order that a call stands in.
fn order<T>(unanswered: T, when_answered: T, answered: bool) -> T {
    if answered { when_answered } else { unanswered }
}

/// `device` has no part in the call `number` any more.
fn leave(by_device: &mut HashMap<Address, BTreeSet<u64>>, device: Address, number: u64) {
    if let Some(numbers) = by_device.get_mut(&device) {
        numbers.remove(&number);
        if numbers.is_empty() {
            by_device.remove(&device);
        }
    }
}
