//! Payload formats, which calls agree on and voices are decoded by.

/// A payload format (RFC 8866, rtpmap).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codec {
    /// The RTP payload type.
    pub payload_type: u32,
    /// The encoding name, such as "PCMU".
    pub name: String,
    /// The clock rate in Hz.
    pub clock_rate: u32,
}
