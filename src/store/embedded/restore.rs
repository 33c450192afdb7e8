//! From a backup to a store, while nobody has it open.
//!
//! Nothing is changed before the backup was read to its end and found whole, both are in the present format, and
//! [`Reconcile`] has said what the new store has. That is written to a new file, which then takes the old one's place.
//! Its epoch is above both, so what was handed out by either counts no more, and all its versions are new.

use std::{collections::BTreeMap, path::Path};

use super::{
    super::{
        BUCKETS, BackupError, Bucket, Epoch, StoreError, Values, Version,
        backup::read,
        content::Content,
        migration::{migrate, newest},
    },
    Options, file,
    place::Place,
};

/// Who knows what the values mean, and so what may not be forgotten: revocations, serial numbers, what is in the outbox.
pub trait Reconcile {
    /// What a bucket has after a restore, of what the store has (nothing, if there is none) and what the backup has. Both
    /// are in the present format. It is asked once for each bucket.
    ///
    /// # Errors
    /// Why they don't go together. Then nothing is restored.
    fn reconcile(&self, bucket: Bucket, store: Values, backup: Values) -> Result<Values, String>;
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

/// Makes the store in this file anew, from a backup. If there is none it is made. A crash leaves the old one or the new one.
///
/// # Errors
/// [`BackupError::Broken`] and [`BackupError::Io`] of the backup; [`BackupError::Refused`] by `reconcile`;
/// [`StoreError::InUse`] while a gateway has the store; [`StoreError::Damaged`] if the old one can't be read: who moves it away
/// does without what only it knows. Nothing was changed then. After [`StoreError::Unavailable`] the store is the old one or
/// the new one, as after a crash.
pub fn restore(
    backup: &Path,
    store: &Path,
    options: &Options,
    reconcile: &dyn Reconcile,
) -> Result<Restored, BackupError> {
    let known = newest(options.steps);
    let mut new = read(backup, known)?;
    migrate(&mut new, options.steps).map_err(|reason| BackupError::Broken { path: backup.into(), reason })?;

    let place = Place::new(store);
    let _lock = place.take()?;
    let old = old(&place, options, known)?;
    let mut buckets = BTreeMap::new();
    for bucket in BUCKETS {
        let (was, backed_up) = (old.values_of(bucket.0), new.values_of(bucket.0));
        let values = reconcile.reconcile(*bucket, was, backed_up);
        let values = values.map_err(|reason| BackupError::Refused { bucket: bucket.0, reason })?;
        buckets.insert(bucket.0.to_owned(), values);
    }
    // Nothing keeps its version: the same number may have been another value in the other's line.
    new.buckets.clear();
    new.version = new.version.max(old.version);
    new.epoch = Epoch(new.epoch.max(old.epoch).0.saturating_add(1));
    new.replace(buckets);
    file::make(&place, &new, options.fault.as_ref())?;
    let entries = new.buckets.values().map(|held| held.len() as u64).sum();
    Ok(Restored { entries, epoch: new.epoch, version: new.version })
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
