//! `callgate decrypt`

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use callgate::client::decrypt::{Decrypted, Folder, Heard, Voice, decrypt};
use tokio::sync::mpsc;

use super::{
    out::{remark, say},
    stop,
};

const EXAMPLES: &str = "\
Examples:
  callgate decrypt call.pcap                # WAV files into the folder call.voices, or call.voices-2 if that is there
  callgate decrypt call.pcap --json | jq .streams

The capture holds the HEPv3 copy of the PBX's signalling (UDP) and the RTP that it describes, side by side: pcap or
pcapng, from any system. The keys in it are used, and never printed or kept.
Each run writes into a folder of its own, so that voices of two captures never mix: one that --out names must be new or empty.

Exit codes: 0 every packet of every stream with a key authenticates, 1 some don't, 2 the capture can't be read to its
end, or has no HEP in it, or the folder of --out is not empty.";

/// Decrypt any capture of HEP and SRTP through a gateway in this process: an account of its streams, and their voices
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Decrypt {
    /// The capture file
    capture: PathBuf,

    /// Print one JSON object on standard output, and nothing else
    #[arg(long)]
    json: bool,

    /// The folder for the WAV files, new or empty [default: the capture's name with .voices, and a number if that is there,
    /// in the current folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl Decrypt {
    pub(super) fn run(self) -> Result<()> {
        let folder = self.out.map_or_else(|| Folder::Numbered(voices_of(&self.capture)), Folder::Named);
        let json = self.json;
        // Its progress goes beside the answer, so that only a signal can end it.
        let (_unwritten, unheard) = mpsc::channel(1);
        let work = async { Ok(decrypt(&self.capture, &folder, |step| tell(json, step)).await?) };
        let Decrypted { heard, error } = stop::run(work, unheard)?;
        let authentic = heard.report.all_authentic();
        answer(&heard, json)?;
        tell_number(&heard, &folder);
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
fn tell(json: bool, step: &str) {
    if !json {
        remark!("{step}");
    }
}

/// Who looks into the folder of the last run would take its voices for these.
fn tell_number(heard: &Heard, folder: &Folder) {
    let written = heard.voices.iter().find_map(|voice| match voice {
        Voice::Written { path, .. } => path.parent(),
        Voice::None(_) => None,
    });
    if let (Some(written), Folder::Numbered(first)) = (written, folder)
        && written != first
    {
        remark!("callgate: {} was there already: the voices are in {}", first.display(), written.display());
    }
}

/// The JSON object has no place for why a key can't be used, and the exit code alone would leave one guessing.
fn tell_troubles(heard: &Heard) {
    for (place, trouble) in &heard.troubles {
        remark!("callgate: stream {}: {trouble}", place + 1);
    }
}

fn answer(heard: &Heard, json: bool) -> Result<()> {
    if json {
        say!("{}", heard.report.to_json()?)?;
        tell_troubles(heard);
        return Ok(());
    }
    say!("{}", heard.report)?;
    for (place, trouble) in &heard.troubles {
        say!("stream {}: {trouble}", place + 1)?;
    }
    for (i, voice) in heard.voices.iter().enumerate() {
        match voice {
            Voice::Written { path, seconds } => say!("voice {}: {} ({seconds} s)", i + 1, path.display())?,
            Voice::None(why) => say!("voice {}: none, {why}", i + 1)?,
        }
    }
    Ok(())
}
