//! A door: it accepts, shakes hands, runs the opening, and hands the open session to a worker.
//!
//! Nothing that a stranger does here is unbounded: connections at once, time to open, failed tries per source (R41a). A
//! door that can't accept, for want of file descriptors say, backs off and recovers.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use callgate_wire::{
    FrameDecoder, FrameError, MAX_FRAME_BEFORE_OPEN,
    v1::{self, ErrorCode, OpenResult, open_result, to_app},
};
use metrics::counter;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::{
    FAREWELL, Settings, audit, encode,
    live::Live,
    opening::{Admitted, Next, Opening, Refused},
    registry::{Lease, Registry},
    scram::Decoy,
    socket::{Connection, Received, Socket, end_tcp},
    worker::WorkerHandle,
};
use crate::{
    hub::{HubHandle, Rights},
    model,
    policy::Rule,
    trust::{self, Ledger},
};

/// The shortest and the longest pause after an accept that failed.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));

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
    /// One permit for each connection that isn't open yet. Each door has its own: strangers who block the clear one don't
    /// block the other.
    opening: Arc<Semaphore>,
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
        let opening = Arc::new(Semaphore::new(entrance.settings.limits.opening_connections));
        Ok(Self { listener, entrance, tls, opening })
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
        let (mut back_off, tasks) = (BACK_OFF.0, TaskTracker::new());
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((tcp, peer)) => {
                    back_off = BACK_OFF.0;
                    let visit = self.visit(peer.ip());
                    let stop = stop.clone();
                    tasks.spawn(async move {
                        tokio::select! {
                            () = stop.cancelled() => {}
                            () = visit.receive(tcp) => {}
                        }
                    });
                }
                Err(error) => {
                    counter!("callgate_accept_errors_total", "door" => self.kind().name()).increment(1);
                    warn!(door = self.kind().name(), %error, "a connection could not be accepted");
                    tokio::time::sleep(back_off).await;
                    back_off = BACK_OFF.1.min(2 * back_off);
                }
            }
        }
        tasks.close();
        tasks.wait().await;
    }

    fn kind(&self) -> model::Door {
        if self.tls.is_some() { model::Door::Tls } else { model::Door::Clear }
    }

    fn visit(&self, peer: IpAddr) -> Visit {
        Visit {
            entrance: Arc::clone(&self.entrance),
            tls: self.tls.as_ref().map(|side| side.load_full()),
            door: self.kind(),
            peer,
            opening: Arc::clone(&self.opening),
        }
    }
}

/// One connection on its way in.
struct Visit {
    entrance: Arc<Entrance>,
    tls: Option<Arc<TlsSide>>,
    door: model::Door,
    peer: IpAddr,
    opening: Arc<Semaphore>,
}

impl Visit {
    async fn receive(self, tcp: TcpStream) {
        if !self.entrance.registry.may_try(self.peer.to_canonical(), Instant::now()) {
            self.refused(ErrorCode::TooManyTries, "turned away");
            if self.tls.is_none() {
                // It is told, but no time is spent on it.
                let _ =
                    Socket::new(tcp, None, MAX_FRAME_BEFORE_OPEN).send(encode::close(ErrorCode::TooManyTries), None);
            }
            return;
        }
        let Ok(_permit) = Arc::clone(&self.opening).try_acquire_owned() else {
            return self.turn_away(tcp, ErrorCode::TooManyConnections).await;
        };
        // An event must not wait for the acknowledgement of the one before it.
        let _ = tcp.set_nodelay(true);
        let time_to_open = Duration::from_secs(self.entrance.settings.limits.open_seconds.into());
        let deadline = Instant::now() + time_to_open;

        let mut socket = match timeout(time_to_open, self.shake_hands(tcp)).await {
            Ok(Some(socket)) => socket,
            Ok(None) => return,
            Err(_) => return self.refused(ErrorCode::OpenTimeout, "in the TLS handshake"),
        };
        let mut decoder = FrameDecoder::new(MAX_FRAME_BEFORE_OPEN);
        match tokio::time::timeout_at(deadline.into(), self.converse(&mut socket, &mut decoder)).await {
            Ok(Ok((admitted, lease))) => self.hand_over(admitted, lease, socket, decoder).await,
            Ok(Err(None)) => self.refused(ErrorCode::ConnectionLost, "before the session was open"),
            Ok(Err(Some(refused))) => self.refuse(socket, refused).await,
            Err(_) => {
                self.refuse(socket, refusal(ErrorCode::OpenTimeout, "before the session was open")).await;
            }
        }
    }

