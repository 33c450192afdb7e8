//! The settings in force, to read (R38). They are changed in the config: this shows them, and never a secret.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use axum::{Json, extract::State};
use callgate_wire::v1::ErrorCode;
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    Api,
    problem::Problem,
    routes::{Kind, Least, Routes},
};
use crate::{
    admin::accounts::Role,
    audit::{self, Flush},
    config::{Config, HttpConfig, Limits, SwitchConfig, SwitchKind},
    model::{Mode, Network, SecurityLevel},
    trust::{Ends, first_end},
};

const DAY: i64 = 86_400;

pub(super) fn routes(routes: Routes) -> Routes {
    routes.add(Least::Role(Role::Reader), Kind::Read, routes!(read_settings))
}

/// The settings in force; where no gateway runs, those that one would go by
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Settings {
    /// The cluster security mode (R2)
    pub mode: SecurityMode,
    /// Both kinds of users may use both doors; it gives nobody a key (R10)
    pub lenient_doors: bool,
    /// The two doors of apps
    pub doors: ServiceSettings,
    /// The metrics page and health
    pub metrics: ServiceSettings,
    /// The administration over HTTPS
    pub admin: ServiceSettings,
    /// The administration's unix socket
    pub admin_socket: String,
    /// The certificates of what listens by TLS
    pub certificates: Vec<CertificateFile>,
    /// Which heartbeat intervals are agreed to (R39)
    pub heartbeat: HeartbeatSettings,
    /// What a planned stop does with sessions (R42)
    pub stop: StopSettings,
    /// The bounds that can be set (R41a)
    pub limits: LimitSettings,
    /// The audit log (R21)
    pub audit: AuditSettings,
    /// The file of the store
    pub store: String,
    /// The connectors to switches, in the order of the config
    pub switches: Vec<SwitchSettings>,
}

/// The cluster security mode (R2)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SecurityMode {
    /// The TLS door is closed, and no key leaves
    NonSecure,
    /// Both doors are open
    Mixed,
}

/// Where a service listens, how secure it is, and for whom
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceSettings {
    /// The security level that this comes to (R4)
    #[schema(example = "unsecure+secure")]
    pub level: String,
    /// Where it listens in the clear; null: nowhere
    #[schema(example = "127.0.0.1:2748")]
    pub clear: Option<String>,
    /// Where it listens for TLS; null: nowhere
    #[schema(example = "0.0.0.0:2749")]
    pub tls: Option<String>,
    /// Who may connect; without any everybody (R5)
    #[schema(example = json!(["192.0.2.0/24"]))]
    pub networks: Vec<String>,
}

/// A file of certificates
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CertificateFile {
    /// What they are
    pub kind: CertificateKind,
    /// The file
    pub file: String,
    /// When the first of those in force ends, whatever is in the file meanwhile; where no gateway runs, the first in the file, and
    /// null if that can't be read
    #[schema(format = DateTime)]
    pub not_after: Option<String>,
    /// How many whole days that is from now; below 0 it has ended
    pub days_left: Option<i64>,
}

/// What certificates of a file are
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CertificateKind {
    /// The CAs that apps' certificates come from
    ClientCa,
    /// The gateway's own, and those between it and its CA
    Gateway,
}

/// Which heartbeat intervals are agreed to (R39)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HeartbeatSettings {
    /// For apps without a wish
    pub default_seconds: u32,
    /// Wishes below it are raised to it
    pub min_seconds: u32,
    /// Wishes above it are lowered to it
    pub max_seconds: u32,
}

/// What a planned stop does with sessions (R42)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StopSettings {
    /// Where their apps are told to go, best first; without any they are closed at once
    #[schema(example = json!(["cti2.example.org:2749"]))]
    pub gateways: Vec<String>,
    /// How long they have for it
    pub drain_seconds: u32,
}

/// The bounds that can be set (R41a)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LimitSettings {
    /// Time to open a session, the handshake included
    pub open_seconds: u32,
    /// Time for an app to answer whether it is alive (R12)
    pub probe_seconds: u32,
    /// Connections of one door whose session is not open yet
    pub opening_connections: usize,
    /// Open sessions in all
    pub sessions: usize,
    /// Open sessions of one user
    pub sessions_per_user: usize,
    /// Devices that one session monitors
    pub monitors_per_session: usize,
    /// Requests of one session without an answer
    pub requests_in_flight: usize,
    /// Bytes that wait for a session that reads slowly
    pub queued_bytes_per_session: usize,
    /// Failed tries to open from one address in a minute
    pub tries_per_source_per_minute: u32,
    /// Workers; 0 stands for one per core
    pub workers: usize,
    /// Connections of one service over HTTP
    pub http_connections: usize,
    /// The same from one address
    pub http_connections_per_source: usize,
    /// Time to answer a request over HTTP
    pub http_request_seconds: u32,
}

