//! An open session: requests in, what to do out. Pure: time is an argument.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use callgate_wire::v1::{self, ErrorCode, ToGateway, to_app, to_gateway};

use super::{Settings, encode};
use crate::{
    directory::User,
    hub::{Answer, Ask, Moment, Snapshot},
    model::{DeviceName, Door, EventClass, Group, InstanceId},
};

/// The most devices on a page.
const MAX_PAGE: usize = 500;
/// The devices on a page when the app doesn't say how many.
const DEFAULT_PAGE: usize = 100;
/// The most bytes of devices on a page, so that it fits into a frame with room to spare.
const MAX_PAGE_BYTES: usize = 48 * 1024;

/// Whose session it is, and how it came in.
#[derive(Clone)]
pub(super) struct Identity {
    /// The user, as the directory had it when the session opened.
    pub(super) user: Arc<User>,
    /// The app's instance.
    pub(super) instance: InstanceId,
    /// The door.
    pub(super) door: Door,
}

impl Identity {
    /// Whether the user controls all devices (R13).
    pub(super) fn sees_all_devices(&self) -> bool {
        self.user.groups.contains(Group::ControlOfAllDevices)
    }
}

/// Some classes of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Classes(u8);

/// What the worker is to do.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "made and taken apart at once, and not for events")]
pub(super) enum Action {
    /// Send this; the number is that of the request that it answers.
    Send(u64, to_app::Message),
    /// Refuse this request about that subject, and go on.
    Refuse(u64, ErrorCode, String),
    /// Ask the hub; the answer comes with this token.
    Ask(u64, Ask),
    /// Deliver events of these classes from this moment on.
    Watch(DeviceName, Classes, Moment),
    /// Deliver only these classes from now on.
    Keep(DeviceName, Classes),
    /// End the session.
    Close(ErrorCode),
}

/// The state of an open session.
pub(super) struct Session {
    identity: Identity,
    settings: Arc<Settings>,
    heartbeat: Duration,
    last_heard: Instant,
    next_beat: Instant,
    /// What the app has asked to monitor, answered or not.
    monitors: HashMap<DeviceName, Classes>,
    pending: HashMap<u64, Pending>,
    next_token: u64,
}

/// A request that waits for the hub.
struct Pending {
    request_id: u64,
    kind: Kind,
}

enum Kind {
    /// `classes` are all that are monitored with it, `added` those that weren't before.
    Monitor {
        device: DeviceName,
        added: Classes,
        classes: Classes,
    },
    Unmonitor {
        device: DeviceName,
        left: Classes,
    },
    Snapshot,
    Names {
        contains: String,
        limit: usize,
    },
}

impl Classes {
    /// Every class.
    pub(super) const ALL: Self = Self(0b11);

    /// Whether `class` is among them.
    pub(super) fn contains(self, class: EventClass) -> bool {
        self.0 & (1 << class as u8) != 0
    }

    /// This class alone.
    pub(super) fn of(class: EventClass) -> Self {
        Self(1 << class as u8)
    }

    /// The classes of both.
    pub(super) fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The classes of a request, where none stands for all.
    fn asked(classes: &[i32]) -> Result<Self, i32> {
        if classes.is_empty() {
            return Ok(Self::ALL);
        }
        classes.iter().try_fold(Self::default(), |asked, class| match v1::EventClass::try_from(*class) {
            Ok(v1::EventClass::Call) => Ok(asked.with(Self::of(EventClass::Call))),
            Ok(v1::EventClass::Media) => Ok(asked.with(Self::of(EventClass::Media))),
            Ok(v1::EventClass::Unspecified) | Err(_) => Err(*class),
        })
    }

    fn to_wire(self) -> Vec<i32> {
        EventClass::ALL
            .into_iter()
            .filter(|class| self.contains(*class))
            .map(|class| encode::class(class).into())
            .collect()
    }
}

impl Session {
    /// A session that opens now.
    pub(super) fn new(identity: Identity, settings: Arc<Settings>, heartbeat: Duration, now: Instant) -> Self {
        Self {
            identity,
            settings,
            heartbeat,
            last_heard: now,
            next_beat: now + heartbeat,
            monitors: HashMap::new(),
            pending: HashMap::new(),
            next_token: 0,
        }
    }

    /// Whose session it is.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The devices that the hub must be told of when the session ends.
    pub(super) fn monitored(&self) -> impl Iterator<Item = &DeviceName> {
        self.monitors.keys()
    }

