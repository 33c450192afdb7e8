//! A service that listens: what it is made of, where it is, how it changes and stops.

use std::{io, net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{
    HttpLimits, SocketError, UnixPlace,
    connection::{Answer, Inside},
    listener::Listener,
    places::Places,
    refusals::Refusals,
    unix::UnixSocket,
};
use crate::{
    config::HttpConfig,
    model::{AllowedNetworks, Service},
    trust::{ClientCrls, Fingerprint, Ledger},
};

/// What a service over HTTP is made of.
pub struct HttpSettings {
    /// Which one it is.
    pub service: Service,
    /// Where it listens over TCP, and for whom.
    pub config: HttpConfig,
    /// Where it listens for processes of this machine, if anywhere.
    pub unix: Option<UnixPlace>,
    /// Its bounds.
    pub limits: HttpLimits,
    /// Its TLS; needed if it listens for TLS.
    pub tls: Option<TlsSide>,
}

/// The TLS side of a service. It is replaced as a whole when its files are read again.
#[derive(Clone)]
pub struct TlsSide {
    /// How to shake hands.
    pub config: Arc<ServerConfig>,
    /// Whose certificate it is.
    pub ledger: Arc<Ledger>,
    /// The client CAs, and what they have revoked.
    pub crls: Arc<ClientCrls>,
    /// The SHA-256 of the gateway's own certificate.
    pub certificate: Fingerprint,
}

/// Why a service can't listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// A port is taken, or not allowed.
    #[error("the {} service can't listen on {address}{}", service.name(), hint(*service, error))]
    Listen {
        /// The service.
        service: Service,
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The unix socket can't be there.
    #[error("the {} service: {error}", service.name())]
    Unix {
        /// The service.
        service: Service,
        /// Why.
        error: SocketError,
    },
    /// It is to listen for TLS, and nobody gave it a certificate.
    #[error("the {} service has no certificate to serve TLS by", .0.name())]
    WithoutTls(Service),
}

/// A service that listens.
pub struct HttpService {
    shared: Arc<Shared>,
    clear: Option<SocketAddr>,
    tls: Option<(SocketAddr, Arc<ArcSwap<TlsSide>>)>,
    stop: CancellationToken,
    runs: JoinSet<()>,
}

/// What its connections share.
pub(super) struct Shared {
    pub(super) service: Service,
    pub(super) limits: HttpLimits,
    pub(super) networks: ArcSwap<AllowedNetworks>,
    /// For who comes over TCP.
    pub(super) places: Arc<Places>,
    /// For processes of this machine, so that strangers don't keep its administrator out.
    pub(super) local_places: Arc<Places>,
    pub(super) refusals: Arc<Refusals>,
}

impl HttpService {
    /// Listens wherever the settings say, and answers by `inside`. Nothing listens if something of it can't.
    ///
    /// # Errors
    /// [`HttpError`].
    pub async fn start<S: Inside<B>, B: Answer>(settings: HttpSettings, inside: S) -> Result<Self, HttpError> {
        let HttpSettings { service, config, unix, limits, tls } = settings;
        let mut listeners = Vec::new();
        let mut started = Self {
            shared: Arc::new(Shared {
                service,
                limits,
                networks: ArcSwap::from_pointee(config.networks),
                places: Places::new(limits.connections, limits.connections_per_source),
                local_places: Places::new(limits.connections, limits.connections),
                refusals: Arc::new(Refusals::new(service)),
            }),
            clear: None,
            tls: None,
            stop: CancellationToken::new(),
            runs: JoinSet::new(),
        };
        if let Some(address) = config.listen.clear() {
            let (listener, address) = bind(service, address).await?;
            info!(service = service.name(), %address, "listening for HTTP");
            listeners.push(Listener::Clear(listener));
            started.clear = Some(address);
        }
        if let Some((address, _)) = config.listen.tls() {
            let side = Arc::new(ArcSwap::from_pointee(tls.ok_or(HttpError::WithoutTls(service))?));
            let (listener, address) = bind(service, address).await?;
            info!(service = service.name(), %address, "listening for HTTPS");
            listeners.push(Listener::Tls(listener, Arc::clone(&side)));
            started.tls = Some((address, side));
        }
        if let Some(place) = unix {
            let socket = UnixSocket::bind(&place).map_err(|error| HttpError::Unix { service, error })?;
            info!(service = service.name(), path = %place.path.display(), "listening at a unix socket");
            listeners.push(Listener::Unix(socket));
        }
        for listener in listeners {
            started.runs.spawn(listener.run(Arc::clone(&started.shared), inside.clone(), started.stop.clone()));
        }
        Ok(started)
    }

    /// Where it listens in the clear.
    pub fn clear_address(&self) -> Option<SocketAddr> {
        self.clear
    }

    /// Where it listens for TLS.
    pub fn tls_address(&self) -> Option<SocketAddr> {
        self.tls.as_ref().map(|(address, _)| *address)
    }

    /// What it shakes hands by, if it listens for TLS: then it needs one to change to, too.
    pub fn tls_side(&self) -> Option<Arc<TlsSide>> {
        self.tls.as_ref().map(|(_, side)| side.load_full())
    }

    /// Takes other networks, for new connections, and another TLS side, for new handshakes.
    pub fn change(&self, networks: AllowedNetworks, tls: Option<TlsSide>) {
        self.shared.networks.store(Arc::new(networks));
        if let (Some((_, side)), Some(tls)) = (&self.tls, tls) {
            side.store(Arc::new(tls));
        }
    }

    /// Accepts nobody any more, and waits for the requests that run.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.runs.join_next().await.is_some() {}
    }
}

impl Drop for HttpService {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn bind(service: Service, address: SocketAddr) -> Result<(TcpListener, SocketAddr), HttpError> {
    let failed = |error| HttpError::Listen { service, address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// How to mend the usual causes.
fn hint(service: Service, error: &io::Error) -> String {
    let section = service.name();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("; another program listens there: stop it, or set {section}.listen to a free port or to \"closed\"")
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 need a privilege: choose a higher one".into(),
        io::ErrorKind::AddrNotAvailable => {
            "; the machine has no such address: use one of its own, or 0.0.0.0 for all".into()
        }
        _ => String::new(),
    }
}
