//! What every server and every client of a run shares: a CA, the gateway's certificate, and the apps'.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use callgate::{
    config::Config,
    trust::{Ca, Ledger, Validity, init},
};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use tempfile::TempDir;
use time::OffsetDateTime;

use super::events::{DEVICE, OTHER_DEVICE};

/// The one user; its instances are the apps.
pub const USER: &str = "app";

/// A folder with all files, and the apps' side of TLS.
pub struct Lab {
    pub folder: TempDir,
    /// TLS of the instance with this number, each with a certificate of its own.
    pub apps: Vec<Arc<ClientConfig>>,
}

impl Lab {
    /// So many instances of the one user.
    pub fn new(apps: usize) -> Self {
        Self::of((0..apps).map(|number| (USER.to_owned(), instance(number))))
    }

    /// These instances of these users.
    pub fn of(instances: impl Iterator<Item = (String, String)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::now_utc();
        init(folder.path(), &Default::default(), now).unwrap();
        let ca = Ca::load(&file(folder.path(), "ca.pem"), &file(folder.path(), "ca.key")).unwrap();
        let ledger = Ledger::open(file(folder.path(), "ledger.jsonl")).unwrap();
        let (validity, roots, provider) = (Validity::days(now, 30).unwrap(), roots(folder.path()), provider());
        let client = |(user, instance): (String, String)| {
            let (user, instance) = (user.parse().unwrap(), instance.parse().unwrap());
            let issued = ca.issue_app(&user, &instance, validity, now, &ledger).unwrap();
            let chain = vec![CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
            let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[&rustls::version::TLS13])
                .unwrap()
                .with_root_certificates(Arc::clone(&roots))
                .with_client_auth_cert(chain, key);
            let mut config = config.unwrap();
            config.resumption = rustls::client::Resumption::disabled();
            Arc::new(config)
        };
        let apps = instances.map(client).collect();
        Self { folder, apps }
    }
}

/// The name of an app's instance.
pub fn instance(number: usize) -> String {
    format!("i{number}")
}

/// The config of the measured gateway: its one device, a user that gets keys, limits out of the way.
pub fn gateway_config(folder: &Path) -> Config {
    let mut text = String::from(
        "[doors]\nclear = \"closed\"\ntls = \"127.0.0.1:0\"\n\
         [heartbeat]\ndefault_seconds = 300\n\
         [limits]\nsessions_per_user = 10000\ntries_per_source_per_minute = 10000\n",
    );
    write!(
        text,
        "[[user]]\nname = \"{USER}\"\nkind = \"application\"\ndevices = [\"{DEVICE}\"]\ngroups = [\
         \"Standard CTI Enabled\", \"Standard CTI Secure Connection\", \
         \"Standard CTI Allow Reception of SRTP Key Material\"]\n\
         [[device]]\nname = \"{DEVICE}\"\naddresses = [\"udp:127.0.0.1:16010\"]\n"
    )
    .unwrap();
    Config::parse(&text, "bench.toml", folder, std::iter::empty()).unwrap()
}

/// The users of a gateway that is administered while it is measured.
#[derive(Debug, Clone, Copy)]
pub struct Population {
    /// How many users.
    pub users: usize,
    /// How many sessions each of them has.
    pub sessions: usize,
    /// How many instances each of them has: those beyond its sessions take the places of those that are revoked.
    pub instances: usize,
}

impl Population {
    /// The name of a user.
    pub fn user(user: usize) -> String {
        format!("user{user}")
    }

    /// Every instance, user by user.
    pub fn all(self) -> impl Iterator<Item = (String, String)> {
        let of_user = move |user| (0..self.instances).map(move |number| (Self::user(user), instance(number)));
        (0..self.users).flat_map(of_user)
    }

    /// The place of an instance among all.
    pub fn place(self, user: usize, number: usize) -> usize {
        user * self.instances + number
    }
}

/// The config of the gateway that is administered. What its store is seeded with beyond it are the groups.
pub fn administered_config(folder: &Path, population: Population) -> Config {
    let mut text = String::from(
        "[doors]\nclear = \"closed\"\ntls = \"127.0.0.1:0\"\n\
         [heartbeat]\ndefault_seconds = 300\n\
         [limits]\nsessions_per_user = 10000\ntries_per_source_per_minute = 10000\n",
    );
    for user in 0..population.users {
        let name = Population::user(user);
        write!(text, "[[user]]\nname = \"{name}\"\nkind = \"application\"\ndevices = [\"{DEVICE}\"]\n").unwrap();
        text.push_str(
            "groups = [\"Standard CTI Enabled\", \"Standard CTI Secure Connection\", \
             \"Standard CTI Allow Reception of SRTP Key Material\"]\n",
        );
    }
    for (device, port) in [(DEVICE, 16010), (OTHER_DEVICE, 16011)] {
        write!(text, "[[device]]\nname = \"{device}\"\naddresses = [\"udp:127.0.0.1:{port}\"]\n").unwrap();
    }
    Config::parse(&text, "bench.toml", folder, std::iter::empty()).unwrap()
}

/// TLS as the bare servers do it: the same certificates, and a chain is all that they ask for.
pub fn bare_config(folder: &Path) -> Arc<ServerConfig> {
    let provider = provider();
    let verifier = WebPkiClientVerifier::builder_with_provider(roots(folder), Arc::clone(&provider)).build().unwrap();
    let chain = CertificateDer::pem_file_iter(file(folder, "gateway.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file(folder, "gateway.key")).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key);
    let mut config = config.unwrap();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Arc::new(config)
}

/// AES-256-GCM and X25519, so that all servers do the same.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    })
}

fn roots(folder: &Path) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    let ca = fs::read(file(folder, "ca.pem")).unwrap();
    roots.add(CertificateDer::from_pem_slice(&ca).unwrap()).unwrap();
    Arc::new(roots)
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(name)
}
