//! How to reach a gateway, and opening a session there.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use callgate_wire::{FrameError, TLS_EXPORTER_LABEL, TLS_EXPORTER_LEN};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{
    driver,
    error::{OpenError, ProtocolError},
    handshake::{self, Authentication, Wish},
    scram::{Binding, Credentials},
    session::{Events, Session},
    tls::{self, Identity, Roots},
};

/// How long connecting and opening may take by default.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(15);
/// How many events wait for the app by default before the connection is no longer read.
pub const DEFAULT_EVENT_QUEUE: usize = 1024;

/// Where the gateway is, by which door, and as whom.
///
/// A connector uses the one door that it was made for, and never falls back to the other (R36).
#[derive(Debug, Clone)]
pub struct Connector {
    address: String,
    door: Door,
    heartbeat: Duration,
    timeout: Duration,
    event_queue: usize,
    software: String,
}

#[derive(Debug, Clone)]
enum Door {
    Clear { user: String, password: Arc<zeroize::Zeroizing<String>> },
    Tls { server_name: String, identity: Identity, roots: Roots, password: Option<Arc<zeroize::Zeroizing<String>>> },
}

impl Connector {
    /// The secure door: `address` is "host:2749", `server_name` the host name or IP address that the gateway's
    /// certificate must hold. The app proves who it is by `identity`; `roots` are the CAs that the gateway's
    /// certificate may come from. There is no way to switch verification off.
    pub fn tls(address: impl Into<String>, server_name: impl Into<String>, identity: Identity, roots: Roots) -> Self {
        Self::new(address.into(), Door::Tls { server_name: server_name.into(), identity, roots, password: None })
    }

    /// The clear door: `address` is "host:2748". The password never crosses the wire, and the gateway proves that it
    /// knows its verifier; but nothing else is secret or protected there, and no key ever comes.
    pub fn clear(address: impl Into<String>, user: impl Into<String>, password: impl Into<String>) -> Self {
        let password = Arc::new(zeroize::Zeroizing::new(password.into()));
        Self::new(address.into(), Door::Clear { user: user.into(), password })
    }

    fn new(address: String, door: Door) -> Self {
        Self {
            address,
            door,
            heartbeat: Duration::ZERO,
            timeout: DEFAULT_TIMEOUT,
            event_queue: DEFAULT_EVENT_QUEUE,
            software: concat!("callgate-sdk ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }

    /// The same app at another gateway, such as the first of those that [`GatewayLeaving`](super::GatewayLeaving) names: at
    /// "host:port", whose certificate must hold `server_name`, which is that host as a rule. On the clear door no name is looked at.
    #[must_use]
    pub fn to_gateway(&self, address: impl Into<String>, server_name: impl Into<String>) -> Self {
        let mut other = Self { address: address.into(), ..self.clone() };
        if let Door::Tls { server_name: name, .. } = &mut other.door {
            *name = server_name.into();
        }
        other
    }

    /// The user's password. On the secure door it is proven besides the certificate, and bound to the connection, for users of
    /// whom the operator asks that (`PASSWORD_REQUIRED`); it never crosses the wire there either. On the clear door it takes the place
    /// of the one before.
    #[must_use]
    pub fn password(mut self, new: impl Into<String>) -> Self {
        let new = Arc::new(zeroize::Zeroizing::new(new.into()));
        match &mut self.door {
            Door::Clear { password, .. } => *password = new,
            Door::Tls { password, .. } => *password = Some(new),
        }
        self
    }

    /// The heartbeat interval to ask for, rounded up to seconds. Without it, or with zero, the gateway chooses.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval;
        self
    }

    /// How long connecting and opening may take together: 15 s by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How many events may wait for the app before the connection is no longer read: 1024 by default, at least 1.
    #[must_use]
    pub fn event_queue(mut self, events: usize) -> Self {
        self.event_queue = events.max(1);
        self
    }

    /// Name and version of the app, for the operator's eyes; cut to 128 bytes.
    #[must_use]
    pub fn software(mut self, name_and_version: &str) -> Self {
        let end = (0..=128.min(name_and_version.len())).rev().find(|end| name_and_version.is_char_boundary(*end));
        self.software = name_and_version.get(..end.unwrap_or(0)).unwrap_or_default().to_owned();
        self
    }

    /// Connects and opens a session as this user and instance. Needs a tokio runtime, on which the session then lives.
    ///
    /// On the clear door `user` must be the one that the connector was made with.
    ///
    /// # Errors
    /// [`OpenError`] says which side refused, and why.
    pub async fn open(&self, user: &str, instance: &str) -> Result<(Session, Events), OpenError> {
        timeout(self.timeout, self.open_untimed(user, instance)).await.unwrap_or(Err(OpenError::Timeout(self.timeout)))
    }

    async fn open_untimed(&self, user: &str, instance: &str) -> Result<(Session, Events), OpenError> {
        let wish = |authentication| Wish {
            user,
            instance,
            software: &self.software,
            heartbeat: self.heartbeat,
            authentication,
        };
        match &self.door {
            Door::Clear { user: known, password } => {
                if user != known {
                    return Err(OpenError::Scram("the password belongs to another user".to_owned()));
                }
                let credentials = Credentials::new(user, password)?;
                let opened =
                    handshake::open(self.connect().await?, wish(Authentication::Scram(credentials, Binding(None))))
                        .await;
                let opened = opened.map_err(|error| if is_alert(&error) { OpenError::SecureDoor } else { error })?;
                Ok(driver::start(opened, self.event_queue))
            }
            Door::Tls { server_name, identity, roots, password } => {
                let name = ServerName::try_from(server_name.clone())
                    .map_err(|_| OpenError::ServerName(server_name.clone()))?;
                let config = tls::config(identity, roots).map_err(OpenError::Tls)?;
                let stream = self.connect().await?;
                let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
                let stream = stream.map_err(|error| handshake::connection_error(&error))?;
                let authentication = match password {
                    None => Authentication::Certificate,
                    Some(password) => {
                        let (_, connection) = stream.get_ref();
                        let binding =
                            connection.export_keying_material([0; TLS_EXPORTER_LEN], TLS_EXPORTER_LABEL, Some(&[]));
                        Authentication::Scram(
                            Credentials::new(user, password)?,
                            Binding(Some(binding.map_err(OpenError::Tls)?)),
                        )
                    }
                };
                let opened = handshake::open(stream, wish(authentication)).await?;
                Ok(driver::start(opened, self.event_queue))
            }
        }
    }

    async fn connect(&self) -> Result<TcpStream, OpenError> {
        let unreachable = |error: io::Error| OpenError::Unreachable {
            address: self.address.clone(),
            kind: error.kind(),
            text: error.to_string(),
        };
        let stream = TcpStream::connect(&self.address).await.map_err(unreachable)?;
        stream.set_nodelay(true).map_err(unreachable)?;
        Ok(stream)
    }
}

/// An alert of TLS begins with 21 and the version, 3.x. Read as a frame, that is a length beyond any limit.
fn is_alert(error: &OpenError) -> bool {
    matches!(error, OpenError::Protocol(ProtocolError::Frame(FrameError::TooLarge { len, .. })) if len >> 16 == 0x1503)
}
