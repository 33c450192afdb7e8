//! One request that may carry an offer, and what became of it (RFC 3261, 13; RFC 3264).

use std::{sync::Arc, time::Instant};

use crate::switch::{sdp::Sdp, sip::Method};

/// A request that may carry an offer, and what became of it.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Its place in the order of arrival, in its view.
    pub(super) number: u64,
    pub(super) method: Method,
    pub(super) by_device: bool,
    pub(super) initial: bool,
    pub(super) cseq: u32,
    pub(super) branch: String,
    pub(super) offer: Option<Offer>,
    /// An ACK's SDP that came before the offer that it answers, and the tag of the branch that it goes to.
    pub(super) early_answer: Option<(String, Arc<Sdp>)>,
    /// The answer in a provisional response of an established dialog: it counts once the request is accepted.
    pub(super) provisional: Option<Arc<Sdp>>,
    /// The answers of the branches of a fork, by their tags; `None` once the branch agreed on something else.
    pub(super) of_branches: Vec<(String, Option<Arc<Sdp>>)>,
    pub(super) answered: bool,
    pub(super) accepted: bool,
    pub(super) given_up: bool,
    /// When it is forgotten, whatever became of it. The first INVITE goes with its call.
    pub(super) until: Option<Instant>,
    /// When an answer that wasn't seen is given up.
    pub(super) wait: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Offer {
    pub(super) by_device: bool,
    /// The tag of the called end, in the message that carried the offer. Of a fork only that branch is answered.
    pub(super) tag: String,
    /// `None` if it can't be read.
    pub(super) sdp: Option<Arc<Sdp>>,
}

/// The answers of more branches of a fork than this are not kept.
const MAX_BRANCHES: usize = 4;

impl Exchange {
    /// Drops what no answer needs any more. Returns about how many bytes are still kept for one.
    pub(super) fn tidy(&mut self) -> usize {
        if self.accepted && self.answered {
            self.offer.iter_mut().for_each(|offer| offer.sdp = None);
            (self.early_answer, self.provisional, self.of_branches) = (None, None, Vec::new());
        }
        let offer = self.offer.iter().filter_map(|offer| offer.sdp.as_ref());
        let answers = self.early_answer.iter().map(|(_, answer)| answer).chain(&self.provisional);
        let of_branches = self.of_branches.iter().filter_map(|(_, answer)| answer.as_ref());
        offer.chain(answers).chain(of_branches).map(|sdp| sdp.weight()).sum()
    }

    /// Notes the answer of a branch of a fork.
    pub(super) fn note_branch(&mut self, tag: &str, answer: Option<&Arc<Sdp>>) {
        if let Some((_, noted)) = self.of_branches.iter_mut().find(|(of, _)| of == tag) {
            *noted = answer.cloned();
        } else if self.of_branches.len() < MAX_BRANCHES {
            self.of_branches.push((tag.to_owned(), answer.cloned()));
        }
    }

    /// The answer of a branch, if it was seen and still counts.
    pub(super) fn of_branch(&self, tag: &str) -> Option<Arc<Sdp>> {
        self.of_branches.iter().find(|(of, _)| of == tag).and_then(|(_, answer)| answer.clone())
    }

    /// Whether the other end offered, so that `device` (or not) is to answer.
    pub(super) fn awaits_answer_of(&self, device: bool) -> bool {
        !self.answered && self.offer.as_ref().is_some_and(|offer| offer.by_device != device && self.by_device == device)
    }

    /// Whether there is an offer, now that a response with or without SDP came.
    pub(super) fn offers(&self, with_sdp: bool) -> bool {
        self.offer.is_some() || with_sdp
    }
}

/// The request is sent again with what was missing: credentials, or a longer session interval.
pub(super) fn is_challenge(code: u16) -> bool {
    matches!(code, 401 | 407 | 422)
}
