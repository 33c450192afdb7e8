//! A gateway that says what a test tells it to: raw frames by the wire crate, SCRAM by rsasl's server side.

use callgate_sdk::wire::{
    FrameDecoder, MAX_FRAME_OPEN, SCRAM_SHA_256, VERSION, encode_frame,
    v1::{self, Error, ErrorCode, ToApp, ToGateway, open_request, open_result, to_app, to_gateway},
};
use rsasl::{
    callback::{Context, Request, SessionCallback, SessionData},
    mechanisms::scram::{properties::ScramStoredPassword, tools},
    prelude::{Mechname, SASLConfig, SASLServer, SessionError, Validation},
    property::AuthId,
    validate::{Validate, ValidationError},
};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub(crate) const USER: &str = "recorder";
pub(crate) const PASSWORD: &str = "pencil";

/// Listens on a free port of the loopback, and plays `script` to the first who connects.
pub(crate) async fn listen<F, T>(script: F) -> (String, JoinHandle<T::Output>)
where
    F: FnOnce(Peer<TcpStream>) -> T + Send + 'static,
    T: Future + Send + 'static,
    T::Output: Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        script(Peer::new(stream)).await
    });
    (address, task)
}

/// The gateway's end of a connection.
pub(crate) struct Peer<S> {
    pub(crate) stream: S,
    decoder: FrameDecoder,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, decoder: FrameDecoder::new(MAX_FRAME_OPEN) }
    }

    /// The app's next message, or `None` when it has closed the connection.
    pub(crate) async fn read(&mut self) -> Option<ToGateway> {
        loop {
            if let Some(message) = self.decoder.next_message().unwrap() {
                return Some(message);
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.decoder.extend(&buffer[..n]),
            }
        }
    }

    /// The app's next request, heartbeats passed over: its id and the message.
    pub(crate) async fn request(&mut self) -> (u64, to_gateway::Message) {
        loop {
            let message = self.read().await.unwrap();
            match message.message.unwrap() {
                to_gateway::Message::Heartbeat(_) => {}
                other => return (message.request_id, other),
            }
        }
    }

    pub(crate) async fn say(&mut self, reply_to: u64, message: to_app::Message) {
        let mut frame = Vec::new();
        encode_frame(&ToApp { reply_to, message: Some(message) }, &mut frame);
        self.raw(&frame).await;
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub(crate) async fn event(&mut self, event: v1::Event) {
        self.say(0, to_app::Message::Event(event)).await;
    }

    /// Hears `Hello`, and answers it.
    pub(crate) async fn welcome(&mut self) {
        let (_, hello) = self.request().await;
        assert!(matches!(hello, to_gateway::Message::Hello(hello) if hello.versions == [VERSION]));
        self.say(0, to_app::Message::Welcome(v1::Welcome { version: Some(VERSION), features: vec![] })).await;
    }

    pub(crate) async fn open_request(&mut self) -> v1::OpenRequest {
        match self.request().await.1 {
            to_gateway::Message::Open(open) => open,
            other => panic!("{other:?} instead of OpenRequest"),
        }
    }

    pub(crate) async fn opened(&mut self, heartbeat_seconds: u32, scram_server_final: Vec<u8>) {
        let opened = v1::Opened {
            session: "s-1".into(),
            device_count: 3,
            heartbeat_seconds,
            certificate_expires_unix_seconds: 1_900_000_000,
            scram_server_final: scram_server_final.into(),
            epoch: 77,
            ..Default::default()
        };
        let result = Some(open_result::Result::Opened(opened));
        self.say(0, to_app::Message::OpenResult(v1::OpenResult { result })).await;
    }

    pub(crate) async fn refuse(&mut self, code: ErrorCode) {
        let result = Some(open_result::Result::Refused(Error::from(code)));
        self.say(0, to_app::Message::OpenResult(v1::OpenResult { result })).await;
    }

    /// Opens a session for whoever shows a certificate.
    pub(crate) async fn open_by_certificate(&mut self, heartbeat_seconds: u32) {
        self.welcome().await;
        let open = self.open_request().await;
        assert!(matches!(open.authentication, Some(open_request::Authentication::Certificate(_))));
        self.opened(heartbeat_seconds, vec![]).await;
    }

    /// Does the SCRAM exchange. Returns the server-final-message for who knows the password.
    pub(crate) async fn scram(&mut self) -> Option<Vec<u8>> {
        self.welcome().await;
        let open = self.open_request().await;
        let Some(open_request::Authentication::Scram(auth)) = open.authentication else { panic!("no SCRAM") };
        assert_eq!((auth.mechanism.as_str(), open.user.as_str()), (SCRAM_SHA_256, USER));
        let config = SASLConfig::builder().with_defaults().with_callback(Verifier).unwrap();
        let name = Mechname::parse(SCRAM_SHA_256.as_bytes()).unwrap();
        let mut server = SASLServer::<Known>::new(config).start_suggested(name).unwrap();
        let mut first = Vec::new();
        server.step(Some(&auth.initial_response), &mut first).unwrap();
        self.say(0, to_app::Message::AuthChallenge(v1::AuthChallenge { data: first.into() })).await;
        let (_, to_gateway::Message::AuthResponse(response)) = self.request().await else { panic!("no response") };
        let mut last = Vec::new();
        server.step(Some(&response.data), &mut last).unwrap();
        server.validation().map(|()| last)
    }

    /// Opens a session for whoever knows the password.
    pub(crate) async fn open_by_scram(&mut self, heartbeat_seconds: u32) {
        let server_final = self.scram().await.unwrap();
        self.opened(heartbeat_seconds, server_final).await;
    }
}

pub(crate) fn call_event(class_number: u64, state: v1::CallState) -> v1::Event {
    v1::Event {
        device: "phone-1".into(),
        line: 1,
        class: v1::EventClass::Call.into(),
        number: class_number * 10,
        class_number,
        at_unix_micros: 1_700_000_000_000_001,
        call: Some(v1::CallRef { id: "c-1".into(), ..Default::default() }),
        body: Some(v1::event::Body::CallState(v1::CallStateChanged { state: state.into(), ..Default::default() })),
    }
}

struct Known;

impl Validation for Known {
    type Value = ();
}

struct Verifier;

impl SessionCallback for Verifier {
    fn callback(&self, _: &SessionData, _: &Context<'_>, request: &mut Request<'_>) -> Result<(), SessionError> {
        let mut salted = Default::default();
        tools::hash_password::<Sha256>(PASSWORD.as_bytes(), 4096, b"salt of a test", &mut salted);
        let (client_key, server_key) = tools::derive_keys::<Sha256>(&salted);
        let stored_key = Sha256::digest(client_key);
        let stored = ScramStoredPassword::new(4096, b"salt of a test", &stored_key, &server_key);
        request.satisfy::<ScramStoredPassword<'_>>(&stored)?;
        Ok(())
    }

    fn validate(
        &self,
        _: &SessionData,
        context: &Context<'_>,
        validate: &mut Validate<'_>,
    ) -> Result<(), ValidationError> {
        assert_eq!(context.get_ref::<AuthId>(), Some(USER));
        validate.with::<Known, _>(|| Ok(()))?;
        Ok(())
    }
}
