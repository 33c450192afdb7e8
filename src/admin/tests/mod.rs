//! Changes through a store that can fail, and a log that can be closed.

mod certificates;
mod changes;
mod closed_log;
mod gate;
mod owed;
mod seed;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use callgate_wire::v1::ErrorCode;
use time::OffsetDateTime;

use super::{
    accounts::{AccountChange, AccountSettings, NewAccount, Password, Passwords, Role},
    *,
};
use crate::{
    directory::{Cascade, Change, Device, DeviceRecord, Directory, Of, ScramVerifier, User, UserKind, UserSettings},
    model::{AccountName, DeviceName, Group, Groups},
    store::{Answer, Bucket, Entry, Epoch, Export, KeyWrite, Memory, Store, StoreError, Urgency, Version, Watch},
    trust::{CertificateRecord, CrlCheck, Fingerprint, Foreign, Origin},
};

const ACTOR: Actor = Actor::Local(1000);

/// A log that can be closed.
#[derive(Debug, Default)]
struct Log {
    closed: AtomicBool,
    records: Mutex<Vec<AdminRecord>>,
    later: Mutex<Vec<AdminRecord>>,
}

impl Log {
    fn close(&self, closed: bool) {
        self.closed.store(closed, Ordering::Relaxed);
        if !closed {
            self.records.lock().unwrap().append(&mut self.later.lock().unwrap());
        }
    }

    /// What was different by what is done since the last call: verb, name and detail.
    fn details(&self) -> Vec<[String; 3]> {
        let records = std::mem::take(&mut *self.records.lock().unwrap()).into_iter();
        let done = records.filter(|record| record.outcome == Outcome::Done);
        done.map(|record| [record.verb, record.name, record.detail]).collect()
    }

    /// Verb, name and outcome of each record since the last call.
    fn told(&self) -> Vec<(String, String, Outcome)> {
        let records = std::mem::take(&mut *self.records.lock().unwrap());
        records.into_iter().map(|record| (record.verb, record.name, record.outcome)).collect()
    }
}

impl Journal for Log {
    fn write(&self, record: &AdminRecord) -> Result<(), JournalClosed> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(JournalClosed);
        }
        self.records.lock().unwrap().push(record.clone());
        Ok(())
    }

    fn write_soon(&self, record: &AdminRecord) {
        if self.write(record).is_err() {
            self.later.lock().unwrap().push(record.clone());
        }
    }

    fn write_once(&self, record: &AdminRecord) -> Result<(), JournalClosed> {
        if self.records.lock().unwrap().contains(record) {
            return Ok(());
        }
        self.write(record)
    }

    fn can_write(&self) -> bool {
        !self.closed.load(Ordering::Relaxed)
    }
}

/// A store whose n-th write from now on, and all behind it, fail; and whose writes can be made to wait. It has transactions if it
/// is told to, and room for one key at a time.
#[derive(Debug, Clone)]
struct Failing {
    store: Memory,
    writes_left: Arc<AtomicU64>,
    /// Held by who wants writes to wait.
    flow: Arc<tokio::sync::RwLock<()>>,
    has_transactions: Arc<AtomicBool>,
    takes_one_by_one: Arc<AtomicBool>,
    /// It fails since its file is damaged.
    is_damaged: Arc<AtomicBool>,
}

impl Failing {
    fn new() -> Self {
        Self {
            store: Memory::new(),
            writes_left: Arc::new(AtomicU64::new(u64::MAX)),
            flow: Arc::default(),
            has_transactions: Arc::default(),
            takes_one_by_one: Arc::default(),
            is_damaged: Arc::default(),
        }
    }

    fn fail_after(&self, writes: u64) {
        self.writes_left.store(writes, Ordering::Relaxed);
    }

    fn take(&self) -> Result<(), StoreError> {
        let left = |left: u64| if left == u64::MAX { Some(left) } else { left.checked_sub(1) };
        match self.writes_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left) {
            Ok(_) => Ok(()),
            Err(_) if self.is_damaged.load(Ordering::Relaxed) => {
                Err(StoreError::Damaged { path: "callgate.redb".into(), reason: "it is empty".into() })
            }
            Err(_) => Err(std::io::Error::other("the disk is gone").into()),
        }
    }
}

impl Store for Failing {
    fn get<'a>(&'a self, bucket: Bucket, key: &'a str) -> Answer<'a, Option<Entry>> {
        self.store.get(bucket, key)
    }

    /// One key after the other, as a store without transactions does it.
    fn write<'a>(&'a self, writes: &'a [KeyWrite<'a>], urgency: Urgency) -> Answer<'a, Vec<Version>> {
        Box::pin(async move {
            let _flow = self.flow.read().await;
            if self.takes_one_by_one.load(Ordering::Relaxed) && writes.len() > 1 {
                return Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into());
            }
            if self.has_transactions.load(Ordering::Relaxed) {
                self.take()?;
                return self.store.write(writes, urgency).await;
            }
            let mut versions = Vec::new();
            for write in writes {
                self.take()?;
                versions.extend(self.store.write(std::slice::from_ref(write), urgency).await?);
            }
            Ok(versions)
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

struct Rig {
    store: Failing,
    log: Arc<Log>,
    administration: Administration,
}

impl Rig {
    async fn new() -> Self {
        Self::over(Failing::new(), Seed::default()).await
    }

    async fn over(store: Failing, seed: Seed) -> Self {
        Self::over_log(store, seed, Arc::default()).await
    }

    async fn over_log(store: Failing, seed: Seed, log: Arc<Log>) -> Self {
        let (kept, journal) = (Arc::new(store.clone()), Arc::clone(&log));
        let (administration, _) = Administration::open(kept, journal, seed).await.unwrap();
        log.records.lock().unwrap().retain(|record| record.verb != "seed");
        Self { store, log, administration }
    }

    async fn change(&self, change: &Change) -> Result<Done, Refused> {
        self.administration.change(&ACTOR, change, Of::Latest, Cascade::Nothing).await
    }

    fn groups(&self, user: &str) -> Groups {
        self.administration.state().directory.user(user).map(|user| user.groups).unwrap_or_default()
    }
}

fn user(name: &str, groups: &[Group], devices: &[&str]) -> Change {
    let settings = UserSettings {
        groups: groups.iter().copied().collect(),
        devices: devices.iter().map(|device| device.parse().unwrap()).collect(),
        ..UserSettings::default()
    };
    Change::PutUser(name.parse().unwrap(), settings)
}

fn device(name: &str) -> Change {
    Change::PutDevice(name.parse().unwrap(), DeviceRecord::default())
}

fn certificate(user: &str, instance: &str) -> CertificateRecord {
    CertificateRecord::of(user, instance, "01")
}
