//! What every store does, and what the embedded one does besides: on a full disk, on one that fails, and when it is killed.
//!
//! A new implementation gets a line in `conform!`, which says whether it is durable, and passes.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code"
)]

#[path = "../common/skipped.rs"]
mod skipped;
#[path = "../common/small_disk.rs"]
mod small_disk;

mod backups;
#[macro_use]
mod durable;
mod faults;
mod files;
mod full_disk;
mod killed;
mod metrics;
mod model;
mod suite;
mod watching;

use std::{
    ffi::{OsStr, OsString},
    path::Path,
    sync::Arc,
    time::Duration,
};

use callgate::store::{Embedded, Memory, Options, Store};
use tempfile::TempDir;

/// An implementation, as the suite needs it.
trait Subject {
    /// Where a store can be. It is gone with this value.
    type Place;

    /// A place where there is no store yet.
    fn place() -> Self::Place;

    /// The store of this place, which nobody else has open. A new one is empty.
    fn open(place: &Self::Place) -> Arc<dyn Store>;
}

/// An implementation whose stores outlive the process that has them open.
trait Durable: Subject {
    /// Whether of several keys that are written at once all or none are there after a crash. Without transactions the first few
    /// may be.
    const HAS_TRANSACTIONS: bool;

    /// What another process finds the place by.
    fn address(place: &Self::Place) -> OsString;

    /// The store of the place with this address.
    fn open_at(address: &OsStr) -> Arc<dyn Store>;
}

/// The tests of the suite for each implementation: its name, its [`Subject`], and whether it is `durable` or `volatile`.
macro_rules! conform {
    ($($implementation:ident: $subject:ty, $lasts:ident;)*) => { $(
        mod $implementation {
            use super::*;
            $lasts!($implementation, $subject);
            conform!(@tests $subject;
                suite::one_of_many_creates_a_key,
                suite::exactly_one_wins_each_version,
                suite::what_was_deleted_can_be_made_again,
                suite::versions_rise_over_all_buckets,
                suite::a_list_is_one_bucket_in_the_order_of_its_keys,
                suite::a_list_is_of_one_moment,
                suite::any_text_is_a_key,
                suite::lengths_have_bounds,
                suite::values_are_exact_bytes,
                suite::a_conflict_says_what_is_there_and_changes_nothing,
                suite::several_keys_are_written_at_once_in_their_order,
                suite::one_of_several_keys_that_is_not_as_expected_leaves_all_as_they_were,
                suite::many_keys_are_written_at_once,
                suite::a_call_given_up_does_no_harm,
                watching::all_that_is_there_comes_first_and_then_each_change,
                watching::a_watch_is_of_one_bucket,
                watching::nothing_is_lost_between_what_is_there_and_what_changes,
                watching::who_falls_behind_is_told_everything_again,
                watching::it_ends_with_the_store,
            );
        }
    )* };
    (@tests $subject:ty; $($file:ident::$test:ident,)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let place = <$subject>::place();
            super::$file::$test(<$subject>::open(&place)).await;
        }
    )* };
}

conform! {
    memory: InMemory, volatile;
    embedded: OnDisk, durable;
}

struct InMemory;

impl Subject for InMemory {
    type Place = ();

    fn place() {}

    fn open((): &()) -> Arc<dyn Store> {
        Arc::new(Memory::new())
    }
}

struct OnDisk;

impl Subject for OnDisk {
    type Place = TempDir;

    fn place() -> TempDir {
        tempfile::tempdir().unwrap()
    }

    fn open(folder: &TempDir) -> Arc<dyn Store> {
        Arc::new(open(folder.path()))
    }
}

impl Durable for OnDisk {
    const HAS_TRANSACTIONS: bool = true;

    fn address(folder: &TempDir) -> OsString {
        folder.path().into()
    }

    fn open_at(folder: &OsStr) -> Arc<dyn Store> {
        Arc::new(open(Path::new(folder)))
    }
}

/// The store in this folder, without ballast.
fn open(folder: &Path) -> Embedded {
    Embedded::open(&folder.join("store"), options()).unwrap()
}

fn options() -> Options {
    Options { ballast: 0, retry: Duration::from_millis(10), ..Options::default() }
}

/// Whether everything is repeated as often as it can be: `CALLGATE_LONG`, set to whatever.
fn long() -> bool {
    std::env::var_os("CALLGATE_LONG").is_some()
}
