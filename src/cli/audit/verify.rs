//! `callgate audit verify`

use std::path::PathBuf;

use anyhow::{Result, bail};
use callgate::{
    audit::{self, Finding, Report},
    config::Config,
};
use serde::Serialize;

use super::{Log, has_segments, key, no_log, signed, signed_of_it, unreadable};
use crate::cli::out::{counted, remark, say};

const EXAMPLES: &str = "\
Examples:
  callgate audit verify
  callgate audit verify --config /etc/callgate/callgate.toml --checkpoint /mnt/elsewhere/callgate-checkpoints.jsonl
  callgate audit verify --log copy/audit --key copy/audit.key --checkpoint copy/audit-checkpoints.jsonl --json

It finds records that were changed, removed, moved or put in, and with a checkpoint also an end that was cut off. It can't
find that the end was cut off behind the newest checkpoint that you have. docs/AUDIT.md says more.

Exit codes: 0 the log is as it was written; 1 it isn't: what was found is printed; 2 there is no log, or it
or the key can't be read.";

/// Verify that the log is as it was written
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Verify {
    #[command(flatten)]
    log: Log,

    /// The log's key [default: the config's]
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// A file with checkpoints, such as exported ones; may be given several times, and besides the config's unless --log
    /// is given
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told {
    sound: bool,
    segments: u64,
    records: u64,
    first: u64,
    last: u64,
    head: String,
    repeated: u64,
    left_behind: u64,
    unfinished: bool,
    signed: Option<u64>,
    found: u64,
    findings: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<u64>,
    text: String,
}

impl Verify {
    pub(super) fn run(self) -> Result<()> {
        let folder = self.log.folder()?;
        let key = key(self.key, &self.log)?;
        let mut files = self.checkpoint;
        if self.log.log.is_none() {
            // There is none before the first one is made.
            files.extend(Some(Config::load(&self.log.config)?.audit.checkpoints).filter(|path| path.exists()));
        }
        let mut checkpoints = Vec::new();
        for file in &files {
            checkpoints.extend(signed(file, &key)?);
        }
        // Without --log a log that was signed and is gone is what is looked for.
        let signed = signed_of_it(&checkpoints);
        let is_meant = self.log.log.is_none() && !signed.is_empty();
        if !is_meant && !has_segments(&folder).map_err(|error| unreadable(&folder, &error))? {
            return Err(no_log(&folder, &signed).into());
        }
        let report = audit::verify(&folder, &key, &checkpoints).map_err(|error| unreadable(&folder, &error))?;
        if self.json {
            say!("{}", serde_json::to_string(&told(&report))?)?;
        } else {
            tell(&report)?;
        }
        match report.found {
            0 => Ok(()),
            found => {
                bail!("the log isn't as it was written: {}", counted(found, "finding", "findings"))
            }
        }
    }
}

fn tell(report: &Report) -> Result<()> {
    for finding in &report.findings {
        say!("{finding}")?;
    }
    let records = counted(report.records, "record", "records");
    let segments = counted(report.segments, "segment", "segments");
    let first = report.after.map_or(0, |after| after.n) + 1;
    say!("{records} in {segments}, from {first} to {}", report.last.n)?;
    match report.checkpoint {
        Some(checkpoint) => say!("signed up to record {} at {}", checkpoint.head.n, checkpoint.when())?,
        None => remark!("warning: no checkpoint covers it, so an end that was cut off can't be found"),
    }
    if report.repeated > 0 {
        say!("{} stand in two segments: it wasn't known whether the first was on the disk", report.repeated)?;
    }
    if report.left_behind > 0 {
        let lines = counted(report.left_behind, "line was", "lines were");
        say!("{lines} left behind by a write that failed: nothing was given by them")?;
    }
    if report.is_unfinished {
        say!("the last line has no end yet")?;
    }
    Ok(())
}

fn told(report: &Report) -> Told {
    Told {
        sound: report.found == 0,
        segments: report.segments,
        records: report.records,
        first: report.after.map_or(0, |after| after.n) + 1,
        last: report.last.n,
        head: report.last.mac.to_string(),
        repeated: report.repeated,
        left_behind: report.left_behind,
        unfinished: report.is_unfinished,
        signed: report.checkpoint.map(|checkpoint| checkpoint.head.n),
        found: report.found,
        findings: report.findings.iter().map(row).collect(),
    }
}

fn row(finding: &Finding) -> Row {
    let place = finding.place();
    Row {
        file: place.map(|place| place.file.clone()),
        line: place.map(|place| place.line),
        record: finding.record(),
        text: finding.to_string(),
    }
}
