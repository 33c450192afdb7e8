//! An app: it comes back whatever happens to it, and tells what it got.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use callgate_wire::{
    FrameDecoder, MAX_FRAME_OPEN, VERSION, encode_frame,
    v1::{self, ErrorCode, ToApp, ToGateway, event, open_result, to_app, to_gateway::Message},
};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    Counts, Shared, Stage,
    operator::{DEVICES, USERS},
    seen::Key,
};

/// How often an app asks for something.
const BEAT: Duration = Duration::from_secs(2);
/// Who waits longer for an answer is stuck.
const PATIENCE: Duration = Duration::from_secs(60);
/// How soon it tries again.
const AGAIN: Duration = Duration::from_millis(500);

/// One app, until the end.
pub async fn run(address: SocketAddr, number: usize, shared: Arc<Shared>) {
    let Shared { stage, operator, seen, counts } = &*shared;
    let (user, instance) = (USERS[number % USERS.len()], number.to_string());
    let mut stage = stage.subscribe();
    let (mut identity, mut is_satisfied, mut tries) = (None, false, 0);
    loop {
        let now = *stage.borrow();
        match now {
            Stage::Run | Stage::Settle => {}
            Stage::Rest => {
                identity = None;
                counts.resting.fetch_add(1, Ordering::Relaxed);
                let _ = stage.wait_for(|stage| *stage != Stage::Rest).await.unwrap();
                counts.resting.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            Stage::End => return,
        }
        let Some(shown) = &identity else {
            identity = operator.certificate(user, &instance).await;
            if identity.is_none() {
                sleep(AGAIN).await;
            }
            continue;
        };
        let opened =
            timeout(PATIENCE, Session::open(address, shown, user, &instance)).await.expect("stuck at the door");
        let Ok(mut session) = opened else {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            tries += 1;
            // A certificate that counts no more, or a user that may not: it can't tell in each case.
            if tries % 4 == 0 {
                identity = None;
            }
            sleep(AGAIN).await;
            continue;
        };
        tries = 0;
        counts.opened.fetch_add(1, Ordering::Relaxed);
        counts.open.fetch_add(1, Ordering::Relaxed);
        let code = session.live(&shared, &mut is_satisfied).await;
        counts.open.fetch_sub(1, Ordering::Relaxed);
        counts.closed.fetch_add(1, Ordering::Relaxed);
        seen.end(&session.name, code.is_some());
        if code == Some(ErrorCode::CertificateRevoked) {
            identity = None;
        }
    }
}

struct Session {
    stream: TlsStream<TcpStream>,
    decoder: FrameDecoder,
    name: String,
    user: String,
    instance: String,
    may_have_keys: bool,
}

impl Session {
    /// `None` in the error: the connection ended without a word.
    async fn open(
        address: SocketAddr,
        identity: &Arc<ClientConfig>,
        user: &str,
        instance: &str,
    ) -> Result<Self, Option<ErrorCode>> {
        let lost = |_| None;
        let tcp = TcpStream::connect(address).await.map_err(lost)?;
        tcp.set_nodelay(true).map_err(lost)?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(Arc::clone(identity)).connect(name, tcp).await.map_err(lost)?;
        let decoder = FrameDecoder::new(MAX_FRAME_OPEN);
        let (name, user, instance) = (String::new(), user.to_owned(), instance.to_owned());
        let mut session = Self { stream, decoder, name, user, instance, may_have_keys: true };
        session.send(Message::Hello(v1::Hello { versions: vec![VERSION], ..Default::default() })).await.ok_or(None)?;
        session.next().await.ok_or(None)?;
        let certificate = v1::open_request::Authentication::Certificate(v1::CertificateAuth {});
        let open = v1::OpenRequest {
            user: session.user.clone(),
            instance: session.instance.clone(),
            heartbeat_seconds: 0,
            authentication: Some(certificate),
        };
        session.send(Message::Open(open)).await.ok_or(None)?;
        match session.next().await.ok_or(None)? {
            to_app::Message::OpenResult(v1::OpenResult { result: Some(open_result::Result::Opened(opened)) }) => {
                session.name = opened.session;
                session.monitor().await;
                Ok(session)
            }
            to_app::Message::OpenResult(v1::OpenResult { result: Some(open_result::Result::Refused(error)) }) => {
                Err(Some(error.code()))
            }
            to_app::Message::Close(close) => Err(close.reason.map(|reason| reason.code())),
            other => panic!("{other:?}"),
        }
    }

    /// Lives until it is closed. Why it was, if it was told.
    async fn live(&mut self, shared: &Shared, is_satisfied: &mut bool) -> Option<ErrorCode> {
        let counts = &shared.counts;
        let (mut beat, mut asked) = (Instant::now(), None::<Instant>);
        loop {
            if beat.elapsed() >= BEAT {
                beat = Instant::now();
                asked.get_or_insert(beat);
                // If it is closed already, why still waits to be read.
                let _ = self.send(Message::ListDevices(v1::ListDevices::default())).await;
            }
            assert!(asked.is_none_or(|asked| asked.elapsed() < PATIENCE), "stuck: a request has no answer");
            let Ok(message) = timeout(BEAT, self.next()).await else { continue };
            match message? {
                to_app::Message::Event(event) => {
                    counts.events.fetch_add(1, Ordering::Relaxed);
                    if self.has_key(event, shared) {
                        count_key(counts, is_satisfied);
                    }
                }
                to_app::Message::CapabilityChanged(changed) => {
                    self.may_have_keys = changed.keys;
                    self.monitor().await;
                }
                to_app::Message::DeviceOutOfService(_) => self.monitor().await,
                to_app::Message::DeviceList(_) => asked = None,
                to_app::Message::Close(close) => return close.reason.map(|reason| reason.code()),
                _ => {}
            }
        }
    }

    /// Whether the event has a key, which then must be on record already.
    fn has_key(&self, event: v1::Event, shared: &Shared) -> bool {
        let Some(event::Body::MediaOpened(opened)) = event.body else { return false };
        let Some(keys) = &opened.keys else { return false };
        assert!(self.may_have_keys, "{}: a key behind the message that says that there are none", self.name);
        shared.seen.key(Key {
            session: self.name.clone(),
            user: self.user.clone(),
            instance: self.instance.clone(),
            device: event.device,
            call: event.call.map(|call| call.id).unwrap_or_default(),
            stream: opened.stream,
            generation: opened.generation.into(),
            fingerprint: shared.seen.fingerprint(&opened.suite, keys),
        });
        true
    }

    async fn monitor(&mut self) {
        for (device, _) in DEVICES {
            let _ = self.send(Message::Monitor(v1::MonitorDevice { device: device.into(), classes: vec![] })).await;
        }
    }

    async fn send(&mut self, message: Message) -> Option<()> {
        let mut frame = Vec::new();
        encode_frame(&ToGateway { request_id: 1, message: Some(message) }, &mut frame);
        self.stream.write_all(&frame).await.ok()?;
        self.stream.flush().await.ok()
    }

    async fn next(&mut self) -> Option<to_app::Message> {
        loop {
            if let Some(message) = self.decoder.next_message::<ToApp>().unwrap() {
                return message.message;
            }
            let mut buffer = [0; 16 * 1024];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.decoder.extend(&buffer[..read]),
            }
        }
    }
}

/// An app has got a key.
fn count_key(counts: &Counts, is_satisfied: &mut bool) {
    counts.keys.fetch_add(1, Ordering::Relaxed);
    if counts.everybody_counts.load(Ordering::Relaxed) && !std::mem::replace(is_satisfied, true) {
        counts.satisfied.fetch_add(1, Ordering::Relaxed);
    }
}