    /// The TLS handshake, on the TLS door. `None`: it failed, and that is on record.
    async fn shake_hands(&self, tcp: TcpStream) -> Option<Socket> {
        let max_backlog = self.entrance.settings.limits.queued_bytes_per_session;
        let Some(side) = &self.tls else { return Some(Socket::new(tcp, None, max_backlog)) };
        match TlsAcceptor::from(Arc::clone(&side.config)).accept(tcp).into_fallible().await {
            Ok(stream) => {
                let (tcp, tls) = stream.into_inner();
                Some(Socket::new(tcp, Some(tls), max_backlog))
            }
            Err((error, tcp)) => {
                self.refused(handshake_code(&error), &error.to_string());
                let _ = timeout(FAREWELL, end_tcp(&tcp)).await;
                None
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
        }
    }

    /// With TLS 1.3 a refused client certificate of the app's making shows only with its first bytes.
    fn broken(&self, error: &io::Error) -> Option<Refused> {
        (error.kind() == io::ErrorKind::InvalidData)
            .then(|| refusal(trust::refusal_io(error), "the app broke the TLS protocol"))
    }

    fn enter(&self, admitted: &Admitted) -> Result<Lease, Refused> {
        let identity = &admitted.identity;
        let entered = self.entrance.registry.enter(identity.door, &identity.user.name, &identity.instance);
        entered.map_err(|code| Refused {
            user: Some(identity.user.name.to_string()),
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

    /// Refuses a connection before anything was read from it.
    async fn turn_away(&self, tcp: TcpStream, code: ErrorCode) {
        self.refused(code, "turned away");
        // On the TLS door nothing can be said without a handshake, which is what is to be spared.
        if self.tls.is_none() {
            let farewell = async {
                let mut socket = Socket::new(tcp, None, MAX_FRAME_BEFORE_OPEN);
                if socket.send_all(encode::close(code)).await.is_ok() {
                    socket.end().await;
                }
            };
            let _ = timeout(FAREWELL, farewell).await;
        }
    }

    async fn refuse(&self, mut socket: Socket, refused: Refused) {
        let Refused { code, rule, cause, user, as_result, reply_to } = refused;
        audit::refused(self.door, self.peer, user.as_deref(), code, rule, cause);
        self.count_failure(code);
        let farewell = async {
            if as_result {
                let result = Some(open_result::Result::Refused(v1::Error { rule: rule.0.into(), ..code.into() }));
                let result = to_app::Message::OpenResult(OpenResult { result });
                let _ = socket.send_all(encode::frame(reply_to, result)).await;
            } else if code != ErrorCode::ClosedByApp {
                let _ = socket.send_all(encode::close(code)).await;
            }
            socket.end().await;
        };
        let _ = timeout(FAREWELL, farewell).await;
    }

    fn refused(&self, code: ErrorCode, cause: &str) {
        let rule = Rule(callgate_wire::lookup(code).rule);
        audit::refused(self.door, self.peer, None, code, rule, cause);
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
            self.entrance.registry.failed(self.peer.to_canonical(), Instant::now());
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
    Refused { code, rule: Rule(callgate_wire::lookup(code).rule), cause, user: None, as_result: false, reply_to: 0 }
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
