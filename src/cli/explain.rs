//! `callgate explain`

mod access;

use anyhow::{Result, bail};
use callgate::model::InstanceId;
use callgate_wire::{ErrorInfo, TABLE, lookup_name};
use serde::Serialize;

use super::{
    admin::{Gateway, json},
    door_name::DoorName,
    out::say,
};

const EXAMPLES: &str = "\
Examples:
  callgate explain CONNECTION_ON_INVALID_PORT          # a code: what it means, and what to change
  callgate explain 202 --json
  callgate explain --user recorder                     # on which doors its apps open, and whether they get keys
  callgate explain --user recorder --device 1001       # every rule for this user and device, and what it decides
  callgate explain --user recorder --device 1001 --door tls --json

With a user it asks the gateway that runs, which goes by what counts now; where none runs, its config and its store.

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
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// The device: its name, or the address of one that isn't configured [default: what holds for each that the user sees]
    #[arg(long, value_name = "NAME", requires = "user")]
    device: Option<String>,

    /// The instance whose certificate is looked for
    #[arg(long, value_name = "ID", default_value = "1", requires = "user")]
    instance: InstanceId,

    /// Only this door [default: both]
    #[arg(long, value_name = "DOOR", requires = "user")]
    door: Option<DoorName>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    gateway: Gateway,
}

impl Explain {
    pub(super) fn run(self) -> Result<()> {
        match (&self.code, &self.user, &self.device) {
            (Some(code), ..) => explain_code(code, self.json),
            (None, Some(user), device) => access::explain(&self, user, device.as_deref()),
            _ => bail!("a code or a user is needed"),
        }
    }
}

/// What a code or an indicator means.
#[derive(Serialize)]
struct Meaning {
    code: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<i32>,
    rule: &'static str,
    what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    mend: Option<&'static str>,
    /// Codes that it comes with, of which each says why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<Self>,
}

fn explain_code(code: &str, is_json: bool) -> Result<()> {
    if let Some(indicator) = indicator(&code.trim().to_uppercase()) {
        return if is_json { json(&indicator) } else { tell_indicator(&indicator) };
    }
    if is_rule(code.trim()) {
        bail!("{code} is a rule, and not a code: docs/RULES.md in the sources has it, and what enforces it");
    }
    let Some(info) = lookup_name(code.trim()) else {
        bail!("no code is called {code:?}; the nearest are {}", nearest(code).join(", "));
    };
    if is_json {
        return json(&Meaning::of(info));
    }
    say!("{} ({}), rule {}", info.name(), info.number(), info.rule)?;
    say!("What: {}", info.text)?;
    say!("Mend: {}", info.mend)?;
    Ok(())
}

fn tell_indicator(Meaning { code, rule, what, reasons, .. }: &Meaning) -> Result<()> {
    if reasons.is_empty() {
        return Ok(say!("{code} ({rule}): {what}")?);
    }
    say!("{code} ({rule}) {what}:")?;
    for Meaning { code, number, what, .. } in reasons {
        say!("{code} ({}): {what}", number.unwrap_or_default())?;
    }
    Ok(())
}

/// Whether it is written like a rule: R16, R41a.
fn is_rule(code: &str) -> bool {
    let number = code.strip_prefix(['R', 'r']).map(|rest| rest.trim_end_matches(['a', 'b']));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// The indicators of a stream that are no errors, and the one that has reasons.
fn indicator(name: &str) -> Option<Meaning> {
    const REASONS: &str = "KEYS_UNAVAILABLE";
    let name = name.strip_prefix("INDICATOR_").unwrap_or(name);
    let (what, reasons) = match name {
        "KEYS_AVAILABLE" => ("the stream is SRTP, and the event holds its keys.", Vec::new()),
        "NOT_ENCRYPTED" => ("the stream is not SRTP, so there are no keys.", Vec::new()),
        REASONS => {
            let reasons = TABLE.iter().filter(|info| info.name().starts_with(REASONS));
            ("has one of these reasons", reasons.map(Meaning::of).collect())
        }
        _ => return None,
    };
    Some(Meaning { code: name.into(), number: None, rule: "R17", what, mend: None, reasons })
}

impl Meaning {
    fn of(info: &ErrorInfo) -> Self {
        Self {
            code: info.name().into(),
            number: Some(info.number()),
            rule: info.rule,
            what: info.text,
            mend: Some(info.mend),
            reasons: Vec::new(),
        }
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
