//! A live feed of HEP over UDP.
//!
//! One task drains the socket into a bounded queue and never waits for anybody; another one takes the datagrams from it,
//! in the order of their arrival, through a [`Feed`], and waits when the house is full. What finds no room in the queue is
//! lost, counted and told; what its loss means for a call is the tracker's affair, who guesses nothing (R42b). Datagrams
//! carry keys: every buffer is wiped after use, whatever became of the datagram.

mod notices;
mod queue;
mod reader;
mod socket;
mod sources;

use std::{
    collections::HashSet,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};
use tracing::{info, warn};

use self::{
    notices::{Notice, Notices, Occasion, mend},
    queue::{Batch, batches},
    reader::{Backlog, Reader},
    sources::Sources,
};
use super::{
    KnownDevices, Running, Switch, SwitchError, SwitchIo,
    counts::{FeedCounts, FeedMeter},
    desk::Desk,
    feed::Feed,
};
use crate::model::{DeviceName, EventBatch, Network, SwitchEvent, SwitchName};

/// After so many datagrams their events leave, and whoever else runs on the thread gets a turn.
const TRACKED_AT_ONCE: usize = 64;
/// How often is looked whether something is to be told, when nothing else happens.
const LOOK: Duration = Duration::from_secs(10);
/// A feed that is due again at once is called this often at most.
const RESOLUTION: Duration = Duration::from_millis(1);

/// What a listener knows before its first datagram.
#[derive(Debug, Clone)]
pub struct ListenSettings {
    /// The switch's name.
    pub name: SwitchName,
    /// Where to listen.
    pub address: SocketAddr,
    /// Who may send (R5). Nobody else: the loopback must be named, too.
    pub networks: Vec<Network>,
    /// Bytes that may wait to be tracked, in steps of 256 KiB; at least 768 KiB.
    pub queue_bytes: usize,
    /// Devices that the operator knows. The log tells of others.
    pub devices: HashSet<DeviceName>,
}

/// Why a listener can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("can't listen for HEP at {address}: {error}")]
pub struct ListenError {
    /// Where.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub error: io::Error,
}

/// What came to a listener.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ListenCounts {
    /// What the feed took and refused.
    pub feed: FeedCounts,
    /// Datagrams from networks that may not send. Nothing in them was looked at.
    pub foreign: u64,
    /// Datagrams that found no room in the queue.
    pub dropped: u64,
    /// Datagrams that found no room in the kernel, as far as it tells; looked at every ten seconds.
    pub dropped_by_kernel: u64,
}

/// Live HEP that stands for a switch.
pub struct HepListener {
    settings: ListenSettings,
    socket: std::net::UdpSocket,
    address: SocketAddr,
    feed: Box<dyn Feed>,
    counts: Arc<watch::Sender<ListenCounts>>,
}

