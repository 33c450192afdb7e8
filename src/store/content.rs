//! All that a store holds, in memory: what is migrated, backed up and restored as a whole.

use std::{collections::BTreeMap, sync::Arc};

use super::{BUCKETS, Bucket, Entry, Epoch, Version};

/// The values of a bucket, by their keys.
pub type Values = BTreeMap<String, Arc<[u8]>>;

/// All that a store or a backup holds, to look at.
#[derive(Debug, Clone, Copy)]
pub struct Holdings<'a>(pub(super) &'a Content);

impl Holdings<'_> {
    /// The values of a bucket.
    pub fn values(self, bucket: Bucket) -> Values {
        self.0.values_of(bucket.0)
    }

    /// The version of a key, if it is there.
    pub fn version(self, bucket: Bucket, key: &str) -> Option<Version> {
        Some(self.0.buckets.get(bucket.0)?.get(key)?.version)
    }
}

/// All that a store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Content {
    /// Which format its values have.
    pub(super) format: u32,
    /// Which epoch it is.
    pub(super) epoch: Epoch,
    /// The newest version: no entry has a newer one.
    pub(super) version: Version,
    /// By the names of the buckets, which an older format may have others of.
    pub(super) buckets: BTreeMap<String, BTreeMap<String, Held>>,
}

/// A value and its version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) version: Version,
    pub(super) value: Arc<[u8]>,
}

impl Held {
    /// As what it is under this key.
    pub(super) fn entry(&self, key: &str) -> Entry {
        Entry { key: key.into(), value: Arc::clone(&self.value), version: self.version }
    }
}

impl Content {
    /// A store that nobody has written to.
    pub(super) fn empty(format: u32) -> Self {
        Self { format, epoch: Epoch(1), version: Version(0), buckets: BTreeMap::new() }
    }

    /// Puts other values in the place of all. What is the same as before keeps its version.
    pub(super) fn replace(&mut self, buckets: BTreeMap<String, Values>) {
        let mut before = std::mem::take(&mut self.buckets);
        for (bucket, values) in buckets {
            let mut held = before.remove(&bucket).unwrap_or_default();
            let held = values.into_iter().map(|(key, value)| {
                let kept = held.remove(&key).filter(|held| held.value == value);
                let held = kept.unwrap_or_else(|| Held { version: self.next(), value });
                (key, held)
            });
            let held = held.collect();
            self.buckets.insert(bucket, held);
        }
    }

    /// Its values, without their versions.
    pub(super) fn values(&self) -> BTreeMap<String, Values> {
        self.buckets.keys().map(|bucket| (bucket.clone(), self.values_of(bucket))).collect()
    }

    /// Those of one bucket.
    pub(super) fn values_of(&self, bucket: &str) -> Values {
        let held = self.buckets.get(bucket).into_iter().flatten();
        held.map(|(key, held)| (key.clone(), Arc::clone(&held.value))).collect()
    }

    /// Its entries.
    pub(super) fn entries_of(&self, bucket: &str) -> Vec<Entry> {
        let held = self.buckets.get(bucket).into_iter().flatten();
        held.map(|(key, held)| held.entry(key)).collect()
    }

    /// A bucket that isn't one of [`BUCKETS`].
    pub(super) fn foreign_bucket(&self) -> Option<&str> {
        let is_ours = |name: &str| BUCKETS.iter().any(|bucket| bucket.0 == name);
        self.buckets.keys().map(String::as_str).find(|name| !is_ours(name))
    }

    fn next(&mut self) -> Version {
        self.version.0 += 1;
        self.version
    }
}
