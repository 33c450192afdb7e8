//! How much of a voice is a tone of one frequency.

#![allow(clippy::indexing_slicing, unreachable_pub, reason = "a test")]

use std::f64::consts::TAU;

/// Samples a second, as telephone codecs have them.
const RATE: usize = 8000;

/// The share of the energy that has this frequency (Goertzel), from 0 to 1, in the second that begins half a second in.
pub fn share(tone: u32, samples: &[f64]) -> f64 {
    let second = &samples[RATE / 2..][..RATE];
    let turn = 2.0 * (TAU * f64::from(tone) / RATE as f64).cos();
    let (last, before) = second.iter().fold((0.0, 0.0), |(last, before), sample| (sample + turn * last - before, last));
    let power = last * last + before * before - turn * last * before;
    2.0 * power / RATE as f64 / second.iter().map(|sample| sample * sample).sum::<f64>()
}
