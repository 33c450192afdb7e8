//! Fields of protobuf messages, written from borrowed values straight into memory of exactly their length.
//!
//! The messages that prost makes own their strings and bytes. For what is sent once that is no matter; an event would
//! allocate a dozen times to be encoded once. What comes out is what prost writes: fields in the order of their tags,
//! and none that has its default value.

use std::fmt::{self, Write};

use callgate_wire::HEADER_LEN;
use prost::{
    bytes::BufMut,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

/// Takes fields: once to count their bytes, once to write them.
pub(super) struct Fields {
    /// `None` while bytes are only counted.
    out: Option<Vec<u8>>,
    counted: usize,
    /// The lengths of the messages in it, in the order in which they begin: each is counted once.
    lens: [u32; Self::MOST_MESSAGES],
    messages: usize,
}

impl Fields {
    /// How many messages in messages have their lengths kept. What is behind them is counted again, and costs more time.
    const MOST_MESSAGES: usize = 16;

    /// Counts the bytes of these fields.
    pub(super) fn count(fields: impl Fn(&mut Self)) -> Self {
        let mut counting = Self { out: None, counted: 0, lens: [0; Self::MOST_MESSAGES], messages: 0 };
        fields(&mut counting);
        counting
    }

    /// How many bytes were counted.
    pub(super) fn len(&self) -> usize {
        self.counted
    }

    /// A frame of a message with these fields, the same that were counted, at most 64 KiB. The memory has exactly its
    /// length, so that nothing is moved and no copy of a secret stays behind.
    pub(super) fn into_frame(mut self, fields: impl Fn(&mut Self)) -> Box<[u8]> {
        let mut out = Vec::with_capacity(HEADER_LEN + self.counted);
        out.put_u32(u32::try_from(self.counted).unwrap_or(u32::MAX));
        self.out = Some(out);
        self.messages = 0;
        fields(&mut self);
        self.out.unwrap_or_default().into_boxed_slice()
    }

    /// A number, unless it is 0.
    pub(super) fn number(&mut self, tag: u32, value: u64) {
        if value == 0 {
            return;
        }
        match &mut self.out {
            None => self.counted += key_len(tag) + encoded_len_varint(value),
            Some(out) => {
                encode_key(tag, WireType::Varint, out);
                put_varint(value, out);
            }
        }
    }

    /// A number that may be negative.
    #[expect(clippy::cast_sign_loss, reason = "protobuf writes int32 and int64 as two's complement")]
    pub(super) fn signed(&mut self, tag: u32, value: impl Into<i64>) {
        self.number(tag, value.into() as u64);
    }

    /// A choice among those of an enumeration, unless it is the first.
    pub(super) fn choice(&mut self, tag: u32, value: impl Into<i32>) {
        self.signed(tag, value.into());
    }

    /// A text, unless it is empty.
    pub(super) fn text(&mut self, tag: u32, value: &str) {
        self.bytes(tag, value.as_bytes());
    }

    /// Bytes, unless there are none.
    pub(super) fn bytes(&mut self, tag: u32, value: &[u8]) {
        if value.is_empty() {
            return;
        }
        self.head(tag, value.len());
        match &mut self.out {
            None => self.counted += value.len(),
            Some(out) => out.put_slice(value),
        }
    }

    /// A message, even if it is empty.
    pub(super) fn message(&mut self, tag: u32, fields: impl Fn(&mut Self)) {
        let place = self.messages;
        self.messages += 1;
        if self.out.is_none() {
            let before = self.counted;
            fields(self);
            let len = self.counted - before;
            self.head(tag, len);
            if let (Some(kept), Ok(len)) = (self.lens.get_mut(place), u32::try_from(len)) {
                *kept = len;
            }
            return;
        }
        let len = match self.lens.get(place) {
            Some(len) => *len as usize,
            None => Self::count(&fields).len(),
        };
        self.head(tag, len);
        fields(self);
    }

    /// Key and length of what follows.
    fn head(&mut self, tag: u32, len: usize) {
        match &mut self.out {
            None => self.counted += key_len(tag) + encoded_len_varint(len as u64),
            Some(out) => {
                encode_key(tag, WireType::LengthDelimited, out);
                put_varint(len as u64, out);
            }
        }
    }
}

/// Most numbers and lengths are one byte.
#[inline]
fn put_varint(value: u64, out: &mut Vec<u8>) {
    match u8::try_from(value) {
        Ok(byte @ ..0x80) => out.push(byte),
        _ => encode_varint(value, out),
    }
}

/// A short text of its own, such as an id or an address, without an allocation.
pub(super) struct Short {
    bytes: [u8; Self::MOST],
    len: usize,
}

impl Short {
    /// The longest is an IPv6 address with its scope and port: 58 bytes.
    const MOST: usize = 64;

    /// The text of a value. What doesn't fit is left out.
    pub(super) fn of(value: &impl fmt::Display) -> Self {
        let mut short = Self { bytes: [0; Self::MOST], len: 0 };
        let written = write!(short, "{value}");
        debug_assert!(written.is_ok(), "{value} is too long");
        short
    }

    /// The text's bytes.
    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}
