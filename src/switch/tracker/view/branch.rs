//! One dialog of a call: of a fork there are several until one answers (RFC 3261, 12; R23).

use std::time::Instant;

use crate::switch::tracker::media::Media;

#[derive(Debug, Default)]
pub(super) struct Branch {
    /// The tag of the called end.
    pub(super) tag: String,
    /// The latest exchange whose answer counted: what an older one says is overtaken (R22).
    pub(super) settled: u64,
    /// When the latest exchange began that was seen whole.
    pub(super) complete: Option<Instant>,
    /// The highest CSeq of a request with an offer in it, of the device and of the other end.
    pub(super) last_cseq: [Option<u32>; 2],
    /// Whether the device, and the other end, holds the call.
    pub(super) holds: [bool; 2],
    pub(super) media: Media,
}

impl Branch {
    pub(super) fn new(tag: &str) -> Self {
        Self { tag: tag.to_owned(), ..Self::default() }
    }

    /// Of the device, or of the other end.
    pub(super) fn last_cseq(&mut self, by_device: bool) -> &mut Option<u32> {
        let [of_device, of_other] = &mut self.last_cseq;
        if by_device { of_device } else { of_other }
    }
}
