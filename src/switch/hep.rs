//! HEPv3 packets: a six-byte header and chunks of type, length and value (big endian).
//!
//! This module owns the packet's syntax and nothing of its payload. Chunks are found by type, never by position:
//! Asterisk writes ports before addresses. Whatever is not needed is wiped on the way, since a feed is secret as a
//! whole: after [`parse`] only the payload and the numbers of the header are left in the datagram.

use std::{net::IpAddr, ops::Range};

use subtle::ConstantTimeEq;

use super::syntax::all_shown;
use crate::model::{Address, Secret, Timestamp, Transport};

/// The protocol type of SIP in chunk 0x000b. Other numbers differ between implementations, so nothing rests on them.
pub const SIP: u8 = 1;

/// Why a datagram is no HEPv3 packet that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HepError {
    /// It doesn't begin with `HEP3`.
    #[error("not a HEPv3 packet")]
    Magic,
    /// The length in the header is not the datagram's.
    #[error("the header says {said} bytes, the datagram has {is}")]
    Total {
        /// What the header says.
        said: usize,
        /// The datagram's length.
        is: usize,
    },
    /// A chunk is shorter than its own header, or goes on past the end.
    #[error("the chunk at byte {at} says {len} bytes")]
    Chunk {
        /// Where the chunk begins.
        at: usize,
        /// The length that it says.
        len: usize,
    },
    /// A chunk's value doesn't have the width of its type.
    #[error("chunk type {kind:#06x} has a value of {len} bytes")]
    Width {
        /// The chunk's type.
        kind: u16,
        /// The length of its value.
        len: usize,
    },
    /// The payload is compressed, which is not supported.
    #[error("the payload is compressed")]
    Compressed,
    /// A chunk without which a packet means nothing is missing.
    #[error("no {0}")]
    Missing(&'static str),
    /// The auth key is not the feed's password, or there is none.
    #[error("the password is missing or wrong")]
    Password,
}

/// What a packet says, its payload apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Who sent the payload.
    pub source: Address,
    /// Who it was sent to.
    pub destination: Address,
    /// When it was captured, if the packet says so.
    pub captured: Option<Timestamp>,
    /// The payload's protocol ([`SIP`] is the one that counts).
    pub protocol: u8,
    /// What the switch calls the call.
    pub correlation: Option<String>,
    /// Where the payload is in the datagram.
    pub payload: Range<usize>,
}

/// Reads a datagram and wipes everything in it but the payload and the header's numbers.
///
/// `password` is compared in constant time with the auth key. When this fails the whole datagram is wiped.
///
/// # Errors
/// [`HepError`]: it is malformed, lacks something, or doesn't know the password.
pub fn parse(datagram: &mut [u8], password: Option<&Secret>) -> Result<Packet, HepError> {
    let packet = read(datagram, password);
    let keep = packet.as_ref().map_or(0..0, |packet| packet.payload.clone());
    datagram.get_mut(..keep.start).unwrap_or_default().fill(0);
    datagram.get_mut(keep.end..).unwrap_or_default().fill(0);
    packet
}

fn read(datagram: &[u8], password: Option<&Secret>) -> Result<Packet, HepError> {
    if datagram.get(..4) != Some(b"HEP3") {
        return Err(HepError::Magic);
    }
    let is = datagram.len();
    let said = usize::from(be16(datagram, 4).ok_or(HepError::Total { said: 0, is })?);
    if said != is {
        return Err(HepError::Total { said, is });
    }

    let mut found = Found::default();
    let read = chunks(datagram, &mut found);
    // Who doesn't know the password is told of nothing else.
    found.check(datagram, password)?;
    read?;
    found.finish()
}

fn chunks(datagram: &[u8], found: &mut Found) -> Result<(), HepError> {
    let (mut at, is) = (6, datagram.len());
    let mut refused = Ok(());
    while at < is {
        let short = HepError::Chunk { at, len: is - at };
        let vendor = be16(datagram, at).ok_or(short)?;
        let kind = be16(datagram, at + 2).ok_or(short)?;
        let len = usize::from(be16(datagram, at + 4).ok_or(short)?);
        let end = at + len;
        if len < 6 || end > is {
            return Err(HepError::Chunk { at, len });
        }
        if vendor == 0 {
            // The password may be in a later one.
            refused = refused.and(found.take(datagram, kind, at + 6..end));
        }
        at = end;
    }
    refused
}

