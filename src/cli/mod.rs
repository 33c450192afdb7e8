//! Commands: each reads its arguments, calls the library, and says in plain words what it did.

mod admin;
mod audit;
mod backup;
mod cert;
mod check;
mod completions;
mod config_file;
mod decrypt;
mod demo;
mod door_name;
mod exit;
mod explain;
mod init;
mod log_filter;
mod logs;
mod notify;
mod out;
mod passwd;
mod password;
mod process;
mod restore;
mod serve;
mod settings;
mod stop;
mod table;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

/// The folder that `init` makes and the other commands work in, unless they are told.
const FOLDER: &str = "callgate";

/// What all commands have goes below what is each one's own.
const LOGS: &str = "Logs";

const EXAMPLES: &str = "\
See it work:
  callgate demo                                        # a recorded real call, from signalling to decrypted voices

Try it:
  callgate serve                                       # a gateway with a simulated switch, in the folder callgate

A first start:
  callgate init                                        # a CA, the gateway's certificate and a first config
  callgate user add recorder --group enabled,secure,srtp-keys,all-devices
  callgate cert issue --user recorder --instance 1     # an app's certificate
  callgate serve --config callgate/callgate.toml
  callgate watch --user recorder                       # what its session sees, live

Exit codes: 0 done, 1 failed, 2 wrong arguments or input that can't be used.";

/// An open CTI gateway: call events and SRTP keys for exactly the applications that may have them.
#[derive(Parser)]
#[command(name = "callgate", version, after_help = EXAMPLES, disable_help_subcommand = true)]
struct Arguments {
    /// What is logged on standard error: off, error, warn, info, debug or trace, or such as
    /// `info,callgate::cti=debug` [default: the variable CALLGATE_LOG, or info for serve and warn for the others]
    #[arg(long, global = true, value_name = "FILTER", help_heading = LOGS)]
    log_level: Option<String>,

    /// Log one JSON object per line
    #[arg(long, global = true, help_heading = LOGS)]
    log_json: bool,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Demo),
    Decrypt(decrypt::Decrypt),
    Init(init::Init),
    /// Application and end users: who they are, and what they may see
    User(admin::About<admin::User>),
    /// Groups of your own: devices that all their members see
    Group(admin::About<admin::Group>),
    /// Devices and their lines
    Device(admin::About<admin::Device>),
    /// Sessions that are open now
    Session(admin::About<admin::Session>),
    /// Accounts of the administration over HTTPS, and their tokens
    Account(admin::About<admin::Account>),
    #[command(subcommand)]
    Cert(cert::Cert),
    Settings(settings::ShowSettings),
    Passwd(passwd::Passwd),
    Backup(backup::Backup),
    Restore(restore::Restore),
    Serve(serve::Serve),
    #[command(subcommand)]
    Audit(audit::Audit),
    Watch(watch::Watch),
    Explain(explain::Explain),
    Completions(completions::Completions),
}

/// Runs the command that the arguments name.
pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let Some(command) = arguments.command else {
        return exit::code(help());
    };
    if let Err(error) = process::forbid_core_dumps() {
        return exit::code(Err(error));
    }
    let levels = command.levels();
    let done = logs::start(arguments.log_level.as_deref(), levels, arguments.log_json).and_then(|()| match command {
        Command::Demo(command) => command.run(),
        Command::Decrypt(command) => command.run(),
        Command::Init(command) => command.run(),
        Command::Serve(command) => command.run(),
        Command::Audit(command) => command.run(),
        Command::Passwd(command) => command.run(),
        Command::Backup(command) => command.run(),
        Command::Restore(command) => command.run(),
        Command::User(command) => command.run(),
        Command::Group(command) => command.run(),
        Command::Device(command) => command.run(),
        Command::Session(command) => command.run(),
        Command::Account(command) => command.run(),
        Command::Cert(command) => command.run(),
        Command::Settings(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Watch(command) => command.run(),
        Command::Completions(command) => command.run(),
    });
    exit::code(done)
}

impl Command {
    /// All that an operator needs of a gateway that runs, and its records whatever the filter is (R21); of the others only
    /// what went wrong, since a person reads the command's own words.
    fn levels(&self) -> logs::Levels {
        match self {
            Self::Serve(_) => logs::Levels { default: "info", always: Some("audit=info") },
            _ => logs::Levels { default: "warn", always: None },
        }
    }
}

/// The threads that doors, hub and clients run on.
fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

fn help() -> anyhow::Result<()> {
    Ok(Arguments::command().print_help().map_err(out::Unwritten::from)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What prints no JSON on demand, and why.
    const WITHOUT_JSON: &[(&str, &str)] = &[
        ("audit checkpoint", "what it prints is one line of JSON"),
        ("completions", "what it prints is for a shell"),
        ("init", "it makes files whose names don't change"),
        ("passwd", "what it prints is one line, and that is what a script wants"),
        ("serve", "what it has to say is in its log"),
    ];

    fn without_json(command: &clap::Command, path: &str) -> Vec<String> {
        if command.has_subcommands() {
            let below = |below: &clap::Command| without_json(below, format!("{path} {}", below.get_name()).trim());
            return command.get_subcommands().flat_map(below).collect();
        }
        let has_json = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
        if has_json { Vec::new() } else { vec![path.into()] }
    }

    #[test]
    fn every_command_answers_as_json_too_or_has_a_reason_not_to() {
        let mut command = Arguments::command();
        command.build();
        let mut without = without_json(&command, "");
        without.sort();
        assert_eq!(without, WITHOUT_JSON.iter().map(|(path, _)| *path).collect::<Vec<_>>());
    }
}
