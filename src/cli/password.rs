//! Passwords from standard input: never from an argument, which others on the machine could read. On a terminal they don't
//! show as they are typed.

mod typing;

use std::io::{BufRead, IsTerminal, Read, Write, stderr, stdin};

use anyhow::{Context, Result};
use callgate::directory::{NewPassword, ScramVerifier};
use serde::Serialize;
use zeroize::Zeroizing;

use super::exit::Unusable;

/// The longest password, in bytes. The room for it is taken at once: growing would leave copies behind.
const MAX_LEN: usize = 1024;

/// A password that is to be somebody's.
#[derive(Serialize)]
pub(super) struct Set<'a> {
    pub(super) password: &'a str,
}

/// One line of standard input, which is to be somebody's password. On a terminal it is asked for twice, since nobody sees it.
pub(super) fn read() -> Result<Zeroizing<String>> {
    let line = if stdin().is_terminal() { typed_twice()? } else { piped()? };
    if line.len() > MAX_LEN {
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

fn piped() -> Result<Zeroizing<String>> {
    let mut line = Zeroizing::new(String::with_capacity(MAX_LEN + 2));
    let mut input = stdin().lock().take(MAX_LEN as u64 + 2);
    input.read_line(&mut line).context("the password can't be read from standard input")?;
    let end = line.trim_end_matches('\n').trim_end_matches('\r').len();
    line.truncate(end);
    Ok(line)
}

fn typed_twice() -> Result<Zeroizing<String>> {
    let mut keyboard = typing::Keyboard::quiet().context("the terminal can't be kept from showing the password")?;
    let mut ask = |prompt: &str| {
        let _ = write!(stderr(), "{prompt}");
        let line = keyboard.line();
        let _ = writeln!(stderr());
        line.map_err(|error| Unusable(format!("the password can't be taken from the terminal: {error}")))
    };
    let password = ask("password (not shown): ")?;
    if *password != *ask("the same again: ")? {
        return Err(Unusable("the two passwords are different: nothing is done".into()).into());
    }
    Ok(password)
}
