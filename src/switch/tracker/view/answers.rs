//! Offers and answers: which of them counts, and what they change.

use std::sync::Arc;

use super::{Passing, Phase, View};
use crate::{
    model::{CallDirection, SwitchEvent, Timestamp},
    switch::{
        sdp::Sdp,
        sip::{Kind, Method},
        tracker::{Ids, Moment, agree::agree, exchange::Offer, media::Media},
    },
};

impl View {
    /// The branch of a fork that counts from here on. What another one had agreed is over (R23).
    pub(super) fn choose(&mut self, tag: &str, at: Timestamp, out: &mut Vec<SwitchEvent>) {
        if self.called_tag.as_deref().is_some_and(|before| before != tag) {
            self.with_media(at, out, Media::end);
            // Each branch counts its own requests.
            let [of_device, of_other] = &mut self.last_cseq;
            *(if self.call.direction == CallDirection::Outgoing { of_other } else { of_device }) = None;
        }
        if self.called_tag.as_deref() != Some(tag) {
            self.called_tag = Some(tag.to_owned());
        }
    }

    /// A session description that came after the request: the answer, or the offer if the request had none.
    pub(super) fn on_answer(
        &mut self,
        i: usize,
        passing: Passing<'_>,
        moment: Moment,
        ids: &mut Ids,
        out: &mut Vec<SwitchEvent>,
    ) {
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
        // A re-INVITE may still be rejected after an answer in its 183, and all be as before (R22).
        if !initial && !exchange.accepted {
            exchange.provisional = sdp.cloned();
            return;
        }
        let message = passing.message;
        if initial && message.kind != Kind::Request {
            exchange.note_branch(&message.to.tag, sdp);
        }
        let tag = (initial && message.kind != Kind::Request).then_some(message.to.tag.as_str());
        self.settle(i, sdp, tag, moment, ids, out);
    }

    /// An answer that must have been given wasn't seen: what it said stays unknown (R42b).
    pub(super) fn give_up_answer(&mut self, i: usize, moment: Moment, ids: &mut Ids, out: &mut Vec<SwitchEvent>) {
        let Some(exchange) = self.exchanges.get_mut(i) else { return };
        let number = exchange.number;
        let invited = exchange.method == Method::Invite;
        let early_answer = exchange.early_answer.take().map(|(_, answer)| answer).or(exchange.provisional.take());
        if invited {
            self.phase = Phase::Answered;
            self.doom = None;
        }
        self.settle(i, early_answer.as_ref(), None, moment, ids, out);
        if let Some(exchange) = self.exchanges.iter_mut().find(|exchange| exchange.number == number) {
            // Should it come after all, it is taken.
            (exchange.answered, exchange.given_up) = (false, true);
        }
    }

    /// Brings holds and media to what the offer of exchange `i` and `answer` agree on, in the branch `tag` of a fork.
    pub(super) fn settle(
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
        let Some(exchange) = self.exchanges.get_mut(i) else { return };
        let number = exchange.number;
        exchange.answered = true;
        exchange.wait = None;
        // What came after it has settled already: it says nothing of now (R22). Another branch of a fork does.
        let another = tag.is_some_and(|tag| self.called_tag.as_deref() != Some(tag));
        if number < self.settled && !another {
            self.tell_connected(moment.at, out);
            return;
        }
        self.settled = number;
        let device_offered = exchange.offer.as_ref().map_or(!exchange.by_device, |offer| offer.by_device);
        let offer = exchange.offer.as_ref().and_then(|offer| offer.sdp.clone());
        if answer.is_some() {
            // An older offer whose answer is missing is overtaken. Only the first INVITE still has a call to begin.
            let unanswered = self.phase == Phase::Unanswered;
            self.exchanges.iter_mut().for_each(|exchange| exchange.wait = None);
            self.exchanges.retain(|exchange| {
                exchange.number >= number
                    || exchange.answered
                    || exchange.provisional.is_some()
                    || (exchange.initial && unanswered)
            });
        }
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

    pub(super) fn note_holds(&mut self, offer: &Sdp, answer: &Sdp, device_offered: bool) {
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
