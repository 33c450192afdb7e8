//! What every store does with keys, values and versions. Each test gets a store of its own, which is empty.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use callgate::store::{
    Answer, BUCKETS, Becomes, Bucket, Change, Entry, Expect, KeyWrite, MAX_KEY, MAX_VALUE, Store, StoreError, Urgency,
    Version,
};
use tokio::{sync::Barrier, task::JoinSet};

pub(crate) const USERS: Bucket = Bucket::USERS;

pub(crate) type Shared = Arc<dyn Store>;

/// A put without hurry.
pub(crate) fn put<'a>(
    store: &'a dyn Store,
    bucket: Bucket,
    key: &'a str,
    value: &'a [u8],
    expect: Expect,
) -> Answer<'a, Version> {
    store.put(bucket, key, value, expect, Urgency::Ordinary)
}

pub(crate) fn delete<'a>(store: &'a dyn Store, bucket: Bucket, key: &'a str, expect: Version) -> Answer<'a, Version> {
    store.delete(bucket, key, expect, Urgency::TakesAway)
}

pub(crate) fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

fn found(error: &StoreError) -> Option<Version> {
    let StoreError::Conflict { bucket: "users", key, found } = error else { panic!("{error}") };
    assert_eq!(key, "k");
    *found
}

pub(crate) async fn one_of_many_creates_a_key(store: Shared) {
    const TASKS: usize = 32;
    let (mut tasks, start) = (JoinSet::new(), Arc::new(Barrier::new(TASKS)));
    for task in 0..TASKS {
        let (store, start) = (Arc::clone(&store), Arc::clone(&start));
        tasks.spawn(async move {
            start.wait().await;
            (task, put(&*store, USERS, "k", task.to_string().as_bytes(), Expect::Absent).await)
        });
    }
    let (mut winners, mut losers) = (Vec::new(), Vec::new());
    while let Some(done) = tasks.join_next().await {
        match done.unwrap() {
            (task, Ok(version)) => winners.push((task, version)),
            (_, Err(error)) => losers.push(found(&error)),
        }
    }
    let [(winner, version)] = winners[..] else { panic!("{winners:?}") };
    assert_eq!(losers, [Some(version); TASKS - 1]);
    let there = store.get(USERS, "k").await.unwrap().unwrap();
    assert_eq!((number(&there.value), there.version), (winner as u64, version));
}

pub(crate) async fn exactly_one_wins_each_version(store: Shared) {
    const TASKS: u64 = 12;
    const EACH: u64 = 8;
    let first = put(&*store, USERS, "k", b"0", Expect::Absent).await.unwrap();
    let (mut tasks, start) = (JoinSet::new(), Arc::new(Barrier::new(12)));
    for _ in 0..TASKS {
        let (store, start) = (Arc::clone(&store), Arc::clone(&start));
        tasks.spawn(async move {
            start.wait().await;
            let mut replaced = Vec::new();
            while replaced.len() < EACH as usize {
                let there = store.get(USERS, "k").await.unwrap().unwrap();
                let next = (number(&there.value) + 1).to_string();
                match put(&*store, USERS, "k", next.as_bytes(), Expect::Version(there.version)).await {
                    Ok(version) => replaced.push((there.version, version)),
                    Err(error) => assert_ne!(found(&error), Some(there.version), "it was as expected"),
                }
            }
            replaced
        });
    }
    let replaced: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    let next: BTreeMap<_, _> = replaced.iter().copied().collect();
    assert_eq!(next.len(), replaced.len(), "a version was replaced twice");
    let mut version = first;
    for _ in 0..TASKS * EACH {
        assert!(next[&version] > version);
        version = next[&version];
    }
    let there = store.get(USERS, "k").await.unwrap().unwrap();
    assert_eq!((number(&there.value), there.version), (TASKS * EACH, version), "each was counted once");
}

