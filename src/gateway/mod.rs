//! Composition: builds every part from the settings, starts them in order, and stops them in the reverse order.

mod api;
mod difference;
mod doors;
mod drain;
mod expiry;
mod metrics;
mod reload;
mod served;
mod start_error;
mod switches;
mod tls_files;

pub use api::api;
pub use metrics::{METRICS, Metric, MetricKind, MetricsError, Page};
pub use reload::{Acknowledgement, Reloaded};
pub use served::{Served, administration};
pub use start_error::StartError;
pub use switches::{connector, feed_password};
pub use tls_files::check_tls_files;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use self::doors::{ClosedDoors, TlsDoor};
use crate::{
    admin::api::Live,
    audit::{LogTarget, Trail},
    config::Config,
    cti::{
        Clock, Crowds, Current, Decoy, Entrance, LiveRights, OpenSessions, Registry, Settings, TlsSide, WorkerSettings,
        spawn_worker,
    },
    directory::{Device, Directory},
    http::{Health, HttpService, Need, Reporter},
    hub::{self, Certificates, Hub, HubHandle, Rights, WorkerId},
    model::{EventBatch, SwitchName},
    switch::{KnownDevices, Switch, SwitchError, SwitchIo},
    trust::{Ends, Ledger},
};

/// Devices that stand in no configuration, at most (R41a).
const MAX_DISCOVERED: usize = 65_536;
/// How many batches of events may wait for the hub before the switches wait.
const EVENT_QUEUE: usize = 1024;
/// How long a stop waits for what is still being opened or closed.
const STOP: Duration = Duration::from_secs(5);

/// What a gateway has that isn't in its config.
pub struct Options {
    /// Where certificates are kept, if they are administered. Then users and devices are, too: all of them change by
    /// [`Gateway::live_rights`], and a [`Gateway::reload`] leaves them as they are.
    pub ledger: Option<Arc<Ledger>>,
    /// What time it is for certificates.
    pub clock: Clock,
    /// Where everything goes on record (R21).
    pub trail: Arc<dyn Trail>,
    /// The metrics, if they are to be seen as the settings say.
    pub page: Option<Page>,
}

impl Default for Options {
    /// Nothing is administered, the clock is the system's, and records go to the log.
    fn default() -> Self {
        Self { ledger: None, clock: Clock::system(), trail: Arc::new(LogTarget), page: None }
    }
}

/// A running gateway.
pub struct Gateway {
    /// The settings in force: those that can't change while it runs are those of the start.
    config: watch::Sender<Arc<Config>>,
    entrance: Arc<Entrance>,
    live: LiveRights,
    /// What the switches are told of devices.
    devices: watch::Receiver<Arc<KnownDevices>>,
    /// Where certificates are kept if they are administered.
    ledger: Option<Arc<Ledger>>,
    /// When the certificates of what listens for TLS end; `None` while nothing does.
    ends: watch::Sender<Option<Ends>>,
    clear: Option<SocketAddr>,
    tls: Option<TlsDoor>,
    events: mpsc::Sender<EventBatch>,
    switches: JoinSet<(SwitchName, Result<(), SwitchError>)>,
    doors: Vec<JoinHandle<()>>,
    workers: Vec<thread::JoinHandle<()>>,
    health: Health,
    door_health: Reporter,
    metrics: Option<HttpService>,
    administration: Option<HttpService>,
    stop: CancellationToken,
    /// Closes the doors, also before all stops.
    doors_stop: CancellationToken,
    stop_workers: CancellationToken,
}

