//! A view of an RTP packet (RFC 3550, section 5.1). It checks lengths once, and copies nothing.

use std::ops::Range;

/// Length of the fixed header, in bytes.
pub const FIXED_HEADER_LEN: usize = 12;

/// Why bytes are not an RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RtpError {
    /// Shorter than its own header says.
    #[error("cut short")]
    TooShort,
    /// The version is not 2.
    #[error("version {0}")]
    Version(u8),
    /// RTCP on the same port (RFC 5761: a second byte of 192 to 223).
    #[error("RTCP of type {0}")]
    Rtcp(u8),
    /// The padding is longer than the payload.
    #[error("wrong padding")]
    Padding,
}

/// The header of a packet, and where its parts are.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RtpHeader {
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// The marker bit.
    pub marker: bool,
    /// The sequence number.
    pub sequence: u16,
    /// The timestamp, in units of the payload's clock.
    pub timestamp: u32,
    /// The source.
    pub ssrc: u32,
    /// Whether the last byte of the payload counts padding. Only meaningful in a packet that isn't encrypted.
    pub padding: bool,
    /// The header extension: its profile field, and where its elements are in the packet.
    pub extension: Option<(u16, Range<usize>)>,
    /// The length of the whole header: fixed part, contributing sources and extension.
    pub len: usize,
}

impl RtpHeader {
    /// Reads the header of an RTP or SRTP packet.
    ///
    /// # Errors
    /// [`RtpError`] when it isn't one.
    pub fn parse(packet: &[u8]) -> Result<Self, RtpError> {
        let fixed = packet.first_chunk::<FIXED_HEADER_LEN>().ok_or(RtpError::TooShort)?;
        let [first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = *fixed;
        if first >> 6 != 2 {
            return Err(RtpError::Version(first >> 6));
        }
        if (192..=223).contains(&second) {
            return Err(RtpError::Rtcp(second));
        }
        let mut len = FIXED_HEADER_LEN + usize::from(first & 0x0f) * 4;
        let mut extension = None;
        if first & 0x10 != 0 {
            let head = packet.get(len..).and_then(|rest| rest.first_chunk::<4>()).ok_or(RtpError::TooShort)?;
            let [p0, p1, l0, l1] = *head;
            let elements = len + 4..len + 4 + usize::from(u16::from_be_bytes([l0, l1])) * 4;
            len = elements.end;
            extension = Some((u16::from_be_bytes([p0, p1]), elements));
        }
        if packet.len() < len {
            return Err(RtpError::TooShort);
        }
        Ok(Self {
            payload_type: second & 0x7f,
            marker: second & 0x80 != 0,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            padding: first & 0x20 != 0,
            extension,
            len,
        })
    }

    /// Where the payload is in `packet`, a plain packet that this header was read from, without its padding.
    ///
    /// # Errors
    /// [`RtpError::Padding`] when the padding is longer than the payload, [`RtpError::TooShort`] for another packet.
    pub fn payload(&self, packet: &[u8]) -> Result<Range<usize>, RtpError> {
        let room = packet.len().checked_sub(self.len).ok_or(RtpError::TooShort)?;
        if !self.padding {
            return Ok(self.len..packet.len());
        }
        let padding = usize::from(packet.last().copied().unwrap_or(0));
        if padding == 0 || padding > room {
            return Err(RtpError::Padding);
        }
        Ok(self.len..packet.len() - padding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: [u8; 14] = [0x80, 0x88, 0x12, 0x34, 0, 0, 0, 160, 0xde, 0xad, 0xbe, 0xef, 1, 2];

    #[test]
    fn the_fixed_header() {
        let header = RtpHeader::parse(&PLAIN).unwrap();
        assert_eq!((header.payload_type, header.marker, header.sequence), (8, true, 0x1234));
        assert_eq!((header.timestamp, header.ssrc, header.len), (160, 0xdead_beef, 12));
        assert_eq!(header.payload(&PLAIN), Ok(12..14));
    }

    #[test]
    fn contributing_sources_extension_and_padding() {
        let mut packet = vec![0xb1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
        packet.extend([0; 4]);
        packet.extend([0xbe, 0xde, 0, 1, 0x10, 5, 0, 0]);
        packet.extend([9, 9, 0, 2]);
        let header = RtpHeader::parse(&packet).unwrap();
        assert_eq!(header.len, 24);
        assert_eq!(header.extension, Some((0xbede, 20..24)));
        assert_eq!(header.payload(&packet), Ok(24..26));
        packet[27] = 5;
        assert_eq!(header.payload(&packet), Err(RtpError::Padding));
    }

    #[test]
    fn what_is_not_rtp() {
        assert_eq!(RtpHeader::parse(&PLAIN[..11]), Err(RtpError::TooShort));
        let mut packet = PLAIN;
        packet[0] = 0x8f;
        assert_eq!(RtpHeader::parse(&packet), Err(RtpError::TooShort));
        packet[0] = 0x90;
        assert_eq!(RtpHeader::parse(&packet), Err(RtpError::TooShort));
        packet[0] = 0x40;
        assert_eq!(RtpHeader::parse(&packet), Err(RtpError::Version(1)));
        packet[0] = 0x80;
        packet[1] = 200;
        assert_eq!(RtpHeader::parse(&packet), Err(RtpError::Rtcp(200)));
    }
}
