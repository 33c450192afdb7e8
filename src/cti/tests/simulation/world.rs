//! The world that a schedule runs in: hub, mailboxes, workers, apps, administrators and their disk, each going on when it is
//! drawn.

mod administration;
mod apps;
mod takeover;

use std::{
    cell::Cell,
    collections::{HashMap, VecDeque},
    rc::Rc,
    sync::{Arc, atomic::AtomicUsize},
};

use callgate_wire::v1::to_app;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::settings;
use super::{
    Counts, Fault, Random,
    app::{App, State, Told},
    operator::Operator,
    socket::FakeSocket,
    trail::{FlakyTrail, Mode},
    wishes::{DEVICES, Stream, Wishes},
};
use crate::{
    audit::Trail,
    cti::{
        Clock, WorkerSettings,
        live::Live,
        orders::Order,
        registry::Registry,
        sessions::{More, Sessions},
    },
    hub::{Answer, Ask, Barrier, Effect, Hub, HubHandle, HubInput, Request, Rights, ToWorker, WorkerId},
    model::{
        CallDirection, CallId, CallRef, CallState, EventBody, Generation, KeyMaterial, LineNumber, MasterKey,
        MediaOpened, Party, Protection, Secret, SessionParameters, StreamDirection, StreamId, Suite, SwitchEvent,
        Timestamp,
    },
};

use takeover::Second;

const WORKERS: usize = 2;
const SESSIONS: usize = 6;
const STEPS: usize = 700;

struct Worker {
    sessions: Sessions<FakeSocket>,
    mailbox: VecDeque<ToWorker>,
    orders: mpsc::UnboundedReceiver<Order>,
    /// Open sessions on their way to it, by their places among the apps.
    adopted: VecDeque<(usize, Live<FakeSocket>)>,
    /// The version of its rights.
    version: u64,
}

