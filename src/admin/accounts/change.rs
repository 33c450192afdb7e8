//! What a change of accounts does: the one place that decides whether it is allowed (R38).
//!
//! The rules are those of the directory's changes: a list of steps, each one key of the store, in such an order that a
//! crash between two of them leaves nobody with more than before or after.

use std::collections::BTreeSet;

use callgate_wire::v1::ErrorCode;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    AccountRecord, Accounts, PasswordHash, Role, SetupRecord, TokenHash, TokenRecord,
    snapshot::{SETUP, account_key, token_key},
};
use crate::{
    directory::{Direction, MAX_DESCRIPTION, Of, Plan, Refusal, Step, Write},
    model::{AccountName, TokenName},
    store::{Bucket, Expect},
    trust::{CertificateRecords, Fingerprint},
};

/// How long a setup token can be used.
const SETUP_TOKEN_LIFE: Duration = Duration::hours(24);
/// The most accounts (R41a).
pub const MAX_ACCOUNTS: usize = 1_000;
/// The most tokens of an account (R41a).
pub const MAX_TOKENS: usize = 100;
/// The most certificates of an account (R41a).
pub const MAX_CERTIFICATES: usize = 16;
/// The longest life of a token, in days.
pub const MAX_TOKEN_DAYS: u32 = 366;

/// One thing that an administrator wants.
#[derive(Debug, Clone)]
pub enum AccountChange {
    /// An account is made.
    Add(AccountName, NewAccount),
    /// A token is made.
    AddToken(AccountName, TokenName, NewToken),
    /// A new setup token takes the place of the one before, while there is no administrator.
    OfferSetup(TokenHash),
    /// An account goes, with its tokens.
    Remove(AccountName),
    /// A token goes.
    RemoveToken(AccountName, TokenName),
    /// What an account may do, and its certificates.
    Set(AccountName, AccountSettings),
    /// Whether an account may log in at all.
    SetDisabled(AccountName, bool),
    /// An account's password.
    SetPassword(AccountName, PasswordHash),
    /// The first administrator is made, by the setup token.
    Setup {
        /// What was shown as the token.
        token: TokenHash,
        /// The administrator.
        account: AccountName,
        /// Its password.
        password: PasswordHash,
    },
}

/// An account that is to be made.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// What it is to be.
    pub settings: AccountSettings,
    /// What proves its password, if it has one.
    pub password: Option<PasswordHash>,
}

/// What anybody who administers accounts may read of one, and write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountSettings {
    /// What it may do.
    pub role: Role,
    /// For people.
    pub description: String,
    /// The client certificates that stand for its password.
    pub certificates: BTreeSet<Fingerprint>,
}

/// A token that is to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewToken {
    /// Its hash.
    pub hash: TokenHash,
    /// What it may do.
    pub role: Role,
    /// For how long, in days.
    pub days: u32,
}

/// Why a change of accounts isn't made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AccountRefusal {
    /// There is one already, there is none, it was changed meanwhile, or a value isn't allowed.
    #[error(transparent)]
    Directory(#[from] Refusal),
    /// Nobody would be left who may administer.
    #[error("{0:?} is the last administrator")]
    LastAdministrator(AccountName),
    /// The setup token is wrong, was used, has ended, or isn't needed.
    #[error("{0}")]
    SetupToken(&'static str),
}

impl AccountRefusal {
    /// The stable code (R43).
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Directory(refusal) => refusal.code(),
            Self::LastAdministrator(_) => ErrorCode::LastAdministrator,
            Self::SetupToken(_) => ErrorCode::SetupTokenInvalid,
        }
    }
}

