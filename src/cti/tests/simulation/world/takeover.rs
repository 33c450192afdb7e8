//! Second connections of an instance: its session is probed, and answers or doesn't (R12).

use std::time::{Duration, Instant};

use callgate_wire::v1::ErrorCode;
use tokio::sync::oneshot::{self, error::TryRecvError};

use super::{
    super::{Fault, app::State, wishes::Who},
    Simulation, WORKERS,
};
use crate::{
    cti::{
        identity::Identity,
        registry::{Entered, Lease, Outcome},
    },
    model::Door,
};

/// Longer than a probe takes, and shorter than any heartbeat.
const SILENCE: Duration = Duration::from_secs(5);

/// A connection that waits for its instance's place.
pub(super) struct Second {
    who: Who,
    /// As it was proven at the door.
    identity: Identity,
    outcome: oneshot::Receiver<Outcome>,
}

impl Simulation {
    /// A door has another connection of an instance that has a session.
    pub(super) fn second_opens(&mut self) -> Result<(), String> {
        let is_there = |state| state != State::Closed;
        let firsts = self.apps.iter().filter(|app| is_there(app.state) && app.who.door == Door::Tls);
        let firsts: Vec<Who> = firsts.map(|app| app.who).collect();
        if firsts.is_empty() {
            return Ok(());
        }
        let who = firsts[self.random.below(firsts.len())];
        let Some(person) = &self.wishes.last().unwrap().users[who.user] else { return Ok(()) };
        let who = Who { born: person.born, ..who };
        let identity = self.identity(who);
        let Some(identity) = self.door_judges(who, &identity)? else { return Ok(()) };
        match self.enter(&identity) {
            Entered::Waits(outcome) if self.fault == Fault::PlaceGivenTwice => {
                drop(outcome);
                let instance = format!("{}", who.number + 100).parse().unwrap();
                match self.enter(&Identity { instance, ..identity.clone() }) {
                    Entered::In(lease) => self.second_is_in(who, &identity, lease),
                    Entered::Waits(_) => Ok(()),
                }
            }
            Entered::Waits(outcome) => {
                self.seconds.push(Second { who, identity, outcome });
                Ok(())
            }
            Entered::In(_) => Err(format!("the place of {who:?} is free, and its session lives")),
        }
    }

    /// Workers do what was ordered. Then one of those who are probed is heard, or isn't for too long, or has still time.
    pub(super) fn probe_goes_on(&mut self) {
        self.take_orders();
        if self.seconds.is_empty() {
            return;
        }
        let who = self.seconds[self.random.below(self.seconds.len())].who;
        let now = Instant::now();
        match (self.first_of(who), self.random.below(3)) {
            (Some((place, key)), 0) => self.workers[place].sessions.live(key).unwrap().heard(now),
            (Some((place, key)), 1) => self.workers[place].sessions.on_time(key, now + SILENCE),
            _ => {}
        }
    }

    /// All who are probed stay silent for too long.
    pub(super) fn all_stay_silent(&mut self) {
        self.take_orders();
        for who in self.seconds.iter().map(|second| second.who).collect::<Vec<_>>() {
            if let Some((place, key)) = self.first_of(who) {
                self.workers[place].sessions.on_time(key, Instant::now() + SILENCE);
            }
        }
    }

    /// Doors hear what came of waiting.
    pub(super) fn take_outcomes(&mut self) -> Result<(), String> {
        for mut second in std::mem::take(&mut self.seconds) {
            match second.outcome.try_recv() {
                Err(TryRecvError::Empty) => self.seconds.push(second),
                Ok(Err(ErrorCode::InstanceAlreadyOpen)) => self.counts.conflicts += 1,
                Ok(Err(code)) => return Err(format!("{:?} was refused with {code:?}", second.who)),
                Ok(Ok(lease)) => {
                    self.counts.takeovers += 1;
                    self.second_is_in(second.who, &second.identity, lease)?;
                }
                // It became free: the door asks again.
                Err(TryRecvError::Closed) => match self.enter(&second.identity) {
                    Entered::In(lease) => self.second_is_in(second.who, &second.identity, lease)?,
                    Entered::Waits(outcome) => self.seconds.push(Second { outcome, ..second }),
                },
            }
        }
        Ok(())
    }

    /// The place is its own: nobody else may have it.
    fn second_is_in(&mut self, who: Who, identity: &Identity, lease: Lease) -> Result<(), String> {
        if let Some(app) = self.apps.iter().find(|app| app.who.number == who.number && app.state != State::Closed) {
            return Err(format!("{who:?} has two sessions, one of them {:?}", app.state));
        }
        // The door judges anew.
        if let Some(identity) = self.door_judges(who, identity)? {
            self.open(who, identity, lease);
        }
        Ok(())
    }

    fn enter(&self, identity: &Identity) -> Entered {
        self.registry.enter(identity.door, &identity.user.name, &identity.instance).ok().unwrap()
    }

    fn take_orders(&mut self) {
        for place in 0..WORKERS {
            let worker = &mut self.workers[place];
            while let Ok(order) = worker.orders.try_recv() {
                worker.sessions.on_order(order, Instant::now());
            }
        }
    }

    /// Where the open session of an instance lives.
    fn first_of(&self, who: Who) -> Option<(usize, crate::hub::SessionKey)> {
        self.apps.iter().find_map(|app| match app.state {
            State::Open(key) if app.who.number == who.number => Some((app.worker, key)),
            _ => None,
        })
    }
}
