//! Requests of a dialog: what each begins, answers or ends.

use super::{Bound, Bye, MAX_TRANSACTIONS, Passing, Phase, Taken, View};
use crate::{
    model::{EndCause, SwitchEvent, Timestamp},
    switch::{
        sip::{Message, Method},
        tracker::{
            Common, Moment,
            exchange::{Exchange, Offer, same_branch},
        },
    },
};

impl View {
    pub(super) fn on_offering(
        &mut self,
        passing: Passing<'_>,
        moment: Moment,
        common: &mut Common,
        out: &mut Vec<SwitchEvent>,
    ) {
        let (message, by_device) = (passing.message, passing.sent);
        let initial = message.to.tag.is_empty();
        let tag = (!initial).then(|| self.tag_of(message).to_owned());
        // An INVITE that comes back to its sender, or a late one, is no part of this dialog.
        let astray = by_device != self.device_calls || self.phase != Phase::Unanswered;
        if initial && (astray || message.method != Method::Invite) {
            return;
        }
        // A branch of a fork that lost counts no more (R23).
        if tag.is_some() && self.chosen.is_some() && tag != self.chosen {
            return;
        }
        let invited = self.invited.filter(|_| by_device == self.device_calls);
        let known = self.knows(by_device, message);
        let last = match &tag {
            None => &mut self.invited,
            Some(tag) => match self.begin_branch(tag) {
                Some(branch) => branch.last_cseq(by_device),
                None => {
                    common.counts.note(Bound::Branches);
                    return;
                }
            },
        };
        let before = (*last).max(invited);
        let twin = before == Some(message.cseq);
        if before > Some(message.cseq) || twin && known {
            return;
        }
        *last = Some(message.cseq);
        self.crowded |= twin && self.transactions.len() >= MAX_TRANSACTIONS;
        self.note_transaction(by_device, message);
        match &tag {
            // Another branch of the same INVITE, or one after that was refused: each gets answers of its own.
            None if twin => {
                self.doom = None;
                let first = |exchange: &Exchange| exchange.tag.is_none();
                if self.exchanges.iter().filter(|exchange| first(exchange)).count() >= MAX_TRANSACTIONS {
                    common.counts.note(Bound::Transactions);
                    self.crowded = true;
                    return;
                }
            }
            None => {
                // A challenged INVITE is replaced by the one that answers the challenge.
                self.doom = None;
                self.exchanges.clear();
                self.end_branches(|_| true, moment.at, out);
            }
            Some(tag) => {
                // What is used isn't replaced (RFC 3891), or was refused to be.
                if self.phase == Phase::Answered {
                    self.doom = None;
                }
                if message.method == Method::Invite {
                    self.expect_answer_before(tag, moment, common);
                }
            }
        }
        // An UPDATE without an offer only refreshes the session (RFC 4028), and no answer brings one (RFC 3311, 5.1).
        if message.method == Method::Update && passing.sdp.is_none() {
            return;
        }
        let in_dialog = |exchange: &Exchange| !exchange.initial;
        if self.exchanges.iter().filter(|exchange| in_dialog(exchange)).count() >= common.limits.max_exchanges.max(1)
            && let Some(oldest) = self.exchanges.iter().position(in_dialog)
        {
            common.counts.note(Bound::Exchanges);
            self.lapse(oldest, moment, common, out);
            self.exchanges.remove(oldest);
        }
        self.arrived += 1;
        // An INVITE without an offer gets one by its answer, and every other one is answered in time (RFC 3261, 17.1).
        let may_change = !initial && (message.method == Method::Invite || passing.sdp.is_some());
        self.exchanges.push(Exchange {
            number: self.arrived,
            begun: moment.now,
            method: message.method,
            by_device,
            tag,
            initial,
            cseq: message.cseq,
            branch: message.branch.clone(),
            offer: passing.sdp.map(|sdp| Offer { by_device, sdp: sdp.cloned() }),
            early_answer: None,
            provisional: None,
            answered: false,
            accepted: false,
            given_up: false,
            until: (!initial).then(|| moment.now + common.limits.unanswered),
            wait: None,
            lapse: may_change.then(|| moment.now + common.limits.transaction + common.limits.reorder),
        });
    }