impl HepListener {
    /// Takes the port. What arrives from now on is taken when the listener runs.
    ///
    /// # Errors
    /// [`ListenError`].
    pub fn bind(settings: ListenSettings, feed: impl Feed + 'static) -> Result<Self, ListenError> {
        let failed = |error| ListenError { address: settings.address, error };
        let (socket, less) = socket::open(settings.address).map_err(failed)?;
        let address = socket.local_addr().map_err(failed)?;
        info!(switch = %settings.name, %address, "listens for HEP");
        if let Some(bytes) = less {
            info!(
                switch = %settings.name, bytes,
                "the kernel holds no more than these for the feed: for large PBXs raise net.core.rmem_max to 8388608"
            );
        }
        Ok(Self { settings, socket, address, feed: Box::new(feed), counts: Arc::default() })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What came so far, renewed after each batch of datagrams.
    pub fn counts(&self) -> watch::Receiver<ListenCounts> {
        self.counts.subscribe()
    }

    async fn listen(self, io: SwitchIo) -> Result<(), SwitchError> {
        let Self {
            settings: ListenSettings { name, networks, queue_bytes, devices, .. }, socket, feed, counts, ..
        } = self;
        let failed = |error: io::Error| SwitchError::Socket { switch: name.clone(), reason: error.to_string() };
        let socket = tokio::net::UdpSocket::from_std(socket).map_err(failed)?;
        // One batch is tracked, one waits here, the others with the reader.
        let (full, mut batches_in) = mpsc::channel(1);
        let (emptied, empty) = mpsc::channel(batches(queue_bytes));
        let backlog = Backlog::default();
        let back = (empty, backlog.clone());
        let reader = Reader::new(&name, socket, Sources::new(networks), queue_bytes, full, back, Arc::clone(&counts));
        // It ends with us.
        let mut reading = JoinSet::new();
        reading.spawn(reader.run());

        let mut tracking = Tracking {
            feed,
            meter: FeedMeter::new(&name),
            notices: Notices::new(devices),
            desk: Desk::new(name.clone(), io.commands, io.stop),
            devices: io.devices,
            events: io.events,
            pending: Vec::new(),
            pending_since: None,
            counted: FeedCounts::default(),
            last: Instant::now(),
        };
        let ended = tracking.run(&mut batches_in, &emptied, &backlog, &counts).await;
        tracking.meter.publish(&tracking.counted, &*tracking.feed);
        tracking.tell(Occasion::End);
        // The reader ends when nobody takes its batches any more, and tells what it has left to tell.
        drop(batches_in);
        reading.join_next().await;
        tracking.desk.refuse_waiting();
        ended
    }
}

impl Switch for HepListener {
    fn name(&self) -> &SwitchName {
        &self.settings.name
    }

    fn run(self: Box<Self>, io: SwitchIo) -> Running {
        Box::pin(self.listen(io))
    }
}

/// What there is to do.
enum Next {
    Batch(Batch),
    Failed,
    /// Nothing that came before this moment waits any more.
    Time(Instant),
}

/// The side of the queue where datagrams become events.
struct Tracking {
    feed: Box<dyn Feed>,
    meter: FeedMeter,
    notices: Notices,
    desk: Desk,
    devices: watch::Receiver<Arc<KnownDevices>>,
    events: mpsc::Sender<EventBatch>,
    /// Events that haven't left yet.
    pending: Vec<SwitchEvent>,
    /// When the first datagram that was tracked since then arrived; `None`: time alone made them.
    pending_since: Option<Instant>,
    counted: FeedCounts,
    /// The last moment that the feed has heard of. It never goes back for it.
    last: Instant,
}

#[derive(PartialEq, Eq)]
enum Done {
    Going,
    Stopped,
}

impl Tracking {
    /// Tracks what comes until it is time to stop.
    async fn run(
        &mut self,
        batches_in: &mut mpsc::Receiver<Batch>,
        emptied: &mpsc::Sender<Batch>,
        backlog: &Backlog,
        counts: &watch::Sender<ListenCounts>,
    ) -> Result<(), SwitchError> {
        loop {
            let wake = tokio::time::Instant::from_std(self.wake());
            let next = self.desk.while_waiting(async {
                tokio::select! {
                    // Datagrams first: they came before what is due now.
                    biased;
                    batch = batches_in.recv() => batch.map_or(Next::Failed, Next::Batch),
                    () = tokio::time::sleep_until(wake) => {
                        // In this order: what isn't told of any more is in the channel.
                        let now = Instant::now();
                        let horizon = backlog.oldest().map_or(now, |oldest| oldest.min(now));
                        batches_in.try_recv().map_or(Next::Time(horizon), Next::Batch)
                    }
                }
            });
            let next = next.await;
            self.know_devices();
            let done = match next {
                None => return Ok(()),
                Some(Next::Time(now)) => self.on_time(now).await?,
                Some(Next::Failed) => {
                    let (switch, reason) = (self.desk.name().clone(), "its reader has failed".into());
                    return Err(SwitchError::Socket { switch, reason });
                }
                Some(Next::Batch(mut batch)) => {
                    let done = self.on_batch(&mut batch).await?;
                    batch.wipe();
                    // There is room for all batches, unless the reader is gone.
                    let _ = emptied.try_send(batch);
                    counts.send_modify(|counts| counts.feed.clone_from(&self.counted));
                    done
                }
            };
            if done == Done::Stopped {
                return Ok(());
            }
        }
    }

