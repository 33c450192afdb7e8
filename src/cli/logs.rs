//! Logs go to standard error, so that standard output has only what a command answers.

use std::io::{IsTerminal, stderr};

use anyhow::Result;
use tracing_subscriber::EnvFilter;

use super::exit::Unusable;

const VARIABLE: &str = "CALLGATE_LOG";

/// Starts logging. The argument counts before the variable.
pub(super) fn start(argument: Option<&str>, default: &str, json: bool) -> Result<()> {
    let variable = std::env::var(VARIABLE).ok();
    let (source, filter) = match (argument, &variable) {
        (Some(filter), _) => ("--log-level", filter),
        (None, Some(filter)) => (VARIABLE, filter.as_str()),
        (None, None) => ("", default),
    };
    let filter = EnvFilter::try_new(filter).map_err(|error| Unusable(format!("{source}: {filter:?}: {error}")))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr).with_ansi(stderr().is_terminal());
    let started = if json { logs.json().try_init() } else { logs.try_init() };
    started.map_err(|error| anyhow::anyhow!("logging can't be started: {error}"))
}