    fn note_transaction(&mut self, by_device: bool, message: &Message) {
        if self.transactions.len() >= MAX_TRANSACTIONS {
            self.transactions.pop_front();
        }
        self.transactions.push_back((by_device, message.cseq, message.branch.clone()));
    }

    /// Only an answered call is invited again (RFC 3261, 14.1): an answer before this wasn't seen.
    fn expect_answer_before(&mut self, tag: &str, moment: Moment, common: &mut Common) {
        self.exchanges.retain(|exchange| !exchange.given_up);
        let Some(invited) = self.invited.filter(|_| self.phase == Phase::Unanswered) else { return };
        let first = self.exchange_of(self.device_calls, (invited, ""), Method::Invite, tag);
        if let Some(first) = first.and_then(|i| self.exchanges.get_mut(i)) {
            first.wait.get_or_insert(moment.now + common.limits.reorder);
        }
    }

    /// A PRACK with a session description: it answers an offer in a provisional response, or makes one (RFC 3262, 5).
    pub(super) fn on_prack(
        &mut self,
        passing: Passing<'_>,
        moment: Moment,
        common: &mut Common,
        out: &mut Vec<SwitchEvent>,
    ) {
        let tag = self.tag_of(passing.message).to_owned();
        let cseq = passing.message.cseq;
        // It comes again, and was taken as an answer.
        let is_last = self.branch(&tag).is_some_and(|branch| *branch.last_cseq(passing.sent) == Some(cseq));
        let name = (passing.sent, cseq, Method::Prack);
        if is_last && !self.exchanges.iter().any(|exchange| exchange.is_of(&tag) && exchange.is_same(name)) {
            return;
        }
        let awaited = |exchange: &Exchange| exchange.is_of(&tag) && exchange.awaits_answer_of(passing.sent);
        if let Some(i) = self.exchanges.iter().position(awaited) {
            self.note_answering(&tag, passing);
            return self.on_answer(i, passing, moment, common, out);
        }
        let first = self.invited.filter(|_| passing.sent == self.device_calls && self.chosen.is_none());
        let first = first.and_then(|cseq| self.exchange_of(passing.sent, (cseq, ""), Method::Invite, &tag));
        // It is the answer to an offer that wasn't seen: an INVITE without one gets it by its first reliable response.
        if let Some(first) = first.and_then(|i| self.exchanges.get_mut(i))
            && first.offer.is_none()
            && first.early_answer.is_none()
        {
            first.early_answer = passing.sdp.flatten().cloned();
            self.note_answering(&tag, passing);
            return;
        }
        self.on_offering(passing, moment, common, out);
    }

    /// A PRACK that answers is a request of its end like others.
    fn note_answering(&mut self, tag: &str, passing: Passing<'_>) {
        self.note_transaction(passing.sent, passing.message);
        if let Some(branch) = self.begin_branch(tag) {
            let last = branch.last_cseq(passing.sent);
            *last = (*last).max(Some(passing.message.cseq));
        }
    }

