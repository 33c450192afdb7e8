//! The gateway, its apps, and what they do together.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use callgate::{
    admin::{Administration, Journal, Seed},
    audit::{AuditLog, Options, Trail},
    config::Config,
    gateway::Served,
    model::Address,
    store::{self, Bucket, Embedded, Expect, Fault, Store, Urgency},
    switch::{
        Switch,
        capture::Capture,
        feed::{FeedConfig, HepFeed},
        replay::{Replay, Speed},
        tracker::TrackerLimits,
    },
    trust::init,
};
use time::OffsetDateTime;
use tokio::{sync::watch, task::JoinSet, time::sleep};

use crate::{
    Counts, Shared, Stage, app,
    memory::{self, Rest},
    operator::{DEVICES, Operator, USERS},
    seen::{All, Seen},
};

pub const CONFIG: &str = "callgate.toml";
/// How much more may be in use while all goes on than in the first second, besides what the ledger weighs: the store has up to
/// 16 MiB of its file in memory; KiB.
const SLACK: u64 = 20 * 1024;
/// How much more the system may have given; KiB. Each change makes the ledger's snapshot anew, and any of the allocator's parts, of
/// which threads have several each, keeps the room of one.
const RESIDENT_SLACK: u64 = 128 * 1024;
/// How long all may take to be open again and to have a key when all of them may, and to end when none may.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much faster than it was the call is played.
const SPEED: f64 = 20.0;
/// How often it is looked whether what is waited for is so.
const LOOK: Duration = Duration::from_millis(50);

pub struct Soak {
    pub shared: Arc<Shared>,
    folder: PathBuf,
    served: Served,
    log: Arc<AuditLog>,
    store: Arc<dyn Store>,
    /// The next touch of the store's disk fails.
    fails_once: Arc<AtomicBool>,
    apps: usize,
    running: JoinSet<()>,
    /// How often the call was played.
    rounds: u64,
    begin: Instant,
    /// What was in use then, and resident; KiB.
    at_first: Option<(u64, u64)>,
    exported: Option<String>,
}

/// What it came to.
pub struct Ended {
    pub told: String,
    pub counts: Counts,
    pub changes: u64,
    pub refused: u64,
    pub acknowledged: u64,
    /// Sessions that were told of a change of a group of users, and those that a lock has closed.
    pub reached: (u64, u64),
    pub seen: All,
    /// A checkpoint that was exported meanwhile.
    pub exported: String,
}

impl Soak {
    pub async fn start(folder: &Path, apps: usize, segment_bytes: u64) -> Self {
        init(folder, &Default::default(), OffsetDateTime::now_utc()).unwrap();
        fs::write(folder.join(CONFIG), config_text()).unwrap();
        let config = Config::load(folder.join(CONFIG)).unwrap();
        let options = Options { segment_bytes, reserve_bytes: 1024 * 1024, ..config.audit.clone() };
        let log = Arc::new(AuditLog::open(options).unwrap());
        let fails_once = Arc::new(AtomicBool::new(false));
        let store = open_store(&config, Arc::clone(&fails_once));
        let seed = Seed { directory: Arc::clone(&config.directory), made_up: Arc::default() };
        let journal: Arc<dyn Journal> = Arc::<AuditLog>::clone(&log);
        let administration = Administration::open(Arc::clone(&store), journal, seed).await.unwrap().0;
        let seen = Seen::new(folder, &config.audit.folder, Arc::clone(&log));
        let trail: Arc<dyn Trail> = Arc::<AuditLog>::clone(&log);
        let served = Served::start(config, administration, trail, None).await.unwrap();
        let shared = Arc::new(Shared {
            stage: watch::Sender::new(Stage::Rest),
            operator: Operator::new(Arc::clone(served.administration()), folder),
            seen,
            counts: Counts::default(),
        });
        let mut running = JoinSet::new();
        let address: SocketAddr = served.tls_address().unwrap();
        for number in 0..apps {
            running.spawn(app::run(address, number, Arc::clone(&shared)));
        }
        let operates = Arc::clone(&shared);
        running.spawn(async move { operates.operator.work(operates.stage.subscribe()).await });
        Self {
            shared,
            folder: folder.into(),
            served,
            log,
            store,
            fails_once,
            apps,
            running,
            rounds: 0,
            begin: Instant::now(),
            at_first: None,
            exported: None,
        }
    }

