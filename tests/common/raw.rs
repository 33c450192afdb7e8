//! A client of raw frames, which can also do what no client should.
//!
//! What it got by the clear door is searched for keys when it goes, so that nothing escapes a test that connects past the
//! tap.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use callgate_wire::{
    FrameDecoder, encode_frame,
    v1::{
        self, ErrorCode, ToApp, ToGateway, event, open_request::Authentication, open_result, to_app,
        to_gateway::Message,
    },
};
use rsasl::{config::SASLConfig, mechname::Mechname, prelude::SASLClient};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::leaks;

/// No answer takes as long as this.
const PATIENCE: Duration = Duration::from_secs(10);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

pub struct RawClient {
    stream: Box<dyn Stream>,
    decoder: FrameDecoder,
    next_request: u64,
    /// All bytes that came, for tests that search them.
    pub received: Vec<u8>,
    /// Why it was not let in, as it was told.
    pub refusal: Option<v1::Error>,
    is_clear: bool,
}

impl RawClient {
    pub async fn clear(address: SocketAddr) -> Self {
        Self::new(Box::new(connect(address).await), true)
    }

    /// The same over a connection that was made before.
    pub fn clear_over(tcp: TcpStream) -> Self {
        Self::new(Box::new(tcp), true)
    }

    pub async fn tls(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        Self::tls_over(connect(address).await, config).await
    }

    /// The same with a socket that takes in little while nobody reads.
    pub async fn tls_narrow(address: SocketAddr, config: Arc<ClientConfig>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(65_536).unwrap();
        Self::tls_over(socket.connect(address).await.unwrap(), config).await
    }

    /// The same over a connection that was made before.
    pub async fn tls_over(tcp: TcpStream, config: Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from("localhost").unwrap();
        Self::new(Box::new(TlsConnector::from(config).connect(name, tcp).await.unwrap()), false)
    }

