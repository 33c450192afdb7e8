//! The side of the queue where datagrams come in. It never waits for anybody but the socket.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use metrics::{Counter, Gauge, counter, gauge};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep},
};
use tracing::{info, warn};

use super::{
    LOOK, ListenCounts,
    notices::{AGAIN, Occasion, Tally},
    queue::{Arrival, Batch, Queue, spare},
    socket::kernel_drops,
    sources::{Foreign, Sources},
};
use crate::model::{SwitchName, Timestamp};

/// After so many datagrams others get a turn.
const READ_AT_ONCE: usize = 256;
/// After an error of the socket, which should have none.
const REST: Duration = Duration::from_millis(100);

/// Tells the other side of the queue what it can't see yet.
#[derive(Clone, Default)]
pub(super) struct Backlog(Arc<Mutex<Option<Instant>>>);

impl Backlog {
    /// When the oldest datagram came that was read and not handed over. No later moment is over yet.
    pub(super) fn oldest(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, oldest: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = oldest;
    }
}

/// Drains a socket into the queue.
pub(super) struct Reader {
    switch: SwitchName,
    socket: UdpSocket,
    sources: Sources,
    queue: Queue,
    /// Where datagrams are read to that find no room.
    spare: Batch,
    full: mpsc::Sender<Batch>,
    empty: mpsc::Receiver<Batch>,
    backlog: Backlog,
    counts: Arc<watch::Sender<ListenCounts>>,
    meters: Meters,
    lost: Tally,
    lost_by_kernel: Tally,
    errors: Tally,
    begun: Instant,
    /// What the kernel has told of before.
    kernel_drops: u64,
    hearing: Hearing,
}

struct Meters {
    foreign: Counter,
    dropped: Counter,
    dropped_by_kernel: Counter,
    errors: Counter,
    queued: Gauge,
}

/// Whether anything came yet.
#[derive(PartialEq, Eq)]
enum Hearing {
    Nothing,
    /// Nothing, and the operator knows.
    NothingTold,
    Something,
}

/// What one turn brought.
#[derive(Default)]
struct Turn {
    foreign: u64,
    dropped: u64,
}

/// What there is to do.
enum Next<'a> {
    /// Somebody can take a batch; `None`: nobody ever will.
    Hand(Option<mpsc::Permit<'a, Batch>>),
    Look,
    Read(io::Result<()>),
}

impl Reader {
    pub(super) fn new(
        switch: &SwitchName,
        socket: UdpSocket,
        sources: Sources,
        queue_bytes: usize,
        full: mpsc::Sender<Batch>,
        (empty, backlog): (mpsc::Receiver<Batch>, Backlog),
        counts: Arc<watch::Sender<ListenCounts>>,
    ) -> Self {
        let dropped =
            |by| counter!("callgate_feed_datagrams_dropped_total", "switch" => switch.to_string(), "by" => by);
        let meters = Meters {
            foreign: counter!("callgate_feed_datagrams_foreign_total", "switch" => switch.to_string()),
            dropped: dropped("queue"),
            dropped_by_kernel: dropped("kernel"),
            errors: counter!("callgate_feed_receive_errors_total", "switch" => switch.to_string()),
            queued: gauge!("callgate_feed_queue_bytes", "switch" => switch.to_string()),
        };
        Self {
            switch: switch.clone(),
            socket,
            sources,
            queue: Queue::new(queue_bytes),
            spare: spare(),
            full,
            empty,
            backlog,
            counts,
            meters,
            lost: Tally::default(),
            lost_by_kernel: Tally::default(),
            errors: Tally::default(),
            begun: Instant::now(),
            kernel_drops: 0,
            hearing: Hearing::Nothing,
        }
    }

