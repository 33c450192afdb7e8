//! `callgate demo`

use std::{path::PathBuf, sync::Arc};

use anyhow::{Result, bail};
use callgate::{
    client::demo::{Options, Shown, Voice, demo},
    switch::replay::Speed,
};
use serde_json::json;

use super::{exit::Unusable, runtime};

const EXAMPLES: &str = "\
Examples:
  callgate demo                       # about 3 seconds
  callgate demo --speed 1             # as fast as the call was
  callgate demo --json --out voices   # one JSON object for scripts

Exit codes: 0 all was proven, 1 something was not, 2 wrong arguments.";

/// Show the main job on a recorded real call: keys to the app that may have them, and to no other
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Demo {
    /// Print one JSON object on standard output, and nothing else
    #[arg(long)]
    json: bool,

    /// The folder for the WAV files [default: a new one among the temporary files]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// How many times as fast as it happened the call is played
    #[arg(long, value_name = "N", default_value_t = 4.0)]
    speed: f64,
}

impl Demo {
    pub(super) fn run(self) -> Result<()> {
        let speed = Speed::times(self.speed).map_err(|error| Unusable(error.to_string()))?;
        let folder = match self.out {
            Some(folder) => folder,
            None => tempfile::Builder::new().prefix("callgate-demo-").tempdir()?.keep(),
        };
        let json = self.json;
        let shown = runtime()?.block_on(demo(Options { folder, speed }, Arc::new(move |step| tell(json, step))))?;
        if json {
            print_json(&shown);
        } else {
            print(&shown);
        }
        if !shown.is_proven() {
            bail!("the demo did not prove what it should");
        }
        Ok(())
    }
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn tell(json: bool, step: &str) {
    if !json {
        println!("{step}");
    }
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn print(shown: &Shown) {
    println!("\nWhat recorder heard:\n{}", shown.heard.report);
    for voice in &shown.heard.voices {
        match voice {
            Voice::Written { path, seconds } => println!("voice: {} ({seconds} s)", path.display()),
            Voice::None(why) => println!("no voice: {why}"),
        }
    }
    println!();
    for other in &shown.others {
        let (user, door, events) = (other.user, other.door, other.events);
        println!("{user} ({door} door): {events} events, {} keys, {}", other.keys, other.indicators.join(" "));
    }
    println!();
    for (proof, holds) in &shown.proofs {
        println!("{} {proof}", if *holds { "[ok]    " } else { "[FAILED]" });
    }
}

#[expect(clippy::print_stdout, reason = "the command's answer")]
fn print_json(shown: &Shown) {
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
    println!("{object}");
}
