//! The binary: arguments, logs, exit codes. What a command does is in `cli`, and what it does it with is the library's.
#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    // With two providers linked, rustls' short forms panic unless one is named first. It fails only if that was done.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    cli::run()
}
