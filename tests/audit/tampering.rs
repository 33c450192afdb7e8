//! Somebody changes the log. Whatever it is, `verify` finds it, and says where.

use std::{fs, path::Path};

use callgate::audit::{AuditLog, Finding, Options, Report};
use proptest::prelude::*;

use crate::{Place, assert_sound, disclose, lines, report, soon, wait_until, write};

/// A log of three segments, as files with their lines.
fn made() -> (Place, Vec<Vec<String>>) {
    let place = Place::new();
    let log = AuditLog::open(Options { segment_bytes: 3000, ..place.options() }).unwrap();
    for segment in 1..=3 {
        for name in 0..12 {
            soon(&log, name);
            disclose(&log, "m1", "recorder", &["s1", "s2"]).unwrap();
        }
        wait_until("no new segment", || segment == 3 || place.begun() > segment);
    }
    write(&log, 99).unwrap();
    drop(log);
    assert_sound(&place.report());
    let files = place.segments().iter().map(|path| lines(path)).collect();
    (place, files)
}

/// What is found when the files are these.
fn found(place: &Place, files: &[Vec<String>]) -> Report {
    for (path, lines) in place.segments().iter().zip(files) {
        put(path, lines);
    }
    report(place.path())
}

fn put(path: &Path, lines: &[String]) {
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

/// The record in a line, or 0 for a header.
fn number(line: &str) -> u64 {
    line.strip_prefix("{\"n\":").map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
}

#[test]
fn r21_a_record_that_was_edited_is_found_and_no_other() {
    let (place, files) = made();
    for (file, line) in each_line(&files) {
        let mut edited = files.clone();
        let text = &mut edited[file][line];
        *text = if line == 0 {
            text.replace("\"after\":", "\"after\": ")
        } else {
            text.replace("\"time\":\"2", "\"time\":\"1")
        };
        let report = found(&place, &edited);
        let place = format!("audit-{:010}.jsonl:{}", file + 1, line + 1);
        match &report.findings[..] {
            [Finding::Changed { place: at, n }] => {
                assert_eq!((at.to_string(), *n), (place, number(&files[file][line])));
            }
            [Finding::NoHeader { place: at }, ..] if line == 0 => assert_eq!(at.to_string(), place),
            other => panic!("{place}: {other:?}"),
        }
    }
}

#[test]
fn r21_a_record_that_was_removed_is_found() {
    let (place, files) = made();
    let end = (files.len() - 1, files.last().unwrap().len() - 1);
    for (file, line) in each_line(&files).filter(|(_, line)| *line > 0) {
        let mut fewer = files.clone();
        let n = number(&fewer[file].remove(line));
        match &found(&place, &fewer).findings[..] {
            [Finding::Missing { from, to, .. }] => assert_eq!((*from, *to), (n, n)),
            [Finding::CutTail { last, signed, .. }] if (file, line) == end => assert_eq!((*last, *signed), (n - 1, n)),
            other => panic!("{n}: {other:?}"),
        }
    }
}

#[test]
fn r21_records_that_were_swapped_or_doubled_are_found() {
    let (place, files) = made();
    for (file, line) in each_line(&files).filter(|(_, line)| *line > 0) {
        let mut doubled = files.clone();
        let copy = doubled[file][line].clone();
        doubled[file].insert(line + 1, copy);
        let n = number(&files[file][line]);
        let [Finding::Moved { n: moved, behind, .. }] = found(&place, &doubled).findings[..] else { panic!("{n}") };
        assert_eq!((moved, behind), (n, n));

        if line + 1 < files[file].len() {
            let mut swapped = files.clone();
            swapped[file].swap(line, line + 1);
            let report = found(&place, &swapped);
            let [Finding::Moved { n: moved, behind, .. }, ..] = report.findings[..] else { panic!("{n}: {report:?}") };
            assert_eq!((moved, behind), (n, n + 1));
        }
    }
}

#[test]
fn r21_an_end_that_was_cut_off_is_found_with_a_checkpoint_and_not_without() {
    let (place, files) = made();
    let mut cut = files.clone();
    cut[2].truncate(3);
    let last = number(&cut[2][2]);
    let report = found(&place, &cut);
    let [Finding::CutTail { last: found_last, signed, .. }] = report.findings[..] else { panic!("{report:?}") };
    assert_eq!((found_last, signed), (last, number(files[2].last().unwrap())));

    // What can't be found: docs/AUDIT.md says so.
    fs::remove_file(place.path().join("checkpoints.jsonl")).unwrap();
    assert_sound(&found(&place, &cut));
}

#[test]
fn r21_segments_that_were_removed_or_swapped_are_found() {
    let (place, files) = made();
    let paths = place.segments();
    let report_without = |gone: usize| {
        fs::remove_file(&paths[gone]).unwrap();
        let report = report(place.path());
        put(&paths[gone], &files[gone]);
        report
    };
    let (first, last) = (|file: usize| number(&files[file][1]), |file: usize| number(files[file].last().unwrap()));
    assert!(matches!(report_without(0).findings[..], [Finding::NoStart { .. }]));
    let report = report_without(1);
    let [Finding::Missing { from, to, .. }] = report.findings[..] else { panic!("{report:?}") };
    assert_eq!((from, to), (first(1), last(1)));
    assert!(matches!(report_without(2).findings[..], [Finding::CutTail { .. }]));
    assert_sound(&found(&place, &files));

    let mut swapped = files.clone();
    swapped.swap(1, 2);
    assert!(found(&place, &swapped).found > 0);
}

#[test]
fn a_checkpoint_that_was_edited_does_not_count() {
    let (place, _) = made();
    let path = place.path().join("checkpoints.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"checkpoint\":", "\"checkpoint\":1")).unwrap();
    let signed = callgate::audit::checkpoints(&path, &crate::key(place.path())).unwrap();
    assert!(signed.checkpoints.is_empty() && !signed.others.is_empty());
}

