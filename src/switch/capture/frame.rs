//! From a captured frame to a UDP datagram.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, Ipv6ExtensionSlice, LaxIpSlice};
use zeroize::Zeroizing;

use super::fragments::{FragmentId, Fragments};
use crate::model::Timestamp;

/// What became of a frame.
pub(super) enum Outcome {
    Datagram(Datagram),
    /// Part of an IP packet that isn't whole yet.
    Fragment,
    /// No UDP over IP, or wrong.
    Other,
    UnknownLink,
}

pub(super) struct Datagram {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) payload: Zeroizing<Vec<u8>>,
    pub(super) cut: bool,
}

#[derive(Default)]
pub(super) struct FrameReader {
    fragments: Fragments,
}

/// Link types by their numbers at the tcpdump group: <https://www.tcpdump.org/linktypes.html>.
mod link {
    pub(super) const NULL: u32 = 0;
    pub(super) const ETHERNET: u32 = 1;
    pub(super) const RAW_BSD: u32 = 12;
    pub(super) const RAW_OPENBSD: u32 = 14;
    pub(super) const RAW: u32 = 101;
    pub(super) const LOOP: u32 = 108;
    pub(super) const LINUX_SLL: u32 = 113;
    pub(super) const IPV4: u32 = 228;
    pub(super) const IPV6: u32 = 229;
    pub(super) const LINUX_SLL2: u32 = 276;
}

mod ether_type {
    pub(super) const IPV4: u16 = 0x0800;
    pub(super) const VLAN: u16 = 0x8100;
    pub(super) const IPV6: u16 = 0x86dd;
    pub(super) const PROVIDER_VLAN: u16 = 0x88a8;
    pub(super) const OLD_PROVIDER_VLAN: u16 = 0x9100;
}

/// Whether frames of this link type are understood.
pub(super) fn knows(link: u32) -> bool {
    ip_packet(link, &[]).is_some()
}

impl FrameReader {
    pub(super) fn read(&mut self, at: Timestamp, link: u32, frame: &[u8]) -> Outcome {
        match ip_packet(link, frame) {
            None => Outcome::UnknownLink,
            Some(packet) => packet.and_then(|packet| self.datagram(at, packet)).unwrap_or(Outcome::Other),
        }
    }

    /// Fragments that were given up.
    pub(super) fn lost_fragments(&self) -> u64 {
        self.fragments.lost()
    }

    #[cfg(test)]
    pub(super) fn open_fragments(&self) -> usize {
        self.fragments.open()
    }

    fn datagram(&mut self, at: Timestamp, packet: &[u8]) -> Option<Outcome> {
        let (ip, _) = LaxIpSlice::from_slice(packet).ok()?;
        let (source, destination) = (ip.source_addr().to_canonical(), ip.destination_addr().to_canonical());
        let payload = ip.payload();
        if !payload.fragmented {
            let whole = udp(source, destination, payload.ip_number, payload.payload);
            return whole
                .map(|datagram| Outcome::Datagram(Datagram { cut: datagram.cut || payload.incomplete, ..datagram }));
        }
        let (identification, offset, more) = fragment(&ip)?;
        let id = FragmentId { source, destination, identification, protocol: payload.ip_number };
        let part = (!payload.incomplete).then_some(payload.payload);
        let Some(whole) = self.fragments.add(at, id, offset, more, part) else { return Some(Outcome::Fragment) };
        udp(source, destination, payload.ip_number, &whole).map(Outcome::Datagram)
    }
}

/// The IP packet in a frame: `None` for an unknown link type, `Some(None)` if it carries none.
fn ip_packet(link: u32, frame: &[u8]) -> Option<Option<&[u8]>> {
    Some(match link {
        link::ETHERNET => by_ether_type(frame.get(12..)),
        link::LINUX_SLL => by_ether_type(frame.get(14..)),
        // Its EtherType comes first, 20 bytes before the payload.
        link::LINUX_SLL2 => match (frame.first_chunk::<2>(), frame.get(20..)) {
            (Some(kind), Some(rest)) => tagged(u16::from_be_bytes(*kind), rest),
            _ => None,
        },
        // The address family has another number on each system; the IP packet itself says which one it is.
        link::NULL | link::LOOP => frame.get(4..),
        link::RAW | link::RAW_BSD | link::RAW_OPENBSD | link::IPV4 | link::IPV6 => Some(frame),
        _ => return None,
    })
}

fn by_ether_type(frame: Option<&[u8]>) -> Option<&[u8]> {
    let (kind, rest) = frame?.split_first_chunk::<2>()?;
    tagged(u16::from_be_bytes(*kind), rest)
}

/// Steps over VLAN tags (IEEE 802.1Q), however many.
fn tagged(mut kind: u16, mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        match kind {
            ether_type::IPV4 | ether_type::IPV6 => return Some(rest),
            ether_type::VLAN | ether_type::PROVIDER_VLAN | ether_type::OLD_PROVIDER_VLAN => {
                let inner = rest.get(2..)?;
                let (next, after) = inner.split_first_chunk::<2>()?;
                (kind, rest) = (u16::from_be_bytes(*next), after);
            }
            _ => return None,
        }
    }
}

/// Identification, offset in bytes, whether more follow.
fn fragment(ip: &LaxIpSlice<'_>) -> Option<(u32, etherparse::IpFragOffset, bool)> {
    match ip {
        LaxIpSlice::Ipv4(ip) => {
            let header = ip.header();
            Some((u32::from(header.identification()), header.fragments_offset(), header.more_fragments()))
        }
        LaxIpSlice::Ipv6(ip) => ip.extensions().clone().into_iter().find_map(|extension| match extension {
            Ipv6ExtensionSlice::Fragment(header) => {
                Some((header.identification(), header.fragment_offset(), header.more_fragments()))
            }
            _ => None,
        }),
    }
}

fn udp(source: IpAddr, destination: IpAddr, protocol: IpNumber, segment: &[u8]) -> Option<Datagram> {
    if protocol != IpNumber::UDP {
        return None;
    }
    let (&[s0, s1, d0, d1, l0, l1, _, _], rest) = segment.split_first_chunk::<8>()?;
    let payload_len = match u16::from_be_bytes([l0, l1]) {
        // Networks cards that cut packets themselves leave the length out.
        0 => rest.len(),
        len => usize::from(len).checked_sub(8)?,
    };
    Some(Datagram {
        source: SocketAddr::new(source, u16::from_be_bytes([s0, s1])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([d0, d1])),
        payload: Zeroizing::new(rest.get(..payload_len).unwrap_or(rest).to_vec()),
        cut: rest.len() < payload_len,
    })
}