#[derive(Default)]
struct Found {
    ip_protocol: Option<u8>,
    source: Option<IpAddr>,
    destination: Option<IpAddr>,
    source_port: Option<u16>,
    destination_port: Option<u16>,
    seconds: Option<u32>,
    micros: Option<u32>,
    protocol: Option<u8>,
    auth_key: Option<Range<usize>>,
    payload: Option<Range<usize>>,
    correlation: Option<String>,
}

impl Found {
    /// Takes one generic chunk. A chunk that comes twice counts as its last one says.
    fn take(&mut self, datagram: &[u8], kind: u16, range: Range<usize>) -> Result<(), HepError> {
        let value = datagram.get(range.clone()).unwrap_or_default();
        let width = HepError::Width { kind, len: value.len() };
        match kind {
            0x0002 => self.ip_protocol = Some(u8::from_be_bytes(fixed(value).ok_or(width)?)),
            0x0003 => self.source = Some(IpAddr::from(fixed::<4>(value).ok_or(width)?)),
            0x0004 => self.destination = Some(IpAddr::from(fixed::<4>(value).ok_or(width)?)),
            0x0005 => self.source = Some(IpAddr::from(fixed::<16>(value).ok_or(width)?)),
            0x0006 => self.destination = Some(IpAddr::from(fixed::<16>(value).ok_or(width)?)),
            0x0007 => self.source_port = Some(u16::from_be_bytes(fixed(value).ok_or(width)?)),
            0x0008 => self.destination_port = Some(u16::from_be_bytes(fixed(value).ok_or(width)?)),
            0x0009 => self.seconds = Some(u32::from_be_bytes(fixed(value).ok_or(width)?)),
            0x000a => self.micros = Some(u32::from_be_bytes(fixed(value).ok_or(width)?)),
            0x000b => self.protocol = Some(u8::from_be_bytes(fixed(value).ok_or(width)?)),
            0x000e => self.auth_key = Some(range),
            0x000f => self.payload = Some(range),
            0x0010 => return Err(HepError::Compressed),
            0x0011 => self.correlation = text(value),
            _ => {}
        }
        Ok(())
    }

    fn check(&self, datagram: &[u8], password: Option<&Secret>) -> Result<(), HepError> {
        let Some(password) = password else { return Ok(()) };
        let shown = self.auth_key.clone().and_then(|range| datagram.get(range)).unwrap_or_default();
        if bool::from(shown.ct_eq(password.expose())) { Ok(()) } else { Err(HepError::Password) }
    }

    fn finish(self) -> Result<Packet, HepError> {
        let transport = match self.ip_protocol {
            Some(6) => Transport::Tcp,
            Some(17) => Transport::Udp,
            _ => return Err(HepError::Missing("transport")),
        };
        let address = |ip: Option<IpAddr>, port: Option<u16>, what| match (ip, port) {
            (Some(ip), Some(port)) => Ok(Address::new(transport, ip, port)),
            _ => Err(HepError::Missing(what)),
        };
        let micros = i64::from(self.micros.unwrap_or(0));
        Ok(Packet {
            source: address(self.source, self.source_port, "source")?,
            destination: address(self.destination, self.destination_port, "destination")?,
            captured: self.seconds.map(|seconds| Timestamp(i64::from(seconds) * 1_000_000 + micros)),
            protocol: self.protocol.ok_or(HepError::Missing("protocol type"))?,
            correlation: self.correlation,
            payload: self.payload.ok_or(HepError::Missing("payload"))?,
        })
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(fixed(bytes.get(at..at + 2)?)?))
}

fn fixed<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    value.try_into().ok()
}

