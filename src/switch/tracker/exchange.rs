//! One request that may carry an offer, and what became of it (RFC 3261, 13; RFC 3264).

use std::{sync::Arc, time::Instant};

use crate::switch::{sdp::Sdp, sip::Method};

/// A request that may carry an offer, and what became of it in one dialog.
#[derive(Debug, Clone)]
pub(super) struct Exchange {
    /// Its place in the order of arrival, in its view.
    pub(super) number: u64,
    /// When it came.
    pub(super) begun: Instant,
    pub(super) method: Method,
    pub(super) by_device: bool,
    /// The dialog, by the tag of its called end. The first INVITE has none, and a copy for each dialog that it makes
    /// (RFC 3261, 12.1): each branch of a fork gives its own answer.
    pub(super) tag: Option<String>,
    /// It is a first INVITE, or the copy of one.
    pub(super) initial: bool,
    pub(super) cseq: u32,
    pub(super) branch: String,
    pub(super) offer: Option<Offer>,
    /// The SDP of an ACK or a PRACK that came before the offer that it answers.
    pub(super) early_answer: Option<Arc<Sdp>>,
    /// The answer in a provisional response of an established dialog: it counts once the request is accepted.
    pub(super) provisional: Option<Arc<Sdp>>,
    pub(super) answered: bool,
    pub(super) accepted: bool,
    pub(super) given_up: bool,
    /// When it is forgotten, whatever became of it. The first INVITE goes with its call.
    pub(super) until: Option<Instant>,
    /// When an answer that wasn't seen is given up.
    pub(super) wait: Option<Instant>,
    /// When nobody knows any more whether it was accepted, as no final answer was seen.
    pub(super) lapse: Option<Instant>,
}

#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub(super) by_device: bool,
    /// `None` if it can't be read.
    pub(super) sdp: Option<Arc<Sdp>>,
}

impl Exchange {
    /// Whether this is the request of that name, in any dialog. Its transaction is that of the topmost Via's branch (RFC
    /// 3261, 17.1.3); where one of both has none the CSeq is all there is.
    pub(super) fn is(&self, by_device: bool, (cseq, branch): (u32, &str), method: Method) -> bool {
        self.by_device == by_device && self.cseq == cseq && self.method == method && same_branch(&self.branch, branch)
    }

    /// Whether both are the same request of a dialog, on any branch.
    pub(super) fn is_same(&self, other: (bool, u32, Method)) -> bool {
        (self.by_device, self.cseq, self.method) == other
    }

    /// Whether it belongs to the dialog whose called end has this tag.
    pub(super) fn is_of(&self, tag: &str) -> bool {
        self.tag.as_deref() == Some(tag)
    }

    /// Whether it is an INVITE that was accepted, as the ACK or the next INVITE says, though its answer wasn't seen yet.
    pub(super) fn proves_answered(&self) -> bool {
        self.wait.is_some() && self.method == Method::Invite
    }

    /// Drops what no answer needs any more. Returns about how many bytes are still kept for one.
    pub(super) fn tidy(&mut self) -> usize {
        if self.accepted && self.answered {
            self.offer.iter_mut().for_each(|offer| offer.sdp = None);
            (self.early_answer, self.provisional) = (None, None);
        }
        let offer = self.offer.iter().filter_map(|offer| offer.sdp.as_ref());
        offer.chain(&self.early_answer).chain(&self.provisional).map(|sdp| sdp.weight()).sum()
    }

    /// A provisional answer to an INVITE in a dialog: the final one may take until `then`, and comes again with each such
    /// answer. A proxy waits three minutes (RFC 3261, 13.3.1.1 and 16.6).
    pub(super) fn goes_on(&mut self, then: Instant) {
        if self.method == Method::Invite && !self.accepted && self.lapse.is_some() {
            (self.lapse, self.until) = (Some(then), Some(then));
        }
    }

    /// Whether the other end offered, so that `device` (or not) is to answer.
    pub(super) fn awaits_answer_of(&self, device: bool) -> bool {
        !self.answered && self.offer.as_ref().is_some_and(|offer| offer.by_device != device && self.by_device == device)
    }

    /// Whether there is an offer, or there will be one that is answered already.
    pub(super) fn offers(&self, with_sdp: bool) -> bool {
        self.offer.is_some() || self.early_answer.is_some() || with_sdp
    }
}

/// Whether two branches may be those of one transaction. RFC 2543 has none.
pub(super) fn same_branch(one: &str, other: &str) -> bool {
    one.is_empty() || other.is_empty() || one == other
}

/// The request is sent again with what was missing: credentials, or a longer session interval.
pub(super) fn is_challenge(code: u16) -> bool {
    matches!(code, 401 | 407 | 422)
}