impl AccountChange {
    /// What the change comes to, by the accounts and the ledger of now.
    ///
    /// # Errors
    /// [`AccountRefusal`]: then nothing is to be done.
    pub fn plan(
        &self,
        of: Of,
        accounts: &Accounts,
        certificates: &CertificateRecords,
        now: OffsetDateTime,
    ) -> Result<Plan, AccountRefusal> {
        let known = Known { accounts, certificates, now };
        match self {
            Self::Add(name, NewAccount { settings, password }) => {
                add(name, settings, password.as_ref(), of, accounts, now)
            }
            Self::AddToken(account, name, token) => add_token(account, name, *token, of, accounts, now),
            Self::OfferSetup(hash) => offer_setup(*hash, &known),
            Self::Remove(name) => remove(name, of, &known),
            Self::RemoveToken(account, name) => {
                let found = accounts.token(account, name).map(|stored| stored.version);
                let version = of.version(found, || format!("token {name:?} of {account:?}"))?;
                let steps = vec![step(Bucket::ACCOUNTS, token_key(account, name), Write::Delete(version))];
                Ok(Plan { steps, direction: Direction::Takes, detail: String::new() })
            }
            Self::Set(name, settings) => set(name, settings, of, &known),
            Self::SetDisabled(name, disabled) => {
                let direction = if *disabled { Direction::Takes } else { Direction::Grants };
                let changed = |record: &mut AccountRecord| record.disabled = *disabled;
                put(name, of, &known, direction, String::new(), changed)
            }
            Self::SetPassword(name, password) => {
                let changed = |record: &mut AccountRecord| record.password = Some(password.clone());
                put(name, of, &known, Direction::Grants, String::new(), changed)
            }
            Self::Setup { token, account, password } => setup(token, account, password, &known),
        }
    }

    /// What it is a change of, as records and errors call it, and the name.
    pub fn subject(&self) -> (&'static str, String) {
        match self {
            Self::Add(name, _)
            | Self::Remove(name)
            | Self::Set(name, _)
            | Self::SetDisabled(name, _)
            | Self::SetPassword(name, _)
            | Self::Setup { account: name, .. } => ("account", name.to_string()),
            Self::AddToken(account, name, _) | Self::RemoveToken(account, name) => {
                ("token", format!("{account}/{name}"))
            }
            Self::OfferSetup(_) => ("setup token", String::new()),
        }
    }

    /// What it does, as records call it.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Add(..) | Self::AddToken(..) | Self::OfferSetup(_) => "add",
            Self::Remove(_) | Self::RemoveToken(..) => "remove",
            Self::Set(..) => "put",
            Self::SetDisabled(_, true) => "disable",
            Self::SetDisabled(_, false) => "enable",
            Self::SetPassword(..) => "set password",
            Self::Setup { .. } => "set up",
        }
    }
}

/// What a change is judged by.
struct Known<'a> {
    accounts: &'a Accounts,
    certificates: &'a CertificateRecords,
    now: OffsetDateTime,
}

impl Known<'_> {
    /// Whether there is an administrator who can log in.
    fn have_administrator(&self, apart_from: Option<&AccountName>) -> bool {
        self.accounts.have_administrator(apart_from, self.certificates, self.now)
    }

    fn can_administer(&self, record: &AccountRecord) -> bool {
        record.can_administer(self.certificates, self.now)
    }

    /// One who can log in stays when this account can't any more.
    ///
    /// # Errors
    /// [`AccountRefusal::LastAdministrator`].
    fn not_the_last(&self, name: &AccountName) -> Result<(), AccountRefusal> {
        if self.have_administrator(Some(name)) { Ok(()) } else { Err(AccountRefusal::LastAdministrator(name.clone())) }
    }
}

fn add(
    name: &AccountName,
    settings: &AccountSettings,
    password: Option<&PasswordHash>,
    of: Of,
    accounts: &Accounts,
    now: OffsetDateTime,
) -> Result<Plan, AccountRefusal> {
    let expect = of.expect(accounts.account(name).map(|stored| stored.version), || format!("account {name:?}"))?;
    if let Expect::Version(_) = expect {
        // Over an account that is there nothing is made: its generation would begin anew.
        return Err(Refusal::AlreadyExists(format!("account {name:?}")).into());
    }
    check(name, settings, accounts)?;
    if accounts.accounts().count() >= MAX_ACCOUNTS {
        return Err(field("account", format!("there are {MAX_ACCOUNTS} accounts: more are not allowed")));
    }
    let record = AccountRecord {
        role: settings.role,
        description: settings.description.clone(),
        disabled: false,
        certificates: settings.certificates.clone(),
        password: password.cloned(),
        generation: accounts.next_generation(now),
        created_at: rfc3339(now),
    };
    let detail = format!("role {}", settings.role);
    let steps = vec![account_step(name, &record, Expect::Absent)];
    Ok(Plan { steps, direction: Direction::Grants, detail })
}

