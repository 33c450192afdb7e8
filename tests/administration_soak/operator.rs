//! The administrator: random changes of everything, and the certificates that apps need.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use callgate::{
    admin::{Actor, Administration, Done, Refused, State},
    directory::{Cascade, Change, DeviceRecord, GroupRecord, Of, UserSettings},
    hub::Effect,
    model::Group,
    trust::{Ca, CertificateRecord, Fingerprint, Ledger, Validity, records_of_file},
};
use rustls::ClientConfig;
use time::OffsetDateTime;
use tokio::{sync::watch, task::spawn_blocking, time::sleep};

use crate::{Stage, common};

pub const USERS: [&str; 8] = ["user0", "user1", "user2", "user3", "user4", "user5", "user6", "user7"];
/// The phones of the recorded call.
pub const DEVICES: [(&str, &str); 2] = [("1001", "udp:127.0.0.1:16010"), ("1002", "udp:127.0.0.1:16020")];
const ACTOR: Actor = Actor::Local(0);
/// The group through which some users see some devices, or all.
const FLOOR: &str = "floor";
/// How long the administrator rests after each change.
const REST: Duration = Duration::from_millis(20);

pub struct Operator {
    administration: Arc<Administration>,
    ca: Arc<Ca>,
    folder: PathBuf,
    ca_pem: String,
    random: Mutex<u64>,
    is_at_rest: AtomicBool,
    /// Certificates that were issued.
    issued: AtomicU64,
    /// Of them, those that were added.
    added: AtomicU64,
    changes: AtomicU64,
    refused: AtomicU64,
    /// Sessions that were told of a change of the floor.
    told_of_floor: AtomicU64,
    /// Sessions that were closed since their user was locked.
    locked_out: AtomicU64,
}

/// What a user is given.
#[derive(Clone, Copy)]
struct Rights {
    /// So many of the three groups.
    groups: usize,
    /// Its devices, by a pattern.
    by_pattern: bool,
    /// Those of the floor.
    by_floor: bool,
    locked: bool,
}

/// Whatever the floor has.
const ALL: Rights = Rights { groups: 3, by_pattern: true, by_floor: true, locked: false };

impl Operator {
    pub fn new(administration: Arc<Administration>, folder: &Path) -> Self {
        Self {
            administration,
            ca: Arc::new(Ca::load(&folder.join("ca.pem"), &folder.join("ca.key")).unwrap()),
            folder: folder.into(),
            ca_pem: fs::read_to_string(folder.join("ca.pem")).unwrap(),
            random: Mutex::new(1),
            is_at_rest: AtomicBool::new(true),
            issued: AtomicU64::new(0),
            added: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            told_of_floor: AtomicU64::new(0),
            locked_out: AtomicU64::new(0),
        }
    }

    /// Changes something again and again, in the stage that is for it.
    pub async fn work(&self, mut stage: watch::Receiver<Stage>) {
        loop {
            self.is_at_rest.store(true, Ordering::Relaxed);
            if *stage.wait_for(|stage| matches!(stage, Stage::Run | Stage::End)).await.unwrap() == Stage::End {
                return;
            }
            self.is_at_rest.store(false, Ordering::Relaxed);
            while *stage.borrow() == Stage::Run {
                self.change().await;
                sleep(REST).await;
            }
        }
    }

    pub fn is_at_rest(&self) -> bool {
        self.is_at_rest.load(Ordering::Relaxed)
    }

    /// Changes that were made.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Sessions that were told of a change of the floor, and those that a lock has closed.
    pub fn reached(&self) -> (u64, u64) {
        (self.told_of_floor.load(Ordering::Relaxed), self.locked_out.load(Ordering::Relaxed))
    }

    /// All that was acknowledged, certificates that were added included.
    pub fn acknowledged(&self) -> u64 {
        self.changes() + self.added.load(Ordering::Relaxed)
    }

    pub fn state(&self) -> Arc<State> {
        self.administration.state()
    }

    /// Everybody may do everything.
    pub async fn allow_all(&self) {
        for (device, _) in DEVICES {
            self.make(&self.device(device, false), Cascade::All).await;
        }
        self.make(&floor(Some("100?"), None), Cascade::All).await;
        for user in USERS {
            self.make(&put(user, ALL), Cascade::All).await;
        }
    }

    /// All users go, with their certificates.
    pub async fn remove_all(&self) {
        for user in USERS {
            self.make(&Change::RemoveUser(user.parse().unwrap()), Cascade::All).await;
        }
    }

