//! A process with a store is killed, again and again, at moments that nobody chose. What it was told to be there, is there.
//!
//! The test runs its own binary as the process: a test that does nothing unless a variable says what its part is.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use callgate::store::{Becomes, Bucket, Embedded, Expect, KeyWrite, Store, Urgency, Version, restore};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use crate::{
    backups::Whole,
    long, open, options,
    suite::{USERS, number, put},
};

/// The folder of the store, for a process that is to be killed.
const FOLDER: &str = "CALLGATE_TEST_STORE";
const WRITERS: u64 = 4;
/// How many keys are written at once.
const TOGETHER: usize = 300;

/// Writers write numbers, each to its own key, from the one that is there on.
#[tokio::test]
async fn writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = Arc::new(open(Path::new(&folder)));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let key = format!("k{writer}");
            let there = store.get(USERS, &key).await.unwrap();
            let (mut n, mut expect) =
                there.map_or((0, Expect::Absent), |entry| (number(&entry.value), Expect::Version(entry.version)));
            loop {
                n += 1;
                let version = put(&*store, USERS, &key, n.to_string().as_bytes(), expect).await.unwrap();
                say(&format!("there {writer} {n} {}", version.0));
                expect = Expect::Version(version);
            }
        });
    }
    writers.join_all().await;
}

/// One number goes to many keys at once.
#[tokio::test]
async fn writes_many_at_once_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = open(Path::new(&folder));
    let keys: Vec<String> = (0..TOGETHER).map(|n| format!("k{n:03}")).collect();
    let there = store.list(USERS).await.unwrap();
    let mut n = there.first().map_or(0, |entry| number(&entry.value));
    let mut expect: Vec<_> = there.iter().map(|entry| Expect::Version(entry.version)).collect();
    expect.resize(TOGETHER, Expect::Absent);
    loop {
        n += 1;
        let value = n.to_string();
        let becomes = expect.iter().map(|expect| Becomes::Value(value.as_bytes(), *expect));
        let write = |(key, becomes): (_, _)| KeyWrite { bucket: USERS, key, becomes };
        let writes: Vec<_> = keys.iter().map(String::as_str).zip(becomes).map(write).collect();
        let versions = store.write(&writes, Urgency::TakesAway).await.unwrap();
        expect = versions.into_iter().map(Expect::Version).collect();
        say(&format!("there {n}"));
    }
}

/// Two backups are restored in turn, over a store that is made anew now and then.
#[test]
fn restores_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    for n in 0_u64.. {
        let restored = restore(&folder.join(format!("backup-{}", n % 2)), &folder.join("store"), &options(), &Whole);
        say(&format!("epoch {}", restored.unwrap().epoch.0));
    }
}

/// The line is begun anew: the test harness writes, too.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Runs a part, kills it after so many lines of its own, and returns all that it said.
fn run_and_kill(part: &str, folder: &Path, lines: u32) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([part, "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = Vec::new();
    let is_own = |line: &String| line.starts_with("there ") || line.starts_with("epoch ");
    let mut out = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).filter(is_own);
    said.extend(out.by_ref().take(lines as usize));
    child.kill().unwrap();
    // What it had said before it was killed, too.
    said.extend(out);
    assert!(!child.wait().unwrap().success() && said.len() >= lines as usize, "{part} has ended by itself: {said:?}");
    said
}

fn rounds() -> u32 {
    if long() { 200 } else { 10 }
}

#[tokio::test]
async fn r42_what_was_acknowledged_is_there_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut draw = ChaCha8Rng::seed_from_u64(42);
    let (mut before, mut newest) = (BTreeMap::new(), Version(0));
    for round in 0..rounds() {
        let said = run_and_kill("killed::writes_until_it_is_killed", folder.path(), 1 + draw.next_u32() % 60);
        let mut acknowledged: BTreeMap<String, (u64, Version)> = before.clone();
        for line in said {
            let numbers: Vec<u64> = line.split(' ').skip(1).map(|number| number.parse().unwrap()).collect();
            acknowledged.insert(format!("k{}", numbers[0]), (numbers[1], Version(numbers[2])));
        }

        let store = open(folder.path());
        before = BTreeMap::new();
        for entry in store.list(USERS).await.unwrap() {
            let n = number(&entry.value);
            let (acked, version) = acknowledged.remove(&entry.key).unwrap_or((0, Version(0)));
            assert!(n == acked || n == acked + 1, "round {round}: {} is {n}, and {acked} was acknowledged", entry.key);
            assert!(n != acked || entry.version == version, "round {round}: {entry:?}");
            before.insert(entry.key, (n, entry.version));
        }
        assert!(acknowledged.is_empty(), "round {round}: {acknowledged:?} is gone");
        // The next version is newer than all that anyone was told.
        let version = put(&store, Bucket::META, &format!("round {round}"), b"", Expect::Absent).await.unwrap();
        let newest_told = before.values().map(|(_, version)| *version).max().unwrap_or(Version(0)).max(newest);
        assert!(version > newest_told, "round {round}");
        newest = version;
    }
}

#[tokio::test]
async fn r42_of_keys_that_are_written_at_once_all_or_none_are_there_after_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let mut draw = ChaCha8Rng::seed_from_u64(42);
    for round in 0..rounds() {
        let said =
            run_and_kill("killed::writes_many_at_once_until_it_is_killed", folder.path(), 1 + draw.next_u32() % 9);
        let told: u64 = said.last().and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
        let entries = open(folder.path()).list(USERS).await.unwrap();
        let there: BTreeSet<u64> = entries.iter().map(|entry| number(&entry.value)).collect();
        assert_eq!(entries.len(), TOGETHER, "round {round}");
        assert!(
            there == BTreeSet::from([told]) || there == BTreeSet::from([told + 1]),
            "round {round}: {there:?}, {told}"
        );
    }
}

#[tokio::test]
async fn a_restore_that_is_killed_leaves_the_old_or_the_new() {
    let folder = tempfile::tempdir().unwrap();
    for n in 0..2_u64 {
        let store = Embedded::open(&folder.path().join(format!("made-{n}")), options()).unwrap();
        for key in 0..200 {
            put(&store, USERS, &format!("{n}-{key}"), &[0; 500], Expect::Absent).await.unwrap();
        }
        store.backup(&folder.path().join(format!("backup-{n}"))).await.unwrap();
    }
    let mut draw = ChaCha8Rng::seed_from_u64(42);
    for round in 0..rounds() {
        let said = run_and_kill("killed::restores_until_it_is_killed", folder.path(), 1 + draw.next_u32() % 8);
        let told: u64 = said.last().and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
        let store = open(folder.path());
        let epoch = store.epoch().await.unwrap().0;
        assert!(epoch == told || epoch == told + 1, "round {round}: {epoch}, and {told} was told");
        let keys: Vec<String> = store.list(USERS).await.unwrap().into_iter().map(|entry| entry.key).collect();
        assert_eq!(keys.len(), 200, "round {round}");
        assert!(keys.iter().all(|key| key[..2] == keys[0][..2]), "round {round}: a mixture");
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
        assert!(!left.contains(&"store.new".into()), "round {round}: {left:?}");
    }
}