    fn new(stream: Box<dyn Stream>, is_clear: bool) -> Self {
        let decoder = FrameDecoder::new(64 * 1024);
        Self { stream, decoder, next_request: 1, received: Vec::new(), refusal: None, is_clear }
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub async fn try_send_bytes(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Sends a request and returns its number.
    pub async fn send(&mut self, message: Message) -> u64 {
        let request_id = self.next_request;
        self.next_request += 1;
        self.send_bytes(&frame(request_id, message)).await;
        request_id
    }

    /// The next message; `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<ToApp> {
        loop {
            if let Some(message) = self.decoder.next_message::<ToApp>().unwrap() {
                return Some(message);
            }
            let mut buffer = [0; 4096];
            match timeout(PATIENCE, self.stream.read(&mut buffer)).await.expect("no answer") {
                Ok(0) | Err(_) => return None,
                Ok(n) => {
                    self.received.extend_from_slice(&buffer[..n]);
                    self.decoder.extend(&buffer[..n]);
                }
            }
        }
    }

    /// The next message of which `pick` makes something; heartbeats and events may come before it.
    pub async fn wait_for<T>(&mut self, mut pick: impl FnMut(to_app::Message) -> Option<T>) -> T {
        loop {
            let message = self.next().await.expect("the connection ended").message.unwrap();
            let shown = format!("{message:?}");
            if let Some(picked) = pick(message) {
                return picked;
            }
            assert!(!shown.starts_with("Close") && !shown.starts_with("Refusal"), "{shown}");
        }
    }

    pub async fn next_event(&mut self) -> v1::Event {
        self.wait_for(|message| match message {
            to_app::Message::Event(event) => Some(event),
            _ => None,
        })
        .await
    }

    pub async fn next_media_opened(&mut self) -> v1::MediaOpened {
        loop {
            if let Some(event::Body::MediaOpened(opened)) = self.next_event().await.body {
                return opened;
            }
        }
    }

    /// Reads to the end of the connection; the code of the `Close` before it, if there was one.
    pub async fn closed(&mut self) -> Option<ErrorCode> {
        let mut code = None;
        while let Some(message) = self.next().await {
            if let Some(to_app::Message::Close(close)) = message.message {
                code = Some(close.reason.unwrap().code());
            }
        }
        code
    }

    pub async fn hello(&mut self) {
        let versions = vec![v1::Version { major: 1, minor: 0 }];
        self.send(Message::Hello(v1::Hello { versions, ..Default::default() })).await;
        assert!(matches!(self.next().await.unwrap().message, Some(to_app::Message::Welcome(_))));
    }

    /// Hello and open by certificate.
    pub async fn open(&mut self, user: &str, instance: &str) -> Result<v1::Opened, ErrorCode> {
        self.hello().await;
        self.send(open(user, instance, Authentication::Certificate(v1::CertificateAuth {}))).await;
        self.result().await
    }

    /// Hello and open by password.
    pub async fn open_scram(&mut self, user: &str, instance: &str, password: &str) -> Result<v1::Opened, ErrorCode> {
        self.hello().await;
        self.scram(user, instance, password).await
    }

    /// The same when Hello was said before.
    pub async fn open_scram_after_hello(
        &mut self,
        user: &str,
        instance: &str,
        password: &str,
    ) -> Result<v1::Opened, ErrorCode> {
        self.scram(user, instance, password).await
    }

    async fn scram(&mut self, user: &str, instance: &str, password: &str) -> Result<v1::Opened, ErrorCode> {
        self.scram_while(user, instance, password, async || {}).await
    }

    /// The same, with something that happens after the challenge and before the proof.
    pub async fn scram_while(
        &mut self,
        user: &str,
        instance: &str,
        password: &str,
        meanwhile: impl AsyncFnOnce(),
    ) -> Result<v1::Opened, ErrorCode> {
        let config = SASLConfig::with_credentials(None, user.into(), password.into()).unwrap();
        let mechanism = Mechname::parse(b"SCRAM-SHA-256").unwrap();
        let mut client = SASLClient::new(config).start_suggested([&mechanism]).unwrap();
        let mut first = Vec::new();
        client.step(None, &mut first).unwrap();
        let scram = v1::ScramAuth { mechanism: "SCRAM-SHA-256".into(), initial_response: first.into() };
        self.send(open(user, instance, Authentication::Scram(scram))).await;
        let challenge = match self.next().await.unwrap().message.unwrap() {
            to_app::Message::AuthChallenge(challenge) => challenge.data,
            to_app::Message::OpenResult(result) => return self.outcome(result),
            other => panic!("{other:?}"),
        };
        meanwhile().await;
        let mut proof = Vec::new();
        client.step(Some(&challenge), &mut proof).unwrap();
        self.send(Message::AuthResponse(v1::AuthResponse { data: proof.into() })).await;
        self.result().await
    }

    pub async fn monitor(&mut self, device: &str) -> v1::Monitored {
        self.send(Message::Monitor(v1::MonitorDevice { device: device.into(), classes: vec![] })).await;
        self.wait_for(|message| match message {
            to_app::Message::Monitored(monitored) => Some(monitored),
            _ => None,
        })
        .await
    }

    async fn result(&mut self) -> Result<v1::Opened, ErrorCode> {
        match self.next().await.unwrap().message.unwrap() {
            to_app::Message::OpenResult(result) => self.outcome(result),
            other => panic!("{other:?}"),
        }
    }

    fn outcome(&mut self, result: v1::OpenResult) -> Result<v1::Opened, ErrorCode> {
        match result.result.unwrap() {
            open_result::Result::Opened(opened) => Ok(opened),
            open_result::Result::Refused(error) => {
                let code = error.code();
                self.refusal = Some(error);
                Err(code)
            }
        }
    }
}

impl Drop for RawClient {
    fn drop(&mut self) {
        // A second panic would hide the first.
        if self.is_clear && !std::thread::panicking() {
            leaks::assert_no_key("what a client got by the clear door", &self.received);
        }
    }
}

/// Without it two small writes in a row cost 40 ms.
async fn connect(address: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(address).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp
}

pub fn frame(request_id: u64, message: Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_frame(&ToGateway { request_id, message: Some(message) }, &mut bytes);
    bytes
}

pub fn open(user: &str, instance: &str, authentication: Authentication) -> Message {
    Message::Open(v1::OpenRequest {
        user: user.into(),
        instance: instance.into(),
        heartbeat_seconds: 0,
        authentication: Some(authentication),
    })
}
