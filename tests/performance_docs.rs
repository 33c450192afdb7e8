//! `docs/PERFORMANCE.md` and its plots are what `benches/report/` makes of the results in `docs/performance/`.
//!
//! `UPDATE=1` writes them anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "a test, with parts of the benchmarks"
)]

#[path = "../benches/report/mod.rs"]
mod report;

use std::{
    fs,
    path::{Path, PathBuf},
};

use report::{
    page::{Results, fanout_plot, page},
    results::Shape,
};
use serde::de::DeserializeOwned;

#[test]
fn the_page_and_its_plots_are_made_from_the_results() {
    let results = Results {
        fanout: read("fanout"),
        metrics: read("metrics"),
        handshake: read("handshake"),
        memory: read("memory"),
        administration: read("administration"),
        steps: read("steps"),
        profile: fs::read_to_string(folder().join("profile.md")).unwrap(),
    };
    let made = [
        (docs().join("PERFORMANCE.md"), page(&results)),
        (folder().join("one-in-flight.svg"), fanout_plot(&results.fanout, Shape::OneInFlight)),
        (folder().join("flat-out.svg"), fanout_plot(&results.fanout, Shape::FlatOut)),
    ];
    for (path, text) in made {
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let name = path.file_name().unwrap().to_string_lossy();
        assert!(
            fs::read_to_string(&path).is_ok_and(|there| there == text),
            "{name} is not what is made of docs/performance: UPDATE=1 cargo test --test performance_docs"
        );
    }
}

#[test]
fn results_say_nothing_of_where_they_were_made() {
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for word in ["/home", "/root", "/tmp", "/work", "hostname"] {
            assert!(!text.contains(word), "{} has {word:?}", path.display());
        }
    }
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = folder().join(name).with_extension("json");
    let text = fs::read_to_string(&path).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

fn folder() -> PathBuf {
    docs().join("performance")
}
