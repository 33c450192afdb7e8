//! A disk that fails at each of its touches in turn.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use callgate::store::{Bucket, Change, Embedded, Expect, Fault, Options, Store, StoreError, Touch, Version};
use tokio::time::{sleep, timeout};

use crate::{
    long, options,
    suite::{USERS, number, put},
};

/// Lets so many touches of some kinds pass, and fails so many after them.
#[derive(Clone)]
struct Plan {
    kinds: &'static [Touch],
    passing: u32,
    failing: u32,
    error: ErrorKind,
}

#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Option<Plan>>>);

impl Disk {
    fn plan(&self, kinds: &'static [Touch], passing: u32, failing: u32, error: ErrorKind) {
        *self.0.lock().unwrap() = Some(Plan { kinds, passing, failing, error });
    }

    fn mend(&self) {
        *self.0.lock().unwrap() = None;
    }

    /// Whether all that should fail did.
    fn is_spent(&self) -> bool {
        self.0.lock().unwrap().as_ref().is_none_or(|plan| plan.failing == 0)
    }

    fn touch(&self, touch: Touch) -> io::Result<()> {
        let mut plan = self.0.lock().unwrap();
        let Some(plan) = plan.as_mut().filter(|plan| plan.kinds.contains(&touch)) else { return Ok(()) };
        if plan.passing > 0 {
            plan.passing -= 1;
        } else if plan.failing > 0 {
            plan.failing -= 1;
            return Err(plan.error.into());
        }
        Ok(())
    }

    fn open(&self, folder: &Path) -> Result<Embedded, StoreError> {
        let disk = self.clone();
        let fault = Some(Fault::new(move |touch| disk.touch(touch)));
        Embedded::open(&folder.join("store"), Options { fault, ..options() })
    }
}

const WRITES: &[Touch] = &[Touch::Write, Touch::Flush, Touch::Resize];
const ANY: &[Touch] = &[Touch::Flush, Touch::Read, Touch::Resize, Touch::Write];
const READS: &[Touch] = &[Touch::Read];

/// Ten changes of a few keys; what was acknowledged, and what may be there besides.
async fn change(store: &Embedded, acked: &mut BTreeMap<String, (u64, Version)>, n: &mut u64) -> u32 {
    let mut failed = 0;
    for step in 0..10 {
        *n += 1;
        let key = format!("k{}", step % 3);
        let expect = acked.get(&key).map_or(Expect::Absent, |(_, version)| Expect::Version(*version));
        let mut value = n.to_string().into_bytes();
        // Some are so large that the file must grow.
        value.splice(0..0, vec![b'0'; if step == 5 { 30_000 } else { 3 }]);
        match put(store, USERS, &key, &value, expect).await {
            Ok(version) => {
                acked.insert(key, (*n, version));
            }
            Err(StoreError::Unavailable(_)) => failed += 1,
            Err(other) => panic!("{other}"),
        }
    }
    failed
}

/// Writes until the store takes it again, and returns its state.
async fn healed(store: &Embedded) -> BTreeMap<String, (u64, Version)> {
    let wait = async {
        while let Err(StoreError::Unavailable(_)) = put(store, Bucket::META, "healed", b"", Expect::Absent).await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(60), wait).await.expect("it doesn't heal");
    let entries = store.list(USERS).await.unwrap().into_iter();
    entries.map(|entry| (entry.key, (number(&entry.value), entry.version))).collect()
}

#[tokio::test]
async fn r21_an_error_at_any_write_or_flush_loses_nothing_and_shows_nothing_that_failed() {
    for error in [ErrorKind::StorageFull, ErrorKind::Other] {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let store = disk.open(folder.path()).unwrap();
        let (mut acked, mut n, mut failures) = (BTreeMap::new(), 0, 0);
        for passing in 0..if long() { 200 } else { 50 } {
            disk.plan(WRITES, passing, 1, error);
            failures += change(&store, &mut acked, &mut n).await;
            disk.mend();
            // It was opened again at once each time, so not even what failed can be there.
            assert_eq!(healed(&store).await, acked, "{passing} {error}");
        }
        assert!(failures > 10, "only {failures} failures");
        drop(store);
        assert_eq!(healed(&disk.open(folder.path()).unwrap()).await, acked, "{error}");
    }
}

