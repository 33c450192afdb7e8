//! Logs go to standard error, so that standard output has only what a command answers.

use std::io::{IsTerminal, stderr};

use anyhow::Result;
use tracing_subscriber::EnvFilter;

use super::{exit::Unusable, log_filter};
use callgate::cti::{LogFields, LogWriter};

const VARIABLE: &str = "CALLGATE_LOG";

/// What is logged of a command.
#[derive(Clone, Copy)]
pub(super) struct Levels {
    /// Unless somebody says otherwise.
    pub(super) default: &'static str,
    /// Whatever somebody says.
    pub(super) always: Option<&'static str>,
}

/// Starts logging. The argument counts before the variable.
pub(super) fn start(argument: Option<&str>, levels: Levels, json: bool) -> Result<()> {
    // One that is set and empty is as good as none.
    let variable = std::env::var(VARIABLE).ok().filter(|filter| !filter.trim().is_empty());
    let (source, filter) = match (argument, &variable) {
        (Some(filter), _) => ("--log-level", filter),
        (None, Some(filter)) => (VARIABLE, filter.as_str()),
        (None, None) => ("", levels.default),
    };
    log_filter::check(filter).map_err(|wrong| Unusable(format!("{source}: {wrong}")))?;
    let mut directives =
        EnvFilter::try_new(filter).map_err(|error| Unusable(format!("{source}: {filter:?}: {error}")))?;
    if let Some(always) = levels.always {
        directives = directives.add_directive(always.parse()?);
    }
    let logs = tracing_subscriber::fmt()
        .with_env_filter(directives)
        .with_writer(LogWriter)
        .fmt_fields(LogFields)
        .with_ansi(stderr().is_terminal());
    let started = if json { logs.json().try_init() } else { logs.try_init() };
    started.map_err(|error| anyhow::anyhow!("logging can't be started: {error}"))
}
