//! The audit log's disk fails while a served gateway is administered and keys are wanted (R21, R42): no key without its
//! record, whatever is taken is taken at once, and all of it is on record when the disk is mended, over a kill -9 too.
//!
//! The test that kills runs its own binary as the process: a test that does nothing unless a variable says what its part is.

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

mod full_disk;
mod given;
mod said;
#[path = "../common/skipped.rs"]
mod skipped;
#[path = "../common/small_disk.rs"]
mod small_disk;
mod world;

use std::{
    collections::HashMap,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use callgate::audit::{Fault, Flush, Options, Touch};
use tokio::time::sleep;

use world::{Say, Seen, World, log_options};

/// Says to the test's own process what its part is: the folder, what fails, and when.
const PART: &str = "CALLGATE_TEST_OUTAGE";
/// What that process says last.
const END: &str = "end";
/// And this when its disk has failed and the log is closed.
const CLOSED: &str = "closed";
/// How long something may take that is only waited for.
const PATIENCE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn r15_r21_whichever_write_or_flush_fails_no_key_is_without_its_record_and_what_is_taken_is_taken_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(BadDisk::default());
    let world = start(folder.path(), &disk).await;
    let mut seen = Vec::new();
    static DONE: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let say = |line: &str| DONE.lock().unwrap().extend(line.strip_prefix("done ").map(str::to_owned));
    for (touch, at) in points().into_iter().filter(|(_, at)| is_long() || at % 3 == 1) {
        seen.extend(outage(&world, &disk, touch, at, say).await);
    }
    let said = world.end(folder.path()).await;
    DONE.lock().unwrap().iter().for_each(|line| said.assert_told(line, &["done", "recovered"]));
    let keys: usize = seen.iter().map(|seen| seen.keys.len()).sum();
    let unrecordable: usize = seen.iter().map(|seen| seen.unrecordable).sum();
    println!("{} sessions, {keys} keys, {unrecordable} not recordable", seen.len());
    assert!(keys > 100 && unrecordable > 5, "{keys} keys, {unrecordable} not recordable");
    said.check(&seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_r42_nothing_that_was_acknowledged_is_lost_by_kill_9_while_the_disk_fails() {
    for (touch, at) in points().into_iter().filter(|(_, at)| is_long() || at % 5 == 1) {
        let folder = tempfile::tempdir().unwrap();
        let name = if touch == Touch::Write { "write" } else { "flush" };
        let part = format!("{}:{name}:{at}", folder.path().display());
        // In the middle of what it takes away, or when all is done: each for disks that have failed, and that are about to.
        let changes = 1 + at / 2 % 4;
        let told = killed("administers_until_it_is_killed", &part, changes);
        let position = |begin| told.iter().position(|line: &String| line.starts_with(begin));
        let has_failed = position(CLOSED).is_some_and(|closed| Some(closed) < position("done "));
        assert!(has_failed || !is_before(at), "killed before its disk has failed: {told:?}");
        let done = told.iter().filter(|line| line.starts_with("done ")).count();
        assert!(done >= changes.min(3), "{told:?}");
        let world = start(folder.path(), &Arc::default()).await;
        for line in told.iter().filter_map(|line| line.strip_prefix("done ")) {
            world.assert_is_so(line);
        }
        world.until_delivered().await;
        let said = world.end(folder.path()).await;
        for line in told.iter().filter_map(|line| line.strip_prefix("done ")) {
            said.assert_told(line, &["done", "recovered"]);
        }
        said.check(&seen_by(&told));
    }
}

/// The process that is killed: it says each key that its apps got, and each change that was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn administers_until_it_is_killed() {
    let Ok(part) = std::env::var(PART) else { return };
    let [at, touch, folder] = part.rsplitn(3, ':').collect::<Vec<_>>()[..] else { panic!("{part}") };
    let touch = if touch == "write" { Touch::Write } else { Touch::Flush };
    let disk = Arc::new(BadDisk::default());
    let world = start(Path::new(folder), &disk).await;
    outage(&world, &disk, touch, at.parse().unwrap(), say_out).await;
    say_out(END);
    std::future::pending::<()>().await;
}

/// Runs a test of this name as a process with this part, and kills it when it has said that so many changes are done, or that
/// no more will be. Returns what it has said.
fn killed(test: &str, part: &str, changes: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(PART, part)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let own = |line: &String| ["key ", "done ", CLOSED, END].iter().any(|begin| line.starts_with(begin));
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).filter(own);
    let (mut told, mut done) = (Vec::new(), 0);
    while done < changes && told.last().is_none_or(|line| line != END) {
        let line = lines.next().expect("it has ended by itself");
        done += usize::from(line.starts_with("done "));
        told.push(line);
    }
    child.kill().unwrap();
    told.extend(lines);
    child.wait().unwrap();
    told
}

