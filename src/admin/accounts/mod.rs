//! Accounts of the administration: who may change what, and how they prove who they are (R38).
//!
//! An account has a role, and proves itself by its password, a client certificate or a token. It is no user of the
//! directory, and shares nothing with one. What is stored are records, changed like everything else by a
//! [`Change`](AccountChange) that is planned here. Passwords and tokens are nowhere: only their hashes are.

mod change;
mod lockout;
mod password;
mod record;
mod sessions;
mod snapshot;
#[cfg(test)]
mod tests;
mod token;

pub use change::{
    AccountChange, AccountRefusal, AccountSettings, MAX_ACCOUNTS, MAX_CERTIFICATES, MAX_TOKEN_DAYS, MAX_TOKENS,
    NewAccount, NewToken,
};
pub use lockout::{Lockout, LockoutRules, Standstill, Try};
pub use password::{Busy, Password, PasswordError, PasswordHash, Passwords};
pub use record::{AccountRecord, Role, SetupRecord, TokenRecord};
pub use sessions::{Session, SessionRules, Sessions};
pub use snapshot::Accounts;
pub use token::{Token, TokenHash, TokenKind};
