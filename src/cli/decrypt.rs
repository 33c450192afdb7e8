//! `callgate decrypt`

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use callgate::client::decrypt::{Decrypted, Heard, Voice, decrypt};

use super::runtime;

const EXAMPLES: &str = "\
Examples:
  callgate decrypt call.pcap                # WAV files into the folder call.voices
  callgate decrypt call.pcap --json | jq .streams

The capture holds the HEPv3 copy of the PBX's signalling (UDP) and the RTP that it describes, side by side: pcap or
pcapng, from any system. The keys in it are used, and never printed or kept.

Exit codes: 0 every packet of every stream with a key authenticates, 1 some don't, 2 the capture can't be read to its
end, or has no HEP in it.";

/// Decrypt any capture of HEP and SRTP through a gateway in this process: an account of its streams, and their voices
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Decrypt {
    /// The capture file
    capture: PathBuf,

    /// Print one JSON object on standard output, and nothing else
    #[arg(long)]
    json: bool,

    /// The folder for the WAV files [default: the capture's name with .voices, in the current folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Decrypt {
    pub(super) fn run(self) -> Result<()> {
        let folder = self.out.unwrap_or_else(|| voices_of(&self.capture));
        let json = self.json;
        let Decrypted { heard, error } =
            runtime()?.block_on(decrypt(&self.capture, &folder, |step| tell(json, step)))?;
        let authentic = heard.report.all_authentic();
        answer(&heard, json).context("the answer can't be written to standard output")?;
        if let Some(error) = error {
            return Err(error.into());
        }
        if !authentic {
            bail!("some packets of streams with a key don't authenticate");
        }
        Ok(())
    }
}

fn voices_of(capture: &Path) -> PathBuf {
    Path::new(capture.file_name().unwrap_or_default()).with_extension("voices")
}

/// Progress goes beside the answer.
#[expect(clippy::print_stderr, reason = "the command's own words")]
fn tell(json: bool, step: &str) {
    if !json {
        eprintln!("{step}");
    }
}

/// The JSON object has no place for why a key can't be used, and the exit code alone would leave one guessing.
#[expect(clippy::print_stderr, reason = "the command's own words")]
fn tell_troubles(heard: &Heard) {
    for (place, trouble) in &heard.troubles {
        eprintln!("callgate: stream {}: {trouble}", place + 1);
    }
}

/// Not by `println!`, which panics when the reader is gone or the disk is full.
fn answer(heard: &Heard, json: bool) -> Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{}", heard.report.to_json()?)?;
        tell_troubles(heard);
    } else {
        writeln!(out, "{}", heard.report)?;
        for (place, trouble) in &heard.troubles {
            writeln!(out, "stream {}: {trouble}", place + 1)?;
        }
        for (i, voice) in heard.voices.iter().enumerate() {
            match voice {
                Voice::Written { path, seconds } => {
                    writeln!(out, "voice {}: {} ({seconds} s)", i + 1, path.display())?;
                }
                Voice::None(why) => writeln!(out, "voice {}: none, {why}", i + 1)?,
            }
        }
    }
    Ok(out.flush()?)
}
