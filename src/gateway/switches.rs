//! Builds connectors to switches from their settings.

use std::{path::Path, time::Duration};

use super::{StartError, epoch_micros, known_devices};
use crate::{
    config::{Config, HepConfig, SwitchConfig, SwitchKind},
    model::Secret,
    switch::{
        Switch,
        capture::Capture,
        feed::{FeedConfig, HepFeed},
        listen::{HepListener, ListenSettings},
        replay::{Replay, Speed},
        sim::Simulated,
        tracker::TrackerLimits,
    },
    trust,
};

/// Builds a connector from its settings. `devices` are the addresses that the operator named.
///
/// # Errors
/// [`StartError::Capture`] and [`StartError::Speed`]; [`StartError::Feed`] and [`StartError::FeedPassword`].
pub fn connector(switch: &SwitchConfig, config: &Config) -> Result<Box<dyn Switch>, StartError> {
    Ok(match &switch.kind {
        SwitchKind::Hep(hep) => Box::new(listener(switch, config, hep)?),
        SwitchKind::Replay { capture, speed, delay_seconds } => {
            let replay = replay(switch, config, capture, *speed)?;
            Box::new(replay.with_delay(Duration::from_secs((*delay_seconds).into())))
        }
        SwitchKind::Simulated(settings) => {
            Box::new(Simulated::new(switch.name.clone(), settings.clone(), first_id(switch, config)))
        }
    })
}

fn listener(switch: &SwitchConfig, config: &Config, hep: &HepConfig) -> Result<HepListener, StartError> {
    let password = feed_password(switch, hep)?;
    let settings = ListenSettings {
        name: switch.name.clone(),
        address: hep.listen,
        networks: hep.networks.clone(),
        queue_bytes: hep.queue_bytes,
        devices: known_devices(&config.directory).names,
    };
    HepListener::bind(settings, feed(switch, config, password))
        .map_err(|error| StartError::Feed { switch: switch.name.clone(), error })
}

/// The password of a feed's datagrams, if it has one.
///
/// # Errors
/// [`StartError::FeedPassword`].
pub fn feed_password(switch: &SwitchConfig, hep: &HepConfig) -> Result<Option<Secret>, StartError> {
    let read = hep.password_file.as_deref().map(trust::secret).transpose();
    read.map_err(|error| StartError::FeedPassword { switch: switch.name.clone(), error })
}

fn replay(switch: &SwitchConfig, config: &Config, capture: &Path, speed: f64) -> Result<Replay, StartError> {
    let capture = Capture::open(capture).map_err(|error| StartError::Capture { switch: switch.name.clone(), error })?;
    let speed = match speed {
        0.0 => Speed::AtOnce,
        times => Speed::times(times).map_err(|error| StartError::Speed { switch: switch.name.clone(), error })?,
    };
    Ok(Replay::new(switch.name.clone(), capture, feed(switch, config, None), speed))
}

fn feed(switch: &SwitchConfig, config: &Config, password: Option<Secret>) -> HepFeed {
    HepFeed::new(FeedConfig {
        name: switch.name.clone(),
        pbxes: switch.pbx.clone(),
        devices: known_devices(&config.directory).addresses,
        password,
        first_id: first_id(switch, config),
        limits: TrackerLimits::default(),
    })
}

/// Ids that no start before has given, and that no other switch gives: each has 2^54 of them to itself.
fn first_id(switch: &SwitchConfig, config: &Config) -> u64 {
    let place = config.switches.iter().position(|other| other.name == switch.name).unwrap_or_default();
    epoch_micros().wrapping_add(u64::try_from(place).unwrap_or_default() << 54)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_two_feeds_don_t_meet() {
        let feed = |name: &str, port: u16| {
            format!("[[switch]]\nname = \"{name}\"\nkind = \"hep\"\nlisten = \"127.0.0.1:{port}\"\n")
        };
        let text = feed("one", 9060) + &feed("other", 9061);
        let config = Config::parse(&text, "test.toml", Path::new("."), std::iter::empty()).unwrap();
        let [one, other] = [0, 1].map(|place: usize| first_id(&config.switches[place], &config));
        assert!(other - one > 1 << 53, "{one} {other}");
    }
}
