//! The administrator: random changes of everything, and the certificates that apps need.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use callgate::{
    admin::{Actor, Administration, Refused},
    directory::{Cascade, Change, DeviceRecord, GroupRecord, Of, UserSettings},
    model::Group,
    trust::{Ca, CertificateRecord, Fingerprint, Ledger, Validity, records_of_file},
};
use rustls::ClientConfig;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use crate::common;

pub const USERS: [&str; 8] = ["user0", "user1", "user2", "user3", "user4", "user5", "user6", "user7"];
/// The phones of the recorded call.
pub const DEVICES: [(&str, &str); 2] = [("1001", "udp:127.0.0.1:16010"), ("1002", "udp:127.0.0.1:16020")];
const ACTOR: Actor = Actor::Local(0);
const FLOOR: &str = "floor";
/// How long the administrator rests after each change.
const REST: Duration = Duration::from_millis(20);

pub struct Operator {
    administration: Arc<Administration>,
    folder: PathBuf,
    /// One certificate at a time: the ledger's file has one writer.
    issuing: tokio::sync::Mutex<()>,
    random: Mutex<u64>,
    changes: AtomicU64,
    refused: AtomicU64,
    stops: CancellationToken,
    stopped: tokio::sync::Semaphore,
    everybody_counts: AtomicBool,
}

impl Operator {
    pub fn new(administration: Arc<Administration>, folder: PathBuf) -> Self {
        Self {
            administration,
            folder,
            issuing: tokio::sync::Mutex::new(()),
            random: Mutex::new(1),
            changes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            stops: CancellationToken::new(),
            stopped: tokio::sync::Semaphore::new(0),
            everybody_counts: AtomicBool::new(false),
        }
    }

    /// Changes something again and again.
    pub async fn work(self: Arc<Self>, end: CancellationToken) {
        self.allow_all().await;
        while !end.is_cancelled() && !self.stops.is_cancelled() {
            self.change().await;
            tokio::time::sleep(REST).await;
        }
        self.stopped.close();
    }

    /// Waits until nothing is changed any more.
    pub async fn stop_changing(&self) {
        self.stops.cancel();
        let _ = self.stopped.acquire().await;
    }

    /// From now on each app says when it has a key.
    pub fn everybody_counts(&self) {
        self.everybody_counts.store(true, Ordering::Relaxed);
    }

    pub fn counts_everybody(&self) -> bool {
        self.everybody_counts.load(Ordering::Relaxed)
    }

