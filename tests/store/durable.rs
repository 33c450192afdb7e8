//! What every durable store does besides: what was acknowledged is there when it is opened again, and after a process that had it
//! open was killed, again and again, at moments that nobody chose.
//!
//! The tests run their own binary as that process: tests that do nothing unless a variable says where the store is.

use std::collections::{BTreeMap, BTreeSet};

use callgate::store::{Becomes, Bucket, Expect, KeyWrite, Urgency, Version};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use crate::{
    Durable, Subject,
    killed::{rounds, run_and_kill, say},
    suite::{Shared, USERS, delete, number, put},
};

/// The tests of an implementation whose stores outlive the process: its name, and its [`Durable`].
macro_rules! durable {
    ($implementation:ident, $subject:ty) => {
        #[test]
        fn it_is_as_the_model_also_when_it_is_opened_again() {
            crate::model::follows_also_when_opened_again::<$subject>();
        }

        #[tokio::test]
        async fn r42_what_was_acknowledged_is_there_after_kill_9() {
            crate::durable::what_was_acknowledged_is_there::<$subject>(stringify!($implementation)).await;
        }

        #[tokio::test]
        async fn r42_keys_that_are_written_at_once_are_there_as_promised_after_kill_9() {
            crate::durable::keys_that_are_written_at_once_are_there_as_promised::<$subject>(stringify!(
                $implementation
            ))
            .await;
        }

        /// A process that is killed.
        #[tokio::test]
        async fn writes_until_it_is_killed() {
            let Some(address) = std::env::var_os(crate::killed::PLACE) else { return };
            crate::durable::write_and_delete(<$subject>::open_at(&address)).await;
        }

        /// Another one.
        #[tokio::test]
        async fn writes_many_at_once_until_it_is_killed() {
            let Some(address) = std::env::var_os(crate::killed::PLACE) else { return };
            crate::durable::write_many_at_once(<$subject>::open_at(&address)).await;
        }
    };
}

/// The tests of an implementation whose stores end with the process.
macro_rules! volatile {
    ($implementation:ident, $subject:ty) => {
        #[test]
        fn it_is_as_the_model() {
            crate::model::follows_in_one_go::<$subject>();
        }

        #[tokio::test]
        async fn it_is_empty_when_it_is_opened_again() {
            crate::durable::nothing_lasts::<$subject>().await;
        }
    };
}

const WRITERS: u64 = 4;
/// A writer counts to this, deletes its key, and begins anew.
const ROUND: u64 = 8;
/// How many keys are written at once.
const TOGETHER: usize = 300;

pub(crate) async fn nothing_lasts<S: Subject>() {
    let place = S::place();
    put(&*S::open(&place), USERS, "k", b"v", Expect::Absent).await.unwrap();
    assert_eq!(S::open(&place).list(USERS).await.unwrap(), [], "it is durable: let it say so");
}

/// Writers count, each in a key of its own, from the number that is there on.
pub(crate) async fn write_and_delete(store: Shared) {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = Shared::clone(&store);
        writers.spawn(async move {
            let key = format!("k{writer}");
            let there = store.get(USERS, &key).await.unwrap();
            let mut there = there.map(|entry| (number(&entry.value), entry.version));
            loop {
                let (n, version) = match there {
                    Some((n, version)) if n + 1 == ROUND => (0, delete(&*store, USERS, &key, version).await.unwrap()),
                    there => {
                        let (n, expect) = there.map_or((1, Expect::Absent), |(n, at)| (n + 1, Expect::Version(at)));
                        (n, put(&*store, USERS, &key, n.to_string().as_bytes(), expect).await.unwrap())
                    }
                };
                say(&format!("there {writer} {n} {}", version.0));
                there = (n > 0).then_some((n, version));
            }
        });
    }
    writers.join_all().await;
}

/// One number goes to many keys at once.
pub(crate) async fn write_many_at_once(store: Shared) {
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

pub(crate) async fn what_was_acknowledged_is_there<D: Durable>(implementation: &str) {
    let place = D::place();
    let mut draw = ChaCha8Rng::seed_from_u64(42);
    let epoch = D::open(&place).epoch().await.unwrap();
    // Of each key its number, 0 if it is gone, and the version of that.
    let nothing = (0, Version(0));
    let (mut before, mut newest) = (BTreeMap::new(), Version(0));
    let part = format!("{implementation}::writes_until_it_is_killed");
    for round in 0..rounds() {
        let said = run_and_kill(&part, &D::address(&place), 1 + draw.next_u32() % 60);
        let mut acknowledged: BTreeMap<String, (u64, Version)> = before;
        for line in said {
            let numbers: Vec<u64> = line.split(' ').skip(1).map(|number| number.parse().unwrap()).collect();
            acknowledged.insert(format!("k{}", numbers[0]), (numbers[1], Version(numbers[2])));
        }
        let newest_told = acknowledged.values().map(|(_, version)| *version).max().unwrap_or(Version(0)).max(newest);

        let store = D::open(&place);
        assert_eq!(store.epoch().await.unwrap(), epoch, "round {round}");
        before = BTreeMap::new();
        for entry in store.list(USERS).await.unwrap() {
            before.insert(entry.key, (number(&entry.value), entry.version));
        }
        for writer in 0..WRITERS {
            let key = format!("k{writer}");
            let (told, at) = *acknowledged.get(&key).unwrap_or(&nothing);
            let (n, version) = *before.entry(key.clone()).or_insert((0, at));
            let (is_told, is_next) = (n == told, n == (told + 1) % ROUND);
            assert!(is_told || is_next, "round {round}: {key} is {n}, and {told} was acknowledged");
            assert!(!is_told || version == at, "round {round}: {key} has {version:?}, and {at:?} was acknowledged");
            assert!(!is_next || n == 0 || version > at, "round {round}: {key} has {version:?} after {at:?}");
        }
        assert_eq!(before.len() as u64, WRITERS, "round {round}: {before:?}");
        // The next version is newer than all that anyone was told.
        newest = put(&*store, Bucket::META, &format!("round {round}"), b"", Expect::Absent).await.unwrap();
        let newest_there = before.values().map(|(_, version)| *version).max().unwrap_or(Version(0));
        assert!(newest > newest_told.max(newest_there), "round {round}");
    }
}

/// All of them or none; without transactions none without all before it.
pub(crate) async fn keys_that_are_written_at_once_are_there_as_promised<D: Durable>(implementation: &str) {
    let place = D::place();
    let mut draw = ChaCha8Rng::seed_from_u64(42);
    let part = format!("{implementation}::writes_many_at_once_until_it_is_killed");
    for round in 0..rounds() {
        let said = run_and_kill(&part, &D::address(&place), 1 + draw.next_u32() % 9);
        let told: u64 = said.last().and_then(|line| line.split(' ').nth(1)).unwrap().parse().unwrap();
        let entries = D::open(&place).list(USERS).await.unwrap();
        let there: Vec<u64> = entries.iter().map(|entry| number(&entry.value)).collect();
        assert_eq!(there.len(), TOGETHER, "round {round}");
        assert!(there.iter().all(|n| [told, told + 1].contains(n)), "round {round}: {there:?}, {told}");
        assert!(there.is_sorted_by(|before, after| before >= after), "round {round}: {there:?}");
        let different: BTreeSet<_> = there.into_iter().collect();
        assert!(different.len() == 1 || !D::HAS_TRANSACTIONS, "round {round}: {different:?}");
    }
}
