//! Who is let in to the administration, and as whom (R38).
//!
//! On the machine itself root and the gateway's own user are administrators; everybody else shows a token, or a client
//! certificate that an account lists. Unknown, locked, disabled and wrong are answered alike and in the same time; what it
//! was is on record and counted.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use metrics::{counter, gauge};
use time::OffsetDateTime;

use super::{
    Actor, Administration, Done, Outcome, Peer, Refused, Standing,
    accounts::{
        AccountChange, Busy, Lockout, LockoutRules, Password, Passwords, Role, SessionRules, Sessions, Standstill, Token,
        TokenHash, TokenKind, Try,
    },
};
use crate::{directory::Of, model::AccountName};

/// How often the same failure of the same source is put on record.
const TOLD: Duration = Duration::from_secs(60);
/// How many failures are remembered for that.
const MOST_TOLD: usize = 1_024;

/// Lets people and programs in.
#[derive(Debug)]
pub struct Gate {
    administration: Arc<Administration>,
    passwords: Passwords,
    sessions: Mutex<Sessions>,
    lockout: Mutex<Lockout>,
    told: Mutex<HashMap<(Failure, Option<IpAddr>), (Instant, u64)>>,
    /// The gateway's own user.
    own_uid: u32,
}

/// Somebody who was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Who it is, for records.
    pub actor: Actor,
    /// What it may do.
    pub role: Role,
    /// By what.
    pub by: By,
}

/// What somebody was let in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// A client certificate.
    Certificate,
    /// A login.
    Session(TokenHash),
    /// Its user on this machine.
    Socket,
    /// A token for programs.
    Token,
}

/// Somebody who has logged in.
#[derive(Debug)]
pub struct LoggedIn {
    /// The token of the session: told once.
    pub token: Token,
    /// What it may do.
    pub role: Role,
    /// How long it lasts.
    pub rules: SessionRules,
}

/// Why somebody isn't let in.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Denied {
    /// Too many passwords wait to be checked.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// Too many tries from this address failed.
    #[error("too many tries from this address failed")]
    LockedOut(Duration),
    /// On this machine only root and the gateway's own user administer.
    #[error("the user {0} of this machine may not administer the gateway: root and the gateway's own user may")]
    NotLocalAdministrator(u32),
    /// Whatever was shown isn't good, and it isn't said why.
    #[error("not let in")]
    NotAuthenticated,
    /// What it was let in for wasn't done.
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// What was wrong. It is told to nobody but the record and the metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Failure {
    AccountLocked,
    Changed,
    Disabled,
    NoPassword,
    SetupToken,
    SourceLocked,
    UnknownAccount,
    WrongPassword,
}

impl Gate {
    /// A gate to this administration. `None`: the system has no randomness.
    pub fn new(
        administration: Arc<Administration>,
        own_uid: u32,
        sessions: SessionRules,
        lockout: LockoutRules,
    ) -> Option<Self> {
        Some(Self {
            administration,
            passwords: Passwords::new()?,
            sessions: Mutex::new(Sessions::new(sessions)),
            lockout: Mutex::new(Lockout::new(lockout)),
            told: Mutex::default(),
            own_uid,
        })
    }

