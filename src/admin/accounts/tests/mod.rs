//! Accounts without a store and without a clock: what a change comes to, and who counts after it.

mod change;
mod lockout;
mod password;
mod sessions;
mod who_counts;

use std::{collections::BTreeSet, sync::Arc};

use callgate_wire::v1::ErrorCode;
use time::OffsetDateTime;

use super::*;
use crate::{
    admin::actor::{Actor, Standing},
    directory::{Direction, Of, Write},
    model::{AccountName, TokenName},
    store::{Entry, Epoch, Version},
    trust::{CertificateRecord, CertificateRecords, Fingerprint},
};

const CERTIFICATE: Fingerprint = Fingerprint([7; 32]);

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap()
}

fn name(name: &str) -> AccountName {
    name.parse().unwrap()
}

fn token_name(name: &str) -> TokenName {
    name.parse().unwrap()
}

fn token() -> Token {
    Token::draw(TokenKind::Api).unwrap()
}

fn settings(role: Role) -> AccountSettings {
    AccountSettings { role, description: String::new(), certificates: BTreeSet::new() }
}

/// An account that proves itself by a certificate, since hashes of passwords take long.
fn certified(role: Role, certificate: Fingerprint) -> AccountSettings {
    AccountSettings { certificates: [certificate].into(), ..settings(role) }
}

/// Accounts as a store would have them.
struct Kept {
    accounts: Accounts,
    /// Ten that count.
    certificates: CertificateRecords,
    version: u64,
}

impl Kept {
    fn new() -> Self {
        let known = |n| (Fingerprint([n; 32]), (Version(0), Arc::new(CertificateRecord::of("u", "1", "01"))));
        Self { accounts: Accounts::at(Epoch(1)), certificates: (0..10).map(known).collect(), version: 0 }
    }

    /// With an administrator who is named `root`.
    fn administered() -> Self {
        let mut kept = Self::new();
        kept.add("root", certified(Role::Administrator, CERTIFICATE));
        kept
    }

    fn change(&mut self, change: &AccountChange) -> Result<Direction, ErrorCode> {
        self.change_of(change, Of::Latest)
    }

    fn change_of(&mut self, change: &AccountChange, of: Of) -> Result<Direction, ErrorCode> {
        let plan = change.plan(of, &self.accounts, &self.certificates, now()).map_err(|refusal| refusal.code())?;
        for step in plan.steps {
            self.version += 1;
            let version = Version(self.version);
            let entry = match step.write {
                Write::Delete(_) => None,
                Write::Put(value, _) => Some(Entry { key: step.key.clone(), value: value.as_slice().into(), version }),
            };
            self.accounts.take(step.bucket, &step.key, entry.as_ref()).unwrap();
        }
        Ok(plan.direction)
    }

    fn add(&mut self, account: &str, settings: AccountSettings) {
        self.change(&AccountChange::Add(name(account), NewAccount { settings, password: None })).unwrap();
    }

    fn add_token(&mut self, account: &str, role: Role, days: u32) -> Result<Token, ErrorCode> {
        let token = token();
        let new = NewToken { hash: token.hash(), role, days };
        self.change(&AccountChange::AddToken(name(account), token_name("t"), new))?;
        Ok(token)
    }

    /// What a login now would stand on.
    fn standing(&self, account: &str) -> Standing {
        let record = &self.accounts.account(&name(account)).unwrap().record;
        Standing { account: name(account), generation: record.generation, token: None }
    }

    fn stands(&self, standing: &Standing) -> bool {
        self.accounts.stands(standing, now()).is_some()
    }
}

/// `correct horse battery` by cheap parameters.
const PHC: &str = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHRzb21lc2FsdA$7nsWXuwm7n0+7bWfRgBMLxVw2yvJIfCjaIXOVYtkcpM";
