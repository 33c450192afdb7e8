//! Many records: segments, checkpoints, what is deleted, and who waits for what.

use std::{
    fs, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use callgate::audit::{AuditLog, Closed, Fault, Finding, Flush, Options, Records, Touch, Trail};
use serde_json::{Value, json};

use crate::{Place, assert_sound, disclose, lines, names, refuse, signed, soon, wait_until, write};

#[test]
fn r21_segments_are_begun_by_size_and_the_chain_goes_through_them() {
    let place = Place::new();
    let log = AuditLog::open(Options { segment_bytes: 2000, ..place.options() }).unwrap();
    for name in 0..100 {
        write(&log, name).unwrap();
        // It is looked for once a second.
        wait_until("no new segment", || name % 40 != 39 || place.begun() > name as usize / 40 + 1);
    }
    drop(log);
    assert_eq!(place.begun(), 3);
    assert_eq!(names(&place.records()), (0..100).map(|name: u32| name.to_string()).collect::<Vec<_>>());
    assert_sound(&place.report());
}

#[test]
fn segments_are_begun_by_age_if_there_is_anything_in_them() {
    let place = Place::new();
    let log = AuditLog::open(Options { segment_age: Duration::from_millis(1), ..place.options() }).unwrap();
    wait_until("no new segment", || place.begun() > 1);
    thread::sleep(Duration::from_millis(2500));
    assert_eq!(place.segments().len(), 2, "an empty one is not followed by another");
    drop(log);
    assert_sound(&place.report());
}

#[test]
fn r21_old_segments_are_deleted_if_that_is_set_and_a_checkpoint_says_so() {
    let place = Place::new();
    let options = || Options { segment_bytes: 1, keep_segments: Some(2), ..place.options() };
    let log = AuditLog::open(options()).unwrap();
    let mut name = 0;
    wait_until("nothing is deleted", || {
        name += 1;
        write(&log, name).unwrap();
        thread::sleep(Duration::from_millis(20));
        !place.segments()[0].ends_with("audit-0000000001.jsonl")
    });
    drop(log);
    assert!(place.segments().len() <= 3);
    let report = place.report();
    assert_sound(&report);
    assert!(report.after.unwrap().n > 0);

    // Who deletes another one is found out.
    fs::remove_file(&place.segments()[0]).unwrap();
    assert!(matches!(place.report().findings[..], [Finding::NoStart { .. }]));
}

#[test]
fn r21_every_thousand_records_are_signed() {
    let place = Place::new();
    let log = place.open();
    for name in 0..2500 {
        write(&log, name).unwrap();
        if name % 1000 == 999 {
            let before = signed(place.path()).len();
            wait_until("no checkpoint", || signed(place.path()).len() > before.min(name as usize / 1000));
        }
    }
    drop(log);
    let signed = signed(place.path());
    assert!(signed.len() >= 3, "{signed:?}");
    let report = place.report();
    assert_sound(&report);
    assert_eq!((report.last.n, report.checkpoint.unwrap().head), (2502, report.last));
}

#[test]
fn many_write_at_once_and_each_record_is_there() {
    let place = Place::new();
    let log = Arc::new(place.open());
    let writers = (0..8).map(|writer| {
        let log = Arc::clone(&log);
        thread::spawn(move || (0..200).for_each(|n| write(&log, writer * 1000 + n).unwrap()))
    });
    writers.collect::<Vec<_>>().into_iter().for_each(|writer| writer.join().unwrap());
    drop(log);
    let names: Vec<u64> = names(&place.records()).iter().map(|name| name.parse().unwrap()).collect();
    assert_eq!(names.len(), 1600);
    for writer in 0..8 {
        let own: Vec<u64> = names.iter().filter(|name| *name / 1000 == writer).map(|name| name % 1000).collect();
        assert_eq!(own, (0..200).collect::<Vec<_>>(), "in its order");
    }
    assert_sound(&place.report());
}

#[test]
fn r21_a_record_of_many_sessions_is_several_lines_and_one_write() {
    let place = Place::new();
    let writes = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&writes);
    let fault = Fault::new(move |touch| {
        *counted.lock().unwrap() += u32::from(touch == Touch::Write);
        Ok(())
    });
    let log = AuditLog::open(Options { fault: Some(fault), ..place.options() }).unwrap();
    let sessions: Vec<_> = (0..150).map(|number| format!("s{number:03}")).collect();
    let sessions: Vec<_> = sessions.iter().map(String::as_str).collect();
    let before = *writes.lock().unwrap();
    disclose(&log, "m1", "recorder", &sessions).unwrap();
    assert_eq!(*writes.lock().unwrap() - before, 1);
    disclose(&log, "m1", "recorder", &[]).unwrap();
    assert_eq!(*writes.lock().unwrap() - before, 1, "nobody got anything");
    drop(log);
    let records: Vec<_> = place.records().into_iter().filter(|record| record["record"] == "disclosed").collect();
    let receivers: Vec<Vec<&Value>> =
        records.iter().map(|record| record["receivers"].as_array().unwrap().iter().collect()).collect();
    assert_eq!(receivers.iter().map(Vec::len).collect::<Vec<_>>(), [64, 64, 22]);
    let named: Vec<_> = receivers.concat().iter().map(|one| one.as_str().unwrap().to_owned()).collect();
    assert_eq!(named, sessions.iter().map(|session| format!("{session}:recorder:1:tls")).collect::<Vec<_>>());
    assert!(records.iter().all(|record| record["stream"] == "m1" && record["generation"] == 1));
    assert_sound(&place.report());
}

