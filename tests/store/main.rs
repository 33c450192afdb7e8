//! What every store does, and what the embedded one does besides: on a full disk, on one that fails, and when it is killed.
//!
//! A new implementation gets a line in `conform!`, and passes.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "test code"
)]

#[path = "../common/small_disk.rs"]
mod small_disk;

mod backups;
mod faults;
mod files;
mod full_disk;
mod killed;
mod metrics;
mod model;
mod suite;
mod watching;

use std::{path::Path, sync::Arc, time::Duration};

use callgate::store::{Embedded, Memory, Options, Store};
use tempfile::TempDir;

/// The tests of the suite for each implementation: its name, and how one is made.
macro_rules! conform {
    ($($implementation:ident: $make:expr;)*) => { $(
        mod $implementation {
            use super::*;
            conform!(@tests $make;
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
    (@tests $make:expr; $($file:ident::$test:ident,)*) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let (store, _place) = $make;
            super::$file::$test(store).await;
        }
    )* };
}

conform! {
    memory: (Arc::new(Memory::new()) as Arc<dyn Store>, ());
    embedded: fresh();
}

/// An embedded store, and the folder that it needs.
fn fresh() -> (Arc<dyn Store>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    (Arc::new(store), folder)
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
