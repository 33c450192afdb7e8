//! What a connection is at, and since when: so that none waits for ever (R41a).

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::Instant,
};

use super::HttpLimits;

/// A connection's bytes, whatever carries them.
pub(super) trait Bytes: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Bytes for T {}

/// How much is read of a client that has had its last answer.
const MOST_UNHEARD: usize = 4 * 1024 * 1024;
/// For how long.
const PARTING: Duration = Duration::from_secs(2);

/// What a connection is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// The answer leaves, or has left, and the next request hasn't begun.
    Answered,
    /// A request's head comes.
    Head,
    /// The last answer has left.
    Parting,
    /// The service has a request.
    Serving,
}

/// Watches one connection.
pub(super) struct Watch {
    limits: HttpLimits,
    at: Mutex<(Stage, Instant)>,
    /// There is an earlier end than before.
    pub(super) sooner: Notify,
}

impl Watch {
    /// For a connection that is open now, and whose first request is waited for.
    pub(super) fn new(limits: HttpLimits) -> Arc<Self> {
        Arc::new(Self { limits, at: Mutex::new((Stage::Head, Instant::now())), sooner: Notify::new() })
    }

    /// When the connection's time is over.
    pub(super) fn end(&self) -> Instant {
        let (stage, since) = self.at();
        since
            + match stage {
                Stage::Answered => self.limits.idle,
                Stage::Head => self.limits.head,
                Stage::Parting => PARTING,
                // The service's own bound answers; this one is for what doesn't take the answer either.
                Stage::Serving => self.limits.request + self.limits.head,
            }
    }

    /// What it is at.
    pub(super) fn stage(&self) -> Stage {
        self.at().0
    }

    /// It is at another stage from now on.
    pub(super) fn turn(&self, stage: Stage) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = (stage, Instant::now());
        if stage != Stage::Answered {
            self.sooner.notify_one();
        }
    }

    fn at(&self) -> (Stage, Instant) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection that is watched.
pub(super) struct Watched {
    inner: Box<dyn Bytes>,
    watch: Arc<Watch>,
    /// How many bytes came behind the last answer.
    unheard: usize,
}

impl Watched {
    pub(super) fn new(inner: Box<dyn Bytes>, watch: Arc<Watch>) -> Self {
        Self { inner, watch, unheard: 0 }
    }
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut *self.inner).poll_read(cx, buffer);
        if buffer.filled().len() > before && self.watch.stage() == Stage::Answered {
            self.watch.turn(Stage::Head);
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut *self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(_)) = polled
            && self.watch.stage() == Stage::Answered
        {
            self.watch.turn(Stage::Answered);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.inner).poll_flush(cx)
    }

    /// Ends this side, and hears the other one out for a while: a socket that is closed with bytes unread takes the answer back
    /// from a client that is still sending, such as one whose body is too large.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.watch.stage() != Stage::Parting {
            ready!(Pin::new(&mut *self.inner).poll_shutdown(cx))?;
            self.watch.turn(Stage::Parting);
        }
        let mut scratch = [0; 8192];
        while self.unheard < MOST_UNHEARD {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut *self.inner).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.unheard += buffer.filled().len(),
                // It has gone, one way or another.
                Ok(()) | Err(_) => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
