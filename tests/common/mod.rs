//! A gateway to test against, with its CA, its apps' certificates, and a switch that says what the test wants.
//!
//! Whatever a gateway sends by the clear door, and whatever anything logs at trace level, is kept and searched for keys
//! when the gateway goes: see [`leaks`]. Who connects past the tap is searched when the client goes: see
//! [`raw::RawClient`]. Only the sessions inside `callgate demo`'s own process are seen by what the process says alone
//! (`main_job.rs`); its clear door is the same code.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a test"
)]

pub mod held;
pub mod leaks;
pub mod raw;
pub mod recorded;
pub mod scripted;
pub mod served;
pub mod skipped;
pub mod tap;
pub mod trail;

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use callgate::{
    audit::Trail,
    config::Config,
    cti::Clock,
    directory::ScramVerifier,
    gateway::{Gateway, Options, Reloaded},
    model::Group,
    switch::Switch,
    trust::{Ca, Issued, Ledger, Validity, init},
};
use rustls::{
    AlertDescription, ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::{io::AsyncReadExt, net::TcpStream};
use tokio_rustls::TlsConnector;

use scripted::Script;
use tap::Tap;

/// The three groups that keys need.
pub const ALL_THREE: &[Group] = &[Group::CtiEnabled, Group::SecureConnection, Group::SrtpKeyMaterial];
/// What the TLS door needs.
pub const SECURE: &[Group] = &[Group::CtiEnabled, Group::SecureConnection];
/// What the clear door needs.
pub const CLEAR: &[Group] = &[Group::CtiEnabled];

/// The password of every user of the clear door.
pub const PASSWORD: &str = "correct horse battery staple";

/// A user of the test gateway.
#[derive(Clone)]
pub struct TestUser {
    pub name: &'static str,
    pub groups: &'static [Group],
    pub devices: &'static [&'static str],
}

/// The users that most tests need: `recorder` gets keys, `viewer` may use the TLS door, `dashboard` the clear one.
pub const USERS: &[TestUser] = &[
    TestUser { name: "recorder", groups: ALL_THREE, devices: &["1001", "1002"] },
    TestUser { name: "viewer", groups: SECURE, devices: &["1001", "1002"] },
    TestUser { name: "dashboard", groups: CLEAR, devices: &["1001", "1002"] },
];

/// A running gateway.
pub struct TestGateway {
    pub gateway: Gateway,
    pub folder: TempDir,
    pub script: Script,
    /// The clear door, behind the tap that keeps what it sends.
    clear: Tap,
    tls: SocketAddr,
}

impl TestGateway {
    /// A gateway with [`USERS`], devices 1001 and 1002, and a scripted switch.
    pub async fn start() -> Self {
        Self::start_with(USERS, "").await
    }

    /// The same with other users and more lines of config in front.
    pub async fn start_with(users: &[TestUser], head: &str) -> Self {
        leaks::watch_logs();
        Self::start_unwatched(users, head).await
    }

    /// The same for a test that makes more of logs than can be kept: they aren't searched, so it ends without
    /// [`finish`](Self::finish).
    pub async fn start_unwatched(users: &[TestUser], head: &str) -> Self {
        Self::started(users, head, Options::default()).await
    }

    /// The same as [`start_with`](Self::start_with), by another wall clock.
    pub async fn start_by(users: &[TestUser], head: &str, clock: Clock) -> Self {
        leaks::watch_logs();
        Self::started(users, head, Options { clock, ..Options::default() }).await
    }

    /// The same, with records that go to a trail of the test.
    pub async fn start_recorded(users: &[TestUser], head: &str, trail: Arc<dyn Trail>) -> Self {
        leaks::watch_logs();
        Self::started(users, head, Options { trail, ..Options::default() }).await
    }

