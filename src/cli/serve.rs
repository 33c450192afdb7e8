//! `callgate serve`

use std::{fs::File, path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use callgate::{
    config::{Config, SwitchKind},
    trust::{Ledger, server_config},
};

use super::exit::Unusable;

const EXAMPLES: &str = "\
Examples:
  callgate serve --config callgate/callgate.toml --check
  CALLGATE_DOORS__CLEAR=closed callgate serve --config callgate/callgate.toml --check

A variable CALLGATE_KEY or CALLGATE_SECTION__KEY overrides one setting of the file.";

/// Run the gateway
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    /// The config file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Check the config and all files that it names, and open no door
    #[arg(long, required = true)]
    check: bool,
}

impl Serve {
    pub(super) fn run(self) -> Result<()> {
        let config = Config::load(&self.config)?;
        // MERGE: without `--check` (then no longer `required`) this calls `callgate::gateway::serve(config)`.
        debug_assert!(self.check, "clap requires it");
        check(&config, &self.config)
    }
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn check(config: &Config, path: &std::path::Path) -> Result<()> {
    // Looked at also where the TLS door is closed: it is meant to be opened some day, but may have no files yet.
    if config.doors.tls.is_some() {
        let ledger = Ledger::open(&config.tls.ledger)?;
        server_config(&config.tls, Arc::new(ledger))?;
    }
    for switch in &config.switches {
        if let SwitchKind::Replay { capture, .. } = &switch.kind {
            File::open(capture)
                .and_then(|file| file.metadata())
                .and_then(|metadata| match metadata.is_file() {
                    true => Ok(()),
                    false => Err(std::io::ErrorKind::InvalidInput.into()),
                })
                .map_err(|error| Unusable(format!("{}: can't be read: {error}", capture.display())))
                .with_context(|| format!("switch {}", switch.name))?;
        }
    }
    println!(
        "ok {}: {} users, {} devices, {} switches; clear door {}, TLS door {}",
        path.display(),
        config.directory.users().count(),
        config.directory.devices().count(),
        config.switches.len(),
        door(config.doors.clear),
        door(config.doors.tls),
    );
    Ok(())
}

fn door(address: Option<std::net::SocketAddr>) -> String {
    address.map_or_else(|| "closed".into(), |address| address.to_string())
}
