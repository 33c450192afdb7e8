//! `callgate serve`

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use callgate::{
    admin::{Administration, Journal},
    audit::AuditLog,
    config::Config,
    gateway::{Acknowledgement, Page, Reloaded, Served, StartError, administration},
    model::SwitchName,
    switch::SwitchError,
    trust::{SharedFile, shared_files},
};

use tokio::{
    net::UnixStream,
    signal::unix::{SignalKind, signal},
    time::Interval,
};
use tracing::{error, info, warn};

use super::{check, config_file, notify::Notifier, out::say, process, runtime};

const EXAMPLES: &str = "\
Examples:
  callgate serve                                       # to try it out
  callgate serve --config callgate/callgate.toml
  callgate serve --config callgate/callgate.toml --check
  CALLGATE_DOORS__CLEAR=closed callgate serve --config callgate/callgate.toml --check

Without --config it takes callgate/callgate.toml. If there is no folder of that name, or an empty one, it makes one for
trying out: with a simulated switch, and with the certificates of two apps. In a folder with anything else it makes nothing.

Users, groups, devices and certificates live in its store, and commands such as `callgate user set` change them while it runs.
SIGHUP makes it read the config and the files of the TLS door again; the log says when it has.

A variable CALLGATE_KEY or CALLGATE_SECTION__KEY overrides one setting of the file.";

/// How long a command is waited for that has the store.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Run the gateway
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Serve {
    /// The config file [default: callgate/callgate.toml, which is made for trying out if need be]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the config and all files that it names, and open no door
    #[arg(long)]
    check: bool,
}

impl Serve {
    pub(super) fn run(self) -> Result<()> {
        let path = config_file::choose(self.config, self.check)?;
        let config = Config::load(&path)?;
        if self.check {
            return check::check(&config, &path);
        }
        process::raise_open_files(&config.limits);
        warn_of(&config, &path);
        runtime()?.block_on(serve(config, &path))
    }
}

fn part_failed() -> anyhow::Error {
    anyhow!("a part of the gateway has failed: its log says which")
}

fn tell_ended(switch: &SwitchName, ended: Result<(), SwitchError>) {
    match ended {
        Ok(()) => info!(%switch, "the switch has nothing more to report"),
        Err(error) => error!(%switch, %error, "the switch can't go on"),
    }
}

/// Runs until the process is told to stop.
async fn serve(config: Config, path: &Path) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut hangup = signal(SignalKind::hangup())?;
    let notifier = Notifier::from_environment();
    // Before anything counts.
    let page = Page::install()?;
    let taken = tokio::select! {
        taken = take(&config) => Some(taken?),
        _ = interrupt.recv() => None,
        _ = terminate.recv() => None,
    };
    let Some((trail, administration)) = taken else {
        info!("told to stop before it had its store");
        return Ok(());
    };
    let mut gateway = Served::start(config, administration, trail, Some(page)).await?;
    tell_setup_token(&gateway).await;
    let mut stopped = Box::pin(gateway.stopped());
    // New rights on their way; the next ones are read when these are in effect.
    let mut under_way = None;
    let mut watchdog = notifier.watchdog.map(tokio::time::interval);
    notifier.ready();
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = &mut stopped => {
                gateway.stop().await;
                return Err(part_failed());
            }
            _ = hangup.recv(), if under_way.is_none() => {
                notifier.reloading();
                under_way = reload(&mut gateway, path).await.map(|rights| Box::pin(rights.acknowledged()));
                if under_way.is_none() {
                    notifier.ready();
                }
            }
            () = tick(watchdog.as_mut()) => {
                // Whoever started it starts it again if a part of it is stuck.
                if gateway.gateway().health().alive().is_well {
                    notifier.alive();
                }
            }
            Some(reloaded) = when(under_way.as_mut()) => {
                under_way = None;
                match reloaded {
                    Ok(reloaded) => acknowledge(&reloaded),
                    Err(error) => error!(%error, "not acknowledged"),
                }
                notifier.ready();
            }
            // A switch that has come to its end leaves the others, and the sessions, as they are.
            Some((switch, ended)) = gateway.switch_ended() => tell_ended(&switch, ended),
        }
    }
    info!("stopping");
    notifier.stopping(gateway.drain_time());
    let mut drained = Box::pin(gateway.drain());
    loop {
        tokio::select! {
            () = &mut drained => break,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            () = &mut stopped => {
                gateway.stop().await;
                return Err(part_failed());
            }
            () = tick(watchdog.as_mut()) => {
                if gateway.gateway().health().alive().is_well {
                    notifier.alive();
                }
            }
            Some((switch, ended)) = gateway.switch_ended() => tell_ended(&switch, ended),
        }
    }
    gateway.stop().await;
    Ok(())
}

