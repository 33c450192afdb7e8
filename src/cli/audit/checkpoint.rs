//! `callgate audit checkpoint`

use std::path::PathBuf;

use anyhow::Result;
use callgate::{
    audit::{Checkpoint, Lines, Says},
    config::Config,
};

use super::{Log, key, unreadable};
use crate::cli::{exit::Unusable, out::say};

const EXAMPLES: &str = "\
Examples:
  callgate audit checkpoint >> /mnt/elsewhere/callgate-checkpoints.jsonl
  callgate audit verify --checkpoint /mnt/elsewhere/callgate-checkpoints.jsonl

Keep it where nobody who can write on this machine can write: then nobody can cut off or write anew what was before it.

Exit codes: 0 done; 2 there is none yet, or a file can't be read.";

/// Print the newest checkpoint, one signed line that proves how the log stood
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Export {
    #[command(flatten)]
    log: Log,

    /// The file of the gateway's checkpoints [default: the config's]
    #[arg(long, value_name = "FILE")]
    checkpoints: Option<PathBuf>,

    /// The log's key [default: the config's]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

impl Export {
    pub(super) fn run(self) -> Result<()> {
        let key = key(self.key, &self.log)?;
        let path = match self.checkpoints {
            Some(path) => path,
            None => Config::load(&self.log.config)?.audit.checkpoints,
        };
        let mut newest: Option<(Checkpoint, String)> = None;
        let mut lines = Lines::open(&path).map_err(|error| unreadable(&path, &error))?;
        while let Some(line) = lines.next().map_err(|error| unreadable(&path, &error))? {
            if let Ok(checkpoint) = Checkpoint::read(&key, line.bytes)
                && checkpoint.says == Says::Whole
                && newest.as_ref().is_none_or(|(newest, _)| newest.head.n <= checkpoint.head.n)
            {
                newest = Some((checkpoint, String::from_utf8_lossy(line.bytes).into_owned()));
            }
        }
        let Some((_, line)) = newest else {
            let problem =
                format!("{}: there is no checkpoint of this log yet: one is made within a minute", path.display());
            return Err(Unusable(problem).into());
        };
        Ok(say!("{line}")?)
    }
}
