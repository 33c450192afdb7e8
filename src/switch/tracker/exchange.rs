//! One request that may carry an offer, and what became of it (RFC 3261, 13; RFC 3264).

use std::{sync::Arc, time::Instant};

use crate::switch::{sdp::Sdp, sip::Method};

/// A request that may carry an offer, and what became of it.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) method: Method,
    pub(super) by_device: bool,
    pub(super) initial: bool,
    pub(super) cseq: u32,
    pub(super) branch: String,
    pub(super) offer: Option<Offer>,
    /// An ACK's SDP that came before the offer that it answers, and the tag of the branch that it goes to.
    pub(super) early_answer: Option<(String, Arc<Sdp>)>,
    pub(super) answered: bool,
    pub(super) accepted: bool,
    pub(super) given_up: bool,
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

impl Exchange {
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
