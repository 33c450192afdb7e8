//! Changes of rights while sessions run and keys leave: how long until a change is in effect, and until who it concerns is
//! told (R15).
//!
//! **No key that was made after the acknowledgement may come, and no key behind the message that says that there are none:
//! either fails the run.**

mod app;
mod figures;

use std::{
    cell::RefCell,
    collections::VecDeque,
    fs,
    path::PathBuf,
    rc::Rc,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::Semaphore,
    task::{JoinSet, LocalSet, spawn_local},
    time::{sleep, sleep_until, timeout},
};

use super::{
    lab::{Lab, Population},
    process::{self, monotonic_nanos},
    results::{AdministrationResults, AdministrationRow},
    server::Server,
};
use app::{Heard, Session};

/// How many apps connect at once.
const AT_ONCE: usize = 16;
/// Nothing takes as long as this.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often events are permitted.
const TICK: Duration = Duration::from_millis(5);
/// How long apps listen on when the load is over.
const LAST_WORD: Duration = Duration::from_secs(1);

#[derive(clap::Args)]
pub struct Administration {
    /// How many users
    #[arg(long, default_value_t = 10)]
    users: usize,
    /// How many sessions each of them has
    #[arg(long, default_value_t = 20)]
    sessions: usize,
    /// How many events with keys there are in a second; each goes to all sessions. One load after the other
    #[arg(long, value_delimiter = ',', default_values_t = [0, 200, 1000, 2000])]
    events: Vec<u64>,
    /// How long each load takes
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Where the results go
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What the administrator has done, by its own clock.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Log {
    pub changes: Vec<Changed>,
    /// Bare writes to the store: when they were begun, and how long they took; nanoseconds.
    pub bare: Vec<(u64, u64)>,
}

impl Log {
    /// Where the server leaves it.
    pub const FILE: &str = "administration.json";
}

/// One change. Times are in nanoseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Changed {
    pub kind: Kind,
    pub user: usize,
    /// Of the rights.
    pub version: u64,
    /// It was asked for.
    pub begun: u64,
    /// It was durable.
    pub committed: u64,
    /// The administrator was answered.
    pub acknowledged: u64,
    /// How many sessions were told.
    pub told: usize,
    pub closed: usize,
    /// Keys that waited and did not leave.
    pub withheld: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// All users have another list of devices.
    Devices,
    /// A user may have keys again.
    KeysGiven,
    /// A user may not have keys any more.
    KeysTaken,
    /// The certificate with this place among all is revoked.
    Revoked { place: usize },
}

/// One load, by the clock that only rises.
pub struct Phase {
    pub events_per_second: u64,
    pub from: u64,
    pub until: u64,
}

impl Administration {
    /// A short one, of which the figures are worth nothing.
    pub fn check() -> Self {
        Self { users: 3, sessions: 5, events: vec![0, 200], seconds: 0.5, out: None }
    }

    pub fn run(self) {
        process::raise_open_files();
        // Each change but one in four leaves certificates as they are.
        let spare = (self.seconds * self.events.len() as f64 * 50.0 / self.users as f64) as usize + 2;
        let population =
            Population { users: self.users, sessions: self.sessions, instances: self.sessions + spare.min(400) };
        let lab = Rc::new(Lab::of(population.all()));
        process::pin(process::LOAD_CORE);
        let server = Server::start_administered(population, lab.folder.path());
        let heard = Rc::new(RefCell::new(Heard::new(population)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let phases = LocalSet::new().block_on(&runtime, self.load(&server, &lab, population, &heard));
        drop(runtime);
        server.stop();
        let log: Log = serde_json::from_slice(&fs::read(lab.folder.path().join(Log::FILE)).unwrap()).unwrap();
        let rows: Vec<AdministrationRow> =
            phases.iter().map(|phase| figures::row(phase, &log, &heard.borrow())).collect();
        for row in &rows {
            figures::print(row);
        }
        if let Some(path) = &self.out {
            let (users, sessions) = (self.users, self.users * self.sessions);
            let results =
                AdministrationResults { machine: process::machine(), users, sessions, seconds: self.seconds, rows };
            process::write(path, &results);
        }
    }

    async fn load(
        &self,
        server: &Server,
        lab: &Rc<Lab>,
        population: Population,
        heard: &Rc<RefCell<Heard>>,
    ) -> Vec<Phase> {
        let (permits, mut opening) = (Rc::new(Semaphore::new(AT_ONCE)), JoinSet::new());
        for user in 0..population.users {
            let spare: Rc<RefCell<VecDeque<usize>>> =
                Rc::new(RefCell::new((population.sessions..population.instances).collect()));
            for number in 0..population.sessions {
                let (permits, lab, heard, spare) =
                    (Rc::clone(&permits), Rc::clone(lab), Rc::clone(heard), Rc::clone(&spare));
                let address = server.tls;
                opening.spawn_local(async move {
                    let _permit = permits.acquire().await.unwrap();
                    // Whoever loses its certificate goes on with another one, which may be revoked before it is used.
                    let open = async move |first: Option<usize>| {
                        let mut next = first;
                        loop {
                            let number = next.take().or_else(|| spare.borrow_mut().pop_front())?;
                            if let Ok(session) = Session::open(address, &lab, population, (user, number)).await {
                                return Some(session);
                            }
                        }
                    };
                    let session = open(Some(number)).await.expect("there are enough certificates");
                    spawn_local(async move {
                        session.receive(&heard).await;
                        while let Some(session) = open(None).await {
                            session.receive(&heard).await;
                        }
                    });
                });
            }
        }
        timeout(PATIENCE, opening.join_all()).await.expect("sessions open in time");

        let (mut phases, mut permitted) = (Vec::new(), 0);
        for &events_per_second in &self.events {
            let (from, begin) = (monotonic_nanos(), Instant::now());
            let (before, mut tick) = (permitted, begin);
            while begin.elapsed() < Duration::from_secs_f64(self.seconds) {
                tick += TICK;
                sleep_until(tick.into()).await;
                let due = before + (begin.elapsed().as_secs_f64() * events_per_second as f64) as u64;
                if due > permitted {
                    permitted = due;
                    server.remote.permit(permitted);
                }
            }
            phases.push(Phase { events_per_second, from, until: monotonic_nanos() });
            timeout(PATIENCE, app::somebody_has(heard, permitted)).await.expect("events are lost");
        }
        // What the last change has told is still to be heard.
        sleep(LAST_WORD).await;
        phases
    }
}
