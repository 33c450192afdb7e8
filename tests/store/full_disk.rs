//! A disk that is really full: a small file system of its own, which needs root to be mounted.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    time::Duration,
};

use callgate::store::{
    Becomes, Bucket, Embedded, Entry, Expect, KeyWrite, Options, Store, StoreError, Urgency, Version,
};
use tokio::time::sleep;

use crate::small_disk::{SmallDisk, fill};
use crate::suite::{USERS, delete, put};

struct Small(SmallDisk);

impl Small {
    fn new(size: &str) -> Option<Self> {
        SmallDisk::new(size).map(Self)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn fill(&self) -> PathBuf {
        fill(self.path())
    }

    fn open(&self) -> Embedded {
        let options = Options { ballast: BALLAST, retry: Duration::from_millis(10), ..Options::default() };
        Embedded::open(&self.path().join("store"), options).unwrap()
    }

    fn has_ballast(&self) -> bool {
        fs::metadata(self.path().join("store.ballast")).is_ok_and(|file| file.len() == BALLAST)
    }
}

const BALLAST: u64 = 1024 * 1024;

fn is_full(answer: &Result<Version, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Unavailable(error)) if error.kind() == ErrorKind::StorageFull)
}

/// Puts until the store refuses for want of room.
async fn put_until_full(store: &Embedded, name: &str) -> usize {
    for n in 0..10_000 {
        let answer = put(store, Bucket::DEVICES, &format!("{name} {n}"), &[7; 3000], Expect::Absent).await;
        if is_full(&answer) {
            return n;
        }
        answer.unwrap();
    }
    panic!("it is never full");
}

#[tokio::test]
async fn r21_rights_can_be_taken_away_on_a_full_disk() {
    let Some(disk) = Small::new("6m") else { return };
    let store = disk.open();
    assert!(disk.has_ballast());
    let mut users = Vec::new();
    for n in 0..300 {
        let key = format!("user {n:03}");
        let version = put(&store, USERS, &key, &[7; 300], Expect::Absent).await.unwrap();
        users.push(Entry { key, value: [7; 300].as_slice().into(), version });
    }
    let filling = disk.fill();
    let there = put_until_full(&store, "device").await;
    assert!(disk.has_ballast(), "nothing ordinary may have it");
    assert_eq!(store.list(Bucket::DEVICES).await.unwrap().len(), there, "and what failed isn't there");

    // Removals go on, by deletion and by a value that says less, also while others take what room there is.
    for (n, user) in users.drain(..150).enumerate() {
        if n % 2 == 0 {
            delete(&store, USERS, &user.key, user.version).await.unwrap();
        } else {
            let expect = Expect::Version(user.version);
            store.put(USERS, &user.key, b"less", expect, Urgency::TakesAway).await.unwrap();
        }
        disk.fill();
        let answer = put(&store, Bucket::DEVICES, &format!("more {n}"), &[7; 3000], Expect::Absent).await;
        assert!(is_full(&answer) || disk.has_ballast(), "{n}: {answer:?}");
    }
    drop(store);

    // It can be opened where there is no room at all, and read.
    let store = disk.open();
    assert_eq!(store.list(USERS).await.unwrap().len(), 225);
    drop(store);

    fs::remove_file(&filling).unwrap();
    let store = disk.open();
    assert!(disk.has_ballast());
    put(&store, USERS, "one more", b"", Expect::Absent).await.unwrap();
}

/// One that needs a page for each of its keys would use up what is held back for many, and store nothing.
#[tokio::test]
async fn r21_a_removal_of_many_keys_leaves_the_room_to_those_of_one() {
    let Some(disk) = Small::new("6m") else { return };
    let store = disk.open();
    let mut users = Vec::new();
    for n in 0..300 {
        let key = format!("user {n:03}");
        let version = put(&store, USERS, &key, &[7; 3000], Expect::Absent).await.unwrap();
        users.push((key, version));
    }
    disk.fill();
    put_until_full(&store, "device").await;
    let removal = users.iter().map(|(key, version)| {
        let becomes = Becomes::Value(&[8; 3000], Expect::Version(*version));
        KeyWrite { bucket: USERS, key, becomes }
    });
    let removal: Vec<_> = removal.collect();
    let error = store.write(&removal, Urgency::TakesAway).await.unwrap_err();
    assert!(matches!(&error, StoreError::Unavailable(error) if error.kind() == ErrorKind::StorageFull), "{error:?}");
    assert!(disk.has_ballast(), "it has got some of it");
    for one in removal.chunks(1) {
        store.write(one, Urgency::TakesAway).await.unwrap();
    }
    assert!(store.list(USERS).await.unwrap().iter().all(|user| *user.value == [8; 3000]));
}

/// Without a restart, and without anybody who writes.
#[tokio::test]
async fn when_there_is_room_again_the_ballast_is_made_again_and_all_goes_on() {
    let Some(disk) = Small::new("6m") else { return };
    let store = disk.open();
    let version = put(&store, USERS, "ann", b"1", Expect::Absent).await.unwrap();
    let filling = disk.fill();
    put_until_full(&store, "device").await;
    let mut version = version;
    for n in 0.. {
        // Until what is in the file already is used up.
        version =
            store.put(USERS, "ann", &vec![7; 20_000], Expect::Version(version), Urgency::TakesAway).await.unwrap();
        if !disk.has_ballast() {
            break;
        }
        assert!(n < 200, "the ballast was never needed");
    }
    assert!(is_full(&put(&store, USERS, "bob", b"", Expect::Absent).await), "before there is a ballast again");
    fs::remove_file(filling).unwrap();
    while !disk.has_ballast() {
        sleep(Duration::from_millis(5)).await;
    }
    while is_full(&put(&store, USERS, "bob", b"", Expect::Absent).await) {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Ordinary writes and removals wait together: the full disk fails the former and not the latter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_rights_does_not_take_who_takes_them_along() {
    let Some(disk) = Small::new("6m") else { return };
    let store = std::sync::Arc::new(disk.open());
    let mut versions = Vec::new();
    for n in 0..40 {
        versions.push(put(&*store, USERS, &format!("user {n}"), &[7; 300], Expect::Absent).await.unwrap());
    }
    disk.fill();
    let mut tasks = tokio::task::JoinSet::new();
    for (n, version) in versions.into_iter().enumerate() {
        let own = std::sync::Arc::clone(&store);
        tasks.spawn(async move { (true, delete(&*own, USERS, &format!("user {n}"), version).await) });
        let own = std::sync::Arc::clone(&store);
        tasks.spawn(async move {
            (false, put(&*own, Bucket::DEVICES, &format!("device {n}"), &vec![7; 500_000], Expect::Absent).await)
        });
    }
    let mut full = 0;
    while let Some(done) = tasks.join_next().await {
        let (takes_away, answer) = done.unwrap();
        full += usize::from(is_full(&answer));
        assert!(!takes_away || answer.is_ok(), "{answer:?}");
    }
    assert!(full > 30, "{full}");
    assert_eq!(store.list(USERS).await.unwrap(), []);
    assert_eq!(store.list(Bucket::DEVICES).await.unwrap().len(), 40 - full);
}
