//! Builds connectors to switches from their settings.

use std::{path::Path, time::Duration};

use super::{StartError, epoch_micros};
use crate::{
    config::{Config, SwitchConfig, SwitchKind},
    switch::{
        Switch,
        capture::Capture,
        feed::{FeedConfig, HepFeed},
        replay::{Replay, Speed},
        sim::Simulated,
        tracker::TrackerLimits,
    },
};

/// Builds a connector from its settings. `devices` are the addresses that the operator named.
///
/// # Errors
/// [`StartError::Capture`] and [`StartError::Speed`].
pub fn connector(switch: &SwitchConfig, config: &Config) -> Result<Box<dyn Switch>, StartError> {
    Ok(match &switch.kind {
        SwitchKind::Replay { capture, speed, delay_seconds } => {
            let replay = replay(switch, config, capture, *speed)?;
            Box::new(replay.with_delay(Duration::from_secs((*delay_seconds).into())))
        }
        SwitchKind::Simulated(settings) => {
            Box::new(Simulated::new(switch.name.clone(), settings.clone(), epoch_micros()))
        }
    })
}

fn replay(switch: &SwitchConfig, config: &Config, capture: &Path, speed: f64) -> Result<Replay, StartError> {
    let capture = Capture::open(capture).map_err(|error| StartError::Capture { switch: switch.name.clone(), error })?;
    let speed = match speed {
        0.0 => Speed::AtOnce,
        times => Speed::times(times).map_err(|error| StartError::Speed { switch: switch.name.clone(), error })?,
    };
    let feed = HepFeed::new(FeedConfig {
        name: switch.name.clone(),
        pbxes: switch.pbx.clone(),
        devices: config
            .directory
            .devices()
            .flat_map(|device| device.addresses.iter().map(|address| (*address, device.name.clone())))
            .collect(),
        password: None,
        first_id: epoch_micros(),
        limits: TrackerLimits::default(),
    });
    Ok(Replay::new(switch.name.clone(), capture, feed, speed))
}
