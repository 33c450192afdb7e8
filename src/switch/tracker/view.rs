//! A call as one device sees it: the messages that it sent or received.
//!
//! A view owns the call's state, its offers and answers, and its media. It takes each message once, whatever comes
//! twice, late or a little early, and ends exactly once: media first, then the call.

use std::{sync::Arc, time::Instant};

use super::{
    Ids, Moment, TrackerLimits,
    agree::agree,
    exchange::{Exchange, Offer, is_challenge},
    media::Media,
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

/// More addresses than this a device doesn't have in one call.
const MAX_ADDRESSES: usize = 4;

#[derive(Debug)]
pub(super) struct View {
    pub(super) device: Address,
    /// Where its messages went from and to: its registered Contact may differ from its source.
    addresses: Vec<Address>,
    name: DeviceName,
    call: Arc<CallRef>,
    phase: Phase,
    state: Option<CallState>,
    exchanges: Vec<Exchange>,
    /// The highest CSeq of a request with an offer in it, of the device and of the other end.
    last_cseq: [Option<u32>; 2],
    /// The tag of the called end in the dialog that counts: of a fork, the branch that answered (R23).
    called_tag: Option<String>,
    /// Whether the device, and the other end, holds the call.
    holds: [bool; 2],
    media: Media,
    /// When the call ends, and why, if nothing else happens.
    doom: Option<(Instant, EndCause)>,
    touched: Instant,
    /// The wall clock at `touched`.
    touched_at: Timestamp,
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
    /// It answers something that wasn't seen yet.
    TooEarly,
}

impl View {
    /// The device sent or received an INVITE of a call that it had no part in so far.
    pub(super) fn new(
        device: Address,
        name: DeviceName,
        call: CallRef,
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
            name,
            call: call.into(),
            phase: if state.is_some() { Phase::Unanswered } else { Phase::Untold },
            state: None,
            exchanges: Vec::new(),
            last_cseq: [None; 2],
            called_tag: None,
            holds: [false; 2],
            media: Media::default(),
            doom: None,
            touched: moment.now,
            touched_at: moment.at,
        };
        if let Some(state) = state {
            view.tell(state, moment.at, out);
        }
        view
    }

    /// Whether the device was met at `address` in this call.
    pub(super) fn is_at(&self, address: Address) -> bool {
        self.addresses.contains(&address)
    }

    pub(super) fn note_address(&mut self, address: Address) {
        if self.addresses.len() < MAX_ADDRESSES && !self.is_at(address) {
            self.addresses.push(address);
        }
    }

    pub(super) fn ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// The highest CSeq of an offering request, of either end.
    pub(super) fn last_cseq(&self) -> Option<u32> {
        self.last_cseq.into_iter().max().flatten()
    }

    /// When something falls due if nothing else happens.
    pub(super) fn due(&self, limits: &TrackerLimits) -> Instant {
        let silence = match self.phase {
            Phase::Untold | Phase::Ended => limits.transaction,
            Phase::Unanswered => limits.unanswered,
            Phase::Answered => limits.silent,
        };
        let doom = self.doom.map(|(when, _)| when);
        let waits = self.exchanges.iter().filter_map(|exchange| exchange.wait);
        waits.chain(doom).fold(self.touched + silence, Instant::min)
    }

    pub(super) fn on_time(&mut self, now: Instant, limits: &TrackerLimits, ids: &mut Ids, out: &mut Vec<SwitchEvent>) {
        let moment = Moment { now, at: self.wall_clock(now) };
        for i in 0..self.exchanges.len() {
            let Some(exchange) = self.exchanges.get_mut(i) else { break };
            if exchange.wait.is_some_and(|wait| wait <= now) {
                exchange.wait = None;
                self.give_up_answer(i, moment, ids, out);
            }
        }
        if let Some((_, cause)) = self.doom.filter(|(when, _)| *when <= now) {
            self.end(cause, moment.at, out);
        } else if self.due(limits) <= now && !self.ended() {
            self.end(EndCause::Forgotten, moment.at, out);
        }
    }

    pub(super) fn on_message(
        &mut self,
        passing: Passing<'_>,
        moment: Moment,
        limits: &TrackerLimits,
        ids: &mut Ids,
        out: &mut Vec<SwitchEvent>,
    ) -> Taken {
        if self.ended() {
            return Taken::Done;
        }
        (self.touched, self.touched_at) = (moment.now, moment.at);
        let message = passing.message;
        match (message.kind, message.method) {
            (Kind::Request, Method::Invite | Method::Update) => self.on_offering(passing, moment, limits),
            (Kind::Request, Method::Prack) if passing.sdp.is_some() => {
                let open = self.exchanges.iter().position(|exchange| exchange.awaits_answer_of(passing.sent));
                match open {
                    Some(i) => self.on_answer(i, passing, moment, ids, out),
                    None => self.on_offering(passing, moment, limits),
                }
            }
            (Kind::Request, Method::Ack) => return self.on_ack(passing, moment, limits, ids, out),
            (Kind::Request, Method::Cancel) if self.phase == Phase::Unanswered => {
                self.doom = Some((moment.now + limits.transaction, EndCause::Cancelled));
            }
            (Kind::Request, Method::Bye) => self.on_bye(message, moment.at, out),
            (Kind::Response(code), Method::Bye) if code >= 200 && !is_challenge(code) => {
                self.on_bye(message, moment.at, out);
            }
            (Kind::Response(code), Method::Invite | Method::Update | Method::Prack) => {
                return self.on_response(code, passing, moment, limits, ids, out);
            }
            _ => {}
        }
        Taken::Done
    }

    /// Ends the view: its media first, then the call.
    pub(super) fn end(&mut self, cause: EndCause, at: Timestamp, out: &mut Vec<SwitchEvent>) {
        if self.ended() {
            return;
        }
        self.with_media(at, out, Media::end);
        if self.state.is_some() {
            self.tell(CallState::Ended(cause), at, out);
        }
        self.phase = Phase::Ended;
        // The keys of offers go with the call; the rest stays a while, so that late copies start nothing.
        self.exchanges.clear();
        self.doom = None;
    }

    /// Our best reading of the wall clock at `now`, by what the feed said last.
    pub(super) fn wall_clock(&self, now: Instant) -> Timestamp {
        let passed = now.saturating_duration_since(self.touched).as_micros();
        Timestamp(self.touched_at.0.saturating_add(i64::try_from(passed).unwrap_or(i64::MAX)))
    }

    fn on_offering(&mut self, passing: Passing<'_>, moment: Moment, limits: &TrackerLimits) {
        let (message, by_device) = (passing.message, passing.sent);
        let initial = message.to.tag.is_empty();
        let outgoing = self.call.direction == CallDirection::Outgoing;
        // An INVITE that comes back to its sender, or a late one, is no part of this dialog.
        if initial && (by_device != outgoing || self.phase != Phase::Unanswered) {
            return;
        }
        // The early dialog of another branch of a fork (R23).
        if !initial && !self.of_this_branch(message) {
            return;
        }
        let [of_device, of_other] = &mut self.last_cseq;
        let last = if by_device { of_device } else { of_other };
        if last.is_some_and(|last| last >= message.cseq) {
            return;
        }
        *last = Some(message.cseq);
        if initial {
            self.doom = None;
            // A challenged INVITE is replaced by the one that answers the challenge.
            self.exchanges.retain(|exchange| !exchange.initial);
        } else if message.method == Method::Invite {
            // Only an answered call is invited again (RFC 3261, 14.1): an answer before this wasn't seen.
            self.exchanges.retain(|exchange| !exchange.given_up);
            for exchange in self.exchanges.iter_mut().filter(|exchange| exchange.initial && !exchange.answered) {
                exchange.wait.get_or_insert(moment.now + limits.reorder);
            }
        }
        self.exchanges.retain(|exchange| !(exchange.answered && exchange.accepted));
        if self.exchanges.len() >= limits.max_exchanges {
            self.exchanges.remove(0);
        }
        self.exchanges.push(Exchange {
            method: message.method,
            by_device,
            initial,
            cseq: message.cseq,
            branch: message.branch.clone(),
            offer: passing.sdp.map(|sdp| Offer { by_device, tag: message.to.tag.clone(), sdp: sdp.cloned() }),
            early_answer: None,
            answered: false,
            accepted: false,
            given_up: false,
            wait: None,
        });
    }

    fn on_response(
        &mut self,
        code: u16,
        passing: Passing<'_>,
        moment: Moment,
        limits: &TrackerLimits,
        ids: &mut Ids,
        out: &mut Vec<SwitchEvent>,
    ) -> Taken {
        let (message, by_device) = (passing.message, !passing.sent);
        let Some(i) = self.find(by_device, message.cseq, message.method) else {
            return self.unmatched(by_device, message);
        };
        let Some(exchange) = self.exchanges.get_mut(i) else { return Taken::Done };
        let dialogs_first = exchange.initial && exchange.method == Method::Invite;
        let tag = &message.to.tag;
        let another = self.phase == Phase::Answered && self.called_tag.as_ref().is_some_and(|called| called != tag);
        match code {
            ..=100 => return Taken::Done,
            // A branch of a fork that answers after another one counts no more (R23).
            ..=299 if dialogs_first && another => return Taken::Done,
            101..=199 => {
                if exchange.accepted && exchange.answered {
                    return Taken::Done;
                }
                if code == 180 && dialogs_first && matches!(self.state, Some(CallState::Dialing | CallState::Offered)) {
                    self.tell(CallState::Alerting, moment.at, out);
                }
            }
            200..=299 => {
                if exchange.accepted && exchange.answered {
                    return Taken::Done;
                }
                exchange.accepted = true;
                let offers_late = exchange.offer.as_ref().is_none_or(|offer| offer.by_device != by_device);
                if !exchange.answered
                    && (passing.sdp.is_none() || offers_late)
                    && exchange.offers(passing.sdp.is_some())
                {
                    let patience = if offers_late { limits.transaction } else { limits.reorder };
                    exchange.wait = Some(moment.now + patience);
                }
                if exchange.method == Method::Invite {
                    self.doom = None;
                    self.phase = Phase::Answered;
                    if passing.sdp.is_none() || offers_late {
                        self.tell_connected(moment.at, out);
                        self.choose(tag, moment.at, out);
                    }
                }
            }
            300.. => {
                let challenged = is_challenge(code);
                if !exchange.accepted {
                    self.exchanges.remove(i);
                }
                match self.phase {
                    Phase::Unanswered if dialogs_first && challenged => {
                        self.doom = Some((moment.now + limits.transaction, EndCause::Rejected(code)));
                    }
                    Phase::Unanswered if dialogs_first && code == 487 => self.end(EndCause::Cancelled, moment.at, out),
                    Phase::Unanswered if dialogs_first => self.end(EndCause::Rejected(code), moment.at, out),
                    // A rejected offer leaves all as it was (R22).
                    _ => {}
                }
                return Taken::Done;
            }
        }
        if passing.sdp.is_some() {
            self.on_answer(i, passing, moment, ids, out);
        }
        Taken::Done
    }

    /// The branch of a fork that counts from here on. What another one had agreed is over (R23).
    fn choose(&mut self, tag: &str, at: Timestamp, out: &mut Vec<SwitchEvent>) {
        if self.called_tag.as_deref().is_some_and(|before| before != tag) {
            self.with_media(at, out, Media::end);
        }
        if self.called_tag.as_deref() != Some(tag) {
            self.called_tag = Some(tag.to_owned());
        }
    }

    fn on_ack(
        &mut self,
        passing: Passing<'_>,
        moment: Moment,
        limits: &TrackerLimits,
        ids: &mut Ids,
        out: &mut Vec<SwitchEvent>,
    ) -> Taken {
        let message = passing.message;
        let Some(i) = self.find(passing.sent, message.cseq, Method::Invite) else {
            return if passing.sdp.is_some() { self.unmatched(passing.sent, message) } else { Taken::Done };
        };
        let Some(exchange) = self.exchanges.get_mut(i) else { return Taken::Done };
        if exchange.awaits_answer_of(passing.sent) && passing.sdp.is_some() {
            self.on_answer(i, passing, moment, ids, out);
            return Taken::Done;
        }
        // The ACK of a failure is part of its transaction and has its branch (RFC 3261, 17.1.1.3); that of a 2xx hasn't.
        let of_failure = !exchange.branch.is_empty() && exchange.branch == message.branch;
        if !exchange.accepted && !exchange.answered && !of_failure {
            if exchange.offer.is_none() {
                exchange.early_answer = passing.sdp.flatten().map(|sdp| (message.to.tag.clone(), sdp.clone()));
            }
            exchange.wait.get_or_insert(moment.now + limits.reorder);
        }
        Taken::Done
    }

    fn on_bye(&mut self, message: &Message, at: Timestamp, out: &mut Vec<SwitchEvent>) {
        // The branch of a fork that lost may be hung up on its own.
        if self.phase == Phase::Answered && !self.of_this_branch(message) {
            return;
        }
        let acknowledged = self.exchanges.iter().any(|exchange| exchange.wait.is_some());
        let answered = self.phase == Phase::Answered || acknowledged;
        self.end(if answered { EndCause::Hangup } else { EndCause::Cancelled }, at, out);
    }

    /// A session description that came after the request: the answer, or the offer if the request had none.
    fn on_answer(&mut self, i: usize, passing: Passing<'_>, moment: Moment, ids: &mut Ids, out: &mut Vec<SwitchEvent>) {
        let Some(exchange) = self.exchanges.get_mut(i) else { return };
        let Some(sdp) = passing.sdp else { return };
        let Some(offer) = exchange.offer.as_ref().filter(|offer| offer.by_device != passing.sent) else {
            if !exchange.answered {
                let tag = &passing.message.to.tag;
                exchange.offer = Some(Offer { by_device: passing.sent, tag: tag.clone(), sdp: sdp.cloned() });
                if let Some((_, answer)) = exchange.early_answer.take_if(|(to, _)| to == tag) {
                    self.settle(i, Some(&answer), None, moment, ids, out);
                }
            }
            return;
        };
        // ACK and PRACK answer the branch that they are sent to.
        if passing.message.kind == Kind::Request && offer.tag != passing.message.to.tag {
            return;
        }
        if sdp.is_none() && offer.sdp.is_none() {
            return;
        }
        let initial = exchange.initial;
        let message = passing.message;
        let tag = (initial && message.kind != Kind::Request).then_some(message.to.tag.as_str());
        self.settle(i, sdp, tag, moment, ids, out);
    }

    /// An answer that must have been given wasn't seen: what it said stays unknown (R42b).
    fn give_up_answer(&mut self, i: usize, moment: Moment, ids: &mut Ids, out: &mut Vec<SwitchEvent>) {
        let Some(exchange) = self.exchanges.get_mut(i) else { return };
        let invited = exchange.method == Method::Invite;
        let early_answer = exchange.early_answer.take().map(|(_, answer)| answer);
        if invited {
            self.phase = Phase::Answered;
            self.doom = None;
        }
        self.settle(i, early_answer.as_ref(), None, moment, ids, out);
        if let Some(exchange) = self.exchanges.get_mut(i) {
            // Should it come after all, it is taken.
            (exchange.answered, exchange.given_up) = (false, true);
        }
    }

    /// Brings holds and media to what the offer of exchange `i` and `answer` agree on, in the branch `tag` of a fork.
    fn settle(
        &mut self,
        i: usize,
        answer: Option<&Arc<Sdp>>,
        tag: Option<&str>,
        moment: Moment,
        ids: &mut Ids,
        out: &mut Vec<SwitchEvent>,
    ) {
        // A call that nothing told of yet has no media to tell of.
        if self.phase == Phase::Untold {
            return;
        }
        if answer.is_some() {
            // An older offer whose answer is missing is overtaken.
            self.exchanges.iter_mut().for_each(|exchange| exchange.wait = None);
        }
        let Some(exchange) = self.exchanges.get_mut(i) else { return };
        exchange.answered = true;
        exchange.wait = None;
        let device_offered = exchange.offer.as_ref().map_or(!exchange.by_device, |offer| offer.by_device);
        let offer = exchange.offer.as_ref().and_then(|offer| offer.sdp.clone());
        if let (Some(offer), Some(answer)) = (&offer, answer) {
            self.note_holds(offer, answer, device_offered);
        }
        self.tell_connected(moment.at, out);
        if let Some(tag) = tag {
            self.choose(tag, moment.at, out);
        }
        let agreed = agree(offer.as_deref(), answer.map(AsRef::as_ref));
        self.with_media(moment.at, out, |media, events| media.apply(agreed, device_offered, moment.at, ids, events));
    }

    fn note_holds(&mut self, offer: &Sdp, answer: &Sdp, device_offered: bool) {
        let lines = offer.lines.iter().zip(&answer.lines);
        let mut live = lines.filter(|(offer, answer)| !offer.rejected && !answer.rejected);
        let first = live.clone().find(|(offer, _)| &*offer.media == "audio").or_else(|| live.next());
        let Some((offer, answer)) = first else { return };
        let [device, other] = &mut self.holds;
        let (offerer, answerer) = if device_offered { (device, other) } else { (other, device) };
        *offerer = offer.holds();
        // To an offer that holds only an answer that receives tells something: that the answerer doesn't (RFC 3264, 6.1).
        if !offer.holds() && offer.direction.send {
            *answerer = answer.holds();
        } else if answer.direction.receive {
            *answerer = false;
        }
    }

    fn tell_connected(&mut self, at: Timestamp, out: &mut Vec<SwitchEvent>) {
        if self.phase != Phase::Answered {
            return;
        }
        if !matches!(self.state, Some(CallState::Connected | CallState::Held | CallState::HeldByRemote)) {
            self.tell(CallState::Connected, at, out);
        }
        let state = match self.holds {
            [true, _] => CallState::Held,
            [false, true] => CallState::HeldByRemote,
            [false, false] => CallState::Connected,
        };
        self.tell(state, at, out);
    }

    fn tell(&mut self, state: CallState, at: Timestamp, out: &mut Vec<SwitchEvent>) {
        if self.state != Some(state) {
            self.state = Some(state);
            out.push(self.event(EventBody::Call(state), at));
        }
    }

    fn with_media(
        &mut self,
        at: Timestamp,
        out: &mut Vec<SwitchEvent>,
        act: impl FnOnce(&mut Media, &mut Vec<EventBody>),
    ) {
        let mut bodies = Vec::new();
        act(&mut self.media, &mut bodies);
        out.extend(bodies.into_iter().map(|body| self.event(body, at)));
    }

    fn event(&self, body: EventBody, at: Timestamp) -> SwitchEvent {
        SwitchEvent { at, device: self.name.clone(), line: LineNumber::FIRST, call: self.call.clone(), body }
    }

    /// Whether a request within a dialog belongs to the branch that counts, as far as that is known.
    fn of_this_branch(&self, message: &Message) -> bool {
        self.called_tag.as_ref().is_none_or(|tag| *tag == message.from.tag || *tag == message.to.tag)
    }

    fn find(&self, by_device: bool, cseq: u32, method: Method) -> Option<usize> {
        self.exchanges.iter().position(|e| e.by_device == by_device && e.cseq == cseq && e.method == method)
    }

    fn unmatched(&self, by_device: bool, message: &Message) -> Taken {
        let [of_device, of_other] = self.last_cseq;
        let known = if by_device { of_device } else { of_other };
        if known.is_some_and(|last| last >= message.cseq) { Taken::Done } else { Taken::TooEarly }
    }
}
