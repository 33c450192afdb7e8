//! `callgate completions`

use anyhow::{Context, Result};
use clap::{CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};

use super::{Arguments, out::say};

const EXAMPLES: &str = "\
Examples:
  callgate completions bash > /etc/bash_completion.d/callgate
  callgate completions zsh > /usr/local/share/zsh/site-functions/_callgate
  callgate completions fish > ~/.config/fish/completions/callgate.fish";

/// Print a script that has a shell complete commands and options
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Completions {
    /// The shell
    shell: Which,
}

/// The shells that there are scripts for.
#[derive(Clone, Copy, ValueEnum)]
enum Which {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(super) fn run(self) -> Result<()> {
        let shell = match self.shell {
            Which::Bash => Shell::Bash,
            Which::Zsh => Shell::Zsh,
            Which::Fish => Shell::Fish,
        };
        let mut script = Vec::new();
        generate(shell, &mut Arguments::command(), "callgate", &mut script);
        Ok(say!("{}", String::from_utf8(script).context("the script is no text")?.trim_end())?)
    }
}