/// A disk that fails while a switch is on.
fn failing() -> (Fault, Arc<AtomicBool>) {
    let is_broken = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&is_broken);
    let fault = Fault::new(move |touch| {
        let fails = asked.load(Ordering::Relaxed) && touch != Touch::Remove;
        if fails { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
    });
    (fault, is_broken)
}

#[test]
fn r21_while_it_cannot_be_written_nothing_is_given_and_the_rest_is_recorded_first_when_it_heals() {
    let place = Place::new();
    let (fault, is_broken) = failing();
    let log = AuditLog::open(Options { fault: Some(fault), ..place.options() }).unwrap();
    write(&log, 1).unwrap();
    is_broken.store(true, Ordering::Relaxed);
    soon(&log, 2);
    wait_until("its gate stays open", || !log.is_open());
    assert_eq!(write(&log, 3), Err(Closed));
    assert_eq!(disclose(&log, "m1", "recorder", &["s1"]), Err(Closed));
    soon(&log, 4);
    refuse(&log, "5");
    soon(&log, 6);
    assert!(!log.is_open());
    is_broken.store(false, Ordering::Relaxed);
    wait_until("it doesn't heal", || log.is_open());
    write(&log, 7).unwrap();
    drop(log);
    let records = place.records();
    let told: Vec<_> = records
        .iter()
        .map(|record| {
            [&record["event"], &record["name"], &record["cause"]].into_iter().find(|it| !it.is_null()).unwrap()
        })
        .collect();
    assert_eq!(
        told,
        [
            &json!("started"),
            &json!(1),
            &json!(2),
            &json!(4),
            &json!("5"),
            &json!(6),
            &json!("healed"),
            &json!(7),
            &json!("stopped")
        ]
    );
    assert_sound(&place.report());
}

#[test]
fn r21_who_waits_has_a_bound_and_how_many_were_lost_is_recorded() {
    let place = Place::new();
    let (fault, is_broken) = failing();
    let options = Options { fault: Some(fault), waiting_bytes: 8000, ..place.options() };
    let log = AuditLog::open(options).unwrap();
    is_broken.store(true, Ordering::Relaxed);
    soon(&log, 0);
    wait_until("its gate stays open", || !log.is_open());
    (0..100).for_each(|_| refuse(&log, "a stranger"));
    (1..=20).for_each(|name| soon(&log, name));
    is_broken.store(false, Ordering::Relaxed);
    wait_until("it doesn't heal", || log.is_open());
    drop(log);
    let records = place.records();
    let of_strangers = records.iter().filter(|record| record["cause"].is_string()).count();
    assert!((5..50).contains(&of_strangers), "{of_strangers}");
    assert_eq!(names(&records).iter().filter(|name| *name != "null").count(), 21, "what is privileged had room");
    let lost = records.iter().find(|record| record["event"] == "lost").unwrap();
    assert_eq!((lost["ordinary"].as_u64().unwrap() as usize, &lost["privileged"]), (100 - of_strangers, &json!(0)));
    assert_sound(&place.report());
}