pub(crate) async fn what_was_deleted_can_be_made_again(store: Shared) {
    let made = put(&*store, USERS, "k", b"one", Expect::Absent).await.unwrap();
    let ended = delete(&*store, USERS, "k", made).await.unwrap();
    assert!(ended > made);
    assert_eq!(store.get(USERS, "k").await.unwrap(), None);
    assert_eq!(store.list(USERS).await.unwrap(), []);
    for old in [made, ended] {
        assert_eq!(found(&delete(&*store, USERS, "k", old).await.unwrap_err()), None);
        assert_eq!(found(&put(&*store, USERS, "k", b"", Expect::Version(old)).await.unwrap_err()), None);
    }
    let again = put(&*store, USERS, "k", b"one", Expect::Absent).await.unwrap();
    assert!(again > ended, "who knows the old version doesn't meet the new one");
    assert_eq!(found(&put(&*store, USERS, "k", b"", Expect::Version(made)).await.unwrap_err()), Some(again));
    assert_eq!(found(&delete(&*store, USERS, "k", made).await.unwrap_err()), Some(again));
}

pub(crate) async fn versions_rise_over_all_buckets(store: Shared) {
    let mut newest = Version(0);
    for round in 0..3 {
        for bucket in BUCKETS {
            let key = format!("k{round}");
            let made = put(&*store, *bucket, &key, b"", Expect::Absent).await.unwrap();
            let changed = put(&*store, *bucket, &key, b"", Expect::Version(made)).await.unwrap();
            assert!(newest < made && made < changed, "{newest:?} {made:?} {changed:?}");
            newest = if round == 1 { delete(&*store, *bucket, &key, changed).await.unwrap() } else { changed };
            assert!(newest >= changed);
        }
    }
}

pub(crate) async fn a_list_is_one_bucket_in_the_order_of_its_keys(store: Shared) {
    let keys = ["b", "a", "ä", "B", "aa", "z", "a/b", "a b", "~"];
    let mut expected = Vec::new();
    for key in keys {
        let version = put(&*store, USERS, key, key.as_bytes(), Expect::Absent).await.unwrap();
        expected.push(Entry { key: key.into(), value: key.as_bytes().into(), version });
        put(&*store, Bucket::DEVICES, key, b"other", Expect::Absent).await.unwrap();
    }
    expected.sort_by(|one, other| one.key.as_bytes().cmp(other.key.as_bytes()));
    assert_eq!(store.list(USERS).await.unwrap(), expected);
    assert_eq!(store.list(Bucket::GROUPS).await.unwrap(), []);
}

/// Two keys are written in turn, the same number to one and then to the other: a list never has the second ahead of the
/// first, nor further behind than one.
pub(crate) async fn a_list_is_of_one_moment(store: Shared) {
    let writer = Arc::clone(&store);
    let writing = tokio::spawn(async move {
        let mut versions = BTreeMap::new();
        for n in 1..=60_u64 {
            for key in ["z first", "a second"] {
                let expect = versions.get(key).copied().map_or(Expect::Absent, Expect::Version);
                let version = put(&*writer, USERS, key, n.to_string().as_bytes(), expect).await.unwrap();
                versions.insert(key, version);
            }
        }
    });
    let mut last = 0;
    while last < 60 {
        let entries = store.list(USERS).await.unwrap();
        let n = |key: &str| entries.iter().find(|entry| entry.key == key).map_or(0, |entry| number(&entry.value));
        let (first, second) = (n("z first"), n("a second"));
        assert!(second <= first && first <= second + 1, "{first} {second}");
        assert!(second >= last, "it went back");
        last = second;
        tokio::task::yield_now().await;
    }
    writing.await.unwrap();
}

pub(crate) async fn any_text_is_a_key(store: Shared) {
    let keys = [
        " ",
        "\0",
        "\n",
        "a\0b",
        ".",
        "..",
        "../../etc/passwd",
        "*",
        ">",
        "a.b.>",
        "$SYS",
        "\u{7f}",
        "ß",
        "ss",
        "é",
        "e\u{301}",
        "\u{202e}abc",
        "\u{feff}",
        "\u{10ffff}",
        "😀",
        "\"",
        "\\",
        "'",
        "%00",
        "key",
        "KEY",
        "users/key",
        "a:b",
        "-",
        "--help",
    ];
    for key in keys {
        put(&*store, USERS, key, key.as_bytes(), Expect::Absent)
            .await
            .unwrap_or_else(|error| panic!("{key:?}: {error}"));
    }
    for key in keys {
        let there = store.get(USERS, key).await.unwrap().unwrap_or_else(|| panic!("{key:?} is gone"));
        assert_eq!((there.key.as_str(), &*there.value), (key, key.as_bytes()));
        delete(&*store, USERS, key, there.version).await.unwrap();
    }
    assert_eq!(store.list(USERS).await.unwrap(), []);
}

