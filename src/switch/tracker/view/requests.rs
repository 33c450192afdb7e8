//! Requests and responses of a dialog: what each begins, answers or ends.

use super::{Passing, Phase, Taken, View};
use crate::{
    model::{CallDirection, CallState, EndCause, SwitchEvent, Timestamp},
    switch::{
        sip::{Message, Method},
        tracker::{
            Ids, Moment, TrackerLimits,
            exchange::{Exchange, Offer, is_challenge},
        },
    },
};

impl View {
    pub(super) fn on_offering(&mut self, passing: Passing<'_>, moment: Moment, limits: &TrackerLimits) {
        let (message, by_device) = (passing.message, passing.sent);
        let initial = message.to.tag.is_empty();
        let outgoing = self.call.direction == CallDirection::Outgoing;
        // An INVITE that comes back to its sender, or a late one, is no part of this dialog.
        if initial && (by_device != outgoing || self.phase != Phase::Unanswered) {
            return;
        }
        if !initial {
            // What a branch of a fork agreed on first is overtaken.
            for exchange in self.exchanges.iter_mut().filter(|exchange| exchange.initial) {
                let tags = [&message.from.tag, &message.to.tag];
                exchange.of_branches.iter_mut().filter(|(tag, _)| tags.contains(&tag)).for_each(|(_, sdp)| *sdp = None);
            }
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
        self.arrived += 1;
        self.exchanges.push(Exchange {
            number: self.arrived,
            method: message.method,
            by_device,
            initial,
            cseq: message.cseq,
            branch: message.branch.clone(),
            offer: passing.sdp.map(|sdp| Offer { by_device, tag: message.to.tag.clone(), sdp: sdp.cloned() }),
            early_answer: None,
            provisional: None,
            of_branches: Vec::new(),
            answered: false,
            accepted: false,
            given_up: false,
            until: (!initial).then(|| moment.now + limits.unanswered),
            wait: None,
        });
    }

    pub(super) fn on_response(
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
                let other_branch = dialogs_first && self.called_tag.as_ref().is_some_and(|called| called != tag);
                let mut agreed = exchange.provisional.take();
                if other_branch && passing.sdp.is_none() && exchange.answered {
                    // It has its answer from another branch. This one's was seen before, or is waited for (R42b).
                    exchange.answered = false;
                    agreed = exchange.of_branch(tag);
                }
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
                if let Some(agreed) = agreed.filter(|_| passing.sdp.is_none() || offers_late) {
                    self.settle(i, Some(&agreed), None, moment, ids, out);
                    return Taken::Done;
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

    pub(super) fn on_ack(
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

    /// A BYE ends the call when it is seen: whoever sends it considers the call over, whatever the answer is (RFC 3261,
    /// 15.1.1). The exception is one that the other end refuses as out of order (12.2.2), which anybody could send.
    pub(super) fn on_bye(&mut self, message: &Message, by_device: bool, at: Timestamp, out: &mut Vec<SwitchEvent>) {
        // The branch of a fork that lost may be hung up on its own.
        if self.phase == Phase::Answered && !self.of_this_branch(message) {
            return;
        }
        let [of_device, of_other] = self.last_cseq;
        let last = if by_device { of_device } else { of_other };
        if last.is_some_and(|last| last >= message.cseq) {
            return;
        }
        let acknowledged = self.exchanges.iter().any(|exchange| exchange.wait.is_some());
        let answered = self.phase == Phase::Answered || acknowledged;
        self.end(if answered { EndCause::Hangup } else { EndCause::Cancelled }, at, out);
    }

    pub(super) fn find(&self, by_device: bool, cseq: u32, method: Method) -> Option<usize> {
        self.exchanges.iter().position(|e| e.by_device == by_device && e.cseq == cseq && e.method == method)
    }

    pub(super) fn unmatched(&self, by_device: bool, message: &Message) -> Taken {
        let [of_device, of_other] = self.last_cseq;
        let known = if by_device { of_device } else { of_other };
        if known.is_some_and(|last| last >= message.cseq) { Taken::Done } else { Taken::TooEarly }
    }
}