/// The audit log (R21)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AuditSettings {
    /// The folder of its segments
    pub folder: String,
    /// The file of its checkpoints
    pub checkpoints: String,
    /// How long after its writing a record is flushed to the disk; 0: before anything is given by it
    pub flush_milliseconds: u64,
    /// How long a segment becomes
    pub segment_bytes: u64,
    /// How old a segment becomes
    pub segment_hours: u64,
    /// Room that is held back on the disk for what must be on record
    pub reserve_bytes: u64,
    /// How many segments are kept; null: all of them
    pub keep_segments: Option<usize>,
    /// How long segments are kept; null: for good
    pub keep_days: Option<u64>,
    /// Each record is written to the log as well
    pub log: bool,
}

/// A connector to a switch
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SwitchSettings {
    /// Its name
    #[schema(example = "pbx")]
    pub name: String,
    /// What it connects to
    pub kind: SwitchType,
    /// Addresses of the PBX itself
    #[schema(example = json!(["udp:192.0.2.1:5060"]))]
    pub pbx: Vec<String>,
    /// Where a feed listens, UDP
    pub listen: Option<String>,
    /// Who may send to a feed (R5)
    pub networks: Vec<String>,
    /// Whether a feed asks for a password
    pub has_password: bool,
    /// Bytes of a feed that may wait to be tracked
    pub queue_bytes: Option<usize>,
    /// The capture that is played
    pub capture: Option<String>,
    /// How many devices are made up
    pub simulated_devices: Option<u32>,
}

/// The kinds of connectors
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SwitchType {
    /// A live feed of HEP over UDP
    Hep,
    /// A recording that is played
    Replay,
    /// Devices that aren't there
    Simulated,
}

/// Read the settings in force
///
/// They are changed in the config, and read again at SIGHUP or at the next start. No secret is among them.
#[utoipa::path(
    get, path = "/v1/settings", tag = "live",
    responses((status = 200, description = "The settings", body = Settings)),
)]
async fn read_settings(State(api): State<Arc<Api>>) -> Result<Json<Settings>, Problem> {
    let config = Arc::clone(&api.config.borrow());
    let in_force = api.live.as_ref().map(|live| Known::in_force(*live.ends.borrow()));
    // Where no gateway runs, files are read.
    let shown = tokio::task::spawn_blocking(move || {
        let known = in_force.unwrap_or_else(|| Known::of_files(&config));
        shown(&config, known, OffsetDateTime::now_utc())
    })
    .await;
    shown.map(Json).map_err(|_| Problem::of(ErrorCode::Internal, ""))
}

/// When certificates end, of those of which that is known.
#[derive(Debug, Clone, Copy)]
struct Known {
    gateway: Option<i64>,
    client_ca: Option<i64>,
}

impl Known {
    fn in_force(ends: Option<Ends>) -> Self {
        Self { gateway: ends.map(|ends| ends.gateway), client_ca: ends.map(|ends| ends.client_ca) }
    }

    /// Each by itself: one that can't be read says nothing of the other.
    fn of_files(config: &Config) -> Self {
        Self { gateway: first_end(&config.tls.certificate).ok(), client_ca: first_end(&config.tls.client_ca).ok() }
    }
}

/// The address of the TLS door, while it is open: what a reload has closed keeps it.
fn tls_door(config: &Config) -> Option<SocketAddr> {
    config.doors.tls.filter(|_| config.mode == Mode::Mixed)
}

fn shown(config: &Config, known: Known, now: OffsetDateTime) -> Settings {
    let (doors, tls) = (&config.doors, tls_door(config));
    Settings {
        mode: match config.mode {
            Mode::NonSecure => SecurityMode::NonSecure,
            Mode::Mixed => SecurityMode::Mixed,
        },
        lenient_doors: config.lenient_doors,
        doors: ServiceSettings {
            level: SecurityLevel::of(doors.clear.is_some(), tls.map(|_| doors.strength)).name().into(),
            clear: doors.clear.map(|address| address.to_string()),
            tls: tls.map(|address| address.to_string()),
            networks: texts(config.door_networks.listed()),
        },
        metrics: service(&config.metrics),
        admin: service(&config.admin.https),
        admin_socket: text(&config.admin.socket),
        certificates: certificates(config, known, now),
        heartbeat: HeartbeatSettings {
            default_seconds: config.heartbeat.default_seconds,
            min_seconds: config.heartbeat.min_seconds,
            max_seconds: config.heartbeat.max_seconds,
        },
        stop: StopSettings { gateways: config.stop.gateways.clone(), drain_seconds: config.stop.drain_seconds },
        limits: limits(&config.limits),
        audit: audit_log(&config.audit),
        store: text(&config.store.file),
        switches: config.switches.iter().map(switch).collect(),
    }
}

fn service(config: &HttpConfig) -> ServiceSettings {
    let (clear, tls) = (config.listen.clear(), config.listen.tls());
    ServiceSettings {
        level: SecurityLevel::of(clear.is_some(), tls.map(|(_, strength)| strength)).name().into(),
        clear: clear.map(|address| address.to_string()),
        tls: tls.map(|(address, _)| address.to_string()),
        networks: texts(config.networks.listed()),
    }
}

