//! The shell of services over HTTP: who is served, and what strangers can't do (R4, R5, R41a).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that can't go on has failed"
)]

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, extract::Request, routing::get};
use callgate::{
    config::{Config, HttpConfig, HttpListen},
    http::{HttpError, HttpLimits, HttpService, HttpSettings, Peer, TlsSide, UnixPlace},
    model::{AllowedNetworks, Service, Strength},
    trust::{Ca, Issued, Ledger, TlsPolicy, Validity, init, server_config},
};
use callgate_wire::{lookup, v1::ErrorCode};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use time::OffsetDateTime;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::Notify,
};
use tokio_rustls::TlsConnector;

const GET: &str = "GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const ANY: &str = "127.0.0.1:0";
/// What ends by itself in a test that fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// A service, and what it counts. What runs on this thread counts here, and all of a test does.
struct Lab {
    service: HttpService,
    /// Told when the slow page is asked for.
    asked: Arc<Notify>,
    /// Lets the slow page answer.
    go_on: Arc<Notify>,
    page: PrometheusHandle,
    _recorder: metrics::LocalRecorderGuard<'static>,
    folder: tempfile::TempDir,
}

impl Lab {
    async fn start(listen: HttpListen, limits: HttpLimits) -> Self {
        Self::start_for(listen, limits, &["127.0.0.0/8"], None).await
    }

