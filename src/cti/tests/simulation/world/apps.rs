//! Apps: they ask, read, open sessions at a door, and are closed.

use std::{collections::HashMap, rc::Rc, sync::Arc};

use callgate_wire::{
    FrameDecoder, MAX_FRAME_BEFORE_OPEN, encode_frame,
    v1::{self, ErrorCode, ToGateway, to_gateway::Message},
};

use super::{
    super::{
        Fault,
        app::{App, Asked, State},
        operator::fingerprint,
        socket::FakeSocket,
        wishes::{DEVICES, USERS, Who},
    },
    SESSIONS, Simulation, WORKERS,
};
use crate::{
    cti::{
        identity::Identity,
        live::Live,
        opening::Admitted,
        registry::{Entered, Lease},
        renewal::Renewal,
        socket::Connection as _,
        tests::settings,
    },
    hub::SessionKey,
    model::Door,
};

impl Simulation {
    /// An app asks to monitor a device, or to end it.
    pub(super) fn app_asks(&mut self) {
        if self.apps.is_empty() {
            return;
        }
        let number = self.random.below(self.apps.len());
        let (device, monitor) = (self.random.below(DEVICES.len()), self.random.below(4) > 0);
        let (calls, media) = [(true, true), (true, false), (false, true)][self.random.below(3)];
        let app = &mut self.apps[number];
        let State::Open(key) = app.state else { return };
        let worker = &mut self.workers[app.worker];
        // No request is taken while something waits for room. Then it would be judged by the rights of a time that the
        // simulation doesn't foresee.
        if worker.sessions.live(key).is_none_or(|live| live.socket.is_waiting()) {
            return;
        }
        let wishes = &self.wishes[usize::try_from(worker.version).unwrap() - 1];
        let classes = [(calls, v1::EventClass::Call), (media, v1::EventClass::Media)];
        let classes = classes.into_iter().filter_map(|(is, class)| is.then_some(class.into())).collect();
        let (known, name) = (wishes.shows(app.who, device), DEVICES[device].to_owned());
        let message = match monitor {
            true => Message::Monitor(v1::MonitorDevice { device: name, classes }),
            false => Message::Unmonitor(v1::UnmonitorDevice { device: name, classes }),
        };
        // As many as may wait, with one more that is taken when the first of them is answered, are more than is simulated.
        if app.asked.len() >= settings().limits.requests_in_flight {
            return;
        }
        let others = app.asked.values().filter(|asked| asked.monitor).map(|asked| asked.device);
        // One that is monitored and asked for again counts twice.
        let devices: Vec<_> = app.monitors.keys().copied().chain(others).collect();
        let is_full = !devices.contains(&device) && devices.len() >= settings().limits.monitors_per_session;
        if !monitor || known && !is_full {
            app.asked.insert(app.next_token, Asked { device, monitor, calls, media, at: None });
            app.next_token += 1;
        }
        let mut frame = Vec::new();
        encode_frame(&ToGateway { request_id: 1, message: Some(message) }, &mut frame);
        worker.sessions.live(key).unwrap().decoder.extend(&frame);
        worker.sessions.on_buffered(key);
    }

    pub(super) fn app_reads(&mut self) {
        if self.apps.is_empty() {
            return;
        }
        let (number, frames) = (self.random.below(self.apps.len()), 1 + self.random.below(12));
        self.drain(number, frames);
    }

    pub(super) fn drain(&mut self, number: usize, frames: usize) {
        let app = &self.apps[number];
        if let State::Open(key) = app.state
            && let Some(live) = self.workers[app.worker].sessions.live(key)
        {
            live.socket.drain(frames);
        }
    }

    /// A door opens a session by the newest rights.
    pub(super) fn app_opens(&mut self) -> Result<(), String> {
        let (number, user) = (self.instances, self.random.below(USERS.len()));
        let wishes = self.wishes.last().unwrap();
        let Some(person) = &wishes.users[user] else { return Ok(()) };
        let is_used = |place: &usize| self.apps.iter().any(|app| app.who.certificate == Some(*place));
        let mut certificates = (0..wishes.certificates.len()).filter(|place| wishes.certificates[*place].user == user);
        let certificate = certificates.find(|place| !is_used(place));
        let by_tls = certificate.is_some() && (self.random.below(8) > 0) == (user < 2);
        let (door, certificate) = if by_tls { (Door::Tls, certificate) } else { (Door::Clear, None) };
        let who = Who { number, user, born: person.born, door, certificate };
        if number >= SESSIONS {
            return Ok(());
        }
        let identity = self.identity(who);
        let Some(identity) = self.door_judges(who, &identity)? else { return Ok(()) };
        self.instances += 1;
        let entered = self.registry.enter(door, &identity.user.name, &identity.instance);
        let Ok(Entered::In(lease)) = entered else { panic!("{who:?} has a session already") };
        self.open(who, identity, lease);
        Ok(())
    }

