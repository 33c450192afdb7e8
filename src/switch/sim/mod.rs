//! A switch that isn't there: devices that call each other, for trying out and for load.
//!
//! It reports what the tracker would report of a PBX with two legs a call: states, streams, and SRTP keys that are made
//! of a seed. No RTP is sent: the keys open nothing, and whoever knows the seed knows them. The same seed makes the same
//! calls, at the same times after the start. [`Sim`] decides what happens and is pure; [`Simulated`] is its shell.

mod call;
mod draw;
mod schedule;

use std::time::{Duration, SystemTime};

use metrics::counter;
use tokio::time::Instant;
use tracing::{info, warn};

pub use schedule::{Sim, SimCounts};

use super::{Running, Switch, SwitchError, SwitchIo, desk::Desk};
use crate::model::{DeviceName, EventBatch, NameError, Suite, SwitchName, Timestamp};

/// Batches are at least so far apart: at a high rate they grow, not their number.
const TICK: Duration = Duration::from_millis(5);
/// Further behind than this, the gateway doesn't keep up with the rate.
const BEHIND: Duration = Duration::from_secs(1);
/// How often it is said that something is not as it was asked for.
const REMIND: Duration = Duration::from_secs(60);

/// What is simulated.
#[derive(Debug, Clone, PartialEq)]
pub struct SimSettings {
    /// How many devices, 0 to [`MAX_DEVICES`](Self::MAX_DEVICES). With fewer than two there are no calls.
    pub devices: u32,
    /// How many calls begin in a second, 0 to [`MAX_RATE`](Self::MAX_RATE).
    pub calls_per_second: f64,
    /// How long an answered call lasts on average: from half of it to one and a half.
    pub call_seconds: u32,
    /// How long a call rings on average, likewise.
    pub ring_seconds: u32,
    /// How many of 100 calls are SRTP; the others are in the clear.
    pub secure_percent: u8,
    /// How many of 100 calls are refused or given up.
    pub unanswered_percent: u8,
    /// How many of 100 answered calls are put on hold.
    pub hold_percent: u8,
    /// How many of 100 answered SRTP calls change their keys.
    pub rekey_percent: u8,
    /// The suites, each as often as the others. If there is none, every call is in the clear.
    pub suites: Vec<Suite>,
    /// What calls, times and keys are made of.
    pub seed: u64,
}

impl SimSettings {
    /// The most devices.
    pub const MAX_DEVICES: u32 = 100_000;
    /// The most calls in a second.
    pub const MAX_RATE: f64 = 10_000.0;

    /// The names of the devices of the switch `name`, in order: `sim-00001`, `sim-00002` ...
    ///
    /// # Errors
    /// In each: none in practice, since a switch's name is short.
    pub fn device_names<'a>(&self, name: &'a SwitchName) -> impl Iterator<Item = Result<DeviceName, NameError>> + 'a {
        (1..=self.devices.min(Self::MAX_DEVICES)).map(move |number| format!("{name}-{number:05}").parse())
    }

    /// About how many devices are in a call at once, if there are enough of them.
    pub fn busy_devices(&self) -> f64 {
        self.calls_per_second * f64::from(self.call_seconds.saturating_add(self.ring_seconds)) * 2.0
    }
}

impl Default for SimSettings {
    fn default() -> Self {
        Self {
            devices: 100,
            calls_per_second: 1.0,
            call_seconds: 20,
            ring_seconds: 2,
            secure_percent: 90,
            unanswered_percent: 10,
            hold_percent: 10,
            rekey_percent: 10,
            suites: vec![Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm, Suite::AeadAes256Gcm],
            seed: 1,
        }
    }
}

/// A simulated switch.
pub struct Simulated {
    name: SwitchName,
    settings: SimSettings,
    first_id: u64,
}

impl Simulated {
    /// A switch of this name. Ids of calls and streams are counted from `first_id`.
    pub fn new(name: SwitchName, settings: SimSettings, first_id: u64) -> Self {
        Self { name, settings, first_id }
    }

    async fn simulate(self, io: SwitchIo) -> Result<(), SwitchError> {
        let Self { name, settings, first_id } = self;
        warn!(switch = %name, devices = settings.devices, calls_per_second = settings.calls_per_second,
            seed = settings.seed, "this switch is simulated: calls and keys are made up, and no media are sent");
        let mut desk = Desk::new(name.clone(), io.commands, io.stop);
        let start = Instant::now();
        let mut sim = Sim::new(name.clone(), settings, first_id, start.into_std(), wall_clock());
        let mut told = Told { counts: sim.counts(), reminded: None };
        let mut tick = start;
        loop {
            let mut events = Vec::new();
            let now = Instant::now();
            sim.on_time(now.into_std(), &mut events);
            told.tell(&name, &sim, now);
            if !events.is_empty() {
                tick = now + TICK;
                match desk.while_waiting(io.events.send(EventBatch { arrived: now.into_std(), events })).await {
                    None => break,
                    Some(Err(_)) => return Err(SwitchError::Unheard(name)),
                    Some(Ok(())) => continue,
                }
            }
            let waited = match sim.deadline() {
                Some(due) => desk.while_waiting(tokio::time::sleep_until(tick.max(due.into()))).await,
                None => desk.while_waiting(std::future::pending()).await,
            };
            if waited.is_none() {
                break;
            }
        }
        desk.refuse_waiting();
        let SimCounts { calls, skipped } = sim.counts();
        info!(switch = %name, calls, skipped, "the simulation ends");
        Ok(())
    }
}

impl Switch for Simulated {
    fn name(&self) -> &SwitchName {
        &self.name
    }

    fn run(self: Box<Self>, io: SwitchIo) -> Running {
        Box::pin(self.simulate(io))
    }
}

/// What was counted and said so far.
struct Told {
    counts: SimCounts,
    reminded: Option<Instant>,
}

impl Told {
    fn tell(&mut self, name: &SwitchName, sim: &Sim, now: Instant) {
        let counts = sim.counts();
        let skipped = counts.skipped - self.counts.skipped;
        counter!("callgate_simulated_calls_total").increment(counts.calls - self.counts.calls);
        counter!("callgate_simulated_calls_skipped_total").increment(skipped);
        self.counts = counts;

        let behind = sim.deadline().map_or(Duration::ZERO, |due| now.saturating_duration_since(due.into()));
        if skipped == 0 && behind < BEHIND || self.reminded.is_some_and(|at| now < at + REMIND) {
            return;
        }
        self.reminded = Some(now);
        if behind < BEHIND {
            warn!(switch = %name, skipped = counts.skipped,
                "calls were left out because all devices were busy: raise devices, or lower calls_per_second");
        } else {
            warn!(switch = %name, behind_ms = behind.as_millis(),
                "the gateway doesn't keep up with the simulated calls: lower calls_per_second");
        }
    }
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
