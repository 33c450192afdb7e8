//! Who is in: one session per instance (R12), so many per user and in all, and so many failed tries per source (R41a).
//!
//! An instance has one place, and a session has it by its [`Lease`]. Who wants a place that is taken waits at it, while the
//! session that has it is asked whether it is alive. If it answers, all who wait are refused; if it ends, for whatever reason,
//! the first of them has the place in the same moment, and the others are refused.
//!
//! Nothing of this is touched by an event. No guard of a map leaves a function.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use callgate_wire::v1::ErrorCode;
use dashmap::{DashMap, Entry};
use metrics::{Gauge, gauge};
use tokio::sync::{mpsc, oneshot};

use super::{
    orders::Order,
    tries::{Tries, network},
};
use crate::{
    config::Limits,
    hub::SessionKey,
    model::{Door, InstanceId, UserName},
};

/// Who is in.
pub struct Registry {
    instances: DashMap<Instance, Place>,
    counts: Mutex<Counts>,
    tries: Mutex<Tries>,
    next_session: AtomicU64,
    limits: Limits,
}

#[derive(Default)]
struct Counts {
    all: usize,
    users: HashMap<UserName, usize>,
}

/// An instance at its door: the clear door's are labels, so that nobody can take a TLS instance's place there (R14).
type Instance = (Door, UserName, InstanceId);

/// The place of an instance, which a session has.
#[derive(Default)]
struct Place {
    /// Where the session lives. `None`: it is on its way there.
    home: Option<Home>,
    /// Who wants the place, in the order in which they came.
    waiting: Vec<oneshot::Sender<Outcome>>,
}

/// Where a session lives.
struct Home {
    worker: mpsc::UnboundedSender<Order>,
    key: SessionKey,
}

/// What comes of waiting for a place: the place, or the reason against it.
pub(super) type Outcome = Result<Lease, ErrorCode>;

/// Somebody has asked for a place.
pub(super) enum Entered {
    /// It was free.
    In(Lease),
    /// Its session is being probed. Without an outcome the place has become free: ask again.
    Waits(oneshot::Receiver<Outcome>),
}

/// A place in the registry, given back when dropped.
pub(super) struct Lease {
    /// `None`: somebody else gives it back.
    place: Option<(Arc<Registry>, Instance)>,
    /// The session's name in logs and records.
    pub(super) session: Arc<str>,
    _counted: Counted,
}

/// Counts a session for as long as it is open.
struct Counted(Gauge);

impl Registry {
    /// An empty registry. `first_session` is part of all session names, so that a restart doesn't repeat them.
    pub fn new(limits: Limits, first_session: u64) -> Self {
        Self {
            instances: DashMap::new(),
            counts: Mutex::default(),
            tries: Mutex::default(),
            next_session: AtomicU64::new(first_session),
            limits,
        }
    }

    /// Takes a place. On the TLS door the session that has it is probed if need be, once for all who wait.
    ///
    /// # Errors
    /// `INSTANCE_ALREADY_OPEN` on the clear door, `TOO_MANY_SESSIONS` or `TOO_MANY_SESSIONS_OF_USER`.
    pub(super) fn enter(
        self: &Arc<Self>,
        door: Door,
        user: &UserName,
        instance: &InstanceId,
    ) -> Result<Entered, ErrorCode> {
        let instance = (door, user.clone(), instance.clone());
        match self.instances.entry(instance.clone()) {
            Entry::Occupied(mut place) if door == Door::Tls => return Ok(Entered::Waits(place.get_mut().wait())),
            Entry::Occupied(_) => return Err(ErrorCode::InstanceAlreadyOpen),
            Entry::Vacant(place) => drop(place.insert(Place::default())),
        }
        if let Err(code) = self.count(user) {
            // Who waits there already asks again.
            self.instances.remove(&instance);
            return Err(code);
        }
        Ok(Entered::In(self.lease(instance)))
    }

    fn lease(self: &Arc<Self>, instance: Instance) -> Lease {
        let session = format!("s{:013x}", self.next_session.fetch_add(1, Ordering::Relaxed)).into();
        let counted = Counted::at(instance.0);
        Lease { place: Some((Arc::clone(self), instance)), session, _counted: counted }
    }

