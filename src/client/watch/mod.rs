//! `callgate watch`: what one session sees, as it happens, and a new session whenever the last one ends.
//!
//! It opens its session as any app does. It ends only when a person has to mend something, when it was told how long to
//! watch, or when nobody looks any more. Keys that come are dropped, and so wiped, before anything is shown.

mod address;
mod backoff;
mod picture;
mod route;
mod seen;
mod summary;
mod text;

use std::{
    cell::RefCell,
    collections::BTreeSet,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use callgate_sdk::client::{
    CapabilityChange, Closed, Connector, Event, EventClass, Events, Identity, OpenError, Refusal, RequestError, Roots,
    Session,
};
use callgate_wire::v1;
use tokio::{
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, sleep},
};
use zeroize::Zeroizing;

pub use self::{
    address::{host, with_port},
    picture::{Picture, Size, Style},
    seen::{
        CallInProgress, CallNames, CallSeen, CapabilitySeen, ClosedSeen, GapSeen, Head, MediaSeen, Monitored, Opened,
        OutOfServiceSeen, Seen, StoppedSeen, Who,
    },
    summary::Summary,
    text::{line, shown},
};
use self::{backoff::Backoff, route::Route};
use super::ClientError;

/// Between two signs of life.
const PULSE: Duration = Duration::from_secs(1);
/// How often it is looked whether there are new devices.
const LOOK_AGAIN: Duration = Duration::from_secs(5);
/// Of more devices at once there is one line, instead of one for each.
const MANY: usize = 10;

/// Where to watch, as whom, and what.
pub struct Options {
    /// The gateway, as "host:port".
    pub gateway: String,
    /// Which user it is.
    pub user: String,
    /// Which of its instances.
    pub instance: String,
    /// How it proves that.
    pub proof: Proof,
    /// The devices; none means all that the session may see.
    pub devices: Vec<String>,
    /// The classes of events; none means all.
    pub classes: Vec<Class>,
}

/// How the session proves who it is, and so which door it uses.
pub enum Proof {
    /// The TLS door.
    Certificate {
        /// The certificate (PEM).
        certificate: PathBuf,
        /// Its private key (PEM).
        key: PathBuf,
        /// The CAs that the gateway's certificate may come from (PEM).
        ca: PathBuf,
        /// The name that must stand in the gateway's certificate; without it, the host of its address.
        server_name: Option<String>,
        /// The password, if the user needs one besides its certificate.
        password: Option<Zeroizing<String>>,
    },
    /// The clear door.
    Password(Zeroizing<String>),
}

/// A class of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// States of calls.
    Call,
    /// Media streams.
    Media,
}

