//! Offers and answers: which of them counts, and what they change.

use std::sync::Arc;

use super::{Branch, Passing, Phase, Sources, View};
use crate::{
    model::{SwitchEvent, Timestamp},
    switch::{
        sdp::Sdp,
        sip::Method,
        tracker::{
            Common, Moment,
            agree::agree,
            exchange::{Exchange, Offer},
        },
    },
};

impl View {
    /// The branch of a fork that counts from here on. What the others had agreed on is over (R23).
    pub(super) fn choose(&mut self, tag: &str, at: Timestamp, out: &mut Vec<SwitchEvent>) {
        if self.chosen.is_some() {
            return;
        }
        self.chosen = Some(tag.to_owned());
        self.end_branches(|other| other != tag, at, out);
        self.exchanges.retain(|exchange| exchange.tag.is_some());
    }

    /// A session description that came after the request: the answer, or the offer if the request had none.
    pub(super) fn on_answer(
        &mut self,
        i: usize,
        passing: Passing<'_>,
        moment: Moment,
        common: &mut Common,
        out: &mut Vec<SwitchEvent>,
    ) {
        let Some(exchange) = self.exchanges.get_mut(i) else { return };
        let Some(sdp) = passing.sdp else { return };
        let Some(offer) = exchange.offer.as_ref().filter(|offer| offer.by_device != passing.sent) else {
            if !exchange.answered {
                exchange.offer = Some(Offer { by_device: passing.sent, sdp: sdp.cloned() });
                if let Some(answer) = exchange.early_answer.take() {
                    self.settle(i, Some(&answer), moment, common, out);
                }
            }
            return;
        };
        if sdp.is_none() && offer.sdp.is_none() {
            // Nothing is agreed on that anybody could read, but the call is answered.
            if exchange.accepted {
                self.settle(i, None, moment, common, out);
            }
            return;
        }
        // A re-INVITE may still be rejected after an answer in its 183, and all be as before (R22).
        if !exchange.initial && !exchange.accepted {
            exchange.provisional = sdp.cloned();
            return;
        }
        self.settle(i, sdp, moment, common, out);
    }

    /// An answer that must have been given wasn't seen: what it said stays unknown (R42b).
    pub(super) fn give_up_answer(&mut self, i: usize, moment: Moment, common: &mut Common, out: &mut Vec<SwitchEvent>) {
        let Some(exchange) = self.exchanges.get_mut(i) else { return };
        exchange.wait = None;
        let (number, tag) = (exchange.number, exchange.tag.clone());
        let early_answer = exchange.early_answer.take().or(exchange.provisional.take());
        let answered = exchange.answered;
        if exchange.method == Method::Invite {
            self.phase = Phase::Answered;
            self.doom = None;
        }
        if answered {
            // Only that it counts wasn't seen.
            exchange.accepted = true;
            if let Some(tag) = tag {
                self.tell_connected(&tag, moment.at, out);
                self.choose(&tag, moment.at, out);
            }
            return;
        }
        self.settle(i, early_answer.as_ref(), moment, common, out);
        if let Some(exchange) = self.exchanges.iter_mut().find(|exchange| exchange.number == number) {
            // Should it come after all, it is taken.
            (exchange.answered, exchange.given_up) = (false, true);
        }
    }

    /// Brings holds and media to what the offer of exchange `i` and `answer` agree on.
    pub(super) fn settle(
        &mut self,
        i: usize,
        answer: Option<&Arc<Sdp>>,
        moment: Moment,
        common: &mut Common,
        out: &mut Vec<SwitchEvent>,
    ) {
        // A call that nothing told of yet has no media to tell of.
        if self.phase == Phase::Untold {
            return;
        }
        let Some(exchange) = self.exchanges.get_mut(i) else { return };
        let Some(tag) = exchange.tag.clone() else { return };
        let number = exchange.number;
        let mut accepted = exchange.proves_answered();
        exchange.answered = true;
        (exchange.wait, exchange.lapse) = (None, None);
        let begun = exchange.begun;
        let request = (exchange.by_device, exchange.cseq, exchange.method);
        let device_offered = exchange.offer.as_ref().map_or(!exchange.by_device, |offer| offer.by_device);
        let offer = exchange.offer.as_ref().and_then(|offer| offer.sdp.clone());
        let Some(branch) = self.branch(&tag) else { return };
        // What came after it has settled already: it says nothing of now (R22).
        let overtaken = number < branch.settled;
        if !overtaken {
            branch.settled = number;
            if answer.is_some() {
                branch.complete = Some(begun);
            }
            if let (Some(offer), Some(answer)) = (&offer, answer) {
                branch.note_holds(offer, answer, device_offered);
            }
        }
        if answer.is_some() && !overtaken {
            // An older offer whose answer is missing is overtaken. Only the first INVITE still has a call to begin.
            let unanswered = self.phase == Phase::Unanswered;
            let overtaken = |e: &&mut Exchange| e.is_of(&tag) && (e.number <= number || e.is_same(request));
            for exchange in self.exchanges.iter_mut().filter(overtaken) {
                accepted |= exchange.proves_answered();
                (exchange.wait, exchange.lapse) = (None, None);
            }
            self.exchanges.retain(|exchange| {
                !exchange.is_of(&tag)
                    || exchange.number >= number
                    || exchange.answered
                    || exchange.provisional.is_some()
                    || (exchange.initial && unanswered)
            });
        }
        if accepted {
            // Nobody waits any more for what the call was answered; that it was answered still decides a fork (R23).
            self.answered();
        }
        if self.phase == Phase::Answered {
            self.tell_connected(&tag, moment.at, out);
            self.choose(&tag, moment.at, out);
        }
        if overtaken {
            return;
        }
        if offer.is_none() && answer.is_none() {
            return self.doubt(&tag, None, moment, common, out);
        }
        let agreed = agree(offer.as_deref(), answer.map(AsRef::as_ref));
        let mut sources = Sources { ring: &mut self.ring, forgotten: &mut common.forgotten, ids: &mut common.ids };
        let Some(branch) = self.branches.iter_mut().find(|branch| branch.tag == tag) else { return };
        let mut bodies = Vec::new();
        branch.media.apply(agreed, device_offered, moment, &mut sources, &mut bodies);
        out.extend(bodies.into_iter().map(|body| self.event(body, moment.at)));
    }
}

impl Branch {
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
}
