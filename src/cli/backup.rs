//! `callgate backup`

use std::path::PathBuf;

use anyhow::{Context, Result};
use callgate::{
    config::Config,
    store::{self, BackedUp, Epoch, Options, Version},
};
use serde::Serialize;

use super::{
    exit::Unusable,
    out::{counted, say},
    restore::Failed,
};

const EXAMPLES: &str = "\
Examples:
  callgate backup callgate.backup
  callgate backup --config /etc/callgate/callgate.toml --json \"/var/backups/callgate-$(date +%F)\"

The file has all that the store has: users, groups, devices, certificates, and the accounts of administrators with the
hashes of their passwords. It is for its owner only (0600). It has no private key, no config and no record of the log:
copy the folder with ca.key, gateway.key and the config, too.

Exit codes: 0 it is there, and on the disk; 1 it could not be made; 2 there is no store, or it can't be read.";

/// Write all that the store holds into one file, while no gateway runs by it
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
        let store = Config::load(&self.config)?.store.file;
        if !self.force && self.file.symlink_metadata().is_ok() {
            let problem = format!("{} is there already: --force replaces it", self.file.display());
            return Err(Unusable(problem).into());
        }
        let made = store::backup(&store, &self.file, &Options::default());
        let made = made.map_err(Failed::from).context("no backup was made")?;
        let BackedUp { entries, bytes, epoch: Epoch(epoch), version: Version(version) } = made;
        let file = &self.file;
        if self.json {
            say!("{}", serde_json::to_string(&Told { file, entries, bytes, epoch, version })?)?;
        } else {
            say!("{}: {}, {bytes} bytes", file.display(), counted(usize::try_from(entries)?, "entry", "entries"))?;
        }
        Ok(())
    }
}