pub(crate) async fn lengths_have_bounds(store: Shared) {
    let (longest, largest) = ("k".repeat(MAX_KEY), vec![7; MAX_VALUE]);
    let version = put(&*store, USERS, &longest, &largest, Expect::Absent).await.unwrap();
    assert_eq!(&*store.get(USERS, &longest).await.unwrap().unwrap().value, largest);
    put(&*store, USERS, "k", b"", Expect::Absent).await.unwrap();

    // Bytes count, not characters.
    for key in [String::new(), "k".repeat(MAX_KEY + 1), "ä".repeat(MAX_KEY / 2) + "k"] {
        for error in [
            store.get(USERS, &key).await.err(),
            put(&*store, USERS, &key, b"", Expect::Absent).await.err(),
            delete(&*store, USERS, &key, version).await.err(),
        ] {
            let Some(StoreError::Length { what: "key", len, min: 1, max: MAX_KEY }) = error else {
                panic!("{error:?}")
            };
            assert_eq!(len, key.len());
        }
    }
    let error = put(&*store, USERS, "large", &vec![7; MAX_VALUE + 1], Expect::Absent).await.unwrap_err();
    assert!(matches!(error, StoreError::Length { what: "value", min: 0, max: MAX_VALUE, .. }), "{error}");
    assert_eq!(store.list(USERS).await.unwrap().len(), 2);
}

pub(crate) async fn values_are_exact_bytes(store: Shared) {
    let all: Vec<u8> = (0..=255).collect();
    for (key, value) in
        [("none", &[][..]), ("zeros", &[0; 9]), ("all", &all), ("not text", &[0xff, 0xfe, 0xc0]), ("end", b"\n")]
    {
        let version = put(&*store, USERS, key, value, Expect::Absent).await.unwrap();
        let expected = Entry { key: key.into(), value: value.into(), version };
        assert_eq!(store.get(USERS, key).await.unwrap(), Some(expected), "{key}");
    }
}

pub(crate) async fn a_conflict_says_what_is_there_and_changes_nothing(store: Shared) {
    let wrong = Version(77);
    assert_eq!(found(&put(&*store, USERS, "k", b"", Expect::Version(wrong)).await.unwrap_err()), None);
    assert_eq!(found(&delete(&*store, USERS, "k", wrong).await.unwrap_err()), None);
    let made = put(&*store, USERS, "k", b"one", Expect::Absent).await.unwrap();
    let changed = put(&*store, USERS, "k", b"two", Expect::Version(made)).await.unwrap();
    for expect in [Expect::Absent, Expect::Version(made), Expect::Version(Version(changed.0 + 1))] {
        assert_eq!(found(&put(&*store, USERS, "k", b"three", expect).await.unwrap_err()), Some(changed), "{expect:?}");
    }
    assert_eq!(found(&delete(&*store, USERS, "k", made).await.unwrap_err()), Some(changed));
    let there = store.get(USERS, "k").await.unwrap().unwrap();
    assert_eq!((&*there.value, there.version), (&b"two"[..], changed));
    assert_eq!(store.get(Bucket::DEVICES, "k").await.unwrap(), None, "the same key in another bucket is another one");
}

fn value<'a>(key: &'a str, value: &'a [u8], expect: Expect) -> KeyWrite<'a> {
    KeyWrite { bucket: USERS, key, becomes: Becomes::Value(value, expect) }
}

fn gone(key: &str, version: Version) -> KeyWrite<'_> {
    KeyWrite { bucket: USERS, key, becomes: Becomes::Gone(version) }
}

