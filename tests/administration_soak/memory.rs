//! How much memory the process has, apps and all.

use std::{
    alloc::System,
    collections::HashMap,
    fmt, fs,
    sync::{Arc, atomic::Ordering},
};

use callgate::{
    admin::State,
    trust::{CertificateRecords, LedgerSnapshot},
};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::Shared;

#[global_allocator]
static MEMORY: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What may be there at the second rest that wasn't at the first; bytes, and bytes for each new certificate. A trace of all that is
/// allocated shows where the 27 KB are that 1,570 changes and 370,000 events of five minutes left: pages that the store keeps at
/// hand, a line for the address of all apps, and what the ledger's trees weigh more than they are estimated to.
const SLACK: usize = 128 * 1024;
const PER_CERTIFICATE: usize = 64;

/// The process when nobody has a session, no call is made, and nothing is changed.
pub struct Rest {
    /// Bytes in use.
    live: usize,
    /// Those of them that the ledger has, which forgets no certificate.
    ledger: usize,
    certificates: usize,
    pub resident_kib: u64,
    changes: u64,
    events: u64,
}

impl Rest {
    pub fn look(shared: &Shared) -> Self {
        let state = shared.operator.state();
        Self {
            live: live(),
            ledger: weight(&state),
            certificates: state.certificates.len(),
            resident_kib: resident_kib(),
            changes: shared.operator.acknowledged(),
            events: shared.counts.events.load(Ordering::Relaxed),
        }
    }

    /// What the process has besides the ledger; bytes.
    pub fn own(&self) -> usize {
        self.live - self.ledger
    }

    pub fn assert_nothing_leaked(before: &Self, after: &Self) {
        let slack = SLACK + PER_CERTIFICATE * (after.certificates - before.certificates);
        assert!(after.own() <= before.own() + slack, "something leaks: {before}; {after}");
    }
}

impl fmt::Display for Rest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} bytes besides {} of {} certificates, {} KiB resident, after {} changes and {} events",
            self.own(),
            self.ledger,
            self.certificates,
            self.resident_kib,
            self.changes,
            self.events
        )
    }
}

/// What certificates weigh: the gateway has them as it changes them, as everybody sees them, and as doors ask for them.
pub fn weight(state: &State) -> usize {
    // In no order, as they came.
    let records: HashMap<_, _> = state.certificates.iter().collect();
    let before = live();
    let mut changed = CertificateRecords::new();
    for (name, (version, record)) in &records {
        // Read anew: a clone would share its names.
        let record = serde_json::from_slice(&record.to_value()).unwrap();
        changed.insert(**name, (*version, Arc::new(record)));
    }
    let seen = changed.clone();
    let asked = LedgerSnapshot::of_records(&seen);
    let weight = live().saturating_sub(before);
    drop((changed, seen, asked));
    weight
}

/// What is in use besides the ledger, about: others go on meanwhile.
pub fn used_kib(state: &State) -> u64 {
    live().saturating_sub(weight(state)) as u64 / 1024
}

/// The memory of this process that is in use.
fn live() -> usize {
    let stats = MEMORY.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// The memory that the system has given it.
pub fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
