//! Framing: a 4-byte big-endian length, then one protobuf message of that many bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message;

/// Length of a frame's header, in bytes.
pub const HEADER_LEN: usize = 4;
/// The largest message before the session is open, in bytes (R41a).
pub const MAX_FRAME_BEFORE_OPEN: usize = 4 * 1024;
/// The largest message of an open session, in bytes (R41a).
pub const MAX_FRAME_OPEN: usize = 64 * 1024;

/// Why a stream of bytes is not a stream of frames. The connection can't go on after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A header announced more than the limit. Nothing was allocated for it.
    #[error("a frame of {len} bytes, where at most {limit} are allowed")]
    TooLarge {
        /// The announced length.
        len: usize,
        /// The limit in force.
        limit: usize,
    },
    /// The frame's bytes are not the message.
    #[error("a frame of {len} bytes that is not a message: {cause}")]
    Malformed {
        /// The frame's length.
        len: usize,
        /// What protobuf decoding stumbled over.
        cause: String,
    },
}

/// Cuts a stream of bytes into messages, however the bytes are split.
///
/// It buffers at most one header, one frame of the limit, and what one [`extend`](Self::extend) brought.
pub struct FrameDecoder {
    buffer: BytesMut,
    limit: usize,
}

impl FrameDecoder {
    /// A decoder that refuses frames of more than `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit }
    }

    /// Changes the limit for the frames that follow.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Takes bytes as they came from the connection.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` until more bytes come.
    ///
    /// # Errors
    /// [`FrameError`] when the length is over the limit or the frame is not an `M`.
    pub fn next_message<M: Message + Default>(&mut self) -> Result<Option<M>, FrameError> {
        let Some(frame) = self.next_frame()? else {
            return Ok(None);
        };
        let len = frame.len();
        M::decode(frame).map(Some).map_err(|e| FrameError::Malformed { len, cause: e.to_string() })
    }

    /// The bytes of the next whole frame, without its header.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`] when the announced length is over the limit.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(header) = self.buffer.first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let len = u32::from_be_bytes(*header) as usize;
        if len > self.limit {
            return Err(FrameError::TooLarge { len, limit: self.limit });
        }
        if self.buffer.len() - HEADER_LEN < len {
            return Ok(None);
        }
        self.buffer.advance(HEADER_LEN);
        let frame = self.buffer.split_to(len).freeze();
        if self.buffer.is_empty() {
            // An idle session holds no buffer.
            self.buffer = BytesMut::new();
        }
        Ok(Some(frame))
    }

    /// Whether [`next_message`](Self::next_message) has something to say: a whole frame, or that the next one is too large.
    pub fn is_ready(&self) -> bool {
        self.buffer.first_chunk::<HEADER_LEN>().is_some_and(|header| {
            let len = u32::from_be_bytes(*header) as usize;
            len > self.limit || self.buffer.len() - HEADER_LEN >= len
        })
    }

    /// How many bytes wait for the rest of their frame.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }
}

/// The length of `message` as a frame, header included.
pub fn encoded_frame_len<M: Message>(message: &M) -> usize {
    HEADER_LEN + message.encoded_len()
}

/// Appends `message` to `out` as a frame.
///
/// Reserve [`encoded_frame_len`] bytes first where `out` holds a secret: then nothing is moved, and no copy stays behind.
#[expect(clippy::cast_possible_truncation, reason = "a message of 4 GiB can't be built from frames of 64 KiB")]
pub fn encode_frame<M: Message>(message: &M, out: &mut Vec<u8>) {
    out.reserve(encoded_frame_len(message));
    out.put_u32(message.encoded_len() as u32);
    message.encode_raw(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::{Heartbeat, ListDevices, ToGateway, to_gateway};

    fn request(request_id: u64) -> ToGateway {
        ToGateway {
            request_id,
            message: Some(to_gateway::Message::ListDevices(ListDevices {
                name_contains: "10".into(),
                page_size: 7,
                page_token: String::new(),
            })),
        }
    }

    #[test]
    fn a_frame_byte_by_byte_and_two_in_one_piece() {
        let mut wire = Vec::new();
        encode_frame(&request(1), &mut wire);
        let mut decoder = FrameDecoder::new(MAX_FRAME_BEFORE_OPEN);
        for byte in &wire[..wire.len() - 1] {
            decoder.extend(&[*byte]);
            assert_eq!(decoder.next_message::<ToGateway>(), Ok(None));
        }
        decoder.extend(&wire[wire.len() - 1..]);
        assert_eq!(decoder.next_message(), Ok(Some(request(1))));

        encode_frame(&request(2), &mut wire);
        decoder.extend(&wire);
        assert_eq!(decoder.next_message(), Ok(Some(request(1))));
        assert_eq!(decoder.next_message(), Ok(Some(request(2))));
        assert_eq!(decoder.next_message::<ToGateway>(), Ok(None));
        assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn a_lying_length_is_refused_before_anything_is_stored_for_it() {
        let mut decoder = FrameDecoder::new(MAX_FRAME_BEFORE_OPEN);
        decoder.extend(&u32::MAX.to_be_bytes());
        assert_eq!(
            decoder.next_message::<ToGateway>(),
            Err(FrameError::TooLarge { len: u32::MAX as usize, limit: MAX_FRAME_BEFORE_OPEN })
        );
        assert!(decoder.buffer.capacity() < 4096);
    }

    #[test]
    fn the_limit_itself_is_allowed() {
        let mut decoder = FrameDecoder::new(2);
        decoder.extend(&[0, 0, 0, 2, 0x4a, 0]);
        let heartbeat = to_gateway::Message::Heartbeat(Heartbeat {});
        assert_eq!(decoder.next_message(), Ok(Some(ToGateway { request_id: 0, message: Some(heartbeat) })));
        decoder.extend(&[0, 0, 0, 3]);
        assert_eq!(decoder.next_message::<ToGateway>(), Err(FrameError::TooLarge { len: 3, limit: 2 }));
    }

    #[test]
    fn deep_nesting_is_malformed_not_a_stack_overflow() {
        // Unknown groups (wire type 3), opened 4,000 deep.
        let mut decoder = FrameDecoder::new(MAX_FRAME_OPEN);
        decoder.extend(&8000u32.to_be_bytes());
        decoder.extend(&[0xa3, 0x06].repeat(4000));
        assert!(matches!(decoder.next_message::<ToGateway>(), Err(FrameError::Malformed { len: 8000, .. })));
    }

    #[test]
    fn a_message_cut_short_is_malformed() {
        let mut wire = Vec::new();
        encode_frame(&request(1), &mut wire);
        let cut = wire.len() - 2;
        wire[3] -= 2;
        let mut decoder = FrameDecoder::new(MAX_FRAME_OPEN);
        decoder.extend(&wire[..cut]);
        assert!(matches!(decoder.next_message::<ToGateway>(), Err(FrameError::Malformed { .. })));
    }
}