    /// Something arrived, even if it is no whole message yet (R39).
    pub(super) fn on_heard(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// When [`on_time`](Self::on_time) has something to do.
    pub(super) fn deadline(&self) -> Instant {
        self.next_beat.min(self.last_heard + 2 * self.heartbeat)
    }

    /// Sends a heartbeat in each interval, and closes when nothing was heard for two (R39).
    pub(super) fn on_time(&mut self, now: Instant) -> Option<Action> {
        if now.duration_since(self.last_heard) >= 2 * self.heartbeat {
            return Some(Action::Close(ErrorCode::HeartbeatTimeout));
        }
        if now < self.next_beat {
            return None;
        }
        self.next_beat = now + self.heartbeat;
        Some(Action::Send(0, to_app::Message::Heartbeat(v1::Heartbeat {})))
    }

    /// Takes a message of the app.
    pub(super) fn on_message(&mut self, message: ToGateway) -> Option<Action> {
        use to_gateway::Message;
        let id = message.request_id;
        // These ask for nothing.
        let is_request = !matches!(message.message, Some(Message::Heartbeat(_) | Message::Close(_)));
        if is_request && self.pending.len() >= self.settings.limits.requests_in_flight {
            return Some(Action::Close(ErrorCode::TooManyRequests));
        }
        Some(match message.message {
            Some(Message::ListDevices(list)) => self.on_list(id, list),
            Some(Message::Monitor(monitor)) => self.on_monitor(id, monitor),
            Some(Message::Unmonitor(unmonitor)) => self.on_unmonitor(id, &unmonitor),
            Some(Message::Snapshot(snapshot)) => match self.visible(&snapshot.device) {
                Some(device) => self.ask(id, Kind::Snapshot, Ask::Snapshot(device)),
                None => Action::Refuse(id, ErrorCode::DeviceUnknown, snapshot.device),
            },
            // That it was heard is all that a heartbeat says.
            Some(Message::Heartbeat(_)) => return None,
            Some(Message::Close(_)) => Action::Close(ErrorCode::ClosedByApp),
            Some(Message::Hello(_) | Message::Open(_) | Message::AuthResponse(_)) => {
                Action::Close(ErrorCode::OutOfOrder)
            }
            None => Action::Refuse(id, ErrorCode::UnknownRequest, String::new()),
        })
    }

    /// Takes an answer of the hub to what [`Action::Ask`] asked.
    pub(super) fn on_answer(&mut self, token: u64, answer: Answer) -> Vec<Action> {
        let Some(Pending { request_id, kind }) = self.pending.remove(&token) else { return Vec::new() };
        match (kind, answer) {
            (Kind::Monitor { device, added, classes }, Answer::Subscribed { moment, snapshot }) => {
                let snapshot = Some(self.snapshot(&snapshot));
                let monitored = to_app::Message::Monitored(v1::Monitored { classes: classes.to_wire(), snapshot });
                vec![Action::Watch(device, added, moment), Action::Send(request_id, monitored)]
            }
            (Kind::Unmonitor { device, left }, Answer::Done) => {
                let unmonitored = v1::Unmonitored { device: device.to_string(), classes: left.to_wire() };
                vec![Action::Keep(device, left), Action::Send(request_id, to_app::Message::Unmonitored(unmonitored))]
            }
            (Kind::Snapshot, Answer::Snapshot(snapshot)) => {
                vec![Action::Send(request_id, to_app::Message::Snapshot(self.snapshot(&snapshot)))]
            }
            (Kind::Names { contains, limit }, Answer::Names { mut names, more }) => {
                let last = names.last().cloned();
                names.retain(|name| self.settings.directory.may_see(&self.identity.user, name));
                if more && names.is_empty() {
                    // All of them are restricted. An empty page would seem the last one, and a token would name one.
                    return vec![self.ask_names(request_id, last, contains, limit)];
                }
                vec![Action::Send(request_id, self.page(names.into_iter(), usize::MAX, more))]
            }
            (_, Answer::UnknownDevice(device)) => {
                self.monitors.remove(&device);
                vec![Action::Refuse(request_id, ErrorCode::DeviceUnknown, device.to_string())]
            }
            _ => vec![Action::Close(ErrorCode::Internal)],
        }
    }

    fn on_list(&mut self, id: u64, list: v1::ListDevices) -> Action {
        let limit = match usize::try_from(list.page_size) {
            Ok(0) => DEFAULT_PAGE,
            Ok(limit) if limit <= MAX_PAGE => limit,
            _ => return Action::Refuse(id, ErrorCode::InvalidArgument, format!("page_size {}", list.page_size)),
        };
        let after = match list.page_token.as_str() {
            "" => None,
            token => match token.parse::<DeviceName>() {
                Ok(name) => Some(name),
                Err(_) => return Action::Refuse(id, ErrorCode::PageTokenInvalid, list.page_token),
            },
        };
        if self.identity.sees_all_devices() {
            return self.ask_names(id, after, list.name_contains, limit);
        }
        let contains = list.name_contains.to_ascii_lowercase();
        let names = self.settings.directory.devices_of(&self.identity.user).map(|device| device.name.clone());
        let names = names
            .filter(|name| after.as_ref().is_none_or(|after| name > after))
            .filter(|name| name.as_str().to_ascii_lowercase().contains(&contains));
        Action::Send(id, self.page(names, limit, false))
    }

    fn on_monitor(&mut self, id: u64, monitor: v1::MonitorDevice) -> Action {
        let asked = match Classes::asked(&monitor.classes) {
            Ok(asked) => asked,
            Err(class) => return Action::Refuse(id, ErrorCode::InvalidArgument, format!("event class {class}")),
        };
        let Some(device) = self.visible(&monitor.device) else {
            return Action::Refuse(id, ErrorCode::DeviceUnknown, monitor.device);
        };
        let before = self.monitors.get(&device).copied();
        if before.is_none() && self.monitors.len() >= self.settings.limits.monitors_per_session {
            return Action::Refuse(id, ErrorCode::TooManyMonitors, monitor.device);
        }
        let known = before.unwrap_or_default();
        let classes = known.with(asked);
        self.monitors.insert(device.clone(), classes);
        let ask = Ask::Subscribe(device.clone());
        self.ask(id, Kind::Monitor { device, added: asked.without(known), classes }, ask)
    }

    fn on_unmonitor(&mut self, id: u64, unmonitor: &v1::UnmonitorDevice) -> Action {
        let asked = match Classes::asked(&unmonitor.classes) {
            Ok(asked) => asked,
            Err(class) => return Action::Refuse(id, ErrorCode::InvalidArgument, format!("event class {class}")),
        };
        let Some((device, known)) = self.monitors.get_key_value(unmonitor.device.as_str()) else {
            let unmonitored = v1::Unmonitored { device: unmonitor.device.clone(), classes: Vec::new() };
            return Action::Send(id, to_app::Message::Unmonitored(unmonitored));
        };
        let (device, left) = (device.clone(), known.without(asked));
        if left == Classes::default() {
            self.monitors.remove(&device);
            self.ask(id, Kind::Unmonitor { device: device.clone(), left }, Ask::Unsubscribe(device))
        } else {
            self.monitors.insert(device.clone(), left);
            self.ask(id, Kind::Unmonitor { device: device.clone(), left }, Ask::Fence(device))
        }
    }

    /// The device of this name, if the user may see it (R13). Who may not is told the same as of a device that isn't there.
    fn visible(&self, name: &str) -> Option<DeviceName> {
        let name = name.parse().ok()?;
        self.settings.directory.may_see(&self.identity.user, &name).then_some(name)
    }

    fn ask(&mut self, request_id: u64, kind: Kind, ask: Ask) -> Action {
        let token = self.next_token;
        self.next_token += 1;
        self.pending.insert(token, Pending { request_id, kind });
        Action::Ask(token, ask)
    }

    fn ask_names(&mut self, id: u64, after: Option<DeviceName>, contains: String, limit: usize) -> Action {
        let kind = Kind::Names { contains: contains.clone(), limit };
        self.ask(id, kind, Ask::Names { after, contains, limit })
    }

    fn snapshot(&self, snapshot: &Snapshot) -> v1::DeviceSnapshot {
        let device = self.settings.directory.device(snapshot.device.as_str());
        encode::snapshot(snapshot, |line| device.is_some_and(|device| !device.line_is_visible(line)))
    }

    /// A page of up to `limit` devices, and fewer where a frame has no room for them.
    fn page(&self, names: impl Iterator<Item = DeviceName>, limit: usize, more_behind: bool) -> to_app::Message {
        let (mut devices, mut bytes) = (Vec::new(), 0);
        let mut names = names.peekable();
        while devices.len() < limit
            && bytes < MAX_PAGE_BYTES
            && let Some(name) = names.next()
        {
            let device = self.device(&name);
            bytes += prost::Message::encoded_len(&device);
            devices.push(device);
        }
        let more = more_behind || names.peek().is_some();
        let next_page_token = devices.last().filter(|_| more).map(|last: &v1::Device| last.name.clone());
        to_app::Message::DeviceList(v1::DeviceList { devices, next_page_token: next_page_token.unwrap_or_default() })
    }

    fn device(&self, name: &DeviceName) -> v1::Device {
        let Some(device) = self.settings.directory.device(name.as_str()) else {
            let lines = vec![v1::Line { line: 1, number: String::new() }];
            return v1::Device { name: name.to_string(), lines, description: String::new() };
        };
        let lines = device.visible_lines().map(|line| v1::Line { line: line.number.0, number: line.label.clone() });
        v1::Device { name: name.to_string(), lines: lines.collect(), description: device.description.clone() }
    }
}
