//! Capture files: bytes in, UDP datagrams out.
//!
//! Owns the reading of classic pcap (micro- and nanoseconds, both byte orders) and of pcapng, and the way from a
//! captured frame to a UDP datagram: link layers, VLAN tags, IPv4 and IPv6 with extension headers and fragments.
//! It never looks into a datagram further than to tell its [`PacketKind`], and never writes.
//!
//! Invariants: memory is bounded, whatever the file says ([`MAX_RECORD`] and a few fragments), no input makes it
//! panic, and all memory that datagrams pass through here is wiped when it is dropped, payloads included: any datagram may be
//! signalling with keys in it. What a caller takes out of a [`Packet`] is the caller's to wipe.

mod fragments;
mod frame;
mod pcap;
mod pcapng;
mod source;

use std::{fs::File, io::Read, net::SocketAddr, path::Path};

use zeroize::Zeroizing;

use self::{
    frame::{Datagram, FrameReader, Outcome},
    pcap::PcapFile,
    pcapng::PcapngFile,
    source::Source,
};
use crate::model::Timestamp;

/// The longest record that is read, in bytes. Capture tools end a packet at 262,144.
pub const MAX_RECORD: usize = 512 * 1024;

/// A capture that is being read: an iterator over its UDP datagrams, in the order of the file.
///
/// After an error it yields nothing more; what came before stands.
pub struct Capture {
    source: Source,
    format: Format,
    frames: FrameReader,
    counts: CaptureCounts,
    done: bool,
}

/// What a reading of a capture went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CaptureCounts {
    /// Records of packets.
    pub records: u64,
    /// UDP datagrams that were yielded.
    pub datagrams: u64,
    /// Datagrams among them that the capture's snap length cut: [`Packet::cut`].
    pub cut: u64,
    /// Fragments of IP packets that never became whole.
    pub fragments: u64,
    /// Records that are no UDP over IP, or whose headers are wrong.
    pub other: u64,
    /// Records of a link type that isn't known.
    pub unknown_link: u64,
}

/// A UDP datagram of a capture.
///
/// It has no `Debug`: the payload may hold keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Packet {
    /// When it was captured.
    pub at: Timestamp,
    /// Who sent it. IPv4 in IPv6's clothes is shown as IPv4.
    pub source: SocketAddr,
    /// Whom it was sent to.
    pub destination: SocketAddr,
    /// What it carries; wiped when it is dropped.
    pub payload: Zeroizing<Vec<u8>>,
    /// Whether the capture's snap length cut the payload.
    pub cut: bool,
}

/// What a datagram carries, as its first bytes tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PacketKind {
    /// A HEPv3 packet.
    Hep,
    /// RTP or SRTP (RFC 3550, told from RTCP by RFC 5761, section 4).
    Rtp,
    /// RTCP or SRTCP.
    Rtcp,
    /// Something else.
    Other,
}

/// Why a capture can't be read, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The file can't be opened.
    #[error("{path} can't be opened: {text}")]
    Open {
        /// The file.
        path: String,
        /// What the system says.
        text: String,
    },
    /// It is a folder.
    #[error("{path} is a folder: name a capture file")]
    Folder {
        /// The folder.
        path: String,
    },
    /// The file of this name can't be used.
    #[error("{path}: {error}")]
    In {
        /// The file.
        path: String,
        /// Why.
        error: Box<Self>,
    },
    /// The file can't be read further.
    #[error("reading failed at byte {byte}: {text}")]
    Read {
        /// Where, counted from 0.
        byte: u64,
        /// What the system says.
        text: String,
    },
    /// The file is empty.
    #[error("the file is empty: record it again")]
    Empty,
    /// It is neither pcap nor pcapng.
    #[error("this is no capture (pcap or pcapng) but {found}{mend}")]
    NotACapture {
        /// What it is, as its first bytes tell.
        found: String,
        /// What to do, led by a separator; may be empty.
        mend: &'static str,
    },
    /// Its link type isn't one of those that are read.
    #[error("the capture's link type {number} is not known: record on Ethernet, a loopback device, \"any\" or raw IP")]
    LinkType {
        /// Its number at the tcpdump group.
        number: u32,
    },
    /// It ends in mid-record.
    #[error(
        "the capture was cut: it ends inside record {record}, at byte {byte}; the {packets} UDP packets up to there were \
         read. Copy it again, after the recording was stopped"
    )]
    Truncated {
        /// Where the file ends, in bytes.
        byte: u64,
        /// The record that isn't whole, counted from 1.
        record: u64,
        /// How many UDP datagrams were read before.
        packets: u64,
    },
    /// A record contradicts itself.
    #[error(
        "the capture is damaged: record {record}, at byte {byte}, {what}; the {packets} UDP packets up to there were read"
    )]
    Damaged {
        /// Where the record begins, in bytes.
        byte: u64,
        /// Its number, counted from 1.
        record: u64,
        /// How many UDP datagrams were read before.
        packets: u64,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl Capture {
    /// Opens a capture file and reads its header.
    ///
    /// # Errors
    /// [`CaptureError`], when it can't be opened or is no capture.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        let shown = || path.display().to_string();
        let unopened = |error: std::io::Error| CaptureError::Open { path: shown(), text: error.to_string() };
        let file = File::open(path).map_err(unopened)?;
        if file.metadata().map_err(unopened)?.is_dir() {
            return Err(CaptureError::Folder { path: shown() });
        }
        Self::from_reader(file).map_err(|error| CaptureError::In { path: shown(), error: Box::new(error) })
    }

    /// Reads a capture from anywhere. The reader needs no buffer of its own.
    ///
    /// # Errors
    /// [`CaptureError`], when it is no capture.
    pub fn from_reader(reader: impl Read + Send + 'static) -> Result<Self, CaptureError> {
        let mut source = Source::new(Box::new(reader));
        let format = Format::read(&mut source)?;
        Ok(Self { source, format, frames: FrameReader::default(), counts: CaptureCounts::default(), done: false })
    }

    /// What was met so far.
    pub fn counts(&self) -> CaptureCounts {
        CaptureCounts { fragments: self.frames.lost_fragments(), ..self.counts }
    }

    fn read(&mut self) -> Result<Option<Packet>, CaptureError> {
        loop {
            let record = match &mut self.format {
                Format::Pcap(file) => file.next(&mut self.source),
                Format::Pcapng(file) => file.next(&mut self.source),
            };
            let Record { at, link, data, cut } = match record {
                Ok(Some(record)) => record,
                Ok(None) => return Ok(None),
                Err(fault) => return Err(fault.after(&self.counts)),
            };
            self.counts.records += 1;
            match self.frames.read(at, link, data) {
                Outcome::Datagram(Datagram { source, destination, payload, cut: short }) => {
                    let cut = cut || short;
                    self.counts.datagrams += 1;
                    self.counts.cut += u64::from(cut);
                    return Ok(Some(Packet { at, source, destination, payload, cut }));
                }
                Outcome::Fragment => {}
                Outcome::Other => self.counts.other += 1,
                Outcome::UnknownLink => self.counts.unknown_link += 1,
            }
        }
    }
}

