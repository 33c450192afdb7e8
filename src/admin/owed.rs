//! What the store hasn't taken yet of changes that are in effect already, because they only take rights away (R21).
//!
//! It is in memory alone: none of these changes was acknowledged, and whoever stops the gateway before the store takes them
//! gets back what was taken. Each key waits once, with what it is to be in the end.

use std::collections::VecDeque;

use zeroize::Zeroizing;

use super::journal::AdminRecord;
use crate::{
    directory::{Step, Write},
    store::{Bucket, Entry, Expect, Store, StoreError, Urgency, Version},
};

/// The most records that wait (R41a). What is owed itself has the bounds of what can be taken away; changes of it can be made again
/// and again.
const MAX_RECORDS: usize = 10_000;

/// What the store is owed, in the order in which it gets it.
#[derive(Debug, Default)]
pub(super) struct Owed {
    writes: VecDeque<OwedWrite>,
    /// The records of the changes that are done when all of it is written.
    records: VecDeque<AdminRecord>,
    /// How many more there were, before the last of them.
    left_out: u64,
    /// How many writes were ever owed.
    count: u64,
    /// What the store said last.
    why: Option<StoreError>,
}

/// One key that is to be written.
struct OwedWrite {
    bucket: Bucket,
    key: String,
    /// What the store has of it.
    found: Option<Version>,
    /// What it is to be; `None`: it goes.
    value: Option<Zeroizing<Vec<u8>>>,
    /// Which state it is until the store says it. No store gets so far.
    version: Version,
}

/// What became of the first write.
pub(super) enum Paid {
    /// The store has it. So the key is this now.
    Taken(Bucket, String, Option<Entry>),
    /// Nothing is owed.
    Nothing,
    /// The store doesn't take it yet.
    NotYet,
}

impl Owed {
    /// What the store said when it didn't take it; `None` if nothing is owed.
    pub(super) fn why(&self) -> Option<&StoreError> {
        self.why.as_ref().filter(|_| !self.writes.is_empty())
    }

    /// Whether nothing is owed, and all that was is on record.
    pub(super) fn is_settled(&self) -> bool {
        self.writes.is_empty() && self.records.is_empty()
    }

    /// The store doesn't take this step. Returns what the key is from now on.
    pub(super) fn owe(&mut self, Step { bucket, key, write }: Step, why: StoreError) -> Option<Entry> {
        self.why = Some(why);
        self.count = self.count.saturating_add(1);
        let (found, value) = match write {
            Write::Delete(version) => (Some(version), None),
            Write::Put(value, Expect::Version(version)) => (Some(version), Some(value)),
            Write::Put(value, Expect::Absent) => (None, Some(value)),
        };
        let version = Version(u64::MAX.saturating_sub(self.count));
        let before = self.writes.iter().position(|owed| owed.bucket == bucket && owed.key == key);
        let place = before.unwrap_or(self.writes.len());
        // What the step expects is what it would find here; what the store has is older.
        let found = before.and_then(|place| self.writes.remove(place)).map_or(found, |owed| owed.found);
        let owed = OwedWrite { bucket, key, found, value, version };
        let entry = owed.entry();
        if owed.found.is_some() || owed.value.is_some() {
            self.writes.insert(place, owed);
        }
        entry
    }

    /// Puts a record on record when all that is owed now is written. Of too many the last one tells how many others there were.
    pub(super) fn then_record(&mut self, record: AdminRecord) {
        if self.records.len() >= MAX_RECORDS {
            self.records.pop_back();
            self.left_out = self.left_out.saturating_add(1);
        }
        self.records.push_back(record);
    }

    /// The next record whose change is done.
    pub(super) fn next_record(&mut self) -> Option<AdminRecord> {
        if !self.writes.is_empty() {
            return None;
        }
        let mut record = self.records.pop_front()?;
        let left_out = if self.records.is_empty() { std::mem::take(&mut self.left_out) } else { 0 };
        if left_out > 0 {
            // In front: the log cuts long values.
            let separator = if record.detail.is_empty() { "" } else { "; " };
            record.detail = format!("{left_out} changes just before it are done, too{separator}{}", record.detail);
        }
        Some(record)
    }

