//! A connection's bytes: TCP, with or without TLS, driven directly.
//!
//! A frame is sealed and written at once, or, where more frames follow in the same turn of the worker, held until they are
//! there too. Only while the socket is full do frames wait for longer, as shared references, bounded in bytes (R41a), with
//! at most one write's worth of sealed records, [`WRITE`]; when it has room they leave in as few records and system calls
//! as they fit into.

use std::{
    cell::Cell,
    io::{self, IoSlice, Read, Write},
    mem::MaybeUninit,
    net::Shutdown,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use callgate_wire::FrameDecoder;
use rustls::{ProtocolVersion, ServerConnection};
use socket2::SockRef;
use tokio::{
    net::TcpStream,
    task::{spawn_local, yield_now},
    time::timeout,
};

use super::{
    backlog::{AboutRef, Backlog, Full},
    log_writer,
};

/// As much plaintext as one TLS record holds (RFC 8446, 5.1).
const RECORD: usize = 16 * 1024;
/// As many records as one write takes: each write wakes the peer, and costs more than all else of a delivery.
const WRITE: usize = 4 * RECORD;
/// How many records the keys of TLS 1.2 may seal with AES-GCM (RFC 8446, 5.5). rustls ends a connection there without a
/// word and throws away what it is given, so ours ends before, with as many left as the good-bye takes.
const MOST_SEALED: u32 = (1 << 24) - 1024;
/// How many bytes are read of a peer that was told that the connection ends, and thrown away.
const MOST_DRAINED: usize = 1024 * 1024;

/// What a session sends by: a [`Socket`], or a simulated one.
pub(super) trait Connection: Sized {
    /// Sends a frame now, or queues it while the socket is full. `about` is the event in it.
    ///
    /// # Errors
    /// [`SendError`]: the session can't go on. A frame with a key was not handed to the TLS seal then (R21).
    fn send(&mut self, frame: Bytes, about: Option<AboutRef<'_>>) -> Result<(), SendError>;

    /// Queues a frame that the caller flushes before its turn ends. As much as fills a write leaves at once.
    ///
    /// # Errors
    /// [`SendError`]: the session can't go on.
    fn hold(&mut self, frame: Bytes, about: Option<AboutRef<'_>>) -> Result<(), SendError>;

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    /// [`SendError::Lost`].
    fn flush(&mut self) -> Result<(), SendError>;

    /// Whether something is held, or waits for room in the socket.
    fn is_waiting(&self) -> bool;

    /// What waits and is not sealed yet.
    fn backlog(&mut self) -> &mut Backlog;

    /// Sends the last word and ends the connection, within `patience`. `leaving` counts who hasn't come to the end yet.
    fn farewell(self, last_word: Bytes, patience: Duration, leaving: Rc<Cell<usize>>);
}

/// A connection of an app.
pub(super) struct Socket {
    tcp: Arc<TcpStream>,
    /// `None` on the clear door. Boxed: it is over a kilobyte.
    tls: Option<Box<ServerConnection>>,
    backlog: Backlog,
    /// The last write found no room.
    is_full: bool,
    /// How many records may still be sealed. `None`: as many as there are, since the keys are renewed.
    seals_left: Option<u32>,
}

/// Why nothing more can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendError {
    /// What waits would exceed the bound (R41).
    Full,
    /// The connection is gone.
    Lost,
    /// Its keys may seal no more.
    Exhausted,
}

/// What came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// Some bytes.
    Some,
    /// Nothing now.
    Nothing,
    /// The app has ended its side.
    End,
}

impl Socket {
    /// `tls` is a connection whose handshake is done, or `None` for the clear door.
    pub(super) fn new(tcp: TcpStream, tls: Option<ServerConnection>, max_backlog: usize) -> Self {
        let is_bounded = tls.as_ref().is_some_and(|tls| tls.protocol_version() == Some(ProtocolVersion::TLSv1_2));
        let tls = tls.map(|mut tls| {
            // What waits is bounded here, in whole frames.
            tls.set_buffer_limit(None);
            Box::new(tls)
        });
        Self {
            tcp: Arc::new(tcp),
            tls,
            backlog: Backlog::new(max_backlog),
            is_full: false,
            seals_left: is_bounded.then_some(MOST_SEALED),
        }
    }

    /// Moves the socket to the runtime that this is called in.
    ///
    /// # Errors
    /// When the system refuses to register the socket, or somebody still waits on it.
    pub(super) fn adopt(self) -> io::Result<Self> {
        let tcp = Arc::into_inner(self.tcp).ok_or(io::ErrorKind::ResourceBusy)?;
        Ok(Self { tcp: Arc::new(TcpStream::from_std(tcp.into_std()?)?), ..self })
    }

    /// The TLS connection, on the TLS door.
    pub(super) fn tls(&self) -> Option<&ServerConnection> {
        self.tls.as_deref()
    }

    /// Whether bytes of the app wait here that the runtime may not have seen yet, because its thread had no time.
    pub(super) fn has_unread(&self) -> bool {
        matches!(SockRef::from(&*self.tcp).peek(&mut [MaybeUninit::uninit()]), Ok(1..))
    }

    /// Takes what came in, into `decoder`, by way of `scratch`.
    ///
    /// # Errors
    /// When the connection is gone, or the app doesn't keep to TLS.
    pub(super) fn receive(&mut self, decoder: &mut FrameDecoder, scratch: &mut [u8]) -> io::Result<Received> {
        let Some(tls) = &mut self.tls else {
            return match self.tcp.try_read(scratch) {
                Ok(0) => Ok(Received::End),
                Ok(n) => {
                    decoder.extend(scratch.get(..n).unwrap_or_default());
                    Ok(Received::Some)
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Received::Nothing),
                Err(e) => Err(e),
            };
        };
        let mut received = match tls.read_tls(&mut Direct(&self.tcp)) {
            Ok(0) => Received::End,
            Ok(_) => Received::Some,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
            Err(e) => return Err(e),
        };
        let processed = tls.process_new_packets();
        if Self::read_plaintext(tls, decoder, scratch)? {
            received = Received::End;
        }
        if let Err(e) = processed {
            // The alert says why; whether it arrives is not in our hands.
            let _ = tls.write_tls(&mut Direct(&self.tcp));
            return Err(io::Error::new(io::ErrorKind::InvalidData, e));
        }
        Ok(received)
    }

    /// Takes what came with the last bytes of the handshake: a first request often does.
    ///
    /// # Errors
    /// When the app doesn't keep to TLS.
    pub(super) fn receive_early(&mut self, decoder: &mut FrameDecoder, scratch: &mut [u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => Self::read_plaintext(tls, decoder, scratch).map(drop),
            None => Ok(()),
        }
    }

    /// The TCP socket, to wait on.
    pub(super) fn tcp(&self) -> Arc<TcpStream> {
        Arc::clone(&self.tcp)
    }

    /// Sends what waits, to the last byte.
    ///
    /// # Errors
    /// [`SendError::Lost`].
    pub(super) async fn send_all(&mut self, frame: Bytes) -> Result<(), SendError> {
        self.send(frame, None)?;
        self.flush_all().await
    }

    async fn flush_all(&mut self) -> Result<(), SendError> {
        while self.is_waiting() {
            self.tcp.writable().await.map_err(|_| SendError::Lost)?;
            self.flush()?;
        }
        Ok(())
    }

    /// Ends the connection in an orderly way: nothing can be sent after it.
    pub(super) async fn end(mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
        }
        while self.flush().is_ok() && self.is_waiting() && self.tcp.writable().await.is_ok() {}
        end_tcp(&self.tcp).await;
    }

    fn flush_clear(&mut self) -> Result<(), SendError> {
        while !self.backlog.is_empty() {
            let written = {
                let (slices, count) = self.backlog.slices(usize::MAX);
                self.tcp.try_write_vectored(slices.get(..count).unwrap_or_default())
            };
            match written {
                Ok(n) => self.backlog.advance(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(SendError::Lost),
            }
        }
        Ok(())
    }

    fn flush_tls(&mut self) -> Result<(), SendError> {
        while self.write_sealed()? && !self.backlog.is_empty() {
            let mut sealed = 0;
            while sealed < WRITE && !self.backlog.is_empty() {
                sealed += self.seal_record()?;
            }
        }
        Ok(())
    }

    /// Seals as many frames as one record takes. Returns how many bytes they had.
    fn seal_record(&mut self) -> Result<usize, SendError> {
        let Some(tls) = &mut self.tls else { return Ok(0) };
        let (slices, count) = self.backlog.slices(RECORD);
        let slices = slices.get(..count).unwrap_or_default();
        let whole = slices.iter().map(|frame| frame.len()).sum();
        spend(&mut self.seals_left, whole)?;
        // All of it is taken, since the connection has no limit of its own: a frame is sealed whole or not at all, so that
        // it can be judged again until then (R15).
        if tls.writer().write_vectored(slices).map_err(|_| SendError::Lost)? != whole {
            return Err(SendError::Lost);
        }
        self.backlog.advance(whole);
        Ok(whole)
    }

    /// Writes sealed records. Whether all are gone.
    fn write_sealed(&mut self) -> Result<bool, SendError> {
        let Some(tls) = &mut self.tls else { return Ok(true) };
        while tls.wants_write() {
            match tls.write_tls(&mut Direct(&self.tcp)) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(_) => return Err(SendError::Lost),
            }
        }
        Ok(true)
    }

    /// Moves decrypted bytes into the decoder. Whether the app has said that no more will come.
    fn read_plaintext(tls: &mut ServerConnection, decoder: &mut FrameDecoder, scratch: &mut [u8]) -> io::Result<bool> {
        loop {
            match tls.reader().read(scratch) {
                Ok(0) => return Ok(true),
                Ok(n) => decoder.extend(scratch.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
            }
        }
    }
}

impl Connection for Socket {
    fn send(&mut self, frame: Bytes, about: Option<AboutRef<'_>>) -> Result<(), SendError> {
        if self.is_waiting() {
            return self.backlog.push(frame, about).map_err(|Full| SendError::Full);
        }
        if let Some(tls) = &mut self.tls {
            spend(&mut self.seals_left, frame.len())?;
            log_writer::write_out();
            tls.writer().write_all(&frame).map_err(|_| SendError::Lost)?;
            // It is handed over, so nobody may say that it was withheld (R21): a socket that is broken seems full here,
            // and whoever waits for room finds out.
            self.is_full = !self.write_sealed().unwrap_or(false);
            return Ok(());
        }
        // Nothing is queued for what leaves at once, as it mostly does.
        log_writer::write_out();
        let written = match self.tcp.try_write(&frame) {
            Ok(written) => written,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_) => return Err(SendError::Lost),
        };
        if written < frame.len() {
            self.backlog.push_regardless(frame, about);
            self.backlog.advance(written);
            self.is_full = true;
        }
        Ok(())
    }

    fn hold(&mut self, frame: Bytes, about: Option<AboutRef<'_>>) -> Result<(), SendError> {
        if self.backlog.needs_flush(frame.len(), WRITE, self.is_full) {
            self.flush()?;
        }
        self.backlog.push(frame, about).map_err(|Full| SendError::Full)
    }

    fn flush(&mut self) -> Result<(), SendError> {
        // What is sealed now is on record then (R21).
        log_writer::write_out();
        match self.tls {
            Some(_) => self.flush_tls()?,
            None => self.flush_clear()?,
        }
        self.is_full = self.is_waiting();
        Ok(())
    }

    fn is_waiting(&self) -> bool {
        !self.backlog.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    fn backlog(&mut self) -> &mut Backlog {
        &mut self.backlog
    }

    fn farewell(mut self, last_word: Bytes, patience: Duration, leaving: Rc<Cell<usize>>) {
        leaving.set(leaving.get() + 1);
        // The good-bye has its share.
        self.seals_left = None;
        // At once, if there is room: tasks wait for the end of the worker's turn.
        let sent = self.send(last_word, None);
        spawn_local(async move {
            let farewell = async {
                if sent.is_ok() && self.flush_all().await.is_ok() {
                    self.end().await;
                }
            };
            let _ = timeout(patience, farewell).await;
            leaving.set(leaving.get() - 1);
        });
    }
}

/// Counts the records that so many bytes are sealed in.
fn spend(seals_left: &mut Option<u32>, bytes: usize) -> Result<(), SendError> {
    if let Some(left) = seals_left {
        let records = u32::try_from(bytes.div_ceil(RECORD)).unwrap_or(u32::MAX);
        *left = left.checked_sub(records).ok_or(SendError::Exhausted)?;
    }
    Ok(())
}

/// Ends our side of a connection, and waits until the peer has ended its own.
///
/// Closing while unread bytes wait would reset the connection, and the peer might lose our last message. A peer that goes
/// on sending loses it all the same: no more than [`MOST_DRAINED`] is read (R41a).
pub(super) async fn end_tcp(tcp: &TcpStream) {
    if SockRef::from(tcp).shutdown(Shutdown::Write).is_err() {
        return;
    }
    let (mut rest, mut drained) = ([0; 4096], 0);
    while drained < MOST_DRAINED && tcp.readable().await.is_ok() {
        match tcp.try_read(&mut rest) {
            Ok(0) => return,
            Ok(n) => drained += n,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
        // Readiness spends no budget of the runtime: without this a flood would keep the thread, and no time would run out.
        yield_now().await;
    }
}

/// The socket as rustls wants it: it never waits.
struct Direct<'a>(&'a TcpStream);

impl Read for Direct<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.try_read(buffer)
    }
}

impl Write for Direct<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(slices)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests;
