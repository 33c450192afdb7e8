//! Latencies, to within 2 %.

use std::time::Duration;

/// Steps between one power of two and the next.
const STEPS: u64 = 64;

pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    pub fn new() -> Self {
        Self { counts: vec![0; 40 * STEPS as usize], total: 0 }
    }

    pub fn add(&mut self, latency: Duration) {
        let nanos = (latency.as_nanos() as u64).max(STEPS);
        let power = u64::from(nanos.ilog2());
        let step = (nanos >> (power - 6)) - STEPS;
        let last = self.counts.len() - 1;
        self.counts[(((power - 6) * STEPS + step) as usize).min(last)] += 1;
        self.total += 1;
    }

    /// The latency below which this part of all lies; microseconds.
    pub fn quantile(&self, part: f64) -> f64 {
        let mut left = (self.total as f64 * part) as u64;
        for (index, count) in (0u64..).zip(&self.counts) {
            if left < *count {
                let (power, step) = (index / STEPS + 6, index % STEPS);
                return ((STEPS + step) << (power - 6)) as f64 / 1000.0;
            }
            left -= count;
        }
        0.0
    }
}
