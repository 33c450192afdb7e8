//! Passwords from standard input: never from an argument, which others on the machine could read.

use std::io::{BufRead, IsTerminal, Read, Write, stderr, stdin};

use anyhow::{Context, Result};
use callgate::directory::{NewPassword, ScramVerifier};
use serde::Serialize;
use zeroize::Zeroizing;

use super::exit::Unusable;

/// The longest password, in bytes. The room for it is taken at once: growing would leave copies behind.
const MAX_LEN: u64 = 1024;

/// A password that is to be somebody's.
#[derive(Serialize)]
pub(super) struct Set<'a> {
    pub(super) password: &'a str,
}

/// One line of standard input.
pub(super) fn read() -> Result<Zeroizing<String>> {
    if stdin().is_terminal() {
        let _ = write!(stderr(), "Password (it shows as you type): ");
    }
    let mut line = Zeroizing::new(String::with_capacity(MAX_LEN as usize + 2));
    let mut input = stdin().lock().take(MAX_LEN + 2);
    input.read_line(&mut line).context("the password can't be read from standard input")?;
    let end = line.trim_end_matches('\n').trim_end_matches('\r').len();
    line.truncate(end);
    if line.len() as u64 > MAX_LEN {
        return Err(Unusable(format!("the password has more than {MAX_LEN} bytes: take a shorter one")).into());
    }
    if line.is_empty() {
        return Err(Unusable("the password is empty: give it as one line on standard input".into()).into());
    }
    Ok(line)
}

/// What proves the password on the clear door (R14).
pub(super) fn verifier(iterations: u32) -> Result<ScramVerifier> {
    let password = NewPassword::typed(&read()?).map_err(|error| Unusable(format!("the password: {error}")))?;
    Ok(password.verifier(iterations).map_err(|error| Unusable(error.to_string()))?)
}
