//! Backups while the store goes on, and what a restore makes of them.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use callgate::store::{
    self, BUCKETS, BackupError, Bucket, Difference, Embedded, Epoch, Expect, Fate, Holdings, Reconcile, Restore, Step,
    Store, StoreError, Values, Version, restore,
};
use tokio::task::JoinSet;

use crate::{
    open, options,
    suite::{USERS, delete, number, put},
};

/// What the backup has, and nothing else.
pub(crate) struct Whole;

impl Reconcile for Whole {
    fn reconcile(&self, bucket: Bucket, _: Holdings<'_>, backup: Holdings<'_>) -> Result<Values, String> {
        Ok(backup.values(bucket))
    }
}

/// Made up, as those who know what the values mean would do it: what was revoked stays revoked, a serial number that was given
/// stays given, no profile stays open, and what the log hasn't taken yet stays.
struct MadeUp;

impl Reconcile for MadeUp {
    fn reconcile(&self, bucket: Bucket, store: Holdings<'_>, backup: Holdings<'_>) -> Result<Values, String> {
        let (store, mut backup) = (store.values(bucket), backup.values(bucket));
        match bucket {
            Bucket::CERTIFICATES => {
                for (key, value) in store {
                    if &*value == b"revoked" || !backup.contains_key(&key) {
                        backup.insert(key, value);
                    }
                }
            }
            Bucket::OUTBOX => return Ok(store),
            Bucket::PROFILES => {
                for value in backup.values_mut().filter(|value| &***value == b"open") {
                    *value = b"failed".as_slice().into();
                }
            }
            Bucket::GROUPS if store.contains_key("refuse") => return Err("it has a group that refuses".into()),
            _ => {}
        }
        Ok(backup)
    }
}

type Plain = BTreeMap<(&'static str, String), String>;

async fn content(store: &dyn Store) -> Plain {
    let mut content = Plain::new();
    for bucket in BUCKETS {
        for entry in store.list(*bucket).await.unwrap() {
            content.insert((bucket.0, entry.key), String::from_utf8(entry.value.to_vec()).unwrap());
        }
    }
    content
}

async fn fill(store: &dyn Store, entries: &[(Bucket, &str, &str)]) {
    for (bucket, key, value) in entries {
        let there = store.get(*bucket, key).await.unwrap();
        let expect = there.map_or(Expect::Absent, |entry| Expect::Version(entry.version));
        put(store, *bucket, key, value.as_bytes(), expect).await.unwrap();
    }
}

fn plain(entries: &[(Bucket, &str, &str)]) -> Plain {
    entries.iter().map(|(bucket, key, value)| ((bucket.0, (*key).to_owned()), (*value).to_owned())).collect()
}

const BEFORE: &[(Bucket, &str, &str)] = &[
    (USERS, "ann", "1"),
    (USERS, "odd \u{0}\"\n😀", "2"),
    (Bucket::CERTIFICATES, "01", "issued"),
    (Bucket::PROFILES, "p", "open"),
    (Bucket::PROFILES, "q", "done"),
    (Bucket::OUTBOX, "1", "old"),
];

#[tokio::test]
async fn a_restore_forgets_no_revocation_and_opens_no_profile() {
    let folder = tempfile::tempdir().unwrap();
    let (file, backup) = (folder.path().join("store"), folder.path().join("backup"));
    let store = open(folder.path());
    fill(&store, BEFORE).await;
    let made = store.backup(&backup).await.unwrap();
    assert_eq!((made.entries, made.epoch, made.version), (6, Epoch(1), Version(6)));
    assert_eq!(made.bytes, fs::metadata(&backup).unwrap().len());
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    fill(
        &store,
        &[
            (USERS, "ann", "changed"),
            (USERS, "new", "3"),
            (Bucket::CERTIFICATES, "01", "revoked"),
            (Bucket::CERTIFICATES, "02", "issued"),
            (Bucket::OUTBOX, "1", "new"),
        ],
    )
    .await;
    let newest = store.get(Bucket::OUTBOX, "1").await.unwrap().unwrap().version;

    let closed = folder.path().join("closed");
    let error = store::backup(&file, &closed, &options()).unwrap_err();
    assert!(matches!(error, BackupError::Store(StoreError::InUse(_))), "{error}");
    let error = restore(&backup, &file, &options(), &MadeUp).unwrap_err();
    assert!(matches!(error, BackupError::Store(StoreError::InUse(_))), "{error}");
    drop(store);
    let plan = Restore::plan(&backup, &file, &options(), &MadeUp).unwrap();
    let difference = |(bucket, key, fate): (Bucket, &str, Fate)| Difference { bucket, key: key.into(), fate };
    let differences =
        [(Bucket::PROFILES, "p", Fate::Changed), (USERS, "ann", Fate::Changed), (USERS, "new", Fate::Gone)];
    assert_eq!(plan.differences(), differences.map(difference));
    assert!(matches!(store::backup(&file, &closed, &options()), Err(BackupError::Store(StoreError::InUse(_)))));
    let outcome = plan.outcome();
    drop(plan);
    let unchanged = open(folder.path());
    assert_eq!(unchanged.get(Bucket::OUTBOX, "1").await.unwrap().unwrap().version, newest, "a plan changes nothing");
    drop(unchanged);
    let restored = restore(&backup, &file, &options(), &MadeUp).unwrap();
    assert_eq!((restored.entries, restored.epoch), (7, Epoch(2)));
    assert_eq!(restored, outcome);

    let store = open(folder.path());
    assert_eq!(store.epoch().await.unwrap(), Epoch(2));
    let expected = [
        (USERS, "ann", "1"),
        (USERS, "odd \u{0}\"\n😀", "2"),
        (Bucket::CERTIFICATES, "01", "revoked"),
        (Bucket::CERTIFICATES, "02", "issued"),
        (Bucket::PROFILES, "p", "failed"),
        (Bucket::PROFILES, "q", "done"),
        (Bucket::OUTBOX, "1", "new"),
    ];
    assert_eq!(content(&store).await, plain(&expected));
    for bucket in BUCKETS {
        assert!(store.list(*bucket).await.unwrap().iter().all(|entry| entry.version > newest), "a version went back");
    }

    // Again, and by a backup of a store that is ahead.
    drop(store);
    let other = Embedded::open(&folder.path().join("other"), options()).unwrap();
    assert_eq!(restore(&backup, &file, &options(), &MadeUp).unwrap().epoch, Epoch(3));
    other.backup(&backup).await.unwrap();
    let restored = restore(&backup, &file, &options(), &Whole).unwrap();
    assert_eq!((restored.entries, restored.epoch), (0, Epoch(4)));
    assert!(restored.version >= newest, "versions rise also where nothing is left");
    drop(other);
    let far = open(folder.path());
    far.backup(&backup).await.unwrap();
    assert_eq!(restore(&backup, &folder.path().join("other"), &options(), &Whole).unwrap().epoch, Epoch(5));
}

#[tokio::test]
async fn a_backup_goes_to_a_machine_that_has_no_store() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(here.path());
    fill(&store, BEFORE).await;
    store.backup(&here.path().join("backup")).await.unwrap();
    let new = there.path().join("a/b/store");
    assert_eq!(restore(&here.path().join("backup"), &new, &options(), &Whole).unwrap().epoch, Epoch(2));
    assert_eq!(fs::metadata(&new).unwrap().permissions().mode() & 0o777, 0o600);
    let restored = Embedded::open(&new, options()).unwrap();
    assert_eq!(content(&restored).await, content(&store).await);
}