    /// What passwords are made and checked with.
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// Who this is.
    ///
    /// # Errors
    /// [`Denied`]: nobody who is let in.
    pub fn admit(&self, peer: &Peer, token: Option<&Token>, now: Instant) -> Result<Caller, Denied> {
        let certificate = match peer {
            Peer::Local { uid } if *uid == 0 || *uid == self.own_uid => {
                return Ok(Caller { actor: Actor::Local(*uid), role: Role::Administrator, by: By::Socket });
            }
            Peer::Local { uid } => return Err(Denied::NotLocalAdministrator(*uid)),
            Peer::Remote { certificate, .. } => certificate.as_ref(),
        };
        let accounts = &self.administration.state().accounts;
        let wall = OffsetDateTime::now_utc();
        // A token that was shown must be good: who shows one doesn't mean to come by its certificate.
        let Some(token) = token else {
            let found = certificate.and_then(|certificate| accounts.by_certificate(certificate));
            let (account, record) = found.ok_or(Denied::NotAuthenticated)?;
            let standing = Standing { account: account.clone(), generation: record.generation, token: None };
            return Ok(Caller { actor: Actor::Account(standing), role: record.role, by: By::Certificate });
        };
        let hash = token.hash();
        if token.is(TokenKind::Session) {
            let session = self.sessions().use_one(&hash, accounts.epoch(), now).ok_or(Denied::NotAuthenticated)?;
            let Some(record) = accounts.stands(&session.standing, wall) else {
                self.end(&hash);
                return Err(Denied::NotAuthenticated);
            };
            return Ok(Caller { actor: Actor::Account(session.standing), role: record.role, by: By::Session(hash) });
        }
        let (standing, role) = accounts.by_token(&hash, wall).ok_or(Denied::NotAuthenticated)?;
        Ok(Caller { actor: Actor::Account(standing), role, by: By::Token })
    }

    /// Somebody logs in by a password.
    ///
    /// # Errors
    /// [`Denied`]: alike for an account that is unknown, locked or disabled, and for a wrong password.
    pub async fn log_in(
        &self,
        peer: &Peer,
        account: &str,
        password: Password,
        now: Instant,
    ) -> Result<LoggedIn, Denied> {
        let (standing, role) = self.prove(peer, account, password, now).await?;
        let token = Token::draw(TokenKind::Session).ok_or(Refused::Randomness)?;
        let (rules, open) = {
            let accounts = &self.administration.state().accounts;
            let wall = OffsetDateTime::now_utc();
            let mut sessions = self.sessions();
            sessions.keep(|standing| accounts.stands(standing, wall).is_some());
            sessions.begin(token.hash(), standing.clone(), accounts.epoch(), now);
            (sessions.rules(), sessions.len())
        };
        #[expect(clippy::cast_precision_loss, reason = "at most a few thousand")]
        gauge!("callgate_admin_sessions").set(open as f64);
        let actor = Actor::Account(standing);
        self.administration.note(
            &actor.to_string(),
            ("log in", "account", account),
            format!("from {peer}"),
            Outcome::Done,
        );
        Ok(LoggedIn { token, role, rules })
    }

    /// Whether this is the account's password, and in which state of the account it is.
    ///
    /// # Errors
    /// As [`log_in`](Self::log_in).
    pub async fn prove(
        &self,
        peer: &Peer,
        account: &str,
        password: Password,
        now: Instant,
    ) -> Result<(Standing, Role), Denied> {
        let name = account.parse::<AccountName>().ok();
        let state = self.administration.state();
        let known = name.as_ref().and_then(|name| state.accounts.account(name));
        let tried = self.begin(known.and(name.as_ref()), peer, now)?;
        let (hash, failure) = match known.map(|stored| &*stored.record) {
            None => (None, Some(Failure::UnknownAccount)),
            Some(_) if tried.is_account_locked => (None, Some(Failure::AccountLocked)),
            Some(record) if record.disabled => (None, Some(Failure::Disabled)),
            Some(record) if record.password.is_none() => (None, Some(Failure::NoPassword)),
            Some(record) => (record.password.clone(), None),
        };
        let is_right = match self.passwords.check(password, hash).await {
            Ok(is_right) => is_right,
            Err(busy) => {
                // Nothing was looked at.
                self.lockout().withdraw(&tried);
                return Err(busy.into());
            }
        };
        let (Some(name), Some(stored), None, true) = (name, known, failure, is_right) else {
            let named = if known.is_some() { account } else { "" };
            self.fail(failure.unwrap_or(Failure::WrongPassword), named, peer, now);
            return Err(Denied::NotAuthenticated);
        };
        self.lockout().succeeded(&tried);
        let standing = Standing { account: name, generation: stored.record.generation, token: None };
        if self.administration.state().accounts.stands(&standing, OffsetDateTime::now_utc()).is_none() {
            self.fail(Failure::Changed, account, peer, now);
            return Err(Denied::NotAuthenticated);
        }
        counter!("callgate_admin_logins_total", "result" => "ok").increment(1);
        Ok((standing, stored.record.role))
    }

