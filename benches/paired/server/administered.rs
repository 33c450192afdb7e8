//! The real gateway over a real store, whose rights an administrator changes all the time.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use callgate::{
    admin::{Actor, Administration, Done, Journal, Seed},
    config::Config,
    cti::{LogFields, LogWriter},
    directory::{Cascade, Change, GroupRecord, Of, UserSettings},
    gateway::{self, Gateway},
    model::{EventBatch, Group, SwitchName},
    store::{
        Answer, Bucket, Embedded, Entry, Epoch, Expect, Export, KeyWrite, Options, Store, Urgency, Version, Watch,
    },
    switch::{Running, Switch, SwitchIo},
    trust::{Fingerprint, Ledger, records_of_file},
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use super::{meet, recorded::Recorded};
use crate::{
    administration::{Changed, Kind, Log},
    control::Control,
    events::{DEVICE, OTHER_DEVICE, Source, Subject},
    lab::{Population, administered_config, instance},
    process::monotonic_nanos,
};

/// The group of the operator's own that all users are in.
const FLOOR: &str = "floor";
/// How long the administrator rests between two changes.
const REST: Duration = Duration::from_millis(3);

pub fn run(population: Population, folder: &Path) {
    // As `callgate serve` logs.
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new("info"))
        .with_writer(LogWriter)
        .fmt_fields(LogFields)
        .with_ansi(false)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut config = administered_config(folder, population);
        let store = Clocked::open(folder);
        let trail = Arc::new(Recorded::into(folder));
        let administration = Arc::new(administration(&config, store.clone(), trail.clone(), population).await);
        config.directory = Arc::clone(&administration.state().directory);
        let options = gateway::Options { ledger: Some(administration.ledger()), trail, ..Default::default() };
        let mut gateway = Gateway::start_with(config, options).await.unwrap();
        administration.go_live(gateway.live_rights());
        let control = meet(gateway.tls_address().unwrap()).await;
        gateway.attach(Box::new(Fresh { name: "bench".parse().unwrap(), control }));
        let end = CancellationToken::new();
        let administrator = Administrator { administration, store, population, turns: 0, revoked: 0 };
        let administers = tokio::spawn(administrator.work(end.clone()));
        gateway.switch_ended().await.unwrap().1.unwrap();
        end.cancel();
        let log = administers.await.unwrap();
        fs::write(folder.join(Log::FILE), serde_json::to_vec(&log).unwrap()).unwrap();
        gateway.stop().await;
    });
}

/// The administration of a first start: all users are in a group of the operator's own, and all certificates are known.
async fn administration(
    config: &Config,
    store: Clocked,
    journal: Arc<dyn Journal>,
    population: Population,
) -> Administration {
    let seed = Seed { directory: Arc::clone(&config.directory), made_up: Arc::default() };
    let (administration, _) = Administration::open(Arc::new(store), journal, seed).await.unwrap();
    let records = records_of_file(&Ledger::open(&config.tls.ledger).unwrap().records().unwrap()).unwrap();
    administration.import(&Actor::Gateway, &records).await.unwrap();
    let group = Change::PutGroup(FLOOR.parse().unwrap(), GroupRecord::default());
    administration.change(&Actor::Gateway, &group, Of::New, Cascade::Nothing).await.unwrap();
    for user in 0..population.users {
        administration.change(&Actor::Gateway, &put_user(user, true), Of::Latest, Cascade::Nothing).await.unwrap();
    }
    administration
}

fn put_user(user: usize, with_keys: bool) -> Change {
    let groups = [Group::CtiEnabled, Group::SecureConnection, Group::SrtpKeyMaterial];
    let settings = UserSettings {
        groups: groups.into_iter().take(if with_keys { 3 } else { 2 }).collect(),
        own_groups: BTreeSet::from([FLOOR.parse().unwrap()]),
        devices: BTreeSet::from([DEVICE.parse().unwrap()]),
        ..UserSettings::default()
    };
    Change::PutUser(Population::user(user).parse().unwrap(), settings)
}

/// Changes one thing after the other, and a bare value of the store after each.
struct Administrator {
    administration: Arc<Administration>,
    store: Clocked,
    population: Population,
    turns: usize,
    /// How many certificates of each user are revoked.
    revoked: usize,
}

impl Administrator {
    async fn work(mut self, end: CancellationToken) -> Log {
        let mut log = Log::default();
        let mut bare = Expect::Absent;
        while !end.is_cancelled() {
            if let Some(changed) = self.change().await {
                log.changes.push(changed);
            }
            let begun = monotonic_nanos();
            let version =
                self.store.store.put(Bucket::META, "bench", &[7; 400], bare, Urgency::Ordinary).await.unwrap();
            log.bare.push((begun, monotonic_nanos() - begun));
            bare = Expect::Version(version);
            tokio::time::sleep(REST).await;
        }
        log
    }

