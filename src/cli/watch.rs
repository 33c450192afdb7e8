//! `callgate watch`

mod terminal;

use std::{
    fs,
    io::{self, IsTerminal},
    net::SocketAddr,
    path::PathBuf,
    pin::pin,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use callgate::{
    client::{
        ClientError,
        watch::{Class, Options, Picture, Proof, Seen, Style, Summary, line, watch, with_port},
    },
    config::Config,
    trust::CONFIG,
};
use clap::ValueEnum;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use zeroize::Zeroizing;

use self::terminal::Terminal;
use super::{
    FOLDER,
    exit::Unusable,
    out::{remark, say},
    runtime,
};

/// How much may be seen and not yet shown.
const QUEUE: usize = 1024;
/// How long the gateway may take to hear that the session ends.
const GOODBYE: Duration = Duration::from_secs(2);
/// The longest that can be watched, in seconds: a year.
const LONGEST: u64 = 366 * 86_400;

const EXAMPLES: &str = "\
Examples:
  callgate watch                                       # as the user app, with the files in the folder callgate
  callgate watch --user recorder --device 1001         # as another user, one device only
  callgate watch --gateway cti.example.net --certificate app.pem --key app.key --ca ca.pem --user recorder
  callgate watch --user dashboard --password-file secret.txt          # on the clear door: no key ever comes there
  callgate watch --json --count 100 | jq 'select(.seen == \"media_opened\") | .indicator'

On a terminal it is a picture that is kept up to date; Ctrl-C ends it. Elsewhere it is one line per event. Each session
is one of an instance: a second one as the same user and instance is refused while the first is open (R12), so give the
watcher an instance of its own.

Keys come to it as to any app and are recorded so, but only how many there are is shown. When the gateway isn't there, or
goes away, it says why, and tries again until it comes. What it has seen in all is told on standard error at the end.

Exit codes: 0 ended as it was told to, by --for, --count or a signal; 1 no session opened, or a device can't be monitored;
2 files or arguments that can't be used.";

/// Show live what a session sees: calls, streams, how each stream stands, and why
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Watch {
    /// The gateway, as host or host:port [default: the door that the config in the folder names, else localhost at 2749, or
    /// at 2748 with a password]
    #[arg(long, value_name = "ADDR")]
    gateway: Option<String>,

    /// Whose session
    #[arg(long, value_name = "NAME", default_value = "app")]
    user: String,

    /// Which instance of the user
    #[arg(long, value_name = "ID", default_value = "1")]
    instance: String,

    /// The folder with ca.pem and the files that `callgate cert issue` wrote for the user and instance
    #[arg(long, value_name = "DIR", default_value = FOLDER)]
    folder: PathBuf,

    /// The certificate, instead of the one in the folder
    #[arg(long, value_name = "FILE", requires_all = ["key", "ca"])]
    certificate: Option<PathBuf>,

    /// The certificate's private key
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,

    /// The CA of the gateway
    #[arg(long, value_name = "FILE", requires = "certificate")]
    ca: Option<PathBuf>,

    /// The name in the gateway's certificate, if it isn't the host's
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,

    /// Open on the clear door, with the password in the first line of this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["certificate", "server_name"])]
    password_file: Option<PathBuf>,

    /// Prove the password in the first line of this file besides the certificate, for a user that needs both
    #[arg(long, value_name = "FILE", conflicts_with = "password_file")]
    tls_password_file: Option<PathBuf>,

    /// A device to monitor; may be given more than once [default: all that the session may see]
    #[arg(long = "device", value_name = "NAME")]
    devices: Vec<String>,

    /// A class of events; may be given more than once [default: all]
    #[arg(long = "class", value_name = "CLASS")]
    classes: Vec<EventClass>,

    /// Print one JSON object per line
    #[arg(long)]
    json: bool,

    /// Print lines, on a terminal too
    #[arg(long, conflicts_with = "json")]
    plain: bool,

    /// End after so many seconds
    #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    seconds: Option<u64>,

    /// End after so many events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

/// A class of events, as an argument.
#[derive(Clone, Copy, ValueEnum)]
enum EventClass {
    /// States of calls
    Call,
    /// Media streams, with their keys
    Media,
}

impl Watch {
    pub(super) fn run(self) -> Result<()> {
        let options = self.options()?;
        let show = self.show(&options)?;
        let end = End { after: self.seconds.map(Duration::from_secs), events: self.count };
        // The picture goes with it: an error is told on the terminal as it was.
        runtime()?.block_on(run(&options, show, end))
    }

    fn options(&self) -> Result<Options> {
        let gateway = self.gateway();
        let file = |given: &Option<PathBuf>, name: String| given.clone().unwrap_or_else(|| self.folder.join(name));
        let (proof, port) = match &self.password_file {
            Some(path) => (Proof::Password(password(path)?), 2748),
            None => {
                let name = format!("{}-{}", self.user, self.instance);
                let (folder, user, instance) = (self.folder.display(), &self.user, &self.instance);
                let path = self.folder.join(format!("{name}.pem"));
                let is_there = || path.try_exists().map_err(|error| Unusable(format!("{}: {error}", path.display())));
                if self.certificate.is_none() && !is_there()? {
                    return Err(Unusable(format!(
                        "{folder}/{name}.pem is not there. `callgate cert issue --folder {folder} --user {user} --instance \
                         {instance}` makes it; --folder, --user and --instance name another one"
                    ))
                    .into());
                }
                let proof = Proof::Certificate {
                    certificate: file(&self.certificate, format!("{name}.pem")),
                    key: file(&self.key, format!("{name}.key")),
                    ca: file(&self.ca, "ca.pem".into()),
                    server_name: self.server_name.clone(),
                    password: self.tls_password_file.as_ref().map(password).transpose()?,
                };
                (proof, 2749)
            }
        };
        Ok(Options {
            gateway: with_port(&gateway, port),
            user: self.user.clone(),
            instance: self.instance.clone(),
            proof,
            devices: self.devices.clone(),
            classes: self.classes.iter().map(|class| (*class).into()).collect(),
        })
    }

    /// Where the gateway is: as told, else by the config beside the certificate. One that isn't there, or is not for our eyes,
    /// is not needed.
    fn gateway(&self) -> String {
        if let Some(told) = &self.gateway {
            return told.clone();
        }
        let config = Config::load(self.folder.join(CONFIG)).ok();
        let door = config.and_then(|Config { doors, .. }| match self.password_file {
            Some(_) => doors.clear,
            None => doors.tls,
        });
        door.filter(|door| door.port() > 0).map_or_else(|| "localhost".into(), of_door)
    }

    fn show(&self, options: &Options) -> Result<Show> {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if self.json {
            return Ok(Show::Json);
        }
        if self.plain || dumb || !io::stdout().is_terminal() {
            return Ok(Show::Lines);
        }
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let who = format!("{}/{}", self.user, self.instance);
        Ok(Show::Picture {
            picture: Box::new(Picture::new(&who, &options.gateway, SystemTime::now())),
            terminal: Terminal::enter().context("the terminal can't be used: try --plain")?,
            style: if no_colour { Style::Plain } else { Style::Colour },
            is_old: true,
        })
    }
}

/// When it ends by itself.
struct End {
    after: Option<Duration>,
    events: Option<u64>,
}

/// How it is shown.
enum Show {
    Json,
    Lines,
    Picture { picture: Box<Picture>, terminal: Terminal, style: Style, is_old: bool },
}

async fn run(options: &Options, mut show: Show, end: End) -> Result<()> {
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal).into_iter();
    let (Some(mut interrupt), Some(mut terminate), Some(mut hangup)) =
        (signals.next().transpose()?, signals.next().transpose()?, signals.next().transpose()?)
    else {
        return Ok(());
    };
    let (begun, mut summary) = (Instant::now(), Summary::default());
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let mut watching = pin!(watch(options, &sender));
    let mut time_is_up = pin!(async {
        match end.after {
            Some(after) => sleep(after).await,
            None => std::future::pending().await,
        }
    });
    let mut redraw = interval(terminal::FRAME);
    redraw.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut left = end.events;
    let ended = loop {
        tokio::select! {
            ended = &mut watching => {
                // What came before it ended is shown.
                while let Ok(seen) = receiver.try_recv() {
                    summary.on(&seen);
                    show.on(&seen)?;
                }
                break ended;
            }
            Some(seen) = receiver.recv() => {
                summary.on(&seen);
                show.on(&seen)?;
                if seen.is_event() {
                    left = left.map(|left| left.saturating_sub(1));
                }
                if left == Some(0) {
                    break Ok(());
                }
            }
            _ = redraw.tick(), if show.is_picture() => show.draw()?,
            () = &mut time_is_up => break Ok(()),
            _ = interrupt.recv() => break Ok(()),
            _ = terminate.recv() => break Ok(()),
            _ = hangup.recv() => break Ok(()),
        }
    };
    show.leave();
    let watched = begun.elapsed();
    if ended.is_ok() {
        // The session is closed in order. A gateway that doesn't take it hears of it by the connection.
        drop(receiver);
        let _ = timeout(GOODBYE, watching).await;
    }
    if summary.was_open() {
        remark!("callgate: {}", summary.line(watched));
    }
    let place = || format!("no session of {}/{} at {}", options.user, options.instance, options.gateway);
    match ended {
        Ok(()) if summary.was_open() => Ok(()),
        Ok(()) => bail!("{}: {}", place(), summary.last_failure().unwrap_or("it ended before the gateway answered")),
        Err(error @ (ClientError::Open(_) | ClientError::SecureDoor | ClientError::PasswordRequired(_))) => {
            Err(anyhow::Error::new(error).context(place()))
        }
        Err(error) => Err(error.into()),
    }
}

impl Show {
    fn is_picture(&self) -> bool {
        matches!(self, Self::Picture { .. })
    }

    fn on(&mut self, seen: &Seen) -> Result<()> {
        match self {
            Self::Json => {
                if let Some(object) = seen.to_json() {
                    say!("{object}")?;
                }
                // Who takes only some of the objects would see nothing, and not know why.
                if let (true, Some(text)) = (is_no_session(seen), line(seen)) {
                    remark!("callgate: {text}");
                }
            }
            Self::Lines => match line(seen) {
                Some(text) if is_no_session(seen) => remark!("callgate: {text}"),
                Some(text) => say!("{text}")?,
                None => {}
            },
            Self::Picture { picture, is_old, .. } => {
                picture.on(seen, SystemTime::now());
                *is_old = true;
            }
        }
        Ok(())
    }

    fn draw(&mut self) -> Result<()> {
        if let Self::Picture { picture, terminal, style, is_old } = self
            && terminal.is_due(*is_old)
        {
            let lines = picture.lines(terminal.size(), *style, SystemTime::now());
            terminal.draw(&lines)?;
            *is_old = false;
        }
        Ok(())
    }

    /// Gives the terminal back at once.
    fn leave(&mut self) {
        if self.is_picture() {
            *self = Self::Lines;
        }
    }
}

/// Whether nothing could be seen, since no session opens.
fn is_no_session(seen: &Seen) -> bool {
    matches!(seen, Seen::Closed(closed) if !closed.was_open)
}

impl From<EventClass> for Class {
    fn from(class: EventClass) -> Self {
        match class {
            EventClass::Call => Self::Call,
            EventClass::Media => Self::Media,
        }
    }
}

/// The first line of a file.
fn password(path: &PathBuf) -> Result<Zeroizing<String>> {
    let unusable = |why: String| Unusable(format!("{}: {why}", path.display()));
    let text = Zeroizing::new(fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?);
    match text.lines().next() {
        Some(first) if !first.is_empty() => Ok(Zeroizing::new(first.to_owned())),
        _ => Err(unusable("there is no password in its first line".into()).into()),
    }
}

/// A door of this machine, as its certificate names it.
fn of_door(door: SocketAddr) -> String {
    let ip = door.ip();
    if ip.is_unspecified() { format!("localhost:{}", door.port()) } else { door.to_string() }
}