/// Takes the audit log and the store. A command that does without a gateway has them for a moment, and is waited for; a gateway that
/// runs isn't.
async fn take(config: &Config) -> Result<(Arc<AuditLog>, Administration), StartError> {
    let begun = Instant::now();
    let mut is_told = false;
    loop {
        match open(config).await {
            Err(error) if error.is_in_use() && begun.elapsed() < PATIENCE => {
                if UnixStream::connect(&config.admin.socket).await.is_ok() {
                    return Err(error);
                }
                if !is_told {
                    info!(%error, "waiting for another process to give the store back");
                    is_told = true;
                }
                tokio::time::sleep(PAUSE).await;
            }
            taken => return taken,
        }
    }
}

async fn open(config: &Config) -> Result<(Arc<AuditLog>, Administration), StartError> {
    let trail = Arc::new(AuditLog::open(config.audit.clone())?);
    let administration = administration(config, Arc::clone(&trail) as Arc<dyn Journal>).await?;
    Ok((trail, administration))
}

/// Says once, on standard output and in no log, how the first administrator is made. Without an audit log that is said at a later start.
async fn tell_setup_token(gateway: &Served) {
    match gateway.administration().first_setup_token().await {
        Ok(None) => {}
        Ok(Some(token)) => {
            let told = say!(
                "Nobody administers over HTTPS yet. This token makes the first administrator, once and within 24 hours (docs/API.md): {}\n\
                 On this machine `callgate account` and the other commands need none.",
                token.tell()
            );
            if let Err(error) = told {
                warn!(%error, "the setup token was told to nobody: `callgate account add` makes an administrator, too");
            }
        }
        Err(error) => error!(%error, "no setup token is made"),
    }
}

/// Reads everything again. What is wrong is logged with its place, and leaves the old settings in force.
async fn reload(gateway: &mut Served, path: &Path) -> Option<Acknowledgement> {
    info!(config = %path.display(), "reading the config again");
    let reloaded = match Config::load(path) {
        Ok(config) => {
            warn_of(&config, path);
            gateway.reload(config).await.map_err(anyhow::Error::from)
        }
        Err(error) => Err(error.into()),
    };
    reloaded.inspect_err(|error| error!(error = first_line(error), "not taken: the old settings stay in force")).ok()
}

/// Without the picture of the place in the file: a log's record is one line.
fn first_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().next().unwrap_or_default().into()
}

/// What is allowed, and surely not meant.
fn warn_of(config: &Config, path: &Path) {
    for setting in &config.overruled {
        warn!(setting, "a setting doesn't count");
    }
    if let Some(problem) = check::no_switch(config) {
        warn!(problem, "no switch");
    }
    if let Some(problem) = check::no_own_ca(config) {
        warn!(problem, "no own CA");
    }
    for SharedFile { path, what, mode } in shared_files(config, path) {
        warn!(file = %path.display(), mode = format_args!("{mode:04o}"),
            "others than its owner may read or write the {what}: chmod 600");
    }
}

/// The line that an operator waits for: no key leaves by the old rights any more (R15).
fn acknowledge(Reloaded { version, effect, settings, after_restart, only_mode }: &Reloaded) {
    if *only_mode {
        error!("only the mode is taken: the rest can't be recorded, so send SIGHUP again when the audit log is open");
    }
    for what in after_restart {
        warn!(what, "this is different in the config, and takes a restart");
    }
    let (sessions, changed, closed, withheld) = (effect.sessions, effect.changed, effect.closed, effect.withheld);
    info!(version, sessions, changed, closed, withheld, settings = settings.as_deref(), "rights in effect");
}

/// Waits for the next tick of a clock that may not be there.
async fn tick(clock: Option<&mut Interval>) {
    match clock {
        Some(clock) => {
            clock.tick().await;
        }
        None => std::future::pending().await,
    }
}

/// Waits for what may not be there.
async fn when<F: Future + Unpin>(future: Option<F>) -> Option<F::Output> {
    match future {
        Some(future) => Some(future.await),
        None => None,
    }
}