pub(crate) async fn several_keys_are_written_at_once_in_their_order(store: Shared) {
    let old = put(&*store, USERS, "b", b"old", Expect::Absent).await.unwrap();
    let device = KeyWrite { bucket: Bucket::DEVICES, key: "b", becomes: Becomes::Value(b"device", Expect::Absent) };
    let writes = [value("c", b"new", Expect::Absent), gone("b", old), device, value("a", b"new", Expect::Absent)];
    let mut watch = store.watch(USERS).await.unwrap();
    assert!(matches!(watch.recv().await, Some(Change::Resync(_))));
    let versions = store.write(&writes, Urgency::Ordinary).await.unwrap();
    assert!(versions.len() == 4 && versions.is_sorted() && versions[0] > old, "{versions:?}");
    let entries = store.list(USERS).await.unwrap();
    let there: Vec<_> = entries.iter().map(|entry| (&*entry.key, entry.version)).collect();
    assert_eq!(there, [("a", versions[3]), ("c", versions[0])]);
    assert_eq!(store.get(Bucket::DEVICES, "b").await.unwrap().unwrap().version, versions[2]);
    for version in [versions[0], versions[1], versions[3]] {
        assert_eq!(watch.recv().await.unwrap().version(), version);
    }
    assert_eq!(store.write(&[], Urgency::Ordinary).await.unwrap(), []);
    let next = put(&*store, USERS, "d", b"", Expect::Absent).await.unwrap();
    assert!(next > versions[3]);
}

/// Both stores here have transactions; one that hasn't may have the keys before.
pub(crate) async fn one_of_several_keys_that_is_not_as_expected_leaves_all_as_they_were(store: Shared) {
    let there = put(&*store, USERS, "k", b"there", Expect::Absent).await.unwrap();
    let mut watch = store.watch(USERS).await.unwrap();
    assert!(matches!(watch.recv().await, Some(Change::Resync(_))));
    let past = Version(there.0 + 9);
    for (wrong, is) in [
        ([value("a", b"", Expect::Absent), value("k", b"", Expect::Absent)], Some(there)),
        ([value("k", b"", Expect::Version(past)), value("a", b"", Expect::Absent)], Some(there)),
        ([value("a", b"", Expect::Absent), gone("k", past)], Some(there)),
        ([gone("k", there), gone("k", there)], Some(there)),
    ] {
        let error = store.write(&wrong, Urgency::TakesAway).await.unwrap_err();
        assert_eq!(found(&error), is, "{wrong:?}");
    }
    let long = "k".repeat(MAX_KEY + 1);
    let wrong = [gone("k", there), value(&long, b"", Expect::Absent)];
    assert!(matches!(store.write(&wrong, Urgency::TakesAway).await, Err(StoreError::Length { .. })));
    let entries = store.list(USERS).await.unwrap();
    assert_eq!(entries, [Entry { key: "k".into(), value: b"there".as_slice().into(), version: there }]);
    let next = put(&*store, USERS, "next", b"", Expect::Absent).await.unwrap();
    assert_eq!(watch.recv().await.unwrap().version(), next, "nobody was told of anything");
}

/// More keys than have room to wait at once are written all the same.
pub(crate) async fn many_keys_are_written_at_once(store: Shared) {
    let keys: Vec<String> = (0..2_000).map(|n| format!("key {n}")).collect();
    let writes: Vec<_> = keys.iter().map(|key| value(key, b"value", Expect::Absent)).collect();
    let write = tokio::time::timeout(Duration::from_secs(60), store.write(&writes, Urgency::Ordinary));
    assert_eq!(write.await.expect("it waits for ever").unwrap().len(), keys.len());
    assert_eq!(store.list(USERS).await.unwrap().len(), keys.len());
}

/// Whoever gives up waiting leaves a change that is whole or none, and holds nobody up.
pub(crate) async fn a_call_given_up_does_no_harm(store: Shared) {
    let mut tasks = JoinSet::new();
    for n in 0..40 {
        let store = Arc::clone(&store);
        tasks.spawn(async move { put(&*store, USERS, &format!("k{n}"), b"value", Expect::Absent).await });
        tokio::task::yield_now().await;
    }
    tasks.abort_all();
    while tasks.join_next().await.is_some() {}
    let version = put(&*store, USERS, "last", b"value", Expect::Absent).await.unwrap();
    let entries = store.list(USERS).await.unwrap();
    assert!(entries.iter().all(|entry| &*entry.value == b"value" && entry.version <= version));
    let versions: BTreeSet<_> = entries.iter().map(|entry| entry.version).collect();
    assert_eq!(versions.len(), entries.len());
}
