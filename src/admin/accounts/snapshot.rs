//! All accounts and tokens, as they stand at one moment.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde::de::DeserializeOwned;
use time::OffsetDateTime;

use super::{AccountRecord, AccountRefusal, Role, SetupRecord, TokenHash, TokenRecord, record::StoredAccount};
use crate::{
    admin::actor::{ShownToken, Standing},
    directory::{Stored, Unreadable},
    model::{AccountName, TokenName},
    store::{Bucket, Entry, Epoch, Version},
    trust::{CertificateRecords, Fingerprint},
};

/// The key of [`Bucket::META`] that has the setup token.
pub(super) const SETUP: &str = "setup";
const ACCOUNT: &str = "account";
const TOKEN: &str = "token";

/// One snapshot of accounts, tokens and the setup token.
#[derive(Debug, Clone, Default)]
pub struct Accounts {
    accounts: BTreeMap<AccountName, StoredAccount>,
    tokens: BTreeMap<(AccountName, TokenName), Stored<TokenRecord>>,
    by_hash: HashMap<TokenHash, (AccountName, TokenName)>,
    setup: Option<(Version, SetupRecord)>,
    epoch: Option<Epoch>,
    /// The highest that any account had while this process runs.
    last_generation: u64,
}

impl Accounts {
    /// Those of a store at this epoch, before anything was read.
    pub(in crate::admin) fn at(epoch: Epoch) -> Self {
        Self { epoch: Some(epoch), ..Self::default() }
    }

    /// Takes what a key has now; `None` for one that is gone.
    ///
    /// # Errors
    /// It can't be read.
    pub(in crate::admin) fn take(
        &mut self,
        bucket: Bucket,
        key: &str,
        entry: Option<&Entry>,
    ) -> Result<(), Unreadable> {
        let unreadable = |reason: String| Unreadable { bucket: bucket.0, key: key.into(), reason };
        if bucket == Bucket::META {
            if key == SETUP {
                self.setup =
                    entry.map(|entry| Ok((entry.version, read(&entry.value)?))).transpose().map_err(unreadable)?;
            }
            return Ok(());
        }
        match Key::parse(key).ok_or_else(|| unreadable("neither an account nor a token".into()))? {
            Key::Account(name) => match entry {
                Some(entry) => {
                    let record: AccountRecord = read(&entry.value).map_err(unreadable)?;
                    self.last_generation = self.last_generation.max(record.generation);
                    self.accounts.insert(name, Stored { version: entry.version, record: Arc::new(record) });
                }
                None => drop(self.accounts.remove(&name)),
            },
            Key::Token(account, name) => {
                let key = (account, name);
                if let Some(before) = self.tokens.remove(&key) {
                    self.by_hash.remove(&before.record.hash);
                }
                if let Some(entry) = entry {
                    let record: TokenRecord = read(&entry.value).map_err(unreadable)?;
                    self.by_hash.insert(record.hash, key.clone());
                    self.tokens.insert(key, Stored { version: entry.version, record: Arc::new(record) });
                }
            }
        }
        Ok(())
    }

    /// What an account begins with that is made now: behind all that there were, so that no session or token of one of them
    /// is one of its own.
    pub(super) fn next_generation(&self, now: OffsetDateTime) -> u64 {
        let by_time = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
        by_time.max(self.last_generation.saturating_add(1))
    }

    /// These were read anew: generations go on behind those of before.
    pub(in crate::admin) fn continue_after(&mut self, before: &Self) {
        self.last_generation = self.last_generation.max(before.last_generation);
    }

    /// Every account, in the order of the names.
    pub fn accounts(&self) -> impl DoubleEndedIterator<Item = (&AccountName, &StoredAccount)> {
        self.accounts.iter()
    }

    /// The account of this name.
    pub fn account(&self, name: &AccountName) -> Option<&StoredAccount> {
        self.accounts.get(name)
    }

    /// Every token, in the order of accounts and names.
    pub fn tokens(&self) -> impl Iterator<Item = (&AccountName, &TokenName, &Stored<TokenRecord>)> {
        self.tokens.iter().map(|((account, name), stored)| (account, name, stored))
    }