    async fn start_for(listen: HttpListen, limits: HttpLimits, networks: &[&str], unix: Option<(&str, u32)>) -> Self {
        let recorder = Box::leak(Box::new(PrometheusBuilder::new().build_recorder()));
        let page = recorder.handle();
        let guard = metrics::set_default_local_recorder(recorder);
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), &Default::default(), OffsetDateTime::now_utc()).unwrap();
        let (asked, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let slow = {
            let (asked, go_on) = (Arc::clone(&asked), Arc::clone(&go_on));
            move || async move {
                asked.notify_one();
                go_on.notified().await;
                "at last"
            }
        };
        let who = |request: Request| async move { format!("{:?}", request.extensions().get::<Peer>().unwrap()) };
        let length = |body: String| async move { body.len().to_string() };
        let inside = Router::new().route("/who", get(who).post(length)).route("/slow", get(slow));
        let config = HttpConfig { listen, networks: only(networks) };
        let unix = unix.map(|(name, mode)| UnixPlace { path: folder.path().join(name), mode });
        let strength = listen.tls().map(|(_, strength)| strength);
        let tls = strength.map(|strength| side(folder.path(), strength));
        let settings = HttpSettings { service: Service::Metrics, config, unix, limits, tls };
        let service = HttpService::start(settings, inside).await.unwrap();
        Self { service, asked, go_on, page, _recorder: guard, folder }
    }

    async fn clear(&self) -> TcpStream {
        TcpStream::connect(self.service.clear_address().unwrap()).await.unwrap()
    }

    async fn tls_tcp(&self) -> TcpStream {
        TcpStream::connect(self.service.tls_address().unwrap()).await.unwrap()
    }

    fn issue(&self, instance: &str) -> Issued {
        let path = |name: &str| self.folder.path().join(name);
        let ca = Ca::load(&path("ca.pem"), &path("ca.key")).unwrap();
        let (now, ledger) = (OffsetDateTime::now_utc(), Ledger::open(path("ledger.jsonl")).unwrap());
        let validity = Validity::days(now, 1).unwrap();
        ca.issue_app(&"recorder".parse().unwrap(), &instance.parse().unwrap(), validity, now, &ledger).unwrap()
    }

    /// What is answered over TLS, if the handshake succeeds.
    async fn ask_tls(&self, app: Option<&Issued>) -> std::io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.folder.path().join("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match app {
            None => builder.with_no_client_auth(),
            Some(app) => {
                let chain = vec![CertificateDer::from_pem_slice(app.certificate_pem.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(app.key_pem.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tcp = self.tls_tcp().await;
        let mut tls = TlsConnector::from(Arc::new(config)).connect("localhost".try_into().unwrap(), tcp).await?;
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        tls.write_all(GET.as_bytes()).await?;
        let mut answer = Vec::new();
        match tls.read_to_end(&mut answer).await {
            // A server need not say good-bye.
            Err(error) if answer.is_empty() => Err(error),
            _ => Ok(String::from_utf8(answer).unwrap()),
        }
    }

    fn refused(&self, code: &str) -> u64 {
        let name = format!("callgate_http_refusals_total{{service=\"metrics\",code=\"{code}\"}} ");
        let page = self.page.render();
        page.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |count| count.parse().unwrap())
    }

    /// Some are counted when their connection has ended.
    async fn have_been_refused(&self, code: &str, count: u64) {
        let begun = Instant::now();
        while self.refused(code) != count {
            assert!(begun.elapsed() < PATIENCE, "{code}: {} instead of {count}", self.refused(code));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn connections(&self) -> f64 {
        let page = self.page.render();
        let line = page.lines().find_map(|line| line.strip_prefix("callgate_http_connections{service=\"metrics\"} "));
        line.map_or(0.0, |count| count.parse().unwrap())
    }
}

fn side(folder: &std::path::Path, strength: Strength) -> TlsSide {
    let files = Config::load(folder.join("callgate.toml")).unwrap().tls;
    let ledger = Arc::new(Ledger::open(&files.ledger).unwrap());
    let settings = server_config(&files, Arc::clone(&ledger), TlsPolicy::http(strength)).unwrap();
    TlsSide { config: settings.server, ledger, crls: settings.crls, certificate: settings.certificate }
}

fn only(networks: &[&str]) -> AllowedNetworks {
    AllowedNetworks::Only(networks.iter().map(|network| network.parse().unwrap()).collect())
}

fn any() -> SocketAddr {
    ANY.parse().unwrap()
}

fn clear() -> HttpListen {
    HttpListen::Clear(any())
}

/// Short, so that a test that waits for an end doesn't wait for long.
fn short() -> HttpLimits {
    let short = Duration::from_millis(150);
    HttpLimits { handshake: short, head: short, request: short, idle: short, stop: short, ..HttpLimits::default() }
}

/// All that is answered until the connection ends, however it does.
async fn rest(io: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, io.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "it doesn't end: {answer:?}");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn ask(io: &mut (impl AsyncRead + AsyncWrite + Unpin), request: &str) -> String {
    // What is refused early is not read to its end.
    let _ = io.write_all(request.as_bytes()).await;
    rest(io).await
}

#[tokio::test]
async fn a_request_knows_who_asks() {
    let listen = HttpListen::Both { clear: any(), tls: any(), strength: Strength::Low };
    let lab = Lab::start_for(listen, HttpLimits::default(), &["127.0.0.0/8"], Some(("admin.sock", 0o600))).await;
    let answer = ask(&mut lab.clear().await, GET).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("Clear(127.0.0.1:"), "{answer}");

    let app = lab.issue("1");
    let anonymous = lab.ask_tls(None).await.unwrap();
    assert!(anonymous.contains("Tls { address: 127.0.0.1:") && anonymous.contains("certificate: None"), "{anonymous}");
    let known = lab.ask_tls(Some(&app)).await.unwrap();
    assert!(known.contains("user: \"recorder\""), "{known}");

    let mut unix = UnixStream::connect(lab.folder.path().join("admin.sock")).await.unwrap();
    let uid = rustix::process::getuid().as_raw();
    let answer = ask(&mut unix, GET).await;
    assert!(answer.contains(&format!("Unix {{ uid: {uid}, pid: Some({}) }}", std::process::id())), "{answer}");
}

#[tokio::test]
async fn r4_at_the_highest_level_a_certificate_is_demanded_and_the_ledger_asked() {
    let lab = Lab::start(HttpListen::Tls(any(), Strength::High), HttpLimits::default()).await;
    let (app, revoked) = (lab.issue("1"), lab.issue("2"));
    assert!(lab.ask_tls(Some(&app)).await.unwrap().contains("200 OK"));
    assert!(lab.ask_tls(None).await.is_err());
    assert_eq!(lab.refused("CERTIFICATE_MISSING"), 1);
    let ledger = Ledger::open(lab.folder.path().join("ledger.jsonl")).unwrap();
    let issued = ledger.records().unwrap().into_iter().next_back().unwrap();
    ledger.append(&callgate::trust::Record::revocation(&issued, OffsetDateTime::now_utc(), "lost")).unwrap();
    assert!(lab.ask_tls(Some(&revoked)).await.is_err());
    assert_eq!(lab.refused("CERTIFICATE_REVOKED"), 1);

    // Another TLS side, while it listens: now everybody may come without one.
    lab.service.change(only(&["127.0.0.1"]), Some(side(lab.folder.path(), Strength::Low)));
    assert!(lab.ask_tls(None).await.unwrap().contains("200 OK"));
}

#[tokio::test]
async fn r5_who_is_in_no_network_is_turned_away_unread_and_without_a_handshake() {
    let listen = HttpListen::Both { clear: any(), tls: any(), strength: Strength::Low };
    let lab = Lab::start_for(listen, HttpLimits::default(), &["192.0.2.0/24"], None).await;
    let answer = rest(&mut lab.clear().await).await;
    assert!(answer.starts_with("HTTP/1.1 403 Forbidden") && answer.contains("NETWORK_NOT_ALLOWED"), "{answer}");
    assert_eq!(rest(&mut lab.tls_tcp().await).await, "", "not a byte of TLS");
    assert_eq!(lab.refused("NETWORK_NOT_ALLOWED"), 2);
    lab.service.change(only(&["127.0.0.1"]), None);
    assert!(ask(&mut lab.clear().await, GET).await.contains("200 OK"));
}

#[tokio::test]
async fn r41a_a_head_that_comes_slowly_ends_the_connection() {
    let lab = Lab::start(clear(), short()).await;
    for head in ["", "GET /who HTTP/1.1\r\nHost: local"] {
        assert_eq!(ask(&mut lab.clear().await, head).await, "", "{head:?}");
    }
    assert_eq!(lab.refused("REQUEST_TIMEOUT"), 2);
    // The second request of a connection, too; and bytes that come one by one don't make it longer.
    let mut slow = lab.clear().await;
    slow.write_all(b"GET /who HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut first = [0; 12];
    slow.read_exact(&mut first).await.unwrap();
    let begun = Instant::now();
    while slow.write_all(b"G").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(begun.elapsed() < PATIENCE);
    }
    assert_eq!(lab.refused("REQUEST_TIMEOUT"), 3);
    assert_eq!(lab.connections(), 0.0);
}

#[tokio::test]
async fn r41a_a_handshake_that_comes_slowly_or_never_ends_the_connection() {
    let lab = Lab::start(HttpListen::Tls(any(), Strength::Low), short()).await;
    assert_eq!(rest(&mut lab.tls_tcp().await).await, "");
    assert_eq!(ask(&mut lab.tls_tcp().await, "\u{16}\u{3}\u{1}").await, "");
    assert_eq!(lab.refused("REQUEST_TIMEOUT"), 2);
}

#[tokio::test]
async fn r41a_a_connection_that_does_nothing_is_closed_and_that_is_no_refusal() {
    let lab = Lab::start(clear(), short()).await;
    let mut idle = lab.clear().await;
    let answer = ask(&mut idle, "GET /who HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.contains("200 OK"), "{answer}");
    assert_eq!(lab.refused("REQUEST_TIMEOUT"), 0);
}

#[tokio::test]
async fn r41a_connections_are_bounded_by_source_and_in_all() {
    for (limits, code) in [
        (HttpLimits { connections: 2, ..HttpLimits::default() }, ErrorCode::TooManyHttpConnections),
        (HttpLimits { connections_per_source: 2, ..HttpLimits::default() }, ErrorCode::TooManyHttpConnectionsOfSource),
    ] {
        let lab = Lab::start(clear(), limits).await;
        let first = lab.clear().await;
        let mut second = lab.clear().await;
        let answer = rest(&mut lab.clear().await).await;
        let named = answer.contains(&format!("{}: ", code.as_str_name())) && answer.contains(lookup(code).mend);
        assert!(answer.starts_with("HTTP/1.1 503 ") && named, "{answer}");
        assert_eq!(lab.refused(code.as_str_name()), 1);
        assert!(ask(&mut second, GET).await.contains("200 OK"), "those that are there are served");
        drop(first);
        let begun = Instant::now();
        while !ask(&mut lab.clear().await, GET).await.contains("200 OK") {
            assert!(begun.elapsed() < PATIENCE, "a place comes back");
        }
    }
}

#[tokio::test]
async fn r41a_who_takes_all_places_keeps_nobody_of_this_machine_out() {
    let limits = HttpLimits { connections: 1, ..HttpLimits::default() };
    let lab = Lab::start_for(clear(), limits, &["127.0.0.1"], Some(("admin.sock", 0o600))).await;
    let _stranger = lab.clear().await;
    assert!(rest(&mut lab.clear().await).await.contains("TOO_MANY_HTTP_CONNECTIONS"));
    let connect = || UnixStream::connect(lab.folder.path().join("admin.sock"));
    let mut local = connect().await.unwrap();
    let refused = rest(&mut connect().await.unwrap()).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "there, too, places are bounded: {refused}");
    assert!(ask(&mut local, GET).await.contains("200 OK"));
}

#[tokio::test]
async fn r41a_large_heads_and_large_bodies_are_refused() {
    let lab = Lab::start(clear(), HttpLimits { body_bytes: 10, ..HttpLimits::default() }).await;
    let large = format!("GET /who HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let many = format!("GET /who HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: x\r\n".repeat(100));
    for head in [large, many] {
        let answer = ask(&mut lab.clear().await, &head).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    lab.have_been_refused("BODY_TOO_LARGE", 2).await;

    let post =
        |head: &str, body: &str| format!("POST /who HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{head}\r\n\r\n{body}");
    let fits = ask(&mut lab.clear().await, &post("Content-Length: 10", "0123456789")).await;
    assert!(fits.ends_with("\r\n\r\n10"), "{fits}");
    let announced = ask(&mut lab.clear().await, &post("Content-Length: 11", "")).await;
    assert!(announced.starts_with("HTTP/1.1 413 ") && announced.contains("up to 10 bytes are allowed"), "{announced}");
    let chunked =
        ask(&mut lab.clear().await, &post("Transfer-Encoding: chunked", "6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n"))
            .await;
    assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");
    assert_eq!(lab.refused("BODY_TOO_LARGE"), 4);
}

#[tokio::test]
async fn r43_who_sends_on_behind_its_last_answer_gets_it() {
    let lab = Lab::start(clear(), HttpLimits { body_bytes: 10, ..HttpLimits::default() }).await;
    let mut app = lab.clear().await;
    app.write_all(b"POST /who HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n").await.unwrap();
    // More than sockets hold, and some of it when the answer has left long ago.
    let part = vec![b'x'; 500_000];
    for _ in 0..4 {
        app.write_all(&part).await.expect("it is heard out");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let answer = rest(&mut app).await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains("BODY_TOO_LARGE"), "{answer}");

    // Not for ever.
    let mut app = lab.clear().await;
    app.write_all(b"POST /who HTTP/1.1\r\nHost: a\r\nContent-Length: 2000000\r\n\r\n").await.unwrap();
    let begun = Instant::now();
    while app.write_all(b"x").await.is_ok() {
        assert!(begun.elapsed() < PATIENCE, "it listens for ever");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn r43_what_is_no_http_is_refused_by_name() {
    let listen = HttpListen::Both { clear: any(), tls: any(), strength: Strength::Low };
    let lab = Lab::start(listen, HttpLimits::default()).await;
    let answer = ask(&mut lab.clear().await, "hello\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    lab.have_been_refused("REQUEST_NOT_UNDERSTOOD", 1).await;

    let answer = ask(&mut lab.tls_tcp().await, GET).await;
    assert!(
        answer.starts_with("HTTP/1.1 400 ") && answer.contains("HANDSHAKE_FAILED"),
        "HTTP at the TLS port: {answer}"
    );
    assert_eq!(ask(&mut lab.tls_tcp().await, "\0\0\0\0\0\0\0\0").await.len(), 7, "an alert");
    assert_eq!(lab.refused("HANDSHAKE_FAILED"), 2);
}

#[tokio::test]
async fn who_has_said_all_still_gets_the_answer() {
    let lab = Lab::start(clear(), HttpLimits::default()).await;
    let mut half = lab.clear().await;
    half.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    half.shutdown().await.unwrap();
    lab.asked.notified().await;
    lab.go_on.notify_one();
    let answer = rest(&mut half).await;
    assert!(answer.ends_with("at last"), "{answer}");
}

#[tokio::test]
async fn r41a_an_answer_that_takes_too_long_is_told_so() {
    let lab = Lab::start(clear(), short()).await;
    let answer = ask(&mut lab.clear().await, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("\"REQUEST_TIMEOUT\""), "{answer}");
    assert_eq!(lab.refused("REQUEST_TIMEOUT"), 1);
}

#[tokio::test]
async fn r42_a_stop_waits_for_requests_that_run_and_for_no_other() {
    let Lab { service, asked, go_on, page: _page, _recorder, folder: _folder } =
        Lab::start(clear(), HttpLimits::default()).await;
    let address = service.clear_address().unwrap();
    let idle = TcpStream::connect(address).await.unwrap();
    let mut running = TcpStream::connect(address).await.unwrap();
    running.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    asked.notified().await;
    let stopping = tokio::spawn(service.stop());
    // Once it listens no more.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert!(!stopping.is_finished());
    go_on.notify_one();
    let answer = rest(&mut running).await;
    assert!(answer.ends_with("at last"), "{answer}");
    stopping.await.unwrap();
    drop(idle);
}

#[tokio::test]
async fn r42_a_stop_cuts_off_who_takes_too_long() {
    let limits = HttpLimits { stop: Duration::from_millis(50), ..HttpLimits::default() };
    let Lab { service, asked, folder: _folder, .. } = Lab::start(clear(), limits).await;
    let mut running = TcpStream::connect(service.clear_address().unwrap()).await.unwrap();
    running.write_all(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    asked.notified().await;
    tokio::time::timeout(PATIENCE, service.stop()).await.unwrap();
    assert_eq!(rest(&mut running).await, "");
}

#[tokio::test]
async fn a_port_that_is_taken_is_told_with_what_to_do() {
    let taken = std::net::TcpListener::bind(any()).unwrap();
    let address = taken.local_addr().unwrap();
    let settings = |listen| HttpSettings {
        service: Service::Metrics,
        config: HttpConfig { listen, networks: only(&[]) },
        unix: None,
        limits: HttpLimits::default(),
        tls: None,
    };
    let error = HttpService::start(settings(HttpListen::Clear(address)), Router::new()).await.err().unwrap();
    let expected = format!(
        "the metrics service can't listen on {address}; another program listens there: stop it, or set metrics.listen to a \
         free port or to \"closed\""
    );
    assert_eq!(error.to_string(), expected);
    let tls = HttpService::start(settings(HttpListen::Tls(any(), Strength::Low)), Router::new()).await;
    assert!(matches!(tls, Err(HttpError::WithoutTls(Service::Metrics))));
}
