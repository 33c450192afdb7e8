//! A door: it listens, turns away who may not connect, and has each connection's way in by [`super::visit`].
//!
//! Nothing that a stranger does here is unbounded: connections at once, time to open, failed tries per source (R41a). A
//! door that can't accept, for want of file descriptors say, backs off and recovers.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use callgate_wire::v1::ErrorCode;
use metrics::counter;
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::{
    audit, encode,
    entrance::{Crowd, Entrance, TlsSide, lock, tell},
    refusals::{Kind, Refusals},
    tries::network,
    visit::{Place, Visit},
};
use crate::{model, policy::Rule, trust::ClientCrls};

/// The shortest and the longest pause after an accept that failed.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// How often it is looked whether refusals are to be summed up.
const SUMMARY: Duration = Duration::from_secs(10);

/// A door can't be opened.
#[derive(Debug, thiserror::Error)]
#[error("the {} door can't listen on {address}{}", door.name(), hint(source))]
pub struct DoorError {
    door: model::Door,
    address: SocketAddr,
    #[source]
    source: io::Error,
}

/// A door that listens.
pub struct Door {
    listener: TcpListener,
    entrance: Arc<Entrance>,
    /// `None` on the clear door.
    tls: Option<Arc<ArcSwap<TlsSide>>>,
    refusals: Arc<Mutex<Refusals>>,
}

impl Door {
    /// Takes the port of a door: the TLS door with `tls`, the clear one without. It lets nobody in before it [runs](Self::run).
    ///
    /// # Errors
    /// [`DoorError`], when the port is taken or not allowed.
    pub async fn bind(
        address: SocketAddr,
        entrance: Arc<Entrance>,
        tls: Option<Arc<ArcSwap<TlsSide>>>,
    ) -> Result<Self, DoorError> {
        let door = if tls.is_some() { model::Door::Tls } else { model::Door::Clear };
        let listener = TcpListener::bind(address).await.map_err(|source| DoorError { door, address, source })?;
        Ok(Self { listener, entrance, tls, refusals: Arc::default() })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system doesn't say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// What is due from time to time. `told` are the lists that were told of last.
    fn look_around(&self, told: &mut Arc<ClientCrls>) {
        self.summarise(Instant::now());
        if let Some(side) = &self.tls {
            let crls = Arc::clone(&side.load().crls);
            told.leave(&crls);
            crls.tell_ages(OffsetDateTime::now_utc());
            *told = crls;
        }
    }

    /// Accepts until `stop`, then waits for the connections that are being opened.
    pub async fn run(self, stop: CancellationToken) {
        let (mut back_off, mut warned, tasks) = (BACK_OFF.0, None, TaskTracker::new());
        let mut summary = tokio::time::interval(SUMMARY);
        let mut crls = Arc::default();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                _ = summary.tick() => {
                    self.look_around(&mut crls);
                    continue;
                }
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, peer)) => {
                    back_off = BACK_OFF.0;
                    if let Some(visit) = self.visit(peer.ip(), &tcp) {
                        let stop = stop.clone();
                        tasks.spawn(async move {
                            tokio::select! {
                                () = stop.cancelled() => {}
                                () = visit.receive(tcp) => {}
                            }
                        });
                    }
                }
                Err(error) => {
                    counter!("callgate_accept_errors_total", "door" => self.kind().name()).increment(1);
                    if warned.is_none_or(|at: Instant| at.elapsed() >= SUMMARY) {
                        warned = Some(Instant::now());
                        warn!(door = self.kind().name(), %error, "a connection could not be accepted");
                    }
                    let makes_room = self.entrance.crowds.displace();
                    back_off = if makes_room { BACK_OFF.0 } else { BACK_OFF.1.min(2 * back_off) };
                    tokio::time::sleep(back_off).await;
                }
            }
        }
        tasks.close();
        tasks.wait().await;
        crls.leave(&ClientCrls::default());
        self.summarise(Instant::now() + Duration::from_secs(3600));
    }

    fn kind(&self) -> model::Door {
        if self.tls.is_some() { model::Door::Tls } else { model::Door::Clear }
    }

    fn crowd(&self) -> &Crowd {
        let crowds = &self.entrance.crowds;
        if self.tls.is_some() { &crowds.tls } else { &crowds.clear }
    }

    /// A new connection's visit. `None`: it was turned away.
    fn visit(&self, peer: IpAddr, tcp: &TcpStream) -> Option<Visit> {
        let peer = peer.to_canonical();
        if let Some(code) = self.turns_away(peer) {
            let kind = Kind { source: network(peer), user: None, code, cause: "turned away" };
            let noted = lock(&self.refusals).note(kind, Instant::now());
            let (rule, cause) = (Rule(callgate_wire::lookup(code).rule), "turned away");
            let refusal = audit::Refusal { door: self.kind(), peer, user: None, code, rule, cause, shown: None };
            tell(&*self.entrance.trail, noted, &refusal);
            if self.tls.is_none() {
                // It is told, but no time is spent on it.
                let _ = tcp.try_write(&encode::close(code));
            }
            return None;
        }
        let displaced = CancellationToken::new();
        let crowd = self.crowd();
        let (ticket, makes_room) = lock(crowd).enter(network(peer), displaced.clone());
        if let Some(other) = makes_room {
            other.cancel();
        }
        let place = Place { arrivals: Arc::clone(crowd), ticket, displaced };
        let time_to_open = Duration::from_secs(self.entrance.settings.limits.open_seconds.into());
        Some(Visit {
            entrance: Arc::clone(&self.entrance),
            tls: self.tls.as_ref().map(|side| side.load_full()),
            door: self.kind(),
            peer,
            deadline: Instant::now() + time_to_open,
            place,
            refusals: Arc::clone(&self.refusals),
        })
    }

    /// Why nothing that this source sends is read, if so.
    fn turns_away(&self, peer: IpAddr) -> Option<ErrorCode> {
        if !self.entrance.current.load().networks.allow(peer) {
            return Some(ErrorCode::NetworkNotAllowed);
        }
        (!self.entrance.registry.may_try(peer, Instant::now())).then_some(ErrorCode::TooManyTries)
    }

    /// Records what was only counted since.
    fn summarise(&self, now: Instant) {
        // The lock is not held while they are written.
        let due = lock(&self.refusals).due(now);
        for repeated in due {
            audit::refused_again(&*self.entrance.trail, self.kind(), &repeated);
        }
    }
}

/// How to mend the usual causes.
fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "; another program listens there: stop it, or set doors.clear or doors.tls to a free port"
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege: choose a higher one",
        io::ErrorKind::AddrNotAvailable => "; the machine has no such address: use one of its own, or 0.0.0.0 for all",
        _ => "",
    }
}

/// Logs where a door listens.
pub fn announce(door: &Door) {
    if let Ok(address) = door.local_addr() {
        info!(door = door.kind().name(), %address, "listening");
    }
}
