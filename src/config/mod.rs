//! The settings: one TOML file, every key with a default, unknown keys refused.
//!
//! A [`Config`] is checked as a whole when it is made; nothing in it needs to be checked again. Environment variables
//! `CALLGATE_KEY` and `CALLGATE_SECTION__KEY` override single settings before the check. Errors name the place in the
//! file, or the variable. It reads one file and nothing else: that certificates and captures exist is seen when they
//! are opened.

mod check;
mod error;
mod parser_error;
mod raw;
mod shown;

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use zeroize::Zeroizing;

use crate::{
    audit,
    directory::Directory,
    model::{Address, AllowedNetworks, DeviceName, Mode, Network, Strength, SwitchName},
    switch::sim::SimSettings,
};

use error::Problem;
pub use error::{ConfigError, Invalid, Place};
use raw::Raw;

/// Checked settings.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// The cluster security mode (R2).
    pub mode: Mode,
    /// Both kinds of users may use both doors (R10). It gives nobody a key.
    pub lenient_doors: bool,
    /// Who may connect to the doors (R5).
    pub door_networks: AllowedNetworks,
    /// Where the gateway listens.
    pub doors: Doors,
    /// The files of the TLS door.
    pub tls: TlsFiles,
    /// Where users, devices and certificates are kept.
    pub store: StoreFile,
    /// The audit log (R21).
    pub audit: audit::Options,
    /// What heartbeat intervals are agreed to (R39).
    pub heartbeat: Heartbeat,
    /// What a planned stop does with sessions (R42).
    pub stop: Stop,
    /// The bounds of everything (R41a).
    pub limits: Limits,
    /// The metrics page and health.
    pub metrics: HttpConfig,
    /// The administration.
    pub admin: AdminConfig,
    /// What is written and doesn't count, because of another setting: a sentence each, for people.
    pub overruled: Vec<String>,
    /// The connectors to switches, in the order of the file; without those that are disabled (R4).
    pub switches: Vec<SwitchConfig>,
    /// Users and devices: those that an empty store is seeded with.
    pub directory: Arc<Directory>,
}

/// What a planned stop does with sessions (R42).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stop {
    /// Where their apps are to go, best first, each `host:port`. Without any they are told nothing, and closed at once.
    pub gateways: Vec<String>,
    /// How long they have for it, in seconds, up to 300.
    pub drain_seconds: u32,
}

/// Where the gateway listens (R1). `None` is a closed door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Doors {
    /// TCP in the clear, 2748 by habit.
    pub clear: Option<SocketAddr>,
    /// TCP with mutual TLS, 2749 by habit. Always closed in non-secure mode (R2).
    pub tls: Option<SocketAddr>,
    /// What the TLS door demands while it is open (R4).
    pub strength: Strength,
}

/// A service over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// Where it listens.
    pub listen: HttpListen,
    /// Who may connect (R5). It names all of them, loopback too.
    pub networks: AllowedNetworks,
}

/// The administration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where it is for people and programs elsewhere.
    pub https: HttpConfig,
    /// Its unix socket, for the command line on this machine; as absolute as the config file's folder is.
    pub socket: PathBuf,
}

/// Where a service over HTTP listens, and how (R4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpListen {
    /// Nowhere.
    Closed,
    /// In the clear only.
    Clear(SocketAddr),
    /// By TLS only.
    Tls(SocketAddr, Strength),
    /// In the clear, and by TLS at another address.
    Both {
        /// In the clear.
        clear: SocketAddr,
        /// By TLS.
        tls: SocketAddr,
        /// What TLS demands.
        strength: Strength,
    },
}

impl HttpConfig {
    /// A service that doesn't listen.
    pub fn closed() -> Self {
        Self { listen: HttpListen::Closed, networks: AllowedNetworks::Only(Vec::new()) }
    }
}

impl HttpListen {
    /// Where it listens in the clear.
    pub fn clear(self) -> Option<SocketAddr> {
        match self {
            Self::Clear(clear) | Self::Both { clear, .. } => Some(clear),
            Self::Closed | Self::Tls(..) => None,
        }
    }

    /// Where it listens for TLS, and what that demands.
    pub fn tls(self) -> Option<(SocketAddr, Strength)> {
        match self {
            Self::Tls(tls, strength) | Self::Both { tls, strength, .. } => Some((tls, strength)),
            Self::Closed | Self::Clear(_) => None,
        }
    }
}

/// The files of the TLS door, as absolute as the config file's folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The gateway's certificate, and those between it and its CA (PEM).
    pub certificate: PathBuf,
    /// The gateway's private key (PEM).
    pub key: PathBuf,
    /// The CAs that apps' certificates come from (PEM).
    pub client_ca: PathBuf,
    /// What those of them revoked that aren't the gateway's own (PEM or DER, R11).
    pub client_crl: Vec<PathBuf>,
    /// Which certificates were issued and revoked (R3).
    pub ledger: PathBuf,
    /// The gateway's own CA; `None`: there is none.
    pub own_ca: Option<OwnCa>,
}

/// The files of the gateway's own CA, as absolute as the config file's folder is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCa {
    /// Its certificate (PEM). If it isn't there no certificate is the CA's.
    pub certificate: PathBuf,
    /// Its private key (PEM), for the list of what it revoked; `None`: the gateway doesn't make it.
    pub key: Option<PathBuf>,
}

/// The embedded store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFile {
    /// Its file, as absolute as the config file's folder is.
    pub file: PathBuf,
}

