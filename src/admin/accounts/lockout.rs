//! Who has failed to log in too often: by source, and by account from each source, each for a time of its own (R38, R41a).
//!
//! A stranger who guesses at an account keeps nobody out of it but who comes from the same address. Guesses from everywhere
//! have a bound, too: past it the account waits for all, never for long. On the machine itself nobody waits. A try counts as failed from its beginning until it has succeeded, so that many at once are many. The time is the
//! monotonic one, and an argument.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::{Duration, Instant},
};

use crate::model::AccountName;

/// How often is too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockoutRules {
    /// Failed tries at an account from one source before it waits there.
    pub per_account: u32,
    /// Failed tries at an account from everywhere before it waits for all: the first wait, and no longer.
    pub per_account_in_all: u32,
    /// Failed tries of a source before it waits.
    pub per_source: u32,
    /// The first wait. Each further failure of a source doubles it.
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
    /// At an account, from a source.
    accounts: BTreeMap<(AccountName, IpAddr), Failures>,
    /// At an account, from wherever.
    in_all: BTreeMap<AccountName, Failures>,
    sources: BTreeMap<IpAddr, Failures>,
}

/// A try that has begun.
#[derive(Debug)]
#[must_use = "it counts as failed until it is said to have succeeded"]
pub struct Try {
    account: Option<AccountName>,
    source: Option<IpAddr>,
    /// The account waits: whatever is shown, it is not let in.
    pub is_account_locked: bool,
    /// It was one too many, and the account waits everywhere since.
    has_locked: bool,
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
            per_account_in_all: 100,
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
        Self { rules, accounts: BTreeMap::new(), in_all: BTreeMap::new(), sources: BTreeMap::new() }
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
        let Some(source) = source.map(network_of) else {
            return Ok(Try { account: None, source: None, is_account_locked: false, has_locked: false });
        };
        let rules = &self.rules;
        if let Some(wait) = self.sources.get(&source).and_then(|failures| failures.wait(now)) {
            return Err(Standstill(wait));
        }
        one_more(&mut self.sources, source, rules, now).lock(rules.per_source, rules, now);
        let mut tried = Try { account: None, source: Some(source), is_account_locked: false, has_locked: false };
        if let Some(account) = account {
            let place = (account.clone(), source);
            let waits = |failures: Option<&Failures>| failures.is_some_and(|failures| failures.wait(now).is_some());
            tried.is_account_locked = waits(self.accounts.get(&place)) || waits(self.in_all.get(account));
            // Who is locked is not locked for longer by further tries: else a stranger could keep the owner out for good.
            if !tried.is_account_locked {
                one_more(&mut self.accounts, place, rules, now).lock(rules.per_account, rules, now);
                let in_all = one_more(&mut self.in_all, account.clone(), rules, now);
                tried.has_locked = in_all.lock_once(rules.per_account_in_all, rules, now);
            }
            tried.account = Some(account.clone());
        }
        Ok(tried)
    }

    /// The try has succeeded: from there the account has no failures, and in all one less, as the source has. The others stay,
    /// or whoever has one account could try as often as they like for another one.
    pub fn succeeded(&mut self, tried: &Try) {
        self.withdraw(tried);
        if let (Some(account), Some(source)) = (&tried.account, tried.source) {
            self.accounts.remove(&(account.clone(), source));
        }
    }

    /// Nothing was looked at: it counts neither way.
    pub fn withdraw(&mut self, tried: &Try) {
        let Some(source) = tried.source else { return };
        if let Some(failures) = self.sources.get_mut(&source) {
            failures.one_less(self.rules.per_source);
        }
        let Some(account) = tried.account.as_ref().filter(|_| !tried.is_account_locked) else { return };
        if let Some(failures) = self.accounts.get_mut(&(account.clone(), source)) {
            failures.one_less(self.rules.per_account);
        }
        if let Some(failures) = self.in_all.get_mut(account) {
            failures.count = failures.count.saturating_sub(1);
            if tried.has_locked {
                // As before it, when one more was enough.
                (failures.count, failures.locked_until) = (self.rules.per_account_in_all.saturating_sub(1), None);
            }
        }
    }

    /// The account may try again at once, from everywhere.
    pub fn unlock(&mut self, account: &AccountName) {
        self.accounts.retain(|(known, _), _| known != account);
        self.in_all.remove(account);
    }

    /// Whether the account waits anywhere.
    pub fn is_locked(&self, account: &AccountName, now: Instant) -> bool {
        // The lowest of all addresses.
        let first = (account.clone(), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let from_sources = self.accounts.range(first..).take_while(|((known, _), _)| known == account);
        from_sources.map(|(_, failures)| failures).chain(self.in_all.get(account)).any(|it| it.wait(now).is_some())
    }
}

impl Failures {
    fn wait(&self, now: Instant) -> Option<Duration> {
        let wait = self.locked_until?.saturating_duration_since(now);
        (!wait.is_zero()).then_some(wait)
    }

    /// Has it wait if it is one too many: the longer the more there are.
    fn lock(&mut self, allowed: u32, rules: &LockoutRules, now: Instant) {
        if let Some(beyond) = self.count.checked_sub(allowed) {
            let doubled = rules.first_wait.saturating_mul(2_u32.saturating_pow(beyond.min(16)));
            self.locked_until = now.checked_add(doubled.min(rules.longest_wait));
        }
    }

    /// Has it wait if it is one too many, and counts from the beginning then. Returns whether it was.
    fn lock_once(&mut self, allowed: u32, rules: &LockoutRules, now: Instant) -> bool {
        let is_too_many = self.count >= allowed;
        if is_too_many {
            self.count = 0;
            self.locked_until = now.checked_add(rules.first_wait);
        }
        is_too_many
    }

    fn one_less(&mut self, allowed: u32) {
        self.count = self.count.saturating_sub(1);
        if self.count < allowed {
            self.locked_until = None;
        }
    }
}

/// Counts a failure.
fn one_more<'a, K: Ord + Clone>(
    failures: &'a mut BTreeMap<K, Failures>,
    key: K,
    rules: &LockoutRules,
    now: Instant,
) -> &'a mut Failures {
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
    entry
}

/// One customer's IPv6 network counts as one source.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    }
}