/// Says a line to the process that reads.
fn say_out(line: &str) {
    let mut out = io::stdout().lock();
    // The test harness writes, too.
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// The keys that it was told of.
fn seen_by(told: &[String]) -> Vec<Seen> {
    let mut seen: HashMap<&str, Seen> = HashMap::new();
    for line in told.iter().filter_map(|line| line.strip_prefix("key ")) {
        let (session, key) = line.split_once(' ').unwrap();
        let of_session = seen.entry(session).or_default();
        of_session.session = session.into();
        of_session.keys.push(key.into());
    }
    seen.into_values().collect()
}

/// Each write and each flush of the first 50.
fn points() -> Vec<(Touch, usize)> {
    (1..=50).flat_map(|at| [(Touch::Write, at), (Touch::Flush, at)]).collect()
}

fn is_long() -> bool {
    std::env::var_os("CALLGATE_LONG").is_some()
}

/// A disk of which some touch fails, and from then on each, until it is mended.
#[derive(Default)]
struct BadDisk(Mutex<Health>);

#[derive(Default)]
enum Health {
    #[default]
    Good,
    /// Until so many touches of this kind are done.
    Until(Touch, usize),
    Broken,
}

impl BadDisk {
    fn fault(self: &Arc<Self>) -> Fault {
        let disk = Arc::clone(self);
        Fault::new(move |touch| {
            let mut health = disk.0.lock().unwrap();
            match &mut *health {
                Health::Until(kind, left) if *kind == touch => {
                    *left -= 1;
                    if *left == 0 {
                        *health = Health::Broken;
                    }
                }
                _ => {}
            }
            match *health {
                // EIO
                Health::Broken => Err(io::Error::from_raw_os_error(5)),
                _ => Ok(()),
            }
        })
    }

    fn set(&self, health: Health) {
        *self.0.lock().unwrap() = health;
    }

    fn is_broken(&self) -> bool {
        matches!(*self.0.lock().unwrap(), Health::Broken)
    }
}

/// A gateway whose log is on this disk.
async fn start(folder: &Path, disk: &Arc<BadDisk>) -> World {
    let options = Options {
        flush: Flush::Every(Duration::from_millis(2)),
        reserve_bytes: 0,
        retry: Duration::from_millis(1),
        fault: Some(disk.fault()),
        ..log_options(folder)
    };
    World::start(folder, options).await
}

/// Whether this point's disk fails before anything is taken. Of the others it fails meanwhile, or just after it.
fn is_before(at: usize) -> bool {
    at.is_multiple_of(2)
}

/// Users with keys come, the disk fails, and each loses something. `say` hears what was acknowledged.
async fn outage(world: &World, disk: &BadDisk, touch: Touch, at: usize, say: impl Say) -> Vec<Seen> {
    let name = |what: &str| format!("{what}{touch:?}{at}");
    let fails = async || {
        until(&name("the disk fails at "), || disk.is_broken() && !world.is_open()).await;
        say(CLOSED);
    };
    let crowd = world.crowd(name, say).await;
    disk.set(Health::Until(touch, at));
    if is_before(at) {
        fails().await;
    }
    let (mut seen, demoted) = world.take(crowd, say).await;
    if !is_before(at) {
        // Some of these come while the disk is about to fail.
        let was_open = world.is_open();
        let granted = world.grant(&name("granted"), say).await;
        assert!(was_open || granted.is_err(), "granted while the log was closed");
        fails().await;
    }
    assert!(world.grant(&name("denied"), say).await.is_err(), "granted while the log was closed");

    disk.set(Health::Good);
    world.until_open().await;
    world.until_delivered().await;
    seen.push(demoted.end().await);
    world.assert_given(&seen);
    seen
}

/// Waits until this is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "it is waited in vain: {what}");
        sleep(Duration::from_millis(1)).await;
    }
}