/// Heartbeat intervals in seconds, each 1 to 3600 (R39).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heartbeat {
    /// For apps without a wish.
    pub default_seconds: u32,
    /// Wishes below it are raised to it.
    pub min_seconds: u32,
    /// Wishes above it are lowered to it.
    pub max_seconds: u32,
}

/// The bounds of R41a. None of them is zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time to open a session, the TLS handshake included; seconds, 1 to 300.
    pub open_seconds: u32,
    /// Time for an app to answer whether it is alive (R12); seconds, 1 to 30. See [`probe_time`](Self::probe_time).
    pub probe_seconds: u32,
    /// Connections of one door whose session is not open yet.
    pub opening_connections: usize,
    /// Open sessions in all.
    pub sessions: usize,
    /// Open sessions of one user.
    pub sessions_per_user: usize,
    /// Devices that one session monitors.
    pub monitors_per_session: usize,
    /// Requests of one session without an answer.
    pub requests_in_flight: usize,
    /// Bytes that wait for a session that reads slowly; at least 64 KiB, one frame.
    pub queued_bytes_per_session: usize,
    /// Failed tries to open from one address in a minute.
    pub tries_per_source_per_minute: u32,
    /// Workers, each with a thread of its own; 0 to 64, where 0 stands for one per core.
    pub workers: usize,
    /// Connections of one service over HTTP.
    pub http_connections: usize,
    /// The same from one address.
    pub http_connections_per_source: usize,
    /// Time to answer a request over HTTP; seconds, 1 to 300.
    pub http_request_seconds: u32,
}

/// One connector to a switch.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SwitchConfig {
    /// Its name in logs and events, unique.
    pub name: SwitchName,
    /// What it connects to.
    pub kind: SwitchKind,
    /// Addresses that belong to the PBX itself and are no device.
    pub pbx: Vec<Address>,
}

/// The kinds of connectors.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SwitchKind {
    /// Takes live HEP over UDP.
    Hep(HepConfig),
    /// Plays a capture of HEP.
    Replay {
        /// The capture file.
        capture: PathBuf,
        /// How many times faster than it was recorded; 0 is at once.
        speed: f64,
        /// How long after the start it begins, so that apps can be there before the first call; seconds, 0 to 3600.
        delay_seconds: u32,
    },
    /// Devices that aren't there, and call each other.
    Simulated(SimSettings),
}

impl SwitchConfig {
    /// The devices that this switch makes up.
    pub fn simulated_devices(&self) -> impl Iterator<Item = DeviceName> {
        let simulated = match &self.kind {
            SwitchKind::Simulated(settings) => Some(settings.device_names(&self.name)),
            SwitchKind::Hep(_) | SwitchKind::Replay { .. } => None,
        };
        simulated.into_iter().flatten().filter_map(Result::ok)
    }
}

/// A live feed of HEP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HepConfig {
    /// Where it listens, UDP; 9060 by habit.
    pub listen: SocketAddr,
    /// Who may send (R5). It names all of them, loopback too.
    pub networks: Vec<Network>,
    /// The file with the password that every datagram must carry, if any.
    pub password_file: Option<PathBuf>,
    /// Bytes that may wait to be tracked; 1 MiB to 1 GiB.
    pub queue_bytes: usize,
}

impl Config {
    /// Reads the file, with the variables of this process's environment.
    ///
    /// # Errors
    /// The file can't be read, or something in it or in a variable is wrong.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let unreadable = |cause| ConfigError::Unreadable { path: path.into(), cause };
        // Verifiers stand in it, and passwords that shouldn't.
        let text = Zeroizing::new(fs::read_to_string(path).map_err(unreadable)?);
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // A variable that isn't Unicode is none of ours, or has a value that no setting has.
        let variables = std::env::vars_os().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            Some((name, value.to_string_lossy().into_owned()))
        });
        Self::parse(&text, &path.display().to_string(), folder, variables)
    }

    /// Reads the settings from `text`. `origin` is what errors call it, relative paths are relative to `base_dir`, and
    /// `environment` has the variables that override settings; those that don't begin with `CALLGATE_` are ignored.
    ///
    /// # Errors
    /// Something in the text or in a variable is wrong.
    pub fn parse(
        text: &str,
        origin: &str,
        base_dir: &Path,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let locate = |problem: Problem| ConfigError::Invalid(Box::new(problem.into_invalid(text, origin)));
        let raw = read(text, environment).map_err(locate)?;
        check::check(&raw, base_dir).map_err(locate)
    }
}

/// Reads the text, then lets variables override it.
fn read(text: &str, environment: impl Iterator<Item = (String, String)>) -> Result<Raw, Problem> {
    let mut raw: Raw = toml::from_str(text).map_err(|error| parser_error::problem(&error, text))?;
    for (name, value) in environment {
        raw.set(&name, &value)?;
    }
    Ok(raw)
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { default_seconds: 30, min_seconds: 5, max_seconds: 300 }
    }
}

impl Limits {
    /// How long a probe waits: at most half of the time to open, since who causes it is being opened meanwhile (R12).
    pub fn probe_time(&self) -> Duration {
        let [open, probe] = [self.open_seconds, self.probe_seconds].map(|seconds| Duration::from_secs(seconds.into()));
        probe.min(open / 2)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            open_seconds: 10,
            probe_seconds: 3,
            opening_connections: 256,
            sessions: 10_000,
            sessions_per_user: 100,
            monitors_per_session: 10_000,
            requests_in_flight: 64,
            queued_bytes_per_session: 1 << 20,
            tries_per_source_per_minute: 60,
            workers: 0,
            http_connections: 128,
            http_connections_per_source: 16,
            http_request_seconds: 30,
        }
    }
}
