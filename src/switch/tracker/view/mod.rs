//! A call as one device sees it: the messages that it sent or received.
//!
//! A view owns the call's state, its offers and answers, and its media. It takes each message once, whatever comes
//! twice, late or a little early, and ends exactly once: media first, then the call.
//!
//! A call that forks has a [`Branch`] for each of its early dialogs, with media of its own, until one of them answers:
//! the others are over then (R23).

mod answers;
mod branch;
mod lost;
mod requests;
mod responses;

use std::{collections::VecDeque, sync::Arc, time::Instant};

use self::branch::Branch;
use super::{
    Bound, Common, Moment, TrackerLimits,
    exchange::{Exchange, same_branch},
    media::Sources,
    ring::Ring,
};
use crate::{
    model::{
        Address, CallDirection, CallRef, CallState, DeviceName, EndCause, EventBody, LineNumber, SwitchEvent, Timestamp,
    },
    switch::{
        sdp::Sdp,
        sip::{Kind, Message, Method},
    },
};

/// More addresses than this a device, or the other end, doesn't have in one call.
const MAX_ADDRESSES: usize = 4;
/// More branches of a fork than this are not told of before they answer (R41a).
const MAX_BRANCHES: usize = 4;
/// So many transactions are remembered, to tell a request that comes again from another one of the same CSeq.
const MAX_TRANSACTIONS: usize = 8;

#[derive(Debug)]
pub(super) struct View {
    pub(super) device: Address,
    /// Where its messages went from and to: its registered Contact may differ from its source.
    addresses: Vec<Address>,
    /// Where the other end's messages went from and to.
    peers: Vec<Address>,
    name: DeviceName,
    call: Arc<CallRef>,
    phase: Phase,
    /// A provisional response said more than that the INVITE has come.
    rings: bool,
    state: Option<CallState>,
    /// The tag of the end that sent the first INVITE that was seen, and whether the device did.
    caller_tag: String,
    device_calls: bool,
    /// The CSeq of the first INVITE.
    invited: Option<u32>,
    /// The last transactions with an offering request: whether the device began it, its CSeq and branch.
    transactions: VecDeque<(bool, u32, String)>,
    /// There were more first INVITEs of one CSeq than are kept: an unknown branch may be one of theirs.
    crowded: bool,
    exchanges: Vec<Exchange>,
    /// How many exchanges there were.
    arrived: u64,
    branches: Vec<Branch>,
    /// The tag of the branch that answered (R23).
    chosen: Option<String>,
    ring: Ring,
    /// When the call ends, and why, if nothing else happens.
    doom: Option<(Instant, EndCause)>,
    /// The last BYE of the device, and of the other end, that nothing answered yet.
    byes: [Option<Bye>; 2],
    touched: Instant,
    /// The wall clock at `touched`.
    touched_at: Timestamp,
}

/// A BYE whose answer is due.
#[derive(Debug)]
struct Bye {
    cseq: u32,
    branch: String,
    until: Instant,
    cause: EndCause,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The feed began in mid-call: not told before an answer proves the call.
    Untold,
    Unanswered,
    Answered,
    Ended,
}

/// A message as one of its ends sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passing<'a> {
    pub(super) message: &'a Message,
    /// The session description: `Some(None)` if there is one that can't be read.
    pub(super) sdp: Option<Option<&'a Arc<Sdp>>>,
    /// Whether the device sent it.
    pub(super) sent: bool,
}

/// What a view made of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    Done,
    /// It answers something that is older than what was seen last of its end.
    Overtaken,
    /// It answers something that wasn't seen yet.
    TooEarly,
}

