//! From a backup to a store, while nobody has it open.
//!
//! Nothing is changed before the backup was read to its end and found whole, both are in the present format, and
//! [`Reconcile`] has said what the new store has. That is written to a new file, which then takes the old one's place.
//! Its epoch is above both, so what was handed out by either counts no more, and all its versions are new.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    super::{
        BUCKETS, BackupError, Bucket, Epoch, StoreError, Values, Version,
        backup::read,
        content::{Content, Holdings},
        migration::{migrate, newest},
    },
    Options, file,
    place::{Lock, Place},
};

/// Who knows what the values mean, and so what may not be forgotten: revocations, serial numbers, what is in the outbox.
pub trait Reconcile {
    /// What a bucket has after a restore, of what the store has (nothing, if there is none) and what the backup has. Both
    /// are in the present format. It is asked once for each bucket.
    ///
    /// # Errors
    /// Why they don't go together. Then nothing is restored.
    fn reconcile(&self, bucket: Bucket, store: Holdings<'_>, backup: Holdings<'_>) -> Result<Values, String>;
}

/// A restore that can be made, and isn't yet. Nobody else can have the store while it lives.
#[must_use = "nothing is restored yet"]
pub struct Restore {
    place: Place,
    _lock: Lock,
    options: Options,
    made: String,
    new: Content,
    differences: Vec<Difference>,
}

/// What a restore has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// How many entries the store has.
    pub entries: u64,
    /// Its epoch.
    pub epoch: Epoch,
    /// Its newest version.
    pub version: Version,
}

/// A key that is otherwise after a restore than before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its bucket.
    pub bucket: Bucket,
    /// The key.
    pub key: String,
    /// What becomes of it.
    pub fate: Fate,
}

/// What becomes of a key by a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The store hasn't it, and will have it.
    Back,
    /// It has another value.
    Changed,
    /// The store has it, and won't.
    Gone,
}

/// Makes the store in this file anew, from a backup: [`Restore::plan`] and [`Restore::carry_out`] in one.
///
/// # Errors
/// Those of both.
pub fn restore(
    backup: &Path,
    store: &Path,
    options: &Options,
    reconcile: &dyn Reconcile,
) -> Result<Restored, BackupError> {
    Ok(Restore::plan(backup, store, options, reconcile)?.carry_out()?)
}

impl Restore {
    /// Finds out what the store in this file has after a restore of this backup. Nothing is changed by it.
    ///
    /// # Errors
    /// [`BackupError::Broken`] and [`BackupError::Io`] of the backup; [`BackupError::Refused`] by `reconcile`;
    /// [`StoreError::InUse`] while a gateway has the store; [`StoreError::Damaged`] if the old one can't be read: who moves it
    /// away does without what only it knows.
    pub fn plan(
        backup: &Path,
        store: &Path,
        options: &Options,
        reconcile: &dyn Reconcile,
    ) -> Result<Self, BackupError> {
        let known = newest(options.steps);
        let (mut new, made) = read(backup, known)?;
        migrate(&mut new, options.steps).map_err(|reason| BackupError::Broken { path: backup.into(), reason })?;

        let place = Place::new(store);
        let lock = place.take()?;
        let old = old(&place, options, known)?;
        let mut buckets = BTreeMap::new();
        for bucket in BUCKETS {
            let values = reconcile.reconcile(*bucket, Holdings(&old), Holdings(&new));
            let values = values.map_err(|reason| BackupError::Refused { bucket: bucket.0, reason })?;
            buckets.insert(bucket.0.to_owned(), values);
        }
        let differences = differences(&old, &buckets);
        // Nothing keeps its version: the same number may have been another value in the other's line.
        new.buckets.clear();
        new.version = new.version.max(old.version);
        new.epoch = Epoch(new.epoch.max(old.epoch).0.saturating_add(1));
        new.replace(buckets);
        Ok(Self { place, _lock: lock, options: options.clone(), made, new, differences })
    }

    /// When the backup was made, RFC 3339, as it says.
    pub fn made(&self) -> &str {
        &self.made
    }

    /// What is different by it, in the order of buckets and keys.
    pub fn differences(&self) -> &[Difference] {
        &self.differences
    }

    /// What the store will be.
    pub fn outcome(&self) -> Restored {
        let entries = self.new.buckets.values().map(|held| held.len() as u64).sum();
        Restored { entries, epoch: self.new.epoch, version: self.new.version }
    }

    /// Makes the store anew. If there is none it is made. A crash leaves the old one or the new one.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`]: the store is the old one or the new one, as after a crash.
    pub fn carry_out(self) -> Result<Restored, StoreError> {
        file::make(&self.place, &self.new, self.options.fault.as_ref())?;
        Ok(self.outcome())
    }
}

/// The store that is there, in the present format.
fn old(place: &Place, options: &Options, known: u32) -> Result<Content, StoreError> {
    if !place.file().try_exists()? {
        return Ok(Content { epoch: Epoch(0), ..Content::empty(known) });
    }
    let database = file::open(place.file(), options.fault.as_ref())?;
    let mut old = file::read_all(&database, place.file(), known)?;
    // It was only read.
    let _ = database.close();
    migrate(&mut old, options.steps).map_err(|reason| file::damaged(place.file(), &reason))?;
    Ok(old)
}

fn differences(old: &Content, new: &BTreeMap<String, Values>) -> Vec<Difference> {
    let mut differences = Vec::new();
    for bucket in BUCKETS {
        let (none, was) = (Values::new(), old.values_of(bucket.0));
        let is = new.get(bucket.0).unwrap_or(&none);
        for key in was.keys().chain(is.keys()).collect::<BTreeSet<_>>() {
            let fate = match (was.get(key), is.get(key)) {
                (None, _) => Fate::Back,
                (_, None) => Fate::Gone,
                (Some(was), Some(is)) if was != is => Fate::Changed,
                _ => continue,
            };
            differences.push(Difference { bucket: *bucket, key: key.clone(), fate });
        }
    }
    differences
}
