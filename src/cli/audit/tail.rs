//! `callgate audit tail`

use std::{collections::VecDeque, fmt::Write, path::Path, thread, time::Duration};

use anyhow::Result;
use callgate::audit::Records;
use serde_json::{Map, Value};

use super::{Log, unreadable};
use crate::cli::{
    exit::Unusable,
    out::{remark, say},
};

const EXAMPLES: &str = "\
Examples:
  callgate audit tail -n 50
  callgate audit tail --follow
  callgate audit tail --follow --json | jq 'select(.record == \"disclosed\")'

It shows each record once, and doesn't ask whether they are right: `callgate audit verify` does.

Exit codes: 0 done; 2 there is no log, or it can't be read.";

/// How often it is looked for new records.
const LOOK: Duration = Duration::from_millis(250);

/// Show the newest records, and follow them
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct Tail {
    #[command(flatten)]
    log: Log,

    /// How many of the newest records
    #[arg(short = 'n', long = "lines", value_name = "N", default_value_t = 10)]
    lines: usize,

    /// Go on with records that are written from now on
    #[arg(short, long)]
    follow: bool,

    /// Print the records as they stand in the log, one JSON object per line
    #[arg(long)]
    json: bool,
}

impl Tail {
    pub(super) fn run(self) -> Result<()> {
        let folder = self.log.segments()?;
        let failed = |error| -> Unusable { unreadable(&folder, &error) };
        let mut records = Records::newest(&folder, self.lines as u64).map_err(failed)?;
        let mut newest = VecDeque::new();
        while let Some(line) = records.next().map_err(failed)? {
            if newest.len() == self.lines {
                newest.pop_front();
            }
            if self.lines > 0 {
                newest.push_back(line.to_vec());
            }
        }
        for line in newest {
            self.tell(&line)?;
        }
        if self.follow {
            return self.go_on(&mut records, &folder);
        }
        match records.unreadable() {
            0 => {}
            lines => remark!("warning: lines that can't be read: {lines}; `callgate audit verify` says which"),
        }
        Ok(())
    }

    /// Shows what comes, until somebody ends it.
    fn go_on(&self, records: &mut Records, folder: &Path) -> Result<()> {
        loop {
            while let Some(line) = records.next().map_err(|error| unreadable(folder, &error))? {
                self.tell(line)?;
            }
            thread::sleep(LOOK);
        }
    }

    fn tell(&self, line: &[u8]) -> Result<()> {
        let text = String::from_utf8_lossy(line);
        match serde_json::from_str::<Map<String, Value>>(&text) {
            Ok(record) if !self.json => say!("{}", shown(&record, &text))?,
            _ => say!("{text}")?,
        }
        Ok(())
    }
}

/// Time, number, kind, and the fields in the order of the line.
fn shown(record: &Map<String, Value>, line: &str) -> String {
    let text = |name: &str| record.get(name).map(plain).unwrap_or_default();
    let mut shown = format!("{} {} {}", text("time"), text("n"), text("record"));
    let mut fields: Vec<_> =
        record.iter().filter(|(name, _)| !["n", "time", "record", "mac"].contains(&name.as_str())).collect();
    // The parser has them in another order. No value can hold a quote that isn't escaped.
    fields.sort_by_key(|(name, _)| line.find(&format!(",\"{name}\":")));
    for (name, value) in fields {
        let _ = write!(shown, " {name}={}", plain(value));
    }
    shown
}

/// A value for a terminal: what isn't a plain word stands in quotes, with everything escaped that could steer one.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text)
            if text.chars().all(|c| c.is_ascii_graphic() && !"\"'=\\".contains(c)) && !text.is_empty() =>
        {
            text.clone()
        }
        Value::String(text) => format!("\"{}\"", text.escape_debug()),
        Value::Array(values) => values.iter().map(plain).collect::<Vec<_>>().join(","),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_shown_in_its_order_and_steers_no_terminal() {
        let line = r#"{"n":7,"time":"2026-11-29T10:44:35.123456Z","record":"refused","user":"a b","cause":"\u001b[2J\u202ex","number":200,"receivers":["s1:u:1:tls","s2:u v:1:tls"],"mac":"00"}"#;
        let record = serde_json::from_str(line).unwrap();
        assert_eq!(
            shown(&record, line),
            r#"2026-11-29T10:44:35.123456Z 7 refused user="a b" cause="\u{1b}[2J\u{202e}x" number=200 receivers=s1:u:1:tls,"s2:u v:1:tls""#
        );
    }
}
