//! `callgate audit`: reads the audit log's files, whether a gateway is writing them or not.

mod checkpoint;
mod find;
mod tail;
mod verify;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::Result;
use callgate::{
    audit::{AuditKey, Checkpoint, Says, Signed, checkpoints, number_of},
    config::Config,
};

use super::{exit::Unusable, out::remark};

/// Verify, follow and search the audit log
#[derive(clap::Subcommand)]
pub(super) enum Audit {
    Verify(verify::Verify),
    Tail(tail::Tail),
    Find(find::Find),
    Checkpoint(checkpoint::Export),
}

impl Audit {
    pub(super) fn run(self) -> Result<()> {
        match self {
            Self::Verify(command) => command.run(),
            Self::Tail(command) => command.run(),
            Self::Find(command) => command.run(),
            Self::Checkpoint(command) => command.run(),
        }
    }
}

/// Which log it is.
#[derive(clap::Args)]
struct Log {
    /// The gateway's config, which names the log's files
    #[arg(long, value_name = "FILE", default_value = "callgate/callgate.toml")]
    config: PathBuf,

    /// The folder of the log's segments, such as that of a copy [default: the config's]
    #[arg(long, value_name = "DIR")]
    log: Option<PathBuf>,
}

impl Log {
    fn folder(&self) -> Result<PathBuf> {
        match &self.log {
            Some(folder) => Ok(folder.clone()),
            None => Ok(Config::load(&self.config)?.audit.folder),
        }
    }

    /// The folder, if there is a log in it: where none is, that nothing is found there says nothing.
    fn segments(&self) -> Result<PathBuf> {
        let folder = self.folder()?;
        if has_segments(&folder).map_err(|error| unreadable(&folder, &error))? {
            return Ok(folder);
        }
        Err(no_log(&folder, "").into())
    }
}

/// There is no segment in this folder.
fn no_log(folder: &Path, signed: &str) -> Unusable {
    let inside = folder.join("audit");
    let place = match has_segments(&inside) {
        Ok(true) => format!("which is {}", inside.display()),
        _ => format!("such as {}", inside.display()),
    };
    let folder = folder.display();
    Unusable(format!(
        "{folder}: there is no audit log here (no segments{signed}): name the folder of its segments with --log, {place}"
    ))
}

fn has_segments(folder: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(folder)? {
        if entry?.file_name().to_str().and_then(number_of).is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What of a log that isn't there was signed, for the words that it isn't there.
fn signed_of_it(checkpoints: &[Checkpoint]) -> String {
    let whole = checkpoints.iter().filter(|checkpoint| checkpoint.says == Says::Whole);
    match whole.map(|checkpoint| checkpoint.head.n).max() {
        Some(n) if n > 0 => format!(", and a checkpoint has signed its records up to {n}"),
        _ => String::new(),
    }
}

/// The key of the log.
fn key(told: Option<PathBuf>, log: &Log) -> Result<AuditKey> {
    let path = match told {
        Some(path) => path,
        None => Config::load(&log.config)?.audit.key,
    };
    Ok(AuditKey::read(&path)?)
}

/// The checkpoints of a file. Lines that don't count are remarked.
fn signed(path: &Path, key: &AuditKey) -> Result<Vec<Checkpoint>> {
    let Signed { checkpoints, others } = checkpoints(path, key).map_err(|error| unreadable(path, &error))?;
    for (line, why) in others {
        remark!("warning: {}:{line}: {why}", path.display());
    }
    Ok(checkpoints)
}

fn unreadable(path: &Path, error: &io::Error) -> Unusable {
    Unusable(format!("{}: {error}", path.display()))
}