/// A store that nobody has open is backed up as it is, and one that isn't there isn't made by it.
#[tokio::test]
async fn a_closed_store_is_backed_up_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (file, backup) = (folder.path().join("a/store"), folder.path().join("backup"));
    assert!(matches!(store::backup(&file, &backup, &options()), Err(BackupError::NoStore(_))));
    assert!(!folder.path().join("a").exists() && !backup.exists());

    let store = Embedded::open(&file, options()).unwrap();
    fill(&store, BEFORE).await;
    let open = store.backup(&backup).await.unwrap();
    let text = fs::read_to_string(&backup).unwrap();
    drop(store);
    // A later gateway, which has another format: it isn't migrated by that.
    let later = store::Options { steps: SHOUTED, ..options() };
    let closed = store::backup(&file, &backup, &later).unwrap();
    assert_eq!((closed.entries, closed.epoch, closed.version), (open.entries, open.epoch, open.version));
    let entries = |text: &str| text.lines().skip(1).take(BEFORE.len()).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(entries(&fs::read_to_string(&backup).unwrap()), entries(&text));
    assert_eq!(content(&Embedded::open(&file, options()).unwrap()).await, plain(BEFORE));
}

/// Pairs are written in turn while backups are made: each backup has both of a pair, or only the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_of_one_moment_while_writes_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    let mut writer = JoinSet::new();
    let own = Arc::clone(&store);
    writer.spawn(async move {
        let mut versions: BTreeMap<Bucket, Expect> = BTreeMap::new();
        for n in 1..=100_u64 {
            // The one that is written first comes last in the backup.
            for bucket in [USERS, Bucket::ACCOUNTS] {
                let expect = versions.get(&bucket).copied().unwrap_or(Expect::Absent);
                let version = put(&*own, bucket, "k", n.to_string().as_bytes(), expect).await.unwrap();
                versions.insert(bucket, Expect::Version(version));
            }
        }
    });
    for round in 0.. {
        let backup = folder.path().join("backup");
        store.backup(&backup).await.unwrap();
        let other = folder.path().join(format!("other-{round}"));
        restore(&backup, &other, &options(), &Whole).unwrap();
        let other = Embedded::open(&other, options()).unwrap();
        let mut n = [0, 0];
        for (n, bucket) in n.iter_mut().zip([USERS, Bucket::ACCOUNTS]) {
            *n = other.get(bucket, "k").await.unwrap().map_or(0, |entry| number(&entry.value));
        }
        assert!(n[1] <= n[0] && n[0] <= n[1] + 1, "{n:?}");
        if writer.try_join_next().is_some() {
            assert!(round > 0);
            return;
        }
    }
}

