//! The two handles of an open session: [`Session`] asks, [`Events`] hears.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use callgate_wire::v1::{self, to_app, to_gateway};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::{
    error::{Closed, ProtocolError, RequestError},
    event::{Device, Event, EventClass, Snapshot},
};

/// An open session. Clones are cheap and mean the same session.
///
/// The session ends when [`close`](Self::close) is called, when all clones and the [`Events`] are dropped, or when the
/// gateway or the network ends it.
///
/// Requests may be made while events wait to be read: some thousands of them are kept aside meanwhile. Past that a
/// request fails with [`RequestError::EventsNotRead`], instead of waiting for what can't come. A request has no time
/// limit of its own but the session's heartbeat; one that is dropped half way harms nothing.
#[derive(Clone)]
pub struct Session {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// One page of devices.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DevicePage {
    /// The devices, in the order of their names.
    pub devices: Vec<Device>,
    /// The token of the next page. `None` on the last one.
    pub next: Option<String>,
}

/// What a gateway takes from a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The most devices that it may monitor.
    pub max_monitors: Option<u32>,
    /// How many requests without an answer are taken; more wait.
    pub max_requests_in_flight: Option<u32>,
    /// How much may wait for it while the app doesn't read, in bytes.
    pub max_queued_bytes: Option<u64>,
    /// How long the gateway waits for a sign of life, when another connection wants to open the same instance (R12). The
    /// session gives it by itself, unless the app doesn't read its events.
    pub probe: Option<Duration>,
}

impl Session {
    /// All devices that the session may see whose names contain `filter` (whatever the case of ASCII letters). An empty
    /// filter means all.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn devices(&self, filter: &str) -> Result<Vec<Device>, RequestError> {
        let mut page = self.device_page(filter, 0, None).await?;
        let mut devices = page.devices;
        while let Some(token) = page.next {
            page = self.device_page(filter, 0, Some(&token)).await?;
            if page.next.as_ref() == Some(&token) {
                return Err(ProtocolError::Value("page token").into());
            }
            devices.append(&mut page.devices);
        }
        Ok(devices)
    }

    /// One page of at most `page_size` devices (1 to 500; 0 means 100), from `token` on or from the start.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn device_page(
        &self,
        filter: &str,
        page_size: u32,
        token: Option<&str>,
    ) -> Result<DevicePage, RequestError> {
        let request = v1::ListDevices {
            name_contains: filter.to_owned(),
            page_size,
            page_token: token.unwrap_or_default().to_owned(),
        };
        match self.ask(to_gateway::Message::ListDevices(request)).await? {
            to_app::Message::DeviceList(list) => Ok(DevicePage {
                devices: list.devices.into_iter().map(Device::from).collect(),
                next: (!list.next_page_token.is_empty()).then_some(list.next_page_token),
            }),
            _ => Err(ProtocolError::Unexpected("DeviceList").into()),
        }
    }

    /// Begins to receive events of these classes of a device; no classes means all. A second call adds classes. The
    /// events that follow have higher numbers than the snapshot.
    ///
    /// # Errors
    /// [`RequestError`], with `DEVICE_UNKNOWN` for a device that the user may not see.
    pub async fn monitor(&self, device: &str, classes: &[EventClass]) -> Result<Snapshot, RequestError> {
        let request = v1::MonitorDevice { device: device.to_owned(), classes: wire_classes(classes) };
        match self.ask(to_gateway::Message::Monitor(request)).await? {
            to_app::Message::Monitored(v1::Monitored { snapshot: Some(snapshot), .. }) => Ok(snapshot.into()),
            _ => Err(ProtocolError::Unexpected("Monitored").into()),
        }
    }

    /// Ends monitoring of these classes of a device; no classes means all. Returns the classes that are monitored still.
    /// Events that came before may wait to be read.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn unmonitor(&self, device: &str, classes: &[EventClass]) -> Result<Vec<EventClass>, RequestError> {
        let request = v1::UnmonitorDevice { device: device.to_owned(), classes: wire_classes(classes) };
        match self.ask(to_gateway::Message::Unmonitor(request)).await? {
            to_app::Message::Unmonitored(left) => Ok(left.classes.into_iter().map(EventClass::from).collect()),
            _ => Err(ProtocolError::Unexpected("Unmonitored").into()),
        }
    }

    /// How a device stands now, monitored or not. It says how secure each call is, and never holds a key (R19).
    ///
    /// # Errors
    /// [`RequestError`], with `DEVICE_UNKNOWN` for a device that the user may not see.
    pub async fn snapshot(&self, device: &str) -> Result<Snapshot, RequestError> {
        let request = v1::SnapshotDevice { device: device.to_owned() };
        match self.ask(to_gateway::Message::Snapshot(request)).await? {
            to_app::Message::Snapshot(snapshot) => Ok(snapshot.into()),
            _ => Err(ProtocolError::Unexpected("DeviceSnapshot").into()),
        }
    }

    /// Ends the session in order, for all clones. Returns when the connection is closed; a session that has ended
    /// already is fine. Events that came before can still be read.
    pub async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.commands.send(Command::Close(done)).await.is_ok() {
            // An error means that the session ended meanwhile by itself.
            let _ = closed.await;
        }
    }

    /// The gateway's name for this session, as its logs have it.
    pub fn name(&self) -> &str {
        &self.shared.said.session
    }

    /// How many devices this session may see. 0 is a success (R13).
    pub fn device_count(&self) -> u32 {
        self.shared.said.device_count
    }

    /// Names this run of the gateway: numbers of events from another run can't be compared.
    pub fn epoch(&self) -> u64 {
        self.shared.said.epoch
    }

    /// The agreed heartbeat interval.
    pub fn heartbeat(&self) -> Duration {
        Duration::from_secs(self.shared.said.heartbeat_seconds.into())
    }

    /// How long ago the gateway was last heard, by an event, an answer or a heartbeat. After two heartbeat intervals the
    /// session ends (R39).
    pub fn silence(&self) -> Duration {
        self.shared.heard.borrow().elapsed()
    }

    /// When the app's certificate ends. `None` on the clear door.
    pub fn certificate_expires(&self) -> Option<SystemTime> {
        let seconds = u64::try_from(self.shared.said.certificate_expires_unix_seconds).ok().filter(|s| *s > 0)?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
    }

    /// What the gateway takes from this session. `None` where it doesn't say.
    pub fn limits(&self) -> Limits {
        let said = &self.shared.said;
        Limits {
            max_monitors: Some(said.max_monitors).filter(|most| *most > 0),
            max_requests_in_flight: Some(said.max_requests_in_flight).filter(|most| *most > 0),
            max_queued_bytes: Some(said.max_queued_bytes).filter(|most| *most > 0),
            probe: Some(Duration::from_millis(said.probe_milliseconds.into())).filter(|time| !time.is_zero()),
        }
    }

    /// Why the session ended. `None` while it is open.
    pub fn closed(&self) -> Option<&Closed> {
        self.shared.closed.get()
    }

    pub(super) fn new(commands: mpsc::Sender<Command>, shared: Arc<Shared>) -> Self {
        Self { commands, shared }
    }

    async fn ask(&self, message: to_gateway::Message) -> Result<to_app::Message, RequestError> {
        let (reply, answer) = oneshot::channel();
        let ended = || RequestError::Closed(self.shared.why_closed());
        self.commands.send(Command::Ask(message, reply)).await.map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("name", &self.name()).field("closed", &self.closed()).finish_non_exhaustive()
    }
}

