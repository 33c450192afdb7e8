//! Exit codes, and how an error is told.

use std::process::ExitCode;

use callgate::{
    audit::{KeyError, OpenError},
    client::{ClientError, admin::AdminError},
    config::ConfigError,
    gateway::StartError,
    switch::capture::CaptureError,
    trust::{LedgerError, TrustError},
};

use super::{
    out::{Unwritten, remark},
    restore::Failed,
};

/// Done.
const DONE: u8 = 0;
/// The command could not do it.
const FAILED: u8 = 1;
/// Wrong arguments (by clap, too), or input that can't be used: mend it and try again.
const UNUSABLE: u8 = 2;

/// Input that can't be used, where no error type of the library says so.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unusable(pub(super) String);

/// Tells the error, if there is one, and turns the outcome into the exit code.
pub(super) fn code(outcome: anyhow::Result<()>) -> ExitCode {
    let Err(error) = outcome else {
        return ExitCode::from(DONE);
    };
    if !error.downcast_ref::<Unwritten>().is_some_and(Unwritten::is_unheard) {
        remark!("callgate: {error:#}");
        if let Some(mend) = error.downcast_ref::<AdminError>().and_then(AdminError::mend) {
            remark!("Mend: {mend}");
        }
    }
    ExitCode::from(if is_input(&error) { UNUSABLE } else { FAILED })
}

fn is_input(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.is::<ConfigError>()
            || cause.is::<KeyError>()
            || cause.downcast_ref::<OpenError>().is_some_and(OpenError::is_input)
            || cause.is::<Unusable>()
            || cause.is::<CaptureError>()
            || cause.downcast_ref::<Failed>().is_some_and(Failed::is_input)
            || cause.downcast_ref::<ClientError>().is_some_and(ClientError::is_input)
            || cause.downcast_ref::<AdminError>().is_some_and(AdminError::is_input)
            || cause.downcast_ref::<TrustError>().is_some_and(TrustError::is_input)
            || cause.downcast_ref::<StartError>().is_some_and(StartError::is_input)
            || cause.downcast_ref::<LedgerError>().is_some_and(|error| !matches!(error, LedgerError::Unwritable { .. }))
    })
}
