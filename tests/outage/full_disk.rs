//! The store and the audit log are on one disk, and it is full: a small file system of its own, which needs root to be mounted.

use std::{
    fs,
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use callgate::audit::{Flush, Options};
use tokio::time::sleep;

use crate::{
    END, PART, PATIENCE, is_long, killed, say_out, seen_by,
    small_disk::{SmallDisk, fill},
    until,
    world::{App, Say, Seen, World, log_options},
};

/// The store holds 4 MiB back for removals.
const SIZE: &str = "24m";

#[tokio::test(flavor = "multi_thread")]
async fn r15_r21_on_a_full_disk_no_key_is_without_its_record_and_what_is_taken_is_taken_at_once() {
    static TOLD: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let Some(disk) = SmallDisk::new(SIZE) else { return };
    let say = |line: &str| TOLD.lock().unwrap().push(line.to_owned());
    let keys_of = |session: &str| {
        let begin = format!("key {session} ");
        TOLD.lock().unwrap().iter().filter(|line| line.starts_with(&begin)).count()
    };
    let world = start(disk.path()).await;
    let (mut seen, apps) = fill_and_take(&world, disk.path(), say).await;
    // Keys are wanted meanwhile. What the store and the log try out and give back again is filled, too.
    for _ in 0..60 {
        fill(disk.path());
        sleep(Duration::from_millis(5)).await;
    }

    // It heals by itself when somebody makes room.
    fs::remove_file(disk.path().join("filling")).unwrap();
    world.until_open().await;
    world.until_delivered().await;
    let keeps = apps.last().unwrap().name();
    let before = keys_of(&keeps);
    until("keys leave again", || keys_of(&keeps) > before).await;
    // The store grants nothing before it has its reserve again.
    let begin = Instant::now();
    while let Err(refused) = world.grant("granted", say).await {
        assert!(begin.elapsed() < PATIENCE, "{refused}");
        sleep(Duration::from_millis(5)).await;
    }
    for app in apps {
        seen.push(app.end().await);
    }
    world.assert_given(&seen);
    let said = world.end(disk.path()).await;
    let done: Vec<_> =
        TOLD.lock().unwrap().iter().filter_map(|line| Some(line.strip_prefix("done ")?.to_owned())).collect();
    assert_eq!(done.len(), 4, "{done:?}");
    done.iter().for_each(|line| said.assert_told(line, &["done", "recovered"]));
    let unrecordable: usize = seen.iter().map(|seen| seen.unrecordable).sum();
    assert!(unrecordable > 0, "no key was wanted while none could be recorded");
    said.check(&seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_r42_nothing_that_was_acknowledged_on_a_full_disk_is_lost_by_kill_9() {
    for changes in (1..=4).filter(|changes| is_long() || changes % 2 == 1) {
        let Some(disk) = SmallDisk::new(SIZE) else { return };
        let told = killed("full_disk::fills_its_disk_until_it_is_killed", &disk.path().display().to_string(), changes);
        let done = || told.iter().filter_map(|line| line.strip_prefix("done "));
        assert!(done().count() >= changes.min(3), "{told:?}");

        // Another one starts where there is no room, and knows all of it.
        fill(disk.path());
        let world = start(disk.path()).await;
        done().for_each(|line| world.assert_is_so(line));
        fs::remove_file(disk.path().join("filling")).unwrap();
        world.until_open().await;
        world.until_delivered().await;
        done().for_each(|line| world.assert_is_so(line));
        let said = world.end(disk.path()).await;
        done().for_each(|line| said.assert_told(line, &["done", "recovered"]));
        said.check(&seen_by(&told));
    }
}

/// The process that is killed.
#[tokio::test(flavor = "multi_thread")]
async fn fills_its_disk_until_it_is_killed() {
    let Ok(folder) = std::env::var(PART) else { return };
    let world = start(Path::new(&folder)).await;
    let _apps = fill_and_take(&world, Path::new(&folder), say_out).await;
    say_out(END);
    std::future::pending::<()>().await;
}

async fn start(folder: &Path) -> World {
    let options = Options {
        flush: Flush::Every(Duration::from_millis(2)),
        // Disclosures use it up soon.
        reserve_bytes: 16 * 1024,
        retry: Duration::from_millis(10),
        ..log_options(folder)
    };
    World::start(folder, options).await
}

/// Users with keys come, the disk is filled until nothing can be recorded, and then each loses something, but for one who has
/// all rights still. What those saw who are gone, and the apps of the others.
async fn fill_and_take(world: &World, disk: &Path, say: impl Say) -> (Vec<Seen>, Vec<App>) {
    let crowd = world.crowd(str::to_owned, say).await;
    let (keeps, _) = world.app(&"keeps".parse().unwrap(), say).await;
    let full = async || {
        until("the log is closed", || {
            fill(disk);
            !world.is_open()
        })
        .await;
    };
    full().await;
    let (seen, demoted) = world.take(crowd, say).await;
    // The store has given up room, which the log may have got.
    full().await;
    assert!(world.grant("granted", say).await.is_err(), "granted while nothing can be recorded");
    (seen, vec![demoted, keeps])
}