impl View {
    /// The device sent or received an INVITE of a call that it had no part in so far.
    pub(super) fn new(
        device: Address,
        name: DeviceName,
        call: CallRef,
        (invite, sent): (&Message, bool),
        moment: Moment,
        out: &mut Vec<SwitchEvent>,
    ) -> Self {
        let state = match call.direction {
            CallDirection::Outgoing => Some(CallState::Dialing),
            CallDirection::Incoming => Some(CallState::Offered),
            CallDirection::Unknown => None,
        };
        let mut view = Self {
            device,
            addresses: vec![device],
            peers: Vec::new(),
            name,
            call: call.into(),
            phase: if state.is_some() { Phase::Unanswered } else { Phase::Untold },
            rings: false,
            state: None,
            caller_tag: invite.from.tag.clone(),
            device_calls: sent,
            invited: None,
            transactions: VecDeque::new(),
            crowded: false,
            exchanges: Vec::new(),
            arrived: 0,
            branches: Vec::new(),
            chosen: None,
            ring: Ring::new(state.is_none()),
            doom: None,
            byes: [None, None],
            touched: moment.now,
            touched_at: moment.at,
        };
        if let Some(state) = state {
            view.tell(state, moment.at, out);
        }
        view
    }

    pub(super) fn name(&self) -> DeviceName {
        self.name.clone()
    }

    /// Whether the device was met at `address` in this call.
    pub(super) fn is_at(&self, address: Address) -> bool {
        self.addresses.contains(&address)
    }

    /// Whether the other end was met at `address` in this call.
    pub(super) fn is_with(&self, address: Address) -> bool {
        self.peers.contains(&address)
    }

    /// Whether any of the device's addresses is at the host of `address`.
    pub(super) fn is_at_host(&self, address: Address) -> bool {
        self.addresses.iter().any(|known| known.socket.ip() == address.socket.ip())
    }

    /// Where the device was met in this call, its own address first.
    pub(super) fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    pub(super) fn note_addresses(&mut self, device: Address, peer: Address) {
        for (known, address, kept) in [(&mut self.addresses, device, 1), (&mut self.peers, peer, 0)] {
            if !known.contains(&address) {
                if known.len() >= MAX_ADDRESSES {
                    known.remove(kept);
                }
                known.push(address);
            }
        }
    }

    /// Whether these are the tags of one of its dialogs.
    pub(super) fn has_dialog(&self, one: &str, other: &str) -> bool {
        let called = match self.caller_tag.as_str() {
            tag if tag == one => other,
            tag if tag == other => one,
            _ => return false,
        };
        self.branches.iter().any(|branch| branch.tag == called)
    }

    /// Whether `message` has both tags of this answered call, with the device at the end that sent it, or that got it.
    pub(super) fn is_dialog_of(&self, message: &Message, sent: bool) -> bool {
        let called = self.called_tag(message, sent);
        self.phase == Phase::Answered && called.is_some() && called == self.chosen.as_deref()
    }