    async fn started(users: &[TestUser], head: &str, options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), &Default::default(), OffsetDateTime::now_utc()).unwrap();
        let config = config_text(users, head);
        let config = Config::parse(&config, "test.toml", folder.path(), std::iter::empty()).unwrap();
        let mut gateway = Gateway::start_with(config, options).await.unwrap();
        let (switch, script) = scripted::switch();
        gateway.attach(switch);
        let clear = Tap::before(gateway.clear_address().unwrap()).await;
        let tls = gateway.tls_address().unwrap_or(clear.address());
        Self { gateway, folder, script, clear, tls }
    }

    /// Other settings for it, on the same ports.
    pub fn config(&self, users: &[TestUser], head: &str) -> Config {
        Config::parse(&config_text(users, head), "test.toml", self.folder.path(), std::iter::empty()).unwrap()
    }

    /// Changes the settings, and waits until they are in effect.
    pub async fn reload(&mut self, config: Config) -> Reloaded {
        self.gateway.reload(config).await.unwrap().acknowledged().await.unwrap()
    }

    pub fn attach(&mut self, switch: Box<dyn Switch>) {
        self.gateway.attach(switch);
    }

    pub fn clear(&self) -> SocketAddr {
        self.clear.address()
    }

    pub fn tls(&self) -> SocketAddr {
        self.tls
    }

    pub fn ca_pem(&self) -> String {
        fs::read_to_string(self.folder.path().join("ca.pem")).unwrap()
    }

    pub fn ledger(&self) -> Ledger {
        Ledger::open(self.folder.path().join("ledger.jsonl")).unwrap()
    }

    /// Issues an app's certificate.
    pub fn issue(&self, user: &str, instance: &str) -> Issued {
        let ca = Ca::load(&self.folder.path().join("ca.pem"), &self.folder.path().join("ca.key")).unwrap();
        let now = OffsetDateTime::now_utc();
        let validity = Validity::days(now, 30).unwrap();
        ca.issue_app(&user.parse().unwrap(), &instance.parse().unwrap(), validity, now, &self.ledger()).unwrap()
    }

    /// TLS settings of an app with a certificate of its own.
    pub fn tls_client(&self, user: &str, instance: &str) -> Arc<ClientConfig> {
        let issued = self.issue(user, instance);
        tls_client(&self.ca_pem(), &issued.certificate_pem, &issued.key_pem)
    }

    /// Stops the gateway and searches what the clear door sent and all logs for keys.
    pub async fn finish(self) {
        self.gateway.stop().await;
        let sent = self.clear.finish().await;
        leaks::assert_no_key("what the clear door sent", &sent);
        leaks::assert_no_key_in_logs();
    }
}

/// TLS settings of an app, from PEM.
pub fn tls_client(ca: &str, certificate: &str, key: &str) -> Arc<ClientConfig> {
    tls_client_by(ca, certificate, key, rustls::DEFAULT_VERSIONS)
}

/// The same for these versions.
pub fn tls_client_by(
    ca: &str,
    certificate: &str,
    key: &str,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

/// What an app hears that is refused in the handshake.
pub async fn alert(address: SocketAddr, config: Arc<ClientConfig>) -> AlertDescription {
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let error = match TlsConnector::from(config).connect(name, tcp).await {
        // By TLS 1.3 the client is through before the gateway has seen its certificate.
        Ok(mut stream) => stream.read(&mut [0; 64]).await.unwrap_err(),
        Err(error) => error,
    };
    match error.get_ref().and_then(|error| error.downcast_ref()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert: {error}"),
    }
}

/// The config of a test gateway, on free ports of the loopback.
pub fn config_text(users: &[TestUser], head: &str) -> String {
    // Four rounds of what a real verifier has sixteen of. Always the same: another salt would be another password.
    static VERIFIER: OnceLock<String> = OnceLock::new();
    let verifier = VERIFIER.get_or_init(|| ScramVerifier::generate(PASSWORD, 4096).unwrap().to_line().to_string());
    let mut config = head.to_owned();
    if !head.contains("[doors]") {
        config.push_str("\n[doors]\nclear = \"127.0.0.1:0\"\ntls = \"127.0.0.1:0\"\n");
    }
    for user in users {
        let groups: Vec<_> = user.groups.iter().map(|group| group.name()).collect();
        writeln!(config, "[[user]]\nname = {:?}\nkind = \"application\"", user.name).unwrap();
        writeln!(config, "groups = {groups:?}\ndevices = {:?}\npassword = {:?}", user.devices, verifier).unwrap();
    }
    for (device, port) in [("1001", 16010), ("1002", 16020), ("1003", 16030)] {
        writeln!(config, "[[device]]\nname = \"{device}\"\naddresses = [\"udp:127.0.0.1:{port}\"]").unwrap();
    }
    config
}

/// Whether everything is repeated as often as it can be: `CALLGATE_LONG`, set to whatever.
pub fn is_long() -> bool {
    std::env::var_os("CALLGATE_LONG").is_some()
}

/// The memory of this process without the logs that it keeps, in KiB, where the system tells.
pub fn resident_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let all: usize = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default();
    all.saturating_sub(leaks::logged_bytes() / 1024)
}