/// The events of a session, in their order.
///
/// They wait in a bounded queue. An app that reads slower than events come stops the connection from being read, and
/// then the gateway ends the session as a slow consumer: read without pausing, and do slow work elsewhere.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Receiver<Event>,
    shared: Arc<Shared>,
}

impl Events {
    /// The next event. `None` when the session has ended and all events that came before were read:
    /// [`closed`](Self::closed) then says why. A call that is dropped half way loses nothing.
    pub async fn next(&mut self) -> Option<Event> {
        self.queue.recv().await
    }

    /// Why the session ended. `None` while it is open.
    pub fn closed(&self) -> Option<&Closed> {
        self.shared.closed.get()
    }

    pub(super) fn new(queue: mpsc::Receiver<Event>, shared: Arc<Shared>) -> Self {
        Self { queue, shared }
    }
}

/// What the handles ask of the driver.
pub(super) enum Command {
    Ask(to_gateway::Message, Reply),
    Close(oneshot::Sender<()>),
}

/// Where an answer goes.
pub(super) type Reply = oneshot::Sender<Result<to_app::Message, RequestError>>;

/// What the driver and the handles share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) said: v1::Opened,
    /// When the gateway was last heard.
    pub(super) heard: watch::Sender<Instant>,
    /// Set once, before anyone is told that the session has ended.
    pub(super) closed: OnceLock<Closed>,
}

impl Shared {
    fn why_closed(&self) -> Closed {
        let stopped = || Closed::ConnectionLost("the runtime that the session lived on has stopped".to_owned());
        self.closed.get().cloned().unwrap_or_else(stopped)
    }
}

fn wire_classes(classes: &[EventClass]) -> Vec<i32> {
    classes.iter().map(|class| (*class).into()).collect()
}
