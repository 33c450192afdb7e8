//! `callgate restore`

use std::path::PathBuf;

use anyhow::{Context, Result};
use callgate::{
    admin::{Actor, Restoration},
    config::Config,
    store::{self, BackupError, Bucket, Difference, Epoch, Fate, Options, Restored, StoreError},
};
use serde::Serialize;
use time::OffsetDateTime;

use super::out::{counted, say};

const EXAMPLES: &str = "\
Examples:
  callgate restore callgate.backup --check             # what would be different
  callgate restore callgate.backup

Stop the gateway first. Users, groups, devices and the accounts of administrators are those of the backup then: who was
removed since it was made is back, with the password of then. Look at what is told as back.

It forgets nothing that was taken for good: revoked certificates stay revoked, certificates that are newer than the backup
stay known, and those of users that the backup doesn't have are revoked. All sessions and tokens of before end, and the
log gets a record of it at the next start. A crash leaves the old store or the new one.

Exit codes: 0 restored, or with --check it can be; 1 it could not be; 2 the backup, the store or the config can't be used.";

/// How many names of each kind a person is told.
const SHOWN: usize = 10;

/// What a person is told of, with its name for several.
const TOLD: &[(Bucket, &str)] = &[
    (Bucket::USERS, "users"),
    (Bucket::GROUPS, "groups"),
    (Bucket::DEVICES, "devices"),
    (Bucket::CERTIFICATES, "certificates"),
    (Bucket::ACCOUNTS, "accounts"),
];

/// Put a backup in the place of the store, while no gateway runs by it
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The gateway's config, which names the store
    #[arg(long, value_name = "FILE", default_value = "callgate/callgate.toml")]
    config: PathBuf,

    /// Say what would be different, and change nothing
    #[arg(long)]
    check: bool,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told<'a> {
    restored: bool,
    backup: &'a PathBuf,
    made: &'a str,
    store: &'a PathBuf,
    entries: u64,
    epoch: u64,
    differences: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    kind: &'static str,
    name: &'a str,
    #[serde(rename = "is")]
    fate: &'static str,
}

impl Restore {
    pub(super) fn run(self) -> Result<()> {
        let store = Config::load(&self.config)?.store.file;
        let actor = Actor::Local(rustix::process::getuid().as_raw());
        let restoration = Restoration::new(&actor, OffsetDateTime::now_utc())?;
        let planned = store::Restore::plan(&self.file, &store, &Options::default(), &restoration);
        let planned = planned.map_err(Failed::from).context("nothing was restored")?;
        let (made, differences) = (planned.made().to_owned(), planned.differences().to_vec());
        let outcome = if self.check {
            planned.outcome()
        } else {
            planned.carry_out().map_err(BackupError::from).map_err(Failed::from)?
        };
        let Restored { entries, epoch: Epoch(epoch), .. } = outcome;
        if self.json {
            let differences = differences.iter().filter_map(Row::of).collect();
            let (backup, restored) = (&self.file, !self.check);
            let told = Told { restored, backup, made: &made, store: &store, entries, epoch, differences };
            say!("{}", serde_json::to_string(&told)?)?;
            return Ok(());
        }
        let entries = counted(entries, "entry", "entries");
        let verb = if self.check { "would have" } else { "has" };
        say!("{} {verb} the {entries} of the backup of {made}; it is its epoch {epoch}", store.display())?;
        for (bucket, kind) in TOLD {
            for (fate, word) in [(Fate::Back, "back"), (Fate::Gone, "gone"), (Fate::Changed, "changed")] {
                let of_kind = differences.iter().filter(|known| known.bucket == *bucket && known.fate == fate);
                let names: Vec<&str> = of_kind.map(|known| known.key.as_str()).collect();
                if !names.is_empty() {
                    say!("  {kind} {word}: {}", some(&names))?;
                }
            }
        }
        Ok(())
    }
}

impl<'a> Row<'a> {
    fn of(difference: &'a Difference) -> Option<Self> {
        let (_, kind) = TOLD.iter().find(|(bucket, _)| *bucket == difference.bucket)?;
        let fate = match difference.fate {
            Fate::Back => "back",
            Fate::Changed => "changed",
            Fate::Gone => "gone",
        };
        Some(Self { kind, name: &difference.key, fate })
    }
}

/// Why there is no backup, or no restored store, and what to do where the error doesn't say it.
#[derive(Debug, thiserror::Error)]
#[error("{_0}{}", mend(_0))]
pub(super) struct Failed(BackupError);

/// Not as its source: that would be told twice.
impl From<BackupError> for Failed {
    fn from(error: BackupError) -> Self {
        Self(error)
    }
}

impl Failed {
    /// Whether a file is to blame that somebody can mend, and not the system.
    pub(super) fn is_input(&self) -> bool {
        self.0.is_input()
    }
}

fn mend(error: &BackupError) -> &'static str {
    match error {
        BackupError::NoStore(_) => ": mend `store.file` in the config, or name another config with --config",
        BackupError::Store(StoreError::InUse(_)) => ": stop the gateway first",
        _ => "",
    }
}

fn some(names: &[&str]) -> String {
    let shown = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
