//! What was measured, as it is kept in `docs/performance/`.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// Who was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// A task and a queue per session; what the goals are ratios to.
    BareBatch,
    /// The least that a server with rustls can do.
    BareShard,
    /// Events of call states.
    Callgate,
    /// Media events with keys, their records written to the audit log.
    CallgateKeys,
    /// Media events with keys, and nothing is logged.
    CallgateKeysUnrecorded,
    /// As `CallgateKeys`, and metrics are recorded.
    CallgateKeysMeasured,
    /// As `Callgate`, and metrics are recorded.
    CallgateMeasured,
}

impl Peer {
    /// Its name in files, arguments and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::BareBatch => "bare-batch",
            Self::BareShard => "bare-shard",
            Self::Callgate => "callgate",
            Self::CallgateKeys => "callgate-keys",
            Self::CallgateKeysUnrecorded => "callgate-keys-unrecorded",
            Self::CallgateKeysMeasured => "callgate-keys-measured",
            Self::CallgateMeasured => "callgate-measured",
        }
    }

    /// Whether it knows no protocol.
    pub fn is_bare(self) -> bool {
        matches!(self, Self::BareBatch | Self::BareShard)
    }
}

/// What it was measured on, and how often.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    /// The processor as the system names it.
    pub processor: String,
    /// How many of its cores there are.
    pub cores: usize,
    /// The system's name and release.
    pub system: String,
}

/// Deliveries of events.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FanoutResults {
    pub machine: Machine,
    pub seconds: f64,
    pub rows: Vec<FanoutRow>,
}

/// One server, so many sessions, one shape of load; one value for each round.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FanoutRow {
    pub peer: Peer,
    pub sessions: usize,
    pub shape: Shape,
    /// CPU time of the server's process per delivery; microseconds.
    pub cpu_micros: Vec<f64>,
    pub deliveries_per_second: Vec<f64>,
    pub p50_micros: Vec<f64>,
    pub p99_micros: Vec<f64>,
}

/// How much is on its way at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// The next event comes when all sessions have the last one.
    OneInFlight,
    /// 8,192 deliveries are on their way at once; no more than 512 events and no fewer than 8.
    FlatOut,
}

impl Shape {
    pub const ALL: [Self; 2] = [Self::OneInFlight, Self::FlatOut];

    /// How many events may be on their way.
    pub fn window(self, sessions: usize) -> u64 {
        match self {
            Self::OneInFlight => 1,
            Self::FlatOut => (8192 / sessions as u64).clamp(8, 512),
        }
    }
}

/// Handshakes with what comes before the first event.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HandshakeResults {
    pub machine: Machine,
    pub handshakes: usize,
    pub at_once: usize,
    pub rows: Vec<HandshakeRow>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HandshakeRow {
    pub peer: Peer,
    /// CPU time of the server's process per connection; microseconds.
    pub cpu_micros: Vec<f64>,
    pub per_second: Vec<f64>,
}

/// Memory of sessions that have nothing to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MemoryResults {
    pub machine: Machine,
    pub sessions: usize,
    pub rows: Vec<MemoryRow>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MemoryRow {
    pub peer: Peer,
    /// What the server's resident memory grew by, per session; KiB.
    pub kib_per_session: Vec<f64>,
    /// CPU time while nothing happens; per mille of a core.
    pub idle_cpu_per_mille: Vec<f64>,
}

/// Changes of rights while sessions run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AdministrationResults {
    pub machine: Machine,
    pub users: usize,
    pub sessions: usize,
    pub seconds: f64,
    pub rows: Vec<AdministrationRow>,
}

/// The same under one load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AdministrationRow {
    /// Events with a key, each for all sessions.
    pub events_per_second: u64,
    pub deliveries_per_second: f64,
    pub changes: usize,
    /// Keys that waited in a session's backlog, and did not leave.
    pub withheld: usize,
    pub keys_after_acknowledgement: usize,
    /// One value of the store, by turns with the changes: what its flush costs.
    pub bare_commit: Quantiles,
    /// From the wish until it is durable.
    pub commit: Quantiles,
    /// From there until the administrator is answered.
    pub acknowledged: Quantiles,
    /// From the answer until an app has the message; 0 if it was earlier.
    pub told: Quantiles,
    /// The same of the last message of a session that is closed.
    pub closed: Quantiles,
    /// Of events, from the switch to the app.
    pub delivery: Quantiles,
}

/// Of so many values, in microseconds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Quantiles {
    pub count: usize,
    pub p50: f64,
    pub p99: f64,
    pub most: f64,
}

impl Quantiles {
    /// Those of these times; nanoseconds.
    pub fn of(mut nanos: Vec<u64>) -> Self {
        nanos.sort_unstable();
        let at = |part: f64| {
            let place = ((nanos.len() as f64 * part) as usize).min(nanos.len().saturating_sub(1));
            nanos.get(place).map_or(0.0, |nanos| *nanos as f64 / 1000.0)
        };
        Self { count: nanos.len(), p50: at(0.5), p99: at(0.99), most: at(1.0) }
    }
}

/// Single steps, on one core.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepsResults {
    pub machine: Machine,
    pub rows: Vec<StepRow>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepRow {
    pub name: String,
    /// Time of one round of the step; nanoseconds.
    pub nanos: f64,
    /// How many things one round handles; 1 if nothing is counted.
    pub elements: u64,
}

/// The middle one; 0 if there is none.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// The least one; 0 if there is none.
pub fn least(values: &[f64]) -> f64 {
    values.iter().copied().min_by(f64::total_cmp).unwrap_or_default()
}