/// Watches until the receiver is gone. What is seen goes to it in the order in which it came.
///
/// # Errors
/// The files of the identity can't be used; a session doesn't open, for a reason that won't pass by itself; an administrator
/// closes it; or a device can't be monitored.
pub async fn watch(options: &Options, seen: &mpsc::Sender<Seen>) -> Result<(), ClientError> {
    let connector = options.connector()?;
    let mut route = Route::new(&options.gateway);
    let mut backoff = Backoff::default();
    loop {
        let connector = connector.to_gateway(route.here(), options.name_of(route.here()));
        let opened = tokio::select! {
            opened = connector.open(&options.user, &options.instance) => opened,
            () = seen.closed() => return Ok(()),
        };
        let mut delay = None;
        let (code, why, was_open) = match opened {
            Ok((session, mut events)) => {
                let begun = Instant::now();
                if seen.send(Seen::opened(&session, route.here(), SystemTime::now())).await.is_err() {
                    return Ok(());
                }
                let ended = one_session(options, &session, &mut events, seen).await?;
                backoff.was_open_for(begun.elapsed());
                match ended {
                    Ended::Unwatched => {
                        session.close().await;
                        return Ok(());
                    }
                    Ended::SentTo(gateways) => {
                        session.close().await;
                        route.sent_to(&gateways);
                        delay = Some(Duration::ZERO);
                        (None, format!("This gateway is about to stop: on to {}.", route.here()), true)
                    }
                    Ended::Closed(closed) => (code(&closed), closed.to_string(), true),
                }
            }
            // What a person must mend here may be in order at the next gateway.
            Err(error) if error.is_temporary() || !route.is_home() => {
                let told = (open_code(&error), reason(&error, route.here()), false);
                route.further();
                told
            }
            Err(OpenError::SecureDoor) => return Err(ClientError::SecureDoor),
            Err(OpenError::Refused(refusal)) if refusal.code() == Some(v1::ErrorCode::PasswordRequired) => {
                return Err(ClientError::PasswordRequired(refusal.to_string()));
            }
            Err(error) => return Err(error.into()),
        };
        let delay = delay.unwrap_or_else(|| backoff.next_delay());
        // Whoever closed it wants it closed, and asks to be asked.
        let is_final = was_open && code.as_deref() == Some(v1::ErrorCode::ClosedByAdministrator.as_str_name());
        let (at, retry_seconds) = (seen::rfc3339(SystemTime::now()), (!is_final).then_some(delay.as_secs_f64()));
        let closed = ClosedSeen { at, code, why: why.clone(), retry_seconds, was_open };
        if seen.send(Seen::Closed(closed)).await.is_err() {
            return Ok(());
        }
        if is_final {
            return Err(ClientError::Closed(why));
        }
        tokio::select! {
            () = sleep(delay) => {}
            () = seen.closed() => return Ok(()),
        }
    }
}

/// Why one session is over.
enum Ended {
    /// Nobody looks any more.
    Unwatched,
    /// The gateway is about to stop, and these are the others, best first.
    SentTo(Vec<String>),
    Closed(Closed),
}

/// Why no session opens, and what to look at.
fn reason(error: &OpenError, gateway: &str) -> String {
    let why = text::ended(&error.to_string());
    match error {
        OpenError::Unreachable { .. } => format!(
            "{why} Does `callgate serve` run, and does its log say that it is \"listening\" there? `--gateway` names \
             another address."
        ),
        OpenError::Timeout(_) => format!("{why} Is {gateway} a gateway, and does no firewall stand before it?"),
        _ => why,
    }
}

/// Shows one session until it ends, and says why it did.
async fn one_session(
    options: &Options,
    session: &Session,
    events: &mut Events,
    seen: &mpsc::Sender<Seen>,
) -> Result<Ended, ClientError> {
    let mut pulse = interval(PULSE);
    pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Events come while devices are still being monitored, one after another.
    let monitored = RefCell::default();
    let monitoring = monitor(options, session, seen, Those::All, &monitored);
    tokio::pin!(monitoring);
    let mut is_monitoring = true;
    // A device that nobody configured is known only from its first call on.
    let mut look_again = interval(LOOK_AGAIN);
    look_again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let next = tokio::select! {
            done = &mut monitoring, if is_monitoring => {
                is_monitoring = false;
                match done {
                    Ok(()) => continue,
                    Err(RequestError::Closed(closed)) => return Ok(Ended::Closed(closed)),
                    Err(error) => return Err(error.into()),
                }
            }
            event = events.next() => match event {
                Some(event) => {
                    if let Event::CapabilityChanged(changed) = &event
                        && changed.changes.contains(&CapabilityChange::Devices)
                    {
                        // New devices, and those that came back.
                        monitoring.set(monitor(options, session, seen, Those::TheyMaySee, &monitored));
                        is_monitoring = true;
                    }
                    if let Event::DeviceOutOfService(gone) = &event
                        && gone.lines.is_empty()
                    {
                        monitored.borrow_mut().remove(&gone.device);
                    }
                    Seen::event(&event)
                }
                None => return Ok(Ended::Closed(events.closed().cloned().unwrap_or(Closed::ByApp))),
            },
            _ = look_again.tick(), if options.devices.is_empty() && !is_monitoring => {
                monitoring.set(monitor(options, session, seen, Those::TheyMaySee, &monitored));
                is_monitoring = true;
                continue;
            }
            _ = pulse.tick() => Some(Seen::Pulse { silence_seconds: session.silence().as_secs() }),
            () = seen.closed() => return Ok(Ended::Unwatched),
        };
        let Some(next) = next else { continue };
        let sent_to = match &next {
            Seen::GatewayLeaving(told) => Some(told.gateways.clone()),
            _ => None,
        };
        if seen.send(next).await.is_err() {
            return Ok(Ended::Unwatched);
        }
        if let Some(gateways) = sent_to {
            return Ok(Ended::SentTo(gateways));
        }
    }
}

