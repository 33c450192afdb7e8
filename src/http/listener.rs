//! What accepts: it turns away who may not connect, before anything is read, and backs off when it can't accept (R5, R41a).

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use callgate_wire::v1::ErrorCode;
use hyper::StatusCode;
use metrics::{counter, gauge};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use super::{
    Peer,
    connection::{Answer, Inside, serve, shake_hands},
    places::Place,
    problem::unread,
    shell::{Shared, TlsSide},
    unix::UnixSocket,
};

/// The shortest and the longest pause after an accept that failed.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// How often it is told that connections can't be accepted.
const TOLD: Duration = Duration::from_secs(10);

/// A socket that listens.
pub(super) enum Listener {
    Clear(TcpListener),
    Tls(TcpListener, Arc<ArcSwap<TlsSide>>),
    Unix(UnixSocket),
}

/// A connection that has come.
enum Arrived {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// Counts a connection for as long as it is there.
struct Counted {
    service: &'static str,
    _place: Place,
}

impl Listener {
    /// Accepts until `stop`, then waits for the requests that run; who takes longer than the limit is cut off.
    pub(super) async fn run<S: Inside<B>, B: Answer>(self, shared: Arc<Shared>, service: S, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let cut = CancellationToken::new();
        let (mut back_off, mut warned) = (BACK_OFF.0, None);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = self.accept() => accepted,
            };
            match accepted {
                Ok(arrived) => {
                    back_off = BACK_OFF.0;
                    let Some(place) = shared.admit(&self, &arrived) else { continue };
                    let serving = self.take(arrived, place, Arc::clone(&shared), service.clone(), stop.clone());
                    let cut = cut.clone();
                    tasks.spawn(async move {
                        tokio::select! {
                            () = cut.cancelled() => {}
                            () = serving => {}
                        }
                    });
                }
                Err(error) => {
                    let service = shared.service.name();
                    counter!("callgate_http_accept_errors_total", "service" => service).increment(1);
                    if warned.is_none_or(|at: Instant| at.elapsed() >= TOLD) {
                        warned = Some(Instant::now());
                        warn!(service, %error, "a connection could not be accepted");
                    }
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = tokio::time::sleep(back_off) => {}
                    }
                    back_off = BACK_OFF.1.min(2 * back_off);
                }
            }
        }
        // Nobody connects any more, while requests that run are answered.
        drop(self);
        tasks.close();
        if tokio::time::timeout(shared.limits.stop, tasks.wait()).await.is_err() {
            cut.cancel();
            tasks.wait().await;
        }
    }

    async fn accept(&self) -> io::Result<Arrived> {
        match self {
            Self::Clear(tcp) | Self::Tls(tcp, _) => tcp.accept().await.map(|(tcp, peer)| Arrived::Tcp(tcp, peer)),
            Self::Unix(unix) => unix.listener.accept().await.map(|(unix, _)| Arrived::Unix(unix)),
        }
    }

    /// What becomes of a connection that has a place.
    fn take<S: Inside<B>, B: Answer>(
        &self,
        arrived: Arrived,
        place: Place,
        shared: Arc<Shared>,
        service: S,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let side = match self {
            Self::Tls(_, side) => Some(side.load_full()),
            Self::Clear(_) | Self::Unix(_) => None,
        };
        let counted = Counted::new(shared.service.name(), place);
        async move {
            let _counted = counted;
            match (arrived, side) {
                (Arrived::Tcp(tcp, peer), Some(side)) => {
                    let _ = tcp.set_nodelay(true);
                    let shaken = tokio::select! {
                        () = stop.cancelled() => None,
                        shaken = shake_hands(&shared, &side, tcp, peer) => shaken,
                    };
                    if let Some((bytes, peer)) = shaken {
                        serve(shared, bytes, peer, service, stop).await;
                    }
                }
                (Arrived::Tcp(tcp, peer), None) => {
                    let _ = tcp.set_nodelay(true);
                    serve(shared, Box::new(tcp), Peer::Clear(peer), service, stop).await;
                }
                (Arrived::Unix(unix), _) => {
                    // Without an answer to who it is, nobody is served.
                    let Ok(who) = unix.peer_cred() else { return };
                    let peer = Peer::Unix { uid: who.uid(), pid: who.pid() };
                    serve(shared, Box::new(unix), peer, service, stop).await;
                }
            }
        }
    }
}

impl Shared {
    /// A place for a connection that may connect. `None`: it is refused, and nothing of it was read.
    fn admit(&self, listener: &Listener, arrived: &Arrived) -> Option<Place> {
        let address = match arrived {
            Arrived::Tcp(_, peer) => Some(peer.ip().to_canonical()),
            Arrived::Unix(_) => None,
        };
        let allowed = address.is_none_or(|address| self.networks.load().allow(address));
        let places = if address.is_some() { &self.places } else { &self.local_places };
        let (status, code) = match allowed.then(|| places.take(address)) {
            Some(Ok(place)) => return Some(place),
            Some(Err(code)) => (StatusCode::SERVICE_UNAVAILABLE, code),
            None => (StatusCode::FORBIDDEN, ErrorCode::NetworkNotAllowed),
        };
        match address {
            Some(address) => self.refusals.count(code, &address),
            None => self.refusals.count(code, &"a unix socket"),
        }
        match (listener, arrived) {
            // It is told, but no time is spent on it.
            (Listener::Clear(_), Arrived::Tcp(tcp, _)) => drop(tcp.try_write(&unread(status, code))),
            (_, Arrived::Unix(unix)) => drop(unix.try_write(&unread(status, code))),
            _ => {}
        }
        None
    }
}

impl Counted {
    fn new(service: &'static str, place: Place) -> Self {
        gauge!("callgate_http_connections", "service" => service).increment(1.0);
        Self { service, _place: place }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        gauge!("callgate_http_connections", "service" => self.service).decrement(1.0);
    }
}