#[test]
fn r21_too_much_that_is_not_flushed_closes_the_gate_until_it_is() {
    let place = Place::new();
    let stands = Arc::new(Mutex::new(()));
    let flush = Arc::clone(&stands);
    let fault = Fault::new(move |touch| {
        drop((touch == Touch::Flush).then(|| flush.lock()));
        Ok(())
    });
    let log = AuditLog::open(Options { fault: Some(fault), unflushed_bytes: 4000, ..place.options() }).unwrap();
    let held = stands.lock().unwrap();
    let written = (0..1000).take_while(|name| write(&log, *name).is_ok()).count();
    assert!((5..30).contains(&written), "{written}");
    assert!(!log.is_open());
    soon(&log, 5000);
    drop(held);
    wait_until("it doesn't catch up", || log.is_open());
    write(&log, 5001).unwrap();
    drop(log);
    let names = names(&place.records());
    assert_eq!(names[written..], ["5000", "5001"]);
    assert_eq!(place.segments().len(), 1, "nothing was damaged");
    assert_sound(&place.report());
}

#[test]
fn r21_always_means_that_a_record_is_flushed_before_anything_is_given() {
    let place = Place::new();
    let flushes = Arc::new(Mutex::new((0, false)));
    let (seen, broken) = (Arc::clone(&flushes), Arc::clone(&flushes));
    let fault = Fault::new(move |touch| {
        let mut flushes = seen.lock().unwrap();
        flushes.0 += u32::from(touch == Touch::Flush);
        if flushes.1 && touch == Touch::Flush { Err(io::Error::other("the disk is gone")) } else { Ok(()) }
    });
    let options = Options { fault: Some(fault), flush: Flush::Always, ..place.options() };
    let log = AuditLog::open(options).unwrap();
    for name in 0..10 {
        let before = flushes.lock().unwrap().0;
        write(&log, name).unwrap();
        assert!(flushes.lock().unwrap().0 > before);
    }
    broken.lock().unwrap().1 = true;
    assert_eq!(disclose(&log, "m1", "recorder", &["s1"]), Err(Closed));
    broken.lock().unwrap().1 = false;
    wait_until("it doesn't heal", || log.is_open());
    drop(log);
    // It was written, and is written again: so it is said that nothing was given by it.
    let records = place.records();
    let disclosed = records.iter().find(|record| record["record"] == "disclosed").unwrap();
    let void = records.iter().find(|record| record["event"] == "void").unwrap();
    assert_eq!((&void["first"], &void["last"]), (&disclosed["n"], &disclosed["n"]));
    let report = place.report();
    assert_sound(&report);
    assert_eq!(report.repeated, 1);
}

#[test]
fn r21_a_log_whose_files_are_deleted_goes_on_in_new_ones_and_the_gap_is_found() {
    let place = Place::new();
    let log = place.open();
    (0..5).for_each(|name| write(&log, name).unwrap());
    fs::remove_dir_all(place.path().join("log")).unwrap();
    wait_until("it doesn't notice", || place.path().join("log").exists() && place.begun() > 0);
    wait_until("it doesn't heal", || log.is_open());
    write(&log, 9).unwrap();
    drop(log);
    assert_eq!(names(&place.records()).last().unwrap(), "9");
    assert!(matches!(place.report().findings[..], [Finding::NoStart { .. }]), "{:?}", place.report());
}

#[test]
fn who_follows_a_log_sees_each_record_once_through_rotation_and_healing() {
    let place = Place::new();
    let (fault, is_broken) = failing();
    let log = AuditLog::open(Options { fault: Some(fault), segment_bytes: 3000, ..place.options() }).unwrap();
    let mut records = Records::of(&place.path().join("log"));
    let mut seen = Vec::new();
    for name in 0..300 {
        soon(&log, name);
        if name % 60 == 30 {
            is_broken.store(true, Ordering::Relaxed);
            wait_until("its gate stays open", || !log.is_open());
            is_broken.store(false, Ordering::Relaxed);
            wait_until("it doesn't heal", || log.is_open());
        }
        if name % 7 == 0 {
            while let Some(line) = records.next().unwrap() {
                seen.push(serde_json::from_slice::<Value>(line).unwrap());
            }
        }
    }
    drop(log);
    while let Some(line) = records.next().unwrap() {
        seen.push(serde_json::from_slice(line).unwrap());
    }
    assert_eq!(seen, place.records());
    assert_eq!((names(&seen).len(), records.unreadable()), (300, 0));
    assert_sound(&place.report());

    let mut newest = Records::newest(&place.path().join("log"), 5).unwrap();
    let mut count = 0;
    while newest.next().unwrap().is_some() {
        count += 1;
    }
    assert!((5..=seen.len()).contains(&count), "{count}");
    assert!(lines(&place.segments()[0]).len() > 1);
}
