//! What took rights away while the log could not be written: its records wait in the store, over a crash, too (R21).

use serde::{Deserialize, Serialize};
use tracing::{error, info};

use super::{
    journal::{AdminRecord, Journal, Outcome},
    refused::Refused,
};
use crate::store::{Bucket, Expect, Store, StoreError, Urgency, Version};

/// A record that waits, and how to find out after a crash whether its change was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Waiting {
    record: AdminRecord,
    /// The last key that the change writes.
    bucket: String,
    key: String,
    /// What that key had before it.
    before: Option<u64>,
}

/// The last thing that a change writes: when it is there, the change is made.
pub(super) struct LastStep<'a> {
    pub(super) bucket: Bucket,
    pub(super) key: &'a str,
    pub(super) before: Option<Version>,
}

/// Keeps the record of a change that is about to be made.
///
/// # Errors
/// The store doesn't take it.
pub(super) async fn keep(store: &dyn Store, record: &AdminRecord, last: &LastStep<'_>) -> Result<(), Refused> {
    let waiting = Waiting {
        record: AdminRecord { outcome: Outcome::Done, ..record.clone() },
        bucket: last.bucket.0.into(),
        key: last.key.into(),
        before: last.before.map(|Version(version)| version),
    };
    // Texts and numbers: nothing of it can fail.
    let value = serde_json::to_vec(&waiting).unwrap_or_default();
    store.put(Bucket::OUTBOX, &record.change, &value, Expect::Absent, Urgency::TakesAway).await?;
    Ok(())
}

/// Writes what waits into the log, and says whether anything waits still.
pub(super) async fn deliver(store: &dyn Store, journal: &dyn Journal, after_crash: bool) -> Result<bool, StoreError> {
    let mut waits = false;
    for entry in store.list(Bucket::OUTBOX).await? {
        let Ok(waiting) = serde_json::from_slice::<Waiting>(&entry.value) else {
            error!(change = entry.key, "a record that waits for the log can't be read, and stays where it is");
            continue;
        };
        let mut record = waiting.record;
        if after_crash {
            record.outcome = Outcome::Recovered;
            if !is_made(store, &waiting.bucket, &waiting.key, waiting.before).await? {
                // Nobody was told that it was.
                info!(change = entry.key, "a change was not made before the crash");
                record.outcome = Outcome::Failed;
            }
        }
        if journal.write_once(&record).is_err() {
            waits = true;
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

async fn is_made(store: &dyn Store, bucket: &str, key: &str, before: Option<u64>) -> Result<bool, StoreError> {
    let Some(bucket) = crate::store::BUCKETS.iter().find(|known| known.0 == bucket) else { return Ok(false) };
    let now = store.get(*bucket, key).await?.map(|entry| entry.version.0);
    Ok(now != before)
}
