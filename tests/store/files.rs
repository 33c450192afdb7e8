//! The files of an embedded store: who may open them, what a crash leaves, and what isn't a store.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
    process::Command,
};

use callgate::store::{BUCKETS, Embedded, Epoch, Expect, Options, Step, Store, StoreError, Values, Version};

use crate::{
    open, options,
    skipped::skipped,
    suite::{USERS, put},
};

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn r20_its_files_are_for_their_owner_only_and_its_folder_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let own = folder.path().join("deep/own");
    let store = Embedded::open(&own.join("store"), Options { ballast: 100_000, ..options() }).unwrap();
    put(&store, USERS, "ann", b"1", Expect::Absent).await.unwrap();
    assert_eq!(names(&own), ["store", "store.ballast", "store.lock"]);
    for name in names(&own) {
        assert_eq!(fs::metadata(own.join(&name)).unwrap().mode() & 0o777, 0o600, "{name}");
    }
    assert_eq!(fs::metadata(&own).unwrap().mode() & 0o777, 0o700);
    let ballast = fs::metadata(own.join("store.ballast")).unwrap();
    assert_eq!(ballast.len(), 100_000);
    assert!(ballast.blocks() * 512 >= 100_000, "it is really there");
}

#[tokio::test]
async fn another_process_is_kept_out_and_let_in_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let store = open(folder.path());
    let version = put(&store, USERS, "ann", b"1", Expect::Absent).await.unwrap();
    let error = Embedded::open(&file, options()).unwrap_err();
    assert_eq!(error.to_string(), format!("{}: another process has it open", file.display()));
    drop(store);
    let store = open(folder.path());
    assert_eq!(store.get(USERS, "ann").await.unwrap().unwrap().version, version);
    assert_eq!(store.epoch().await.unwrap(), Epoch(1));
}

#[tokio::test]
async fn what_a_crash_leaves_while_it_is_made_blocks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let whole = fs::read(folder.path().join("store")).unwrap();
    for left in [&whole[..], &whole[..whole.len() / 2], b"", b"junk"] {
        fs::remove_file(folder.path().join("store")).unwrap();
        fs::write(folder.path().join("store.new"), left).unwrap();
        fs::write(folder.path().join("store.ballast"), left).unwrap();
        let store = Embedded::open(&folder.path().join("store"), Options { ballast: 50_000, ..options() }).unwrap();
        assert_eq!(put(&store, USERS, "ann", b"1", Expect::Absent).await.unwrap(), Version(1));
        assert_eq!(names(folder.path()), ["store", "store.ballast", "store.lock"]);
        assert!(fs::metadata(folder.path().join("store.ballast")).unwrap().len() >= 50_000);
    }
}

#[test]
fn what_is_not_a_store_is_left_alone_and_it_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let foreign = folder.path().join("foreign");
    {
        let database = redb::Database::create(&foreign).unwrap();
        let write = database.begin_write().unwrap();
        write.open_table(redb::TableDefinition::<u64, u64>::new("callgate")).unwrap().insert(1, 1).unwrap();
        write.commit().unwrap();
    }
    for (content, reason) in [
        (Vec::new(), "it is empty"),
        (b"users = []\n".to_vec(), "it isn't a store"),
        (vec![0; 100_000], "it isn't a store"),
        (fs::read(&foreign).unwrap(), "it isn't a store of Callgate"),
    ] {
        fs::write(&file, &content).unwrap();
        let error = Embedded::open(&file, options()).unwrap_err();
        assert_eq!(error.to_string(), format!("{}: {reason}: move it away and restore a backup", file.display()));
        assert!(matches!(error, StoreError::Damaged { .. }));
        let now = fs::read(&file).unwrap();
        assert!(now == content || reason.ends_with("Callgate"), "{reason}: it was changed");
    }
}

