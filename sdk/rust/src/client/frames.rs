//! Frames over a connection. Every frame is read into memory of its own that is wiped, since it may hold keys (R20).

use std::io;

use bytes::Bytes;
use callgate_wire::{
    FrameError, HEADER_LEN, MAX_FRAME_BEFORE_OPEN, MAX_FRAME_OPEN, encode_frame,
    v1::{ToApp, ToGateway, to_gateway},
};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use zeroize::Zeroizing;

use super::error::{Closed, ProtocolError};

/// Reads frames. A call that is dropped half way loses nothing.
pub(super) struct FrameReader<R> {
    inner: R,
    limit: usize,
    header: [u8; HEADER_LEN],
    body: Option<Zeroizing<Vec<u8>>>,
    /// How much of the header, or of the body once there is one, has come.
    filled: usize,
}

/// Why no frame came.
#[derive(Debug)]
pub(super) enum ReadError {
    Io(io::Error),
    Frame(FrameError),
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    pub(super) fn new(inner: R) -> Self {
        Self { inner, limit: MAX_FRAME_BEFORE_OPEN, header: [0; HEADER_LEN], body: None, filled: 0 }
    }

    /// The session is open: larger frames may come.
    pub(super) fn open(&mut self) {
        self.limit = MAX_FRAME_OPEN;
    }

    /// The next message. Its `bytes` fields point into memory that is wiped when the last of them is dropped.
    pub(super) async fn next(&mut self) -> Result<ToApp, ReadError> {
        loop {
            let room = match &mut self.body {
                None => self.header.get_mut(self.filled..),
                Some(body) => body.get_mut(self.filled..),
            };
            let room = room.unwrap_or_default();
            if !room.is_empty() {
                match self.inner.read(room).await.map_err(ReadError::Io)? {
                    0 => return Err(ReadError::Io(self.end())),
                    n => self.filled += n,
                }
                continue;
            }
            self.filled = 0;
            match self.body.take() {
                None => {
                    let len = u32::from_be_bytes(self.header) as usize;
                    if len > self.limit {
                        return Err(ReadError::Frame(FrameError::TooLarge { len, limit: self.limit }));
                    }
                    self.body = Some(Zeroizing::new(vec![0; len]));
                }
                Some(body) => {
                    let len = body.len();
                    return ToApp::decode(Bytes::from_owner(body))
                        .map_err(|e| ReadError::Frame(FrameError::Malformed { len, cause: e.to_string() }));
                }
            }
        }
    }

    fn end(&self) -> io::Error {
        let text = if self.filled > 0 || self.body.is_some() {
            "it ended in the middle of a frame"
        } else {
            "the gateway ended it without a Close"
        };
        io::Error::new(io::ErrorKind::UnexpectedEof, text)
    }
}

impl From<ReadError> for Closed {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => Self::ConnectionLost(error.to_string()),
            ReadError::Frame(error) => Self::Protocol(ProtocolError::Frame(error)),
        }
    }
}

/// One message as a frame.
pub(super) fn frame(request_id: u64, message: to_gateway::Message) -> Vec<u8> {
    let mut out = Vec::new();
    encode_frame(&ToGateway { request_id, message: Some(message) }, &mut out);
    out
}

/// Writes one message while the session is being opened.
pub(super) async fn send<W: AsyncWrite + Unpin>(writer: &mut W, message: to_gateway::Message) -> io::Result<()> {
    writer.write_all(&Zeroizing::new(frame(0, message))).await?;
    writer.flush().await
}
