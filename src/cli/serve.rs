//! `callgate serve`

use std::path::PathBuf;

use anyhow::{Result, bail};
use callgate::{
    config::Config,
    gateway::{Gateway, connector},
};

use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use super::{check, process, runtime};

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
            return check::check(&config, &self.config);
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