    /// The tokens of an account.
    pub fn tokens_of<'a>(
        &'a self,
        account: &'a AccountName,
    ) -> impl Iterator<Item = (&'a TokenName, &'a Stored<TokenRecord>)> {
        self.tokens().filter(move |(of, ..)| *of == account).map(|(_, name, stored)| (name, stored))
    }

    /// The token of this name.
    pub fn token(&self, account: &AccountName, name: &TokenName) -> Option<&Stored<TokenRecord>> {
        self.tokens.get(&(account.clone(), name.clone()))
    }

    /// Whose certificate this is, if that account may log in.
    pub fn by_certificate(&self, sha256: &Fingerprint) -> Option<(&AccountName, &AccountRecord)> {
        let (name, stored) = self.accounts.iter().find(|(_, stored)| stored.record.certificates.contains(sha256))?;
        (!stored.record.disabled).then_some((name, &*stored.record))
    }

    /// Who stands behind a token, and what it may do, if it counts.
    pub fn by_token(&self, hash: &TokenHash, now: OffsetDateTime) -> Option<(Standing, Role)> {
        let (account, token) = self.by_hash.get(hash)?;
        let Stored { version, record } = self.token(account, token)?;
        let shown = ShownToken { name: token.clone(), version: *version };
        let standing = Standing { account: account.clone(), generation: record.generation, token: Some(shown) };
        let owner = self.stands(&standing, now)?;
        Some((standing, record.role.min(owner.role)))
    }

    /// The account of somebody who proved to be it earlier, if that still counts.
    pub fn stands(&self, standing: &Standing, now: OffsetDateTime) -> Option<&AccountRecord> {
        let record = &*self.accounts.get(&standing.account)?.record;
        if record.disabled || record.generation != standing.generation {
            return None;
        }
        let Some(shown) = &standing.token else { return Some(record) };
        let token = self.token(&standing.account, &shown.name)?;
        (token.version == shown.version && token.record.counts(record, self.epoch(), now)).then_some(record)
    }

    /// Whether anybody can administer everything; apart from this account, if one is named.
    pub fn have_administrator(
        &self,
        apart_from: Option<&AccountName>,
        certificates: &CertificateRecords,
        now: OffsetDateTime,
    ) -> bool {
        let mut others = self.accounts.iter().filter(|(name, _)| Some(*name) != apart_from);
        others.any(|(_, stored)| stored.record.can_administer(certificates, now))
    }

    /// Whether an account was made that is to administer everything, and given a way to log in: a certificate that has ended meanwhile
    /// is one, too. Only without such an account is it the first start.
    pub fn have_made_administrator(&self) -> bool {
        self.accounts.values().any(|stored| {
            let AccountRecord { role, disabled, certificates, password, .. } = &*stored.record;
            *role == Role::Administrator && !disabled && (password.is_some() || !certificates.is_empty())
        })
    }

    /// What the store has of the setup token, and which state of it this is.
    pub(super) fn setup(&self) -> Option<&(Version, SetupRecord)> {
        self.setup.as_ref()
    }

    /// Whether a setup token was told that can be used still: it was neither used nor handed out before a backup was restored, and
    /// its time isn't over.
    pub fn have_setup_token(&self, now: OffsetDateTime) -> bool {
        self.setup
            .as_ref()
            .is_some_and(|(_, setup)| setup.hash.is_some() && setup.epoch == self.epoch().0 && setup.is_in_time(now))
    }

    /// The version of the record of the setup token, if this is the one that can be used.
    ///
    /// # Errors
    /// [`AccountRefusal::SetupToken`].
    pub fn check_setup_token(&self, token: &TokenHash, now: OffsetDateTime) -> Result<Version, AccountRefusal> {
        let refused = |why| Err(AccountRefusal::SetupToken(why));
        match &self.setup {
            Some((_, SetupRecord { hash: None, .. })) => refused("it was used already"),
            Some((version, setup)) if setup.hash == Some(*token) && setup.epoch == self.epoch().0 => {
                if setup.is_in_time(now) {
                    return Ok(*version);
                }
                refused(
                    "it has ended, 24 hours after it was made: `callgate account setup-token` makes a new one, and so does the next start while no administrator was made",
                )
            }
            _ => refused("it is not the one that was printed last"),
        }
    }

    /// The store's epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch.unwrap_or(Epoch(0))
    }
}

/// What a key of [`Bucket::ACCOUNTS`] names.
enum Key {
    Account(AccountName),
    Token(AccountName, TokenName),
}

impl Key {
    fn parse(key: &str) -> Option<Self> {
        let mut parts = key.split('/');
        let parsed = match (parts.next()?, parts.next()?) {
            (ACCOUNT, name) => Self::Account(name.parse().ok()?),
            (TOKEN, account) => Self::Token(account.parse().ok()?, parts.next()?.parse().ok()?),
            _ => return None,
        };
        parts.next().is_none().then_some(parsed)
    }
}

/// The key of an account.
pub(super) fn account_key(name: &AccountName) -> String {
    format!("{ACCOUNT}/{name}")
}

/// The key of a token.
pub(super) fn token_key(account: &AccountName, name: &TokenName) -> String {
    format!("{TOKEN}/{account}/{name}")
}

fn read<T: DeserializeOwned>(value: &[u8]) -> Result<T, String> {
    // Without the text of the error: it may quote the value.
    serde_json::from_slice(value).map_err(|error| format!("column {}: not what it should be", error.column()))
}
