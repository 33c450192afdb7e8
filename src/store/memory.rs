//! A store that is gone with its process: for tests, `demo` and `decrypt`.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Answer, Bucket, Change, Entry, Epoch, Export, KeyWrite, Store, StoreError, Urgency, Version, Watch, backup,
    check_expected, check_lengths,
    content::{Content, Held},
    migration::{self, STEPS},
    watch::{Snapshot, Watchers},
};

/// A store in memory. Its clones are the same store.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    version: u64,
    held: BTreeMap<(Bucket, String), Held>,
    watchers: Watchers,
}

impl Inner {
    fn make(&mut self, write: &KeyWrite<'_>) -> Version {
        let (bucket, key) = (write.bucket, write.key.to_owned());
        self.version += 1;
        let version = Version(self.version);
        let change = match write.value() {
            Some(value) => {
                let value: Arc<[u8]> = value.into();
                self.held.insert((bucket, key.clone()), Held { version, value: Arc::clone(&value) });
                Change::Put(Entry { key, value, version })
            }
            None => {
                self.held.remove(&(bucket, key.clone()));
                Change::Delete { key, version }
            }
        };
        self.watchers.tell(bucket, &change);
        version
    }
}

impl Memory {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them, or none.
    fn write_all(&self, writes: &[KeyWrite<'_>]) -> Result<Vec<Version>, StoreError> {
        for write in writes {
            check_lengths(write.key, write.value().unwrap_or_default())?;
        }
        let mut inner = self.inner();
        let expected = writes.iter().map(|write| (write.bucket, write.key, write.expect()));
        check_expected(expected, |bucket, key| {
            Ok::<_, StoreError>(inner.held.get(&(bucket, key.to_owned())).map(|held| held.version))
        })?;
        Ok(writes.iter().map(|write| inner.make(write)).collect())
    }

    fn snapshot(&self, bucket: Bucket) -> Snapshot {
        let inner = self.inner();
        let held = inner.held.range((bucket, String::new())..).take_while(|((other, _), _)| *other == bucket);
        let entries = held.map(|((_, key), held)| held.entry(key));
        (Version(inner.version), entries.collect())
    }
}

impl Memory {
    fn content(&self) -> Content {
        let inner = self.inner();
        let mut content = Content::empty(migration::newest(STEPS));
        content.version = Version(inner.version);
        for ((bucket, key), held) in &inner.held {
            content.buckets.entry(bucket.0.into()).or_default().insert(key.clone(), held.clone());
        }
        content
    }
}

impl Store for Memory {
    fn get<'a>(&'a self, bucket: Bucket, key: &'a str) -> Answer<'a, Option<Entry>> {
        Box::pin(async move {
            check_lengths(key, &[])?;
            Ok(self.inner().held.get(&(bucket, key.to_owned())).map(|held| held.entry(key)))
        })
    }

    fn write<'a>(&'a self, writes: &'a [KeyWrite<'a>], _urgency: Urgency) -> Answer<'a, Vec<Version>> {
        Box::pin(async move { self.write_all(writes) })
    }

    fn list(&self, bucket: Bucket) -> Answer<'_, Vec<Entry>> {
        Box::pin(async move { Ok(self.snapshot(bucket).1) })
    }

    fn watch(&self, bucket: Bucket) -> Answer<'_, Watch> {
        Box::pin(async move {
            // It doesn't keep the store: the watch ends with the last who has it.
            let store = Arc::downgrade(&self.0);
            let snapshot = move || {
                let store = store.upgrade().map(Self);
                async move { store.map(|store| store.snapshot(bucket)).ok_or_else(StoreError::closed) }
            };
            Ok(self.inner().watchers.add(bucket, snapshot))
        })
    }

    fn epoch(&self) -> Answer<'_, Epoch> {
        Box::pin(async { Ok(Epoch(1)) })
    }

    fn export(&self) -> Export<'_> {
        Box::pin(async {
            let content = self.content();
            backup::export(&std::env::temp_dir(), &content, |bucket| Ok(content.entries_of(bucket.0)))
        })
    }
}
