//! A simulated app: the model of what it must get, found out without the gateway's code.

use std::{cell::RefCell, collections::HashMap, rc::Rc, sync::Arc};

use callgate_wire::v1::{self, CapabilityChange, ErrorCode, event, to_app};

use super::{
    socket::{Left, has_key, is_foreseen},
    trail::FlakyTrail,
    wishes::{DEVICES, Indicator, Stream, Who, Wishes},
};
use crate::hub::SessionKey;

/// What the app must get.
pub(super) struct App {
    pub(super) who: Who,
    pub(super) session: Arc<str>,
    pub(super) worker: usize,
    pub(super) state: State,
    pub(super) left: Rc<RefCell<Left>>,
    /// By device: classes, and since when media, by the hub's count.
    pub(super) monitors: HashMap<usize, Monitored>,
    pub(super) asked: HashMap<u64, Asked>,
    pub(super) next_token: u64,
    pub(super) expected: Vec<Expected>,
    /// Why its rights close it.
    pub(super) closes: Option<ErrorCode>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// On its way to the worker, by the rights of this version.
    Queued(u64),
    /// At the worker, before the barrier of this version.
    Early(u64),
    Open(SessionKey),
    Closed,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Monitored {
    pub(super) calls: bool,
    /// Since when.
    pub(super) media: Option<u64>,
}

/// A request under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) device: usize,
    pub(super) monitor: bool,
    pub(super) calls: bool,
    pub(super) media: bool,
    /// When the hub answered. `None`: it knew no such device.
    pub(super) at: Option<u64>,
}

/// An event as the switch told it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) device: usize,
    pub(super) line: u32,
    /// Of a stream: how it stands, and when its generation was first seen. `None`: of a call.
    pub(super) stream: Option<(Stream, u64)>,
    pub(super) number: u64,
}

#[derive(Debug, Clone)]
pub(super) enum Expected {
    Changed(Changed),
    Event {
        told: Told,
        /// Of a stream.
        indicator: Option<Indicator>,
        in_time: bool,
    },
    /// A device, or lines of it.
    OutOfService(usize, Vec<u32>),
}

/// What an app is told of new rights.
#[derive(Debug, Clone)]
pub(super) struct Changed {
    version: u64,
    groups: bool,
    devices: bool,
    standing: Vec<&'static str>,
    keys: bool,
    /// How many devices it sees. Who sees all sees also those that nobody described, which the hub counts.
    count: Option<usize>,
}

impl App {
    /// An event is delivered. `recordable`: its disclosure can go on record (R21).
    pub(super) fn on_event(&mut self, told: Told, wishes: &Wishes, recordable: bool) {
        let Some(monitored) = self.monitors.get(&told.device) else { return };
        let wanted = if told.stream.is_some() { monitored.media.is_some() } else { monitored.calls };
        if !wanted || !wishes.shows_line(self.who, told.device, told.line) {
            return;
        }
        let since = monitored.media.unwrap_or(u64::MAX);
        let in_time = told.stream.is_some_and(|(_, first_seen)| since < first_seen);
        let indicator = told.stream.map(|(stream, _)| match wishes.indicator(self.who, stream, in_time) {
            Indicator::Key if !recordable => Indicator::NotRecordable,
            indicator => indicator,
        });
        self.expected.push(Expected::Event { told, indicator, in_time });
    }

    /// The rights that count for it change. `now`: what counts at the doors. Returns how many keys that waited don't leave, and
    /// whether it is told of the change.
    pub(super) fn on_rights(&mut self, old: &Wishes, new: &Wishes, now: &Wishes) -> (usize, bool) {
        let gone = self.left.borrow().foreseen.min(self.expected.len());
        let mut waiting = self.expected.split_off(gone);
        let keys = |waiting: &[Expected]| waiting.iter().filter(|expected| expected.has_key()).count();
        let before = keys(&waiting);
        let who = self.who;
        if let Err(code) = new.verdict(who, now) {
            self.closes = Some(code);
            return (before, false);
        }
        waiting.retain_mut(|expected| match expected {
            Expected::Event { told, indicator, in_time } => {
                if let (Some(Indicator::Key), Some((stream, _))) = (*indicator, told.stream) {
                    *indicator = Some(new.indicator(who, stream, *in_time));
                }
                new.shows_line(who, told.device, told.line)
            }
            Expected::Changed(_) | Expected::OutOfService(..) => true,
        });
        let after = keys(&waiting);
        self.expected.extend(waiting);
        let known = self.expected.len();
        self.expect_news(old, new);
        (before - after, self.expected.len() > known)
    }

    /// What it is told of a change that it outlives.
    fn expect_news(&mut self, old: &Wishes, new: &Wishes) {
        let who = self.who;
        let (groups, devices) = (old.standing(who) != new.standing(who), old.list(who) != new.list(who));
        if groups || devices {
            let all = new.person(who).is_some_and(|person| person.all_devices);
            self.expected.push(Expected::Changed(Changed {
                version: new.version,
                groups,
                devices,
                standing: new.standing(who),
                keys: new.gives_keys(who),
                count: (!all).then(|| new.list(who).len()),
            }));
        }
        for device in 0..DEVICES.len() {
            if !self.monitors.contains_key(&device) {
                continue;
            }
            if !new.shows(who, device) {
                self.monitors.remove(&device);
                self.expected.push(Expected::OutOfService(device, Vec::new()));
                continue;
            }
            let was_hidden = |line| old.devices[device].is_some() && !old.shows_line(who, device, line);
            let lines: Vec<_> =
                [1, 2].into_iter().filter(|line| !new.shows_line(who, device, *line) && !was_hidden(*line)).collect();
            if !lines.is_empty() {
                self.expected.push(Expected::OutOfService(device, lines));
            }
        }
    }

