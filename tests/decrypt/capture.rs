//! Capture files in memory: frames of several link types, in pcap and pcapng, and the HEPv3 packets in them.

use std::net::{IpAddr, SocketAddr};

/// How frames begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Ethernet,
    /// Ethernet with two VLAN tags.
    Vlan,
    Null,
    Raw,
    Sll,
    Sll2,
}

/// How the file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Pcap,
    BigEndian,
    Nanoseconds,
    Pcapng,
}

/// IP packets, each with its time in microseconds, and how they are written.
pub struct File {
    pub packets: Vec<(i64, Vec<u8>)>,
    pub link: Link,
    pub format: Format,
    /// What is longer is cut.
    pub snap: usize,
    /// IP packets whose payload is longer than this are sent in fragments.
    pub fragment: usize,
    identification: u16,
}

impl Default for File {
    fn default() -> Self {
        let (link, format) = (Link::Ethernet, Format::Pcap);
        Self { packets: Vec::new(), link, format, snap: 65_535, fragment: 65_535, identification: 0 }
    }
}

impl File {
    /// Adds a UDP datagram.
    pub fn udp(&mut self, at: i64, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        let len = u16::try_from(payload.len() + 8).unwrap().to_be_bytes();
        let head = [from.port().to_be_bytes(), to.port().to_be_bytes(), len, [0, 0]].concat();
        let segment = [head, payload.to_vec()].concat();
        self.identification += 1;
        let pieces = segment.chunks(self.fragment / 8 * 8);
        let last = pieces.len() - 1;
        for (i, piece) in pieces.enumerate() {
            let place = (i * (self.fragment / 8), i < last, self.identification);
            self.packets.push((at, ip(from.ip(), to.ip(), place, piece)));
        }
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let big = self.format == Format::BigEndian;
        let u32s = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
        let link = match self.link {
            Link::Ethernet | Link::Vlan => 1,
            Link::Null => 0,
            Link::Raw => 101,
            Link::Sll => 113,
            Link::Sll2 => 276,
        };
        let mut file = Vec::new();
        let mut write = |numbers: &[u32]| file.extend(numbers.iter().flat_map(|number| u32s(*number)));
        let version = if big { 0x0002_0004 } else { 0x0004_0002 };
        match self.format {
            Format::Pcapng => {
                write(&[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28]);
                write(&[1, 20, link, 65_535, 20]);
            }
            Format::Nanoseconds => write(&[0xa1b2_3c4d, version, 0, 0, 65_535, link]),
            Format::Pcap | Format::BigEndian => write(&[0xa1b2_c3d4, version, 0, 0, 65_535, link]),
        }
        for (at, packet) in &self.packets {
            let frame = frame(self.link, packet);
            let kept = &frame[..frame.len().min(self.snap)];
            let (was, is) = (u32::try_from(frame.len()).unwrap(), u32::try_from(kept.len()).unwrap());
            let (seconds, micros) = (at / 1_000_000, u32::try_from(at % 1_000_000).unwrap());
            let seconds = u32::try_from(seconds).unwrap();
            let mut write = |numbers: &[u32]| file.extend(numbers.iter().flat_map(|number| u32s(*number)));
            if self.format == Format::Pcapng {
                let padded = is.next_multiple_of(4);
                let (high, low) = ((at >> 32) as u32, *at as u32);
                write(&[6, padded + 32, 0, high, low, is, was]);
                file.extend_from_slice(kept);
                file.resize(file.len() + (padded - is) as usize, 0);
                file.extend(u32s(padded + 32));
            } else {
                let fraction = if self.format == Format::Nanoseconds { micros * 1000 + 7 } else { micros };
                write(&[seconds, fraction, is, was]);
                file.extend_from_slice(kept);
            }
        }
        file
    }
}

/// An IP packet with UDP in it; `place` is the offset in units of 8 bytes, whether more follow, and the identification.
fn ip(from: IpAddr, to: IpAddr, place: (usize, bool, u16), payload: &[u8]) -> Vec<u8> {
    let (offset, more, identification) = place;
    let offset = u16::try_from(offset).unwrap();
    let whole = offset == 0 && !more;
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let len = u16::try_from(payload.len() + 20).unwrap().to_be_bytes();
            let [i0, i1] = identification.to_be_bytes();
            let [f0, f1] = (offset | u16::from(more) << 13).to_be_bytes();
            let head = [0x45, 0, len[0], len[1], i0, i1, f0, f1, 64, 17, 0, 0];
            [&head[..], &from.octets(), &to.octets(), payload].concat()
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let [i0, i1] = identification.to_be_bytes();
            let [f0, f1] = (offset << 3 | u16::from(more)).to_be_bytes();
            let extension = if whole { vec![] } else { vec![17, 0, f0, f1, 0, 0, i0, i1] };
            let len = u16::try_from(extension.len() + payload.len()).unwrap().to_be_bytes();
            let head = [0x60, 0, 0, 0, len[0], len[1], if whole { 17 } else { 44 }, 64];
            [&head[..], &from.octets(), &to.octets(), &extension, payload].concat()
        }
        _ => panic!("{from} to {to}"),
    }
}

fn frame(link: Link, packet: &[u8]) -> Vec<u8> {
    let v4 = packet[0] >> 4 == 4;
    let kind: [u8; 2] = if v4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    let head = match link {
        Link::Ethernet => [&[2; 12][..], &kind].concat(),
        Link::Vlan => [&[2; 12][..], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 7], &kind].concat(),
        Link::Null => vec![if v4 { 2 } else { 30 }, 0, 0, 0],
        Link::Raw => Vec::new(),
        Link::Sll => [&[0, 0, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0][..], &kind].concat(),
        Link::Sll2 => [&kind[..], &[0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0]].concat(),
    };
    [head, packet.to_vec()].concat()
}

/// One chunk of a HEPv3 packet.
pub fn chunk(vendor: u16, kind: u16, value: &[u8]) -> Vec<u8> {
    let len = u16::try_from(value.len() + 6).unwrap();
    [&vendor.to_be_bytes()[..], &kind.to_be_bytes(), &len.to_be_bytes(), value].concat()
}

/// A HEPv3 packet of these chunks.
pub fn hep(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = chunks.concat();
    let len = u16::try_from(body.len() + 6).unwrap();
    [b"HEP3", &len.to_be_bytes()[..], &body].concat()
}

/// The chunks of a SIP message from one address to another.
pub fn chunks(protocol: u8, from: SocketAddr, to: SocketAddr, at: i64, text: &str) -> Vec<Vec<u8>> {
    let mut chunks = vec![
        chunk(0, 1, &[if from.is_ipv4() { 2 } else { 10 }]),
        chunk(0, 2, &[protocol]),
        chunk(0, 7, &from.port().to_be_bytes()),
        chunk(0, 8, &to.port().to_be_bytes()),
        chunk(0, 9, &u32::try_from(at / 1_000_000).unwrap().to_be_bytes()),
        chunk(0, 10, &u32::try_from(at % 1_000_000).unwrap().to_be_bytes()),
        chunk(0, 11, &[1]),
        chunk(0, 12, &2001u32.to_be_bytes()),
    ];
    for (kind, ip) in [(3, from.ip()), (4, to.ip())] {
        chunks.push(match ip {
            IpAddr::V4(ip) => chunk(0, kind, &ip.octets()),
            IpAddr::V6(ip) => chunk(0, kind + 2, &ip.octets()),
        });
    }
    chunks.push(chunk(0, 15, text.as_bytes()));
    chunks
}