/// The disk stays away: the store can't be opened again for a while. It heals by itself, and who watches is told what came of
/// the write that failed: it may be there, as a whole.
#[tokio::test]
async fn it_heals_by_itself_when_the_disk_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let store = disk.open(folder.path()).unwrap();
    let mut watch = store.watch(USERS).await.unwrap();
    let (mut known, mut acked, mut there) = (BTreeMap::new(), BTreeMap::new(), 0);
    for round in 0..30 {
        let key = format!("k{round}");
        let before = put(&store, USERS, &key, b"1", Expect::Absent).await.unwrap();
        acked.insert(key.clone(), (1, before));
        disk.plan(ANY, round, u32::MAX, ErrorKind::Other);
        let answer = put(&store, USERS, &key, b"2", Expect::Version(before)).await;
        let was_hit = answer.is_err();
        disk.mend();
        // Nobody writes meanwhile, and it is read again.
        let entries = loop {
            match store.list(USERS).await {
                Ok(entries) => break entries,
                Err(StoreError::Unavailable(_)) => sleep(Duration::from_millis(5)).await,
                Err(other) => panic!("{other}"),
            }
        };
        let entries: BTreeMap<_, _> =
            entries.into_iter().map(|entry| (entry.key, (number(&entry.value), entry.version))).collect();
        if entries[&key] != (1, before) {
            assert_eq!(entries[&key].0, 2);
            there += u32::from(was_hit);
            acked.insert(key.clone(), entries[&key]);
        }
        assert!(was_hit || answer.is_ok_and(|version| entries.values().any(|(_, other)| *other == version)));
        assert_eq!(entries, acked, "{round}");
        while known != entries {
            learn(&mut known, timeout(Duration::from_secs(10), watch.recv()).await.expect("not told").unwrap());
        }
    }
    assert!(there > 0, "no write that failed is there: the case is not met");
}

fn learn(known: &mut BTreeMap<String, (u64, Version)>, change: Change) {
    match change {
        Change::Resync(entries) => {
            let entries = entries.into_iter();
            *known = entries.map(|entry| (entry.key, (number(&entry.value), entry.version))).collect();
        }
        Change::Put(entry) => {
            known.insert(entry.key, (number(&entry.value), entry.version));
        }
        Change::Delete { key, .. } => {
            known.remove(&key);
        }
    }
}

#[tokio::test]
async fn an_error_while_reading_passes() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let store = disk.open(folder.path()).unwrap();
    let (mut acked, mut n) = (BTreeMap::new(), 0);
    change(&store, &mut acked, &mut n).await;
    drop(store);
    for passing in 0..10 {
        let store = disk.open(folder.path()).unwrap();
        disk.plan(READS, passing, 1, ErrorKind::Other);
        let _ = store.list(USERS).await;
        disk.mend();
        assert_eq!(healed(&store).await, acked);
    }
}

#[test]
fn an_error_while_it_is_made_or_opened_leaves_nothing_that_blocks_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let mut made = None;
    for passing in 0.. {
        disk.plan(ANY, passing, 1, ErrorKind::Other);
        match disk.open(folder.path()) {
            Ok(store) if disk.is_spent() => drop(store),
            Ok(_) => break,
            Err(StoreError::Unavailable(_)) => {}
            Err(other) => panic!("{passing}: {other}"),
        }
        made = made.or_else(|| folder.path().join("store").exists().then_some(passing));
        assert!(passing < 500);
    }
    assert!(made.is_some_and(|made| made > 3), "{made:?}");
}
