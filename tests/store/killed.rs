//! How a process with a store is killed, and what the embedded store does besides: a restore that is killed.
//!
//! The test runs its own binary as the process: a test that does nothing unless a variable says what its part is.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use callgate::store::{Embedded, Expect, Store, restore};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use crate::{
    backups::Whole,
    long, open, options,
    suite::{USERS, put},
};

/// Where the store is, for a process that is to be killed.
pub(crate) const PLACE: &str = "CALLGATE_TEST_STORE";

/// Two backups are restored in turn, over a store that is made anew now and then.
#[test]
fn restores_until_it_is_killed() {
    let Some(folder) = std::env::var_os(PLACE) else { return };
    let folder = Path::new(&folder);
    for n in 0_u64.. {
        let restored = restore(&folder.join(format!("backup-{}", n % 2)), &folder.join("store"), &options(), &Whole);
        say(&format!("epoch {}", restored.unwrap().epoch.0));
    }
}

/// The line is begun anew: the test harness writes, too.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Runs a part, kills it after so many lines of its own, and returns all that it said.
pub(crate) fn run_and_kill(part: &str, place: &OsStr, lines: u32) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([part, "--exact", "--nocapture", "--test-threads=1"])
        .env(PLACE, place)
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

pub(crate) fn rounds() -> u32 {
    if long() { 200 } else { 10 }
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
        let said =
            run_and_kill("killed::restores_until_it_is_killed", folder.path().as_os_str(), 1 + draw.next_u32() % 8);
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
