//! An open session: requests in, what to do out. Pure: time is an argument.

use std::{
    collections::HashMap,
    ops::Bound,
    sync::Arc,
    time::{Duration, Instant},
};

use callgate_wire::v1::{self, ErrorCode, ToGateway, to_app, to_gateway};

use super::{
    Settings, encode,
    expiry::{Expiry, Step},
    identity::Identity,
    judging,
    renewal::Renewal,
    signs::{Due, Signs},
};
use crate::{
    directory::Device,
    hub::{Answer, Ask, Moment, Rights, Snapshot, contains_ignore_ascii_case},
    model::{DeviceName, EventClass, Group},
};

/// The most devices on a page.
const MAX_PAGE: usize = 500;
/// The devices on a page when the app doesn't say how many.
const DEFAULT_PAGE: usize = 100;

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
    /// Tell the hub that the session doesn't monitor the device any more.
    Forget(DeviceName),
    /// End the session.
    Close(ErrorCode),
}

/// The state of an open session.
pub(super) struct Session {
    identity: Identity,
    settings: Arc<Settings>,
    /// What counts: the same for all sessions of a worker.
    rights: Arc<Rights>,
    signs: Signs,
    /// The end of its certificate, on the TLS door.
    expiry: Option<Expiry>,
    /// What is monitored.
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
    Monitor { device: DeviceName, asked: Classes },
    Unmonitor { device: DeviceName, asked: Classes },
    Snapshot,
    Names { contains: String, limit: usize },
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
    pub(super) fn new(
        identity: Identity,
        settings: Arc<Settings>,
        rights: Arc<Rights>,
        heartbeat: Duration,
        now: Instant,
    ) -> Self {
        Self {
            identity,
            settings,
            rights,
            signs: Signs::new(heartbeat, now),
            expiry: None,
            monitors: HashMap::new(),
            pending: HashMap::new(),
            next_token: 0,
        }
    }

    /// The same, opened by a certificate that ends then, in seconds since 1970.
    pub(super) fn certified_until(self, ends: Option<i64>) -> Self {
        Self { expiry: ends.map(Expiry::new), ..self }
    }

    /// Whose session it is.
    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The version of the rights that it knows.
    pub(super) fn rights_version(&self) -> u64 {
        self.rights.version
    }

    /// The devices that the hub must be told of when the session ends.
    pub(super) fn monitored(&self) -> impl Iterator<Item = &DeviceName> {
        self.monitors.keys().chain(self.pending_monitors())
    }

    /// As many requests wait for answers as may: the next one is not taken before that (R41a).
    pub(super) fn is_busy(&self) -> bool {
        self.pending.len() >= self.settings.limits.requests_in_flight
    }

    /// Something arrived, even if it is no whole message yet (R39). Whether that answers a probe (R12).
    pub(super) fn on_heard(&mut self, now: Instant) -> bool {
        self.signs.heard(now)
    }

    /// Somebody wants its place: is the app alive? Anything that is heard within the time says so (R12).
    pub(super) fn on_probe(&mut self, now: Instant) -> Option<Action> {
        let within = self.settings.limits.probe_time();
        let within_milliseconds = u32::try_from(within.as_millis()).unwrap_or(u32::MAX);
        let probe = to_app::Message::Probe(v1::Probe { within_milliseconds });
        self.signs.probe(now, within).then_some(Action::Send(0, probe))
    }

    /// When [`on_time`](Self::on_time) has something to do.
    pub(super) fn deadline(&self) -> Instant {
        self.signs.deadline()
    }

    /// Sends a heartbeat in each interval, and closes when nothing was heard for two (R39), or since a probe while its place
    /// `is_wanted` (R12).
    pub(super) fn on_time(&mut self, now: Instant, is_wanted: impl FnOnce() -> bool) -> Option<Action> {
        let mut due = self.signs.due(now)?;
        if due == Due::Unanswered {
            if is_wanted() {
                return Some(Action::Close(ErrorCode::InstanceTakenOver));
            }
            self.signs.end_probe();
            due = self.signs.due(now)?;
        }
        Some(match due {
            Due::Beat => Action::Send(0, to_app::Message::Heartbeat(v1::Heartbeat {})),
            Due::Silent | Due::Unanswered => Action::Close(ErrorCode::HeartbeatTimeout),
        })
    }

