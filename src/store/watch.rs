//! Who watches a bucket, and what they are told.
//!
//! A store tells each change to [`Watchers`] in the order in which it became visible, and after that. A watcher has a task
//! that passes the changes on. When its queue is full it is *behind*: nothing more is kept for it, and once it has
//! read the rest its task reads the bucket and tells all of it. That it is behind is taken back before the bucket is read,
//! so what happens meanwhile is in the queue, in what was read, or in both; what is in both is left out by its version.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::mpsc, time::sleep};

use super::{Bucket, Change, Entry, StoreError, Version, Watch};

/// How many changes wait for a watcher's task, before it is behind.
const QUEUE: usize = 128;
/// How many wait for the watcher itself.
const CHANNEL: usize = 32;
/// How long a watcher's task waits for a store that can't be read.
const RETRY: Duration = Duration::from_secs(1);

/// A bucket's entries at one moment, and the newest version of the whole store at that moment.
pub(super) type Snapshot = (Version, Vec<Entry>);

/// Who watches.
#[derive(Debug, Default)]
pub(super) struct Watchers(Vec<Follower>);

#[derive(Debug)]
struct Follower {
    bucket: Bucket,
    queue: mpsc::Sender<Told>,
    behind: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Told {
    Change(Change),
    /// The bucket is to be read.
    Look,
}

impl Watchers {
    /// Adds a watcher, whose task reads the bucket by `snapshot`. Called on a runtime.
    pub(super) fn add<S, F>(&mut self, bucket: Bucket, snapshot: S) -> Watch
    where
        S: Fn() -> F + Send + 'static,
        F: Future<Output = Result<Snapshot, StoreError>> + Send + 'static,
    {
        let (queue, told) = mpsc::channel(QUEUE);
        let (watcher, watch) = mpsc::channel(CHANNEL);
        let behind = Arc::new(AtomicBool::new(true));
        tokio::spawn(pass_on(told, Arc::clone(&behind), snapshot, watcher));
        self.0.push(Follower { bucket, queue, behind });
        watch
    }

    /// Tells what has changed.
    pub(super) fn tell(&mut self, bucket: Bucket, change: &Change) {
        self.0.retain(|follower| !follower.queue.is_closed());
        for follower in self.0.iter().filter(|follower| follower.bucket == bucket) {
            if !follower.behind.load(Ordering::SeqCst) && follower.queue.try_send(Told::Change(change.clone())).is_err()
            {
                follower.behind.store(true, Ordering::SeqCst);
            }
        }
    }

    /// Everything may have changed.
    pub(super) fn resync(&mut self) {
        for follower in &self.0 {
            follower.behind.store(true, Ordering::SeqCst);
            // If it is full its task wakes anyway.
            let _ = follower.queue.try_send(Told::Look);
        }
    }

    /// Ends all watches.
    pub(super) fn close(&mut self) {
        self.0.clear();
    }
}

/// A watcher's task.
async fn pass_on<S, F>(
    mut told: mpsc::Receiver<Told>,
    behind: Arc<AtomicBool>,
    snapshot: S,
    watcher: mpsc::Sender<Change>,
) where
    S: Fn() -> F + Send,
    F: Future<Output = Result<Snapshot, StoreError>> + Send,
{
    let mut seen = Version(0);
    loop {
        if told.is_empty() && behind.swap(false, Ordering::SeqCst) {
            let read = tokio::select! {
                read = snapshot() => read,
                () = watcher.closed() => return,
            };
            let Ok((version, entries)) = read else {
                behind.store(true, Ordering::SeqCst);
                if told.is_closed() {
                    return;
                }
                tokio::select! {
                    () = sleep(RETRY) => continue,
                    () = watcher.closed() => return,
                }
            };
            seen = version;
            if watcher.send(Change::Resync(entries)).await.is_err() {
                return;
            }
        }
        let change = tokio::select! {
            change = told.recv() => change,
            () = watcher.closed() => return,
        };
        match change {
            None => return,
            Some(Told::Change(change)) if change.version() > seen => {
                if watcher.send(change).await.is_err() {
                    return;
                }
            }
            Some(Told::Change(_) | Told::Look) => {}
        }
    }
}
