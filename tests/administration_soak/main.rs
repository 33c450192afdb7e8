//! Random administration against sessions that get the keys of a recorded call, again and again, by a gateway with its store and
//! its audit log: no leak, no stuck session, and the log tells exactly who got which key (R15, R21).
//!
//! It takes some 5 seconds with 40 apps. `CALLGATE_SOAK_SECONDS` sets another time, with 200 apps from a minute on, and
//! `CALLGATE_SOAK_JSON=1` prints the summary as one JSON object.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    unreachable_pub,
    missing_docs,
    reason = "a test"
)]

#[path = "../common/mod.rs"]
mod common;

mod app;
mod memory;
mod operator;
mod records;
mod seen;
mod soak;

use std::{
    env,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::json;
use tokio::sync::watch;

use memory::Rest;
use operator::Operator;
use seen::Seen;
use soak::Soak;

/// How many apps there are for a long time, and for a short one.
const APPS: [usize; 2] = [200, 40];
/// How long a segment of the audit log becomes; bytes. So there are several in any case.
const SEGMENT: [u64; 2] = [1024 * 1024, 64 * 1024];

/// What goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Apps come and go, and everything is changed.
    Run,
    /// Nothing is changed any more.
    Settle,
    /// No app comes back.
    Rest,
    /// All of it is over.
    End,
}

/// What apps and the administrator share.
pub struct Shared {
    pub stage: watch::Sender<Stage>,
    pub operator: Operator,
    pub seen: Seen,
    pub counts: Counts,
}

/// What has happened.
#[derive(Default)]
pub struct Counts {
    pub open: AtomicUsize,
    pub opened: AtomicU64,
    pub refused: AtomicU64,
    pub closed: AtomicU64,
    pub events: AtomicU64,
    pub keys: AtomicU64,
    /// Apps that wait for the end of a rest.
    pub resting: AtomicUsize,
    /// From now on it counts who gets a key.
    pub everybody_counts: AtomicBool,
    /// Apps that have got one since.
    pub satisfied: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r15_r21_under_random_administration_nothing_leaks_or_sticks_and_each_key_was_on_record() {
    let seconds: u64 = env::var("CALLGATE_SOAK_SECONDS").map_or(3, |seconds| seconds.parse().unwrap());
    let whole = Duration::from_secs(seconds);
    let size = usize::from(seconds < 60);

    let folder = tempfile::tempdir().unwrap();
    let mut soak = Soak::start(folder.path(), APPS[size], SEGMENT[size]).await;
    // Until everything has its size.
    soak.run(whole / 5).await;
    let before = soak.rest().await;
    soak.run(whole * 4 / 5).await;
    soak.all_get_a_key().await;
    let after = soak.rest().await;
    println!("at rest: {before}; {after}");
    Rest::assert_nothing_leaked(&before, &after);

    let ended = soak.end().await;
    let on_record = records::assert_all_is_on_record(folder.path(), &ended);
    let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let counts = &ended.counts;
    assert!(load(&counts.keys) > 0 && ended.changes > 0, "nothing happened: {}", ended.told);
    let (told_of_group, locked_out) = ended.reached;
    // A short time may be over before it comes to that.
    let were_reached = told_of_group > 0 && locked_out > 0;
    assert!(were_reached || seconds < 60, "{told_of_group} told of a group, {locked_out} locked out");
    let summary = json!({
        "seconds": seconds, "apps": APPS[size], "changes": ended.changes, "changes_refused": ended.refused,
        "told_of_group": told_of_group, "locked_out": locked_out,
        "opened": load(&counts.opened), "refused": load(&counts.refused), "closed": load(&counts.closed),
        "events": load(&counts.events), "keys": load(&counts.keys), "keys_without_record": 0,
        "records": on_record.records, "segments": on_record.segments,
        "leaked_bytes": after.own().cast_signed() - before.own().cast_signed(), "resident_kib": after.resident_kib,
    });
    match env::var_os("CALLGATE_SOAK_JSON") {
        Some(_) => println!("{summary}"),
        None => println!("{}; {on_record}", ended.told),
    }
}

impl std::fmt::Display for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (counts, changes, refused) = (&self.counts, self.operator.changes(), self.operator.refused());
        write!(
            f,
            "{changes} changes and {refused} refused, {} sessions open of {} opened, {} closed, {} tries refused, \
             {} events, {} keys",
            counts.open.load(Ordering::Relaxed),
            load(&counts.opened),
            load(&counts.closed),
            load(&counts.refused),
            load(&counts.events),
            load(&counts.keys),
        )
    }
}
