//! Why a gateway can't start, and how to mend it.

use std::io;

use callgate_wire::v1::ErrorCode;

use super::tls_files;
use crate::{
    admin::{JournalClosed, NoRandomness, OpenError, Refused},
    audit,
    cti::DoorError,
    http::HttpError,
    model::SwitchName,
    store::StoreError,
    switch::{capture::CaptureError, listen::ListenError, replay::SpeedError},
    trust::{LedgerError, TrustError},
};

/// Why a gateway can't start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A capture that stands for a switch can't be read.
    #[error("the switch {switch}: {error}")]
    Capture {
        /// The switch.
        switch: SwitchName,
        /// Why.
        error: CaptureError,
    },
    /// The audit log can't be used.
    #[error("`[audit]`: {_0}")]
    Audit(audit::OpenError),
    /// A door can't listen.
    #[error(transparent)]
    Door(#[from] DoorError),
    /// A feed can't listen.
    #[error("the switch {switch} {error}{}", mend_listen(error))]
    Feed {
        /// The switch.
        switch: SwitchName,
        /// Why.
        error: ListenError,
    },
    /// A feed's password can't be read.
    #[error(
        "the switch {switch}, `password_file`: {error}{}",
        if matches!(error, TrustError::Unreadable { .. }) { ": write the PBX's capture_password into it, or mend the path" } else { "" }
    )]
    FeedPassword {
        /// The switch.
        switch: SwitchName,
        /// Why.
        error: TrustError,
    },
    /// A service over HTTP can't listen.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The ledger can't be read.
    #[error("`tls.ledger`: {_0}{}", tls_files::mend_ledger(_0))]
    Ledger(LedgerError),
    /// The system has no randomness.
    #[error("the system has no randomness")]
    Randomness,
    /// The speed of a replay can't be.
    #[error("the switch {switch}: {error}")]
    Speed {
        /// The switch.
        switch: SwitchName,
        /// Why.
        error: SpeedError,
    },
    /// The certificates of the ledger's file can't be taken over.
    #[error("`tls.ledger`: its certificates can't be taken over: {_0}")]
    Import(Refused),
    /// New settings would give somebody something, and can't be recorded (R21).
    #[error(
        "{} ({}): {_0}, and without a record nobody gets more than he had: send SIGHUP again when the log is open",
        ErrorCode::AuditUnavailable.as_str_name(), ErrorCode::AuditUnavailable as i32
    )]
    NotRecorded(JournalClosed),
    /// The store can't be used.
    #[error("`store.file`: {_0}{}", mend_store(_0))]
    Store(OpenError),
    /// Certificates, keys or CAs are not as they should be.
    #[error("{setting}{error}{mend}")]
    Trust {
        /// Which settings name the files, with a colon and a space behind them.
        setting: &'static str,
        /// Why.
        error: TrustError,
        /// What to do, with a colon and a space before it; empty where the error says it.
        mend: &'static str,
    },
    /// The system gives no thread for a worker.
    #[error("a worker can't be started: {0}")]
    Worker(#[source] io::Error),
}

impl StartError {
    /// Whether a file is to blame that somebody can mend, and not the system.
    pub fn is_input(&self) -> bool {
        match self {
            Self::Audit(error) => error.is_input(),
            Self::Capture { .. } | Self::Speed { .. } => true,
            Self::FeedPassword { error, .. } | Self::Trust { error, .. } => error.is_input(),
            Self::Ledger(error) => !matches!(error, LedgerError::Unwritable { .. }),
            Self::Store(error) => !matches!(
                error,
                OpenError::Store(StoreError::Unavailable(_) | StoreError::InUse(_)) | OpenError::Seed(_)
            ),
            Self::Door(_)
            | Self::Feed { .. }
            | Self::Http(_)
            | Self::Import(_)
            | Self::NotRecorded(_)
            | Self::Randomness
            | Self::Worker(_) => false,
        }
    }

    /// Whether somebody else has the store or the audit log now, such as a command for a moment.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Store(OpenError::Store(StoreError::InUse(_))) | Self::Audit(audit::OpenError::InUse(_)))
    }
}

/// Each names its setting and says the rest by its cause's words: as its source the cause would be told twice.
macro_rules! from {
    ($($variant:ident($cause:ty)),*) => {
        $(impl From<$cause> for StartError {
            fn from(cause: $cause) -> Self {
                Self::$variant(cause)
            }
        })*
    };
}

from!(Audit(audit::OpenError), Import(Refused), Ledger(LedgerError), NotRecorded(JournalClosed), Store(OpenError));

impl From<NoRandomness> for StartError {
    fn from(NoRandomness: NoRandomness) -> Self {
        Self::Randomness
    }
}

impl From<StoreError> for StartError {
    fn from(error: StoreError) -> Self {
        Self::Store(error.into())
    }
}

/// What to do about a store that can't be used, where the error doesn't say it.
fn mend_store(error: &OpenError) -> &'static str {
    match error {
        OpenError::Store(StoreError::InUse(_)) => {
            ": a gateway runs by it; administer it through that one, or stop it first"
        }
        OpenError::Store(StoreError::Damaged { .. }) => ": restore a backup, or mend the path",
        _ => "",
    }
}

/// What to do about a feed that can't listen.
fn mend_listen(ListenError { address, error }: &ListenError) -> String {
    let port = address.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            ": stop what has UDP port {port} there already, such as another gateway (ss -lunp shows it), or write another \
             port as `listen` of the switch, and at the PBX"
        ),
        io::ErrorKind::AddrNotAvailable => {
            let any = if address.is_ipv4() { "0.0.0.0" } else { "[::]" };
            format!(
                ": no address of this machine: write one as `listen` of the switch, or \"{any}:{port}\" for all of them"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                ": write a port above 1023 as `listen` of the switch, and at the PBX, or give this process the right to {port}"
            )
        }
        _ => ": mend `listen` of the switch".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By exit code 2 systemd doesn't start it again (`deploy/callgate.service`).
    #[test]
    fn what_somebody_else_has_for_a_moment_is_no_fault_of_a_file() {
        let taken = StartError::from(StoreError::InUse("callgate.redb".into()));
        assert!(taken.is_in_use() && !taken.is_input());
        let damaged = StoreError::Damaged { path: "callgate.redb".into(), reason: "torn".into() };
        assert!(!StartError::from(damaged.clone()).is_in_use() && StartError::from(damaged).is_input());
    }
}
