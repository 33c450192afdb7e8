//! Who administers.

use std::fmt;

use crate::{
    model::{AccountName, TokenName},
    store::Version,
};

/// Who asks for a change, as records call it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Actor {
    /// An account of the administration. What it asks for is done only while it stands.
    Account(Standing),
    /// The gateway itself: a first start, or what a crash left to be done.
    Gateway,
    /// Somebody on the machine itself, by the number of the user that asked.
    Local(u32),
    /// Whoever has the setup token.
    Setup,
}

/// That somebody has proven to be an account, in its state of that moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The account.
    pub account: AccountName,
    /// Its generation: after a change of the account this counts no more.
    pub generation: u64,
    /// The token that was shown, if it was one.
    pub token: Option<ShownToken>,
}

/// A token of an account that somebody has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShownToken {
    /// Its name.
    pub name: TokenName,
    /// Its version in the store. One that is made again by this name has another.
    pub version: Version,
}

impl Actor {
    /// Tells it from all others, also from an account or a token of the same name that was removed before it was made.
    pub(super) fn identity(&self) -> String {
        match self {
            Self::Account(Standing { generation, token: None, .. }) => format!("{self} generation:{generation}"),
            Self::Account(Standing { generation, token: Some(ShownToken { version, .. }), .. }) => {
                format!("{self} generation:{generation} version:{}", version.0)
            }
            Self::Gateway | Self::Local(_) | Self::Setup => self.to_string(),
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(Standing { account, token: None, .. }) => write!(f, "account:{account}"),
            Self::Account(Standing { account, token: Some(token), .. }) => {
                write!(f, "account:{account} token:{}", token.name)
            }
            Self::Gateway => f.write_str("gateway"),
            Self::Local(uid) => write!(f, "uid:{uid}"),
            Self::Setup => f.write_str("setup"),
        }
    }
}
