//! An app that keeps what it is told of its rights, and which keys it gets.

use std::{cell::RefCell, collections::HashSet, io, net::SocketAddr, rc::Rc};

use callgate_wire::{
    FrameDecoder, MAX_FRAME_OPEN, VERSION, encode_frame,
    v1::{self, ErrorCode, ToApp, ToGateway, event, open_result, to_app, to_gateway::Message},
};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    events::DEVICE,
    lab::{Lab, Population, instance},
    process::monotonic_nanos,
};

/// What all sessions have heard. Times are in nanoseconds of the clock that only rises.
pub struct Heard {
    /// Version of the rights, and when it was told.
    pub told: Vec<(u64, u64)>,
    /// By the places of instances.
    pub closed: Vec<(usize, u64)>,
    /// By user: when the events were made that came with a key.
    pub keys: Vec<HashSet<u64>>,
    /// When an event came, and how long that took.
    pub deliveries: Vec<(u64, u64)>,
    /// The highest number of an event that somebody has.
    newest: u64,
    news: Rc<Notify>,
}

impl Heard {
    pub fn new(population: Population) -> Self {
        Self {
            told: Vec::new(),
            closed: Vec::new(),
            keys: vec![HashSet::new(); population.users],
            deliveries: Vec::new(),
            newest: 0,
            news: Rc::new(Notify::new()),
        }
    }
}

/// A session that monitors the device.
pub struct Session {
    stream: TlsStream<TcpStream>,
    decoder: FrameDecoder,
    user: usize,
    place: usize,
    may_have_keys: bool,
    last: Option<u64>,
}

/// What came instead of a session. Only a certificate that was revoked behind its handshake is none of the gateway's faults.
fn revoked(message: &to_app::Message) -> io::Error {
    let refusal = match message {
        to_app::Message::OpenResult(v1::OpenResult { result: Some(open_result::Result::Refused(refusal)) }) => {
            Some(refusal)
        }
        to_app::Message::Close(close) => close.reason.as_ref(),
        _ => None,
    };
    let is_revoked = refusal.is_some_and(|refusal| refusal.code() == ErrorCode::CertificateRevoked);
    assert!(is_revoked, "{message:?}");
    io::ErrorKind::PermissionDenied.into()
}

impl Session {
    /// Connects, opens and monitors.
    ///
    /// # Errors
    /// The connection ends before it is a session, as it does if its certificate is revoked meanwhile.
    pub async fn open(
        address: SocketAddr,
        lab: &Lab,
        population: Population,
        (user, number): (usize, usize),
    ) -> io::Result<Self> {
        let place = population.place(user, number);
        let tcp = TcpStream::connect(address).await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(lab.apps[place].clone()).connect(name, tcp).await?;
        let decoder = FrameDecoder::new(MAX_FRAME_OPEN);
        let mut session = Self { stream, decoder, user, place, may_have_keys: true, last: None };
        session.send(Message::Hello(v1::Hello { versions: vec![VERSION], ..Default::default() })).await?;
        match session.next().await? {
            to_app::Message::Welcome(_) => {}
            other => return Err(revoked(&other)),
        }
        session
            .send(Message::Open(v1::OpenRequest {
                user: Population::user(user),
                instance: instance(number),
                heartbeat_seconds: 0,
                authentication: Some(v1::open_request::Authentication::Certificate(v1::CertificateAuth {})),
            }))
            .await?;
        match session.next().await? {
            to_app::Message::OpenResult(v1::OpenResult { result: Some(open_result::Result::Opened(_)) }) => {}
            other => return Err(revoked(&other)),
        }
        session.send(Message::Monitor(v1::MonitorDevice { device: DEVICE.into(), classes: vec![] })).await?;
        Ok(session)
    }

    /// Takes what comes until it is closed.
    pub async fn receive(mut self, heard: &Rc<RefCell<Heard>>) {
        loop {
            let message = self.next().await.unwrap();
            let (now, mut heard) = (monotonic_nanos(), heard.borrow_mut());
            match message {
                to_app::Message::Event(event) => self.take(&event, now, &mut heard),
                to_app::Message::CapabilityChanged(changed) => {
                    self.may_have_keys = changed.keys;
                    heard.told.push((changed.rights_version, now));
                }
                to_app::Message::Close(close) => {
                    assert_eq!(close.reason.unwrap().code(), ErrorCode::CertificateRevoked);
                    heard.closed.push((self.place, now));
                    return;
                }
                to_app::Message::Monitored(_) | to_app::Message::Heartbeat(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    fn take(&mut self, event: &v1::Event, now: u64, heard: &mut Heard) {
        assert!(self.last.is_none_or(|last| event.number == last + 1), "an event is lost, came twice or out of order");
        self.last = Some(event.number);
        let made = u64::try_from(event.at_unix_micros).unwrap();
        if let Some(event::Body::MediaOpened(opened)) = &event.body
            && opened.keys.is_some()
        {
            assert!(self.may_have_keys, "a key behind the message that says that there are none");
            heard.keys[self.user].insert(made);
        }
        heard.deliveries.push((now, now.saturating_sub(made)));
        if event.number > heard.newest {
            heard.newest = event.number;
            heard.news.notify_waiters();
        }
    }

    async fn send(&mut self, message: Message) -> io::Result<()> {
        let mut frame = Vec::new();
        encode_frame(&ToGateway { request_id: 1, message: Some(message) }, &mut frame);
        self.stream.write_all(&frame).await?;
        self.stream.flush().await
    }

    async fn next(&mut self) -> io::Result<to_app::Message> {
        loop {
            if let Some(message) = self.decoder.next_message::<ToApp>().unwrap() {
                return Ok(message.message.unwrap());
            }
            let mut buffer = [0; 16 * 1024];
            let read = self.stream.read(&mut buffer).await?;
            assert!(read > 0, "the gateway has ended a connection");
            self.decoder.extend(&buffer[..read]);
        }
    }
}

/// Waits until somebody has the event with this number. All have it soon after.
pub async fn somebody_has(heard: &Rc<RefCell<Heard>>, number: u64) {
    loop {
        let news = Rc::clone(&heard.borrow().news);
        let next = news.notified();
        if heard.borrow().newest >= number {
            return;
        }
        next.await;
    }
}