/// A short printable text; anything else is treated as absent.
fn text(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?.trim_end_matches('\0');
    (!text.is_empty() && text.len() <= 256 && all_shown(text)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(vendor: u16, kind: u16, value: &[u8]) -> Vec<u8> {
        let len = u16::try_from(value.len() + 6).unwrap();
        [&vendor.to_be_bytes()[..], &kind.to_be_bytes(), &len.to_be_bytes(), value].concat()
    }

    fn packet(chunks: &[Vec<u8>]) -> Vec<u8> {
        let body = chunks.concat();
        let len = u16::try_from(body.len() + 6).unwrap();
        [b"HEP3", &len.to_be_bytes()[..], &body].concat()
    }

    fn chunks() -> Vec<Vec<u8>> {
        vec![
            chunk(0, 0x0f, b"OPTIONS"),
            chunk(0, 1, &[2]),
            chunk(0, 2, &[17]),
            chunk(0, 7, &5060u16.to_be_bytes()),
            chunk(0, 8, &5070u16.to_be_bytes()),
            chunk(0, 9, &1_700_000_000u32.to_be_bytes()),
            chunk(0, 10, &25u32.to_be_bytes()),
            chunk(0, 11, &[SIP]),
            chunk(0, 12, &77u32.to_be_bytes()),
            chunk(0, 4, &[192, 0, 2, 2]),
            chunk(0, 3, &[192, 0, 2, 1]),
            chunk(0, 0x0e, b"pass"),
            chunk(0, 0x11, b"PJSIP/1001-00000001"),
            chunk(0, 0x13, b"lab"),
            chunk(4, 0x0f, b"inline:vendor"),
            chunk(0, 0x7777, b"inline:unknown"),
        ]
    }

    #[test]
    fn chunks_are_found_by_type_and_the_rest_is_wiped() {
        let mut datagram = packet(&chunks());
        let read = parse(&mut datagram, Some(&Secret::new(b"pass".to_vec()))).unwrap();
        assert_eq!(read.source.to_string(), "192.0.2.1:5060");
        assert_eq!(read.destination.to_string(), "192.0.2.2:5070");
        assert_eq!(read.captured, Some(Timestamp(1_700_000_000_000_025)));
        assert_eq!(read.protocol, SIP);
        assert_eq!(read.correlation.as_deref(), Some("PJSIP/1001-00000001"));
        assert_eq!(&datagram[read.payload.clone()], b"OPTIONS");
        assert!(datagram.iter().enumerate().all(|(i, byte)| *byte == 0 || read.payload.contains(&i)));
    }

    #[test]
    fn chunks_that_nobody_needs_may_be_anything() {
        for kind in [1, 0x0c, 0x0d, 0x12, 0x13] {
            let mut odd = chunks();
            odd.push(chunk(0, kind, b"odd"));
            assert!(parse(&mut packet(&odd), None).is_ok(), "{kind:#x}");
        }
    }

    #[test]
    fn ipv6_and_tcp_are_read() {
        let mut chunks = chunks();
        chunks.retain(|chunk| ![2, 3, 4].contains(&chunk[3]));
        chunks.extend([chunk(0, 2, &[6]), chunk(0, 5, &[0xfe; 16]), chunk(0, 6, &[0xfd; 16])]);
        let read = parse(&mut packet(&chunks), None).unwrap();
        assert_eq!(read.source.transport, Transport::Tcp);
        assert!(read.source.socket.is_ipv6() && read.destination.socket.is_ipv6());
    }

    #[test]
    fn r42b_a_wrong_or_missing_password_is_refused_and_all_is_wiped() {
        let password = Secret::new(b"word".to_vec());
        let mut datagram = packet(&chunks());
        assert_eq!(parse(&mut datagram, Some(&password)), Err(HepError::Password));
        assert!(datagram.iter().all(|byte| *byte == 0));
        let without: Vec<_> = chunks().into_iter().filter(|chunk| chunk[3] != 0x0e).collect();
        assert_eq!(parse(&mut packet(&without), Some(&password)), Err(HepError::Password));
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert_eq!(parse(&mut b"HEP2\0\x06".to_vec(), None), Err(HepError::Magic));
        assert_eq!(parse(&mut b"HEP3\0".to_vec(), None), Err(HepError::Total { said: 0, is: 5 }));
        assert_eq!(parse(&mut b"HEP3\0\x07".to_vec(), None), Err(HepError::Total { said: 7, is: 6 }));
        for (len, bytes) in [(5, 6), (7, 6), (0, 6), (3, 3)] {
            let mut datagram = b"HEP3\0\0\0\0\0\x02\0".to_vec();
            datagram.push(len);
            datagram.truncate(6 + bytes);
            datagram[5] = u8::try_from(datagram.len()).unwrap();
            assert!(matches!(parse(&mut datagram, None), Err(HepError::Chunk { at: 6, .. })));
        }
        let wide = packet(&[chunk(0, 7, &[1, 2, 3])]);
        assert_eq!(parse(&mut wide.clone(), None), Err(HepError::Width { kind: 7, len: 3 }));
        assert_eq!(parse(&mut packet(&[chunk(0, 0x10, b"x")]), None), Err(HepError::Compressed));
        assert_eq!(parse(&mut packet(&[]), None), Err(HepError::Missing("transport")));
    }
}
