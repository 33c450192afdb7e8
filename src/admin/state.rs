//! What the store says of users, groups, devices, certificates and accounts, as one snapshot.

use std::{collections::BTreeSet, sync::Arc};

use tracing::{error, warn};

use super::{Refused, accounts::Accounts, owed::Owed};
use crate::{
    directory::{Directory, Records, Resolver, Unreadable},
    model::DeviceName,
    store::{Bucket, Entry, Store, StoreError},
    trust::{CertificateRecord, CertificateRecords, Fingerprint, LedgerSnapshot},
};

/// One snapshot: as administrators wrote it, and what came of it. It never changes.
#[derive(Debug, Default)]
pub struct State {
    /// Users, groups and devices as they were written.
    pub records: Records,
    /// Certificates as they were written.
    pub certificates: Arc<CertificateRecords>,
    /// What sessions are judged by.
    pub directory: Arc<Directory>,
    /// Which certificates count.
    pub ledger: Arc<LedgerSnapshot>,
    /// Who may administer.
    pub accounts: Arc<Accounts>,
}

/// Why the store's state can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The store can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A value in it can't be read.
    #[error(
        "the store has a value that this gateway can't read: {0}: restore a backup, or start the gateway that wrote it"
    )]
    Value(#[from] Unreadable),
    /// The store is empty, and the config's users and devices get their rights only with a record (R21).
    #[error("the store is empty, and the config's users and devices can't be put there: {0}")]
    Seed(Refused),
}

/// The state while it is being changed.
#[derive(Debug, Default)]
pub(super) struct Working {
    records: Records,
    certificates: Arc<CertificateRecords>,
    resolver: Resolver,
    directory: Arc<Directory>,
    ledger: Arc<LedgerSnapshot>,
    accounts: Arc<Accounts>,
    /// What is not in the directory yet.
    stale: Stale,
    /// What is different from the store.
    pub(super) owed: Owed,
    /// Whether this is all that the store has, but for what it is owed.
    pub(super) is_certain: bool,
}

#[derive(Debug, Default)]
struct Stale {
    directory: bool,
    ledger: StaleLedger,
}

/// What the ledger doesn't have yet.
#[derive(Debug, PartialEq, Eq)]
enum StaleLedger {
    /// These certificates, if any.
    Some(BTreeSet<Fingerprint>),
    All,
}

impl Default for StaleLedger {
    fn default() -> Self {
        Self::Some(BTreeSet::new())
    }
}

impl StaleLedger {
    fn add(&mut self, fingerprint: Fingerprint) {
        if let Self::Some(certificates) = self {
            certificates.insert(fingerprint);
        }
    }
}

impl Working {
    /// Reads all of it.
    pub(super) async fn read(store: &dyn Store, made_up: Arc<BTreeSet<DeviceName>>) -> Result<Self, OpenError> {
        let accounts = Arc::new(Accounts::at(store.epoch().await?));
        let records = Records { made_up, ..Records::default() };
        let mut working = Self { records, accounts, is_certain: true, ..Self::default() };
        for bucket in Records::BUCKETS.into_iter().chain([Bucket::CERTIFICATES, Bucket::ACCOUNTS, Bucket::META]) {
            for entry in store.list(bucket).await? {
                working.take(bucket, &entry.key, Some(&entry))?;
            }
        }
        working.stale = Stale { directory: true, ledger: StaleLedger::All };
        Ok(working)
    }

    /// Takes what a key has now; `None` for one that is gone.
    ///
    /// # Errors
    /// It can't be read.
    pub(super) fn take(&mut self, bucket: Bucket, key: &str, entry: Option<&Entry>) -> Result<(), Unreadable> {
        if bucket == Bucket::OUTBOX {
            return Ok(());
        }
        if bucket == Bucket::ACCOUNTS || bucket == Bucket::META {
            return Arc::make_mut(&mut self.accounts).take(bucket, key, entry);
        }
        if bucket != Bucket::CERTIFICATES {
            self.stale.directory = true;
            return self.records.take(bucket, key, entry);
        }
        let unreadable = |reason: String| Unreadable { bucket: bucket.0, key: key.into(), reason };
        let certificates = Arc::make_mut(&mut self.certificates);
        match entry {
            Some(entry) => {
                let (fingerprint, record) = CertificateRecord::from_entry(entry).map_err(unreadable)?;
                certificates.insert(fingerprint, (entry.version, Arc::new(record)));
                self.stale.ledger.add(fingerprint);
            }
            None => {
                let fingerprint = Fingerprint::from_hex(key).ok_or_else(|| unreadable("no SHA-256 in hex".into()))?;
                certificates.remove(&fingerprint);
                self.stale.ledger.add(fingerprint);
            }
        }
        Ok(())
    }

    /// The same for what was just written.
    pub(super) fn take_or_tell(&mut self, bucket: Bucket, key: &str, entry: Option<&Entry>) {
        if let Err(error) = self.take(bucket, key, entry) {
            error!(%error, "what was just written can't be read");
        }
    }

    /// The snapshot of what was taken. Where records disagree, that is logged.
    pub(super) fn state(&mut self) -> State {
        if self.stale.directory {
            let (directory, disagreements) = self.resolver.directory(&self.records);
            self.directory = Arc::new(directory);
            for disagreement in disagreements {
                warn!(%disagreement, "records disagree");
            }
        }
        match std::mem::take(&mut self.stale).ledger {
            StaleLedger::All => self.ledger = Arc::new(LedgerSnapshot::of_records(&self.certificates)),
            StaleLedger::Some(changed) if !changed.is_empty() => {
                self.ledger = Arc::new(self.ledger.changed_to(&self.certificates, &changed));
            }
            StaleLedger::Some(_) => {}
        }
        State {
            records: self.records.clone(),
            certificates: Arc::clone(&self.certificates),
            directory: Arc::clone(&self.directory),
            ledger: Arc::clone(&self.ledger),
            accounts: Arc::clone(&self.accounts),
        }
    }

    /// Whether what was taken is anything that sessions of apps are judged by.
    pub(super) fn changes_rights(&self) -> bool {
        self.stale.directory || self.stale.ledger != StaleLedger::default()
    }

    /// How many things there are that a change may have to look at.
    pub(super) fn size(&self) -> usize {
        let Records { users, groups, devices, made_up } = &self.records;
        users.len() + groups.len() + devices.len() + made_up.len() + self.certificates.len()
    }

    pub(super) fn records(&self) -> &Records {
        &self.records
    }

    pub(super) fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    pub(super) fn certificates(&self) -> &CertificateRecords {
        &self.certificates
    }

    /// After a write of which nobody knows what came: what the store has counts, and what it is owed. Whether it could be
    /// read; if not, what was known counts on.
    pub(super) async fn read_again(&mut self, store: &dyn Store) -> bool {
        let mut fresh = match Self::read(store, Arc::clone(&self.records.made_up)).await {
            Ok(fresh) => fresh,
            Err(error) => {
                error!(%error, "the store can't be read again: what was known counts on");
                return false;
            }
        };
        for (bucket, key, entry) in self.owed.entries() {
            fresh.take_or_tell(bucket, key, entry.as_ref());
        }
        Arc::make_mut(&mut fresh.accounts).continue_after(&self.accounts);
        self.records = fresh.records;
        self.certificates = fresh.certificates;
        self.accounts = fresh.accounts;
        self.stale = Stale { directory: true, ledger: StaleLedger::All };
        true
    }
}