    /// A new certificate of an instance, which the ledger knows; `None` if there is no such user now.
    pub async fn certificate(&self, user: &str, instance: &str) -> Option<Arc<ClientConfig>> {
        let ledger = self.folder.join(format!("issued-{}.jsonl", self.issued.fetch_add(1, Ordering::Relaxed)));
        let (ca, ca_pem) = (Arc::clone(&self.ca), self.ca_pem.clone());
        let (user, instance) = (user.to_owned(), instance.to_owned());
        let issue = move || issue(&ca, &ca_pem, &ledger, &user, &instance);
        let (config, fingerprint, record) = spawn_blocking(issue).await.unwrap();
        match self.administration.add_certificate(&ACTOR, fingerprint, &record).await {
            Ok(_) => {
                self.added.fetch_add(1, Ordering::Relaxed);
                Some(config)
            }
            Err(Refused::Directory(_)) => None,
            Err(refused) => panic!("{refused:?}"),
        }
    }

    async fn change(&self) {
        let user = USERS[self.below(USERS.len())];
        let (device, _) = DEVICES[self.below(DEVICES.len())];
        let cascade = if self.below(2) == 0 { Cascade::All } else { Cascade::Nothing };
        let by_floor = self.below(2) == 0;
        match self.below(32) {
            // Mostly back to where all is allowed.
            0..=8 => {
                self.make(&put(user, Rights { by_floor, ..ALL }), cascade).await;
            }
            // Also where the floor has none.
            9..=12 => {
                self.make(&put(user, Rights { by_pattern: false, ..ALL }), cascade).await;
            }
            13..=15 => {
                let (groups, by_pattern) = (self.below(3), self.below(4) > 0);
                self.make(&put(user, Rights { groups, by_pattern, by_floor, locked: false }), cascade).await;
            }
            16 | 17 => {
                let closed = self.make(&put(user, Rights { by_floor, locked: true, ..ALL }), cascade).await.closed;
                self.locked_out.fetch_add(closed as u64, Ordering::Relaxed);
            }
            18 | 19 => {
                self.make(&self.device(device, true), cascade).await;
            }
            20 | 21 => {
                self.make(&self.device(device, false), cascade).await;
            }
            22..=24 => {
                let (pattern, device) =
                    (Some("100?").filter(|_| self.below(2) == 0), Some(device).filter(|_| self.below(2) == 0));
                let told = self.make(&floor(pattern, device), cascade).await.changed;
                self.told_of_floor.fetch_add(told as u64, Ordering::Relaxed);
            }
            // It is refused while somebody is in it, unless all of them leave it.
            25 => {
                let told = self.make(&Change::RemoveGroup(FLOOR.parse().unwrap()), cascade).await.changed;
                self.told_of_floor.fetch_add(told as u64, Ordering::Relaxed);
                self.make(&floor(Some("100?"), None), cascade).await;
            }
            // Each of its apps needs another certificate then.
            26 => {
                self.make(&Change::RemoveUser(user.parse().unwrap()), cascade).await;
                self.make(&put(user, ALL), cascade).await;
            }
            27 | 28 => {
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

    /// What it did to sessions: nothing, if it was refused.
    async fn make(&self, change: &Change, cascade: Cascade) -> Effect {
        let made = self.administration.change(&ACTOR, change, Of::Latest, cascade).await;
        self.count(&made);
        made.map(|Done { effect, .. }| effect).unwrap_or_default()
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

fn put(user: &str, rights: Rights) -> Change {
    let Rights { groups, by_pattern, by_floor, locked } = rights;
    let all = [Group::CtiEnabled, Group::SecureConnection, Group::SrtpKeyMaterial];
    let settings = UserSettings {
        groups: all.into_iter().take(groups).collect(),
        own_groups: by_floor.then(|| FLOOR.parse().unwrap()).into_iter().collect(),
        patterns: by_pattern.then(|| "10*".parse().unwrap()).into_iter().collect(),
        locked,
        ..UserSettings::default()
    };
    Change::PutUser(user.parse().unwrap(), settings)
}

fn floor(pattern: Option<&str>, device: Option<&str>) -> Change {
    let devices = device.map(|device| device.parse().unwrap()).into_iter().collect();
    let patterns = pattern.map(|pattern| pattern.parse().unwrap()).into_iter().collect();
    Change::PutGroup(FLOOR.parse().unwrap(), GroupRecord { devices, patterns, ..GroupRecord::default() })
}

fn issue(
    ca: &Ca,
    ca_pem: &str,
    ledger: &Path,
    user: &str,
    instance: &str,
) -> (Arc<ClientConfig>, Fingerprint, CertificateRecord) {
    fs::write(ledger, "").unwrap();
    let file = Ledger::open(ledger).unwrap();
    let now = OffsetDateTime::now_utc();
    let validity = Validity::days(now, 30).unwrap();
    let issued = ca.issue_app(&user.parse().unwrap(), &instance.parse().unwrap(), validity, now, &file).unwrap();
    let fingerprint = Fingerprint(issued.sha256);
    let record = records_of_file(&file.records().unwrap()).unwrap().remove(&fingerprint).unwrap();
    fs::remove_file(ledger).unwrap();
    (common::tls_client(ca_pem, &issued.certificate_pem, &issued.key_pem), fingerprint, record)
}