#[tokio::test]
async fn a_backup_that_is_not_whole_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (file, backup) = (folder.path().join("store"), folder.path().join("backup"));
    let store = open(folder.path());
    fill(&store, BEFORE).await;
    store.backup(&backup).await.unwrap();
    fill(&store, &[(USERS, "new", "3")]).await;
    let expected = content(&store).await;
    drop(store);
    let before = fs::read(&file).unwrap();
    let whole = fs::read(&backup).unwrap();

    // Cut at each byte, and with each byte changed.
    let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
    let changed = (0..whole.len()).map(|at| {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        changed
    });
    let text = String::from_utf8(whole.clone()).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let others = [
        Vec::new(),
        [&whole[..], b"\n"].concat(),
        [&whole[..], &whole[..]].concat(),
        lines[1..].concat().into_bytes(),
        [&lines[..1], &lines[2..]].concat().concat().into_bytes(),
        [&lines[..2], &lines[1..]].concat().concat().into_bytes(),
        [lines[0], lines[0]].concat().into_bytes(),
        vec![b'x'; 3_000_000],
        before.clone(),
    ];
    for broken in cut.chain(changed).chain(others) {
        fs::write(&backup, &broken).unwrap();
        match restore(&backup, &file, &options(), &Whole) {
            Err(BackupError::Broken { .. }) => {}
            // The format in the first line was changed to one that isn't known.
            Err(BackupError::Store(StoreError::TooNew { .. })) => {}
            other => panic!("{other:?}: {:?}", String::from_utf8_lossy(&broken)),
        }
    }
    assert_eq!(fs::read(&file).unwrap(), before, "not one byte");
    assert_eq!(content(&open(folder.path())).await, expected);
}

#[tokio::test]
async fn what_does_not_go_together_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (file, backup) = (folder.path().join("store"), folder.path().join("backup"));
    let store = open(folder.path());
    fill(&store, BEFORE).await;
    store.backup(&backup).await.unwrap();
    fill(&store, &[(Bucket::GROUPS, "refuse", "")]).await;
    drop(store);
    let error = restore(&backup, &file, &options(), &MadeUp).unwrap_err();
    assert_eq!(error.to_string(), "groups: it has a group that refuses");
    assert_eq!(open(folder.path()).epoch().await.unwrap(), Epoch(1));

    let nowhere = folder.path().join("nowhere");
    assert!(matches!(restore(&nowhere, &file, &options(), &MadeUp), Err(BackupError::Io { .. })));
    fs::write(&file, "not a store").unwrap();
    let error = restore(&backup, &file, &options(), &MadeUp).unwrap_err();
    assert!(matches!(error, BackupError::Store(StoreError::Damaged { .. })), "{error}");
    assert_eq!(fs::read(&file).unwrap(), b"not a store");
}

fn shout(buckets: &mut BTreeMap<String, Values>) -> Result<(), String> {
    for value in buckets.get_mut("users").into_iter().flat_map(BTreeMap::values_mut) {
        *value = value.to_ascii_uppercase().into();
    }
    Ok(())
}

const SHOUTED: &[Step] = &[Step { what: "users are shouted", run: shout }];

/// A backup of an older format goes into a store of an older format, and both are migrated first.
#[tokio::test]
async fn an_older_backup_is_migrated() {
    let folder = tempfile::tempdir().unwrap();
    let (file, backup) = (folder.path().join("store"), folder.path().join("backup"));
    let store = open(folder.path());
    fill(&store, &[(USERS, "ann", "quiet")]).await;
    store.backup(&backup).await.unwrap();
    drop(store);
    let newer = store::Options { steps: SHOUTED, ..options() };
    struct Both;
    impl Reconcile for Both {
        fn reconcile(&self, bucket: Bucket, store: Holdings<'_>, backup: Holdings<'_>) -> Result<Values, String> {
            let (store, backup) = (store.values(bucket), backup.values(bucket));
            assert_eq!(store, backup);
            assert!(bucket != USERS || &*store["ann"] == b"QUIET");
            Ok(backup)
        }
    }
    restore(&backup, &file, &newer, &Both).unwrap();
    let store = Embedded::open(&file, newer.clone()).unwrap();
    assert_eq!(content(&store).await, plain(&[(USERS, "ann", "QUIET")]));

    store.backup(&backup).await.unwrap();
    drop(store);
    let error = restore(&backup, Path::new(&file), &options(), &Whole).unwrap_err();
    assert!(matches!(error, BackupError::Store(StoreError::TooNew { found: 2, known: 1, .. })), "{error}");
}

#[tokio::test]
async fn a_backup_that_can_not_be_written_leaves_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let version = put(&store, USERS, "ann", b"1", Expect::Absent).await.unwrap();
    let error = store.backup(&folder.path().join("nowhere/backup")).await.unwrap_err();
    assert!(matches!(error, BackupError::Io { .. }), "{error}");
    let backup = folder.path().join("backup");
    store.backup(&backup).await.unwrap();
    delete(&store, USERS, "ann", version).await.unwrap();
    assert_eq!(store.backup(&backup).await.unwrap().entries, 0, "it takes the place of the one before");
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "nothing else is left: {names:?}");
}
