//! `callgate explain`

use anyhow::{Result, bail};
use callgate_wire::{ErrorInfo, TABLE, lookup_name};

use super::out::say;

const EXAMPLES: &str = "\
Examples:
  callgate explain CONNECTION_ON_INVALID_PORT
  callgate explain 202";

/// How many names are offered for one that nobody knows.
const OFFERED: usize = 3;

/// Say what an error code means, which rule is behind it, and what to change
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Explain {
    /// The code's name or number, as it stands on the wire and in logs
    code: String,
}

impl Explain {
    pub(super) fn run(self) -> Result<()> {
        if let Some(lines) = indicator(&self.code.trim().to_uppercase()) {
            return Ok(lines.iter().try_for_each(|line| say!("{line}"))?);
        }
        let Some(info) = lookup_name(self.code.trim()) else {
            bail!("no code is called {:?}; the nearest are {}", self.code, nearest(&self.code).join(", "));
        };
        say!("{} ({}), rule {}", info.name(), info.number(), info.rule)?;
        say!("What: {}", info.text)?;
        say!("Mend: {}", info.mend)?;
        Ok(())
    }
}

/// The indicators of a stream that are no errors, and the one that has reasons.
fn indicator(name: &str) -> Option<Vec<String>> {
    const REASONS: &str = "KEYS_UNAVAILABLE";
    match name.strip_prefix("INDICATOR_").unwrap_or(name) {
        "KEYS_AVAILABLE" => {
            Some(vec!["KEYS_AVAILABLE (R17): the stream is SRTP, and the event holds its keys.".into()])
        }
        "NOT_ENCRYPTED" => Some(vec!["NOT_ENCRYPTED (R17): the stream is not SRTP, so there are no keys.".into()]),
        REASONS => {
            let reasons = TABLE.iter().filter(|info| info.name().starts_with(REASONS));
            let lines = reasons.map(|info| format!("{} ({}): {}", info.name(), info.number(), info.text));
            Some(std::iter::once(format!("{REASONS} (R17) has one of these reasons:")).chain(lines).collect())
        }
        _ => None,
    }
}

fn nearest(code: &str) -> Vec<String> {
    let folded = code.to_uppercase();
    let mut infos: Vec<(f64, &ErrorInfo)> = TABLE.iter().map(|info| (likeness(&folded, info), info)).collect();
    infos.sort_by(|a, b| b.0.total_cmp(&a.0));
    infos.iter().take(OFFERED).map(|(_, info)| format!("{} ({})", info.name(), info.number())).collect()
}

/// Numbers are near by their difference, names by their letters.
fn likeness(code: &str, info: &ErrorInfo) -> f64 {
    match code.parse::<i32>() {
        Ok(number) => -f64::from(number.abs_diff(info.number())),
        Err(_) if info.name().contains(code) => 2.0,
        Err(_) => strsim::jaro_winkler(code, info.name()),
    }
}
