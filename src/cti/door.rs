//! A door: it accepts, shakes hands, runs the opening, and hands the open session to a worker.
//!
//! Nothing that a stranger does here is unbounded: connections at once, time to open, failed tries per source (R41a). A
//! door that can't accept, for want of file descriptors say, backs off and recovers.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use callgate_wire::{
    FrameDecoder, FrameError, MAX_FRAME_BEFORE_OPEN,
    v1::{self, ErrorCode, OpenResult, open_result, to_app},
};
use metrics::counter;
use rustls::ServerConfig;
use socket2::SockRef;
use tokio::{
    net::{TcpListener, TcpStream},
    task::yield_now,
    time::{timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::{
    FAREWELL, Settings,
    arrivals::{Arrivals, Ticket},
    audit, encode,
    live::Live,
    opening::{Admitted, Next, Opening, Refused},
    refusals::{Noted, Refusals, Repeated},
    registry::{Lease, Registry, network},
    renewal::Renewal,
    scram::Decoy,
    session::Identity,
    socket::{Received, Socket, end_tcp},
    worker::WorkerHandle,
};
use crate::{
    hub::{HubHandle, Rights},
    model::{self, Network},
    policy::Rule,
    trust::{self, Ledger},
};

/// The shortest and the longest pause after an accept that failed.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

/// What the system may keep for an app that doesn't read, in bytes, before frames wait here. It keeps twice as much, with
/// what it adds to each packet.
const SEND_BUFFER: usize = 128 * 1024;
/// How often it is looked whether refusals are to be summed up.
const SUMMARY: Duration = Duration::from_secs(10);

/// What both doors share.
pub struct Entrance {
    /// What sessions need to know.
    pub settings: Arc<Settings>,
    /// Who is in.
    pub registry: Arc<Registry>,
    /// What counts for who comes in now. It is replaced as a whole, before the workers hear of it.
    pub current: ArcSwap<Current>,
    /// Where sessions live.
    pub workers: Vec<WorkerHandle>,
    /// Knows the number of devices.
    pub hub: HubHandle,
    /// Names this run of the gateway.
    pub epoch: u64,
}

/// What counts for who comes in.
pub struct Current {
    /// The newest rights.
    pub rights: Arc<Rights>,
    /// Stands in for users that don't exist.
    pub decoy: Decoy,
    /// Who may connect (R5); empty: anybody.
    pub networks: Vec<Network>,
}

impl Current {
    /// Whether this address may connect.
    fn lets_in(&self, peer: IpAddr) -> bool {
        self.networks.is_empty() || self.networks.iter().any(|network| network.contains(peer))
    }
}

/// The TLS side of the TLS door. It is replaced as a whole when its files are read again.
pub struct TlsSide {
    /// How to shake hands.
    pub config: Arc<ServerConfig>,
    /// Whose certificate it is.
    pub ledger: Arc<Ledger>,
}

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
    /// The connections that aren't open yet. Each door has its own: strangers at the clear one don't crowd the other.
    arrivals: Arc<Mutex<Arrivals<CancellationToken>>>,
    refusals: Arc<Mutex<Refusals>>,
}

impl Door {
    /// Opens a door: the TLS door with `tls`, the clear one without.
    ///
    /// # Errors
    /// [`DoorError`], when the port is taken or not allowed.
    pub async fn open(
        address: SocketAddr,
        entrance: Arc<Entrance>,
        tls: Option<Arc<ArcSwap<TlsSide>>>,
    ) -> Result<Self, DoorError> {
        let door = if tls.is_some() { model::Door::Tls } else { model::Door::Clear };
        let listener = TcpListener::bind(address).await.map_err(|source| DoorError { door, address, source })?;
        let arrivals = Arc::new(Mutex::new(Arrivals::new(entrance.settings.limits.opening_connections)));
        Ok(Self { listener, entrance, tls, arrivals, refusals: Arc::default() })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system doesn't say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts until `stop`, then waits for the connections that are being opened.
    pub async fn run(self, stop: CancellationToken) {
        let (mut back_off, mut warned, tasks) = (BACK_OFF.0, None, TaskTracker::new());
        let mut summary = tokio::time::interval(SUMMARY);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                _ = summary.tick() => {
                    self.summarise(Instant::now());
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
                    // Who only holds a file descriptor gives it to who comes next.
                    let displaced = lock(&self.arrivals).displace().map(|displaced| displaced.cancel());
                    back_off = if displaced.is_some() { BACK_OFF.0 } else { BACK_OFF.1.min(2 * back_off) };
                    tokio::time::sleep(back_off).await;
                }
            }
        }
        tasks.close();
        tasks.wait().await;
        self.summarise(Instant::now() + Duration::from_secs(3600));
    }

    fn kind(&self) -> model::Door {
        if self.tls.is_some() { model::Door::Tls } else { model::Door::Clear }
    }

    /// A new connection's visit. `None`: it was turned away.
    fn visit(&self, peer: IpAddr, tcp: &TcpStream) -> Option<Visit> {
        let peer = peer.to_canonical();
        if let Some(code) = self.turns_away(peer) {
            let noted = lock(&self.refusals).note(network(peer), code, Instant::now());
            let rule = Rule(callgate_wire::lookup(code).rule);
            tell(noted, self.kind(), code, || audit::refused(self.kind(), peer, None, code, rule, "turned away"));
            if self.tls.is_none() {
                // It is told, but no time is spent on it.
                let _ = tcp.try_write(&encode::close(code));
            }
            return None;
        }
        let displaced = CancellationToken::new();
        let (ticket, makes_room) = lock(&self.arrivals).enter(network(peer), displaced.clone());
        if let Some(other) = makes_room {
            other.cancel();
        }
        let place = Place { arrivals: Arc::clone(&self.arrivals), ticket, displaced };
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
        if !self.entrance.current.load().lets_in(peer) {
            return Some(ErrorCode::NetworkNotAllowed);
        }
        (!self.entrance.registry.may_try(peer, Instant::now())).then_some(ErrorCode::TooManyTries)
    }

    /// Records what was only counted since.
    fn summarise(&self, now: Instant) {
        for Repeated { source, code, count } in lock(&self.refusals).due(now) {
            audit::refused_again(self.kind(), source, code, count);
        }
    }
}