    /// Who it is by what counts at the doors. The user is there.
    pub(super) fn identity(&self, who: Who) -> Identity {
        Identity {
            user: Arc::clone(self.operator.rights().directory.user(USERS[who.user]).unwrap()),
            instance: format!("{}", who.number).parse().unwrap(),
            door: who.door,
            password_proven: who.door == Door::Clear,
            certificate: who.certificate.map(|certificate| fingerprint(certificate).0),
        }
    }

    /// A door judges by what counts now, as the rules do. `None`: it isn't let in.
    pub(super) fn door_judges(&self, who: Who, identity: &Identity) -> Result<Option<Identity>, String> {
        let now = self.wishes.last().unwrap();
        let judged = Renewal::new(self.operator.rights(), 0).judge(identity);
        match (judged, now.verdict(who, now)) {
            (Ok(user), Ok(())) => Ok(Some(Identity { user, ..identity.clone() })),
            (Err(code), Err(must)) if code == must => Ok(None),
            (judged, must) => Err(format!("{who:?} at a door: {:?}, not {must:?}", judged.map(|_| ()))),
        }
    }

    /// A session is open, and on its way to a worker.
    pub(super) fn open(&mut self, who: Who, identity: Identity, lease: Lease) {
        let version = self.wishes.last().unwrap().version;
        let place = self.random.below(WORKERS);
        let rights = match self.fault {
            Fault::AdoptionUnjudged => &self.rights[usize::try_from(self.workers[place].version).unwrap() - 1],
            _ => self.rights.last().unwrap(),
        };
        let rights = Arc::clone(rights);
        let bytes = [400, 2000, 100_000][self.random.below(3)];
        let session = Arc::clone(&lease.session);
        let records = (Arc::clone(&self.trail), Arc::clone(&session));
        let mut socket = FakeSocket::new(bytes, self.random.below(4), Rc::clone(&self.step), records);
        if self.fault == Fault::BacklogUnjudged {
            socket = socket.hiding(bytes);
        }
        let left = Rc::clone(&socket.left);
        let admitted = Admitted {
            identity,
            rights,
            heartbeat_seconds: 30,
            certificate_expires: None,
            scram_server_final: Vec::new(),
            software: String::new(),
        };
        let peer = [127, 0, 0, 1].into();
        let live = Live::new(admitted, settings(), socket, FrameDecoder::new(MAX_FRAME_BEFORE_OPEN), lease, peer);
        self.workers[place].adopted.push_back((self.apps.len(), live));
        self.apps.push(App {
            who,
            session,
            worker: place,
            state: State::Queued(version),
            left,
            monitors: HashMap::new(),
            asked: HashMap::new(),
            next_token: 0,
            expected: Vec::new(),
            closes: None,
        });
    }

    /// Takes sessions out that were closed: each for its own reason.
    pub(super) fn note_closed(&mut self) -> Result<(), String> {
        for app in &mut self.apps {
            let left = app.left.borrow();
            match (left.closed, app.closes) {
                _ if app.state == State::Closed => continue,
                (None, None) => continue,
                // Nobody there has judged it by now.
                (None, Some(_)) if !matches!(app.state, State::Open(_)) => continue,
                (None, Some(code)) => return Err(format!("{:?} is not closed with {code:?}", app.who)),
                (Some(ErrorCode::SlowConsumer), None) => self.counts.slow += 1,
                (Some(ErrorCode::InstanceTakenOver), None) => {}
                (code, must) if code == must => {}
                (code, must) => return Err(format!("{:?} is closed with {code:?}, not {must:?}", app.who)),
            }
            self.counts.closed += 1;
            app.state = State::Closed;
            app.monitors.clear();
            app.expected.truncate(left.foreseen);
        }
        Ok(())
    }
}

impl App {
    pub(super) fn is_at(&self, worker: usize, session: SessionKey) -> bool {
        self.worker == worker && self.state == State::Open(session)
    }

    pub(super) fn is_open_at(&self, worker: usize) -> bool {
        self.worker == worker && matches!(self.state, State::Open(_))
    }
}
