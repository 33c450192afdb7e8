//! A process that writes a log is killed, again and again, at moments that nobody chose, also while its disk fails.
//!
//! The test runs its own binary as the process: a test that does nothing unless a variable says what its part is.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use callgate::audit::{AuditLog, Fault, Options, Touch};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{RngCore, SeedableRng},
};

use crate::{Place, assert_sound, long, names, options, records, soon, write};

/// The folder of the log, for a process that is to be killed.
const FOLDER: &str = "CALLGATE_TEST_AUDIT";
/// The first number that it writes, and how it draws when its disk fails.
const FIRST: &str = "CALLGATE_TEST_AUDIT_FIRST";

/// Writes numbers, and says each that is acknowledged. Its disk fails now and then, for a while.
#[test]
fn writes_until_it_is_killed() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let first: u64 = std::env::var(FIRST).unwrap().parse().unwrap();
    let draw = Mutex::new((ChaCha8Rng::seed_from_u64(first), 0_u32));
    let fault = Fault::new(move |touch| {
        let mut draw = draw.lock().unwrap();
        if draw.1 == 0 && draw.0.next_u32() % 40 == 0 {
            draw.1 = 1 + draw.0.next_u32() % 6;
        }
        let fails = draw.1 > 0 && touch != Touch::Remove;
        draw.1 = draw.1.saturating_sub(1);
        if fails { Err(std::io::Error::other("the disk is gone")) } else { Ok(()) }
    });
    let options = Options { fault: Some(fault), segment_bytes: 20_000, ..options(Path::new(&folder)) };
    let log = Arc::new(AuditLog::open(options).unwrap());
    for name in first.. {
        if name % 5 == 0 {
            soon(&log, name);
        } else if write(&log, name).is_ok() {
            say(&format!("there {name}"));
        } else {
            thread::sleep(Duration::from_micros(500));
        }
    }
}

/// The line is begun anew: the test harness writes, too.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Runs the part, kills it after so many acknowledgements, and returns all of them.
fn run_and_kill(folder: &Path, first: u64, lines: u32) -> Vec<u64> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["killed::writes_until_it_is_killed", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut said = out.filter_map(|line| line.strip_prefix("there ").map(|name| name.parse::<u64>().unwrap()));
    let mut acknowledged: Vec<_> = said.by_ref().take(lines as usize).collect();
    child.kill().unwrap();
    // What it had said before it was killed, too.
    acknowledged.extend(said);
    assert!(!child.wait().unwrap().success() && acknowledged.len() >= lines as usize, "it has ended by itself");
    acknowledged
}

/// So many processes are killed over one log: each round reads all of it.
const ROUNDS: usize = 15;

#[test]
fn r21_what_was_acknowledged_is_there_after_kill_9() {
    let mut draw = ChaCha8Rng::seed_from_u64(21);
    for _ in 0..if long() { 14 } else { 1 } {
        kill_and_look(&mut draw);
    }
}

fn kill_and_look(draw: &mut ChaCha8Rng) {
    let place = Place::new();
    let (mut expected, mut first) = (Vec::new(), 0);
    for round in 0..ROUNDS {
        let said = run_and_kill(place.path(), first, 1 + draw.next_u32() % 400);
        expected.extend(said.iter().map(u64::to_string));
        first = said.last().unwrap() + 1000;

        // As it was left, and after it was found again.
        for _ in 0..2 {
            let names = names(&records(place.path()));
            let mut left = names.iter();
            for name in &expected {
                assert!(
                    left.any(|other| other == name),
                    "round {round}: {name} is not there, or twice, or out of order"
                );
            }
            let mut report = place.report();
            report.is_unfinished = false;
            assert_sound(&report);
            drop(place.open());
        }
    }
    assert!(place.report().repeated > 0, "no round had anything to write again");
}
