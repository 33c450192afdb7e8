//! Accounts and tokens as they are stored.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{PasswordHash, TokenHash};
use crate::{
    directory::Stored,
    model::AccountName,
    store::Epoch,
    trust::{CertificateRecords, Fingerprint},
};

/// What an account may do, from the least to the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads what is shown, and changes nothing.
    Reader,
    /// Changes users, groups, devices and certificates, and closes sessions.
    Operator,
    /// Everything: accounts, too, and tokens of others.
    Administrator,
}

impl Role {
    /// Its name in the API and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Administrator => "administrator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountRecord {
    /// What it may do.
    pub role: Role,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// It may not log in, whatever it shows.
    #[serde(default)]
    pub disabled: bool,
    /// The client certificates that stand for its password. Each is of one account only.
    #[serde(default)]
    pub certificates: BTreeSet<Fingerprint>,
    /// What proves its password. Without it no password is right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<PasswordHash>,
    /// Rises with each change of what it may do or how it proves itself, which ends its sessions and tokens. An account that
    /// is made again goes on behind all that there were, and so brings back no session of the one before.
    pub generation: u64,
    /// When it was made, RFC 3339.
    pub created_at: String,
}

impl AccountRecord {
    /// Whether somebody can administer everything by it: it has a password, or a certificate that counts by the ledger and has begun. What the
    /// CRL of another CA says of that isn't looked at: one that is late comes again.
    pub fn can_administer(&self, certificates: &CertificateRecords, now: OffsetDateTime) -> bool {
        let counts =
            |sha256| certificates.get(sha256).is_some_and(|(_, record)| record.counts_at(now) && record.has_begun(now));
        let can_log_in = self.password.is_some() || self.certificates.iter().any(counts);
        self.role == Role::Administrator && !self.disabled && can_log_in
    }

    /// The value that stands for it in the store. It holds the hash of the password, so it is wiped.
    pub(super) fn to_value(&self) -> zeroize::Zeroizing<Vec<u8>> {
        value(self)
    }
}

/// A token of an account, for programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRecord {
    /// The hash of the token itself.
    pub hash: TokenHash,
    /// What it may do; never more than its account.
    pub role: Role,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// Its last moment, RFC 3339.
    pub not_after: String,
    /// The generation of its account that it belongs to.
    pub generation: u64,
    /// The epoch of the store that it belongs to.
    pub epoch: u64,
}

impl TokenRecord {
    /// Whether it counts at this moment for the account as it is now.
    pub fn counts(&self, account: &AccountRecord, epoch: Epoch, now: OffsetDateTime) -> bool {
        is_in_time(&self.not_after, now)
            && !account.disabled
            && self.generation == account.generation
            && self.epoch == epoch.0
    }

    pub(super) fn to_value(&self) -> zeroize::Zeroizing<Vec<u8>> {
        value(self)
    }
}

/// The token by which the first administrator is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetupRecord {
    /// Its hash; `None` when it was used.
    pub hash: Option<TokenHash>,
    /// The epoch of the store that it belongs to.
    pub epoch: u64,
    /// Its last moment, RFC 3339. One without counts no more.
    #[serde(default)]
    pub not_after: String,
    /// The account that was made by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_for: Option<AccountName>,
}

impl SetupRecord {
    /// Whether its time isn't over.
    pub(super) fn is_in_time(&self, now: OffsetDateTime) -> bool {
        is_in_time(&self.not_after, now)
    }

    pub(super) fn to_value(&self) -> zeroize::Zeroizing<Vec<u8>> {
        value(self)
    }
}

/// An account and which state of it this is.
pub(super) type StoredAccount = Stored<AccountRecord>;

fn is_in_time(not_after: &str, now: OffsetDateTime) -> bool {
    OffsetDateTime::parse(not_after, &Rfc3339).is_ok_and(|not_after| now <= not_after)
}

fn value(record: &impl Serialize) -> zeroize::Zeroizing<Vec<u8>> {
    // Names, texts and numbers: nothing of it can fail.
    zeroize::Zeroizing::new(serde_json::to_vec(record).unwrap_or_default())
}