    /// The end of its certificate, if it was opened by one.
    pub(super) fn expiry(&self) -> Option<Expiry> {
        self.expiry
    }

    /// Warns of the end of the certificate, and closes an hour after it (R32). `now` is the wall clock's time, as far as it
    /// is believed, in seconds since 1970.
    pub(super) fn on_wall_time(&mut self, now: i64) -> Option<Action> {
        Some(match self.expiry.as_mut()?.step(now)? {
            Step::Warn(told) => Action::Send(0, to_app::Message::CertificateExpires(told)),
            Step::Close => Action::Close(ErrorCode::CertificateExpired),
        })
    }

    /// Takes a message of the app.
    pub(super) fn on_message(&mut self, message: ToGateway) -> Option<Action> {
        use to_gateway::Message;
        let id = message.request_id;
        Some(match message.message {
            Some(Message::ListDevices(list)) => self.on_list(id, list),
            Some(Message::Monitor(monitor)) => self.on_monitor(id, monitor),
            Some(Message::Unmonitor(unmonitor)) => self.on_unmonitor(id, &unmonitor),
            Some(Message::Snapshot(snapshot)) => match self.visible(&snapshot.device) {
                Some(device) => self.ask(id, Kind::Snapshot, Ask::Snapshot(device)),
                None => Action::Refuse(id, ErrorCode::DeviceUnknown, snapshot.device),
            },
            // That it was heard is all that they say.
            Some(Message::Heartbeat(_) | Message::ProbeAnswer(_)) => return None,
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
            // Rights changed since it asked: it may not see the device any more.
            (Kind::Monitor { device, .. }, Answer::Subscribed { .. }) if !self.sees(&device) => {
                let mut actions = vec![Action::Refuse(request_id, ErrorCode::DeviceUnknown, device.to_string())];
                if !self.pending_monitors().any(|pending| *pending == device) {
                    actions.push(Action::Forget(device));
                }
                actions
            }
            (Kind::Snapshot, Answer::Snapshot(snapshot)) if !self.sees(&snapshot.device) => {
                vec![Action::Refuse(request_id, ErrorCode::DeviceUnknown, snapshot.device.to_string())]
            }
            (Kind::Monitor { device, asked }, Answer::Subscribed { moment, snapshot }) => {
                let known = self.monitors.get(&device).copied().unwrap_or_default();
                let classes = known.with(asked);
                self.monitors.insert(device.clone(), classes);
                let snapshot = Some(self.snapshot(&snapshot));
                let monitored = to_app::Message::Monitored(v1::Monitored { classes: classes.to_wire(), snapshot });
                vec![Action::Watch(device, asked.without(known), moment), Action::Send(request_id, monitored)]
            }
            (Kind::Unmonitor { device, asked }, Answer::Done) => self.end(request_id, device, asked),
            (Kind::Snapshot, Answer::Snapshot(snapshot)) => {
                vec![Action::Send(request_id, to_app::Message::Snapshot(self.snapshot(&snapshot)))]
            }
            (Kind::Names { contains, limit }, Answer::Names { mut names, resume }) => {
                names.retain(|name| self.sees(name));
                match resume {
                    // An empty page would seem the last one.
                    Some(last) if names.is_empty() => vec![self.ask_names(request_id, Some(last), contains, limit)],
                    resume => vec![Action::Send(request_id, self.page(names.into_iter(), limit, resume.is_some()))],
                }
            }
            (_, Answer::UnknownDevice(device)) => {
                vec![Action::Refuse(request_id, ErrorCode::DeviceUnknown, device.to_string())]
            }
            _ => vec![Action::Close(ErrorCode::Internal)],
        }
    }

    /// Takes new rights in: what to close, to end and to tell (R15). What waits to be sent is the caller's to judge.
    pub(super) fn on_rights(&mut self, renewal: &mut Renewal) -> Vec<Action> {
        let user = match renewal.judge(&self.identity) {
            Ok(user) => user,
            Err(code) => return vec![Action::Close(code)],
        };
        let rights = Arc::clone(&renewal.rights);
        if rights.version == self.rights.version {
            return Vec::new();
        }
        let changes = renewal.changes(&self.rights, &self.identity.user, &user);
        let before = std::mem::replace(&mut self.rights, rights);
        self.identity.user = user;

        let mut actions = Vec::new();
        if changes.groups || changes.devices {
            let groups = Group::ALL.into_iter().filter(|group| self.identity.user.groups.contains(*group));
            let different =
                [(changes.groups, v1::CapabilityChange::Groups), (changes.devices, v1::CapabilityChange::Devices)];
            let changed = v1::CapabilityChanged {
                changes: different.into_iter().filter(|(is, _)| *is).map(|(_, change)| change.into()).collect(),
                groups: groups.map(|group| group.name().into()).collect(),
                keys: judging::may_have_keys(&self.rights, &self.identity),
                device_count: changes.device_count,
                rights_version: self.rights.version,
            };
            actions.push(Action::Send(0, to_app::Message::CapabilityChanged(changed)));
        }
        let mut monitored: Vec<DeviceName> = self.monitors.keys().cloned().collect();
        monitored.sort_unstable();
        for device in monitored {
            if !self.sees(&device) {
                self.monitors.remove(&device);
                actions.push(Action::Keep(device.clone(), Classes::default()));
                if !self.pending_monitors().any(|pending| *pending == device) {
                    actions.push(Action::Forget(device.clone()));
                }
                actions.push(Action::Send(0, out_of_service(&device, Vec::new())));
                continue;
            }
            let lines = newly_restricted(&before, &self.rights, &device);
            if !lines.is_empty() {
                actions.push(Action::Send(0, out_of_service(&device, lines)));
            }
        }
        actions
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
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let user = &self.identity.user;
        let names = user.devices.range((from, Bound::Unbounded));
        let names = names
            .filter(|name| contains_ignore_ascii_case(name.as_str(), &list.name_contains))
            .filter(|name| self.sees(name));
        Action::Send(id, self.page(names.cloned(), limit, false))
    }

    fn on_monitor(&mut self, id: u64, monitor: v1::MonitorDevice) -> Action {
        let asked = match Classes::asked(&monitor.classes) {
            Ok(asked) => asked,
            Err(class) => return Action::Refuse(id, ErrorCode::InvalidArgument, format!("event class {class}")),
        };
        let Some(device) = self.visible(&monitor.device) else {
            return Action::Refuse(id, ErrorCode::DeviceUnknown, monitor.device);
        };
        let count = self.monitors.len() + self.pending_monitors().count();
        let known = self.monitors.contains_key(&device) || self.pending_monitors().any(|pending| *pending == device);
        if !known && count >= self.settings.limits.monitors_per_session {
            return Action::Refuse(id, ErrorCode::TooManyMonitors, monitor.device);
        }
        self.ask(id, Kind::Monitor { device: device.clone(), asked }, Ask::Subscribe(device))
    }

    fn on_unmonitor(&mut self, id: u64, unmonitor: &v1::UnmonitorDevice) -> Action {
        let asked = match Classes::asked(&unmonitor.classes) {
            Ok(asked) => asked,
            Err(class) => return Action::Refuse(id, ErrorCode::InvalidArgument, format!("event class {class}")),
        };
        match unmonitor.device.parse() {
            Ok(device) => self.ask(id, Kind::Unmonitor { device, asked }, Ask::Fence),
            Err(_) => Action::Refuse(id, ErrorCode::DeviceUnknown, unmonitor.device.clone()),
        }
    }

    /// Ends monitoring. What isn't monitored can be ended too: nothing is left of it, as was asked.
    fn end(&mut self, request_id: u64, device: DeviceName, asked: Classes) -> Vec<Action> {
        let left = self.monitors.get(&device).copied().unwrap_or_default().without(asked);
        let unmonitored = v1::Unmonitored { device: device.to_string(), classes: left.to_wire() };
        let mut actions = vec![
            Action::Keep(device.clone(), left),
            Action::Send(request_id, to_app::Message::Unmonitored(unmonitored)),
        ];
        if left != Classes::default() {
            self.monitors.insert(device, left);
        } else if self.monitors.remove(&device).is_some() && !self.pending_monitors().any(|pending| *pending == device)
        {
            actions.push(Action::Forget(device));
        }
        actions
    }

    /// Devices that the app has asked to monitor, and that the hub has not answered yet.
    fn pending_monitors(&self) -> impl Iterator<Item = &DeviceName> {
        self.pending.values().filter_map(|pending| match &pending.kind {
            Kind::Monitor { device, .. } => Some(device),
            _ => None,
        })
    }

    /// The device of this name, if the user may see it (R13). Who may not is told the same as of a device that isn't there.
    fn visible(&self, name: &str) -> Option<DeviceName> {
        let name = name.parse().ok()?;
        self.sees(&name).then_some(name)
    }

    /// Whether the user may see the device, by the rights of now (R13).
    fn sees(&self, device: &DeviceName) -> bool {
        self.rights.directory.may_see(&self.identity.user, device)
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
        let device = self.rights.directory.device(snapshot.device.as_str());
        encode::snapshot(snapshot, |line| device.is_some_and(|device| !device.line_is_visible(line)))
    }

    /// A page of up to `limit` devices, and fewer where a frame has no room for them.
    fn page(&self, names: impl Iterator<Item = DeviceName>, limit: usize, more_behind: bool) -> to_app::Message {
        let (mut devices, mut bytes, mut more) = (Vec::<v1::Device>::new(), 0, more_behind);
        for name in names {
            let device = self.device(&name);
            bytes += prost::Message::encoded_len(&device) + encode::ELEMENT_OVERHEAD;
            if devices.len() >= limit || bytes > encode::MAX_LIST_BYTES && !devices.is_empty() {
                more = true;
                break;
            }
            devices.push(device);
        }
        let next_page_token = devices.last().filter(|_| more).map(|last| last.name.clone()).unwrap_or_default();
        to_app::Message::DeviceList(v1::DeviceList { devices, next_page_token })
    }

    fn device(&self, name: &DeviceName) -> v1::Device {
        let Some(device) = self.rights.directory.device(name.as_str()) else {
            let lines = vec![v1::Line { line: 1, number: String::new() }];
            return v1::Device { name: name.to_string(), lines, description: String::new() };
        };
        let lines = device.visible_lines().map(|line| v1::Line { line: line.number.0, number: line.label.clone() });
        v1::Device { name: name.to_string(), lines: lines.collect(), description: device.description.clone() }
    }
}

/// The lines of a device that are restricted now and were not before.
fn newly_restricted(before: &Rights, now: &Rights, device: &DeviceName) -> Vec<u32> {
    let Some(device) = now.directory.device(device.as_str()) else { return Vec::new() };
    let was_visible = |line| {
        let known: Option<&Arc<Device>> = before.directory.device(device.name.as_str());
        known.is_none_or(|known| known.line_is_visible(line))
    };
    let restricted = device.lines.iter().filter(|line| line.restricted && was_visible(line.number));
    restricted.map(|line| line.number.0).collect()
}

fn out_of_service(device: &DeviceName, lines: Vec<u32>) -> to_app::Message {
    let reason = v1::Error { detail: device.to_string(), ..ErrorCode::DeviceOutOfService.into() };
    to_app::Message::DeviceOutOfService(v1::DeviceOutOfService {
        device: device.to_string(),
        lines,
        reason: Some(reason),
    })
}
