//! A disk that fails at each of its touches in turn: what was acknowledged is there, once, and in order.

use std::{
    io::{self, ErrorKind},
    sync::{Arc, Mutex},
};

use callgate::audit::{AuditLog, Fault, Options, Touch};

use crate::{Place, assert_sound, names, soon, wait_until, write};

/// Lets so many touches of a kind pass, and fails so many after them.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) touch: Touch,
    pub(crate) passing: u32,
    pub(crate) failing: u32,
    pub(crate) error: ErrorKind,
}

impl Plan {
    /// The disk, and how many failures it still has to come.
    pub(crate) fn fault(self) -> (Fault, Arc<Mutex<u32>>) {
        let (left, mut plan) = (Arc::new(Mutex::new(self.failing)), Mutex::new(self));
        let counted = Arc::clone(&left);
        plan.get_mut().unwrap().failing = self.failing;
        let fault = Fault::new(move |touch| {
            let mut plan = plan.lock().unwrap();
            if touch != plan.touch {
                return Ok(());
            }
            if plan.passing > 0 {
                plan.passing -= 1;
            } else if plan.failing > 0 {
                plan.failing -= 1;
                *counted.lock().unwrap() = plan.failing;
                return Err(io::Error::from(plan.error));
            }
            Ok(())
        });
        (fault, left)
    }
}

/// The plans: each touch of each kind fails, once, and several times in a row.
pub(crate) fn plans() -> impl Iterator<Item = Plan> {
    let kinds = [
        (Touch::Write, ErrorKind::Other, 50),
        (Touch::Write, ErrorKind::StorageFull, 50),
        (Touch::Write, ErrorKind::WriteZero, 50),
        (Touch::Flush, ErrorKind::Other, 50),
        (Touch::Create, ErrorKind::StorageFull, 3),
        (Touch::Rename, ErrorKind::Other, 3),
    ];
    kinds.into_iter().flat_map(|(touch, error, count)| {
        (0..count).flat_map(move |passing| [1, 4].map(|failing| Plan { touch, passing, failing, error }))
    })
}

#[test]
fn r21_an_error_at_any_write_or_flush_loses_nothing_that_was_acknowledged() {
    let mut spent = 0;
    for plan in plans() {
        let place = Place::new();
        let (fault, left) = plan.fault();
        let log = AuditLog::open(Options { fault: Some(fault), ..place.options() }).unwrap();
        let mut expected = Vec::new();
        for name in 0..60 {
            match name % 3 {
                0 => {
                    soon(&log, name);
                    expected.push(name.to_string());
                }
                _ if write(&log, name).is_ok() => expected.push(name.to_string()),
                _ => {}
            }
            if name % 4 == 0 {
                // So that there are many flushes.
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        wait_until("it doesn't heal", || callgate::audit::Trail::is_open(&log));
        write(&log, 100).unwrap();
        expected.push("100".into());
        drop(log);
        let what = format!("{:?} {:?}: {} pass, {} fail", plan.touch, plan.error, plan.passing, plan.failing);
        assert_eq!(names(&place.records()), expected, "{what}");
        let report = place.report();
        assert_eq!(report.findings, [], "{what}");
        assert_sound(&report);
        drop(place.open());
        assert_sound(&place.report());
        spent += u32::from(*left.lock().unwrap() == 0);
    }
    assert!(spent > 250, "only {spent} plans came to their end");
}

/// What a failed write has left behind can't be taken back either.
#[test]
fn r21_half_a_record_that_stays_is_no_finding_and_no_record() {
    let place = Place::new();
    let is_broken = Arc::new(Mutex::new(false));
    let asked = Arc::clone(&is_broken);
    let fault = Fault::new(move |touch| match touch {
        Touch::Write if *asked.lock().unwrap() => Err(ErrorKind::WriteZero.into()),
        Touch::Truncate => Err(ErrorKind::Other.into()),
        _ => Ok(()),
    });
    let log = AuditLog::open(Options { fault: Some(fault), ..place.options() }).unwrap();
    let sessions: Vec<_> = (0..200).map(|number| format!("s{number}")).collect();
    let sessions: Vec<_> = sessions.iter().map(String::as_str).collect();
    crate::disclose(&log, "m1", "recorder", &sessions).unwrap();
    *is_broken.lock().unwrap() = true;
    // More than one line of it is written whole.
    crate::disclose(&log, "m2", "recorder", &sessions).unwrap_err();
    *is_broken.lock().unwrap() = false;
    wait_until("it doesn't heal", || callgate::audit::Trail::is_open(&log));
    write(&log, 1).unwrap();
    drop(log);
    let records = place.records();
    assert!(records.iter().all(|record| record["stream"] != "m2"), "{records:?}");
    let report = place.report();
    assert_sound(&report);
    assert!(report.left_behind > 1, "{report:?}");
}