struct Simulation {
    random: Random,
    /// One in so many times that an app could read, it does.
    laziness: usize,
    fault: Fault,
    step: Rc<Cell<u64>>,
    hub: Hub,
    requests: mpsc::UnboundedReceiver<HubInput>,
    workers: Vec<Worker>,
    trail: Arc<FlakyTrail>,
    registry: Arc<Registry>,
    operator: Operator,
    /// All versions of what administrators want, the first one at 0.
    wishes: Vec<Wishes>,
    /// The steps that they were made at.
    made: Vec<u64>,
    rights: Vec<Arc<Rights>>,
    /// What the workers must have done by each version.
    effects: HashMap<u64, Effect>,
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
    numbers: [u64; 4],
    /// The devices that the hub has heard of.
    known: [bool; 4],
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
        let wishes = Wishes::first();
        let (handle, requests) = HubHandle::new(3);
        let registry = Arc::new(Registry::new(settings().limits, 0));
        let operator = Operator::new(&wishes, handle.clone(), Arc::clone(&registry), settings());
        let rights = operator.rights();
        let hub = Hub::new(rights.devices(), 8);
        let trail = Arc::new(FlakyTrail::new(if fault == Fault::RecordLost { Mode::Lying } else { Mode::Open }));
        let workers = (0..WORKERS).map(|id| {
            let settings = WorkerSettings {
                id: WorkerId(u8::try_from(id).unwrap()),
                rights: Arc::clone(&rights),
                hub: handle.clone(),
                clock: Arc::new(Clock::system()),
                trail: Arc::clone(&trail) as Arc<dyn Trail>,
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
            trail,
            requests,
            registry,
            operator,
            known: wishes.devices.map(|phone| phone.is_some()),
            wishes: vec![wishes],
            made: vec![0],
            rights: vec![rights],
            effects: HashMap::new(),
            acknowledged: Vec::new(),
            apps: Vec::new(),
            instances: 0,
            seconds: Vec::new(),
            moments: 0,
            first_seen: HashMap::new(),
            told: HashMap::new(),
            numbers: [0; 4],
            counts: Counts::default(),
            keys: HashMap::new(),
        }
    }

    /// One thing happens somewhere.
    fn step(&mut self) -> Result<(), String> {
        self.step.set(self.step.get() + 1);
        match self.random.below(28) {
            // In some schedules all read, in others nobody does for long.
            15..=17 if self.random.below(self.laziness) > 0 => {}
            0..=5 => self.publish()?,
            6 | 7 => self.hub_answers()?,
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
            18 if self.random.below(6) == 0 => self.somebody_administers()?,
            18 => {}
            19 => self.app_opens()?,
            20 if self.random.below(3) == 0 => self.second_opens()?,
            20 => {}
            21 => self.probe_goes_on(),
            27 => self.trail_changes(),
            22..=24 => self.administration_goes_on()?,
            _ => self.operator.disk_goes_on(),
        }
        self.note_closed()?;
        self.note_acknowledged()?;
        self.take_outcomes()
    }

    /// The audit log can't be written, or can again.
    fn trail_changes(&mut self) {
        if self.fault != Fault::RecordLost {
            self.trail.set([Mode::Open, Mode::Open, Mode::Failing, Mode::Closed][self.random.below(4)]);
        }
    }

    /// The switch tells something.
    fn publish(&mut self) -> Result<(), String> {
        let (device, stream) = (self.random.below(DEVICES.len()), self.random.below(2) as u64);
        let line = 1 + u32::try_from(self.random.below(2)).unwrap();
        let kind = self.random.below(8);
        let generation = 1 + u32::try_from(self.random.below(6) + self.step.get() as usize / 40).unwrap();
        // A stream is one of a call, and the line stands for the call here.
        let named = (device, stream * 2 + u64::from(line), generation);
        let stands = match kind {
            0 | 1 => None,
            2 => Some(Stream::Clear),
            3 => Some(Stream::Unknown),
            _ => Some(Stream::Keyed),
        };
        let body = match stands {
            None => EventBody::Call(CallState::Connected),
            Some(stands) => EventBody::MediaOpened(MediaOpened {
                stream: StreamId(stream),
                direction: StreamDirection::Sent,
                destination: "127.0.0.1:4000".parse().unwrap(),
                likely_source: None,
                media: "audio".into(),
                codecs: Arc::new([]),
                protection: match (stands, Generation(generation), Timestamp(0)) {
                    (Stream::Clear, ..) => Protection::Clear,
                    (Stream::Unknown, generation, since) => Protection::Unknown { generation, since },
                    (Stream::Keyed, generation, since) => {
                        let keys = Arc::clone(self.keys.entry(named).or_insert_with(key_material));
                        Protection::Keyed { generation, since, keys }
                    }
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
        let stream = stands.map(|stands| match stands {
            Stream::Clear => (stands, 0),
            Stream::Keyed | Stream::Unknown => (stands, *self.first_seen.entry(named).or_insert(self.moments)),
        });
        self.told.insert((device, number), Told { device, line, stream, number });
        self.known[device] = true;

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
    fn hub_answers(&mut self) -> Result<(), String> {
        match self.requests.try_recv() {
            Ok(HubInput::Request(Request { worker, session, request_id, ask })) => {
                let place = usize::from(worker.0);
                if let Ask::Subscribe(_) = &ask {
                    self.moments += 1;
                    let at = self.moments;
                    if let Some(app) = self.apps.iter_mut().find(|app| app.is_at(place, session))
                        && let Some(asked) = app.asked.get_mut(&request_id)
                    {
                        asked.at = self.known[asked.device].then_some(at);
                    }
                }
                let asked = format!("{ask:?}");
                if let Some(answer) = self.hub.answer(worker, session, ask) {
                    if let Answer::UnknownDevice(name) = &answer
                        && DEVICES.iter().zip(self.known).any(|(known, is)| is && *known == name.as_str())
                    {
                        return Err(format!("the hub has forgotten a device: {asked}"));
                    }
                    self.workers[place].mailbox.push_back(ToWorker::Answer { session, request_id, answer });
                }
            }
            Ok(HubInput::Barrier(barrier)) => {
                self.hub.configure(barrier.rights.devices());
                for (known, name) in self.known.iter_mut().zip(DEVICES) {
                    *known |= barrier.rights.directory.device(name).is_some();
                }
                if self.fault == Fault::AcknowledgedEarly {
                    self.acknowledged.push((barrier.rights.version, self.step.get()));
                }
                let rights = self.faulty(&barrier.rights);
                for worker in &mut self.workers {
                    let barrier = Barrier { rights: Arc::clone(&rights), done: barrier.done.clone() };
                    worker.mailbox.push_back(ToWorker::Barrier(barrier));
                }
            }
            Ok(HubInput::Look(..)) | Err(_) => {}
        }
        Ok(())
    }

    fn worker_takes_a_message(&mut self, place: usize) -> Result<(), String> {
        let Some(message) = self.workers[place].mailbox.pop_front() else { return Ok(()) };
        let wishes = self.wishes_of(self.workers[place].version).clone();
        match message {
            ToWorker::Events(events) => {
                let more = if self.step.get().is_multiple_of(2) { More::Follows } else { More::Nothing };
                for published in events {
                    let device = DEVICES.iter().position(|name| *name == published.event.device.as_str()).unwrap();
                    let told = self.told[&(device, published.number)];
                    let recordable = matches!(self.trail.mode(), Mode::Open | Mode::Lying);
                    self.at(place).for_each(|app| app.on_event(told, &wishes, recordable));
                    self.workers[place].sessions.deliver(&published, more);
                }
                if self.step.get().is_multiple_of(3) {
                    self.workers[place].sessions.flush_held();
                }
            }
            ToWorker::Answer { session, request_id, answer } => {
                if let Some(app) = self.apps.iter_mut().find(|app| app.is_at(place, session)) {
                    app.on_answer(request_id, &wishes);
                }
                self.workers[place].sessions.on_answer(session, request_id, answer);
            }
            ToWorker::Barrier(Barrier { rights, done }) => {
                let _ = done.send(self.worker_takes_a_barrier(place, rights, &wishes)?);
            }
        }
        Ok(())
    }

    /// Returns what it says that it did, which is what it must have done.
    fn worker_takes_a_barrier(&mut self, place: usize, rights: Arc<Rights>, old: &Wishes) -> Result<Effect, String> {
        let version = rights.version;
        let (new, now) = (self.wishes_of(version).clone(), self.wishes.last().unwrap().clone());
        self.note_closed()?;
        let were: Vec<usize> = (0..self.apps.len()).filter(|number| self.apps[*number].is_open_at(place)).collect();
        let mut must = Effect::default();
        for number in &were {
            let (withheld, is_told) = self.apps[*number].on_rights(old, &new, &now);
            must.withheld += withheld;
            must.changed += usize::from(is_told);
        }
        let (effect, keys, news) = self.workers[place].sessions.on_barrier(rights);
        must.closed = were.iter().filter(|number| self.apps[**number].closes.is_some()).count();
        self.workers[place].version = version;
        let early = self.apps.iter_mut().filter(|app| app.worker == place);
        let mut early = early.filter(|app| matches!(app.state, State::Early(at) if at <= version));
        let mut adopted = 0;
        for key in keys {
            let app = early.next().ok_or("a session came from nowhere")?;
            app.state = State::Open(key);
            app.closes = new.verdict(app.who, &now).err();
            adopted += usize::from(app.closes.is_none());
        }
        if early.next().is_some() {
            return Err("a session was lost on its way".into());
        }
        must.sessions = were.len() - must.closed + adopted;
        // Some may have no room for it.
        self.workers[place].sessions.tell(news);
        self.note_closed()?;
        if effect != must {
            return Err(format!("version {version} did {effect:?} at a worker, not {must:?}"));
        }
        *self.effects.entry(version).or_default() += effect;
        self.counts.barriers += 1;
        self.counts.withheld += effect.withheld;
        Ok(effect)
    }

    fn worker_adopts(&mut self, place: usize) {
        let worker = &mut self.workers[place];
        let Some((number, live)) = worker.adopted.pop_front() else { return };
        let (version, now) = (worker.version, self.wishes.last().unwrap());
        let app = &mut self.apps[number];
        let State::Queued(opened_by) = app.state else { panic!() };
        self.counts.late += usize::from(opened_by < version);
        app.state = match worker.sessions.adopt(live) {
            None => {
                self.counts.early += 1;
                State::Early(opened_by)
            }
            Some(key) => {
                let wishes = |version: u64| &self.wishes[usize::try_from(version).unwrap() - 1];
                app.on_rights(wishes(opened_by), wishes(version), now);
                self.counts.anew += usize::from(wishes(version).person(app.who).is_none());
                State::Open(key)
            }
        };
    }

    /// Lets all come to rest, and checks it.
    fn finish(mut self) -> Result<Counts, String> {
        for _ in 0..2000 {
            self.step.set(self.step.get() + 1);
            self.hub_answers()?;
            for place in 0..WORKERS {
                self.worker_adopts(place);
                self.worker_takes_a_message(place)?;
            }
            for number in 0..self.apps.len() {
                self.drain(number, 50);
            }
            self.all_stay_silent();
            self.note_closed()?;
            self.operator.disk_goes_on();
            self.administration_goes_on()?;
            self.note_acknowledged()?;
            self.take_outcomes()?;
        }
        if !self.seconds.is_empty() {
            return Err("somebody waits for a place for ever".into());
        }
        if self.operator.under_way() > 0 {
            return Err("a deed was never acknowledged".into());
        }
        self.operator.check_records()?;
        for app in &self.apps {
            app.check()?;
            app.check_records(&self.trail)?;
            self.check_keys(app)?;
            let left = app.left.borrow();
            self.counts.unrecordable += left.unrecordable;
            self.counts.events += left.events;
            self.counts.keys += left.keys.len();
        }
        Ok(self.counts)
    }

    /// Each key left by rights that were there and not out of effect yet.
    fn check_keys(&self, app: &App) -> Result<(), String> {
        let left = app.left.borrow();
        for (place, step) in &left.keys {
            let acknowledged = self.acknowledged.iter().filter(|(_, at)| at < step).map(|(version, _)| *version);
            let oldest = usize::try_from(acknowledged.max().unwrap_or(1)).unwrap();
            let newest = self.made.iter().filter(|at| *at <= step).count();
            let to_app::Message::Event(event) = &left.messages[*place] else { panic!() };
            let device = DEVICES.iter().position(|name| *name == event.device).unwrap();
            let allows = |wishes: &Wishes| {
                let is_open = wishes.verdict(app.who, wishes).is_ok();
                is_open && wishes.gives_keys(app.who) && wishes.shows_line(app.who, device, event.line)
            };
            if !self.wishes[oldest - 1..newest].iter().any(allows) {
                return Err(format!("{:?} got a key at step {step}, after version {oldest} was acknowledged", app.who));
            }
        }
        Ok(())
    }

    fn wishes_of(&self, version: u64) -> &Wishes {
        &self.wishes[usize::try_from(version).unwrap() - 1]
    }

    fn at(&mut self, place: usize) -> impl Iterator<Item = &mut App> {
        self.apps.iter_mut().filter(move |app| app.is_open_at(place))
    }
}
