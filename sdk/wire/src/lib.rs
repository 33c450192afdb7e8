//! The Callgate CTI protocol as apps and gateway share it: messages, framing, and the table of errors.
//!
//! No sockets, no TLS, no runtime: bytes in, messages out. The messages are made from
//! `proto/callgate/cti/v1/cti.proto`; the made code is committed, and a test makes it anew and compares.
//!
//! Key material in a message never shows in `Debug` output, and a message decoded from [`bytes::Bytes`] points into
//! those bytes: own them by memory that is wiped ([`bytes::Bytes::from_owner`]) where they hold a key.

mod error;
mod frame;
mod redact;

/// The messages of protocol version 1.
#[allow(missing_docs, reason = "made code: a few derived items have no comment in the .proto")]
#[allow(clippy::large_enum_variant, reason = "a message lives a moment on its way to the wire: a box would cost more")]
pub mod v1 {
    include!("generated/callgate.cti.v1.rs");
}

pub use error::{ErrorInfo, TABLE, lookup, lookup_name};
pub use frame::{
    FrameDecoder, FrameError, HEADER_LEN, MAX_FRAME_BEFORE_OPEN, MAX_FRAME_OPEN, encode_frame, encoded_frame_len,
};

/// The protocol version that this crate speaks.
pub const VERSION: v1::Version = v1::Version { major: 1, minor: 0 };

/// The SASL mechanism of the clear door (R14, RFC 7677).
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";

/// The SASL mechanism of the TLS door, for users that need a password besides their certificate (R14).
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The channel binding of [`SCRAM_SHA_256_PLUS`] (RFC 9266).
pub const TLS_EXPORTER: &str = "tls-exporter";

/// The label by which both ends of a TLS connection export what [`TLS_EXPORTER`] binds to, with an empty context (RFC 9266, section
/// 2). TLS 1.2 needs its extended master secret for it (RFC 7627).
pub const TLS_EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// How many bytes that is.
pub const TLS_EXPORTER_LEN: usize = 32;
