//! Responses: what each says of the request that it answers.

use super::{MAX_BRANCHES, Passing, Phase, Taken, View};
use crate::{
    model::{CallState, EndCause, SwitchEvent},
    switch::{
        sip::Method,
        tracker::{Common, Moment, exchange::is_challenge},
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
        let lost = self.chosen.as_ref().is_some_and(|chosen| *chosen != tag);
        match code {
            ..=100 => return Taken::Done,
            // A branch of a fork that answers after another one counts no more (R23).
            101..=299 if first && lost => return Taken::Done,
            200..=299 if first => self.make_room_for(&tag, moment, out),
            300.. if first => return self.on_refusal(code, moment, common, out),
            _ => {}
        }
        let Some(i) = self.exchange_of(by_device, message.cseq, message.method, &tag) else {
            return self.unmatched(by_device, message);
        };
        let Some(exchange) = self.exchanges.get_mut(i) else { return Taken::Done };
        if exchange.accepted && exchange.answered {
            return Taken::Done;
        }
        match code {
            ..=199 => {
                if code == 180 && first && matches!(self.state, Some(CallState::Dialing | CallState::Offered)) {
                    self.tell(CallState::Alerting, moment.at, out);
                }
            }
            200..=299 => {
                exchange.accepted = true;
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
                    self.doom = None;
                    self.phase = Phase::Answered;
                    if passing.sdp.is_none() || offers_late {
                        self.tell_connected(&tag, moment.at, out);
                        self.choose(&tag, moment.at, out);
                    }
                }
                if let Some(agreed) = agreed.filter(|_| passing.sdp.is_none() || offers_late) {
                    let i = self.exchange_of(by_device, message.cseq, message.method, &tag);
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
            && let Some(i) = self.exchange_of(by_device, message.cseq, message.method, &tag)
        {
            self.on_answer(i, passing, moment, common, out);
        }
        Taken::Done
    }

    /// The first INVITE is refused, by all that it forked to.
    fn on_refusal(&mut self, code: u16, moment: Moment, common: &mut Common, out: &mut Vec<SwitchEvent>) -> Taken {
        if self.phase != Phase::Unanswered || self.exchanges.iter().any(|exchange| exchange.accepted) {
            return Taken::Done;
        }
        if is_challenge(code) {
            self.exchanges.clear();
            self.end_branches(|_| true, moment.at, out);
            self.doom = Some((moment.now + common.limits.transaction, EndCause::Rejected(code)));
        } else {
            let cause = if code == 487 { EndCause::Cancelled } else { EndCause::Rejected(code) };
            self.end(cause, moment.at, out);
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