    /// The first administrator is made, by the setup token.
    ///
    /// # Errors
    /// [`Denied`].
    pub async fn set_up(
        &self,
        peer: &Peer,
        token: &Token,
        account: AccountName,
        password: Password,
        now: Instant,
    ) -> Result<Done, Denied> {
        let tried = self.begin(None, peer, now)?;
        // What can't succeed costs no hash.
        let hash = token.hash();
        let is_known = {
            let state = self.administration.state();
            state.accounts.setup().is_some_and(|(_, setup)| setup.hash == Some(hash))
        };
        let done = if is_known {
            let password = self.passwords.hash(password).await?.ok_or(Refused::Randomness)?;
            let change = AccountChange::Setup { token: hash, account, password };
            self.administration.change_account(&Actor::Setup, &change, Of::New).await
        } else {
            let refusal = super::accounts::AccountRefusal::SetupToken("it is not the one that was printed last");
            Err(refusal.into())
        };
        match done {
            Ok(done) => {
                self.lockout().succeeded(&tried);
                Ok(done)
            }
            Err(refused) => {
                self.fail(Failure::SetupToken, "", peer, now);
                Err(refused.into())
            }
        }
    }

    /// A session is over. Whether there was one.
    pub fn end(&self, hash: &TokenHash) -> bool {
        self.sessions().end(hash)
    }

    /// The account may try to log in again at once.
    pub fn unlock(&self, account: &AccountName) {
        self.lockout().unlock(account);
    }

    /// Whether the account failed to log in too often, and waits.
    pub fn is_locked(&self, account: &AccountName, now: Instant) -> bool {
        self.lockout().is_locked(account, now)
    }

    fn begin(&self, account: Option<&AccountName>, peer: &Peer, now: Instant) -> Result<Try, Denied> {
        let begun = self.lockout().begin(account, peer.source(), now);
        begun.map_err(|Standstill(wait)| {
            self.fail(Failure::SourceLocked, "", peer, now);
            Denied::LockedOut(wait)
        })
    }

    /// Counts a failure, and puts it on record: the same of one source once a minute, with how many there were.
    fn fail(&self, failure: Failure, account: &str, peer: &Peer, now: Instant) {
        counter!("callgate_admin_logins_total", "result" => failure.name()).increment(1);
        let times = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (failure, peer.source());
            if told.len() >= MOST_TOLD && !told.contains_key(&key) {
                told.retain(|_, (at, _)| now.saturating_duration_since(*at) < TOLD);
                if told.len() >= MOST_TOLD {
                    // It is counted; the log has room for others.
                    return;
                }
            }
            match told.get_mut(&key) {
                None => {
                    told.insert(key, (now, 0));
                    1
                }
                Some((at, untold)) => {
                    *untold = untold.saturating_add(1);
                    if now.saturating_duration_since(*at) < TOLD {
                        return;
                    }
                    *at = now;
                    std::mem::take(untold)
                }
            }
        };
        let detail = format!("{} from {peer}, {times} times", failure.name());
        self.administration.note("nobody", ("log in", "account", account), detail, Outcome::Failed);
    }

    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lockout(&self) -> MutexGuard<'_, Lockout> {
        self.lockout.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failure {
    fn name(self) -> &'static str {
        match self {
            Self::AccountLocked => "account_locked",
            Self::Changed => "changed",
            Self::Disabled => "disabled",
            Self::NoPassword => "no_password",
            Self::SetupToken => "setup_token",
            Self::SourceLocked => "source_locked",
            Self::UnknownAccount => "unknown_account",
            Self::WrongPassword => "wrong_password",
        }
    }
}
