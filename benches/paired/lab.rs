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

use super::events::DEVICE;

/// The one user; its instances are the apps.
pub const USER: &str = "app";

/// A folder with all files, and the apps' side of TLS.
pub struct Lab {
    pub folder: TempDir,
    /// TLS of the instance with this number, each with a certificate of its own.
    pub apps: Vec<Arc<ClientConfig>>,
}

impl Lab {
    pub fn new(apps: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::now_utc();
        init(folder.path(), &Default::default(), now).unwrap();
        let ca = Ca::load(&file(folder.path(), "ca.pem"), &file(folder.path(), "ca.key")).unwrap();
        let ledger = Ledger::open(file(folder.path(), "ledger.jsonl")).unwrap();
        let (validity, roots, provider) = (Validity::days(now, 30).unwrap(), roots(folder.path()), provider());
        let client = |number: usize| {
            let instance = instance(number).parse().unwrap();
            let issued = ca.issue_app(&USER.parse().unwrap(), &instance, validity, now, &ledger).unwrap();
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
        let apps = (0..apps).map(client).collect();
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
