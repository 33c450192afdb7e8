//! Responses: what each says of the request that it answers.

use super::{Bound, MAX_BRANCHES, Passing, Phase, Taken, View};
use crate::{
    model::{CallState, EndCause, SwitchEvent},
    switch::{
        sip::{Message, Method},
        tracker::{
            Common, Moment,
            exchange::{Exchange, is_challenge},
        },
    },
};

impl View {
    pub(super) fn on_response(
        &mut self,
        code: u16,
        passing: Passing<'_>,
        moment: Moment,
        common: &mut Common,
        out: &mut Vec<SwitchEvent>,
    ) -> Taken {
        let (message, by_device) = (passing.message, !passing.sent);
        let tag = self.tag_of(message).to_owned();
        let first =
            message.method == Method::Invite && by_device == self.device_calls && self.invited == Some(message.cseq);
        if first && matches!(code, 200..=299) {
            self.settle_acknowledged_before(&tag, moment, common, out);
        }
        let lost = self.chosen.as_ref().is_some_and(|chosen| *chosen != tag);
        match code {
            ..=100 if first => return Taken::Done,
            // A branch of a fork that answers after another one counts no more (R23).
            101..=299 if first && lost => return Taken::Done,
            200..=299 if first => self.make_room_for(&tag, moment, out),
            300.. if first => return self.on_refusal(code, message, moment, common, out),
            _ => {}
        }
        let name = (message.cseq, message.branch.as_str());
        let Some(i) = self.exchange_of(by_device, name, message.method, &tag) else {
            if self.branches.len() >= MAX_BRANCHES && self.branch(&tag).is_none() {
                common.counts.note(Bound::Branches);
            }
            return self.unmatched(by_device, message);
        };
        let Some(exchange) = self.exchanges.get_mut(i) else { return Taken::Done };
        if exchange.accepted && exchange.answered {
            return Taken::Done;
        }
        match code {
            ..=199 => {
                exchange.goes_on(moment.now + common.limits.unanswered);
                self.rings |= first;
                if code == 180 && first && matches!(self.state, Some(CallState::Dialing | CallState::Offered)) {
                    self.tell(CallState::Alerting, moment.at, out);
                }
            }
            200..=299 => {
                (exchange.accepted, exchange.lapse) = (true, None);
                let agreed = exchange.provisional.take();
                let offers_late = exchange.offer.as_ref().is_none_or(|offer| offer.by_device != by_device);
                if !exchange.answered
                    && (passing.sdp.is_none() || offers_late)
                    && exchange.offers(passing.sdp.is_some())
                {
                    let patience = if offers_late { common.limits.transaction } else { common.limits.reorder };
                    exchange.wait = Some(moment.now + patience);
                }
                if exchange.method == Method::Invite {
                    self.answered();
                    if passing.sdp.is_none() || offers_late {
                        self.tell_connected(&tag, moment.at, out);
                        self.choose(&tag, moment.at, out);
                    }
                }
                if let Some(agreed) = agreed.filter(|_| passing.sdp.is_none() || offers_late) {
                    let i = self.exchange_of(by_device, name, message.method, &tag);
                    if let Some(i) = i {
                        self.settle(i, Some(&agreed), moment, common, out);
                    }
                    return Taken::Done;
                }
            }
            // A rejected offer leaves all as it was (R22).
            300.. => {
                if !exchange.accepted {
                    self.exchanges.remove(i);
                }
                return Taken::Done;
            }
        }
        if passing.sdp.is_some()
            && let Some(i) = self.exchange_of(by_device, name, message.method, &tag)
        {
            self.on_answer(i, passing, moment, common, out);
        }
        Taken::Done
    }

    /// Another branch was acknowledged before this one answers, and so it answered first: of two that answer the caller keeps
    /// one (RFC 3261, 13.2.2.4), and that is the first (R23).
    fn settle_acknowledged_before(
        &mut self,
        tag: &str,
        moment: Moment,
        common: &mut Common,
        out: &mut Vec<SwitchEvent>,
    ) {
        let before = |exchange: &Exchange| exchange.initial && exchange.proves_answered() && !exchange.is_of(tag);
        if self.chosen.is_none()
            && let Some((i, _)) =
                self.exchanges.iter().enumerate().filter(|(_, exchange)| before(exchange)).min_by_key(|(_, it)| it.wait)
        {
            self.give_up_answer(i, moment, common, out);
        }
    }

    /// A first INVITE is refused, by all that it forked to. Others of the same CSeq go on (RFC 3261, 8.2.2.2).
    fn on_refusal(
        &mut self,
        code: u16,
        message: &Message,
        moment: Moment,
        common: &mut Common,
        out: &mut Vec<SwitchEvent>,
    ) -> Taken {
        let is_accepted = |exchange: &Exchange| exchange.accepted || exchange.proves_answered();
        if self.phase != Phase::Unanswered || self.exchanges.iter().any(is_accepted) {
            return Taken::Done;
        }
        let name = (message.cseq, message.branch.as_str());
        let refused = |exchange: &Exchange| exchange.initial && exchange.is(self.device_calls, name, Method::Invite);
        if !self.exchanges.iter().any(refused) {
            return if self.knows(self.device_calls, message) { Taken::Done } else { Taken::TooEarly };
        }
        self.exchanges.retain(|exchange| !refused(exchange));
        if self.exchanges.iter().any(|exchange| exchange.initial) {
            let left: Vec<_> = self.exchanges.iter().filter_map(|exchange| exchange.tag.clone()).collect();
            self.end_branches(|tag| !left.iter().any(|other| other == tag), moment.at, out);
            return Taken::Done;
        }
        if is_challenge(code) {
            self.exchanges.clear();
            self.end_branches(|_| true, moment.at, out);
            self.doom = Some((moment.now + common.limits.transaction, EndCause::Rejected(code)));
        } else {
            let cause = if code == 487 { EndCause::Cancelled } else { EndCause::Rejected(code) };
            self.abandon(cause, moment, common, out);
        }
        Taken::Done
    }

    /// The branch that answers needs a place, whatever others there are.
    fn make_room_for(&mut self, tag: &str, moment: Moment, out: &mut Vec<SwitchEvent>) {
        if self.branches.len() >= MAX_BRANCHES
            && self.branch(tag).is_none()
            && let Some(oldest) = self.branches.first().map(|branch| branch.tag.clone())
        {
            self.end_branches(|ended| ended == oldest, moment.at, out);
        }
    }
}
