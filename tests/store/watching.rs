//! What every store tells those who watch it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use callgate::store::{Bucket, Change, Expect, Version, Watch};
use tokio::{task::JoinSet, time::timeout};

use crate::suite::{Shared, USERS, delete, number, put};

/// Only a store that is broken makes a test wait so long.
const LONG: Duration = Duration::from_secs(60);

async fn next(watch: &mut Watch) -> Option<Change> {
    timeout(LONG, watch.recv()).await.expect("a watcher is told nothing")
}

/// What somebody knows who only watches.
#[derive(Default)]
struct Known {
    values: BTreeMap<String, (u64, Version)>,
    resyncs: usize,
    newest: Option<Version>,
}

impl Known {
    fn take(&mut self, change: Change) {
        let version = Some(change.version());
        assert!(self.resyncs > 0 || matches!(change, Change::Resync(_)), "a resync is the first of all");
        match change {
            Change::Resync(entries) => {
                assert!(entries.is_sorted_by(|one, other| one.key < other.key));
                let values = entries.into_iter().map(|entry| (entry.key, (number(&entry.value), entry.version)));
                self.values = values.collect();
                self.resyncs += 1;
            }
            Change::Put(entry) => {
                assert!(version > self.newest, "out of order");
                self.values.insert(entry.key, (number(&entry.value), entry.version));
            }
            Change::Delete { key, .. } => {
                assert!(version > self.newest, "out of order");
                assert!(self.values.remove(&key).is_some(), "{key} is gone already");
            }
        }
        self.newest = self.newest.max(version);
    }

    /// Watches until it knows what is there.
    async fn until(&mut self, watch: &mut Watch, expected: &BTreeMap<String, (u64, Version)>) {
        while self.resyncs == 0 || self.values != *expected {
            self.take(next(watch).await.expect("the watch has ended"));
        }
    }
}

async fn there(store: &Shared) -> BTreeMap<String, (u64, Version)> {
    let entries = store.list(USERS).await.unwrap().into_iter();
    entries.map(|entry| (entry.key, (number(&entry.value), entry.version))).collect()
}

pub(crate) async fn all_that_is_there_comes_first_and_then_each_change(store: Shared) {
    let ann = put(&*store, USERS, "ann", b"1", Expect::Absent).await.unwrap();
    let bob = put(&*store, USERS, "bob", b"2", Expect::Absent).await.unwrap();
    let entries = store.list(USERS).await.unwrap();
    let mut watch = store.watch(USERS).await.unwrap();
    assert_eq!(next(&mut watch).await, Some(Change::Resync(entries)));

    let changed = put(&*store, USERS, "ann", b"3", Expect::Version(ann)).await.unwrap();
    let gone = delete(&*store, USERS, "bob", bob).await.unwrap();
    assert!(put(&*store, USERS, "ann", b"4", Expect::Absent).await.is_err(), "which nobody is told of");
    put(&*store, USERS, "bob", b"5", Expect::Absent).await.unwrap();
    let Some(Change::Put(entry)) = next(&mut watch).await else { panic!() };
    assert_eq!((entry.key.as_str(), &*entry.value, entry.version), ("ann", &b"3"[..], changed));
    assert_eq!(next(&mut watch).await, Some(Change::Delete { key: "bob".into(), version: gone }));
    let again = store.get(USERS, "bob").await.unwrap().unwrap();
    assert_eq!(next(&mut watch).await, Some(Change::Put(again)));
}

pub(crate) async fn a_watch_is_of_one_bucket(store: Shared) {
    put(&*store, Bucket::DEVICES, "d", b"1", Expect::Absent).await.unwrap();
    let mut watch = store.watch(USERS).await.unwrap();
    assert_eq!(next(&mut watch).await, Some(Change::Resync(Vec::new())));
    put(&*store, Bucket::DEVICES, "e", b"1", Expect::Absent).await.unwrap();
    put(&*store, USERS, "ann", b"1", Expect::Absent).await.unwrap();
    assert!(matches!(next(&mut watch).await, Some(Change::Put(entry)) if entry.key == "ann"));
}

/// Watches begin at any moment of much writing. Each ends up with exactly what is there.
pub(crate) async fn nothing_is_lost_between_what_is_there_and_what_changes(store: Shared) {
    let mut writers = JoinSet::new();
    for writer in 0..4 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut version = None;
            for n in 0..40_u64 {
                let key = format!("k{writer}");
                version = match version {
                    Some(version) if n % 7 == 6 => {
                        delete(&*store, USERS, &key, version).await.unwrap();
                        None
                    }
                    version => {
                        let expect = version.map_or(Expect::Absent, Expect::Version);
                        Some(put(&*store, USERS, &key, n.to_string().as_bytes(), expect).await.unwrap())
                    }
                };
            }
        });
    }
    let mut watches = Vec::new();
    while writers.try_join_next().is_none() && watches.len() < 50 {
        watches.push(store.watch(USERS).await.unwrap());
        tokio::task::yield_now().await;
        let _ = store.get(USERS, "k0").await.unwrap();
    }
    writers.join_all().await;
    let expected = there(&store).await;
    assert!(!watches.is_empty());
    for watch in &mut watches {
        Known::default().until(watch, &expected).await;
    }
}

pub(crate) async fn who_falls_behind_is_told_everything_again(store: Shared) {
    let mut slow = store.watch(USERS).await.unwrap();
    let mut known = Known::default();
    known.take(next(&mut slow).await.unwrap());

    // More than any queue is meant to hold, and nobody reads.
    let mut writers = JoinSet::new();
    for writer in 0..50 {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for n in 0..40 {
                put(&*store, USERS, &format!("{writer}-{n}"), b"1", Expect::Absent).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let expected = there(&store).await;
    assert_eq!(expected.len(), 2000);
    known.until(&mut slow, &expected).await;
    assert!(known.resyncs > 1, "2,000 changes have waited");

    // And it is as any other again.
    put(&*store, USERS, "one more", b"1", Expect::Absent).await.unwrap();
    let Some(Change::Put(entry)) = next(&mut slow).await else { panic!("not a put") };
    assert_eq!(entry.key, "one more");
}

pub(crate) async fn it_ends_with_the_store(store: Shared) {
    let mut watch = store.watch(USERS).await.unwrap();
    put(&*store, USERS, "ann", b"1", Expect::Absent).await.unwrap();
    tokio::task::spawn_blocking(move || drop(store)).await.unwrap();
    while let Some(change) = next(&mut watch).await {
        assert!(matches!(change, Change::Resync(_) | Change::Put(_)));
    }
}
