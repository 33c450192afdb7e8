//! What an embedded store counts.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use callgate::store::{Embedded, Expect, Fault, Options, Touch};
use metrics::{Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use crate::{
    options,
    suite::{USERS, put},
};

/// What all tests of this binary have counted, by name and labels.
static COUNTED: LazyLock<Mutex<BTreeMap<String, Arc<AtomicU64>>>> = LazyLock::new(Mutex::default);

struct Counting;

/// How often something was measured, whatever it was.
struct Times(Arc<AtomicU64>);

impl HistogramFn for Times {
    fn record(&self, seconds: f64) {
        assert!((0.0..60.0).contains(&seconds), "seconds");
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn place(key: &Key) -> Arc<AtomicU64> {
    let labels = key.labels().map(|label| format!(" {}={}", label.key(), label.value()));
    let name = labels.fold(key.name().to_owned(), |name, label| name + &label);
    Arc::clone(COUNTED.lock().unwrap().entry(name).or_default())
}

impl Recorder for Counting {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(place(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(place(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Times(place(key))))
    }
}

#[tokio::test]
async fn commits_conflicts_and_errors_are_counted() {
    let _ = metrics::set_global_recorder(Counting);
    let folder = tempfile::tempdir().unwrap();
    let fails = Arc::new(AtomicBool::new(false));
    let disk = Arc::clone(&fails);
    let fault = Fault::new(move |touch| {
        let fails = touch == Touch::Flush && disk.load(Ordering::Relaxed);
        if fails { Err(io::ErrorKind::Other.into()) } else { Ok(()) }
    });
    let store = Embedded::open(&folder.path().join("store"), Options { fault: Some(fault), ..options() }).unwrap();
    put(&store, USERS, "ann", b"1", Expect::Absent).await.unwrap();
    put(&store, USERS, "ann", b"1", Expect::Absent).await.unwrap_err();
    fails.store(true, Ordering::Relaxed);
    put(&store, USERS, "bob", b"1", Expect::Absent).await.unwrap_err();
    let counted = COUNTED.lock().unwrap();
    for name in [
        "callgate_store_commits_total",
        "callgate_store_commit_seconds",
        "callgate_store_conflicts_total bucket=users",
        "callgate_store_errors_total kind=io",
    ] {
        let times = counted.get(name).map_or(0, |times| times.load(Ordering::Relaxed));
        assert!(times > 0, "{name} wasn't counted, but {:?}", counted.keys());
    }
}