/// A place among the connections that aren't open yet, given back when dropped.
struct Place {
    arrivals: Arc<Mutex<Arrivals<CancellationToken>>>,
    ticket: Ticket,
    /// Somebody else needs the place.
    displaced: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.arrivals).leave(self.ticket);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One connection on its way in.
struct Visit {
    entrance: Arc<Entrance>,
    tls: Option<Arc<TlsSide>>,
    door: model::Door,
    peer: IpAddr,
    deadline: Instant,
    place: Place,
    refusals: Arc<Mutex<Refusals>>,
}

impl Visit {
    async fn receive(self, tcp: TcpStream) {
        // An event must not wait for the acknowledgement of the one before it.
        let _ = tcp.set_nodelay(true);
        // By itself the system would keep megabytes for an app that doesn't read (R41a).
        let _ = SockRef::from(&tcp).set_send_buffer_size(SEND_BUFFER);
        match self.in_time(tcp.readable()).await {
            Ok(_) => {}
            Err(code) => return self.end_silent(&tcp, code),
        }
        let mut socket = match self.in_time(self.shake_hands(tcp)).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(tcp)) => return self.farewell(end_tcp(&tcp)).await,
            Err(code) => return self.refused(code, "in the TLS handshake"),
        };
        let mut decoder = FrameDecoder::new(MAX_FRAME_BEFORE_OPEN);
        match self.in_time(self.converse(&mut socket, &mut decoder)).await {
            Ok(Ok((admitted, lease))) => self.hand_over(admitted, lease, socket, decoder).await,
            Ok(Err(None)) => self.refused(ErrorCode::ConnectionLost, "before the session was open"),
            Ok(Err(Some(refused))) => self.refuse(socket, refused).await,
            Err(code) => self.refuse(socket, refusal(code, "before the session was open")).await,
        }
    }

    /// What comes of `step`, or the code to end with: it took too long, or somebody else needs the place.
    async fn in_time<T>(&self, step: impl Future<Output = T>) -> Result<T, ErrorCode> {
        tokio::select! {
            biased;
            () = self.place.displaced.cancelled() => Err(ErrorCode::TooManyConnections),
            done = timeout_at(self.deadline.into(), step) => done.map_err(|_| ErrorCode::OpenTimeout),
        }
    }

    /// Ends a connection that has said nothing. That cost nothing, so it doesn't count as a try.
    fn end_silent(&self, tcp: &TcpStream, code: ErrorCode) {
        self.record(None, code, Rule(callgate_wire::lookup(code).rule), "nothing was heard");
        if self.tls.is_none() {
            let _ = tcp.try_write(&encode::close(code));
        }
    }

    /// The TLS handshake, on the TLS door. If it fails, that is on record.
    async fn shake_hands(&self, tcp: TcpStream) -> Result<Socket, TcpStream> {
        let max_backlog = self.entrance.settings.limits.queued_bytes_per_session;
        let Some(side) = &self.tls else { return Ok(Socket::new(tcp, None, max_backlog)) };
        match TlsAcceptor::from(Arc::clone(&side.config)).accept(tcp).into_fallible().await {
            Ok(stream) => {
                let (tcp, tls) = stream.into_inner();
                Ok(Socket::new(tcp, Some(tls), max_backlog))
            }
            Err((error, tcp)) => {
                self.refused(handshake_code(&error), &error.to_string());
                Err(tcp)
            }
        }
    }

    /// Hello to open. `None`: the connection is gone.
    async fn converse(
        &self,
        socket: &mut Socket,
        decoder: &mut FrameDecoder,
    ) -> Result<(Admitted, Lease), Option<Refused>> {
        let entrance = &self.entrance;
        // Before the ledger is asked: what it says later than these rights is later than their barrier, too.
        let current = entrance.current.load_full();
        let certificate = match (&self.tls, socket.tls()) {
            (Some(side), Some(tls)) => {
                let identity = trust::peer_identity(tls, &side.ledger);
                // It was in the ledger a moment ago, when the handshake was verified.
                Some(
                    identity
                        .ok_or_else(|| Some(refusal(ErrorCode::CertificateNotInLedger, "gone since the handshake")))?,
                )
            }
            _ => None,
        };
        let (settings, rights) = (Arc::clone(&entrance.settings), Arc::clone(&current.rights));
        let mut opening = Opening::new(settings, rights, current.decoy.clone(), certificate);
        let mut scratch = vec![0; MAX_FRAME_BEFORE_OPEN];
        socket.receive_early(decoder, &mut scratch).map_err(|_| None)?;
        loop {
            while let Some(message) =
                decoder.next_message::<v1::ToGateway>().map_err(|error| Some(bad_frame(&error)))?
            {
                let reply_to = message.request_id;
                match opening.on_message(message) {
                    Next::Reply(reply) => {
                        socket.send_all(encode::frame(reply_to, reply)).await.map_err(|_| None)?;
                    }
                    Next::Refuse(refused) => return Err(Some(refused)),
                    Next::Open(admitted) => {
                        let admitted =
                            self.judge_anew(admitted).map_err(|refused| Some(Refused { reply_to, ..refused }))?;
                        let lease = self.enter(&admitted).map_err(|refused| Some(Refused { reply_to, ..refused }))?;
                        let opened = self.opened(&admitted, &lease);
                        socket.send_all(encode::frame(reply_to, opened)).await.map_err(|_| None)?;
                        audit::opened(&lease.session, &admitted.identity, &admitted.software, self.peer);
                        return Ok((admitted, lease));
                    }
                }
            }
            socket.tcp().readable().await.map_err(|_| None)?;
            match socket.receive(decoder, &mut scratch) {
                Ok(Received::Some) => {}
                Ok(Received::End) => return Err(None),
                Err(error) => return Err(self.broken(&error)),
            }
            // Readiness spends no budget of the runtime: bytes that never end must not keep the thread.
            yield_now().await;
        }
    }

    /// With TLS 1.3 a refused client certificate of the app's making shows only with its first bytes.
    fn broken(&self, error: &io::Error) -> Option<Refused> {
        (error.kind() == io::ErrorKind::InvalidData)
            .then(|| refusal(trust::refusal_io(error), "the app broke the TLS protocol"))
    }

    /// Rights may have changed since the opening began: nobody is let in by the old ones (R15). What was proven by a
    /// password that has changed since is proven no more; a TLS handshake that is done stays so, and its certificate is
    /// looked up again.
    fn judge_anew(&self, admitted: Admitted) -> Result<Admitted, Refused> {
        let current = self.entrance.current.load();
        if current.rights.version == admitted.rights.version {
            return Ok(admitted);
        }
        let Admitted { identity, .. } = admitted;
        let name = &identity.user.name;
        let refused = |code, is_proven| Refused {
            user: Some(name.to_string()),
            is_proven,
            as_result: true,
            ..refusal(code, "rights changed while the session was being opened")
        };
        if !current.lets_in(self.peer) {
            return Err(refused(ErrorCode::NetworkNotAllowed, true));
        }
        let rights = Arc::clone(&current.rights);
        let renewal = Renewal::new(rights, self.entrance.hub.device_count());
        let user = renewal.judge(&identity).map_err(|code| refused(code, true))?;
        let same_password = match (&identity.user.password, &user.password) {
            (Some(was), Some(is)) => was.stored_key().same_as(is.stored_key()),
            _ => false,
        };
        if self.door == model::Door::Clear && !same_password {
            return Err(refused(ErrorCode::AuthenticationFailed, false));
        }
        Ok(Admitted { identity: Identity { user, ..identity }, rights: renewal.rights, ..admitted })
    }

    fn enter(&self, admitted: &Admitted) -> Result<Lease, Refused> {
        let identity = &admitted.identity;
        let entered = self.entrance.registry.enter(identity.door, &identity.user.name, &identity.instance);
        entered.map_err(|code| Refused {
            user: Some(identity.user.name.to_string()),
            is_proven: true,
            as_result: true,
            ..refusal(code, "the registry is full or the instance is in")
        })
    }

    fn opened(&self, admitted: &Admitted, lease: &Lease) -> to_app::Message {
        let identity = &admitted.identity;
        let devices = admitted.rights.device_count(&identity.user, self.entrance.hub.device_count());
        to_app::Message::OpenResult(OpenResult {
            result: Some(open_result::Result::Opened(v1::Opened {
                session: lease.session.to_string(),
                device_count: u32::try_from(devices).unwrap_or(u32::MAX),
                heartbeat_seconds: admitted.heartbeat_seconds,
                certificate_expires_unix_seconds: admitted.certificate_expires.unwrap_or_default(),
                scram_server_final: admitted.scram_server_final.clone().into(),
                epoch: self.entrance.epoch,
            })),
        })
    }

    async fn hand_over(&self, admitted: Admitted, lease: Lease, socket: Socket, decoder: FrameDecoder) {
        let settings = Arc::clone(&self.entrance.settings);
        let live = Live::new(admitted, settings, socket, decoder, lease);
        match self.entrance.workers.iter().min_by_key(|worker| worker.load()) {
            Some(worker) => worker.adopt(live),
            None => warn!("there is no worker for an open session"),
        }
    }

    async fn refuse(&self, mut socket: Socket, refused: Refused) {
        let Refused { code, rule, cause, user, is_proven, as_result, reply_to } = refused;
        if is_proven {
            // Somebody is responsible for this app: each of its refusals counts for itself.
            audit::refused(self.door, self.peer, user.as_deref(), code, rule, cause);
        } else {
            self.record(user.as_deref(), code, rule, cause);
        }
        self.count_failure(code);
        self.farewell(async {
            if as_result {
                let result = Some(open_result::Result::Refused(v1::Error { rule: rule.0.into(), ..code.into() }));
                let result = to_app::Message::OpenResult(OpenResult { result });
                let _ = socket.send_all(encode::frame(reply_to, result)).await;
            } else if code != ErrorCode::ClosedByApp {
                let _ = socket.send_all(encode::close(code)).await;
            }
            socket.end().await;
        })
        .await;
    }

    /// Says good-bye, for as long as nobody else needs the place.
    async fn farewell(&self, words: impl Future<Output = ()>) {
        tokio::select! {
            biased;
            _ = timeout(FAREWELL, words) => {}
            () = self.place.displaced.cancelled() => {}
        }
    }

    fn record(&self, user: Option<&str>, code: ErrorCode, rule: Rule, cause: &str) {
        let noted = lock(&self.refusals).note(network(self.peer), code, Instant::now());
        tell(noted, self.door, code, || audit::refused(self.door, self.peer, user, code, rule, cause));
    }

    fn refused(&self, code: ErrorCode, cause: &str) {
        let rule = Rule(callgate_wire::lookup(code).rule);
        self.record(None, code, rule, cause);
        self.count_failure(code);
    }

    /// What counts against the source: what guessers and floods do. A full gateway, an instance that is in, and a
    /// connection that just ends, as a health check's does, are nobody's fault.
    fn count_failure(&self, code: ErrorCode) {
        let counts = match code {
            ErrorCode::InstanceAlreadyOpen | ErrorCode::ConnectionLost | ErrorCode::ClosedByApp => false,
            code => matches!(code as i32, 100..=299 | 500..=599),
        };
        if counts {
            self.entrance.registry.failed(self.peer, Instant::now());
        }
    }
}

/// An app that ends the connection in the handshake may be a health check, or one that doesn't trust the gateway.
fn handshake_code(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            ErrorCode::ConnectionLost
        }
        _ => trust::refusal_io(error),
    }
}

fn refusal(code: ErrorCode, cause: &'static str) -> Refused {
    Refused {
        code,
        rule: Rule(callgate_wire::lookup(code).rule),
        cause,
        user: None,
        is_proven: false,
        as_result: false,
        reply_to: 0,
    }
}

/// Has a refusal before a session is open told by `record`, or only counted.
fn tell(noted: Noted, door: model::Door, code: ErrorCode, record: impl FnOnce()) {
    match noted {
        Noted::First(makes_room) => {
            if let Some(Repeated { source, code, count }) = makes_room {
                audit::refused_again(door, source, code, count);
            }
            record();
        }
        Noted::Counted => audit::count_refusal(code),
    }
}

fn bad_frame(error: &FrameError) -> Refused {
    match error {
        FrameError::TooLarge { .. } => refusal(ErrorCode::FrameTooLarge, "a frame over the limit"),
        _ => refusal(ErrorCode::FrameMalformed, "a frame that is no message"),
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
