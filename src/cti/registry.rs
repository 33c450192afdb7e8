//! Who is in: one session per instance (R12), so many per user and in all, and so many failed tries per source (R41a).
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

use super::tries::{Tries, network};
use crate::{
    config::Limits,
    model::{Door, InstanceId, UserName},
};

/// Who is in.
pub struct Registry {
    /// The clear door's instances are labels, so that nobody can take a TLS instance's place there (R14).
    instances: DashMap<(Door, UserName, InstanceId), String>,
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

/// A place in the registry, given back when dropped.
pub(super) struct Lease {
    registry: Arc<Registry>,
    key: (Door, UserName, InstanceId),
    /// The session's name in logs and records.
    pub(super) session: Arc<str>,
}

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

    /// Takes a place.
    ///
    /// # Errors
    /// `INSTANCE_ALREADY_OPEN`, `TOO_MANY_SESSIONS` or `TOO_MANY_SESSIONS_OF_USER`.
    pub(super) fn enter(
        self: &Arc<Self>,
        door: Door,
        user: &UserName,
        instance: &InstanceId,
    ) -> Result<Lease, ErrorCode> {
        let key = (door, user.clone(), instance.clone());
        let session: Arc<str> = format!("s{:013x}", self.next_session.fetch_add(1, Ordering::Relaxed)).into();
        match self.instances.entry(key.clone()) {
            Entry::Occupied(_) => return Err(ErrorCode::InstanceAlreadyOpen),
            Entry::Vacant(place) => drop(place.insert(session.to_string())),
        }
        if let Err(code) = self.count(user) {
            self.instances.remove(&key);
            return Err(code);
        }
        Ok(Lease { registry: Arc::clone(self), key, session })
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
}

/// Why [`Registry::enter`] refuses with this code, for the audit.
pub(super) fn cause(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InstanceAlreadyOpen => "the instance has an open session",
        ErrorCode::TooManySessions => "as many sessions as limits.sessions are open",
        ErrorCode::TooManySessionsOfUser => "as many sessions of the user as limits.sessions_per_user are open",
        _ => "the registry of sessions refuses it",
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.free_count();
        // Last: whoever finds the instance free finds a place, too.
        self.registry.instances.remove(&self.key);
    }
}

impl Lease {
    fn free_count(&self) {
        let mut counts = self.registry.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all = counts.all.saturating_sub(1);
        if let Some(of_user) = counts.users.get_mut(&self.key.1) {
            *of_user -= 1;
            if *of_user == 0 {
                counts.users.remove(&self.key.1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(sessions: usize, sessions_per_user: usize) -> Arc<Registry> {
        let limits = Limits { sessions, sessions_per_user, ..Limits::default() };
        Arc::new(Registry::new(limits, 0))
    }

    fn enter(registry: &Arc<Registry>, door: Door, user: &str, instance: &str) -> Result<Lease, ErrorCode> {
        registry.enter(door, &user.parse().unwrap(), &instance.parse().unwrap())
    }

    #[test]
    fn r12_one_instance_has_one_session() {
        let registry = registry(10, 10);
        let first = enter(&registry, Door::Tls, "app", "1").ok().unwrap();
        assert_eq!(enter(&registry, Door::Tls, "app", "1").err(), Some(ErrorCode::InstanceAlreadyOpen));
        assert!(enter(&registry, Door::Tls, "app", "2").is_ok());
        assert!(enter(&registry, Door::Tls, "other", "1").is_ok());
        assert!(enter(&registry, Door::Clear, "app", "1").is_ok(), "a label doesn't stand for an instance");
        drop(first);
        assert!(enter(&registry, Door::Tls, "app", "1").is_ok());
        assert_eq!(registry.sessions(), 0);
    }

    #[test]
    fn each_refusal_has_a_cause_of_its_own() {
        let registry = registry(2, 1);
        let _leases =
            [enter(&registry, Door::Tls, "a", "1").ok().unwrap(), enter(&registry, Door::Tls, "b", "1").ok().unwrap()];
        let cause_of = |user, instance| cause(enter(&registry, Door::Tls, user, instance).err().unwrap());
        assert_eq!(cause_of("a", "1"), "the instance has an open session");
        assert_eq!(cause_of("c", "1"), "as many sessions as limits.sessions are open");
        let registry = self::registry(2, 1);
        let _lease = enter(&registry, Door::Tls, "a", "1").ok().unwrap();
        let code = enter(&registry, Door::Tls, "a", "2").err().unwrap();
        assert_eq!(cause(code), "as many sessions of the user as limits.sessions_per_user are open");
    }

    #[test]
    fn r41a_sessions_are_bounded_per_user_and_in_all() {
        let registry = registry(3, 2);
        let _leases =
            [enter(&registry, Door::Tls, "a", "1").ok().unwrap(), enter(&registry, Door::Tls, "a", "2").ok().unwrap()];
        assert_eq!(enter(&registry, Door::Tls, "a", "3").err(), Some(ErrorCode::TooManySessionsOfUser));
        let last = enter(&registry, Door::Tls, "b", "1").ok().unwrap();
        assert_eq!(enter(&registry, Door::Tls, "c", "1").err(), Some(ErrorCode::TooManySessions));
        drop(last);
        assert!(enter(&registry, Door::Tls, "c", "1").is_ok());
    }

    #[test]
    fn r41a_who_finds_its_instance_free_finds_a_place() {
        let registry = registry(1, 1);
        for _ in 0..500 {
            let lease = enter(&registry, Door::Tls, "a", "1").ok().unwrap();
            std::thread::scope(|scope| {
                scope.spawn(move || drop(lease));
                while let Err(code) = enter(&registry, Door::Tls, "a", "1") {
                    assert_eq!(code, ErrorCode::InstanceAlreadyOpen);
                }
            });
        }
    }
}