impl Gateway {
    /// Starts all but the switches: apps can open sessions, and [`attach`](Self::attach) brings events.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, Options::default()).await
    }

    /// The same with parts that are somebody else's.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_with(config: Config, options: Options) -> Result<Self, StartError> {
        let (mut gateway, doors) = Self::prepare(config, options).await?;
        gateway.open(doors);
        Ok(gateway)
    }

    /// All but the switches, and doors that are still closed: [`open`](Self::open) lets apps in.
    async fn prepare(config: Config, options: Options) -> Result<(Self, ClosedDoors), StartError> {
        let Options { ledger, clock, trail, page } = options;
        // What can be wrong with files is found before a port is taken.
        let side = tls_files::tls_side(&config, ledger.as_ref())?;
        let (ends, ends_known) = watch::channel(tls_files::ends(&config)?);
        let clock = Arc::new(clock);
        let rights = Arc::new(rights(1, &config, side.as_ref()));
        let settings = Arc::new(Settings { heartbeat: config.heartbeat, limits: config.limits });
        let hub = Hub::new(rights.devices(), MAX_DISCOVERED);
        let (hub_handle, requests) = HubHandle::new(hub.device_count());
        let stop = CancellationToken::new();

        // An early return must end the workers' threads.
        let stop_workers = CancellationToken::new();
        let stop_on_error = stop_workers.clone().drop_guard();
        let (mut workers, mut mailboxes, mut threads) = (Vec::new(), Vec::new(), Vec::new());
        for id in (0..).take(worker_count(config.limits.workers)).map(WorkerId) {
            let settings = WorkerSettings {
                id,
                rights: Arc::clone(&rights),
                hub: hub_handle.clone(),
                clock: Arc::clone(&clock),
                trail: Arc::clone(&trail),
                stop: stop_workers.clone(),
                gateway: stop.clone(),
            };
            let (worker, mailbox, thread) = spawn_worker(settings).map_err(StartError::Worker)?;
            workers.push(worker);
            mailboxes.push(mailbox);
            threads.push(thread);
        }
        let (events, batches) = mpsc::channel(EVENT_QUEUE);
        let hub_runs = hub::run(hub, hub_handle.clone(), requests, batches, mailboxes);
        let stops_all = stop.clone().drop_guard();
        tokio::spawn(async move {
            // Without the hub nothing goes on, so whatever ends it ends the gateway.
            let _stops_all = stops_all;
            hub_runs.await;
        });

        let epoch = epoch_micros();
        let decoy = Decoy::new(&rights.directory).map_err(|_| StartError::Randomness)?;
        let entrance = Arc::new(Entrance {
            registry: Arc::new(Registry::new(settings.limits, epoch)),
            current: ArcSwap::from_pointee(Current { rights, decoy, networks: config.door_networks.clone() }),
            workers,
            hub: hub_handle,
            crowds: Crowds::new(settings.limits.opening_connections),
            settings,
            epoch,
            trail,
        });
        let started_with = Arc::clone(&config.directory);
        let (known, devices) = watch::channel(Arc::new(known_devices(&started_with)));
        let told = Mutex::new(started_with);
        let tell_switches = move |rights: &Rights| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            if !rights.directory.has_devices_of(&told) {
                known.send_replace(Arc::new(known_devices(&rights.directory)));
                *told = Arc::clone(&rights.directory);
            }
        };
        let health = Health::default();
        metrics::watch(&health, "hub", entrance.hub.pulse());
        for (id, worker) in entrance.workers.iter().enumerate() {
            metrics::watch(&health, &format!("worker {id}"), worker.pulse());
        }
        let mut gateway = Self {
            live: LiveRights::new(Arc::clone(&entrance), tell_switches),
            devices,
            ledger,
            ends,
            entrance,
            door_health: health.part("doors", Need::Ready),
            health,
            metrics: None,
            administration: None,
            clear: None,
            tls: None,
            events,
            switches: JoinSet::new(),
            doors: Vec::new(),
            workers: threads,
            doors_stop: stop.child_token(),
            stop,
            stop_workers,
            config: watch::Sender::new(Arc::new(config)),
        };
        let doors = gateway.config.borrow().doors;
        let doors = ClosedDoors::bind(doors, &gateway.entrance, side).await?;
        if let Some(page) = page {
            gateway.serve_metrics(page).await?;
        }
        let (entrance, stop) = (Arc::clone(&gateway.entrance), gateway.stop.clone());
        tokio::spawn(expiry::watch(entrance, clock, ends_known, stop));
        stop_on_error.disarm();
        Ok((gateway, doors))
    }

    /// The way to change users, devices and certificates of an administered gateway.
    pub fn live_rights(&self) -> LiveRights {
        self.live.clone()
    }

    /// What the administration sees of it while it runs.
    pub fn live(&self) -> Live {
        Live { sessions: self.sessions(), hub: self.entrance.hub.clone(), ends: self.ends.subscribe() }
    }

    /// The settings in force, and those that take their place.
    pub fn settings(&self) -> watch::Receiver<Arc<Config>> {
        self.config.subscribe()
    }

    /// The open sessions: to list them, and to close some.
    pub fn sessions(&self) -> OpenSessions {
        self.entrance.open_sessions()
    }

    /// Whether users, devices and certificates are administered, and not those of the config.
    fn is_administered(&self) -> bool {
        self.ledger.is_some()
    }

    /// Starts a switch: its events flow from now on.
    pub fn attach(&mut self, switch: Box<dyn Switch>) {
        let name = switch.name().clone();
        info!(switch = %name, "attached");
        // Nobody sends commands yet: the sender's end waits for the requests of call control.
        let (commands, receiver) = mpsc::channel(1);
        let io = SwitchIo {
            events: self.events.clone(),
            commands: receiver,
            devices: self.devices.clone(),
            stop: self.stop.clone(),
        };
        let health = self.health.part(format!("switch {name}"), Need::None);
        health.up("attached");
        let running = switch.run(io);
        self.switches.spawn(async move {
            let result = running.await;
            drop(commands);
            match &result {
                Ok(()) => health.up("it has nothing more to report"),
                Err(error) => health.down(&error.to_string()),
            }
            health.rest();
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
        self.door_health.down("the gateway stops");
        // Changes that run are acknowledged by workers that are there.
        if let Some(administration) = self.administration.take() {
            administration.stop().await;
        }
        let metrics = self.metrics.take();
        self.stop.cancel();
        let mut doors = std::mem::take(&mut self.doors);
        doors.extend(self.tls.take().map(|door| door.runs));
        let workers = std::mem::take(&mut self.workers);
        let all = async move {
            for door in doors {
                let _ = door.await;
            }
            // Whoever came in before is with a worker now, and is told too.
            self.stop_workers.cancel();
            while self.switches.join_next().await.is_some() {}
            for worker in workers {
                let _ = tokio::task::spawn_blocking(move || worker.join()).await;
            }
        };
        if tokio::time::timeout(STOP, all).await.is_err() {
            error!("some parts did not stop in time");
        }
        // The last one to go: until now it says that the gateway isn't ready.
        if let Some(metrics) = metrics {
            metrics.stop().await;
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
        self.stop_workers.cancel();
    }
}

fn rights(version: u64, config: &Config, side: Option<&TlsSide>) -> Rights {
    Rights {
        version,
        mode: config.mode,
        lenient_doors: config.lenient_doors,
        directory: Arc::clone(&config.directory),
        certificates: Certificates {
            known: side.map(|side| side.ledger.last_read()).unwrap_or_default(),
            ledger: side.map(|side| Arc::clone(&side.ledger)),
            crls: side.map(|side| Arc::clone(&side.crls)).unwrap_or_default(),
        },
    }
}

/// What the switches know of the devices of a directory.
fn known_devices(directory: &Directory) -> KnownDevices {
    let addresses = |device: &Arc<Device>| {
        let name = device.name.clone();
        device.addresses.clone().into_iter().map(move |address| (address, name.clone()))
    };
    KnownDevices {
        addresses: directory.devices().flat_map(addresses).collect(),
        names: directory.devices().map(|device| device.name.clone()).collect(),
    }
}

/// One worker per core unless the settings say otherwise.
pub fn worker_count(wish: usize) -> usize {
    let cores = || thread::available_parallelism().map_or(1, Into::into);
    if wish == 0 { cores() } else { wish }.clamp(1, WorkerId::MAX)
}

/// The part of ids that a restart doesn't repeat: microseconds since 1970.
pub fn epoch_micros() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or_default()
}