impl Iterator for Capture {
    type Item = Result<Packet, CaptureError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let packet = self.read().transpose();
        self.done = !matches!(packet, Some(Ok(_)));
        packet
    }
}

impl Packet {
    /// What it carries.
    pub fn kind(&self) -> PacketKind {
        let version_2 = self.payload.first().is_some_and(|first| first >> 6 == 2);
        match self.payload.get(1) {
            _ if self.payload.starts_with(b"HEP3") => PacketKind::Hep,
            Some(192..=223) if version_2 && self.payload.len() >= 8 => PacketKind::Rtcp,
            Some(0..=191 | 224..=255) if version_2 && self.payload.len() >= 12 => PacketKind::Rtp,
            _ => PacketKind::Other,
        }
    }

    /// Whether it is a HEPv3 packet.
    pub fn is_hep(&self) -> bool {
        self.kind() == PacketKind::Hep
    }

    /// Whether it is RTP or SRTP.
    pub fn is_rtp(&self) -> bool {
        self.kind() == PacketKind::Rtp
    }
}

/// A record of a capture: a frame, before its link layer is looked at.
struct Record<'a> {
    at: Timestamp,
    link: u32,
    data: &'a [u8],
    cut: bool,
}

/// What is wrong with the bytes, before it is known how much was read.
enum Fault {
    Read { byte: u64, text: String },
    End { byte: u64 },
    Wrong { byte: u64, what: &'static str },
}

impl Fault {
    fn after(self, counts: &CaptureCounts) -> CaptureError {
        let (record, packets) = (counts.records + 1, counts.datagrams);
        match self {
            Self::Read { byte, text } => CaptureError::Read { byte, text },
            Self::End { byte } => CaptureError::Truncated { byte, record, packets },
            Self::Wrong { byte, what } => CaptureError::Damaged { byte, record, packets, what },
        }
    }
}

enum Format {
    Pcap(PcapFile),
    Pcapng(PcapngFile),
}

impl Format {
    fn read(source: &mut Source) -> Result<Self, CaptureError> {
        let at_start = |fault: Fault| fault.after(&CaptureCounts::default());
        let start = source.peek(24).map_err(at_start)?;
        match start {
            [] => Err(CaptureError::Empty),
            [0x0a, 0x0d, 0x0d, 0x0a, ..] => Ok(Self::Pcapng(PcapngFile::default())),
            [0xd4, 0xc3, 0xb2, 0xa1, ..]
            | [0xa1, 0xb2, 0xc3, 0xd4, ..]
            | [0x4d, 0x3c, 0xb2, 0xa1, ..]
            | [0xa1, 0xb2, 0x3c, 0x4d, ..] => {
                let file = PcapFile::read(source).map_err(at_start)?;
                if !frame::knows(file.link()) {
                    return Err(CaptureError::LinkType { number: file.link() });
                }
                Ok(Self::Pcap(file))
            }
            other => Err(not_a_capture(other)),
        }
    }
}

fn not_a_capture(start: &[u8]) -> CaptureError {
    const UNPACK: &str = ": decompress it first";
    let (found, mend) = match start {
        [0x1f, 0x8b, ..] => ("a gzip file", UNPACK),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => ("a zstd file", UNPACK),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => ("an xz file", UNPACK),
        [b'B', b'Z', b'h', ..] => ("a bzip2 file", UNPACK),
        [0x04, 0x22, 0x4d, 0x18, ..] => ("an lz4 file", UNPACK),
        [b'P', b'K', 3, 4, ..] => ("a zip file", UNPACK),
        [b's', b'n', b'o', b'o', b'p', 0, ..] => ("a snoop file", ": convert it to pcap, for example with editcap"),
        [0x34, 0xcd, 0xb2, 0xa1, ..] | [0xa1, 0xb2, 0xcd, 0x34, ..] => {
            ("a pcap of a kind that is no longer written", ": convert it to pcap, for example with editcap")
        }
        [b'H', b'E', b'P', b'3', ..] => ("a bare HEP packet", ": record the packets with tcpdump or dumpcap"),
        text if text.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e)) => ("text", ""),
        _ => {
            let bytes: Vec<_> = start.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            return CaptureError::NotACapture {
                found: format!("a file that begins with {}", bytes.join(" ")),
                mend: "",
            };
        }
    };
    CaptureError::NotACapture { found: found.into(), mend }
}

#[cfg(test)]
mod tests;
