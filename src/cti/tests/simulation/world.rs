//! The world that a schedule runs in: hub, mailboxes, workers, apps and an operator, each going on when it is drawn.

mod takeover;

use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
};

use callgate_wire::{
    FrameDecoder, MAX_FRAME_BEFORE_OPEN, encode_frame,
    v1::{self, ErrorCode, ToGateway, to_gateway::Message},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::settings;
use super::{
    Counts, Fault, Random,
    app::{App, Asked, FakeSocket, State, Told},
    spec::{DEVICES, Spec, Who},
};
use crate::{
    cti::{
        Clock, WorkerSettings,
        live::Live,
        opening::Admitted,
        orders::Order,
        registry::{Entered, Lease, Registry},
        sessions::{More, Sessions},
        socket::Connection as _,
    },
    hub::{Ask, Barrier, Effect, Hub, HubHandle, HubInput, Request, Rights, ToWorker, WorkerId},
    model::{
        CallDirection, CallId, CallRef, CallState, Door, EventBody, Generation, KeyMaterial, LineNumber, MasterKey,
        MediaOpened, Party, Protection, Secret, SessionParameters, StreamDirection, StreamId, Suite, SwitchEvent,
        Timestamp,
    },
};

use takeover::Second;

const WORKERS: usize = 2;
const SESSIONS: usize = 6;
const STEPS: usize = 600;

struct Worker {
    sessions: Sessions<FakeSocket>,
    mailbox: VecDeque<ToWorker>,
    orders: mpsc::UnboundedReceiver<Order>,
    /// Open sessions on their way to it, by their places among the apps.
    adopted: VecDeque<(usize, Live<FakeSocket>)>,
    /// The version of its rights.
    version: u64,
}

struct Change {
    version: u64,
    effects: mpsc::UnboundedReceiver<Effect>,
}

struct Simulation {
    random: Random,
    /// One in so many times that an app could read, it does.
    laziness: usize,
    fault: Fault,
    step: Rc<Cell<u64>>,
    hub: Hub,
    handle: HubHandle,
    requests: mpsc::UnboundedReceiver<HubInput>,
    workers: Vec<Worker>,
    registry: Arc<Registry>,
    /// All versions, the first one at 0.
    specs: Vec<Spec>,
    /// The steps that they were made at.
    made: Vec<u64>,
    rights: Vec<Arc<Rights>>,
    changes: Vec<Change>,
    /// Version and step of each acknowledgement.
    acknowledged: Vec<(u64, u64)>,
    apps: Vec<App>,
    /// How many instances have opened.
    instances: usize,
    seconds: Vec<Second>,
    /// How often the hub did something that has a moment.
    moments: u64,
    /// When a generation of a stream was first told.
    first_seen: HashMap<(usize, u64, u32), u64>,
    told: HashMap<(usize, u64), Told>,
    numbers: [u64; 3],
    /// Keys that the model says were taken out of what waited, and that the workers reported.
    withheld: [usize; 2],
    counts: Counts,
    /// What the keys of a generation are: of others they are others.
    keys: HashMap<(usize, u64, u32), Arc<KeyMaterial>>,
}

fn key_material() -> Arc<KeyMaterial> {
    let suite = Suite::AesCm128HmacSha1_80;
    let master = MasterKey::new(suite, &Secret::new(vec![7; 30]), None, None).unwrap();
    Arc::new(KeyMaterial::new(suite, vec![master], SessionParameters::default()).unwrap())
}

pub(super) fn simulate(seed: u64, fault: Fault) -> Result<Counts, String> {
    let mut simulation = Simulation::new(seed, fault);
    for _ in 0..STEPS {
        simulation.step()?;
    }
    simulation.finish()
}

impl Simulation {
    fn new(seed: u64, fault: Fault) -> Self {
        let spec = Spec::first();
        let rights = spec.rights(SESSIONS);
        let hub = Hub::new(rights.devices(), 8);
        let (handle, requests) = HubHandle::new(3);
        let workers = (0..WORKERS).map(|id| {
            let settings = WorkerSettings {
                id: WorkerId(u8::try_from(id).unwrap()),
                rights: Arc::clone(&rights),
                hub: handle.clone(),
                clock: Arc::new(Clock::system()),
                stop: CancellationToken::new(),
                gateway: CancellationToken::new(),
            };
            let (to_itself, orders) = mpsc::unbounded_channel();
            Worker {
                sessions: Sessions::new(settings, Arc::new(AtomicUsize::new(SESSIONS)), to_itself),
                orders,
                mailbox: VecDeque::new(),
                adopted: VecDeque::new(),
                version: 1,
            }
        });
        let mut random = Random(seed);
        Self {
            laziness: [1, 4, 20, 60][random.below(4)],
            random,
            fault,
            step: Rc::default(),
            hub,
            workers: workers.collect(),
            handle,
            requests,
            registry: Arc::new(Registry::new(settings().limits, 0)),
            specs: vec![spec],
            made: vec![0],
            rights: vec![rights],
            changes: Vec::new(),
            acknowledged: Vec::new(),
            apps: Vec::new(),
            instances: 0,
            seconds: Vec::new(),
            moments: 0,
            first_seen: HashMap::new(),
            told: HashMap::new(),
            numbers: [0; 3],
            withheld: [0; 2],
            counts: Counts::default(),
            keys: HashMap::new(),
        }
    }

    /// One thing happens somewhere.
    fn step(&mut self) -> Result<(), String> {
        self.step.set(self.step.get() + 1);
        match self.random.below(22) {
            // In some schedules all read, in others nobody does for long.
            15..=17 if self.random.below(self.laziness) > 0 => {}
            0..=5 => self.publish()?,
            6 | 7 => self.hub_answers(),
            8..=11 => {
                let worker = self.random.below(WORKERS);
                self.worker_takes_a_message(worker)?;
            }
            12 => {
                let worker = self.random.below(WORKERS);
                self.worker_adopts(worker);
            }
            13 | 14 => self.app_asks(),
            15..=17 => self.app_reads(),
            18 if self.random.below(6) == 0 => self.operator_changes(),
            18 => {}
            19 => self.app_opens(),
            20 => self.second_opens()?,
            _ => self.probe_goes_on(),
        }
        self.note_closed();
        self.note_acknowledged();
        self.take_outcomes()
    }

    /// The switch tells something.
    fn publish(&mut self) -> Result<(), String> {
        let (device, stream) = (self.random.below(3), self.random.below(2) as u64);
        let line = 1 + u32::try_from(self.random.below(2)).unwrap();
        let kind = self.random.below(4);
        let generation = 1 + u32::try_from(self.random.below(6) + self.step.get() as usize / 40).unwrap();
        // A stream is one of a call, and the line stands for the call here.
        let named = (device, stream * 2 + u64::from(line), generation);
        let body = match kind {
            0 => EventBody::Call(CallState::Connected),
            kind => EventBody::MediaOpened(MediaOpened {
                stream: StreamId(stream),
                direction: StreamDirection::Sent,
                destination: "127.0.0.1:4000".parse().unwrap(),
                likely_source: None,
                media: "audio".into(),
                codecs: Arc::new([]),
                protection: match kind {
                    1 => Protection::Clear,
                    _ => Protection::Keyed {
                        generation: Generation(generation),
                        since: Timestamp(0),
                        keys: Arc::clone(self.keys.entry(named).or_insert_with(key_material)),
                    },
                },
            }),
        };
        let call = CallRef {
            id: CallId(line.into()),
            switch: "pbx".parse().unwrap(),
            switch_call: None,
            sip_call_id: "call".into(),
            direction: CallDirection::Incoming,
            calling: Party::default(),
            called: Party::default(),
        };
        let event = SwitchEvent {
            at: Timestamp(0),
            device: DEVICES[device].parse().unwrap(),
            line: LineNumber(line),
            call: Arc::new(call),
            body,
        };
        self.moments += 1;
        self.numbers[device] += 1;
        let number = self.numbers[device];
        let keyed = (kind > 1).then(|| *self.first_seen.entry(named).or_insert(self.moments));
        self.told.insert((device, number), Told { device, line, is_media: kind > 0, keyed, number });

        let delivery = self.hub.publish(event).unwrap();
        let mut workers = Vec::new();
        if let Some(delivery) = delivery {
            for worker in delivery.workers() {
                workers.push(usize::from(worker.0));
                let mailbox = &mut self.workers[usize::from(worker.0)].mailbox;
                match mailbox.back_mut() {
                    // As the hub hands over the events of a batch.
                    Some(ToWorker::Events(events)) if self.step.get().is_multiple_of(2) => {
                        events.push(Arc::clone(&delivery.event));
                    }
                    _ => mailbox.push_back(ToWorker::Events(vec![Arc::clone(&delivery.event)])),
                }
            }
        }
        let mut monitoring = self.apps.iter().filter(|app| app.monitors.contains_key(&device));
        match monitoring.find(|app| matches!(app.state, State::Open(_)) && !workers.contains(&app.worker)) {
            Some(app) => {
                Err(format!("{:?} monitors {}, and its worker does not get {number}", app.who, DEVICES[device]))
            }
            None => Ok(()),
        }
    }

    /// The hub takes a request or a barrier.
    fn hub_answers(&mut self) {
        match self.requests.try_recv() {
            Ok(HubInput::Request(Request { worker, session, request_id, ask })) => {
                let place = usize::from(worker.0);
                if let Ask::Subscribe(_) = &ask {
                    self.moments += 1;
                    let at = self.moments;
                    if let Some(app) = self.apps.iter_mut().find(|app| app.is_at(place, session))
                        && let Some(asked) = app.asked.get_mut(&request_id)
                    {
                        asked.at = at;
                    }
                }
                if let Some(answer) = self.hub.answer(worker, session, ask) {
                    self.workers[place].mailbox.push_back(ToWorker::Answer { session, request_id, answer });
                }
            }
            Ok(HubInput::Barrier(barrier)) => {
                self.hub.configure(barrier.rights.devices());
                if self.fault == Fault::AcknowledgedEarly {
                    self.acknowledged.push((barrier.rights.version, self.step.get()));
                }
                for worker in &mut self.workers {
                    worker.mailbox.push_back(ToWorker::Barrier(barrier.clone()));
                }
            }
            Err(_) => {}
        }
    }

    fn worker_takes_a_message(&mut self, place: usize) -> Result<(), String> {
        let Some(message) = self.workers[place].mailbox.pop_front() else { return Ok(()) };
        let spec = self.specs[usize::try_from(self.workers[place].version).unwrap() - 1].clone();
        match message {
            ToWorker::Events(events) => {
                let more = if self.step.get().is_multiple_of(2) { More::Follows } else { More::Nothing };
                for published in events {
                    let device = DEVICES.iter().position(|name| *name == published.event.device.as_str()).unwrap();
                    let told = self.told[&(device, published.number)];
                    self.at(place).for_each(|app| app.on_event(told, &spec));
                    self.workers[place].sessions.deliver(&published, more);
                }
                if self.step.get().is_multiple_of(3) {
                    self.workers[place].sessions.flush_held();
                }
            }
            ToWorker::Answer { session, request_id, answer } => {
                if let Some(app) = self.apps.iter_mut().find(|app| app.is_at(place, session)) {
                    app.on_answer(request_id, &spec);
                }
                self.workers[place].sessions.on_answer(session, request_id, answer);
            }
            ToWorker::Barrier(Barrier { rights, done }) => {
                let (version, next) =
                    (rights.version, self.specs[usize::try_from(rights.version).unwrap() - 1].clone());
                self.note_closed();
                let withheld: usize = self.at(place).map(|app| app.on_rights(&spec, &next)).sum();
                let (effect, keys) = self.workers[place].sessions.on_barrier(rights);
                let crowded_out: usize = self.at(place).map(|app| app.crowded_out()).sum();
                self.workers[place].version = version;
                self.withheld[0] += withheld + crowded_out;
                self.withheld[1] += effect.withheld;
                let _ = done.send(effect);
                let early = self.apps.iter_mut().filter(|app| app.worker == place);
                let mut early = early.filter(|app| matches!(app.state, State::Early(at) if at <= version));
                for key in keys {
                    let app = early.next().ok_or("a session came from nowhere")?;
                    app.state = if next.admits(app.who) { State::Open(key) } else { State::Closed };
                }
                if early.next().is_some() {
                    return Err("a session was lost on its way".into());
                }
                self.counts.barriers += 1;
            }
        }
        Ok(())
    }

    fn worker_adopts(&mut self, place: usize) {
        let worker = &mut self.workers[place];
        let Some((number, live)) = worker.adopted.pop_front() else { return };
        let spec = &self.specs[usize::try_from(worker.version).unwrap() - 1];
        let app = &mut self.apps[number];
        let State::Queued(version) = app.state else { panic!() };
        self.counts.late += usize::from(version < worker.version);
        app.state = match worker.sessions.adopt(live) {
            None => {
                self.counts.early += 1;
                State::Early(version)
            }
            Some(key) if spec.admits(app.who) => {
                app.note_groups(&self.specs[usize::try_from(version).unwrap() - 1], spec);
                State::Open(key)
            }
            Some(_) => State::Closed,
        };
    }

    /// An app asks to monitor a device, or to end it.
    fn app_asks(&mut self) {
        if self.apps.is_empty() {
            return;
        }
        let number = self.random.below(self.apps.len());
        let (device, monitor) = (self.random.below(3), self.random.below(4) > 0);
        let (calls, media) = [(true, true), (true, false), (false, true)][self.random.below(3)];
        let app = &mut self.apps[number];
        let State::Open(key) = app.state else { return };
        let worker = &mut self.workers[app.worker];
        // No request is taken while something waits for room. Then it would be judged by the rights of a time that the
        // simulation doesn't foresee.
        if worker.sessions.live(key).is_none_or(|live| live.socket.is_waiting()) {
            return;
        }
        let spec = &self.specs[usize::try_from(worker.version).unwrap() - 1];
        let classes = [(calls, v1::EventClass::Call), (media, v1::EventClass::Media)];
        let classes = classes.into_iter().filter_map(|(is, class)| is.then_some(class.into())).collect();
        let (known, name) = (spec.shows(app.who, device), DEVICES[device].to_owned());
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
            app.asked.insert(app.next_token, Asked { device, monitor, calls, media, at: 0 });
            app.next_token += 1;
        }
        let mut frame = Vec::new();
        encode_frame(&ToGateway { request_id: 1, message: Some(message) }, &mut frame);
        worker.sessions.live(key).unwrap().decoder.extend(&frame);
        worker.sessions.on_buffered(key);
    }

    fn app_reads(&mut self) {
        if self.apps.is_empty() {
            return;
        }
        let (number, frames) = (self.random.below(self.apps.len()), 1 + self.random.below(12));
        self.drain(number, frames);
    }

    fn drain(&mut self, number: usize, frames: usize) {
        let app = &self.apps[number];
        if let State::Open(key) = app.state
            && let Some(live) = self.workers[app.worker].sessions.live(key)
        {
            live.socket.drain(frames);
        }
    }

    /// A change, which the operator sometimes takes back at once.
    fn operator_changes(&mut self) {
        let before = self.specs.last().unwrap().clone();
        let spec = before.changed(&mut self.random, self.instances);
        let back = before.again(&spec);
        self.change(spec);
        if self.random.below(3) == 0 {
            self.change(back);
        }
    }

    fn change(&mut self, spec: Spec) {
        let rights = spec.rights(SESSIONS);
        let effects = self.handle.change_rights(Arc::clone(&rights));
        self.changes.push(Change { version: spec.version, effects });
        self.specs.push(spec);
        self.made.push(self.step.get());
        self.rights.push(rights);
    }

    /// A door opens a session by the newest rights.
    fn app_opens(&mut self) {
        let number = self.instances;
        let user = self.random.below(3);
        let door = if user < 2 && self.random.below(8) > 0 { Door::Tls } else { Door::Clear };
        let (who, spec) = (Who { number, user, door }, self.specs.last().unwrap());
        if number >= SESSIONS || !spec.admits(who) {
            return;
        }
        self.instances += 1;
        let identity = who.identity(self.rights.last().unwrap());
        let entered = self.registry.enter(door, &identity.user.name, &identity.instance);
        let Ok(Entered::In(lease)) = entered else { panic!("{who:?} has a session already") };
        self.open(who, lease);
    }

    /// A session is open, and on its way to a worker.
    fn open(&mut self, who: Who, lease: Lease) {
        let version = self.specs.last().unwrap().version;
        let mut rights = Arc::clone(self.rights.last().unwrap());
        let place = self.random.below(WORKERS);
        let identity = who.identity(&rights);
        if self.fault == Fault::AdoptionUnjudged {
            rights = Arc::clone(&self.rights[usize::try_from(self.workers[place].version).unwrap() - 1]);
        }
        let hides_backlog = self.fault == Fault::BacklogUnjudged;
        let bytes = [400, 2000, 100_000][self.random.below(3)];
        let socket = FakeSocket::new(bytes, self.random.below(4), Rc::clone(&self.step), hides_backlog);
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
            worker: place,
            state: State::Queued(version),
            left,
            monitors: HashMap::new(),
            asked: HashMap::new(),
            next_token: 0,
            expected: Vec::new(),
            changes: Vec::new(),
        });
    }

    /// Takes sessions out that were closed.
    fn note_closed(&mut self) {
        for app in &mut self.apps {
            let left = app.left.borrow();
            if let Some(code) = left.closed
                && !(app.state == State::Closed && app.monitors.is_empty())
            {
                self.counts.closed += 1;
                self.counts.slow += usize::from(code == ErrorCode::SlowConsumer);
                app.state = State::Closed;
                app.monitors.clear();
                app.expected.truncate(left.events);
            }
        }
    }

    fn note_acknowledged(&mut self) {
        let step = self.step.get();
        let acknowledged = &mut self.acknowledged;
        self.changes.retain_mut(|change| {
            loop {
                match change.effects.try_recv() {
                    Ok(_) => {}
                    Err(mpsc::error::TryRecvError::Empty) => return true,
                    Err(mpsc::error::TryRecvError::Disconnected) => {
                        acknowledged.push((change.version, step));
                        return false;
                    }
                }
            }
        });
    }

    /// Lets all come to rest, and checks it.
    fn finish(mut self) -> Result<Counts, String> {
        for _ in 0..2000 {
            self.step.set(self.step.get() + 1);
            self.hub_answers();
            for place in 0..WORKERS {
                self.worker_adopts(place);
                self.worker_takes_a_message(place)?;
            }
            for number in 0..self.apps.len() {
                self.drain(number, 50);
            }
            self.all_stay_silent();
            self.note_closed();
            self.note_acknowledged();
            self.take_outcomes()?;
        }
        if !self.seconds.is_empty() {
            return Err("somebody waits for a place for ever".into());
        }
        if !self.changes.is_empty() {
            return Err("a change was never acknowledged".into());
        }
        if self.withheld[0] != self.withheld[1] {
            return Err(format!("{} keys were withheld, and {} reported", self.withheld[0], self.withheld[1]));
        }
        for app in &self.apps {
            app.check()?;
            self.check_keys(app)?;
            let left = app.left.borrow();
            self.counts.events += left.events;
            self.counts.keys += left.keys.len();
        }
        self.counts.withheld = self.withheld[0];
        Ok(self.counts)
    }

    /// Each key left by rights that were there and not out of effect yet.
    fn check_keys(&self, app: &App) -> Result<(), String> {
        for (_, step) in &app.left.borrow().keys {
            let acknowledged = self.acknowledged.iter().filter(|(_, at)| at < step).map(|(version, _)| *version);
            let oldest = usize::try_from(acknowledged.max().unwrap_or(1)).unwrap();
            let newest = self.made.iter().filter(|at| *at <= step).count();
            if !self.specs[oldest - 1..newest].iter().any(|spec| spec.gives_keys(app.who)) {
                return Err(format!("{:?} got a key at step {step}, after version {oldest} was acknowledged", app.who));
            }
        }
        Ok(())
    }

    fn at(&mut self, place: usize) -> impl Iterator<Item = &mut App> {
        self.apps.iter_mut().filter(move |app| app.worker == place && matches!(app.state, State::Open(_)))
    }
}

impl App {
    fn is_at(&self, worker: usize, session: crate::hub::SessionKey) -> bool {
        self.worker == worker && self.state == State::Open(session)
    }
}