    /// A session gives its place up: to the first who waits, with its count, or for good.
    fn give_up(self: &Arc<Self>, instance: &Instance) {
        loop {
            let waiting = self.instances.get_mut(instance).map(|mut place| {
                if !place.waiting.is_empty() {
                    place.home = None;
                }
                std::mem::take(&mut place.waiting)
            });
            let mut waiting = waiting.unwrap_or_default().into_iter();
            if waiting.len() == 0 {
                break;
            }
            for first in waiting.by_ref() {
                match first.send(Ok(self.lease(instance.clone()))) {
                    Ok(()) => {
                        refuse(waiting);
                        return;
                    }
                    // It has gone meanwhile. The place is not the lease's to give up.
                    Err(Ok(mut lease)) => lease.place = None,
                    Err(Err(_)) => {}
                }
            }
        }
        self.discount(&instance.1);
        // Last: whoever finds the instance free finds a place, too. Who began to wait a moment ago asks again.
        self.instances.remove(instance);
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.instances.len()
    }

    /// Whether `source` may try to open: not after too many failed tries within a minute.
    pub(super) fn may_try(&self, source: IpAddr, now: Instant) -> bool {
        self.tries().of(network(source), now) < self.limits.tries_per_source_per_minute
    }

    /// Counts a failed try of `source`.
    pub(super) fn failed(&self, source: IpAddr, now: Instant) {
        self.tries().count(network(source), now);
    }

    pub(super) fn tries(&self) -> MutexGuard<'_, Tries> {
        self.tries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, user: &UserName) -> Result<(), ErrorCode> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= self.limits.sessions {
            return Err(ErrorCode::TooManySessions);
        }
        let of_user = counts.users.entry(user.clone()).or_default();
        if *of_user >= self.limits.sessions_per_user {
            return Err(ErrorCode::TooManySessionsOfUser);
        }
        *of_user += 1;
        counts.all += 1;
        Ok(())
    }

    fn discount(&self, user: &UserName) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        if let Some(of_user) = counts.users.get_mut(user) {
            *of_user -= 1;
            if *of_user == 0 {
                counts.users.remove(user);
            }
        }
    }
}

/// Why [`Registry::enter`] refuses with this code, for the audit.
pub(super) fn cause(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InstanceAlreadyOpen => "the instance has an open session, which is alive",
        ErrorCode::TooManySessions => "as many sessions as limits.sessions are open",
        ErrorCode::TooManySessionsOfUser => "as many sessions of the user as limits.sessions_per_user are open",
        _ => "the registry of sessions refuses it",
    }
}

impl Place {
    /// Somebody wants the place of its session, which is probed unless it is already.
    fn wait(&mut self) -> oneshot::Receiver<Outcome> {
        let (sender, outcome) = oneshot::channel();
        self.waiting.retain(|waiting| !waiting.is_closed());
        let is_first = self.waiting.is_empty();
        self.waiting.push(sender);
        if let Some(home) = self.home.as_ref().filter(|_| is_first) {
            // A worker that is gone has dropped its sessions.
            let _ = home.worker.send(Order::Probe(home.key));
        }
        outcome
    }
}

/// Returns how many were still there to hear it.
fn refuse(waiting: impl Iterator<Item = oneshot::Sender<Outcome>>) -> usize {
    waiting.filter_map(|waiting| waiting.send(Err(ErrorCode::InstanceAlreadyOpen)).ok()).count()
}

impl Counted {
    fn at(door: Door) -> Self {
        let open = gauge!("callgate_sessions_open", "door" => door.name());
        open.increment(1.0);
        Self(open)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some((registry, instance)) = self.place.take() {
            registry.give_up(&instance);
        }
    }
}

impl Lease {
    /// Its session lives there from now on, and is probed there at once if somebody waits already.
    pub(super) fn settle(&self, worker: mpsc::UnboundedSender<Order>, key: SessionKey) {
        self.with_place(|place| {
            if place.waiting.iter().any(|waiting| !waiting.is_closed()) {
                let _ = worker.send(Order::Probe(key));
            }
            place.home = Some(Home { worker, key });
        });
    }

    /// Whether somebody waits for its place.
    pub(super) fn is_wanted(&self) -> bool {
        self.with_place(|place| place.waiting.iter().any(|waiting| !waiting.is_closed())).unwrap_or_default()
    }

    /// Its session is alive: who waits for its place is refused. Returns how many those are.
    pub(super) fn keep(&self) -> usize {
        let waiting = self.with_place(|place| std::mem::take(&mut place.waiting));
        refuse(waiting.into_iter().flatten())
    }

    fn with_place<T>(&self, work: impl FnOnce(&mut Place) -> T) -> Option<T> {
        let (registry, instance) = self.place.as_ref()?;
        registry.instances.get_mut(instance).map(|mut place| work(&mut place))
    }
}

#[cfg(test)]
mod tests;