    /// An answer of the hub reaches its worker.
    pub(super) fn on_answer(&mut self, token: u64, wishes: &Wishes) {
        let asked = self.asked.remove(&token).unwrap();
        if !asked.monitor {
            if let Some(monitored) = self.monitors.get_mut(&asked.device) {
                monitored.calls &= !asked.calls;
                monitored.media = monitored.media.filter(|_| !asked.media);
                if !monitored.calls && monitored.media.is_none() {
                    self.monitors.remove(&asked.device);
                }
            }
        } else if let Some(at) = asked.at
            && wishes.shows(self.who, asked.device)
        {
            let monitored = self.monitors.entry(asked.device).or_default();
            monitored.calls |= asked.calls;
            if asked.media && monitored.media.is_none() {
                monitored.media = Some(at);
            }
        }
    }

    /// What an app checks: no hole in the class numbers that nobody told of (R40), and no key after the message that says
    /// that there are none.
    pub(super) fn check_as_app(&self) -> Result<(), String> {
        let (mut last, mut may_have_keys) = (HashMap::new(), true);
        for message in &self.left.borrow().messages {
            match message {
                to_app::Message::CapabilityChanged(changed) => may_have_keys = changed.keys,
                to_app::Message::DeviceOutOfService(out) => last.retain(|(device, line, _), _| {
                    *device != out.device || !out.lines.is_empty() && !out.lines.contains(line)
                }),
                to_app::Message::Unmonitored(left) => {
                    last.retain(|(device, _, class), _| *device != left.device || left.classes.contains(class));
                }
                to_app::Message::Event(event) => {
                    let place = (event.device.clone(), event.line, event.class);
                    if let Some(last) = last.insert(place, event.class_number)
                        && event.class_number != last + 1
                    {
                        return Err(format!("{:?}: {} follows {last}: {event:?}", self.who, event.class_number));
                    }
                    if has_key(event) && !may_have_keys {
                        return Err(format!("{:?}: a key after all were taken: {event:?}", self.who));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// No key left without its record, and each that was recorded left or is on record as withheld (R21).
    pub(super) fn check_records(&self, trail: &FlakyTrail) -> Result<(), String> {
        let (left, recorded) = (self.left.borrow(), trail.of_session(&self.session));
        if let Some(generation) = &left.unrecorded {
            return Err(format!("{:?}: a key of {generation} left and is not on record", self.who));
        }
        let (keys, unrecordable) = (left.keys.len(), left.unrecordable);
        if keys + recorded.withheld != recorded.disclosed || unrecordable > recorded.refused {
            return Err(format!("{:?}: {keys} keys and {unrecordable} without, but {recorded:?}", self.who));
        }
        Ok(())
    }

    /// All that it must get, and nothing else, in order.
    pub(super) fn check(&self) -> Result<(), String> {
        self.check_as_app()?;
        let left = self.left.borrow();
        let got: Vec<_> = left.messages.iter().filter(|message| is_foreseen(message)).collect();
        let first = got.iter().zip(&self.expected).position(|(got, expected)| !expected.is(got));
        match first {
            Some(at) => Err(format!("{:?}: message {at} is {:?}, not {:?}", self.who, got[at], self.expected[at])),
            None if got.len() != self.expected.len() => {
                let next = (got.get(self.expected.len()), self.expected.get(got.len()));
                Err(format!("{:?}: {} messages, not {}: {next:?}", self.who, got.len(), self.expected.len()))
            }
            None => Ok(()),
        }
    }
}

impl Expected {
    fn has_key(&self) -> bool {
        matches!(self, Self::Event { indicator: Some(Indicator::Key), .. })
    }

    fn is(&self, message: &to_app::Message) -> bool {
        match (self, message) {
            (Self::Event { told, indicator, .. }, to_app::Message::Event(event)) => {
                let standing = match &event.body {
                    Some(event::Body::MediaOpened(opened)) => Some((opened.indicator(), opened.reason())),
                    _ => None,
                };
                (event.device.as_str(), event.line, event.number) == (DEVICES[told.device], told.line, told.number)
                    && standing == indicator.map(Indicator::on_the_wire)
                    && has_key(event) == self.has_key()
            }
            (Self::Changed(expected), to_app::Message::CapabilityChanged(changed)) => expected.is(changed),
            (Self::OutOfService(device, lines), to_app::Message::DeviceOutOfService(out)) => {
                out.device == DEVICES[*device] && out.lines == *lines
            }
            _ => false,
        }
    }
}

impl Changed {
    fn is(&self, told: &v1::CapabilityChanged) -> bool {
        let of = |change: CapabilityChange| told.changes.contains(&change.into());
        let (groups, devices) = (of(CapabilityChange::Groups), of(CapabilityChange::Devices));
        (groups, devices) == (self.groups, self.devices)
            && (told.rights_version, told.keys) == (self.version, self.keys)
            && told.groups == self.standing
            && self.count.is_none_or(|count| told.device_count as usize == count)
    }
}
