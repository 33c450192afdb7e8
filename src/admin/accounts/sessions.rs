//! Who has logged in. Sessions are in memory alone, by the hash of their token: a restart ends all of them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::TokenHash;
use crate::{admin::actor::Standing, model::AccountName, store::Epoch};

/// How long sessions last, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionRules {
    /// How long one may be idle.
    pub idle: Duration,
    /// How long one lasts at the most.
    pub absolute: Duration,
    /// How many an account has. One more ends the one that was used least recently.
    pub per_account: usize,
    /// How many there are in all.
    pub most: usize,
}

/// The sessions of all accounts.
#[derive(Debug)]
pub struct Sessions {
    rules: SessionRules,
    sessions: HashMap<TokenHash, Session>,
}

/// Somebody who has logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// As whom, in which state of the account.
    pub standing: Standing,
    /// In which epoch of the store.
    pub epoch: Epoch,
    /// When.
    pub since: Instant,
    /// When it was used last.
    pub used: Instant,
}

impl Default for SessionRules {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(15 * 60),
            absolute: Duration::from_secs(12 * 60 * 60),
            per_account: 16,
            most: 1_024,
        }
    }
}

impl Sessions {
    /// Nobody has logged in yet.
    pub fn new(rules: SessionRules) -> Self {
        Self { rules, sessions: HashMap::new() }
    }

    /// How long they last.
    pub fn rules(&self) -> SessionRules {
        self.rules
    }

    /// Somebody has logged in.
    pub fn begin(&mut self, hash: TokenHash, standing: Standing, epoch: Epoch, now: Instant) {
        let rules = self.rules;
        self.sessions.retain(|_, session| session.lasts(rules, now));
        let of_account = self.sessions.values().filter(|session| session.standing.account == standing.account).count();
        if of_account >= self.rules.per_account {
            self.end_oldest(Some(&standing.account));
        }
        if self.sessions.len() >= self.rules.most {
            self.end_oldest(None);
        }
        self.sessions.insert(hash, Session { standing, epoch, since: now, used: now });
    }

    /// The session of this token, if it lasts. It is used by that.
    pub fn use_one(&mut self, hash: &TokenHash, epoch: Epoch, now: Instant) -> Option<Session> {
        let rules = self.rules;
        let session = self.sessions.get_mut(hash)?;
        if !session.lasts(rules, now) || session.epoch != epoch {
            self.sessions.remove(hash);
            return None;
        }
        session.used = now;
        Some(session.clone())
    }

    /// It is over. Whether there was one.
    pub fn end(&mut self, hash: &TokenHash) -> bool {
        self.sessions.remove(hash).is_some()
    }

    /// Those that don't stand any more are over.
    pub fn keep(&mut self, stands: impl Fn(&Standing) -> bool) {
        self.sessions.retain(|_, session| stands(&session.standing));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    fn end_oldest(&mut self, account: Option<&AccountName>) {
        let is_meant = |session: &Session| account.is_none_or(|account| session.standing.account == *account);
        let oldest =
            self.sessions.iter().filter(|(_, session)| is_meant(session)).min_by_key(|(_, session)| session.used);
        if let Some(hash) = oldest.map(|(hash, _)| *hash) {
            self.sessions.remove(&hash);
        }
    }
}

impl Session {
    fn lasts(&self, rules: SessionRules, now: Instant) -> bool {
        now.saturating_duration_since(self.used) < rules.idle
            && now.saturating_duration_since(self.since) < rules.absolute
    }
}
