//! A capture that is played as if it happened now: in real time, faster, or at once.
//!
//! Its HEP datagrams go through a [`Feed`] and become events; its RTP packets are offered to who wants to decrypt
//! them. The feed's clock is the capture's, so that it forgets as it would have done then. Commands are refused.

mod player;
mod survey;

use std::{
    fmt,
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tracing::info;

pub use survey::{Survey, survey};

use self::player::{Player, Step};
use super::{
    Running, Switch, SwitchError, SwitchIo,
    capture::{CaptureError, Packet},
    counts::{FeedCounts, FeedMeter},
    desk::Desk,
    feed::Feed,
};
use crate::model::{CallId, EventBatch, SwitchName, Timestamp};

/// After this many steps whoever else runs on the thread gets a turn, also if nothing has to be waited for.
const STEPS_AT_ONCE: u32 = 64;

/// How fast a capture is played.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// As fast as what comes is taken.
    AtOnce,
    /// This many times as fast as it happened; 1 is real time. Made by [`Speed::times`].
    Times(f64),
}

/// The speed isn't a number above 0.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("a speed of {0} can't be played: it must be above 0, where 1 is real time")]
pub struct SpeedError(pub f64);

impl Speed {
    /// As recorded.
    pub const REAL_TIME: Self = Self::Times(1.0);

    /// This many times as fast as it happened.
    ///
    /// # Errors
    /// [`SpeedError`] for what isn't a finite number above 0.
    pub fn times(times: f64) -> Result<Self, SpeedError> {
        if times.is_finite() && times > 0.0 { Ok(Self::Times(times)) } else { Err(SpeedError(times)) }
    }
}

/// An RTP or SRTP packet of the capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaPacket {
    /// When it was captured.
    pub at: Timestamp,
    /// Who sent it.
    pub source: SocketAddr,
    /// Whom it was sent to.
    pub destination: SocketAddr,
    /// The packet.
    pub payload: Bytes,
}

/// What the capture shows of media, and of the time of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A packet.
    Packet(MediaPacket),
    /// An event of this call was made of what was captured at this moment. The event itself says when the switch
    /// said so, and the switch's clock need not be the capture's.
    Event {
        /// The call.
        call: CallId,
        /// By the capture's clock, as the packets' times are.
        at: Timestamp,
    },
}

/// What was played.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReplayCounts {
    /// What the feed took and refused.
    pub feed: FeedCounts,
    /// RTP packets.
    pub rtp: u64,
    /// RTCP packets. They are not offered to anyone.
    pub rtcp: u64,
    /// Other UDP datagrams.
    pub other: u64,
    /// Datagrams among all these that the capture's snap length cut.
    pub cut: u64,
}

impl fmt::Display for ReplayCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} RTP packets", self.feed, self.rtp)?;
        if self.cut > 0 {
            write!(f, ", {} cut by the capture's snap length", self.cut)?;
        }
        Ok(())
    }
}

/// Why a capture can't be played, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The capture can't be read to its end. What was there before has been played.
    #[error("{error} (played: {counts})")]
    Capture {
        /// Why.
        error: CaptureError,
        /// What was played.
        counts: ReplayCounts,
    },
    /// There is HEP in it, and every packet of it was refused.
    #[error(
        "no HEP in the capture can be used (played: {counts}): record whole packets (snap length 0), HEPv3 and not \
         compressed"
    )]
    NoUsableHep {
        /// What was played.
        counts: ReplayCounts,
    },
    /// There is no signalling in it.
    #[error(
        "there is no HEP in the capture (played: {counts}): record the PBX's HEPv3 copy over UDP beside the media, \
         sent to port 9060 by habit"
    )]
    NoHep {
        /// What was played.
        counts: ReplayCounts,
    },
}

/// A capture that stands for a switch.
pub struct Replay {
    name: SwitchName,
    packets: Box<dyn Iterator<Item = Result<Packet, CaptureError>> + Send>,
    feed: Box<dyn Feed>,
    speed: Speed,
    delay: Duration,
    media: Option<mpsc::Sender<Heard>>,
    counts: Option<oneshot::Sender<ReplayCounts>>,
}

