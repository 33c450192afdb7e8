//! A request's body, up to so many bytes (R41a).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use callgate_wire::v1::ErrorCode;
use http_body_util::{LengthLimitError, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::{Peer, refusals::Refusals};

/// What reading a body can end with; a [`LengthLimitError`] if it is too large.
pub(super) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a request. It ends with an error behind its bound.
pub struct RequestBody {
    inner: Limited<Incoming>,
    refusals: Arc<Refusals>,
    peer: Peer,
    is_refused: bool,
}

impl RequestBody {
    pub(super) fn new(body: Incoming, most: usize, refusals: Arc<Refusals>, peer: Peer) -> Self {
        Self { inner: Limited::new(body, most), refusals, peer, is_refused: false }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Err(error))) = &polled
            && error.is::<LengthLimitError>()
            && !std::mem::replace(&mut self.is_refused, true)
        {
            self.refusals.count(ErrorCode::BodyTooLarge, &self.peer);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
