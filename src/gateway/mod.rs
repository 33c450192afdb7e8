//! Composition: builds every part from the settings, starts them in order, and stops them in the reverse order.

mod switches;

pub use switches::connector;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};

use tokio::{
    sync::mpsc,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use crate::{
    config::Config,
    cti::{self, Decoy, Door, DoorError, Entrance, Registry, Settings, TlsSide, WorkerSettings, spawn_worker},
    hub::{self, Hub, HubHandle, WorkerId},
    model::{Mode, SwitchEvent, SwitchName},
    switch::{Switch, SwitchError, SwitchIo, capture::CaptureError, listen::ListenError, replay::SpeedError},
    trust::{self, Ledger, LedgerError, TrustError},
};

/// Devices that stand in no configuration, at most (R41a).
const MAX_DISCOVERED: usize = 65_536;
/// How many batches of events may wait for the hub before the switches wait.
const EVENT_QUEUE: usize = 1024;
/// How long a stop waits for what is still being opened or closed.
const STOP: Duration = Duration::from_secs(5);

/// Why a gateway can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A capture that stands for a switch can't be read.
    #[error("the switch {switch}: {error}")]
    Capture {
        /// The switch.
        switch: SwitchName,
        /// Why.
        error: CaptureError,
    },
    /// A door can't listen.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// A feed can't listen.
    #[error("the switch {switch} {error}")]
    Feed {
        /// The switch.
        switch: SwitchName,
        /// Why.
        error: ListenError,
    },
    /// The ledger can't be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The system has no randomness.
    #[error("the system has no randomness")]
    Randomness,
    /// The speed of a replay can't be.
    #[error("the switch {switch}: {error}")]
    Speed {
        /// The switch.
        switch: SwitchName,
        /// Why.
        error: SpeedError,
    },
    /// Certificates, keys or CAs are not as they should be.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The system gives no thread for a worker.
    #[error("a worker can't be started: {0}")]
    Worker(#[source] io::Error),
}

/// A running gateway.
pub struct Gateway {
    clear: Option<SocketAddr>,
    tls: Option<SocketAddr>,
    events: mpsc::Sender<Vec<SwitchEvent>>,
    switches: JoinSet<(SwitchName, Result<(), SwitchError>)>,
    doors: Vec<JoinHandle<()>>,
    worker: Option<thread::JoinHandle<()>>,
    stop: CancellationToken,
}

impl Gateway {
    /// Starts all but the switches: apps can open sessions, and [`attach`](Self::attach) brings events.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        // What can be wrong with files is found before a port is taken.
        let tls = match config.doors.tls.filter(|_| config.mode == Mode::Mixed) {
            Some(address) => {
                let ledger = Arc::new(Ledger::open(&config.tls.ledger)?);
                let server = trust::server_config(&config.tls, Arc::clone(&ledger))?;
                Some((address, TlsSide { config: server, ledger }))
            }
            None => None,
        };
        let settings = Arc::new(Settings {
            mode: config.mode,
            lenient_doors: config.lenient_doors,
            heartbeat: config.heartbeat,
            limits: config.limits,
            directory: config.directory,
        });
        let devices = settings.directory.devices().map(|device| device.name.clone());
        let hub = Hub::new(devices, MAX_DISCOVERED);
        let (hub_handle, requests) = HubHandle::new(hub.device_count());
        let stop = CancellationToken::new();

        let worker = WorkerSettings {
            id: WorkerId(0),
            settings: Arc::clone(&settings),
            hub: hub_handle.clone(),
            stop: stop.clone(),
        };
        let (worker, mailbox, thread) = spawn_worker(worker).map_err(StartError::Worker)?;
        // From here on an early return must end the worker's thread.
        let stop_on_error = stop.clone().drop_guard();
        let (events, batches) = mpsc::channel(EVENT_QUEUE);
        let hub_runs = hub::run(hub, hub_handle.clone(), requests, batches, vec![mailbox]);
        let stops_all = stop.clone().drop_guard();
        tokio::spawn(async move {
            // Without the hub nothing goes on, so whatever ends it ends the gateway.
            let _stops_all = stops_all;
            hub_runs.await;
        });

        let entrance = Arc::new(Entrance {
            registry: Arc::new(Registry::new(settings.limits, epoch_micros())),
            decoy: Decoy::new(&settings.directory).map_err(|_| StartError::Randomness)?,
            workers: vec![worker],
            hub: hub_handle,
            settings,
        });
        let mut gateway = Self {
            clear: None,
            tls: None,
            events,
            switches: JoinSet::new(),
            doors: Vec::new(),
            worker: Some(thread),
            stop,
        };
        let mut doors = Vec::new();
        if let Some(address) = config.doors.clear {
            doors.push(Door::open(address, Arc::clone(&entrance), None).await?);
            gateway.clear = doors.last().and_then(|door| door.local_addr().ok());
        }
        if let Some((address, side)) = tls {
            doors.push(Door::open(address, entrance, Some(side)).await?);
            gateway.tls = doors.last().and_then(|door| door.local_addr().ok());
        }
        for door in doors {
            cti::announce(&door);
            gateway.doors.push(tokio::spawn(door.run(gateway.stop.clone())));
        }
        stop_on_error.disarm();
        Ok(gateway)
    }

    /// Where the clear door listens; `None` if it is closed.
    pub fn clear_address(&self) -> Option<SocketAddr> {
        self.clear
    }

    /// Where the TLS door listens; `None` if it is closed.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls
    }

    /// Starts a switch: its events flow from now on.
    pub fn attach(&mut self, switch: Box<dyn Switch>) {
        let name = switch.name().clone();
        info!(switch = %name, "attached");
        // Nobody sends commands yet: the sender's end waits for the requests of call control.
        let (commands, receiver) = mpsc::channel(1);
        let io = SwitchIo { events: self.events.clone(), commands: receiver, stop: self.stop.clone() };
        let running = switch.run(io);
        self.switches.spawn(async move {
            let result = running.await;
            drop(commands);
            (name, result)
        });
    }

    /// Waits until a switch has come to its end, as a replay does. `None`: there is none left.
    pub async fn switch_ended(&mut self) -> Option<(SwitchName, Result<(), SwitchError>)> {
        loop {
            match self.switches.join_next().await? {
                Ok(ended) => return Some(ended),
                Err(e) => error!(error = %e, "a switch connector failed"),
            }
        }
    }

    /// Is done when the gateway stops, also by itself: only the failure of a part makes it do that.
    pub fn stopped(&self) -> impl Future<Output = ()> + use<> {
        self.stop.clone().cancelled_owned()
    }

    /// Waits until the hub has taken every event that the switches have reported. A request that a session makes after it
    /// is answered behind them.
    pub async fn flush(&self) {
        // All places of the queue are free at once only when it is empty; it is closed only when the hub is gone.
        let _ = self.events.reserve_many(EVENT_QUEUE).await;
    }

    /// Stops: no new connection, then every session is told and closed, then the rest.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let doors = std::mem::take(&mut self.doors);
        let worker = self.worker.take();
        let all = async move {
            for door in doors {
                let _ = door.await;
            }
            while self.switches.join_next().await.is_some() {}
            if let Some(worker) = worker {
                let _ = tokio::task::spawn_blocking(move || worker.join()).await;
            }
        };
        if tokio::time::timeout(STOP, all).await.is_err() {
            error!("some parts did not stop in time");
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The part of ids that a restart doesn't repeat: microseconds since 1970.
pub fn epoch_micros() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or_default()
}
