//! What took rights away while the log could not be written: its records wait in the store, over a crash, too (R21). So
//! does what came of a change whose beginning could just be recorded, and the record of a restore, which nobody could write
//! while no gateway ran.

use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use super::journal::{AdminRecord, Journal, Outcome};
use crate::{
    directory::{Step, Write},
    store::{BUCKETS, Bucket, Expect, Holdings, Store, StoreError, Urgency, Values, Version},
};

/// A record that waits, and how to find out after a crash whether its change was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Waiting {
    record: AdminRecord,
    /// The last key that the change writes; `None` if what came of it is known.
    last: Option<LastKey>,
}

/// A key that a change writes.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct LastKey {
    bucket: String,
    key: String,
    /// What it had before the change.
    before: Option<u64>,
}

/// The last thing that a change writes: when it is there, the change is made.
pub(super) struct LastStep<'a> {
    pub(super) bucket: Bucket,
    pub(super) key: &'a str,
    pub(super) before: Option<Version>,
}

/// The step that keeps the record of a change, before the change itself is made.
pub(super) fn keep(record: &AdminRecord, last: &LastStep<'_>) -> Step {
    let before = last.before.map(|Version(version)| version);
    let waiting = Waiting {
        record: AdminRecord { outcome: Outcome::Done, ..record.clone() },
        last: Some(LastKey { bucket: last.bucket.0.into(), key: last.key.into(), before }),
    };
    waiting.step()
}

/// Keeps the record of what came of a change, now that this is known, in place of the one that waits for it, if one does.
///
/// # Errors
/// The store can't be used.
pub(super) async fn keep_outcome(store: &dyn Store, record: &AdminRecord) -> Result<(), StoreError> {
    let (change, value) = (&record.change, Waiting { record: record.clone(), last: None }.to_value());
    let put = async |expect| store.put(Bucket::OUTBOX, change, &value, expect, Urgency::TakesAway).await.map(drop);
    match put(Expect::Absent).await {
        Err(StoreError::Conflict { found: Some(version), .. }) => put(Expect::Version(version)).await,
        kept => kept,
    }
}

/// The records that wait in what is about to be replaced, and this one of its replacement. What came of their changes is
/// found out now, by the versions that keys have there: they get others.
pub(super) fn replaced(holdings: [Holdings<'_>; 2], replacement: &AdminRecord) -> Values {
    let mut values = Values::new();
    for held in holdings {
        for (change, value) in held.values(Bucket::OUTBOX) {
            let value = match serde_json::from_slice::<Waiting>(&value) {
                Ok(Waiting { record, last: Some(last) }) => {
                    let now = last.bucket().and_then(|bucket| held.version(bucket, &last.key));
                    let outcome = after_crash(&last, now);
                    Waiting { record: AdminRecord { outcome, ..record }, last: None }.to_value().into()
                }
                // It can't be read here, and stays where it is.
                Ok(Waiting { last: None, .. }) | Err(_) => value,
            };
            values.entry(change).or_insert(value);
        }
    }
    let waiting = Waiting { record: replacement.clone(), last: None };
    values.insert(replacement.change.clone(), waiting.to_value().into());
    values
}

/// Writes what waits into the log, and says whether anything waits still.
pub(super) async fn deliver(
    store: &dyn Store,
    journal: &dyn Journal,
    is_after_crash: bool,
) -> Result<bool, StoreError> {
    let mut waits = false;
    for entry in store.list(Bucket::OUTBOX).await? {
        let Ok(waiting) = serde_json::from_slice::<Waiting>(&entry.value) else {
            error!(change = entry.key, "a record that waits for the log can't be read, and stays where it is");
            continue;
        };
        let Waiting { mut record, last } = waiting;
        if let Some(last) = &last {
            let now = match last.bucket() {
                Some(bucket) => store.get(bucket, &last.key).await?.map(|entry| entry.version),
                None => None,
            };
            let found = after_crash(last, now);
            // Of a change by this process the end is known, unless its key is as it was: then an earlier one has not made it, and
            // couldn't keep that.
            let is_unmade = found == Outcome::Failed && last.before.is_some();
            if is_after_crash || is_unmade {
                record.outcome = found;
            }
            if is_after_crash && found == Outcome::Failed {
                info!(change = entry.key, "a change was not made before the crash");
            }
        }
        if journal.write_once(&record).is_err() {
            waits = true;
            if is_after_crash && last.is_some() {
                // What is found now is true of the crash: another change of the same thing may come before the log heals.
                let value = Waiting { record, last: None }.to_value();
                let expect = Expect::Version(entry.version);
                if let Err(error) = store.put(Bucket::OUTBOX, &entry.key, &value, expect, Urgency::TakesAway).await {
                    warn!(%error, change = entry.key, "what came of a change before the crash can't be kept");
                }
            }
            continue;
        }
        match store.delete(Bucket::OUTBOX, &entry.key, entry.version, Urgency::TakesAway).await {
            // Somebody else was faster.
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(waits)
}

impl Waiting {
    fn step(&self) -> Step {
        let write = Write::Put(zeroize::Zeroizing::new(self.to_value()), Expect::Absent);
        Step { bucket: Bucket::OUTBOX, key: self.record.change.clone(), write }
    }

    fn to_value(&self) -> Vec<u8> {
        // Texts and numbers: nothing of it can fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl LastKey {
    fn bucket(&self) -> Option<Bucket> {
        BUCKETS.iter().find(|known| known.0 == self.bucket).copied()
    }
}

/// What came of a change that nobody has heard the end of, by what its last key has now.
fn after_crash(last: &LastKey, now: Option<Version>) -> Outcome {
    // Nobody was told that it was made, if it wasn't.
    if now.map(|Version(version)| version) == last.before { Outcome::Failed } else { Outcome::Recovered }
}