    /// Everything at once, for so long.
    pub async fn run(&mut self, time: Duration) {
        self.shared.operator.allow_all().await;
        self.shared.stage.send_replace(Stage::Run);
        self.play();
        let (begin, tenth) = (Instant::now(), time / 10);
        for slice in 1..=10 {
            self.until("", Duration::MAX, |_| begin.elapsed() >= tenth * slice).await;
            self.show();
            self.exported = self.exported.take().or_else(|| self.checkpoint());
        }
    }

    /// All may do everything again: who is stuck is found now.
    pub async fn all_get_a_key(&mut self) {
        self.shared.stage.send_replace(Stage::Settle);
        self.until("the administrator doesn't rest", PATIENCE, |shared| shared.operator.is_at_rest()).await;
        self.shared.operator.allow_all().await;
        self.shared.counts.everybody_counts.store(true, Ordering::Relaxed);
        let apps = self.apps;
        let are_satisfied = |shared: &Shared| shared.counts.satisfied.load(Ordering::Relaxed) == apps;
        self.until("not every app has a key", PATIENCE, are_satisfied).await;
        // There is one after 1,000 records, and after a minute at the latest.
        let begin = Instant::now();
        while self.exported.is_none() && begin.elapsed() < 2 * PATIENCE {
            let turn = Instant::now();
            self.until("", PATIENCE, |_| turn.elapsed() > LOOK).await;
            self.exported = self.checkpoint();
        }
    }

    /// Nobody may do anything, so nobody has anything. What the process has in memory then.
    pub async fn rest(&mut self) -> Rest {
        self.shared.stage.send_replace(Stage::Rest);
        self.until("the administrator doesn't rest", PATIENCE, |shared| shared.operator.is_at_rest()).await;
        self.shared.operator.remove_all().await;
        let apps = self.apps;
        let are_out = |shared: &Shared| shared.counts.resting.load(Ordering::Relaxed) == apps;
        self.until("not every app was closed", PATIENCE, are_out).await;
        let open = self.served.gateway().sessions().list().await;
        assert!(open.is_empty(), "sessions that nobody has: {open:?}");
        while let Some((_, ended)) = self.served.switch_ended().await {
            ended.unwrap();
        }
        self.forget_the_stores_file().await;
        // What was written is flushed, and what was closed is gone.
        sleep(Duration::from_millis(500)).await;
        Rest::look(&self.shared)
    }

