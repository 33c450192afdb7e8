//! `callgate demo`

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Result, bail};
use callgate::{
    client::demo::{Options, Shown, Voice, demo},
    switch::replay::Speed,
};
use serde_json::json;
use tokio::sync::mpsc;

use super::{
    exit::Unusable,
    out::{Unwritten, counted, say},
    stop,
};

const EXAMPLES: &str = "\
Examples:
  callgate demo                       # about 3 seconds
  callgate demo --speed 1             # as fast as the call was
  callgate demo --json --out voices   # one JSON object for scripts

Exit codes: 0 all was proven, 1 something was not, 2 wrong arguments, or the folder of --out is not empty.";

/// Show the main job on a recorded real call: keys to the app that may have them, and to no other
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Demo {
    /// The folder for the WAV files, new or empty [default: a new one among the temporary files]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// How many times as fast as it happened the call is played
    #[arg(long, value_name = "N", default_value_t = 4.0)]
    speed: f64,

    /// Print one JSON object on standard output, and nothing else
    #[arg(long)]
    json: bool,
}

impl Demo {
    pub(super) fn run(self) -> Result<()> {
        let speed = Speed::times(self.speed).map_err(|error| Unusable(error.to_string()))?;
        // A folder of the demo's own stays only if the demo comes to its end.
        let own = match &self.out {
            Some(_) => None,
            None => {
                let mut own = tempfile::Builder::new();
                Some(own.prefix("callgate-demo-").permissions(Permissions::from_mode(0o700)).tempdir()?)
            }
        };
        let folder = self.out.or_else(|| Some(own.as_ref()?.path().into())).unwrap_or_default();
        let (json, voices) = (self.json, folder.clone());
        let (unwritten, unheard) = mpsc::channel(1);
        let tell = move |step: &str| {
            if !json && let Err(error) = say!("{step}") {
                // One is enough to end it.
                let _ = unwritten.try_send(error);
            }
        };
        let work = async { Ok(demo(Options { folder: voices, speed }, Arc::new(tell)).await?) };
        let shown = stop::run(work, unheard)?;
        if let Some(own) = own {
            let _ = own.keep();
        }
        if json {
            print_json(&shown)?;
        } else {
            print(&shown, &folder)?;
        }
        if !shown.is_proven() {
            bail!("the demo did not prove what it should");
        }
        Ok(())
    }
}

fn print(shown: &Shown, folder: &Path) -> Result<(), Unwritten> {
    say!("\nWhat recorder heard:\n{}", shown.heard.report)?;
    for voice in &shown.heard.voices {
        match voice {
            Voice::Written { path, seconds } => say!("voice: {} ({seconds} s)", path.display())?,
            Voice::None(why) => say!("no voice: {why}")?,
        }
    }
    say!("")?;
    for other in &shown.others {
        let (user, door, events) = (other.user, other.door, other.events);
        let (events, keys) = (counted(events, "event", "events"), counted(other.keys, "key", "keys"));
        say!("{user} ({door} door): {events}, {keys}, {}", other.indicators.join(" "))?;
    }
    say!("")?;
    for (proof, holds) in &shown.proofs {
        say!("{} {proof}", if *holds { "[ok]    " } else { "[FAILED]" })?;
    }
    say!("\nThe voices stay in {} until you delete them", folder.display())
}

fn print_json(shown: &Shown) -> Result<(), Unwritten> {
    let others = shown.others.iter().map(|other| {
        json!({ "user": other.user, "door": other.door, "events": other.events, "indicators": other.indicators,
            "keys": other.keys })
    });
    let voices = shown.heard.voices.iter().map(|voice| match voice {
        Voice::Written { path, .. } => json!(path),
        Voice::None(_) => json!(null),
    });
    let object = json!({
        "streams": shown.heard.report.streams,
        "voices": voices.collect::<Vec<_>>(),
        "others": others.collect::<Vec<_>>(),
        "proven": shown.is_proven(),
    });
    say!("{object}")
}