fn each_line(files: &[Vec<String>]) -> impl Iterator<Item = (usize, usize)> {
    files.iter().enumerate().flat_map(|(file, lines)| (0..lines.len()).map(move |line| (file, line)))
}

/// One thing that somebody does to the bytes of the log.
#[derive(Debug, Clone)]
enum Tamper {
    Flip(usize, u8),
    Remove(usize),
    Move(usize, usize),
    Copy(usize, usize),
}

fn tampers() -> impl Strategy<Value = Vec<Tamper>> {
    let any = any::<prop::sample::Index>();
    let one = prop_oneof![
        (any.clone(), 1_u8..).prop_map(|(at, bits)| Tamper::Flip(at.index(usize::MAX >> 1), bits)),
        any.clone().prop_map(|at| Tamper::Remove(at.index(usize::MAX >> 1))),
        (any.clone(), any.clone())
            .prop_map(|(from, to)| Tamper::Move(from.index(usize::MAX >> 1), to.index(usize::MAX >> 1))),
        (any.clone(), any).prop_map(|(from, to)| Tamper::Copy(from.index(usize::MAX >> 1), to.index(usize::MAX >> 1))),
    ];
    prop::collection::vec(one, 1..4)
}

#[test]
fn r21_whatever_is_done_to_the_lines_is_found() {
    let (place, files) = made();
    let whole: Vec<Vec<u8>> = files.iter().map(|lines| lines.join("\n").into_bytes()).collect();
    let paths = place.segments();
    let config = ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(tampers in tampers())| {
        let mut changed = whole.clone();
        for tamper in &tampers {
            let file = match tamper { Tamper::Flip(at, _) | Tamper::Remove(at) | Tamper::Move(at, _) | Tamper::Copy(at, _) => at % 3 };
            let mut lines: Vec<Vec<u8>> = changed[file].split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
            match *tamper {
                Tamper::Flip(at, bits) => {
                    let len = changed[file].len();
                    changed[file][at / 3 % len] ^= bits;
                    continue;
                }
                Tamper::Remove(at) => drop(lines.remove(at / 3 % lines.len())),
                Tamper::Move(from, to) => {
                    let line = lines.remove(from / 3 % lines.len());
                    lines.insert(to % (lines.len() + 1), line);
                }
                Tamper::Copy(from, to) => {
                    let line = lines[from / 3 % lines.len()].clone();
                    lines.insert(to % (lines.len() + 1), line);
                }
            }
            changed[file] = lines.join(&b'\n');
        }
        for (path, bytes) in paths.iter().zip(&changed) {
            let mut bytes = bytes.clone();
            bytes.push(b'\n');
            fs::write(path, bytes).unwrap();
        }
        prop_assert_eq!(report(place.path()).found > 0, changed != whole);
    });
}
