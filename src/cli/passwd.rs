//! `callgate passwd`

use anyhow::Result;
use callgate::directory::ScramVerifier;

use super::{out::say, password};

const EXAMPLES: &str = "\
Example:
  printf '%s\\n' 'a long password' | callgate passwd
  # paste the line into the config: password = \"SCRAM-SHA-256$...\"";

/// Read a password from standard input and print its SCRAM line for the config
///
/// One line of 8 to 256 characters is read; a password is never an argument, which others on the machine could read. The password can't be
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
        let verifier = password::verifier(self.iterations)?;
        say!("{}", *verifier.to_line())?;
        Ok(())
    }
}
