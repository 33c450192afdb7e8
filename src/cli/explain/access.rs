//! `callgate explain --user U [--device D]`: what the gateway goes by, in words.

use anyhow::Result;
use callgate::{
    admin::explain::{Explanation, Said},
    client::admin::Path,
};

use super::Explain;
use crate::cli::{door_name::DoorName, out::say};

pub(super) fn explain(arguments: &Explain, user: &str, device: Option<&str>) -> Result<()> {
    let path = Path::of(&["explain"]).with("user", user).with_any("device", device);
    let path = path.with("instance", arguments.instance.as_str()).with_any("door", arguments.door.map(DoorName::word));
    arguments.gateway.reach(async |admin| {
        let explanation: Explanation = admin.read(&path).await?.it;
        if arguments.json {
            say!("{}", serde_json::to_string(&explanation)?)?;
            return Ok(());
        }
        tell(&explanation)
    })
}

fn tell(explanation: &Explanation) -> Result<()> {
    let Explanation { user, kind, instance, device, .. } = explanation;
    match device {
        Some(device) => say!("{user}, an {kind} user (R6), instance {instance}, and the device {device}")?,
        None => say!("{user}, an {kind} user (R6), instance {instance}, and the devices that it sees")?,
    }
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
