//! The gateway gets another certificate while it runs (R3): who connects sees the new one wherever there is TLS, and who has a
//! session keeps it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{fs, net::SocketAddr, path::Path, sync::Arc};

use callgate::{
    audit::LogTarget,
    config::Config,
    gateway::{Page, Served, administration},
    trust::{Ca, Issued, Ledger, Validity, init},
};
use callgate_wire::v1::Indicator;
use common::{
    USERS, leaks,
    raw::RawClient,
    scripted::{self, call, fresh_key},
};
use rustls::{
    CertificateError, ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use time::OffsetDateTime;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const HTTPS: &str =
    "[metrics]\nsecurity_level = \"secure-low\"\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r3_a_new_certificate_is_shown_from_the_reload_on_and_open_sessions_go_on() {
    leaks::watch_logs();
    let folder = tempfile::tempdir().unwrap();
    let (path, now) = (|name: &str| folder.path().join(name), OffsetDateTime::now_utc());
    init(folder.path(), &Default::default(), now).unwrap();
    let own = Ca::load(&path("ca.pem"), &path("ca.key")).unwrap();
    let other = Ca::make("Other CA", Validity::days(now, 100).unwrap()).unwrap();
    let (validity, ledger) = (Validity::days(now, 30).unwrap(), Ledger::open(path("ledger.jsonl")).unwrap());
    let app = |instance: &str| {
        let issued = own.issue_app(&"recorder".parse().unwrap(), &instance.parse().unwrap(), validity, now, &ledger);
        client(&[&own, &other], &issued.unwrap())
    };
    // A session from before each certificate, and one who only looks.
    let (apps, looks) = ([app("1"), app("2"), app("3")], app("looks"));
    let looks_in_vain = client(&[&own], &own.issue_gateway(&[], validity).unwrap());

    let mut served = start(folder.path()).await;
    let (switch, script) = scripted::switch();
    served.attach(switch);
    let places = [
        served.tls_address().unwrap(),
        served.gateway().metrics().unwrap().tls_address().unwrap(),
        served.gateway().administration().unwrap().tls_address().unwrap(),
    ];
    let first = der(&fs::read_to_string(path("gateway.pem")).unwrap());
    for place in places {
        assert_eq!(shown(place, &looks).await.unwrap(), first);
    }

    let mut sessions = Vec::new();
    let call = call("1001", 1);
    for (n, ca) in [&own, &other, &own].into_iter().enumerate() {
        let (instance, round) = ((n + 1).to_string(), u32::try_from(n).unwrap() + 1);
        let mut session = RawClient::tls(places[0], Arc::clone(&apps[n])).await;
        session.open("recorder", &instance).await.unwrap();
        session.monitor("1001").await;
        sessions.push(session);

        let next = ca.issue_gateway(&[], validity).unwrap();
        fs::write(path("gateway.pem"), &next.certificate_pem).unwrap();
        fs::write(path("gateway.key"), next.key_pem.as_bytes()).unwrap();
        let reloaded = served.reload(config(folder.path())).await.unwrap().acknowledged().await.unwrap();
        assert_eq!((reloaded.effect.sessions, reloaded.effect.closed), (n + 1, 0), "round {round}");

        for place in places {
            assert_eq!(shown(place, &looks).await.unwrap(), der(&next.certificate_pem), "round {round}, {place}");
            // Who doesn't know its CA is none the wiser.
            let by_own = shown(place, &looks_in_vain).await;
            assert_eq!(by_own.err(), (n == 1).then_some(CertificateError::UnknownIssuer), "round {round}, {place}");
        }
        let key = fresh_key();
        script.say(vec![call.opened(1, round, Some(&key))]).await;
        for session in &mut sessions {
            let opened = session.next_media_opened().await;
            assert_eq!((opened.indicator(), opened.generation), (Indicator::KeysAvailable, round));
            let got = &opened.keys.unwrap().keys[0];
            assert_eq!([&got.key[..], &got.salt].concat(), key, "round {round}");
        }
    }
    drop(sessions);
    served.stop().await;
    leaks::assert_no_key_in_logs();
}

async fn start(folder: &Path) -> Served {
    let administration = administration(&config(folder), Arc::new(LogTarget)).await.unwrap();
    let page = Page::install().unwrap();
    Served::start(config(folder), administration, Arc::new(LogTarget), Some(page)).await.unwrap()
}

fn config(folder: &Path) -> Config {
    Config::parse(&common::config_text(USERS, HTTPS), "test.toml", folder, std::iter::empty()).unwrap()
}

/// TLS settings of who trusts these CAs and shows this certificate.
fn client(trusted: &[&Ca], own: &Issued) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for ca in trusted {
        roots.add(der(ca.certificate_pem())).unwrap();
    }
    let key = PrivateKeyDer::from_pem_slice(own.key_pem.as_bytes()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![der(&own.certificate_pem)], key)
        .unwrap();
    Arc::new(config)
}

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// The certificate that is shown there, or what is wrong with it.
async fn shown(place: SocketAddr, config: &Arc<ClientConfig>) -> Result<CertificateDer<'static>, CertificateError> {
    let tcp = TcpStream::connect(place).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    match TlsConnector::from(Arc::clone(config)).connect(name, tcp).await {
        Ok(stream) => Ok(stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()),
        Err(error) => match error.get_ref().and_then(|error| error.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(wrong)) => Err(wrong.clone()),
            _ => panic!("{error}"),
        },
    }
}