    /// Changes that were made, and those that were refused.
    pub fn counts(&self) -> (u64, u64) {
        (self.changes.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed))
    }

    /// Everybody may do everything.
    pub async fn allow_all(&self) {
        for (device, _) in DEVICES {
            self.make(&self.device(device, false), Cascade::All).await;
        }
        for user in USERS {
            self.make(&put(user, 3, true), Cascade::All).await;
        }
    }

    /// A new certificate of an instance, which the ledger knows.
    pub async fn certificate(&self, user: &str, instance: &str) -> Arc<ClientConfig> {
        let _one = self.issuing.lock().await;
        let folder = self.folder.clone();
        let (user, instance) = (user.to_owned(), instance.to_owned());
        let (config, fingerprint, record) =
            tokio::task::spawn_blocking(move || issue(&folder, &user, &instance)).await.unwrap();
        // The user may be gone for a moment.
        while let Err(refused) = self.administration.add_certificate(&ACTOR, fingerprint, &record).await {
            assert!(matches!(refused, Refused::Directory(_)), "{refused:?}");
            tokio::time::sleep(REST).await;
        }
        config
    }

    async fn change(&self) {
        let user = USERS[self.below(USERS.len())];
        let (device, _) = DEVICES[self.below(DEVICES.len())];
        let cascade = if self.below(2) == 0 { Cascade::All } else { Cascade::Nothing };
        match self.below(16) {
            // Mostly back to where all is allowed.
            0..=5 => self.make(&put(user, 3, true), cascade).await,
            6..=8 => self.make(&put(user, self.below(3), self.below(4) > 0), cascade).await,
            9 => self.make(&self.device(device, true), cascade).await,
            10 | 11 => self.make(&self.device(device, false), cascade).await,
            12 => {
                let devices = [device.parse().unwrap()].into_iter().filter(|_| self.below(2) == 0).collect();
                let patterns = ["100?".parse().unwrap()].into_iter().filter(|_| self.below(2) == 0).collect();
                let group = GroupRecord { devices, patterns, ..GroupRecord::default() };
                self.make(&Change::PutGroup(FLOOR.parse().unwrap(), group), cascade).await;
            }
            13 => {
                self.make(&Change::RemoveUser(user.parse().unwrap()), cascade).await;
                self.make(&put(user, 3, true), cascade).await;
            }
            14 => {
                self.make(&Change::RemoveDevice(device.parse().unwrap()), cascade).await;
                self.make(&self.device(device, false), cascade).await;
            }
            _ => {
                let state = self.administration.state();
                let live: Vec<_> =
                    state.certificates.iter().filter(|(_, (_, record))| record.revoked.is_none()).collect();
                if !live.is_empty() {
                    let fingerprint = *live[self.below(live.len())].0;
                    self.count(&self.administration.revoke(&ACTOR, fingerprint, "lost").await);
                }
            }
        }
    }

    async fn make(&self, change: &Change, cascade: Cascade) {
        self.count(&self.administration.change(&ACTOR, change, Of::Latest, cascade).await);
    }

    fn count<T>(&self, made: &Result<T, Refused>) {
        let count = if made.is_ok() { &self.changes } else { &self.refused };
        count.fetch_add(1, Ordering::Relaxed);
        if let Err(refused @ (Refused::Store(_) | Refused::NotAcknowledged(_))) = made {
            panic!("{refused:?}");
        }
    }

    fn device(&self, name: &str, restricted: bool) -> Change {
        let address = DEVICES.iter().find(|(known, _)| *known == name).unwrap().1;
        let record = DeviceRecord { addresses: vec![address.parse().unwrap()], restricted, ..DeviceRecord::default() };
        Change::PutDevice(name.parse().unwrap(), record)
    }

    fn below(&self, bound: usize) -> usize {
        let mut state = self.random.lock().unwrap();
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from((*state >> 33) % bound as u64).unwrap()
    }
}

/// A user in so many of the three groups, with its devices by a pattern and a group.
fn put(user: &str, groups: usize, with_devices: bool) -> Change {
    let all = [Group::CtiEnabled, Group::SecureConnection, Group::SrtpKeyMaterial];
    let patterns = if with_devices { BTreeSet::from(["10*".parse().unwrap()]) } else { BTreeSet::new() };
    let settings = UserSettings { groups: all.into_iter().take(groups).collect(), patterns, ..UserSettings::default() };
    Change::PutUser(user.parse().unwrap(), settings)
}

fn issue(folder: &std::path::Path, user: &str, instance: &str) -> (Arc<ClientConfig>, Fingerprint, CertificateRecord) {
    let ca = Ca::load(&folder.join("ca.pem"), &folder.join("ca.key")).unwrap();
    let ledger = Ledger::open(folder.join("ledger.jsonl")).unwrap();
    let now = OffsetDateTime::now_utc();
    let validity = Validity::days(now, 30).unwrap();
    let issued = ca.issue_app(&user.parse().unwrap(), &instance.parse().unwrap(), validity, now, &ledger).unwrap();
    let fingerprint = Fingerprint(issued.sha256);
    let record = records_of_file(&ledger.records().unwrap()).unwrap().remove(&fingerprint).unwrap();
    let ca_pem = std::fs::read_to_string(folder.join("ca.pem")).unwrap();
    (common::tls_client(&ca_pem, &issued.certificate_pem, &issued.key_pem), fingerprint, record)
}