    /// Before anything that came behind a change is looked at.
    fn know_devices(&mut self) {
        // An error: nobody changes them any more.
        if self.devices.has_changed().unwrap_or(false) {
            let known = Arc::clone(&self.devices.borrow_and_update());
            self.feed.set_devices(&known.addresses);
            self.notices.set_configured(known.names.clone());
        }
    }

    /// When something is to be done though nothing comes.
    fn wake(&self) -> Instant {
        let look = Instant::now() + LOOK;
        self.feed.deadline().map_or(look, |deadline| deadline.max(self.last + RESOLUTION).min(look))
    }

    async fn on_batch(&mut self, batch: &mut Batch) -> Result<Done, SwitchError> {
        for (number, (datagram, arrival)) in (1..).zip(batch.datagrams()) {
            // Its arrival counts, however long it waited: our own slowness makes no answer late.
            self.last = self.last.max(arrival.now);
            if self.feed.deadline().is_some_and(|deadline| deadline <= self.last) {
                self.feed.on_time(self.last, &mut self.pending);
            }
            self.pending_since.get_or_insert(arrival.now);
            let outcome = self.feed.on_datagram(datagram, arrival.at, self.last, &mut self.pending);
            self.counted.note(outcome);
            self.notices.on_datagram(outcome, arrival.from);
            if number % TRACKED_AT_ONCE == 0 {
                tokio::task::yield_now().await;
                if self.send().await? == Done::Stopped {
                    return Ok(Done::Stopped);
                }
            }
        }
        self.meter.publish(&self.counted, &*self.feed);
        self.tell(Occasion::Look(Instant::now()));
        self.send().await
    }

    async fn on_time(&mut self, now: Instant) -> Result<Done, SwitchError> {
        self.last = self.last.max(now);
        self.feed.on_time(self.last, &mut self.pending);
        if self.feed.deadline().is_some_and(|deadline| deadline <= Instant::now()) {
            // What came before it is about to be handed over.
            tokio::task::yield_now().await;
        }
        self.tell(Occasion::Look(Instant::now()));
        self.send().await
    }

    /// Hands on what happened, and waits while the house is full.
    async fn send(&mut self) -> Result<Done, SwitchError> {
        let since = self.pending_since.take();
        if self.pending.is_empty() {
            return Ok(Done::Going);
        }
        let now = Instant::now();
        for event in &self.pending {
            if let Some(notice) = self.notices.on_event(event, now) {
                log(self.desk.name(), notice);
            }
        }
        let batch = EventBatch { arrived: since.unwrap_or(now), events: std::mem::take(&mut self.pending) };
        match self.desk.while_waiting(self.events.send(batch)).await {
            None => Ok(Done::Stopped),
            Some(Err(_)) => Err(SwitchError::Unheard(self.desk.name().clone())),
            Some(Ok(())) => Ok(Done::Going),
        }
    }

    fn tell(&mut self, occasion: Occasion) {
        for notice in self.notices.tell(occasion) {
            log(self.desk.name(), notice);
        }
    }
}

fn log(switch: &SwitchName, notice: Notice) {
    match notice {
        Notice::Device(device) => info!(
            %switch, %device,
            "a device that isn't configured: give it a name by a [[device]] with this address in `addresses`, or name it in \
             the switch's `pbx` if it is the PBX"
        ),
        Notice::ManyDevices => info!(
            %switch,
            "more devices aren't configured than are told of here: give them names by a [[device]] each, with `addresses`"
        ),
        Notice::Pbx(address) => info!(%switch, %address, "a PBX that isn't configured: name it in the switch's `pbx`"),
        Notice::Refused { refusal, datagrams, in_all, used: 0, from } => warn!(
            %switch, datagrams, in_all, %from, reason = refusal.name(), mend = mend(refusal),
            "refused: nothing that came so far can be used"
        ),
        Notice::Refused { refusal, datagrams, in_all, used, from } => info!(
            %switch, datagrams, in_all, used, %from, reason = refusal.name(), mend = mend(refusal),
            "refused"
        ),
    }
}

#[cfg(test)]
mod tests;
