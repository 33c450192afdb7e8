//! Who has failed to log in too often: by account and by source, each for a time of its own (R38, R41a).
//!
//! A try counts as failed from its beginning until it has succeeded, so that many at once are many. The time is the
//! monotonic one, and an argument.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    time::{Duration, Instant},
};

use crate::model::AccountName;

/// How often is too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockoutRules {
    /// Failed tries of an account before it waits.
    pub per_account: u32,
    /// Failed tries of a source before it waits.
    pub per_source: u32,
    /// The first wait. Each further failure doubles it.
    pub first_wait: Duration,
    /// The longest wait.
    pub longest_wait: Duration,
    /// After so long without a failure all is forgotten.
    pub forgotten_after: Duration,
    /// How many accounts and how many sources are remembered.
    pub remembered: usize,
}

/// Who has failed how often.
#[derive(Debug)]
pub struct Lockout {
    rules: LockoutRules,
    accounts: HashMap<AccountName, Failures>,
    sources: HashMap<IpAddr, Failures>,
}

/// A try that has begun.
#[derive(Debug)]
#[must_use = "it counts as failed until it is said to have succeeded"]
pub struct Try {
    account: Option<AccountName>,
    source: Option<IpAddr>,
    /// The account waits: whatever is shown, it is not let in.
    pub is_account_locked: bool,
}

/// The source has to wait so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standstill(pub Duration);

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
    locked_until: Option<Instant>,
}

impl Default for LockoutRules {
    fn default() -> Self {
        Self {
            per_account: 5,
            per_source: 20,
            first_wait: Duration::from_secs(60),
            longest_wait: Duration::from_secs(15 * 60),
            forgotten_after: Duration::from_secs(60 * 60),
            remembered: 10_000,
        }
    }
}

impl Lockout {
    /// Nobody has failed yet.
    pub fn new(rules: LockoutRules) -> Self {
        Self { rules, accounts: HashMap::new(), sources: HashMap::new() }
    }

    /// Somebody tries to log in. `account` is one that is there: names of nobody aren't remembered.
    ///
    /// # Errors
    /// [`Standstill`]: the source has to wait, and nothing is looked at.
    pub fn begin(
        &mut self,
        account: Option<&AccountName>,
        source: Option<IpAddr>,
        now: Instant,
    ) -> Result<Try, Standstill> {
        let source = source.map(network_of);
        if let Some(wait) = source.and_then(|source| self.sources.get(&source)?.wait(now)) {
            return Err(Standstill(wait));
        }
        let is_account_locked = account.is_some_and(|account| self.is_locked(account, now));
        if let Some(source) = source {
            fail(&mut self.sources, source, self.rules, self.rules.per_source, now);
        }
        // Who is locked is not locked for longer by further tries: else a stranger could keep the owner out for good.
        if let (Some(account), false) = (account, is_account_locked) {
            fail(&mut self.accounts, account.clone(), self.rules, self.rules.per_account, now);
        }
        Ok(Try { account: account.cloned(), source, is_account_locked })
    }

    /// The try has succeeded: the account has no failures, and the source one less. Its others stay, or whoever has one
    /// account could try as often as they like for another one.
    pub fn succeeded(&mut self, tried: &Try) {
        if let Some(account) = &tried.account {
            self.accounts.remove(account);
        }
        if let Some(source) = &tried.source {
            take_back(&mut self.sources, source, self.rules.per_source);
        }
    }

    /// Nothing was looked at: it counts neither way.
    pub fn withdraw(&mut self, tried: &Try) {
        if let (Some(account), false) = (&tried.account, tried.is_account_locked) {
            take_back(&mut self.accounts, account, self.rules.per_account);
        }
        if let Some(source) = &tried.source {
            take_back(&mut self.sources, source, self.rules.per_source);
        }
    }

    /// The account may try again at once.
    pub fn unlock(&mut self, account: &AccountName) {
        self.accounts.remove(account);
    }

    /// Whether the account waits.
    pub fn is_locked(&self, account: &AccountName, now: Instant) -> bool {
        self.accounts.get(account).is_some_and(|failures| failures.wait(now).is_some())
    }
}

impl Failures {
    fn wait(&self, now: Instant) -> Option<Duration> {
        let wait = self.locked_until?.saturating_duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }
}

fn fail<K: Eq + Hash + Clone>(
    failures: &mut HashMap<K, Failures>,
    key: K,
    rules: LockoutRules,
    allowed: u32,
    now: Instant,
) {
    let is_old = |failures: &Failures| now.saturating_duration_since(failures.last) >= rules.forgotten_after;
    if failures.len() >= rules.remembered && !failures.contains_key(&key) {
        failures.retain(|_, failures| !is_old(failures));
        // Nothing is old: who failed least recently makes room, and who waits last of all.
        if failures.len() >= rules.remembered {
            let oldest = failures.iter().min_by_key(|(_, failures)| (failures.wait(now).is_some(), failures.last));
            if let Some(key) = oldest.map(|(key, _)| key.clone()) {
                failures.remove(&key);
            }
        }
    }
    let none = Failures { count: 0, last: now, locked_until: None };
    let entry = failures.entry(key).or_insert(none);
    if is_old(entry) {
        *entry = none;
    }
    entry.count = entry.count.saturating_add(1);
    entry.last = now;
    if let Some(beyond) = entry.count.checked_sub(allowed) {
        let doubled = rules.first_wait.saturating_mul(2_u32.saturating_pow(beyond.min(16)));
        entry.locked_until = now.checked_add(doubled.min(rules.longest_wait));
    }
}

fn take_back<K: Eq + Hash>(failures: &mut HashMap<K, Failures>, key: &K, allowed: u32) {
    if let Some(failures) = failures.get_mut(key) {
        failures.count = failures.count.saturating_sub(1);
        if failures.count < allowed {
            failures.locked_until = None;
        }
    }
}

/// One customer's IPv6 network counts as one source.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}
