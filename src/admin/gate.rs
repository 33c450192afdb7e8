//! Who is let in to the administration, and as whom (R38).
//!
//! On the machine itself root and the gateway's own user are administrators; everybody else shows a token, or a client
//! certificate that an account lists. Unknown, locked, disabled and wrong are answered alike and in the same time; what it
//! was is on record and counted.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use metrics::{counter, gauge};
use time::OffsetDateTime;

use super::{
    Actor, Administration, Done, Outcome, Refused, Standing,
    accounts::{
        AccountChange, Busy, Lockout, LockoutRules, Password, PasswordError, Passwords, Role, SessionRules, Sessions,
        Standstill, Token, TokenHash, TokenKind, Try,
    },
    journal::NOBODY,
};
use crate::{
    audit::{Noted, Repeated, Repeats},
    directory::Of,
    http::Peer,
    model::AccountName,
    trust::Fingerprint,
};

/// Longer than any failure is only counted.
const LONG: Duration = Duration::from_secs(60 * 60);

/// Lets people and programs in.
#[derive(Debug)]
pub struct Gate {
    administration: Arc<Administration>,
    passwords: Passwords,
    sessions: Mutex<Sessions>,
    lockout: Mutex<Lockout>,
    failed: Mutex<Repeats<Failed>>,
    /// The gateway's own user.
    own_uid: u32,
}

/// Logins that failed alike, and are told together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Failed {
    failure: Failure,
    /// An account that is there, or empty: what somebody typed who is nobody may be a password.
    account: String,
    from: String,
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
    /// The password can't be an account's.
    #[error("password: {0}")]
    Password(PasswordError),
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
            failed: Mutex::default(),
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
            Peer::Unix { uid, .. } if *uid != 0 && *uid != self.own_uid => {
                return Err(Denied::NotLocalAdministrator(*uid));
            }
            Peer::Unix { uid, .. } if token.is_none() => {
                return Ok(Caller { actor: Actor::Local(*uid), role: Role::Administrator, by: By::Socket });
            }
            Peer::Unix { .. } => None,
            Peer::Tls { certificate, .. } => certificate.as_ref().map(|certificate| Fingerprint(certificate.sha256)),
            Peer::Clear(_) => None,
        };
        let state = self.administration.state();
        let accounts = &state.accounts;
        let wall = OffsetDateTime::now_utc();
        // A token that was shown must be good, and is all that counts: who shows one doesn't mean to come by its certificate, nor
        // a proxy, with tokens of others, as the user of the machine that it is.
        let Some(token) = token else {
            // It was good in the handshake, which may be long ago.
            let counts = |certificate: &Fingerprint| self.administration.certificate_counts(certificate, wall);
            let found = certificate.filter(counts).and_then(|certificate| accounts.by_certificate(&certificate));
            let (account, record) = found.ok_or(Denied::NotAuthenticated)?;
            let standing = Standing { account: account.clone(), generation: record.generation, token: None };
            return Ok(Caller { actor: Actor::Account(standing), role: record.role, by: By::Certificate });
        };
        let hash = token.hash();
        if token.is(TokenKind::Session) {
            let session = self.with_sessions(|sessions| sessions.use_one(&hash, accounts.epoch(), now));
            let session = session.ok_or(Denied::NotAuthenticated)?;
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
        let rules = self.with_sessions(|sessions| {
            let accounts = &self.administration.state().accounts;
            let wall = OffsetDateTime::now_utc();
            sessions.keep(|standing| accounts.stands(standing, wall).is_some());
            sessions.begin(token.hash(), standing.clone(), accounts.epoch(), now);
            sessions.rules()
        });
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
        let state = self.administration.state();
        if let Err(refusal) = state.accounts.check_setup_token(&hash, OffsetDateTime::now_utc()) {
            self.fail(Failure::SetupToken, "", peer, now);
            return Err(Refused::from(refusal).into());
        }
        // Whatever comes now, who has the token is nobody who guesses.
        self.lockout().succeeded(&tried);
        let password = self.passwords.hash(password).await.map_err(Denied::Password)?;
        let change = AccountChange::Setup { token: hash, account, password };
        Ok(self.administration.change_account(&Actor::Setup, &change, Of::New).await?)
    }

    /// A session is over. Whether there was one.
    pub fn end(&self, hash: &TokenHash) -> bool {
        self.with_sessions(|sessions| sessions.end(hash))
    }

    /// The account may try to log in again at once.
    ///
    /// # Errors
    /// [`Refused`]: it can't be recorded, so it isn't done (R21).
    pub fn unlock(&self, actor: &Actor, account: &AccountName) -> Result<(), Refused> {
        self.administration.permit(actor, ("unlock", "account", account.as_str()))?;
        self.lockout().unlock(account);
        Ok(())
    }

    /// Whether somebody failed to log in to the account too often: there, or everywhere, it waits.
    pub fn is_locked(&self, account: &AccountName, now: Instant) -> bool {
        self.lockout().is_locked(account, now)
    }

    /// Puts on record what was only counted in the minutes that are over. To be called every few seconds.
    pub fn look_around(&self, now: Instant) {
        let due = self.failed().due(now);
        due.iter().for_each(|repeated| self.tell_again(repeated));
    }

    fn begin(&self, account: Option<&AccountName>, peer: &Peer, now: Instant) -> Result<Try, Denied> {
        let begun = self.lockout().begin(account, peer.source(), now);
        begun.map_err(|Standstill(wait)| {
            self.fail(Failure::SourceLocked, "", peer, now);
            Denied::LockedOut(wait)
        })
    }

    /// Counts a failure, and puts it on record: the first of its kind within a minute at once, the others together when the
    /// minute is over.
    fn fail(&self, failure: Failure, account: &str, peer: &Peer, now: Instant) {
        counter!("callgate_admin_logins_total", "result" => failure.name()).increment(1);
        let failed = Failed { failure, account: account.into(), from: peer.to_string() };
        let noted = self.failed().note(failed.clone(), now);
        if let Noted::First(makes_room) = noted {
            makes_room.iter().for_each(|repeated| self.tell_again(repeated));
            self.tell(&failed, "");
        }
    }

    fn tell_again(&self, Repeated { kind, count }: &Repeated<Failed>) {
        self.tell(kind, &format!(", {count} times more"));
    }

    fn tell(&self, Failed { failure, account, from }: &Failed, times: &str) {
        let detail = format!("{} from {from}{times}", failure.name());
        self.administration.note(NOBODY, ("log in", "account", account), detail, Outcome::Failed);
    }

    fn with_sessions<T>(&self, use_them: impl FnOnce(&mut Sessions) -> T) -> T {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let used = use_them(&mut sessions);
        #[expect(clippy::cast_precision_loss, reason = "at most a few thousand")]
        gauge!("callgate_admin_sessions").set(sessions.len() as f64);
        used
    }

    fn lockout(&self) -> MutexGuard<'_, Lockout> {
        self.lockout.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self) -> MutexGuard<'_, Repeats<Failed>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was only counted is on record when the gate goes.
impl Drop for Gate {
    fn drop(&mut self) {
        self.look_around(Instant::now() + LONG);
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
