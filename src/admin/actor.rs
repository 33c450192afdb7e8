//! Who administers.

use std::fmt;

/// Who asks for a change, as records call it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Actor {
    /// An account of the administration, by its name.
    Account(String),
    /// Somebody on the machine itself, by the number of the user that asked.
    Local(u32),
    /// The gateway itself: a first start, or what a crash left to be done.
    Gateway,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Account(name) => write!(f, "account:{name}"),
            Self::Local(uid) => write!(f, "uid:{uid}"),
            Self::Gateway => f.write_str("gateway"),
        }
    }
}