/// Which devices must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Those {
    /// All that were asked for.
    All,
    /// Those that the session may see now.
    TheyMaySee,
}

/// Monitors devices. Those that are monitored already stay so.
async fn monitor(
    options: &Options,
    session: &Session,
    seen: &mpsc::Sender<Seen>,
    those: Those,
    monitored: &RefCell<BTreeSet<String>>,
) -> Result<(), RequestError> {
    let devices = match options.devices.as_slice() {
        [] => session.devices("").await?.into_iter().map(|device| device.name).collect(),
        named => named.to_vec(),
    };
    let classes: Vec<EventClass> = options.classes.iter().map(|class| (*class).into()).collect();
    let new: Vec<String> = devices.into_iter().filter(|device| !monitored.borrow().contains(device)).collect();
    let is_one_of_many = new.len() > MANY;
    let (mut devices, mut with_calls) = (0, 0);
    for device in new {
        let snapshot = match session.monitor(&device, &classes).await {
            Err(RequestError::Refused(_)) if those == Those::TheyMaySee => continue,
            monitored => monitored?,
        };
        monitored.borrow_mut().insert(device);
        // Who looks no more is noticed by the other one.
        let monitored = Monitored { is_one_of_many, ..snapshot.into() };
        devices += 1;
        with_calls += usize::from(!monitored.calls.is_empty() || monitored.calls_left_out > 0);
        let _ = seen.send(Seen::Monitored(monitored)).await;
    }
    if is_one_of_many {
        let _ = seen.send(Seen::MonitoredMany { devices, with_calls }).await;
    }
    Ok(())
}

impl Options {
    fn connector(&self) -> Result<Connector, ClientError> {
        let connector = match &self.proof {
            Proof::Password(password) => Connector::clear(&self.gateway, &self.user, password.as_str()),
            Proof::Certificate { certificate, key, ca, password, .. } => {
                let identity = Identity::from_files(certificate, key)?;
                let roots = Roots::from_file(ca)?;
                let connector = Connector::tls(&self.gateway, self.name_of(&self.gateway), identity, roots);
                match password {
                    Some(password) => connector.password(password.as_str()),
                    None => connector,
                }
            }
        };
        Ok(connector.software(concat!("callgate watch ", env!("CARGO_PKG_VERSION"))))
    }

    /// The name that must stand in the certificate of a gateway of this address.
    fn name_of<'a>(&'a self, address: &'a str) -> &'a str {
        match &self.proof {
            Proof::Certificate { server_name: Some(name), .. } => name,
            _ => host(address),
        }
    }
}

impl From<Class> for EventClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Call => Self::Call,
            Class::Media => Self::Media,
        }
    }
}

fn code(closed: &Closed) -> Option<String> {
    match closed {
        Closed::ByGateway(refusal) => name_of(refusal),
        _ => None,
    }
}

fn open_code(error: &OpenError) -> Option<String> {
    match error {
        OpenError::Refused(refusal) | OpenError::Closed(refusal) => name_of(refusal),
        _ => None,
    }
}

fn name_of(refusal: &Refusal) -> Option<String> {
    refusal.code().map(|code| code.as_str_name().to_owned())
}
