//! Why a client's command could not do its work.

use std::{io, path::PathBuf};

use callgate_sdk::client::{Closed, FileError, OpenError, PemError, RequestError};

use crate::{
    directory::{DirectoryError, ScramError},
    gateway::StartError,
    model::NameError,
    switch::{SwitchError, capture::CaptureError, replay::ReplayError},
    trust::{LedgerError, TrustError},
};

/// Why a client's command could not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The capture can't be read.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The app's session ended before its work was done.
    #[error("the session ended: {0}")]
    Closed(String),
    /// The gateway in this process can't be set up.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// A folder or a file can't be written.
    #[error("{path}: can't be written")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An app's certificate, key or CA can't be used.
    #[error(transparent)]
    Identity(#[from] FileError),
    /// The gateway in this process has no ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A name is not one.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A folder for voices has something in it.
    #[error("{path} is not empty, and voices of two captures would mix there: name a folder that is new or empty")]
    Occupied {
        /// Which.
        path: PathBuf,
    },
    /// The session doesn't open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The session would open by password, and what answers is the TLS door.
    #[error(
        "it answers in TLS, so it is the secure door (usually 2749). Leave out --password-file: a certificate from --folder, or from \
         --certificate, --key and --ca, opens a session there; or give the address of the clear door (usually 2748)"
    )]
    SecureDoor,
    /// The user needs its password besides its certificate.
    #[error("{0} `--tls-password-file` names a file with the password")]
    PasswordRequired(String),
    /// The app's own certificate or key is not good.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The capture can't be played, or not to its end.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// A request was refused.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// A password's verifier can't be made.
    #[error(transparent)]
    Scram(#[from] ScramError),
    /// The gateway in this process doesn't start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Certificates can't be made.
    #[error(transparent)]
    Trust(#[from] TrustError),
}

impl ClientError {
    /// Whether the input can't be used: a capture that is unreadable or without signalling, the files of an identity, or a
    /// folder for voices that has others in it.
    pub fn is_input(&self) -> bool {
        matches!(self, Self::Capture(_) | Self::Identity(_) | Self::Occupied { .. } | Self::Replay(_))
    }

    /// The session ended, for this reason if one is known.
    pub(super) fn closed(closed: Option<&Closed>) -> Self {
        Self::Closed(closed.map_or_else(|| "without a reason".into(), ToString::to_string))
    }
}

impl From<SwitchError> for ClientError {
    fn from(error: SwitchError) -> Self {
        match error {
            SwitchError::Replay(error) => Self::Replay(error),
            other => Self::Closed(other.to_string()),
        }
    }
}
