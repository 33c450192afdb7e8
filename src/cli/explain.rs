//! `callgate explain`

mod access;

use anyhow::{Result, bail};
use callgate::model::InstanceId;
use callgate_wire::{ErrorInfo, TABLE, lookup_name};
use clap::ValueEnum;

use super::{admin::Gateway, out::say};

const EXAMPLES: &str = "\
Examples:
  callgate explain CONNECTION_ON_INVALID_PORT          # a code: what it means, and what to change
  callgate explain 202
  callgate explain --user recorder --device 1001       # every rule for this user and device, and what it decides
  callgate explain --user recorder --device 1001 --door tls --json

The second form asks the gateway that runs, which goes by what counts now; where none runs, its config and its store.

Exit codes: 0 explained, whatever the answer is; 1 there is no such code, user or device; 2 what was asked, or the config, can't be
used.";

/// How many names are offered for one that nobody knows.
const OFFERED: usize = 3;

/// Say what an error code means, or why a user's app gets the keys of a device's calls or doesn't
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Explain {
    /// The code's name or number, as it stands on the wire and in logs
    #[arg(required_unless_present = "user", conflicts_with = "user")]
    code: Option<String>,

    /// The user whose app it is
    #[arg(long, value_name = "NAME", requires = "device")]
    user: Option<String>,

    /// The device: its name, or the address of one that isn't configured
    #[arg(long, value_name = "NAME", requires = "user")]
    device: Option<String>,

    /// The instance whose certificate is looked for
    #[arg(long, value_name = "ID", default_value = "1", requires = "user")]
    instance: InstanceId,

    /// Only this door [default: both]
    #[arg(long, value_name = "DOOR", requires = "user")]
    door: Option<DoorName>,

    /// Print one JSON object
    #[arg(long, requires = "user")]
    json: bool,

    #[command(flatten)]
    gateway: Gateway,
}

/// A door, as an argument.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DoorName {
    /// TCP with mutual TLS
    Tls,
    /// TCP in the clear
    Clear,
}

impl Explain {
    pub(super) fn run(self) -> Result<()> {
        match (&self.code, &self.user, &self.device) {
            (Some(code), ..) => explain_code(code),
            (None, Some(user), Some(device)) => access::explain(&self, user, device),
            _ => bail!("a code, or a user and a device, is needed"),
        }
    }
}

fn explain_code(code: &str) -> Result<()> {
    if let Some(lines) = indicator(&code.trim().to_uppercase()) {
        return Ok(lines.iter().try_for_each(|line| say!("{line}"))?);
    }
    if is_rule(code.trim()) {
        bail!("{code} is a rule, and not a code: docs/RULES.md in the sources has it, and what enforces it");
    }
    let Some(info) = lookup_name(code.trim()) else {
        bail!("no code is called {code:?}; the nearest are {}", nearest(code).join(", "));
    };
    say!("{} ({}), rule {}", info.name(), info.number(), info.rule)?;
    say!("What: {}", info.text)?;
    say!("Mend: {}", info.mend)?;
    Ok(())
}

/// Whether it is written like a rule: R16, R41a.
fn is_rule(code: &str) -> bool {
    let number = code.strip_prefix(['R', 'r']).map(|rest| rest.trim_end_matches(['a', 'b']));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
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
