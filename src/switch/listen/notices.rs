//! What the operator is told of a feed, and how often. Pure.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::SocketAddr,
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
/// A device that isn't configured is told of when it is known for so long: a PBX proves to be one soon after its first
/// request, and is told of as a PBX only.
const SETTLED: Duration = Duration::from_secs(5);

/// When something is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Occasion {
    /// It is looked whether something is due.
    Look(Instant),
    /// The feed ends: what is untold is told now or never.
    End,
}

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
    pub(super) fn tell(&mut self, occasion: Occasion) -> Option<u64> {
        if self.untold == 0 {
            return None;
        }
        if let Occasion::Look(now) = occasion {
            if !self.is_due(now) {
                return None;
            }
            self.told = Some(now);
        }
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
    /// What isn't configured, and looked like a device, is a PBX.
    Pbx(DeviceName),
    /// Datagrams were refused.
    Refused {
        /// Why.
        refusal: Refusal,
        /// How many since the last time.
        datagrams: u64,
        /// How many since the feed began.
        in_all: u64,
        /// How many datagrams were of use since the feed began.
        used: u64,
        /// Who sent the latest of them.
        from: SocketAddr,
    },
}

/// What is known of a device that isn't configured.
enum Found {
    /// Since when. It may still prove to be a PBX.
    New(Instant),
    /// As the device or the PBX that it is.
    Told,
}

/// The refusals of one kind.
struct Refused {
    tally: Tally,
    in_all: u64,
    from: SocketAddr,
}

/// Decides what is told of a feed's datagrams and events.
pub(super) struct Notices {
    configured: HashSet<DeviceName>,
    found: HashMap<DeviceName, Found>,
    /// New ones among them, in their order.
    new: Vec<DeviceName>,
    refused: BTreeMap<Refusal, Refused>,
    used: u64,
}

impl Notices {
    /// `configured` are the devices that the operator knows.
    pub(super) fn new(configured: HashSet<DeviceName>) -> Self {
        Self { configured, found: HashMap::new(), new: Vec::new(), refused: BTreeMap::new(), used: 0 }
    }

    /// These are the devices that the operator knows from now on.
    pub(super) fn set_configured(&mut self, configured: HashSet<DeviceName>) {
        self.configured = configured;
    }

    /// A datagram, by what became of it.
    pub(super) fn on_datagram(&mut self, outcome: Result<(), Refusal>, from: SocketAddr) {
        let Err(refusal) = outcome else {
            self.used = self.used.saturating_add(1);
            return;
        };
        let refused =
            self.refused.entry(refusal).or_insert_with(|| Refused { tally: Tally::default(), in_all: 0, from });
        refused.tally.add(1);
        refused.in_all = refused.in_all.saturating_add(1);
        refused.from = from;
    }

    /// An event, which may be the first of its device, or say that it is none.
    pub(super) fn on_event(&mut self, event: &SwitchEvent, now: Instant) -> Option<Notice> {
        let EventBody::Call(state) = event.body else { return None };
        let device = &event.device;
        if self.configured.contains(device) {
            return None;
        }
        if state == CallState::Ended(EndCause::NotADevice) {
            *self.found.get_mut(device)? = Found::Told;
            return Some(Notice::Pbx(device.clone()));
        }
        if self.found.len() >= MAX_DEVICES || self.found.contains_key(device) {
            return None;
        }
        self.found.insert(device.clone(), Found::New(now));
        if self.found.len() == MAX_DEVICES {
            return Some(Notice::ManyDevices);
        }
        self.new.push(device.clone());
        None
    }

