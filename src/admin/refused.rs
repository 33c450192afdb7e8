//! Why a change isn't made, or isn't known to be made.

use callgate_wire::v1::ErrorCode;

use super::{
    accounts::AccountRefusal,
    journal::{JournalClosed, NoRandomness},
};
use crate::{cti::NotAcknowledged, directory::Refusal, model::counted, store::StoreError};

/// Why a change isn't acknowledged. Each has its stable code (R43).
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The rules of accounts stand against it.
    #[error(transparent)]
    Account(#[from] AccountRefusal),
    /// Who asked for it was changed or removed, or its token ended.
    #[error("who asks for it doesn't stand any more")]
    ActorGone,
    /// The directory's rules stand against it.
    #[error(transparent)]
    Directory(#[from] Refusal),
    /// There is no such certificate.
    #[error("the ledger has no certificate {0}")]
    NoCertificate(String),
    /// The ledger has the certificate, and it is somebody else's.
    #[error("the ledger has the certificate {sha256} already, for {owner}")]
    CertificateTaken {
        /// Its SHA-256.
        sha256: String,
        /// User and instance.
        owner: String,
    },
    /// A user can't go while its certificates count: whoever got its name later would own them.
    #[error("{user} has {} that count", counted(*count, "certificate", "certificates"))]
    StillCertified {
        /// The user.
        user: String,
        /// How many.
        count: usize,
    },
    /// It can't be recorded, and would give something to somebody (R21).
    #[error("the change can't be recorded: {0}")]
    Journal(#[from] JournalClosed),
    /// It takes rights away and is in effect, but the store doesn't take it. It is tried again until it does; nothing of it
    /// is left if the gateway ends first.
    #[error(
        "it is in effect, and not stored yet: the store is tried again every second, and if the gateway ends before it \
         takes it, the change has to be made again"
    )]
    NotStored(#[source] StoreError),
    /// The store didn't take it. What it did take is in effect.
    #[error(transparent)]
    Store(StoreError),
    /// It is stored, and nobody can say that it is in effect.
    #[error(transparent)]
    NotAcknowledged(#[from] NotAcknowledged),
    /// The system has no randomness.
    #[error("the system has no randomness")]
    Randomness,
}

impl Refused {
    /// The stable code.
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Account(refusal) => refusal.code(),
            Self::ActorGone => ErrorCode::AdminNotAuthenticated,
            Self::Directory(refusal) => refusal.code(),
            Self::NoCertificate(_) => ErrorCode::NotFound,
            Self::CertificateTaken { .. } => ErrorCode::AlreadyExists,
            Self::StillCertified { .. } => ErrorCode::StillCertified,
            Self::Journal(_) => ErrorCode::AuditUnavailable,
            // Somebody else wrote between our reading and our writing.
            Self::Store(StoreError::Conflict { .. }) => ErrorCode::VersionConflict,
            Self::NotStored(_) | Self::Store(_) => ErrorCode::StoreUnavailable,
            Self::NotAcknowledged(_) => ErrorCode::RightsNotAcknowledged,
            Self::Randomness => ErrorCode::Internal,
        }
    }
}

impl Refused {
    /// Whether it passes when log and store can be written again.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Journal(_) | Self::NotStored(_) | Self::Store(_))
    }
}

impl From<NoRandomness> for Refused {
    fn from(NoRandomness: NoRandomness) -> Self {
        Self::Randomness
    }
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
