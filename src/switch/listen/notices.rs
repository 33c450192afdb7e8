//! What the operator is told of a feed, and how often. Pure.

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, Instant},
};

use crate::{
    model::{CallState, DeviceName, EndCause, EventBody, SwitchEvent},
    switch::feed::Refusal,
};

/// The same thing is told this often at most.
pub(super) const AGAIN: Duration = Duration::from_secs(60);
/// So many devices that aren't configured are told of.
const MAX_DEVICES: usize = 256;

/// Something that is counted, and told now and then.
#[derive(Debug, Default)]
pub(super) struct Tally {
    untold: u64,
    told: Option<Instant>,
}

impl Tally {
    pub(super) fn add(&mut self, count: u64) {
        self.untold = self.untold.saturating_add(count);
    }

    /// How many there were since the last time, if it is time to tell.
    pub(super) fn tell(&mut self, now: Instant) -> Option<u64> {
        if self.untold == 0 || !self.is_due(now) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }

    /// Whether there is nothing to tell, and wasn't for a while.
    pub(super) fn is_idle(&self, now: Instant) -> bool {
        self.untold == 0 && self.is_due(now)
    }

    fn is_due(&self, now: Instant) -> bool {
        self.told.is_none_or(|told| now.saturating_duration_since(told) >= AGAIN)
    }
}

/// Something to tell the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// Something happened on a device that isn't configured.
    Device(DeviceName),
    /// There are more of them than are told of.
    ManyDevices,
    /// What was taken for a device is a PBX.
    Pbx(DeviceName),
    /// Datagrams were refused.
    Refused {
        /// Why.
        refusal: Refusal,
        /// How many since the last time.
        datagrams: u64,
        /// None of the others was of use since then.
        useless: bool,
    },
}

/// Decides what is told of a feed's datagrams and events.
pub(super) struct Notices {
    configured: HashSet<DeviceName>,
    found: HashSet<DeviceName>,
    refused: BTreeMap<Refusal, Tally>,
    /// A datagram was of use since refusals were told.
    used: bool,
}

impl Notices {
    /// `configured` are the devices that the operator knows.
    pub(super) fn new(configured: HashSet<DeviceName>) -> Self {
        Self { configured, found: HashSet::new(), refused: BTreeMap::new(), used: false }
    }

    /// A datagram, by what became of it.
    pub(super) fn on_datagram(&mut self, outcome: Result<(), Refusal>) {
        match outcome {
            Ok(()) => self.used = true,
            Err(refusal) => self.refused.entry(refusal).or_default().add(1),
        }
    }

    /// An event, which may be the first of its device.
    pub(super) fn on_event(&mut self, event: &SwitchEvent) -> Option<Notice> {
        let EventBody::Call(state) = event.body else { return None };
        let device = &event.device;
        if self.configured.contains(device) {
            return None;
        }
        if state == CallState::Ended(EndCause::NotADevice) {
            return self.found.contains(device).then(|| Notice::Pbx(device.clone()));
        }
        if self.found.len() >= MAX_DEVICES || !self.found.insert(device.clone()) {
            return None;
        }
        Some(if self.found.len() == MAX_DEVICES { Notice::ManyDevices } else { Notice::Device(device.clone()) })
    }

    /// What is to be told now of refusals.
    pub(super) fn tell(&mut self, now: Instant) -> Vec<Notice> {
        let mut notices = Vec::new();
        for (refusal, tally) in &mut self.refused {
            if let Some(datagrams) = tally.tell(now) {
                notices.push(Notice::Refused { refusal: *refusal, datagrams, useless: !self.used });
            }
        }
        if !notices.is_empty() {
            self.used = false;
        }
        notices
    }
}

/// What to change when datagrams are refused so.
pub(super) fn mend(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::CompressedHep => "switch the sender's compression off",
        Refusal::MalformedHep => "let nothing but a PBX's HEPv3 come to this port, in whole packets",
        Refusal::MalformedSip => "the PBX passes on what isn't SIP; if calls are missing, see what that phone sends",
        Refusal::NotHep => {
            "let the sender use HEP version 3 (Kamailio: hep_version 3 of siptrace), and nothing else \
                            this port"
        }
        Refusal::WrongPassword => {
            "password_file must hold the sender's password (Asterisk: capture_password in hep.conf); a sender that \
             can't send one, such as Kamailio's siptrace, needs a feed without password_file"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::call_event, *};
    use crate::model::Timestamp;

    fn event(device: &str, state: CallState) -> SwitchEvent {
        call_event(device, Timestamp(0), state)
    }

    #[test]
    fn a_device_that_is_not_configured_is_told_of_once() {
        let mut notices = Notices::new(["1001".parse().unwrap()].into());
        let mut dials = |device: &str| notices.on_event(&event(device, CallState::Dialing));
        assert_eq!(dials("1001"), None);
        assert_eq!(dials("127.0.0.1:5060"), Some(Notice::Device("127.0.0.1:5060".parse().unwrap())));
        assert_eq!(dials("127.0.0.1:5060"), None);
        let gone = CallState::Ended(EndCause::NotADevice);
        assert_eq!(
            notices.on_event(&event("127.0.0.1:5060", gone)),
            Some(Notice::Pbx("127.0.0.1:5060".parse().unwrap()))
        );
        assert_eq!(notices.on_event(&event("127.0.0.1:5061", gone)), None);
    }

    #[test]
    fn r41a_not_every_device_of_a_large_pbx_is_told_of() {
        let mut notices = Notices::new(HashSet::new());
        let told: Vec<_> =
            (0..1000).filter_map(|n| notices.on_event(&event(&format!("10.0.0.1:{n}"), CallState::Offered))).collect();
        assert_eq!((told.len(), told.last()), (MAX_DEVICES, Some(&Notice::ManyDevices)));
    }

    #[test]
    fn refusals_are_told_at_once_and_then_once_a_minute() {
        let mut notices = Notices::new(HashSet::new());
        let start = Instant::now();
        let told = |refusal, datagrams, useless| [Notice::Refused { refusal, datagrams, useless }];
        assert_eq!(notices.tell(start), []);
        notices.on_datagram(Err(Refusal::WrongPassword));
        assert_eq!(notices.tell(start), told(Refusal::WrongPassword, 1, true));
        for _ in 0..3 {
            notices.on_datagram(Err(Refusal::WrongPassword));
        }
        notices.on_datagram(Ok(()));
        assert_eq!(notices.tell(start + AGAIN / 2), []);
        notices.on_datagram(Err(Refusal::NotHep));
        assert_eq!(notices.tell(start + AGAIN / 2), told(Refusal::NotHep, 1, false));
        assert_eq!(notices.tell(start + AGAIN), told(Refusal::WrongPassword, 3, true));
        assert_eq!(notices.tell(start + 9 * AGAIN), []);
    }
}