/// Those of what listens by TLS. Where nothing does, the files need not be there.
fn certificates(config: &Config, known: Known, now: OffsetDateTime) -> Vec<CertificateFile> {
    let by_tls = [config.metrics.listen.tls(), config.admin.https.listen.tls()];
    if tls_door(config).is_none() && by_tls.iter().all(Option::is_none) {
        return Vec::new();
    }
    let file = |kind, file: &Path, end: Option<i64>| CertificateFile {
        kind,
        file: text(file),
        not_after: end
            .and_then(|end| OffsetDateTime::from_unix_timestamp(end).ok())
            .and_then(|end| end.format(&Rfc3339).ok()),
        days_left: end.map(|end| (end - now.unix_timestamp()).div_euclid(DAY)),
    };
    vec![
        file(CertificateKind::Gateway, &config.tls.certificate, known.gateway),
        file(CertificateKind::ClientCa, &config.tls.client_ca, known.client_ca),
    ]
}

fn limits(limits: &Limits) -> LimitSettings {
    // All of them: a limit that the config gets is one that the API shows.
    let &Limits {
        open_seconds,
        probe_seconds,
        opening_connections,
        sessions,
        sessions_per_user,
        monitors_per_session,
        requests_in_flight,
        queued_bytes_per_session,
        tries_per_source_per_minute,
        workers,
        http_connections,
        http_connections_per_source,
        http_request_seconds,
    } = limits;
    LimitSettings {
        open_seconds,
        probe_seconds,
        opening_connections,
        sessions,
        sessions_per_user,
        monitors_per_session,
        requests_in_flight,
        queued_bytes_per_session,
        tries_per_source_per_minute,
        workers,
        http_connections,
        http_connections_per_source,
        http_request_seconds,
    }
}

fn audit_log(options: &audit::Options) -> AuditSettings {
    let hours = |age: Duration| age.as_secs() / 3600;
    AuditSettings {
        folder: text(&options.folder),
        checkpoints: text(&options.checkpoints),
        flush_milliseconds: match options.flush {
            Flush::Always => 0,
            Flush::Every(time) => u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        },
        segment_bytes: options.segment_bytes,
        segment_hours: hours(options.segment_age),
        reserve_bytes: options.reserve_bytes,
        keep_segments: options.keep_segments,
        keep_days: options.keep_age.map(|age| hours(age) / 24),
        log: options.log,
    }
}

fn switch(config: &SwitchConfig) -> SwitchSettings {
    let shown = SwitchSettings {
        name: config.name.to_string(),
        kind: SwitchType::Hep,
        pbx: config.pbx.iter().map(ToString::to_string).collect(),
        listen: None,
        networks: Vec::new(),
        has_password: false,
        queue_bytes: None,
        capture: None,
        simulated_devices: None,
    };
    match &config.kind {
        SwitchKind::Hep(hep) => SwitchSettings {
            listen: Some(hep.listen.to_string()),
            networks: texts(&hep.networks),
            has_password: hep.password_file.is_some(),
            queue_bytes: Some(hep.queue_bytes),
            ..shown
        },
        SwitchKind::Replay { capture, .. } => {
            SwitchSettings { kind: SwitchType::Replay, capture: Some(text(capture)), ..shown }
        }
        SwitchKind::Simulated(settings) => {
            SwitchSettings { kind: SwitchType::Simulated, simulated_devices: Some(settings.devices), ..shown }
        }
    }
}

fn texts(networks: &[Network]) -> Vec<String> {
    networks.iter().map(ToString::to_string).collect()
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{config::HttpListen, trust::init};

    const MIXED: &str = "mode = \"mixed\"\n";

    #[test]
    fn r38_a_door_that_a_reload_has_closed_listens_nowhere() {
        let mut config = Config::parse(MIXED, "test.toml", Path::new("/"), std::iter::empty()).unwrap();
        config.admin.https.listen = HttpListen::Closed;
        let known = Known { gateway: Some(0), client_ca: Some(0) };
        let shown = |config: &Config| shown(config, known, OffsetDateTime::UNIX_EPOCH);
        let mixed = shown(&config);
        assert!(mixed.doors.tls.is_some() && mixed.certificates.len() == 2, "{mixed:?}");
        config.mode = Mode::NonSecure;
        let closed = shown(&config);
        assert_eq!((closed.mode, closed.doors.tls), (SecurityMode::NonSecure, None));
        assert_eq!((closed.doors.level.as_str(), closed.certificates), ("unsecure", Vec::new()));
    }

    #[test]
    fn r32_each_file_of_certificates_is_read_by_itself() {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), &Default::default(), OffsetDateTime::now_utc()).unwrap();
        let config = Config::parse(MIXED, "test.toml", folder.path(), std::iter::empty()).unwrap();
        fs::remove_file(&config.tls.certificate).unwrap();
        let files = certificates(&config, Known::of_files(&config), OffsetDateTime::now_utc());
        let [gateway, client_ca] = &files[..] else { panic!("{files:?}") };
        assert_eq!((gateway.days_left, &gateway.not_after), (None, &None));
        assert!(client_ca.days_left.is_some_and(|days| days > 300), "{client_ca:?}");
    }
}