/// Bytes are changed all over the file. Each time it is opened with all that it had, or it is said that it is damaged.
#[tokio::test]
async fn damage_is_found_when_it_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let store = open(folder.path());
    for n in 0..50 {
        put(&store, USERS, &format!("k{n}"), &[n; 400], Expect::Absent).await.unwrap();
    }
    let expected = store.list(USERS).await.unwrap();
    drop(store);
    let whole = fs::read(&file).unwrap();
    let mut found = 0;
    for at in (0..whole.len()).step_by(if crate::long() { 23 } else { 997 }) {
        let mut damaged = whole.clone();
        for byte in damaged.iter_mut().skip(at).take(16) {
            *byte ^= 0x55;
        }
        fs::write(&file, &damaged).unwrap();
        match Embedded::open(&file, options()) {
            Ok(store) => assert_eq!(store.list(USERS).await.unwrap(), expected, "at {at}"),
            Err(StoreError::Damaged { .. }) => found += 1,
            Err(other) => panic!("at {at}: {other}"),
        }
    }
    assert!(found > 0);
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(Embedded::open(&file, options()), Err(StoreError::Damaged { .. })), "cut");
}

#[test]
fn a_folder_that_is_not_ours_is_an_error_of_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    let taken = folder.path().join("taken");
    fs::write(&taken, "").unwrap();
    assert!(matches!(Embedded::open(&taken.join("store"), options()), Err(StoreError::Unavailable(_))));
    // Root may write everywhere.
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o500)).unwrap();
    if Command::new("touch").arg(folder.path().join("x")).status().is_ok_and(|status| !status.success()) {
        assert!(matches!(Embedded::open(&folder.path().join("store"), options()), Err(StoreError::Unavailable(_))));
    } else {
        skipped("unwritable-folder", "root may write everywhere: it was not looked at what is said where nobody may");
    }
}

const TO_2: Step = Step { what: "values have an end", run: to_2 };
const TO_3: Step = Step { what: "users are upside down", run: to_3 };

fn to_2(buckets: &mut std::collections::BTreeMap<String, Values>) -> Result<(), String> {
    for value in buckets.values_mut().flat_map(Values::values_mut) {
        *value = [value, &b"."[..]].concat().into();
    }
    Ok(())
}

fn to_3(buckets: &mut std::collections::BTreeMap<String, Values>) -> Result<(), String> {
    for (key, value) in buckets.get_mut("users").into_iter().flatten() {
        if key == "odd" {
            return Err("odd is none of ours".into());
        }
        *value = value.iter().rev().copied().collect();
    }
    Ok(())
}

#[tokio::test]
async fn an_older_format_is_migrated_and_a_newer_one_refused() {
    const STEPS: &[&[Step]] = &[&[], &[TO_2], &[TO_2, TO_3]];
    for (old, new, value) in [(0, 1, "ab."), (0, 2, ".ba"), (1, 2, "ba"), (2, 2, "ab")] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store");
        let with = |steps: usize| Options { steps: STEPS[steps], ..options() };
        let store = Embedded::open(&file, with(old)).unwrap();
        let mut newest = Version(0);
        for bucket in BUCKETS {
            newest = put(&store, *bucket, "k", b"ab", Expect::Absent).await.unwrap();
        }
        drop(store);

        let store = Embedded::open(&file, with(new)).unwrap();
        let there = store.get(USERS, "k").await.unwrap().unwrap();
        assert_eq!(std::str::from_utf8(&there.value).unwrap(), value);
        let changed = put(&store, USERS, "k", b"x", Expect::Version(there.version)).await.unwrap();
        assert!(changed > newest);
        drop(store);
        if new > old {
            let error = Embedded::open(&file, with(old)).unwrap_err();
            let known = old as u32 + 1;
            assert!(
                matches!(error, StoreError::TooNew { found, known: k, .. } if (found, k) == (new as u32 + 1, known))
            );
        }
    }
}

#[tokio::test]
async fn a_migration_that_fails_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store");
    let store = open(folder.path());
    put(&store, USERS, "odd", b"ab", Expect::Absent).await.unwrap();
    drop(store);
    let error = Embedded::open(&file, Options { steps: &[TO_2, TO_3], ..options() }).unwrap_err();
    let reason = "format 2: users are upside down: odd is none of ours: move it away and restore a backup";
    assert_eq!(error.to_string(), format!("{}: {reason}", file.display()));
    let store = open(folder.path());
    assert_eq!(&*store.get(USERS, "odd").await.unwrap().unwrap().value, b"ab");
}
