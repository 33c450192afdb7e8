//! `callgate audit find`

use anyhow::Result;
use callgate::audit::{Came, Entry, Finder, Found, Query, Records, beginning};

use super::{Log, unreadable};
use crate::cli::{
    exit::Unusable,
    out::{remark, say},
};

const EXAMPLES: &str = "\
Examples:
  callgate audit find --call c660ea429d7e10
  callgate audit find --user recorder --from 2026-11-29 --to 2026-11-30
  callgate audit find --device 1001 --all --json

Who has a key is who it was disclosed to, without those for whom it was withheld after that. Times are in UTC, as
2026-11-29, 2026-11-29T10 or 2026-11-29T10:44:35; what is given of --to counts as a whole.

It doesn't ask whether the records are right: `callgate audit verify` does.

Exit codes: 0 done, also if there is nothing; 2 wrong arguments, or there is no log, or it can't be read.";

/// Show who got which key
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(group = clap::ArgGroup::new("asked").required(true).multiple(true))]
pub(in crate::cli) struct Find {
    /// The call, as events and records name it
    #[arg(long, value_name = "ID", group = "asked")]
    call: Option<String>,

    /// The user
    #[arg(long, value_name = "NAME", group = "asked")]
    user: Option<String>,

    /// The device
    #[arg(long, value_name = "NAME", group = "asked")]
    device: Option<String>,

    /// The session
    #[arg(long, value_name = "ID", group = "asked")]
    session: Option<String>,

    /// The user's instance
    #[arg(long, value_name = "ID", group = "asked")]
    instance: Option<String>,

    /// Not before this time
    #[arg(long, value_name = "TIME", group = "asked", value_parser = beginning)]
    from: Option<String>,

    /// Not after this time
    #[arg(long, value_name = "TIME", group = "asked", value_parser = beginning)]
    to: Option<String>,

    /// Also keys that were refused, or withheld after all
    #[arg(long)]
    all: bool,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    log: Log,
}

impl Find {
    pub(super) fn run(self) -> Result<()> {
        let Self { call, user, device, session, instance, from, to, all, json, log } = self;
        let folder = log.segments()?;
        let failed = |error| -> Unusable { unreadable(&folder, &error) };
        let mut finder = Finder::new(Query { call, user, device, session, instance, from, to });
        let mut records = Records::of(&folder);
        while let Some(line) = records.next().map_err(failed)? {
            if let Some(entry) = Entry::read(line) {
                finder.record(&entry);
            }
        }
        if records.unreadable() > 0 {
            let lines = records.unreadable();
            remark!("warning: lines that can't be read: {lines}; `callgate audit verify` says which");
        }
        for (kind, name) in finder.unnamed() {
            remark!("warning: no record of a session or a key has the {kind} {name:?}: is it right?");
        }
        let mut found = finder.finish();
        found.retain(|found| all || found.outcome == Came::Disclosed);
        if json {
            for found in &found {
                say!("{}", serde_json::to_string(found)?)?;
            }
        } else if found.is_empty() {
            say!("nobody got such a key")?;
        } else {
            table(&found)?;
        }
        Ok(())
    }
}

const COLUMNS: [&str; 8] = ["TIME", "USER/INSTANCE", "SESSION", "DEVICE", "CALL", "STREAM", "KEY", "OUTCOME"];

fn table(found: &[Found]) -> Result<()> {
    let rows: Vec<_> = found.iter().map(row).collect();
    let mut widths = COLUMNS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String; 8]| {
        let cells: Vec<_> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    say!("{}", line(&COLUMNS.map(str::to_owned)))?;
    for row in &rows {
        say!("{}", line(row))?;
    }
    Ok(())
}

fn row(found: &Found) -> [String; 8] {
    let outcome = match found.outcome {
        Came::Disclosed => "disclosed".into(),
        Came::Refused => why("refused", found),
        Came::TakenBack => why("taken back", found),
        Came::Withheld => why("withheld", found),
    };
    let owner = format!("{}/{}", found.user, found.instance);
    let key = format!("{} {}", found.generation, found.fingerprint);
    [&found.time, &owner, &found.session, &found.device, &found.call, &found.stream, &key, &outcome]
        // What a name has must not steer a terminal.
        .map(|text| text.escape_debug().to_string())
}

fn why(outcome: &str, Found { indicator, reason, rule, .. }: &Found) -> String {
    let words = [outcome, indicator, reason, rule];
    words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
