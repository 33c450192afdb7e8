//! One app: a socket and rustls, and as little else as possible.

use std::{
    cell::RefCell,
    io::{ErrorKind, Read, Write},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use callgate_wire::{
    VERSION, encode_frame,
    v1::{self, ToApp, ToGateway, open_result, to_app, to_gateway::Message},
};
use prost::Message as _;
use rustls::{ClientConfig, ClientConnection, pki_types::ServerName};
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::board::Board;
use crate::{events, lab, results::Peer, server::SUBSCRIBE};

/// How often an app says that it is there. The lab's gateway waits for ten minutes.
const HEARTBEAT: Duration = Duration::from_secs(60);

pub struct Client {
    tcp: TcpStream,
    tls: ClientConnection,
    number: usize,
    /// The server speaks the protocol, and wants to hear from the app.
    is_gateway: bool,
    /// What was decrypted and not taken yet.
    plain: Vec<u8>,
}

impl Client {
    /// TCP and TLS.
    pub async fn connect(address: SocketAddr, app: Arc<ClientConfig>) -> Self {
        let tcp = TcpStream::connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let (tcp, tls) = TlsConnector::from(app).connect(name, tcp).await.unwrap().into_inner();
        Self { tcp, tls, number: 0, is_gateway: false, plain: Vec::new() }
    }

    /// What a server wants to hear before it takes the app in. A bare one wants nothing.
    pub async fn open(&mut self, peer: Peer, number: usize) {
        self.number = number;
        if peer.is_bare() {
            return;
        }
        self.is_gateway = true;
        self.send(Message::Hello(v1::Hello { versions: vec![VERSION], ..Default::default() })).await;
        let welcome = self.answer().await;
        assert!(matches!(welcome, to_app::Message::Welcome(_)), "{welcome:?}");
        self.send(Message::Open(v1::OpenRequest {
            user: lab::USER.into(),
            instance: lab::instance(number),
            heartbeat_seconds: 0,
            authentication: Some(v1::open_request::Authentication::Certificate(v1::CertificateAuth {})),
        }))
        .await;
        match self.answer().await {
            to_app::Message::OpenResult(v1::OpenResult { result: Some(open_result::Result::Opened(_)) }) => {}
            other => panic!("{other:?}"),
        }
    }

    /// The first request, and its answer: events follow.
    pub async fn subscribe(&mut self, peer: Peer) {
        if peer.is_bare() {
            self.write(SUBSCRIBE).await;
            while self.plain.len() < SUBSCRIBE.len() {
                self.read().await;
            }
            assert_eq!(self.plain, SUBSCRIBE);
            self.plain.clear();
            return;
        }
        self.send(Message::Monitor(v1::MonitorDevice { device: events::DEVICE.into(), classes: vec![] })).await;
        let monitored = self.answer().await;
        assert!(matches!(monitored, to_app::Message::Monitored(_)), "{monitored:?}");
    }

    /// Takes events for ever, and puts them on the board.
    pub async fn receive(mut self, board: Rc<RefCell<Board>>) {
        let (mut had, mut said) = (0, Instant::now());
        loop {
            self.read().await;
            if self.is_gateway && said.elapsed() >= HEARTBEAT {
                said = Instant::now();
                self.send(Message::Heartbeat(v1::Heartbeat {})).await;
            }
            let (number, now, mut board) = (self.number, Instant::now(), board.borrow_mut());
            let taken = events::messages(&self.plain, |message| match events::number(message) {
                Some(event) => {
                    board.got(number, had, event, now);
                    had += 1;
                }
                None => assert!(is_heartbeat(message), "no event: {:?}", ToApp::decode(message)),
            });
            self.plain.drain(..taken);
            board.permit(now);
        }
    }

    /// Ends the connection at once, so that no port is kept for its sake.
    pub fn reset(self) {
        SockRef::from(&self.tcp).set_linger(Some(Duration::ZERO)).unwrap();
    }

    async fn send(&mut self, message: Message) {
        let mut frame = Vec::new();
        encode_frame(&ToGateway { request_id: 1, message: Some(message) }, &mut frame);
        self.write(&frame).await;
    }

    async fn answer(&mut self) -> to_app::Message {
        let mut answer = None;
        while answer.is_none() {
            self.read().await;
            let taken = events::messages(&self.plain, |message| answer = ToApp::decode(message).unwrap().message);
            self.plain.drain(..taken);
        }
        answer.unwrap()
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.tls.writer().write_all(bytes).unwrap();
        let mut sealed = Vec::new();
        self.tls.write_tls(&mut sealed).unwrap();
        // Requests are small, and the socket is empty.
        self.tcp.writable().await.unwrap();
        assert_eq!(self.tcp.try_write(&sealed).unwrap(), sealed.len());
    }

    /// Waits until there is something, and decrypts it.
    async fn read(&mut self) {
        let mut buffer = [0; 64 * 1024];
        let mut sealed = loop {
            match self.tcp.try_read(&mut buffer) {
                Ok(0) => panic!("session {}: the server has ended the connection", self.number),
                Ok(n) => break &buffer[..n],
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.tcp.readable().await.unwrap(),
                Err(e) => panic!("session {}: {e}", self.number),
            }
        };
        while !sealed.is_empty() {
            self.tls.read_tls(&mut sealed).unwrap();
            let state = self.tls.process_new_packets().unwrap();
            let at = self.plain.len();
            self.plain.resize(at + state.plaintext_bytes_to_read(), 0);
            self.tls.reader().read_exact(&mut self.plain[at..]).unwrap();
        }
    }
}

fn is_heartbeat(message: &[u8]) -> bool {
    matches!(ToApp::decode(message).unwrap().message, Some(to_app::Message::Heartbeat(_)))
}
