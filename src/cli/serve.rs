//! `callgate serve`

use std::{fs::File, path::PathBuf, sync::Arc};

use anyhow::{Context, Result, bail};
use callgate::{
    config::{Config, SwitchKind},
    gateway::{Gateway, connector},
    trust::{Ledger, server_config},
};

use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use super::{exit::Unusable, out::say, process, runtime};

const EXAMPLES: &str = "\
Examples:
  callgate serve --config callgate/callgate.toml
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
    #[arg(long)]
    check: bool,
}

impl Serve {
    pub(super) fn run(self) -> Result<()> {
        let config = Config::load(&self.config)?;
        if self.check {
            return check(&config, &self.config);
        }
        process::raise_open_files(&config.limits);
        runtime()?.block_on(serve(config))
    }
}

/// Runs until the process is told to stop.
async fn serve(config: Config) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let switches = config.switches.iter().map(|switch| connector(switch, &config)).collect::<Result<Vec<_>, _>>()?;
    let mut gateway = Gateway::start(config).await?;
    for switch in switches {
        gateway.attach(switch);
    }
    let mut stopped = Box::pin(gateway.stopped());
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = &mut stopped => {
                gateway.stop().await;
                bail!("a part of the gateway has failed: its log says which");
            }
            // A switch that has come to its end leaves the others, and the sessions, as they are.
            Some((switch, ended)) = gateway.switch_ended() => match ended {
                Ok(()) => info!(%switch, "the switch has nothing more to report"),
                Err(error) => error!(%switch, %error, "the switch can't go on"),
            },
        }
    }
    info!("stopping");
    gateway.stop().await;
    Ok(())
}

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
    say!(
        "ok {}: {} users, {} devices, {} switches; clear door {}, TLS door {}",
        path.display(),
        config.directory.users().count(),
        config.directory.devices().count(),
        config.switches.len(),
        door(config.doors.clear),
        door(config.doors.tls),
    )?;
    Ok(())
}

fn door(address: Option<std::net::SocketAddr>) -> String {
    address.map_or_else(|| "closed".into(), |address| address.to_string())
}
