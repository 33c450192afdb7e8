//! A disk that is really full: a small file system of its own, which needs root to be mounted.

use std::{
    fs,
    path::{Path, PathBuf},
};

use callgate::audit::{AuditLog, Options, Trail};
use serde_json::Value;

use crate::small_disk::{SmallDisk, fill};
use crate::{assert_sound, disclose, names, options, records, refuse, report, soon, wait_until, write};

struct Small(SmallDisk);

impl Small {
    fn new(size: &str) -> Option<Self> {
        SmallDisk::new(size).map(Self)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn fill(&self) -> PathBuf {
        fill(self.path())
    }

    fn open(&self) -> AuditLog {
        AuditLog::open(Options { reserve_bytes: RESERVE, ..options(self.path()) }).unwrap()
    }
}

const RESERVE: u64 = 512 * 1024;

#[test]
fn r21_on_a_full_disk_strangers_are_counted_and_disclosures_have_their_room() {
    let Some(disk) = Small::new("4m") else { return };
    let log = disk.open();
    write(&log, 1).unwrap();
    let filling = disk.fill();
    // Until what is held beyond the reserve is used up, and long after that.
    (0..5_000).for_each(|_| refuse(&log, &"x".repeat(200)));
    assert!(log.is_open());
    let mut disclosed = 0;
    while log.is_open() && disclosed < 2_000 {
        disclosed += u32::from(disclose(&log, "m1", "recorder", &["s1"]).is_ok());
        refuse(&log, "one more");
    }
    assert!(disclosed > 1_000, "only {disclosed} had room");
    // When that is used up, too, nothing leaves, and what is taken away is recorded when there is room again.
    while disclose(&log, "m2", "recorder", &["s1"]).is_ok() {}
    assert!(!log.is_open());
    soon(&log, 2);
    assert!(write(&log, 3).is_err());
    disk.fill();
    fs::remove_file(filling).unwrap();
    wait_until("it doesn't heal", || log.is_open());
    write(&log, 4).unwrap();
    // How many refusals were lost is told when there is room for refusals, each time.
    let of_strangers = |records: &[Value]| records.iter().filter(|record| record["record"] == "refused").count();
    let lost = |records: &[Value]| -> u64 {
        let lost = records.iter().filter(|record| record["event"] == "lost");
        lost.map(|record| record["ordinary"].as_u64().unwrap()).sum()
    };
    wait_until("nobody tells what was lost", || {
        let records = records(disk.path());
        of_strangers(&records) as u64 + lost(&records) > 5_000
    });
    drop(log);
    let records = records(disk.path());
    assert!(of_strangers(&records) < 2_500, "{}", of_strangers(&records));
    assert_eq!(names(&records).iter().filter(|name| *name != "null").collect::<Vec<_>>(), ["1", "2", "4"]);
    assert_sound(&report(disk.path()));
}

#[test]
fn r21_a_log_on_a_full_disk_is_opened_closed_and_heals() {
    let Some(disk) = Small::new("4m") else { return };
    write(&disk.open(), 1).unwrap();
    let filling = disk.fill();
    let log = disk.open();
    // The last page of the segment may have room for some more.
    let count = (10..1000).take_while(|name| write(&log, *name).is_ok()).count();
    assert!(!log.is_open());
    soon(&log, 3);
    fs::remove_file(filling).unwrap();
    wait_until("it doesn't heal", || log.is_open());
    write(&log, 4).unwrap();
    drop(log);
    let names = names(&records(disk.path()));
    assert_eq!((&*names[0], &names[count + 1..]), ("1", &["3".to_owned(), "4".into()][..]));
    assert_sound(&report(disk.path()));
}