    /// Ends all of it.
    pub async fn end(mut self) -> Ended {
        let exported = self.exported.take().expect("there is no checkpoint to export");
        self.shared.stage.send_replace(Stage::End);
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap();
        }
        let Self { shared, served, store, log, .. } = self;
        served.stop().await;
        drop(store);
        let told = shared.to_string();
        let Some(Shared { operator, seen, counts, .. }) = Arc::into_inner(shared) else { panic!("who has it?") };
        let (changes, refused, acknowledged) = (operator.changes(), operator.refused(), operator.acknowledged());
        let reached = operator.reached();
        drop(operator);
        let seen = seen.all();
        // The log ends in order when the last who has it lets it go.
        let log = Arc::downgrade(&{ log });
        while log.strong_count() > 0 {
            sleep(LOOK).await;
        }
        Ended { told, counts, changes, refused, acknowledged, reached, seen, exported }
    }

    /// Lets all go on until this is so. The call begins again as soon as it is over.
    async fn until(&mut self, otherwise: &str, patience: Duration, is_so: impl Fn(&Shared) -> bool) {
        let begin = Instant::now();
        while !is_so(&self.shared) {
            assert!(begin.elapsed() < patience, "stuck: {otherwise}: {}", self.shared);
            tokio::select! {
                Some((_, ended)) = self.served.switch_ended() => {
                    ended.unwrap();
                    if *self.shared.stage.borrow() != Stage::Rest {
                        self.play();
                    }
                }
                Some(failed) = self.running.join_next() => failed.unwrap(),
                () = sleep(LOOK) => {}
            }
        }
    }

    fn play(&mut self) {
        self.rounds += 1;
        self.served.attach(call(self.rounds));
    }

    fn show(&mut self) {
        let state = self.shared.operator.state();
        let (used, resident) = (memory::used_kib(&state), memory::resident_kib());
        let seconds = self.begin.elapsed().as_secs();
        println!("{seconds:4} s: {}, {used} KiB in use, {resident} KiB resident", self.shared);
        match self.at_first {
            Some((first, _)) if used > first + SLACK => panic!("what is in use grew from {first} to {used} KiB"),
            Some((_, first)) if resident > first + RESIDENT_SLACK => {
                panic!("what is resident grew from {first} to {resident} KiB")
            }
            None if seconds > 0 => self.at_first = Some((used, resident)),
            _ => {}
        }
    }

    /// The newest checkpoint, if there is one yet.
    fn checkpoint(&self) -> Option<String> {
        let export = callgate(&self.folder, &["audit", "checkpoint", "--config", CONFIG]).output().unwrap();
        export.status.success().then(|| String::from_utf8(export.stdout).unwrap())
    }

    /// The disk of the store fails once, so it opens its file anew: what it had of it in memory is bounded, and gone now.
    async fn forget_the_stores_file(&self) {
        let (bucket, key) = (Bucket::PROFILES, "forget");
        let found = self.store.get(bucket, key).await.unwrap();
        let expect = found.map_or(Expect::Absent, |entry| Expect::Version(entry.version));
        self.fails_once.store(true, Ordering::Relaxed);
        let _ = self.store.put(bucket, key, b"{}", expect, Urgency::TakesAway).await;
        assert!(!self.fails_once.load(Ordering::Relaxed), "the store's disk was not touched");
    }
}

/// The real command, in this folder.
pub fn callgate(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"));
    command.args(arguments).current_dir(folder);
    command
}

fn open_store(config: &Config, fails_once: Arc<AtomicBool>) -> Arc<dyn Store> {
    let fault = Fault::new(move |_| match fails_once.swap(false, Ordering::Relaxed) {
        true => Err(std::io::Error::other("once")),
        false => Ok(()),
    });
    let options = store::Options { fault: Some(fault), ..store::Options::default() };
    Arc::new(Embedded::open(&config.store.file, options).unwrap())
}

fn config_text() -> String {
    let mut text = String::from(
        "[doors]\nclear = \"closed\"\ntls = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n\
         [heartbeat]\ndefault_seconds = 5\n\
         [limits]\nworkers = 2\nsessions_per_user = 1000\ntries_per_source_per_minute = 1000000\n",
    );
    for user in USERS {
        text.push_str(&format!("[[user]]\nname = \"{user}\"\n"));
    }
    for (device, address) in DEVICES {
        text.push_str(&format!("[[device]]\nname = \"{device}\"\naddresses = [\"{address}\"]\n"));
    }
    text
}

/// The recorded call, as another one each time.
fn call(round: u64) -> Box<dyn Switch> {
    let capture = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/asterisk22-basic/call.pcap");
    let devices = DEVICES.map(|(name, address)| (address.parse().unwrap(), name.parse().unwrap()));
    let feed = HepFeed::new(FeedConfig {
        name: "asterisk".parse().unwrap(),
        pbxes: vec!["udp:127.0.0.1:15060".parse::<Address>().unwrap()],
        devices: devices.into(),
        password: None,
        first_id: round << 20,
        limits: TrackerLimits::default(),
    });
    let speed = Speed::times(SPEED).unwrap();
    Box::new(Replay::new("asterisk".parse().unwrap(), Capture::open(&capture).unwrap(), feed, speed))
}
