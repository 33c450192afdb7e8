//! A connection's bytes: TCP, with or without TLS, driven directly.
//!
//! A frame is sealed and written at once, or, where more frames follow in the same turn of the worker, held until they are
//! there too. Only while the socket is full do frames wait for longer, as shared references, bounded in bytes (R41a), with
//! at most one write's worth of sealed records; when it has room they leave in as few records and system calls as they fit
//! into.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, Read, Write},
    net::Shutdown,
    sync::Arc,
};

use bytes::{Buf, Bytes};
use callgate_wire::FrameDecoder;
use rustls::ServerConnection;
use socket2::SockRef;
use tokio::net::TcpStream;

/// As much plaintext as one TLS record holds (RFC 8446, 5.1).
const RECORD: usize = 16 * 1024;
/// The most frames that leave in one record, or in one system call on the clear door.
const FRAMES: usize = 128;

/// A connection of an app.
pub(super) struct Socket {
    tcp: Arc<TcpStream>,
    /// `None` on the clear door. Boxed: it is over a kilobyte.
    tls: Option<Box<ServerConnection>>,
    backlog: VecDeque<Bytes>,
    backlog_bytes: usize,
    /// A part of the first frame has been sent.
    front_is_begun: bool,
    /// The last write found no room.
    is_full: bool,
    max_backlog: usize,
}

/// Why nothing more can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendError {
    /// What waits would exceed the bound (R41).
    Full,
    /// The connection is gone.
    Lost,
}

/// What came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Received {
    /// Some bytes, or nothing now.
    Some,
    /// The app has ended its side.
    End,
}

impl Socket {
    /// `tls` is a connection whose handshake is done, or `None` for the clear door.
    pub(super) fn new(tcp: TcpStream, tls: Option<ServerConnection>, max_backlog: usize) -> Self {
        let tls = tls.map(|mut tls| {
            // What waits is bounded here, in whole frames.
            tls.set_buffer_limit(None);
            Box::new(tls)
        });
        Self {
            tcp: Arc::new(tcp),
            tls,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
            front_is_begun: false,
            is_full: false,
            max_backlog,
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

    /// Sends a frame now, or queues it while the socket is full.
    ///
    /// # Errors
    /// [`SendError`]: the session can't go on.
    pub(super) fn send(&mut self, frame: Bytes) -> Result<(), SendError> {
        if !self.is_waiting() {
            return self.write(frame);
        }
        if self.backlog_bytes + frame.len() > self.max_backlog {
            return Err(SendError::Full);
        }
        self.queue(frame);
        Ok(())
    }

    /// Queues a frame that the caller flushes soon: before its turn ends. As much as fills a record leaves at once.
    ///
    /// # Errors
    /// [`SendError`]: the session can't go on.
    pub(super) fn hold(&mut self, frame: Bytes) -> Result<(), SendError> {
        if self.backlog_bytes + frame.len() > RECORD && !self.is_full {
            self.flush()?;
        }
        if self.backlog_bytes + frame.len() > self.max_backlog {
            return Err(SendError::Full);
        }
        self.queue(frame);
        Ok(())
    }

    /// Drops what waits in whole frames; what is sealed or begun still goes out first.
    pub(super) fn forget_waiting(&mut self) {
        let begun = self.backlog.pop_front().filter(|_| self.front_is_begun);
        self.backlog.clear();
        self.backlog_bytes = begun.as_ref().map_or(0, Bytes::len);
        self.backlog.extend(begun);
    }

    /// Whether something waits for room in the socket.
    pub(super) fn is_waiting(&self) -> bool {
        !self.backlog.is_empty() || self.tls.as_ref().is_some_and(|tls| tls.wants_write())
    }

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    /// [`SendError::Lost`].
    pub(super) fn flush(&mut self) -> Result<(), SendError> {
        match self.tls {
            Some(_) => self.flush_tls()?,
            None => self.flush_clear()?,
        }
        self.is_full = self.is_waiting();
        Ok(())
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
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Received::Some),
                Err(e) => Err(e),
            };
        };
        let mut ended = match tls.read_tls(&mut Direct(&self.tcp)) {
            Ok(0) => true,
            Ok(_) => false,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => false,
            Err(e) => return Err(e),
        };
        let processed = tls.process_new_packets();
        ended |= Self::read_plaintext(tls, decoder, scratch)?;
        if let Err(e) = processed {
            // The alert says why; whether it arrives is not in our hands.
            let _ = tls.write_tls(&mut Direct(&self.tcp));
            return Err(io::Error::new(io::ErrorKind::InvalidData, e));
        }
        Ok(if ended { Received::End } else { Received::Some })
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
        self.send(frame)?;
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

