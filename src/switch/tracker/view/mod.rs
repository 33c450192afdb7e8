//! A call as one device sees it: the messages that it sent or received.
//!
//! A view owns the call's state, its offers and answers, and its media. It takes each message once, whatever comes
//! twice, late or a little early, and ends exactly once: media first, then the call.

mod answers;
mod requests;

use std::{sync::Arc, time::Instant};

use super::{Ids, Moment, TrackerLimits, exchange::Exchange, media::Media};
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
    /// How many exchanges there were, and the latest whose answer counted: what an older one says is overtaken (R22).
    arrived: u64,
    settled: u64,
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
            arrived: 0,
            settled: 0,
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

    /// Drops what no answer needs any more. Returns about how many bytes are still kept for answers to come.
    pub(super) fn tidy(&mut self) -> usize {
        self.exchanges.iter_mut().map(Exchange::tidy).sum()
    }

    /// When something falls due if nothing else happens.
    pub(super) fn due(&self, limits: &TrackerLimits) -> Instant {
        let silence = match self.phase {
            Phase::Untold | Phase::Ended => limits.transaction,
            Phase::Unanswered => limits.unanswered,
            Phase::Answered => limits.silent,
        };
        let doom = self.doom.map(|(when, _)| when);
        let waits = self.exchanges.iter().flat_map(|exchange| [exchange.wait, exchange.until]).flatten();
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
        self.exchanges.retain(|exchange| exchange.until.is_none_or(|until| until > now));
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
            (Kind::Request, Method::Bye) => self.on_bye(message, passing.sent, moment.at, out),
            // The BYE itself wasn't seen. Other failures don't say that the call is over (RFC 3261, 12.2.1.2).
            (Kind::Response(200..=299 | 408 | 481), Method::Bye) => {
                self.on_bye(message, !passing.sent, moment.at, out);
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
}
