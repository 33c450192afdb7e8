//! Both ends of a connection: what is sealed, held and said at the end.

use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version,
};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::{
    config::TlsFiles,
    model::Strength,
    trust::{Ca, Ledger, TlsPolicy, Validity, init, server_config},
};

/// Both ends of a connection of the TLS door.
pub(in super::super) async fn pair() -> (Socket, tokio_rustls::client::TlsStream<TcpStream>) {
    pair_by(&version::TLS13).await
}

async fn pair_by(version: &'static SupportedProtocolVersion) -> (Socket, tokio_rustls::client::TlsStream<TcpStream>) {
    let folder = tempfile::tempdir().unwrap();
    let (now, path) = (OffsetDateTime::now_utc(), |name: &str| folder.path().join(name));
    init(folder.path(), &Default::default(), now).unwrap();
    let files = TlsFiles {
        certificate: path("gateway.pem"),
        key: path("gateway.key"),
        client_ca: path("ca.pem"),
        client_crl: Vec::new(),
        own_ca: None,
        ledger: path("ledger.jsonl"),
    };
    let ledger = Arc::new(Ledger::open(&files.ledger).unwrap());
    let ca = Ca::load(&path("ca.pem"), &path("ca.key")).unwrap();
    let (user, instance, validity) = ("app".parse().unwrap(), "1".parse().unwrap(), Validity::days(now, 1).unwrap());
    let app = ca.issue_app(&user, &instance, validity, now, &ledger).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(path("ca.pem")).unwrap()).unwrap();
    let chain = vec![CertificateDer::from_pem_slice(app.certificate_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(app.key_pem.as_bytes()).unwrap();
    let client = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let accepted = listener.accept().await.unwrap().0;
    let acceptor = TlsAcceptor::from(server_config(&files, ledger, TlsPolicy::door(Strength::Low)).unwrap().server);
    let name = ServerName::try_from("localhost").unwrap();
    let (server, app) =
        tokio::join!(acceptor.accept(accepted), TlsConnector::from(Arc::new(client)).connect(name, tcp));
    let (tcp, tls) = server.unwrap().into_inner();
    (Socket::new(tcp, Some(tls), 1 << 20), app.unwrap())
}

#[tokio::test]
async fn r21_what_is_sealed_is_not_refused_when_the_write_fails() {
    let (mut socket, app) = pair().await;
    let tcp = app.into_inner().0;
    SockRef::from(&tcp).set_linger(Some(Duration::ZERO)).unwrap();
    drop(tcp);
    // The connection is reset.
    while SockRef::from(&*socket.tcp).take_error().unwrap().is_none() {
        yield_now().await;
    }
    assert_eq!(socket.send(Bytes::from_static(b"a key"), None), Ok(()), "it left, as far as anybody knows");
    assert!(socket.is_waiting() && socket.backlog.is_empty());
    assert!(socket.tcp.writable().await.is_ok(), "who waits for room wakes");
    assert_eq!(socket.flush(), Err(SendError::Lost), "and finds out");
}

#[tokio::test]
async fn r41a_keys_that_are_not_renewed_seal_so_many_records_and_the_good_bye() {
    let (mut socket, _app) = pair().await;
    assert_eq!(socket.seals_left, None, "TLS 1.3 renews its keys");
    for _ in 0..10 {
        socket.send(Bytes::from_static(b"event"), None).unwrap();
    }

    let (mut socket, mut app) = pair_by(&version::TLS12).await;
    assert_eq!(socket.seals_left, Some(MOST_SEALED));
    socket.seals_left = Some(3);
    let large = Bytes::from(vec![1; RECORD + 1]);
    socket.send(large.clone(), None).unwrap();
    assert_eq!(socket.send(large, None), Err(SendError::Exhausted), "it takes two records");
    socket.hold(Bytes::from_static(b"held"), None).unwrap();
    socket.flush().unwrap();
    socket.hold(Bytes::from_static(b"too much"), None).unwrap();
    assert_eq!(socket.flush(), Err(SendError::Exhausted));
    assert_eq!(socket.backlog.forget().count(), 0);
    let leaving = Rc::new(Cell::new(0));
    let said = async {
        socket.farewell(Bytes::from_static(b"good-bye"), Duration::from_secs(10), leaving);
        let mut received = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut app, &mut received).await.unwrap();
        received
    };
    let received = tokio::task::LocalSet::new().run_until(said).await;
    assert_eq!(received.get(RECORD + 1..), Some(&b"heldgood-bye"[..]));
}

#[tokio::test]
async fn r41_what_is_held_is_no_backlog_while_the_socket_has_room() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut app = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let mut socket = Socket::new(listener.accept().await.unwrap().0, None, 1024);
    for byte in 0..100 {
        socket.hold(Bytes::from(vec![byte; 300]), None).unwrap();
        assert!(socket.backlog.bytes() <= 1024, "more than 1,024 bytes never wait");
    }
    socket.flush().unwrap();
    let mut received = vec![0; 300 * 100];
    tokio::io::AsyncReadExt::read_exact(&mut app, &mut received).await.unwrap();
    assert!(received.chunks(300).zip(0..).all(|(frame, byte): (&[u8], u8)| frame.iter().all(|it| *it == byte)));
}