    /// Each user loses its keys and gets them back, all get another device and lose it, and a certificate is revoked.
    async fn change(&mut self) -> Option<Changed> {
        let (turn, users) = (self.turns, self.population.users);
        self.turns += 1;
        let user = turn / 4 % users;
        let begun = monotonic_nanos();
        let (kind, done) = match turn % 4 {
            0 => (Kind::KeysTaken, self.make(&put_user(user, false)).await),
            1 => (Kind::KeysGiven, self.make(&put_user(user, true)).await),
            2 => (Kind::Devices, self.make(&self.other_device(turn % 8 == 2)).await),
            _ => {
                let number = self.revoked / users;
                // One is left for each session.
                if number + self.population.sessions >= self.population.instances {
                    return None;
                }
                let of = (self.revoked % users, number);
                self.revoked += 1;
                let done = self.administration.revoke(&Actor::Local(0), self.certificate(of), "lost").await;
                (Kind::Revoked { place: self.population.place(of.0, of.1) }, done.unwrap())
            }
        };
        Some(Changed {
            kind,
            user,
            version: done.rights,
            begun,
            committed: self.store.committed.load(Ordering::Relaxed),
            acknowledged: monotonic_nanos(),
            told: done.effect.changed,
            closed: done.effect.closed,
            withheld: done.effect.withheld,
        })
    }

    async fn make(&self, change: &Change) -> Done {
        self.administration.change(&Actor::Local(0), change, Of::Latest, Cascade::Nothing).await.unwrap()
    }

    fn other_device(&self, there: bool) -> Change {
        let devices = if there { BTreeSet::from([OTHER_DEVICE.parse().unwrap()]) } else { BTreeSet::new() };
        Change::PutGroup(FLOOR.parse().unwrap(), GroupRecord { devices, ..GroupRecord::default() })
    }

    fn certificate(&self, (user, number): (usize, usize)) -> Fingerprint {
        let (user, instance) = (Population::user(user), instance(number));
        let state = self.administration.state();
        let mut certificates = state.certificates.iter();
        let is_it = |record: &callgate::trust::CertificateRecord| {
            record.user.as_str() == user && record.instance.as_str() == instance
        };
        *certificates.find(|(_, (_, record))| is_it(record)).unwrap().0
    }
}

/// The embedded store, which notes when its last write was durable.
#[derive(Debug, Clone)]
struct Clocked {
    store: Arc<Embedded>,
    committed: Arc<AtomicU64>,
}

impl Clocked {
    fn open(folder: &Path) -> Self {
        let store = Embedded::open(&folder.join("store"), Options::default()).unwrap();
        Self { store: Arc::new(store), committed: Arc::default() }
    }

    fn note(&self) {
        self.committed.store(monotonic_nanos(), Ordering::Relaxed);
    }
}

impl Store for Clocked {
    fn get<'a>(&'a self, bucket: Bucket, key: &'a str) -> Answer<'a, Option<Entry>> {
        self.store.get(bucket, key)
    }

    fn write<'a>(&'a self, writes: &'a [KeyWrite<'a>], urgency: Urgency) -> Answer<'a, Vec<Version>> {
        Box::pin(async move {
            let versions = self.store.write(writes, urgency).await;
            self.note();
            versions
        })
    }

    fn list(&self, bucket: Bucket) -> Answer<'_, Vec<Entry>> {
        self.store.list(bucket)
    }

    fn watch(&self, bucket: Bucket) -> Answer<'_, Watch> {
        self.store.watch(bucket)
    }

    fn epoch(&self) -> Answer<'_, Epoch> {
        self.store.epoch()
    }

    fn export(&self) -> Export<'_> {
        self.store.export()
    }
}

/// A switch that shows a new key with each event that the load permits, made at a time of the clock that only rises: in
/// nanoseconds, for an event's own clock is coarser.
struct Fresh {
    name: SwitchName,
    control: Control,
}

impl Switch for Fresh {
    fn name(&self) -> &SwitchName {
        &self.name
    }

    fn run(mut self: Box<Self>, io: SwitchIo) -> Running {
        Box::pin(async move {
            let source = Source::new(Subject::Keys);
            while let Some(events) = self.control.next().await {
                let fresh = |number: u64| {
                    let now = i64::try_from(monotonic_nanos()).unwrap();
                    source.fresh(u32::try_from(number).unwrap() + 1, now)
                };
                let events = events.map(fresh).collect();
                io.events.send(EventBatch { arrived: Instant::now(), events }).await.unwrap();
            }
            Ok(())
        })
    }
}
