//! Records of a classic pcap file.

use pcap_parser::pcap::parse_pcap_header;

use super::{Fault, Record, Source};
use crate::model::Timestamp;

const HEADER: usize = 24;

pub(super) struct PcapFile {
    big_endian: bool,
    nanoseconds: bool,
    link: u32,
}

impl PcapFile {
    pub(super) fn read(source: &mut Source) -> Result<Self, Fault> {
        let byte = source.byte();
        let header = source.take(HEADER)?;
        let Ok((_, header)) = parse_pcap_header(header) else {
            return Err(Fault::Wrong { byte, what: "is no header of a pcap file" });
        };
        Ok(Self {
            big_endian: header.is_bigendian(),
            nanoseconds: header.is_nanosecond_precision(),
            // The upper half has flags about checksums at the end of frames.
            link: header.network.0.cast_unsigned() & 0xffff,
        })
    }

    pub(super) fn link(&self) -> u32 {
        self.link
    }

    pub(super) fn next<'a>(&mut self, source: &'a mut Source) -> Result<Option<Record<'a>>, Fault> {
        if source.is_at_end()? {
            return Ok(None);
        }
        let byte = source.byte();
        let header = source.take(16)?;
        let number = |i: usize| {
            let field = header.chunks_exact(4).nth(i).and_then(|field| field.try_into().ok()).unwrap_or_default();
            if self.big_endian { u32::from_be_bytes(field) } else { u32::from_le_bytes(field) }
        };
        let (seconds, fraction, captured, original) = (number(0), number(1), number(2), number(3));
        let micros = if self.nanoseconds { fraction / 1000 } else { fraction };
        let at = Timestamp(i64::from(seconds) * 1_000_000 + i64::from(micros));
        let captured = usize::try_from(captured).unwrap_or(usize::MAX);
        if captured > super::MAX_RECORD {
            return Err(Fault::Wrong { byte, what: "is longer than any packet" });
        }
        let data = source.take(captured)?;
        Ok(Some(Record { at, link: self.link, data, cut: data.len() < original as usize }))
    }
}
