//! `callgate serve`

use std::path::PathBuf;

use anyhow::{Result, bail};
use callgate::{
    config::Config,
    gateway::{Gateway, connector},
};

use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use super::{check, config_file, process, runtime};

const EXAMPLES: &str = "\
Examples:
  callgate serve                                       # to try it out
  callgate serve --config callgate/callgate.toml
  callgate serve --config callgate/callgate.toml --check
  CALLGATE_DOORS__CLEAR=closed callgate serve --config callgate/callgate.toml --check

Without --config it takes callgate/callgate.toml. If there is no folder of that name, it makes one for trying out: with a
simulated switch, and with the certificates of two apps.

A variable CALLGATE_KEY or CALLGATE_SECTION__KEY overrides one setting of the file.";

/// Run the gateway
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    /// The config file [default: callgate/callgate.toml, which is made for trying out if need be]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the config and all files that it names, and open no door
    #[arg(long)]
    check: bool,
}

impl Serve {
    pub(super) fn run(self) -> Result<()> {
        let path = config_file::choose(self.config, self.check)?;
        let config = Config::load(&path)?;
        if self.check {
            return check::check(&config, &path);
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
