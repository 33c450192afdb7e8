//! `callgate explain --user U --device D`: by the files of a gateway.

use anyhow::{Context, Result};
use callgate::{
    admin::explain::{Basis, ChangedIn, Explanation, Question, Said, Unexplained, explain as explained},
    config::Config,
    model::Door,
    trust::{ClientCrls, Ledger},
};
use serde::Serialize;
use time::OffsetDateTime;

use super::{DoorName, Explain};
use crate::cli::{exit::Unusable, out::say};

/// All that is said.
#[derive(Serialize)]
struct ByFiles {
    #[serde(flatten)]
    explanation: Explanation,
    config: String,
}

pub(super) fn explain(arguments: &Explain, user: &str, device: &str) -> Result<()> {
    if !arguments.config.try_exists().unwrap_or(true) {
        let problem = format!("{}: there is no such file", arguments.config.display());
        return Err(Unusable(problem)).context("run `callgate init` first, or name the gateway's config with --config");
    }
    let config = Config::load(&arguments.config)?;
    // Without a TLS door its files need not be there.
    let crls = ClientCrls::of_files(&config.tls).unwrap_or_default();
    let ledger = Ledger::open(&config.tls.ledger).map(|ledger| ledger.current());
    let basis = Basis { config: &config, ledger, crls: &crls, changed_in: ChangedIn::Files };
    let door = arguments.door.map(|door| match door {
        DoorName::Tls => Door::Tls,
        DoorName::Clear => Door::Clear,
    });
    let question = Question { user, instance: &arguments.instance, device, door, now: OffsetDateTime::now_utc() };
    let explanation = explained(&basis, &question).map_err(|error| Unusable(words(&error, user)))?;
    let by_files = ByFiles { explanation, config: arguments.config.display().to_string() };
    if arguments.json {
        say!("{}", serde_json::to_string(&by_files)?)?;
        return Ok(());
    }
    tell(&by_files)
}

/// With what to type next.
fn words(error: &Unexplained, user: &str) -> String {
    match error {
        Unexplained::User { name, known } if known.is_empty() => {
            format!("the config has no user {name:?}; it has no user at all: add a [[user]] to it")
        }
        Unexplained::Device { name, known } if known.is_empty() => {
            format!("the config has no device {name:?}; it has no device at all: add a [[device]] to it")
        }
        Unexplained::User { .. } | Unexplained::Device { .. } => {
            error.to_string().replacen("there is no", "the config has no", 1)
        }
        Unexplained::Named { address, name } => format!(
            "{address} is an address of the device {name:?}, and apps see it by that name: callgate explain --user {user} \
             --device {name}"
        ),
        Unexplained::Port { one, other } => format!(
            "a device that isn't configured is called by its address with the port, such as --device {one}, or --device {other}"
        ),
        Unexplained::Pbx { .. } => error.to_string(),
    }
}

fn tell(ByFiles { explanation, config }: &ByFiles) -> Result<()> {
    let Explanation { user, kind, instance, device, .. } = explanation;
    say!("{user}, an {kind} user (R6), instance {instance}, and the device {device}, by {config}")?;
    for door in &explanation.doors {
        let door_name = if door.door == "tls" { "TLS" } else { "clear" };
        say!("\nOn the {door_name} door")?;
        tell_checks(&door.opening)?;
        match (door.opens, &door.code) {
            (true, _) => say!("  -> a session opens")?,
            (false, Some(code)) => say!("  -> no session opens: {code}")?,
            (false, None) => say!("  -> no session opens")?,
        }
        if !door.opens {
            continue;
        }
        tell_checks(&door.disclosing)?;
        for stream in &door.streams {
            let told = match (&stream.indicator, &stream.reason) {
                (Some(indicator), Some(reason)) => format!("{indicator}/{reason}"),
                (Some(indicator), None) => indicator.clone(),
                (None, _) => "no event at all".into(),
            };
            say!("  -> {:<34} {told} ({})", stream.stream, stream.rule)?;
        }
    }
    for note in &explanation.notes {
        say!("\nNote: {note}")?;
    }
    say!("\nAnswer: {}", explanation.answer)?;
    Ok(())
}

fn tell_checks(checks: &[Said]) -> Result<()> {
    for said in checks {
        say!("  {:4} {:4} {}", if said.holds { "yes" } else { "NO" }, said.rule, said.saw)?;
        if let Some(mend) = &said.mend {
            say!("            mend: {mend}")?;
        }
    }
    Ok(())
}