fn set(name: &AccountName, settings: &AccountSettings, of: Of, known: &Known<'_>) -> Result<Plan, AccountRefusal> {
    let accounts = known.accounts;
    let AccountSettings { role, description, certificates } = settings;
    check(name, settings, accounts)?;
    let Some(before) = accounts.account(name).map(|stored| &*stored.record) else {
        return Err(Refusal::NotFound(format!("account {name:?}")).into());
    };
    let adds = *role > before.role || !certificates.is_subset(&before.certificates);
    let takes = *role < before.role || !before.certificates.is_subset(certificates);
    let mut detail = Vec::new();
    if *role != before.role {
        detail.push(format!("role {} instead of {}", role, before.role));
    }
    let shown = |sign: &str, certificate: &Fingerprint| format!("{sign}certificate {}", certificate.to_hex());
    detail.extend(certificates.difference(&before.certificates).map(|new| shown("+", new)));
    detail.extend(before.certificates.difference(certificates).map(|old| shown("-", old)));
    if *description != before.description {
        detail.push("~description".into());
    }
    let changed = |record: &mut AccountRecord| {
        record.role = *role;
        record.description.clone_from(description);
        record.certificates.clone_from(certificates);
    };
    put(name, of, known, Direction::of(adds, takes), detail.join(", "), changed)
}

/// Changes an account that is there. Its sessions and tokens end, unless only what is for people is different.
fn put(
    name: &AccountName,
    of: Of,
    known: &Known<'_>,
    direction: Direction,
    detail: String,
    change: impl FnOnce(&mut AccountRecord),
) -> Result<Plan, AccountRefusal> {
    let stored = known.accounts.account(name);
    let version = of.version(stored.map(|stored| stored.version), || format!("account {name:?}"))?;
    let Some(stored) = stored else { return Err(Refusal::NotFound(format!("account {name:?}")).into()) };
    let mut record = (*stored.record).clone();
    change(&mut record);
    if (AccountRecord { description: stored.record.description.clone(), ..record.clone() }) != *stored.record {
        record.generation = record.generation.wrapping_add(1);
    }
    if known.can_administer(&stored.record) && !known.can_administer(&record) {
        known.not_the_last(name)?;
    }
    let steps = vec![account_step(name, &record, Expect::Version(version))];
    Ok(Plan { steps, direction, detail })
}

fn remove(name: &AccountName, of: Of, known: &Known<'_>) -> Result<Plan, AccountRefusal> {
    let accounts = known.accounts;
    let stored = accounts.account(name);
    let version = of.version(stored.map(|stored| stored.version), || format!("account {name:?}"))?;
    if stored.is_some_and(|stored| known.can_administer(&stored.record)) {
        known.not_the_last(name)?;
    }
    let tokens = accounts.tokens_of(name);
    let mut steps: Vec<Step> = tokens
        .map(|(token, stored)| step(Bucket::ACCOUNTS, token_key(name, token), Write::Delete(stored.version)))
        .collect();
    steps.push(step(Bucket::ACCOUNTS, account_key(name), Write::Delete(version)));
    Ok(Plan { steps, direction: Direction::Takes, detail: String::new() })
}

fn add_token(
    account: &AccountName,
    name: &TokenName,
    NewToken { hash, role, days }: NewToken,
    of: Of,
    accounts: &Accounts,
    now: OffsetDateTime,
) -> Result<Plan, AccountRefusal> {
    let Some(owner) = accounts.account(account) else {
        return Err(Refusal::NotFound(format!("account {account:?}")).into());
    };
    let found = accounts.token(account, name).map(|stored| stored.version);
    let expect = of.expect(found, || format!("token {name:?} of {account:?}"))?;
    if role > owner.record.role {
        let problem = format!("{role} is more than its account may do, which is {}", owner.record.role);
        return Err(field("role", problem));
    }
    if !(1..=MAX_TOKEN_DAYS).contains(&days) {
        return Err(field("days", format!("{days}: from 1 to {MAX_TOKEN_DAYS} are allowed")));
    }
    if accounts.tokens_of(account).count() >= MAX_TOKENS {
        return Err(field("name", format!("{account:?} has {MAX_TOKENS} tokens: more are not allowed")));
    }
    let record = TokenRecord {
        hash,
        role,
        created_at: rfc3339(now),
        not_after: rfc3339(now + Duration::days(days.into())),
        generation: owner.record.generation,
        epoch: accounts.epoch().0,
    };
    let detail = format!("role {role} until {}", record.not_after);
    let steps = vec![step(Bucket::ACCOUNTS, token_key(account, name), Write::Put(record.to_value(), expect))];
    Ok(Plan { steps, direction: Direction::Grants, detail })
}

