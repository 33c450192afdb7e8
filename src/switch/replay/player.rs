//! What of a capture is due when. Pure: nothing here waits or knows the time of day.

use std::time::{Duration, Instant};

use super::{MediaPacket, ReplayCounts, ReplayError, Speed};
use crate::{
    model::{Address, DeviceName, SwitchEvent, Timestamp},
    switch::{
        capture::{CaptureError, Packet, PacketKind},
        feed::Feed,
    },
};

/// After the last packet the feed gets this much of the capture's time to bring out what it holds back: a tracker
/// waits a second for what was overtaken.
const SETTLE: Duration = Duration::from_secs(2);

/// After this many steps in which nothing happens one of them is given back, so that whoever plays can look up.
const QUIET_STEPS: u32 = 64;

/// Goes through a capture step by step.
pub(super) struct Player<P, F> {
    packets: P,
    feed: F,
    clock: CaptureClock,
    counts: ReplayCounts,
    /// A packet that waits for what the feed has to do before it.
    next: Option<Packet>,
    end: Option<Result<(), CaptureError>>,
}

/// What is due at one moment.
pub(super) struct Step {
    /// When, from the start of playing.
    pub(super) due: Duration,
    /// When, by the capture's clock.
    pub(super) at: Timestamp,
    /// What happened on the devices.
    pub(super) events: Vec<SwitchEvent>,
    /// A packet of media.
    pub(super) media: Option<MediaPacket>,
}

impl<P: Iterator<Item = Result<Packet, CaptureError>>, F: Feed> Player<P, F> {
    /// The first packet is played at `start`.
    pub(super) fn new(packets: P, feed: F, speed: Speed, start: Instant) -> Self {
        let clock = CaptureClock { start, speed, first: None, now: Duration::ZERO, timed: None };
        Self { packets, feed, clock, counts: ReplayCounts::default(), next: None, end: None }
    }

    pub(super) fn counts(&self) -> &ReplayCounts {
        &self.counts
    }

    pub(super) fn feed(&self) -> &F {
        &self.feed
    }

    /// The devices that the operator knows from now on.
    pub(super) fn set_devices(&mut self, devices: &[(Address, DeviceName)]) {
        self.feed.set_devices(devices);
    }

    /// The next thing to do, which may be nothing; `None` when the capture was played to its end.
    pub(super) fn step(&mut self) -> Result<Option<Step>, ReplayError> {
        let mut quiet = 0;
        loop {
            let step = match self.next_packet() {
                Some(packet) => {
                    let arrival = self.clock.offset(packet.at);
                    match self.on_time_before(arrival) {
                        Some(step) => {
                            self.next = Some(packet);
                            step
                        }
                        None => self.on_packet(packet, arrival),
                    }
                }
                None => match self.on_time_before(self.clock.now.saturating_add(SETTLE)) {
                    Some(step) => step,
                    None => return self.result().map(|()| None),
                },
            };
            quiet += 1;
            if !step.events.is_empty() || step.media.is_some() || quiet == QUIET_STEPS {
                return Ok(Some(step));
            }
        }
    }

    fn next_packet(&mut self) -> Option<Packet> {
        if self.next.is_some() {
            return self.next.take();
        }
        if self.end.is_some() {
            return None;
        }
        match self.packets.next() {
            Some(Ok(packet)) => return Some(packet),
            Some(Err(error)) => self.end = Some(Err(error)),
            None => self.end = Some(Ok(())),
        }
        None
    }

    /// What the feed has to do up to `offset`, one deadline at a time.
    fn on_time_before(&mut self, offset: Duration) -> Option<Step> {
        let latest = self.clock.instant(offset);
        let deadline = self.feed.deadline().filter(|deadline| *deadline <= latest)?;
        // A feed that doesn't move its deadline on is called once a packet, and doesn't stop the capture.
        let moved = self.clock.timed.is_none_or(|timed| timed < deadline);
        let now = if moved { deadline } else { latest };
        if self.clock.timed.is_some_and(|timed| now <= timed) {
            return None;
        }
        self.clock.timed = Some(now);
        let mut events = Vec::new();
        self.feed.on_time(now, &mut events);
        let offset = now.saturating_duration_since(self.clock.start);
        Some(Step { due: self.clock.due(offset), at: self.clock.timestamp(offset), events, media: None })
    }

    fn on_packet(&mut self, packet: Packet, arrival: Duration) -> Step {
        self.clock.now = arrival;
        let at = packet.at;
        self.counts.cut += u64::from(packet.cut);
        let (mut events, mut media) = (Vec::new(), None);
        match packet.kind() {
            PacketKind::Hep => {
                // A refused one may still have its keys: it is wiped when it is dropped.
                let mut datagram = packet.payload;
                let now = self.clock.instant(arrival);
                self.counts.feed.note(self.feed.on_datagram(&mut datagram, packet.at, now, &mut events));
            }
            PacketKind::Rtp => {
                self.counts.rtp += 1;
                let Packet { at, source, destination, mut payload, .. } = packet;
                let payload = std::mem::take(&mut *payload).into();
                media = Some(MediaPacket { at, source, destination, payload });
            }
            PacketKind::Rtcp => self.counts.rtcp += 1,
            PacketKind::Other => self.counts.other += 1,
        }
        Step { due: self.clock.due(arrival), at, events, media }
    }

    fn result(&self) -> Result<(), ReplayError> {
        match &self.end {
            Some(Err(error)) => Err(ReplayError::Capture { error: error.clone(), counts: self.counts.clone() }),
            _ if self.counts.feed.datagrams == 0 => Err(ReplayError::NoHep { counts: self.counts.clone() }),
            _ if self.counts.feed.used() == 0 => Err(ReplayError::NoUsableHep { counts: self.counts.clone() }),
            _ => Ok(()),
        }
    }
}

/// The capture's time as a monotonic clock. While captured times go back, it stands still.
struct CaptureClock {
    start: Instant,
    speed: Speed,
    /// When the first packet was captured.
    first: Option<Timestamp>,
    /// How far the capture was played, in its own time.
    now: Duration,
    /// The last deadline that the feed was called for.
    timed: Option<Instant>,
}

impl CaptureClock {
    /// How far into the capture a packet is.
    fn offset(&mut self, at: Timestamp) -> Duration {
        let first = *self.first.get_or_insert(at);
        let micros = u64::try_from(at.0.saturating_sub(first.0)).unwrap_or(0);
        self.now.max(Duration::from_micros(micros))
    }

    /// The same moment, as the feed sees it.
    fn instant(&self, offset: Duration) -> Instant {
        // Only a damaged capture is longer than a clock can count: then the feed's clock stands still.
        self.start.checked_add(offset).unwrap_or(self.start)
    }

    /// The same moment, as the capture sees it.
    fn timestamp(&self, offset: Duration) -> Timestamp {
        let micros = i64::try_from(offset.as_micros()).unwrap_or(i64::MAX);
        Timestamp(self.first.unwrap_or_default().0.saturating_add(micros))
    }

    /// When it is played, from the start.
    fn due(&self, offset: Duration) -> Duration {
        match self.speed {
            Speed::AtOnce => Duration::ZERO,
            Speed::Times(times) => Duration::try_from_secs_f64(offset.as_secs_f64() / times).unwrap_or(Duration::MAX),
        }
    }
}