    /// The called end's tag in a message that has the caller's too, each at its own end.
    fn called_tag<'a>(&self, message: &'a Message, sent: bool) -> Option<&'a str> {
        let by_caller = sent == self.device_calls;
        let (caller, called) = if by_caller == (message.kind == Kind::Request) {
            (&message.from.tag, &message.to.tag)
        } else {
            (&message.to.tag, &message.from.tag)
        };
        (*caller == self.caller_tag && !called.is_empty()).then_some(called)
    }

    pub(super) fn is_answered(&self) -> bool {
        self.phase == Phase::Answered
    }

    pub(super) fn ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Whether it is over, and this first INVITE is none of its old requests: it has a higher CSeq, or was sent on
    /// another branch after all others were refused (RFC 3261, 16.7; RFC 3263, 4.3).
    pub(super) fn is_over(&self, invite: &Message) -> bool {
        let last = self.branches.iter().flat_map(|branch| branch.last_cseq).chain([self.invited]).max().flatten();
        let again =
            || self.chosen.is_none() && self.invited == Some(invite.cseq) && !self.knows(self.device_calls, invite);
        self.ended() && last.is_none_or(|last| last < invite.cseq || last == invite.cseq && again())
    }

    /// Whether the transaction of this message was seen, or can't be told from another of its CSeq.
    fn knows(&self, by_device: bool, message: &Message) -> bool {
        message.branch.is_empty()
            || self.transactions.iter().any(|(by, cseq, branch)| {
                (*by, *cseq) == (by_device, message.cseq) && same_branch(branch, &message.branch)
            })
    }

    /// Drops what no answer needs any more. Returns about how many bytes are still kept for answers to come.
    pub(super) fn tidy(&mut self) -> usize {
        self.exchanges.retain(|exchange| exchange.initial || !exchange.answered || !exchange.accepted);
        self.exchanges.iter_mut().map(Exchange::tidy).sum()
    }

    /// Lets go of all session descriptions that wait for others: what was offered counts as unreadable.
    pub(super) fn drop_offers(&mut self) {
        for exchange in &mut self.exchanges {
            exchange.offer.iter_mut().for_each(|offer| offer.sdp = None);
            (exchange.early_answer, exchange.provisional) = (None, None);
        }
    }

    /// When something falls due if nothing else happens.
    pub(super) fn due(&self, limits: &TrackerLimits) -> Instant {
        let silence = match self.phase {
            Phase::Untold | Phase::Ended => limits.transaction,
            Phase::Unanswered if self.rings => limits.ringing,
            Phase::Unanswered => limits.unanswered,
            Phase::Answered => limits.silent,
        };
        let doom = self.doom.map(|(when, _)| when).into_iter().chain(self.byes.iter().flatten().map(|bye| bye.until));
        let waits =
            self.exchanges.iter().flat_map(|exchange| [exchange.wait, exchange.lapse, exchange.until]).flatten();
        waits.chain(doom).fold(self.touched + silence, Instant::min)
    }

    pub(super) fn on_time(&mut self, now: Instant, common: &mut Common, out: &mut Vec<SwitchEvent>) {
        let moment = Moment { now, at: self.wall_clock(now) };
        // In their order: of two branches whose answers weren't seen the first one counts (R23).
        let late = |(i, exchange): (usize, &Exchange)| Some((exchange.wait.filter(|wait| *wait <= now)?, i));
        while let Some((_, i)) = self.exchanges.iter().enumerate().filter_map(late).min() {
            self.give_up_answer(i, moment, common, out);
        }
        let lapsed = |exchange: &Exchange| exchange.lapse.is_some_and(|lapse| lapse <= now);
        while let Some(i) = self.exchanges.iter().position(lapsed) {
            self.lapse(i, moment, common, out);
        }
        self.exchanges.retain(|exchange| exchange.until.is_none_or(|until| until > now));
        let left = self.byes.iter().flatten().map(|bye| (bye.until, bye.cause)).find(|(when, _)| *when <= now);
        if let Some((_, cause)) = left.or(self.doom.filter(|(when, _)| *when <= now)) {
            self.abandon(cause, moment, common, out);
        } else if self.due(&common.limits) <= now && !self.ended() {
            self.abandon(EndCause::Forgotten, moment, common, out);
        }
    }

    pub(super) fn on_message(
        &mut self,
        passing: Passing<'_>,
        moment: Moment,
        common: &mut Common,
        out: &mut Vec<SwitchEvent>,
    ) -> Taken {
        if self.ended() {
            return Taken::Done;
        }
        (self.touched, self.touched_at) = (moment.now, moment.at);
        let message = passing.message;
        match (message.kind, message.method) {
            (Kind::Request, Method::Invite | Method::Update) => self.on_offering(passing, moment, common, out),
            (Kind::Request, Method::Prack) if passing.sdp.is_some() => self.on_prack(passing, moment, common, out),
            (Kind::Request, Method::Ack) => return self.on_ack(passing, moment, common, out),
            (Kind::Request, Method::Cancel) => self.on_cancel(passing, moment, common),
            (Kind::Request, Method::Bye) => self.on_bye(passing, moment, common, out),
            (Kind::Response(code), Method::Bye) => self.on_bye_answer(code, passing, moment, common, out),
            (Kind::Response(code), Method::Invite | Method::Update | Method::Prack) => {
                return self.on_response(code, passing, moment, common, out);
            }
            _ => {}
        }
        Taken::Done
    }

    /// The call is answered, and nothing that was due before ends it.
    fn answered(&mut self) {
        (self.phase, self.doom) = (Phase::Answered, None);
    }

    /// Another dialog that was accepted replaces this one (RFC 3891): its BYE is due, unless the dialog is used again.
    pub(super) fn on_replaced(&mut self, now: Instant, limits: &TrackerLimits) {
        let cause = if self.phase == Phase::Answered { EndCause::Hangup } else { EndCause::Cancelled };
        if !self.ended() {
            self.doom.get_or_insert((now + limits.transaction, cause));
        }
    }

    /// Ends the view without having seen the end of its dialog, which may go on: its keys are never new again (R16).
    pub(super) fn abandon(&mut self, cause: EndCause, moment: Moment, common: &mut Common, out: &mut Vec<SwitchEvent>) {
        self.ring.let_go(moment.now, &mut common.forgotten);
        self.end(cause, moment.at, out);
    }

    /// Ends the view, its media first, then the call: its dialog is over for both ends.
    fn end(&mut self, cause: EndCause, at: Timestamp, out: &mut Vec<SwitchEvent>) {
        if self.ended() {
            return;
        }
        self.end_media(|_| true, at, out);
        if self.state.is_some() {
            self.tell(CallState::Ended(cause), at, out);
        }
        self.phase = Phase::Ended;
        // The keys go with the call; the names stay a while, so that late copies start nothing.
        self.exchanges.clear();
        self.ring.clear();
        self.doom = None;
        self.byes = [None, None];
    }

    /// Our best reading of the wall clock at `now`, by what the feed said last.
    pub(super) fn wall_clock(&self, now: Instant) -> Timestamp {
        let passed = now.saturating_duration_since(self.touched).as_micros();
        Timestamp(self.touched_at.0.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX)))
    }

    /// The tag of the called end: which dialog a message belongs to.
    fn tag_of<'a>(&self, message: &'a Message) -> &'a str {
        if message.from.tag == self.caller_tag { &message.to.tag } else { &message.from.tag }
    }

    fn branch(&mut self, tag: &str) -> Option<&mut Branch> {
        self.branches.iter_mut().find(|branch| branch.tag == tag)
    }

    /// The branch of this tag, which is begun if there is room.
    fn begin_branch(&mut self, tag: &str) -> Option<&mut Branch> {
        let i = match self.branches.iter().position(|branch| branch.tag == tag) {
            Some(i) => i,
            None if self.branches.len() >= MAX_BRANCHES => return None,
            None => {
                self.branches.push(Branch::new(tag));
                self.branches.len() - 1
            }
        };
        self.branches.get_mut(i)
    }

    /// Forgets these branches: the keys of their streams are of no more use (R23).
    fn end_branches(&mut self, which: impl Fn(&str) -> bool, at: Timestamp, out: &mut Vec<SwitchEvent>) {
        self.end_media(&which, at, out);
        self.branches.retain(|branch| !which(&branch.tag));
        self.exchanges.retain(|exchange| exchange.tag.as_deref().is_none_or(|tag| !which(tag)));
    }

    fn end_media(&mut self, which: impl Fn(&str) -> bool, at: Timestamp, out: &mut Vec<SwitchEvent>) {
        let mut bodies = Vec::new();
        for branch in self.branches.iter_mut().filter(|branch| which(&branch.tag)) {
            branch.media.end(&mut bodies);
        }
        out.extend(bodies.into_iter().map(|body| self.event(body, at)));
    }

    fn tell_connected(&mut self, tag: &str, at: Timestamp, out: &mut Vec<SwitchEvent>) {
        if self.phase != Phase::Answered {
            return;
        }
        if !matches!(self.state, Some(CallState::Connected | CallState::Held | CallState::HeldByRemote)) {
            self.tell(CallState::Connected, at, out);
        }
        let state = match self.branch(tag).map(|branch| branch.holds) {
            Some([true, _]) => CallState::Held,
            Some([false, true]) => CallState::HeldByRemote,
            Some([false, false]) | None => CallState::Connected,
        };
        self.tell(state, at, out);
    }

    fn tell(&mut self, state: CallState, at: Timestamp, out: &mut Vec<SwitchEvent>) {
        if self.state != Some(state) {
            self.state = Some(state);
            out.push(self.event(EventBody::Call(state), at));
        }
    }

    fn event(&self, body: EventBody, at: Timestamp) -> SwitchEvent {
        SwitchEvent { at, device: self.name.clone(), line: LineNumber::FIRST, call: self.call.clone(), body }
    }
}