    pub(super) fn on_ack(
        &mut self,
        passing: Passing<'_>,
        moment: Moment,
        common: &mut Common,
        out: &mut Vec<SwitchEvent>,
    ) -> Taken {
        let message = passing.message;
        let named = |exchange: &Exchange| exchange.is(passing.sent, (message.cseq, ""), Method::Invite);
        // The ACK of a failure is part of its transaction and has its branch (RFC 3261, 17.1.1.3); that of a 2xx hasn't.
        let of_failure = !message.branch.is_empty()
            && (self.transactions.iter().any(|(by_device, cseq, branch)| {
                (*by_device, *cseq, branch) == (passing.sent, message.cseq, &message.branch)
            }) || self.exchanges.iter().any(|exchange| named(exchange) && exchange.branch == message.branch));
        let tag = self.tag_of(message).to_owned();
        if of_failure && !self.exchanges.iter().any(|exchange| named(exchange) && exchange.is_of(&tag)) {
            return Taken::Done;
        }
        let Some(i) = self.exchange_of(passing.sent, (message.cseq, ""), Method::Invite, &tag) else {
            return if passing.sdp.is_some() { self.unmatched(passing.sent, message) } else { Taken::Done };
        };
        let Some(exchange) = self.exchanges.get_mut(i) else { return Taken::Done };
        // Its refusal wasn't seen: a rejected offer leaves all as it was (R22).
        if of_failure && !exchange.initial && !exchange.accepted && exchange.branch == message.branch {
            self.exchanges.remove(i);
            return Taken::Done;
        }
        if exchange.awaits_answer_of(passing.sent) && passing.sdp.is_some() && !of_failure {
            // Its 200 may not have been seen: an ACK of its own branch says that there was one.
            (exchange.accepted, exchange.lapse) = (true, None);
            self.answered();
            self.on_answer(i, passing, moment, common, out);
            return Taken::Done;
        }
        if !exchange.accepted && !exchange.given_up && !of_failure {
            if exchange.offer.is_none() {
                exchange.early_answer = passing.sdp.flatten().cloned();
            }
            exchange.wait.get_or_insert(moment.now + common.limits.reorder);
        }
        Taken::Done
    }

    /// A CANCEL has the branch of the INVITE that it is for (RFC 3261, 9.1): others go on.
    pub(super) fn on_cancel(&mut self, passing: Passing<'_>, moment: Moment, common: &Common) {
        let message = passing.message;
        let cancelled =
            |exchange: &Exchange| exchange.is(passing.sent, (message.cseq, &message.branch), Method::Invite);
        let mut first = self.exchanges.iter().filter(|exchange| exchange.tag.is_none()).peekable();
        if self.phase == Phase::Unanswered && first.peek().is_some() && first.all(cancelled) {
            self.doom = Some((moment.now + common.limits.transaction, EndCause::Cancelled));
        }
    }

    /// A BYE ends the call when it is answered, or could have been: the other end may refuse one that is malformed or
    /// out of order (RFC 3261, 12.2.2 and 15.1.2), and the call goes on.
    pub(super) fn on_bye(&mut self, passing: Passing<'_>, moment: Moment, common: &Common, out: &mut Vec<SwitchEvent>) {
        let (message, by_device) = (passing.message, passing.sent);
        let Some(cause) = self.hung_up(message, by_device, moment.at, out) else { return };
        let until = moment.now + common.limits.transaction;
        let [of_device, of_other] = &mut self.byes;
        let bye = if by_device { of_device } else { of_other };
        if bye.as_ref().is_none_or(|bye| bye.cseq < message.cseq) {
            *bye = Some(Bye { cseq: message.cseq, branch: message.branch.clone(), until, cause });
        }
    }

    pub(super) fn on_bye_answer(
        &mut self,
        code: u16,
        passing: Passing<'_>,
        moment: Moment,
        common: &mut Common,
        out: &mut Vec<SwitchEvent>,
    ) {
        let (message, by_device) = (passing.message, !passing.sent);
        let [of_device, of_other] = &mut self.byes;
        let bye = if by_device { of_device } else { of_other };
        let seen =
            bye.as_ref().is_some_and(|bye| bye.cseq == message.cseq && same_branch(&bye.branch, &message.branch));
        match code {
            // The BYE comes again with credentials.
            ..=199 | 401 | 407 => {}
            200..=299 | 408 | 481 => {
                let Some(cause) = self.hung_up(message, by_device, moment.at, out) else { return };
                // Whose BYE wasn't seen, or wasn't accepted, may go on.
                if seen && code < 300 {
                    self.end(cause, moment.at, out);
                } else {
                    self.abandon(cause, moment, common, out);
                }
            }
            // Other failures don't say that the call is over (RFC 3261, 12.2.1.2).
            _ if seen => *bye = None,
            _ => {}
        }
    }

