//! A gateway in this process, with a CA of its own in a temporary folder that is gone with it.

use std::{
    fs::Permissions,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt,
    sync::Arc,
};

use callgate_sdk::client::{Connector, Events, Identity, Roots, Session};
use tempfile::TempDir;
use time::OffsetDateTime;

use super::ClientError;
use crate::{
    audit,
    config::{AdminConfig, Config, Doors, Heartbeat, HttpConfig, Limits, Stop, StoreFile, TlsFiles},
    directory::{Device, Directory, User},
    gateway::{Gateway, StartError},
    model::{AllowedNetworks, Mode, Strength},
    switch::{Switch, SwitchError},
    trust::{CA_CERTIFICATE, CA_KEY, Ca, InitOptions, Ledger, Validity, init},
};

/// How long the certificates of a rig live. It is gone long before, and before anybody is warned of their end.
const DAYS: u32 = 90;

/// How far an app may be behind what is played: as far as the config allows.
const QUEUED_BYTES: usize = 1 << 30;

/// A gateway in this process.
pub(super) struct Rig {
    gateway: Gateway,
    ca: Ca,
    ledger: Arc<Ledger>,
    folder: TempDir,
}

/// Where a rig listens, on the loopback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ports {
    /// On 2748 and 2749 if both are free, and on any others if not.
    Usual,
    /// On any free ones.
    Any,
    /// On any free ones, the TLS door only.
    AnyTls,
}

impl Rig {
    /// Starts a gateway for these users and devices.
    pub(super) async fn start(users: Vec<User>, devices: Vec<Device>, ports: Ports) -> Result<Self, ClientError> {
        let folder = tempfile::Builder::new()
            .prefix("callgate-")
            .permissions(Permissions::from_mode(0o700))
            .tempdir()
            .map_err(|source| ClientError::File { path: std::env::temp_dir(), source })?;
        let now = OffsetDateTime::now_utc();
        init(folder.path(), &InitOptions { ca_days: DAYS + 1, gateway_days: DAYS, names: Vec::new() }, now)?;
        let file = |name: &str| folder.path().join(name);
        let tls = TlsFiles {
            certificate: file("gateway.pem"),
            key: file("gateway.key"),
            client_ca: file(CA_CERTIFICATE),
            client_crl: Vec::new(),
            own_ca: None,
            ledger: file("ledger.jsonl"),
        };
        let ca = Ca::load(&file(CA_CERTIFICATE), &file(CA_KEY))?;
        let ledger = Arc::new(Ledger::open(&tls.ledger)?);
        let config = Config {
            mode: Mode::Mixed,
            lenient_doors: false,
            door_networks: AllowedNetworks::All,
            doors: ports.doors(),
            tls,
            store: StoreFile { file: file("callgate.redb") },
            audit: audit::Options::new(file("audit"), file("audit.key"), file("audit-checkpoints.jsonl")),
            heartbeat: Heartbeat::default(),
            stop: Stop::default(),
            metrics: HttpConfig::closed(),
            admin: AdminConfig { https: HttpConfig::closed(), socket: file("callgate.sock") },
            overruled: Vec::new(),
            // Both are for strangers: here a capture is played as fast as it can be read, and the app may be behind for a while.
            limits: Limits {
                monitors_per_session: usize::MAX,
                queued_bytes_per_session: QUEUED_BYTES,
                ..Limits::default()
            },
            switches: Vec::new(),
            directory: Arc::new(Directory::new(users, devices)?),
        };
        let gateway = match Gateway::start(config.clone()).await {
            // Somebody listens on the usual ports.
            Err(StartError::Door(_)) if ports == Ports::Usual => {
                Gateway::start(Config { doors: Ports::Any.doors(), ..config }).await?
            }
            started => started?,
        };
        Ok(Self { gateway, ca, ledger, folder })
    }

    /// Where the gateway listens: the clear door, and the TLS door.
    pub(super) fn doors(&self) -> (Option<SocketAddr>, Option<SocketAddr>) {
        (self.gateway.clear_address(), self.gateway.tls_address())
    }

    /// The folder with the CA and the ledger, as long as the rig lives.
    pub(super) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Issues a certificate to an app, and opens its session on the TLS door.
    pub(super) async fn open_tls(&self, user: &str, instance: &str) -> Result<(Session, Events), ClientError> {
        let now = OffsetDateTime::now_utc();
        let issued =
            self.ca.issue_app(&user.parse()?, &instance.parse()?, Validity::days(now, DAYS)?, now, &self.ledger)?;
        let identity = Identity::from_pem(issued.certificate_pem.as_bytes(), issued.key_pem.as_bytes())?;
        let roots = Roots::from_pem(self.ca.certificate_pem().as_bytes())?;
        let address = address(self.gateway.tls_address())?;
        Ok(Connector::tls(address, "localhost", identity, roots).software("callgate").open(user, instance).await?)
    }

    /// Opens a session on the clear door.
    pub(super) async fn open_clear(
        &self,
        user: &str,
        instance: &str,
        password: &str,
    ) -> Result<(Session, Events), ClientError> {
        let address = address(self.gateway.clear_address())?;
        Ok(Connector::clear(address, user, password).software("callgate").open(user, instance).await?)
    }

    /// Plays a switch to its end. When this returns, its last event has passed the hub.
    pub(super) async fn play(&mut self, switch: Box<dyn Switch>) -> Result<(), SwitchError> {
        self.gateway.attach(switch);
        let ended = self.gateway.switch_ended().await;
        self.gateway.flush().await;
        ended.map_or(Ok(()), |(_, result)| result)
    }

    /// Stops the gateway and removes its folder.
    pub(super) async fn stop(self) {
        self.gateway.stop().await;
    }
}

impl Ports {
    fn doors(self) -> Doors {
        let door = |port| Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        let strength = Strength::Low;
        match self {
            Self::Usual => Doors { clear: door(2748), tls: door(2749), strength },
            Self::Any => Doors { clear: door(0), tls: door(0), strength },
            Self::AnyTls => Doors { clear: None, tls: door(0), strength },
        }
    }
}

fn address(door: Option<SocketAddr>) -> Result<String, ClientError> {
    door.map(|address| address.to_string()).ok_or_else(|| ClientError::Closed("the door is closed".into()))
}
