//! The least that a server with rustls can do here: one thread, no queue, no task woken; the publisher seals each frame
//! into one shared buffer and writes at once. What doesn't fit into a socket waits for the next event.

use std::{
    cell::RefCell,
    io::{self, ErrorKind},
    net::Ipv4Addr,
    path::Path,
    rc::Rc,
    sync::Arc,
};

use rustls::{
    ServerConfig,
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, UnbufferedStatus},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{LocalSet, spawn_local},
};

use super::{SUBSCRIBE, meet};
use crate::{events::Template, lab};

/// As much plaintext as goes into one record.
const RECORD: usize = 16 * 1024;
/// What a record has besides its plaintext, at most.
const OVERHEAD: usize = 256;

struct Session {
    tcp: Rc<TcpStream>,
    tls: UnbufferedServerConnection,
    /// Plaintext that waits for the end of this wake-up.
    waiting: Vec<u8>,
    /// Sealed bytes that the socket had no room for.
    sealed: Vec<u8>,
}

type Sessions = Rc<RefCell<Vec<Session>>>;

pub fn run(folder: &Path) {
    let config = lab::bare_config(folder);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, async move {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut control = meet(listener.local_addr().unwrap()).await;
        let sessions = Sessions::default();
        spawn_local(accept(listener, config, Rc::clone(&sessions)));
        let (template, mut scratch) = (Template::new(), vec![0; RECORD + OVERHEAD]);
        while let Some(events) = control.next().await {
            let mut sessions = sessions.borrow_mut();
            for number in events {
                let frame = template.frame(number);
                for session in sessions.iter_mut() {
                    session.waiting.extend_from_slice(&frame);
                    if session.waiting.len() + frame.len() > RECORD {
                        session.flush(&mut scratch);
                    }
                }
            }
            for session in sessions.iter_mut() {
                session.flush(&mut scratch);
            }
        }
    });
}

impl Session {
    /// Seals what waits and writes it; a socket that is full gets it later.
    fn flush(&mut self, scratch: &mut [u8]) {
        if !self.write_sealed() {
            return;
        }
        for record in self.waiting.chunks(RECORD) {
            let sealed = seal(&mut self.tls, record, scratch);
            match self.tcp.try_write(&scratch[..sealed]) {
                Ok(written) => self.sealed.extend_from_slice(&scratch[written..sealed]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => self.sealed.extend_from_slice(&scratch[..sealed]),
                Err(_) => {}
            }
        }
        self.waiting.clear();
        if !self.sealed.is_empty() {
            self.write_sealed();
        }
    }

    /// Whether nothing sealed is left.
    fn write_sealed(&mut self) -> bool {
        while !self.sealed.is_empty() {
            match self.tcp.try_write(&self.sealed) {
                Ok(written) => drop(self.sealed.drain(..written)),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => self.sealed.clear(),
            }
        }
        true
    }
}

fn seal(tls: &mut UnbufferedServerConnection, plain: &[u8], sealed: &mut [u8]) -> usize {
    let UnbufferedStatus { state, .. } = tls.process_tls_records(&mut []);
    let ConnectionState::WriteTraffic(mut traffic) = state.unwrap() else { panic!("the handshake is over") };
    traffic.encrypt(plain, sealed).unwrap()
}

async fn accept(listener: TcpListener, config: Arc<ServerConfig>, sessions: Sessions) {
    loop {
        let (tcp, _) = listener.accept().await.unwrap();
        let (config, sessions) = (Arc::clone(&config), Rc::clone(&sessions));
        spawn_local(async move {
            // The load ends connections as it likes.
            let _ = session(tcp, config, sessions).await;
        });
    }
}

async fn session(tcp: TcpStream, config: Arc<ServerConfig>, sessions: Sessions) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let mut tls = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
    shake_hands(&tcp, &mut tls).await?;
    let tcp = Rc::new(tcp);
    let mut answer = vec![0; SUBSCRIBE.len() + OVERHEAD];
    let sealed = seal(&mut tls, SUBSCRIBE, &mut answer);
    answer.truncate(sealed);
    let mut session = Session { tcp: Rc::clone(&tcp), tls, waiting: Vec::new(), sealed: answer };
    session.write_sealed();
    sessions.borrow_mut().push(session);

    // The app has nothing more to say: what comes is the end.
    loop {
        tcp.readable().await?;
        match tcp.try_read(&mut [0; 256]) {
            Ok(0) => break,
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    sessions.borrow_mut().retain(|session| !Rc::ptr_eq(&session.tcp, &tcp));
    Ok(())
}

/// The handshake, and the first request behind it.
async fn shake_hands(tcp: &TcpStream, tls: &mut UnbufferedServerConnection) -> io::Result<()> {
    let (mut incoming, mut outgoing, mut request) = (Vec::new(), Vec::new(), 0);
    loop {
        let UnbufferedStatus { mut discard, state, .. } = tls.process_tls_records(&mut incoming);
        let mut wants_bytes = false;
        match state.map_err(io::Error::other)? {
            ConnectionState::EncodeTlsData(mut data) => {
                let at = outgoing.len();
                let needed = match data.encode(&mut []) {
                    Err(EncodeError::InsufficientSize(size)) => size.required_size,
                    _ => 0,
                };
                outgoing.resize(at + needed, 0);
                data.encode(&mut outgoing[at..]).map_err(io::Error::other)?;
            }
            ConnectionState::TransmitTlsData(data) => {
                let mut rest = &outgoing[..];
                while !rest.is_empty() {
                    tcp.writable().await?;
                    match tcp.try_write(rest) {
                        Ok(written) => rest = &rest[written..],
                        Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                        Err(e) => return Err(e),
                    }
                }
                outgoing.clear();
                data.done();
            }
            ConnectionState::ReadTraffic(mut data) => {
                while let Some(record) = data.next_record() {
                    let record = record.map_err(io::Error::other)?;
                    discard += record.discard;
                    request += record.payload.len();
                }
            }
            ConnectionState::WriteTraffic(_) | ConnectionState::BlockedHandshake => wants_bytes = true,
            _ => return Err(ErrorKind::UnexpectedEof.into()),
        }
        incoming.drain(..discard);
        if request >= SUBSCRIBE.len() {
            return Ok(());
        }
        if wants_bytes {
            tcp.readable().await?;
            let mut buffer = [0; 4096];
            match tcp.try_read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(n) => incoming.extend_from_slice(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
    }
}