    /// Runs until nobody takes its batches any more.
    pub(super) async fn run(mut self) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let full = self.full.clone();
        loop {
            let next = tokio::select! {
                biased;
                permit = full.reserve(), if !self.queue.is_empty() => Next::Hand(permit.ok()),
                () = full.closed() => Next::Hand(None),
                _ = look.tick() => Next::Look,
                ready = self.socket.readable() => Next::Read(ready),
            };
            let read = match next {
                Next::Hand(None) => break,
                Next::Hand(Some(permit)) => {
                    if let Some(batch) = self.queue.next() {
                        permit.send(batch);
                    }
                    // Only now: until it is seen there it is told of here.
                    self.backlog.set(self.queue.oldest());
                    continue;
                }
                Next::Look => {
                    self.ask_kernel();
                    self.meters.queued.set(self.queue.bytes() as f64);
                    Ok(())
                }
                Next::Read(ready) => ready.and_then(|()| self.read()),
            };
            if read.is_err() {
                self.meters.errors.increment(1);
                self.errors.add(1);
            }
            self.tell(Occasion::Look(Instant::now()), read.as_ref().err());
            if read.is_err() {
                sleep(REST).await;
            }
        }
        self.ask_kernel();
        self.tell(Occasion::End, None);
    }

    /// Reads what is there, up to a bound.
    fn read(&mut self) -> io::Result<()> {
        while let Ok(batch) = self.empty.try_recv() {
            self.queue.give_back(batch);
        }
        let (now, at) = (Instant::now(), wall_clock());
        self.backlog.set(self.queue.oldest().or(Some(now)));
        let mut turn = Turn::default();
        let outcome = (0..READ_AT_ONCE).try_for_each(|_| self.read_one(now, at, &mut turn));
        self.backlog.set(self.queue.oldest());
        if turn.foreign > 0 || turn.dropped > 0 {
            self.meters.foreign.increment(turn.foreign);
            self.meters.dropped.increment(turn.dropped);
            self.lost.add(turn.dropped);
            self.counts.send_modify(|counts| {
                counts.foreign += turn.foreign;
                counts.dropped += turn.dropped;
            });
        }
        match outcome {
            Err(error) if !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Err(error),
            _ => Ok(()),
        }
    }

    fn read_one(&mut self, now: Instant, at: Timestamp, turn: &mut Turn) -> io::Result<()> {
        let (batch, has_room) = match self.queue.room() {
            Some(batch) => (batch, true),
            None => (&mut self.spare, false),
        };
        let (len, from) = self.socket.try_recv_from(batch.room())?;
        // R5: who may not send is turned away before anything is looked at.
        if !self.sources.allows(from.ip()) {
            batch.discard(len);
            self.sources.refuse(from);
            turn.foreign += 1;
            return Ok(());
        }
        if self.hearing != Hearing::Something {
            self.hearing = Hearing::Something;
            info!(switch = %self.switch, %from, "the first datagram has come");
        }
        if has_room {
            batch.keep(len, Arrival { now, at, from });
        } else {
            batch.discard(len);
            turn.dropped += 1;
        }
        Ok(())
    }

    fn ask_kernel(&mut self) {
        let Some(drops) = kernel_drops(&self.socket) else { return };
        let new = drops.saturating_sub(self.kernel_drops);
        self.kernel_drops = drops;
        if new > 0 {
            self.meters.dropped_by_kernel.increment(new);
            self.lost_by_kernel.add(new);
            self.counts.send_modify(|counts| counts.dropped_by_kernel += new);
        }
    }

    /// Tells what is to be told now: each thing at most once a minute, and what is left at the end.
    fn tell(&mut self, occasion: Occasion, error: Option<&io::Error>) {
        let switch = &self.switch;
        if let Some((error, errors)) = error.and_then(|error| Some((error, self.errors.tell(occasion)?))) {
            warn!(%switch, errors, %error, "the socket can't be read. It is tried again; if that goes on, start the gateway again");
        }
        if let Some(datagrams) = self.lost.tell(occasion) {
            warn!(
                %switch, datagrams,
                "lost: the queue is full. Streams whose offer or answer was among them have no keys; `queue_bytes` makes the \
                 queue larger"
            );
        }
        if let Some(datagrams) = self.lost_by_kernel.tell(occasion) {
            warn!(
                %switch, datagrams,
                "lost in the kernel: its buffer was full. Raise net.core.rmem_max, and start the gateway again"
            );
        }
        for Foreign { network, datagrams, from } in self.sources.tell(occasion) {
            match network {
                Some(network) => warn!(
                    %switch, %network, datagrams, %from,
                    "refused: nobody there may send; if a PBX is there, name it in the switch's `networks` (R5)"
                ),
                None => warn!(
                    %switch, datagrams, %from,
                    "refused, from many more networks (R5): let a firewall keep them from this port"
                ),
            }
        }
        if let Occasion::Look(now) = occasion
            && self.hearing == Hearing::Nothing
            && now.saturating_duration_since(self.begun) >= AGAIN
        {
            self.hearing = Hearing::NothingTold;
            let address = self.socket.local_addr().ok().map(tracing::field::display);
            info!(
                %switch, address,
                "nothing has come yet that may: is the PBX set to send its HEP copy here? docs/CONFIGURATION.md says how"
            );
        }
    }
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
