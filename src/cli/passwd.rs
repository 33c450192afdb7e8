//! `callgate passwd`

use std::io::{BufRead, IsTerminal, Write, stderr, stdin};

use anyhow::{Context, Result};
use callgate::directory::{ScramError, ScramVerifier};
use zeroize::Zeroizing;

use super::{exit::Unusable, out::say};

/// The longest password, in bytes. The room for it is taken at once: growing would leave copies behind.
const MAX_LEN: u64 = 1024;

const EXAMPLES: &str = "\
Example:
  printf '%s\\n' 'the password' | callgate passwd
  # paste the line into the config: password = \"SCRAM-SHA-256$...\"";

/// Read a password from standard input and print its SCRAM line for the config
///
/// One line is read; a password is never an argument, which others on the machine could read. The password can't be
/// found out from the line other than by trying, so keep the line to yourself, too.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Passwd {
    /// How often PBKDF2 is applied: apps do so at each open, and so does who tries passwords
    #[arg(long, value_name = "N", default_value_t = ScramVerifier::DEFAULT_ITERATIONS)]
    iterations: u32,
}

impl Passwd {
    pub(super) fn run(self) -> Result<()> {
        if stdin().is_terminal() {
            let _ = write!(stderr(), "Password (it shows as you type): ");
        }
        let mut line = Zeroizing::new(String::with_capacity(MAX_LEN as usize + 2));
        std::io::Read::take(stdin().lock(), MAX_LEN + 2)
            .read_line(&mut line)
            .context("the password can't be read from standard input")?;
        let password = line.strip_suffix('\n').unwrap_or(&line);
        let password = password.strip_suffix('\r').unwrap_or(password);
        if password.len() as u64 > MAX_LEN {
            return Err(Unusable(format!("the password has more than {MAX_LEN} bytes: take a shorter one")).into());
        }
        if password.is_empty() {
            return Err(Unusable("the password is empty: give it as one line on standard input".into()).into());
        }
        let verifier = ScramVerifier::generate(password, self.iterations).map_err(|error| Unusable(refused(&error)))?;
        say!("{}", *verifier.to_line())?;
        Ok(())
    }
}

/// An empty password was told before.
fn refused(error: &ScramError) -> String {
    match error {
        ScramError::Password => {
            "the password has characters that SASLprep (RFC 4013) forbids, such as control ones: take others".into()
        }
        other => other.to_string(),
    }
}