impl Replay {
    /// Plays `packets`, such as a [`Capture`](super::capture::Capture), through `feed`.
    ///
    /// Files are read where it runs: they belong on a local disk.
    pub fn new(
        name: SwitchName,
        packets: impl Iterator<Item = Result<Packet, CaptureError>> + Send + 'static,
        feed: impl Feed + 'static,
        speed: Speed,
    ) -> Self {
        Self {
            name,
            packets: Box::new(packets),
            feed: Box::new(feed),
            speed,
            delay: Duration::ZERO,
            media: None,
            counts: None,
        }
    }

    /// Offers RTP packets and the moments of events, in the order of the capture. When the channel is full, everything
    /// waits; when its receiver is dropped, packets are only counted.
    #[must_use]
    pub fn with_media(self, media: mpsc::Sender<Heard>) -> Self {
        Self { media: Some(media), ..self }
    }

    /// Tells what was played when it has come to an end, also to an early one.
    #[must_use]
    pub fn with_counts(self, counts: oneshot::Sender<ReplayCounts>) -> Self {
        Self { counts: Some(counts), ..self }
    }

    /// Begins so long after it was started, so that apps can be there before the first call.
    #[must_use]
    pub fn with_delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    async fn play(mut self, mut io: SwitchIo) -> Result<(), SwitchError> {
        let mut desk = Desk::new(self.name, io.commands, io.stop);
        let mut meter = FeedMeter::new(desk.name());
        if !self.delay.is_zero() {
            info!(switch = %desk.name(), seconds = self.delay.as_secs(), "the capture is played after this time");
            if desk.while_waiting(tokio::time::sleep(self.delay)).await.is_none() {
                return Ok(());
            }
        }
        let start = tokio::time::Instant::now();
        let mut player = Player::new(self.packets, &mut *self.feed, self.speed, start.into_std());
        let mut steps = 0_u32;
        let result = loop {
            // What the next packet says is looked at now, though it may not be due for a while.
            if io.devices.has_changed().unwrap_or(false) {
                player.set_devices(&io.devices.borrow_and_update().addresses);
            }
            let Step { due, at, events, media } = match player.step() {
                Ok(Some(step)) => step,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            };
            if !due.is_zero() && desk.while_waiting(tokio::time::sleep_until(start + due)).await.is_none() {
                break Ok(());
            }
            meter.publish(&player.counts().feed, player.feed());
            steps = steps.wrapping_add(1);
            let quiet = events.is_empty() && media.is_none();
            if (quiet || steps.is_multiple_of(STEPS_AT_ONCE))
                && desk.while_waiting(tokio::task::yield_now()).await.is_none()
            {
                break Ok(());
            }
            let mut heard: Vec<_> = events.iter().map(|event| Heard::Event { call: event.call.id, at }).collect();
            heard.dedup();
            heard.extend(media.map(Heard::Packet));
            if !events.is_empty() {
                let batch = EventBatch { arrived: Instant::now(), events };
                match desk.while_waiting(io.events.send(batch)).await {
                    None => break Ok(()),
                    Some(Err(_)) => break Err(SwitchError::Unheard(desk.name().clone())),
                    Some(Ok(())) => {}
                }
            }
            if desk.while_waiting(offer(&mut self.media, heard)).await.is_none() {
                break Ok(());
            }
        };
        desk.refuse_waiting();
        meter.publish(&player.counts().feed, player.feed());
        info!(switch = %desk.name(), played = %player.counts(), "the capture has been played");
        if let Some(counts) = self.counts {
            // Who doesn't wait for it doesn't need it.
            let _ = counts.send(player.counts().clone());
        }
        result
    }
}

impl Switch for Replay {
    fn name(&self) -> &SwitchName {
        &self.name
    }

    fn run(self: Box<Self>, io: SwitchIo) -> Running {
        Box::pin(self.play(io))
    }
}

/// Offers to who listens; forgets who doesn't any more.
async fn offer(media: &mut Option<mpsc::Sender<Heard>>, heard: Vec<Heard>) {
    for heard in heard {
        let Some(channel) = media else { return };
        if channel.send(heard).await.is_err() {
            *media = None;
        }
    }
}

#[cfg(test)]
mod tests;
