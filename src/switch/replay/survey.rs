//! A look through a capture before it is played.

use std::{collections::HashMap, time::Instant};

use super::{ReplayCounts, ReplayError, Speed, player::Player};
use crate::{
    model::{Address, CallState, DeviceName, EndCause, EventBody, SwitchEvent},
    switch::{
        capture::{CaptureError, Packet},
        feed::{FeedConfig, HepFeed},
    },
};

/// What a capture has in it, found by playing it to nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// What was read.
    pub counts: ReplayCounts,
    /// Every device that something happened on, in the order of appearance.
    pub devices: Vec<DeviceName>,
    /// Every address that is a PBX. A feed that knows them from the start takes none of them for a device.
    pub pbxes: Vec<Address>,
    /// Why it can't be read to its end.
    pub error: Option<ReplayError>,
}

/// Finds the devices and the PBXs of a capture before it is played.
///
/// `now` is any moment: only its distance to later ones counts.
pub fn survey(packets: impl Iterator<Item = Result<Packet, CaptureError>>, config: FeedConfig, now: Instant) -> Survey {
    let mut feed = HepFeed::new(config);
    let mut player = Player::new(packets, &mut feed, Speed::AtOnce, now);
    let mut devices = DeviceList::default();
    let error = loop {
        match player.step() {
            Ok(Some(step)) => step.events.iter().for_each(|event| devices.add(event)),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let counts = player.counts().clone();
    Survey { counts, devices: devices.finish(), pbxes: feed.pbxes(), error }
}

/// Devices in the order of appearance, but for those that turned out to be a PBX.
#[derive(Default)]
struct DeviceList {
    names: Vec<DeviceName>,
    /// Whether it is a device, as far as is known.
    known: HashMap<DeviceName, bool>,
}

impl DeviceList {
    fn add(&mut self, event: &SwitchEvent) {
        let is_device = !matches!(event.body, EventBody::Call(CallState::Ended(EndCause::NotADevice)));
        if self.known.insert(event.device.clone(), is_device).is_none() {
            self.names.push(event.device.clone());
        }
    }

    fn finish(self) -> Vec<DeviceName> {
        let Self { names, known } = self;
        names.into_iter().filter(|name| known.get(name) == Some(&true)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::Timestamp, switch::replay::tests::event};

    #[test]
    fn a_survey_lists_each_device_once_and_no_pbx() {
        let named = |device| event(device, Timestamp(0));
        let gone =
            |device| SwitchEvent { body: EventBody::Call(CallState::Ended(EndCause::NotADevice)), ..named(device) };
        let mut list = DeviceList::default();
        for event in [named("a"), named("pbx"), named("b"), gone("pbx"), named("a"), named("c"), gone("c"), named("c")]
        {
            list.add(&event);
        }
        assert_eq!(list.finish(), ["a", "b", "c"].map(|name| name.parse().unwrap()));
    }
}