fn offer_setup(hash: TokenHash, known: &Known<'_>) -> Result<Plan, AccountRefusal> {
    let accounts = known.accounts;
    if known.have_administrator(None) {
        return Err(AccountRefusal::SetupToken("there is an administrator already"));
    }
    let expect = accounts.setup().map_or(Expect::Absent, |(version, _)| Expect::Version(*version));
    let not_after = rfc3339(known.now + SETUP_TOKEN_LIFE);
    let detail = format!("until {not_after}");
    let record = SetupRecord { hash: Some(hash), epoch: accounts.epoch().0, not_after, used_for: None };
    let steps = vec![step(Bucket::META, SETUP.into(), Write::Put(record.to_value(), expect))];
    Ok(Plan { steps, direction: Direction::Grants, detail })
}

fn setup(
    token: &TokenHash,
    account: &AccountName,
    password: &PasswordHash,
    known: &Known<'_>,
) -> Result<Plan, AccountRefusal> {
    let Known { accounts, now, .. } = *known;
    if known.have_administrator(None) {
        return Err(AccountRefusal::SetupToken("there is an administrator already"));
    }
    let version = accounts.check_setup_token(token, now)?;
    let settings =
        AccountSettings { role: Role::Administrator, description: String::new(), certificates: BTreeSet::new() };
    let made = add(account, &settings, Some(password), Of::New, accounts, now)?;
    // By its first write the token is used, whatever becomes of the second: of those who race for it one gets through.
    let used =
        SetupRecord { hash: None, epoch: accounts.epoch().0, not_after: rfc3339(now), used_for: Some(account.clone()) };
    let mut steps = vec![step(Bucket::META, SETUP.into(), Write::Put(used.to_value(), Expect::Version(version)))];
    steps.extend(made.steps);
    Ok(Plan { steps, ..made })
}

fn check(name: &AccountName, settings: &AccountSettings, accounts: &Accounts) -> Result<(), AccountRefusal> {
    let AccountSettings { description, certificates, .. } = settings;
    if description.len() > MAX_DESCRIPTION {
        let problem = format!("{} bytes: up to {MAX_DESCRIPTION} are allowed", description.len());
        return Err(field("description", problem));
    }
    if certificates.len() > MAX_CERTIFICATES {
        let problem = format!("{} certificates: up to {MAX_CERTIFICATES} are allowed", certificates.len());
        return Err(field("certificates", problem));
    }
    let mut others = accounts.accounts().filter(|(other, _)| *other != name);
    let taken = others.find_map(|(other, stored)| {
        let certificate = certificates.intersection(&stored.record.certificates).next()?;
        Some(format!("{} is a certificate of the account {other:?} already", certificate.to_hex()))
    });
    taken.map_or(Ok(()), |problem| Err(field("certificates", problem)))
}

fn account_step(name: &AccountName, record: &AccountRecord, expect: Expect) -> Step {
    step(Bucket::ACCOUNTS, account_key(name), Write::Put(record.to_value(), expect))
}

fn step(bucket: Bucket, key: String, write: Write) -> Step {
    Step { bucket, key, write }
}

fn field(field: &'static str, problem: String) -> AccountRefusal {
    Refusal::Field { field, problem }.into()
}

fn rfc3339(at: OffsetDateTime) -> String {
    // Years from 0 to 9999 can be written.
    at.replace_nanosecond(0).unwrap_or(at).format(&Rfc3339).unwrap_or_default()
}
