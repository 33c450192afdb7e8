//! A log is made, ended, found again, and found otherwise than it was left.

use std::{fs, io::Write, os::unix::fs::PermissionsExt, path::Path};

use aws_lc_rs::hmac;
use callgate::audit::{AuditKey, AuditLog, Finding, Kind, OpenError, Record, Trail};
use serde_json::json;

use crate::{Place, assert_sound, key, lines, names, records, refuse, report, segments, signed, soon, write};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn append(path: &Path, text: &str) {
    fs::File::options().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

#[test]
fn r21_records_are_numbered_and_stand_in_files_for_their_owner_only() {
    let place = Place::new();
    AuditLog::check(&place.options()).unwrap();
    let log = place.open();
    assert!(log.is_open());
    write(&log, 1).unwrap();
    soon(&log, 2);
    drop(log);
    let records = place.records();
    assert_eq!(records.iter().map(|record| record["n"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    assert_eq!((&records[0]["event"], &records[3]["event"]), (&json!("started"), &json!("stopped")));
    assert_eq!(
        (&records[1]["record"], &records[1]["verb"], &records[1]["name"]),
        (&json!("administration"), &json!("put"), &json!(1))
    );
    assert_eq!((&records[2]["verb"], &records[2]["name"]), (&json!("remove"), &json!(2)));
    let path = place.path();
    for (private, expected) in [("log", 0o700), ("audit.key", 0o600), ("checkpoints.jsonl", 0o600)] {
        assert_eq!(mode(&path.join(private)), expected, "{private}");
    }
    assert_eq!(mode(&place.segments()[0]), 0o600);
    let report = place.report();
    assert_sound(&report);
    assert_eq!((report.records, report.last.n, report.segments), (4, 4, 1));
    assert_eq!(report.checkpoint.unwrap().head, report.last, "the end is signed");
}

/// As docs/AUDIT.md says, and by nothing of the log's own.
#[test]
fn r21_a_mac_is_over_the_line_and_the_mac_before_it() {
    let place = Place::new();
    drop(place.open());
    let secret = fs::read_to_string(place.path().join("audit.key")).unwrap();
    let unhex = |text: &str| -> Vec<u8> {
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
    };
    let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec();
    let chain = sign(&unhex(secret.trim_end()), b"callgate audit chain");
    let mut before = vec![0; 32];
    for (number, line) in place.lines().iter().enumerate() {
        let (content, mac) = line.strip_suffix("\"}").unwrap().rsplit_once(",\"mac\":\"").unwrap();
        assert_eq!(sign(&chain, &[&before, content.as_bytes()].concat()), unhex(mac), "{line}");
        if number > 0 {
            before = unhex(mac);
        }
    }
}

#[test]
fn what_ended_in_order_goes_on_in_the_same_segment() {
    let place = Place::new();
    for name in 0..3 {
        write(&place.open(), name).unwrap();
    }
    assert_eq!(place.segments().len(), 1);
    assert_eq!(names(&place.records()), ["0", "1", "2"]);
    assert_sound(&place.report());
}

#[test]
fn r21_a_line_without_an_end_is_cut_off_and_that_is_recorded() {
    let place = Place::new();
    write(&place.open(), 1).unwrap();
    append(&place.segments()[0], "{\"n\":5,\"time\":\"20");
    assert!(place.report().is_unfinished);
    write(&place.open(), 2).unwrap();
    let records = place.records();
    assert_eq!(names(&records), ["1", "2"]);
    assert_eq!(records.iter().find(|record| record["torn"].is_number()).unwrap()["torn"], 17);
    assert_sound(&place.report());
}

#[test]
fn r21_half_a_checkpoint_that_a_crash_has_left_spoils_no_other() {
    let place = Place::new();
    write(&place.open(), 1).unwrap();
    let whole = lines(&place.path().join("checkpoints.jsonl"));
    append(&place.path().join("checkpoints.jsonl"), &whole[0][..100]);
    for name in 2..4 {
        write(&place.open(), name).unwrap();
        let report = place.report();
        assert_sound(&report);
        assert_eq!(report.checkpoint.unwrap().head, report.last);
    }
    assert_eq!(signed(place.path()).len(), whole.len() + 2);
}

#[test]
fn lines_that_nobody_wrote_are_left_for_who_verifies() {
    let place = Place::new();
    write(&place.open(), 1).unwrap();
    append(&place.segments()[0], "\0\0\0\nnonsense\nand no end");
    write(&place.open(), 2).unwrap();
    let records = place.records();
    assert_eq!(names(&records), ["1", "2"]);
    assert_eq!(records.iter().find(|record| record["unreadable"].is_number()).unwrap()["unreadable"], 2);
    let report = place.report();
    assert!(report.findings.iter().all(|finding| matches!(finding, Finding::Unreadable { .. })), "{report:?}");
    assert_eq!((report.found, report.records), (3, records.len() as u64));
}

#[test]
fn r21_an_end_that_was_cut_off_while_nobody_looked_is_found_and_recorded() {
    let place = Place::new();
    let log = place.open();
    (0..5).for_each(|name| write(&log, name).unwrap());
    drop(log);
    let path = &place.segments()[0];
    let mut kept = lines(path);
    kept.truncate(4);
    fs::write(path, kept.join("\n") + "\n").unwrap();
    write(&place.open(), 9).unwrap();
    assert_eq!(names(&place.records()), ["0", "1", "9"]);
    let gone = place.records().into_iter().find(|record| record["event"] == "gone").unwrap();
    assert_eq!((&gone["first"], &gone["last"]), (&json!(4), &json!(7)));
    let report = place.report();
    let [Finding::Missing { from: 4, to: 7, .. }] = report.findings[..] else { panic!("{report:?}") };

    // All of it, but for what is kept elsewhere.
    fs::remove_dir_all(place.path().join("log")).unwrap();
    write(&place.open(), 10).unwrap();
    let report = place.report();
    assert!(matches!(report.findings[..], [Finding::NoStart { .. }]), "{report:?}");
}

#[test]
fn a_key_that_is_gone_or_another_one_stops_the_start() {
    let place = Place::new();
    drop(place.open());
    let path = place.path().join("audit.key");
    fs::rename(&path, place.path().join("old.key")).unwrap();
    let errors = || [AuditLog::open(place.options()).unwrap_err(), AuditLog::check(&place.options()).unwrap_err()];
    assert!(errors().iter().all(|error| matches!(error, OpenError::KeyLost { .. }) && error.is_input()));
    AuditKey::make(&path).unwrap();
    assert!(errors().iter().all(|error| matches!(error, OpenError::Foreign { .. }) && error.is_input()));
    fs::write(&path, "no key").unwrap();
    assert!(matches!(AuditLog::open(place.options()).unwrap_err(), OpenError::Key(_)));
    fs::rename(place.path().join("old.key"), &path).unwrap();
    AuditLog::check(&place.options()).unwrap();
    drop(place.open());
    assert_sound(&place.report());
    assert!(AuditKey::make(&path).is_err(), "a key is never overwritten");
    let files = fs::read_dir(path.parent().unwrap()).unwrap();
    let unfinished =
        files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with(".audit-key-"));
    assert_eq!(unfinished.count(), 0, "nothing is left of the other one");
}

#[test]
fn a_log_has_one_writer() {
    let place = Place::new();
    let log = place.open();
    assert!(matches!(AuditLog::open(place.options()).unwrap_err(), OpenError::InUse(_)));
    drop(log);
    drop(place.open());
}

#[test]
fn what_a_crash_left_unfinished_is_removed() {
    let place = Place::new();
    write(&place.open(), 1).unwrap();
    let folder = place.path().join("log");
    fs::write(folder.join("audit-0000000002.jsonl"), "{\"segment\":2,").unwrap();
    fs::write(folder.join("audit-0000000003.jsonl.new"), "x").unwrap();
    fs::write(folder.join("notes.txt"), "somebody's").unwrap();
    write(&place.open(), 2).unwrap();
    assert!(!folder.join("audit-0000000003.jsonl.new").exists() && folder.join("notes.txt").exists());
    assert_eq!((place.segments().len(), names(&place.records()).len()), (1, 2));
    assert_sound(&place.report());
}

#[test]
fn r21_a_record_that_is_to_be_there_once_is_there_once_also_over_restarts() {
    let place = Place::new();
    let once = |log: &AuditLog, mark: &str| {
        log.write_once(mark, &Record::new(Kind::Administration, &[("name", mark.into())])).unwrap();
    };
    let log = place.open();
    once(&log, "a done");
    once(&log, "a done");
    drop(log);
    let log = place.open();
    once(&log, "b done");
    once(&log, "a done");
    drop(log);
    assert_eq!(names(&place.records()), ["\"a done\"", "\"b done\""]);
}

#[test]
fn the_key_of_one_log_says_nothing_of_another() {
    let (one, other) = (Place::new(), Place::new());
    for place in [&one, &other] {
        refuse(&place.open(), "x");
    }
    fs::copy(&segments(other.path())[0], &segments(one.path())[0]).unwrap();
    let report = report(one.path());
    assert!(matches!(report.findings[0], Finding::NoHeader { .. }), "{report:?}");
    assert_eq!(records(one.path()).len(), 3);
    assert_eq!(key(one.path()).public().len(), 32);
}

#[test]
fn r21_a_key_has_the_same_name_in_all_records_of_a_log_and_another_one_in_those_of_others() {
    let name = |log: &AuditLog| hmac::sign(log.fingerprint_key().unwrap(), b"an SRTP key").as_ref().to_vec();
    let place = Place::new();
    let before = name(&place.open());
    assert_eq!(name(&place.open()), before, "the gateway was started again");
    assert_ne!(name(&Place::new().open()), before);
    let chain = hmac::Key::new(hmac::HMAC_SHA256, &hex_of_key(&place));
    assert_ne!(hmac::sign(&chain, b"an SRTP key").as_ref(), before, "not by the secret itself");
}

fn hex_of_key(place: &Place) -> Vec<u8> {
    let text = fs::read_to_string(place.options().key).unwrap();
    (0..32).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
}