    /// What the store has of a key that is written later.
    pub(super) fn found(&self, bucket: Bucket, key: &str) -> Option<Option<Version>> {
        self.writes.iter().find(|owed| owed.bucket == bucket && owed.key == key).map(|owed| owed.found)
    }

    /// What is different from what the store says.
    pub(super) fn entries(&self) -> impl Iterator<Item = (Bucket, &str, Option<Entry>)> {
        self.writes.iter().map(|owed| (owed.bucket, owed.key.as_str(), owed.entry()))
    }

    /// Tries the first write. Given up at any moment, it can be tried again.
    pub(super) async fn pay_one(&mut self, store: &dyn Store) -> Paid {
        let Some(owed) = self.writes.front() else { return Paid::Nothing };
        let paid = owed.write(store).await;
        match paid {
            Ok(entry) => match self.writes.pop_front() {
                Some(owed) => Paid::Taken(owed.bucket, owed.key, entry),
                None => Paid::Nothing,
            },
            Err(error) => {
                self.why = Some(error);
                Paid::NotYet
            }
        }
    }
}

impl OwedWrite {
    /// Writes it, and returns what the store has then.
    async fn write(&self, store: &dyn Store) -> Result<Option<Entry>, StoreError> {
        match self.write_over(store, self.found).await {
            Err(StoreError::Conflict { .. }) => {}
            written => return written,
        }
        // An earlier try was taken after all, or somebody else has changed it.
        let now = store.get(self.bucket, &self.key).await?;
        let is_written = now.as_ref().map(|now| &*now.value) == self.value.as_ref().map(|value| value.as_slice());
        let is_gone = now.is_none() && self.found.is_some();
        if is_written || is_gone {
            return Ok(now);
        }
        // Whatever they gave: what takes away counts.
        self.write_over(store, now.map(|now| now.version)).await
    }

    async fn write_over(&self, store: &dyn Store, found: Option<Version>) -> Result<Option<Entry>, StoreError> {
        let (bucket, key) = (self.bucket, &self.key);
        match (&self.value, found) {
            (None, None) => Ok(None),
            (None, Some(version)) => store.delete(bucket, key, version, Urgency::TakesAway).await.map(|_| None),
            (Some(value), found) => {
                let expect = found.map_or(Expect::Absent, Expect::Version);
                let version = store.put(bucket, key, value, expect, Urgency::TakesAway).await?;
                Ok(Some(Entry { key: key.clone(), value: value.as_slice().into(), version }))
            }
        }
    }

    fn entry(&self) -> Option<Entry> {
        let value = self.value.as_ref()?;
        Some(Entry { key: self.key.clone(), value: value.as_slice().into(), version: self.version })
    }
}

/// Without the value, which may be nobody's business.
impl std::fmt::Debug for OwedWrite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bucket, key, found, value, .. } = self;
        let bytes = value.as_ref().map(|value| value.len());
        f.debug_struct("OwedWrite")
            .field("bucket", bucket)
            .field("key", key)
            .field("found", found)
            .field("bytes", &bytes)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Outcome;

    #[test]
    fn r41a_records_that_wait_are_bounded_and_those_left_out_are_told() {
        let record = |n: usize| AdminRecord {
            change: n.to_string(),
            actor: "gateway".into(),
            verb: "revoke".into(),
            kind: "certificate".into(),
            name: String::new(),
            detail: if n < MAX_RECORDS { String::new() } else { "lost".into() },
            outcome: Outcome::Done,
        };
        let mut owed = Owed::default();
        (0..MAX_RECORDS + 7).for_each(|n| owed.then_record(record(n)));
        let told: Vec<AdminRecord> = std::iter::from_fn(|| owed.next_record()).collect();
        assert!(owed.is_settled() && told.len() == MAX_RECORDS);
        assert!(told.iter().rev().skip(1).all(|record| record.detail.is_empty()));
        let last = told.last().unwrap();
        assert_eq!(last.change, (MAX_RECORDS + 6).to_string());
        assert_eq!(last.detail, "7 changes just before it are done, too; lost", "where the log cuts nothing off");
        owed.then_record(record(0));
        assert_eq!(owed.next_record(), Some(record(0)), "and once");
    }
}
