//! What is kept: segments for a time, checkpoints to a number, and room on a file system that can't hold it back.

use std::{fs, io, thread, time::Duration};

use callgate::audit::{AuditLog, Fault, Options, Says, Touch, Trail};
use serde_json::Value;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{Place, assert_sound, disclose, refuse, signed, wait_until, write};

/// Writes until the oldest segment is gone.
fn write_until_one_is_deleted(place: &Place, log: &AuditLog) {
    let mut name = 0;
    wait_until("nothing is deleted", || {
        // As many as are signed at once: what isn't signed isn't deleted.
        for _ in 0..50 {
            name += 1;
            write(log, name).unwrap();
        }
        thread::sleep(Duration::from_millis(20));
        !place.segments()[0].ends_with("audit-0000000001.jsonl")
    });
}

#[test]
fn r21_segments_whose_records_are_all_too_old_are_deleted_and_no_others() {
    let place = Place::new();
    let options = Options { segment_bytes: 1, keep_age: Some(Duration::from_secs(3)), ..place.options() };
    let log = AuditLog::open(options).unwrap();
    write_until_one_is_deleted(&place, &log);
    drop(log);
    let report = place.report();
    assert_sound(&report);
    let kept = place.records();
    assert_eq!(kept[0]["n"], report.after.unwrap().n + 1);
    // The one before it was older, and so were all in its segment.
    let age = |record: &Value| {
        OffsetDateTime::now_utc() - OffsetDateTime::parse(record["time"].as_str().unwrap(), &Rfc3339).unwrap()
    };
    assert!(age(&kept[0]) > Duration::from_millis(2500), "{}", age(&kept[0]));
}

#[test]
fn r21_of_very_many_checkpoints_the_newest_are_kept_and_where_the_log_begins() {
    let place = Place::new();
    let options = || Options { segment_bytes: 1, keep_segments: Some(2), ..place.options() };
    let log = AuditLog::open(options()).unwrap();
    write_until_one_is_deleted(&place, &log);
    drop(log);
    let path = place.path().join("checkpoints.jsonl");
    let before = fs::read_to_string(&path).unwrap();
    assert!(before.lines().any(|line| line.starts_with("{\"start\"")));
    let newest = before.lines().rfind(|line| line.starts_with("{\"checkpoint\"")).unwrap();
    fs::write(&path, format!("{before}{}", format!("{newest}\n").repeat(20_000))).unwrap();

    let log = place.open();
    write(&log, 0).unwrap();
    drop(log);
    let signed = signed(place.path());
    assert!((10_000..10_100).contains(&signed.len()), "{}", signed.len());
    assert!(signed.iter().any(|checkpoint| checkpoint.says == Says::Deleted));
    let report = place.report();
    assert_sound(&report);
    assert_eq!(report.checkpoint.unwrap().head, report.last);

    // Whoever moves them away while they are very many gets new ones.
    fs::write(&path, format!("{newest}\n").repeat(20_000)).unwrap();
    let log = place.open();
    fs::remove_file(&path).unwrap();
    write(&log, 1).unwrap();
    drop(log);
    assert!(!fs::read_to_string(&path).unwrap().is_empty());
}

#[test]
fn r21_on_a_file_system_that_holds_no_room_back_it_is_looked_at_how_much_is_free() {
    let cannot = || {
        Some(Fault::new(|touch| match touch {
            Touch::Reserve => Err(io::ErrorKind::Unsupported.into()),
            _ => Ok(()),
        }))
    };
    // There is room for all; then for none but the privileged, since no disk has so much.
    for (reserve_bytes, of_strangers) in [(64 * 1024, 10), (1 << 60, 0)] {
        let place = Place::new();
        let log = AuditLog::open(Options { reserve_bytes, fault: cannot(), ..place.options() }).unwrap();
        (0..10).for_each(|_| refuse(&log, "late"));
        assert!(log.is_open());
        disclose(&log, "m1", "recorder", &["s1"]).unwrap();
        drop(log);
        let records = place.records();
        let count = |kind: &str| records.iter().filter(|record| record["record"] == kind).count();
        assert_eq!((count("refused"), count("disclosed")), (of_strangers, 1), "{reserve_bytes}");
        assert_sound(&place.report());
    }
}