    /// Why the call ends if this BYE counts, or its answer.
    fn hung_up(
        &mut self,
        message: &Message,
        by_device: bool,
        at: Timestamp,
        out: &mut Vec<SwitchEvent>,
    ) -> Option<EndCause> {
        let tag = self.tag_of(message).to_owned();
        // Both tags name a dialog.
        if tag.is_empty() || ![&message.from.tag, &message.to.tag].contains(&&self.caller_tag) {
            return None;
        }
        // The branch of a fork that lost may be hung up on its own, and so may one of several early ones.
        if self.chosen.as_ref().is_some_and(|chosen| *chosen != tag) {
            return None;
        }
        if self.last_of(&tag, by_device).is_some_and(|last| last >= message.cseq) {
            return None;
        }
        // Its 200 wasn't seen, and its ACK was: then it is the branch that answered (R23).
        if self.exchanges.iter().any(|exchange| exchange.is_of(&tag) && exchange.proves_answered()) {
            self.answered();
            self.tell_connected(&tag, at, out);
            self.choose(&tag, at, out);
        }
        let others = self.branches.iter().any(|branch| branch.tag != tag);
        if self.chosen.is_none() && others {
            self.end_branches(|ended| ended == tag, at, out);
            return None;
        }
        Some(if self.phase == Phase::Answered { EndCause::Hangup } else { EndCause::Cancelled })
    }

    /// The exchange of the request of this CSeq and branch in the dialog `tag`. A first INVITE gets one for each dialog
    /// that it makes. Without a branch it may be any of several INVITEs: then nobody knows what was offered (R42b).
    pub(super) fn exchange_of(
        &mut self,
        by_device: bool,
        (cseq, branch): (u32, &str),
        method: Method,
        tag: &str,
    ) -> Option<usize> {
        let named = |exchange: &Exchange| exchange.is(by_device, (cseq, branch), method);
        if let Some(i) = self.exchanges.iter().position(|exchange| named(exchange) && exchange.is_of(tag)) {
            return Some(i);
        }
        let mut first = self.exchanges.iter().filter(|exchange| exchange.tag.is_none() && named(exchange));
        let (mut found, several) = (first.next(), first.next().is_some());
        let lost = found.is_none() && self.crowded;
        if lost {
            let of_cseq = |exchange: &&Exchange| exchange.tag.is_none() && exchange.is(by_device, (cseq, ""), method);
            found = self.exchanges.iter().find(of_cseq);
        }
        let mut copy = Exchange { tag: Some(tag.to_owned()), ..found?.clone() };
        if lost || several {
            copy.offer = copy.offer.map(|offer| Offer { sdp: None, ..offer });
        }
        self.begin_branch(tag)?;
        self.exchanges.push(copy);
        Some(self.exchanges.len() - 1)
    }

    /// The highest CSeq of an offering request of this end in the dialog `tag`.
    fn last_of(&mut self, tag: &str, by_device: bool) -> Option<u32> {
        let invited = self.invited.filter(|_| by_device == self.device_calls);
        self.branch(tag).and_then(|branch| *branch.last_cseq(by_device)).max(invited)
    }

    pub(super) fn unmatched(&mut self, by_device: bool, message: &Message) -> Taken {
        let tag = self.tag_of(message).to_owned();
        let last = self.last_of(&tag, by_device);
        let overtaken = last > Some(message.cseq) || last == Some(message.cseq) && self.knows(by_device, message);
        if overtaken { Taken::Overtaken } else { Taken::TooEarly }
    }
}