    fn write(&mut self, frame: Bytes) -> Result<(), SendError> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(&frame).map_err(|_| SendError::Lost)?;
            self.is_full = !self.write_sealed()?;
            return Ok(());
        }
        self.queue(frame);
        self.flush()
    }

    fn queue(&mut self, frame: Bytes) {
        self.backlog_bytes += frame.len();
        self.backlog.push_back(frame);
    }

    fn flush_clear(&mut self) -> Result<(), SendError> {
        while !self.backlog.is_empty() {
            let written = {
                let (slices, count) = first_slices(&self.backlog, usize::MAX);
                self.tcp.try_write_vectored(slices.get(..count).unwrap_or_default())
            };
            match written {
                Ok(n) => self.take_written(n),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(SendError::Lost),
            }
        }
        self.release();
        Ok(())
    }

    fn flush_tls(&mut self) -> Result<(), SendError> {
        while self.write_sealed()? && !self.backlog.is_empty() {
            let Some(tls) = &mut self.tls else { return Ok(()) };
            let (slices, count) = first_slices(&self.backlog, RECORD);
            let slices = slices.get(..count).unwrap_or_default();
            let written = tls.writer().write_vectored(slices).map_err(|_| SendError::Lost)?;
            self.take_written(written);
        }
        if self.backlog.is_empty() {
            self.release();
        }
        Ok(())
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

    /// Drops so many bytes from the front of the backlog.
    fn take_written(&mut self, mut bytes: usize) {
        self.backlog_bytes = self.backlog_bytes.saturating_sub(bytes);
        while let Some(first) = self.backlog.front_mut() {
            if bytes < first.len() {
                self.front_is_begun |= bytes > 0;
                first.advance(bytes);
                return;
            }
            self.front_is_begun = false;
            bytes -= first.len();
            self.backlog.pop_front();
        }
    }

    /// An idle session holds no buffer.
    fn release(&mut self) {
        if self.backlog.capacity() > 16 {
            self.backlog = VecDeque::new();
        }
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

/// Ends our side of a connection, and waits until the peer has ended its own.
///
/// Closing while unread bytes wait would reset the connection, and the peer might lose our last message.
pub(super) async fn end_tcp(tcp: &TcpStream) {
    if SockRef::from(tcp).shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut rest = [0; 1024];
    while tcp.readable().await.is_ok() {
        match tcp.try_read(&mut rest) {
            Ok(0) => return,
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

/// Up to [`FRAMES`] frames, of which only the first may reach beyond `max_bytes`.
fn first_slices(backlog: &VecDeque<Bytes>, max_bytes: usize) -> ([IoSlice<'_>; FRAMES], usize) {
    let mut slices = [IoSlice::new(&[]); FRAMES];
    let (mut count, mut bytes) = (0, 0usize);
    for (slice, frame) in slices.iter_mut().zip(backlog) {
        bytes = bytes.saturating_add(frame.len());
        if count > 0 && bytes > max_bytes {
            break;
        }
        *slice = IoSlice::new(frame);
        count += 1;
    }
    (slices, count)
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
