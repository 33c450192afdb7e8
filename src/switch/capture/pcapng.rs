//! Records of a pcapng file.

use pcap_parser::pcapng::{Block, InterfaceDescriptionBlock, OptionCode, parse_block_be, parse_block_le};

use super::{Fault, Record, Source};
use crate::model::Timestamp;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// More interfaces than any machine has.
const MAX_INTERFACES: usize = 4096;

#[derive(Default)]
pub(super) struct PcapngFile {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// Simple packets have no time of their own: they get that of the packet before.
    last: Timestamp,
}

#[derive(Clone, Copy)]
struct Interface {
    link: u32,
    snap_length: u32,
    /// Units of a second; a power of 10 or 2.
    resolution: u128,
    offset_seconds: i64,
}

impl PcapngFile {
    pub(super) fn next<'a>(&mut self, source: &'a mut Source) -> Result<Option<Record<'a>>, Fault> {
        loop {
            if source.is_at_end()? {
                return Ok(None);
            }
            let byte = source.byte();
            let (kind, len) = self.block_head(source)?;
            if !matches!(kind, INTERFACE | SIMPLE_PACKET | ENHANCED_PACKET) {
                source.skip(u64::from(len))?;
                continue;
            }
            // Only a borrow that is returned lives on, which the borrow checker can't see through a loop: so the
            // packet's place is found first, and taken below.
            let big_endian = self.big_endian;
            let len = usize::try_from(len).unwrap_or(usize::MAX);
            let block = source.peek(len)?;
            if block.len() < len {
                return Err(Fault::End { byte: byte + block.len() as u64 });
            }
            let parsed = if big_endian { parse_block_be(block) } else { parse_block_le(block) };
            let (at, link, head, captured, original) = match parsed {
                Ok((_, Block::InterfaceDescription(interface))) => {
                    let interface = Interface::new(&interface, big_endian)
                        .ok_or(Fault::Wrong { byte, what: "has a time resolution that can't be" })?;
                    if self.interfaces.len() == MAX_INTERFACES {
                        return Err(Fault::Wrong { byte, what: "is one interface too many" });
                    }
                    self.interfaces.push(interface);
                    source.take(len)?;
                    continue;
                }
                Ok((_, Block::EnhancedPacket(packet))) => {
                    let interface = usize::try_from(packet.if_id).ok().and_then(|id| self.interfaces.get(id));
                    let interface =
                        interface.ok_or(Fault::Wrong { byte, what: "names an interface that isn't there" })?;
                    let at = interface.time(packet.ts_high, packet.ts_low);
                    (at, interface.link, 28, packet.caplen, packet.origlen)
                }
                Ok((_, Block::SimplePacket(packet))) => {
                    let first = self.interfaces.first();
                    let interface = first.ok_or(Fault::Wrong { byte, what: "names an interface that isn't there" })?;
                    let snapped = if interface.snap_length == 0 { u32::MAX } else { interface.snap_length };
                    let there = u32::try_from(packet.data.len()).unwrap_or(u32::MAX);
                    let captured = packet.origlen.min(snapped).min(there);
                    (self.last, interface.link, 12, captured, packet.origlen)
                }
                _ => return Err(Fault::Wrong { byte, what: "is a block that contradicts itself" }),
            };
            self.last = at;
            let captured = captured as usize;
            let data = source.take(len)?.get(head..head + captured).unwrap_or_default();
            return Ok(Some(Record { at, link, data, cut: captured < original as usize }));
        }
    }

    /// Type and whole length of the next block. A section header sets the byte order anew.
    fn block_head(&mut self, source: &mut Source) -> Result<(u32, u32), Fault> {
        let byte = source.byte();
        let head = source.peek(12)?;
        let &[t0, t1, t2, t3, l0, l1, l2, l3, ref magic @ ..] = head else {
            return Err(Fault::End { byte: byte + head.len() as u64 });
        };
        if [t0, t1, t2, t3] == SECTION_HEADER.to_be_bytes() {
            self.big_endian = match magic {
                [0x1a, 0x2b, 0x3c, 0x4d] => true,
                [0x4d, 0x3c, 0x2b, 0x1a] => false,
                _ if head.len() < 12 => return Err(Fault::End { byte: byte + head.len() as u64 }),
                _ => return Err(Fault::Wrong { byte, what: "is a section without a byte order" }),
            };
            self.interfaces.clear();
        }
        let number = |bytes| if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
        let (kind, len) = (number([t0, t1, t2, t3]), number([l0, l1, l2, l3]));
        if len < 12 || len % 4 != 0 {
            return Err(Fault::Wrong { byte, what: "is a block with a wrong length" });
        }
        Ok((kind, len))
    }
}

impl Interface {
    fn new(block: &InterfaceDescriptionBlock<'_>, big_endian: bool) -> Option<Self> {
        // pcap-parser refuses powers of 2 and reads the offset as little-endian always: both are done here.
        let exponent = u32::from(block.if_tsresol & 0x7f);
        let base: u128 = if block.if_tsresol & 0x80 == 0 { 10 } else { 2 };
        let resolution = base.checked_pow(exponent)?;
        let offset = block.options.iter().find(|option| option.code == OptionCode::IfTsoffset);
        let offset = offset.and_then(|option| option.value.first_chunk::<8>());
        let offset_seconds =
            offset.map_or(0, |bytes| if big_endian { i64::from_be_bytes(*bytes) } else { i64::from_le_bytes(*bytes) });
        let link = block.linktype.0.cast_unsigned() & 0xffff;
        Some(Self { link, snap_length: block.snaplen, resolution, offset_seconds })
    }

    fn time(&self, high: u32, low: u32) -> Timestamp {
        let units = u128::from(high) << 32 | u128::from(low);
        // At most 2^64 seconds and 10^6: far from the end of 128 bits.
        let micros = i64::try_from(units * 1_000_000 / self.resolution).unwrap_or(i64::MAX);
        Timestamp(micros.saturating_add(self.offset_seconds.saturating_mul(1_000_000)))
    }
}
