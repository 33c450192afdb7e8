//! Which config `callgate serve` takes: the one that it is told, else the one in the folder, else one that it makes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use callgate::trust::{CONFIG, TRY_OUT_USERS, own_folder, try_out};
use time::OffsetDateTime;
use tracing::info;

use super::{FOLDER, exit::Unusable, out::say};

/// The config to serve, or to check.
///
/// # Errors
/// There is none to check, or the folder is there and isn't a gateway's, or not ours.
pub(super) fn choose(told: Option<PathBuf>, check: bool) -> Result<PathBuf> {
    if let Some(path) = told {
        return Ok(path);
    }
    let folder = Path::new(FOLDER);
    let path = folder.join(CONFIG);
    // What can't be looked at is refused when it is read.
    if path.try_exists().unwrap_or(true) {
        // Nobody named this folder: in a place that others can write to, somebody else may have put it there.
        own_folder(folder).context("name the config with --config if you trust it")?;
        info!(config = %path.display(), "this config is used");
        return Ok(path);
    }
    if check {
        let problem = format!("{}: there is no such file to check", path.display());
        return Err(Unusable(problem)).context("name one with --config, or run `callgate init` first");
    }
    let was_there = folder.is_dir();
    try_out(folder, OffsetDateTime::now_utc())?;
    introduce(&path, was_there)?;
    Ok(path)
}

fn introduce(config: &Path, was_there: bool) -> Result<()> {
    let [app, viewer] = TRY_OUT_USERS;
    let folder = if was_there { "was empty, and is its folder now" } else { "was made for it" };
    say!("There was no config, so this gateway is one for trying out. The folder {FOLDER} {folder}:")?;
    let config = config.display();
    say!("  {config}  the settings: a simulated switch with 100 devices, and two users")?;
    say!("  {FOLDER}/{app}-1.pem, .key  for an app that sees all devices and gets their SRTP keys")?;
    say!("  {FOLDER}/{viewer}-1.pem, .key  for one that sees the same without keys, to compare")?;
    say!("Calls and keys are made up, no media are sent, and its doors are for apps on this machine.")?;
    say!("Next, in another terminal: callgate watch, or from the sources: cargo run --release --example first_app")?;
    say!("For a gateway of your own: callgate init DIR, then callgate serve --config DIR/{CONFIG}")?;
    say!("")?;
    Ok(())
}