    /// What is to be told now.
    pub(super) fn tell(&mut self, occasion: Occasion) -> Vec<Notice> {
        let mut notices = Vec::new();
        self.new.retain(|device| {
            let Some(found) = self.found.get_mut(device) else { return false };
            match (&*found, occasion) {
                (Found::Told, _) => return false,
                (Found::New(since), Occasion::Look(now)) if now.saturating_duration_since(*since) < SETTLED => {
                    return true;
                }
                (Found::New(_), _) => *found = Found::Told,
            }
            notices.push(Notice::Device(device.clone()));
            false
        });
        for (refusal, Refused { tally, in_all, from }) in &mut self.refused {
            if let Some(datagrams) = tally.tell(occasion) {
                let (in_all, from) = (*in_all, *from);
                notices.push(Notice::Refused { refusal: *refusal, datagrams, in_all, used: self.used, from });
            }
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
            "let the sender use HEP version 3 (Kamailio: hep_version 3 of siptrace), and let nothing \
                            else send to this port"
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

    const NOT_A_DEVICE: CallState = CallState::Ended(EndCause::NotADevice);

    fn event(device: &str, state: CallState) -> SwitchEvent {
        call_event(device, Timestamp(0), state)
    }

    fn device(name: &str) -> Notice {
        Notice::Device(name.parse().unwrap())
    }

    fn pbx(name: &str) -> Notice {
        Notice::Pbx(name.parse().unwrap())
    }

    #[test]
    fn a_device_that_is_not_configured_is_told_of_once() {
        let mut notices = Notices::new(["1001".parse().unwrap()].into());
        let start = Instant::now();
        for name in ["1001", "127.0.0.1:5062", "127.0.0.1:5060", "127.0.0.1:5062"] {
            assert_eq!(notices.on_event(&event(name, CallState::Dialing), start), None);
        }
        assert_eq!(notices.tell(Occasion::Look(start)), []);
        let both = [device("127.0.0.1:5062"), device("127.0.0.1:5060")];
        assert_eq!(notices.tell(Occasion::Look(start + SETTLED)), both);
        assert_eq!(notices.on_event(&event("127.0.0.1:5062", CallState::Dialing), start + AGAIN), None);
        assert_eq!(notices.tell(Occasion::Look(start + AGAIN)), []);
        assert_eq!(notices.tell(Occasion::End), []);
    }

    #[test]
    fn a_pbx_that_is_not_configured_is_told_of_as_a_pbx_only() {
        let mut notices = Notices::new(HashSet::new());
        let start = Instant::now();
        assert_eq!(notices.on_event(&event("127.0.0.1:5060", CallState::Dialing), start), None);
        assert_eq!(notices.on_event(&event("127.0.0.1:5060", NOT_A_DEVICE), start), Some(pbx("127.0.0.1:5060")));
        assert_eq!(notices.tell(Occasion::Look(start + AGAIN)), []);
        assert_eq!(notices.on_event(&event("127.0.0.1:5061", NOT_A_DEVICE), start), None, "nobody took it for one");
    }

    #[test]
    fn what_was_told_of_as_a_device_can_prove_to_be_a_pbx_later() {
        let mut notices = Notices::new(HashSet::new());
        let start = Instant::now();
        notices.on_event(&event("127.0.0.1:5060", CallState::Dialing), start);
        assert_eq!(notices.tell(Occasion::Look(start + SETTLED)), [device("127.0.0.1:5060")]);
        let later = start + AGAIN;
        assert_eq!(notices.on_event(&event("127.0.0.1:5060", NOT_A_DEVICE), later), Some(pbx("127.0.0.1:5060")));
    }

    #[test]
    fn r41a_not_every_device_of_a_large_pbx_is_told_of() {
        let mut notices = Notices::new(HashSet::new());
        let start = Instant::now();
        let told: Vec<_> = (0..1000)
            .filter_map(|n| notices.on_event(&event(&format!("10.0.0.1:{n}"), CallState::Offered), start))
            .collect();
        assert_eq!(told, [Notice::ManyDevices]);
        assert_eq!(notices.tell(Occasion::Look(start + SETTLED)).len(), MAX_DEVICES - 1);
    }

    #[test]
    fn refusals_are_told_at_once_then_once_a_minute_and_the_rest_at_the_end() {
        let mut notices = Notices::new(HashSet::new());
        let (start, from) = (Instant::now(), |port: u16| SocketAddr::from(([127, 0, 0, 2], port)));
        let told = |refusal, datagrams, in_all, used, port| {
            [Notice::Refused { refusal, datagrams, in_all, used, from: from(port) }]
        };
        assert_eq!(notices.tell(Occasion::Look(start)), []);
        notices.on_datagram(Err(Refusal::WrongPassword), from(1));
        assert_eq!(notices.tell(Occasion::Look(start)), told(Refusal::WrongPassword, 1, 1, 0, 1));
        for port in 2..5 {
            notices.on_datagram(Err(Refusal::WrongPassword), from(port));
        }
        notices.on_datagram(Ok(()), from(9));
        assert_eq!(notices.tell(Occasion::Look(start + AGAIN / 2)), []);
        notices.on_datagram(Err(Refusal::NotHep), from(7));
        assert_eq!(notices.tell(Occasion::Look(start + AGAIN / 2)), told(Refusal::NotHep, 1, 1, 1, 7));
        assert_eq!(notices.tell(Occasion::Look(start + AGAIN)), told(Refusal::WrongPassword, 3, 4, 1, 4));
        assert_eq!(notices.tell(Occasion::Look(start + 9 * AGAIN)), []);
        notices.on_datagram(Err(Refusal::NotHep), from(8));
        assert_eq!(notices.tell(Occasion::Look(start + 9 * AGAIN)), told(Refusal::NotHep, 1, 2, 1, 8));
        notices.on_datagram(Err(Refusal::NotHep), from(8));
        assert_eq!(notices.tell(Occasion::Look(start + 9 * AGAIN)), []);
        assert_eq!(notices.tell(Occasion::End), told(Refusal::NotHep, 1, 3, 1, 8));
        assert_eq!(notices.tell(Occasion::End), []);
    }
}
