//! Callgate against a bare TLS server that sends the same frames, in the same run and by turns.
//!
//! The server runs in a process of its own on one core, the load on another one. What is compared is the CPU time of the
//! server's process, since wall-clock time belongs to the neighbours too. Nothing here fails on a figure; a frame that is
//! lost, comes twice or out of order fails every run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    unreachable_pub,
    reason = "a benchmark"
)]

mod administration;
mod control;
mod events;
mod fanout;
mod handshake;
mod lab;
mod load;
mod memory;
mod process;
#[path = "../report/results.rs"]
mod results;
mod server;
mod soak;
mod steps;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use results::Peer;

/// Measures Callgate beside a bare TLS server
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// Cargo says this to every benchmark
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Command {
    /// CPU time per delivery, one event in flight and flat out
    Fanout(fanout::Fanout),
    /// CPU time per TLS handshake with its first answers
    Handshake(handshake::Handshake),
    /// Memory of a session that has nothing to do
    Memory(memory::Memory),
    /// Changes of rights under load: until they are in effect, and until sessions are told
    Administration(administration::Administration),
    /// A long load: memory must stay where it was
    Soak(soak::Soak),
    /// Takes the results of the benchmark `pipeline` into the report
    Steps(steps::Steps),
    /// All of them, short: nothing may be lost
    Check,
    /// The measured side; the others start it
    #[command(hide = true)]
    Server { peer: Peer, folder: PathBuf },
    /// The same, administered
    #[command(hide = true)]
    Administered { folder: PathBuf, users: usize, sessions: usize, instances: usize },
}

fn main() {
    match Arguments::parse().command {
        Command::Fanout(fanout) => fanout.run(),
        Command::Handshake(handshake) => handshake.run(),
        Command::Memory(memory) => memory.run(),
        Command::Administration(administration) => administration.run(),
        Command::Soak(soak) => soak.run(),
        Command::Steps(steps) => steps.run(),
        Command::Check => {
            fanout::Fanout::check().run();
            handshake::Handshake::check().run();
            memory::Memory::check().run();
            administration::Administration::check().run();
            soak::Soak::check().run();
            println!("nothing was lost, doubled or out of order");
        }
        Command::Server { peer, folder } => server::run(peer, &folder),
        Command::Administered { folder, users, sessions, instances } => {
            server::run_administered(lab::Population { users, sessions, instances }, &folder);
        }
    }
}
