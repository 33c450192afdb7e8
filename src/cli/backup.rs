//! `callgate backup`

use std::path::PathBuf;

use anyhow::{Context, Result};
use callgate::{
    client::admin::{Admin, Path},
    config::Config,
    store::{self, BackedUp, Epoch, Incoming, Options, Version},
};
use serde::Serialize;

use super::{
    exit::Unusable,
    out::{counted, say},
    restore::Failed,
    runtime,
};

const EXAMPLES: &str = "\
Examples:
  callgate backup callgate.backup
  callgate backup --config /etc/callgate/callgate.toml --json \"/var/backups/callgate-$(date +%F)\"

A gateway that runs makes it as of one moment, and goes on; it is on record. Where none runs the store is read.

The file has all that the store has: users, groups, devices, certificates, and the accounts of administrators with the
hashes of their passwords. It is for its owner only (0600). It has no private key, no config and no record of the log:
copy the folder with ca.key, gateway.key and the config, too.

Exit codes: 0 it is there, and on the disk; 1 it could not be made; 2 there is no store, or it can't be read.";

/// Write all that the store holds into one file, whether or not a gateway runs by it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Backup {
    /// Where the backup goes
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The gateway's config, which names the store
    #[arg(long, value_name = "FILE", default_value = "callgate/callgate.toml")]
    config: PathBuf,

    /// Replace a file that is there
    #[arg(long)]
    force: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told<'a> {
    file: &'a PathBuf,
    entries: u64,
    bytes: u64,
    epoch: u64,
    version: u64,
}

impl Backup {
    pub(super) fn run(self) -> Result<()> {
        let config = Config::load(&self.config)?;
        if !self.force && self.file.symlink_metadata().is_ok() {
            let problem = format!("{} is there already: --force replaces it", self.file.display());
            return Err(Unusable(problem).into());
        }
        let made = self.make(&config).context("no backup was made")?;
        let BackedUp { entries, bytes, epoch: Epoch(epoch), version: Version(version) } = made;
        let file = &self.file;
        if self.json {
            say!("{}", serde_json::to_string(&Told { file, entries, bytes, epoch, version })?)?;
        } else {
            say!("{}: {}, {bytes} bytes", file.display(), counted(entries, "entry", "entries"))?;
        }
        Ok(())
    }

    fn make(&self, config: &Config) -> Result<BackedUp> {
        let sent = runtime()?.block_on(async {
            let Some(mut gateway) = Admin::running(config).await? else { return Ok(None) };
            let mut incoming = Incoming::new(&self.file).map_err(Failed::from)?;
            gateway.download(&Path::of(&["backup"]), &mut incoming).await?;
            anyhow::Ok(Some(incoming))
        })?;
        let made = match sent {
            Some(incoming) => incoming.finish(),
            None => store::backup(&config.store.file, &self.file, &Options::default()),
        };
        Ok(made.map_err(Failed::from)?)
    }
}
