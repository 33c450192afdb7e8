//! What wasn't seen: keys that may not be in force any more (R42b).

use std::time::Instant;

use super::{Passing, Phase, Sources, View};
use crate::{
    model::SwitchEvent,
    switch::{
        sdp::Sdp,
        sip::Kind,
        tracker::{Common, Moment},
    },
};

impl View {
    /// The time of a request that may have changed the keys is over, or its place is needed, and nobody knows whether it
    /// was accepted. That says nothing of the call.
    pub(super) fn lapse(&mut self, i: usize, moment: Moment, common: &mut Common, out: &mut Vec<SwitchEvent>) {
        let Some(exchange) = self.exchanges.get_mut(i) else { return };
        if exchange.lapse.take().or(exchange.wait).is_none() {
            return;
        }
        // Should its answer come after all, it is taken.
        exchange.given_up = true;
        exchange.until = Some(moment.now + common.limits.unanswered);
        let (number, tag) = (exchange.number, exchange.tag.clone());
        let offer = exchange.offer.as_ref().and_then(|offer| offer.sdp.clone());
        let Some(tag) = tag else { return };
        let Some(branch) = self.branch(&tag).filter(|branch| branch.settled <= number) else { return };
        // What came before it says nothing of now any more.
        branch.settled = number;
        self.doubt(&tag, offer.as_deref(), moment, common, out);
    }

    /// The answer, or the ACK, to a request that wasn't seen: it was accepted, and nobody knows what it offered. It must
    /// be of a dialog that is known, and was newer than every request of its end when it came; what was agreed on since
    /// makes up for it. As a forged one may name any CSeq, that isn't kept: the next exchange heals it.
    pub(in super::super) fn on_lost_request(
        &mut self,
        passing: Passing<'_>,
        since: Instant,
        now: Instant,
        common: &mut Common,
        out: &mut Vec<SwitchEvent>,
    ) {
        let Passing { message, sdp, sent } = passing;
        let by_device = sent == (message.kind == Kind::Request);
        let Some(tag) = self.called_tag(message, sent).map(ToOwned::to_owned) else { return };
        let another = self.chosen.as_ref().is_some_and(|chosen| *chosen != tag);
        let Some(branch) = self.branch(&tag).filter(|_| !another) else { return };
        let made_up = branch.complete > Some(since);
        let seen = self.transactions.iter().any(|(by, cseq, _)| (*by, *cseq) == (by_device, message.cseq));
        if made_up || seen || self.ended() {
            return;
        }
        let moment = Moment { now, at: self.wall_clock(now) };
        self.doubt(&tag, sdp.flatten().map(AsRef::as_ref), moment, common, out);
    }

    /// Something that wasn't seen may have changed the media of this branch: their keys aren't known any more. What is
    /// clear stays clear if `seen`, the one description that was seen, has no key for it.
    pub(super) fn doubt(
        &mut self,
        tag: &str,
        seen: Option<&Sdp>,
        moment: Moment,
        common: &mut Common,
        out: &mut Vec<SwitchEvent>,
    ) {
        // A call that nothing told of yet has no media to tell of.
        if self.phase == Phase::Untold {
            return;
        }
        let mut sources = Sources { ring: &mut self.ring, forgotten: &mut common.forgotten, ids: &mut common.ids };
        let Some(branch) = self.branches.iter_mut().find(|branch| branch.tag == tag) else { return };
        let mut bodies = Vec::new();
        branch.media.doubt(seen, moment, &mut sources, &mut bodies);
        out.extend(bodies.into_iter().map(|body| self.event(body, moment.at)));
    }
}
