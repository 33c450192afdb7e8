//! A door, as an argument.

use clap::ValueEnum;

/// A door, as an argument.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DoorName {
    /// TCP with mutual TLS
    Tls,
    /// TCP in the clear
    Clear,
}

impl DoorName {
    /// Its word in the API.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Clear => "clear",
        }
    }
}
