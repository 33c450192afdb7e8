//! G.711: the two telephone codecs, 8,000 samples a second of one byte each (ITU-T G.711; RFC 3551, section 4.5.14).

/// One of the two laws of G.711.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum G711 {
    /// PCMA, common in most of the world.
    ALaw,
    /// PCMU, common in North America and Japan.
    MuLaw,
}

impl G711 {
    /// Samples a second.
    pub const CLOCK_RATE: u32 = 8000;

    /// The law of an encoding name at this clock rate, if it is one.
    pub fn named(name: &str, clock_rate: u32) -> Option<Self> {
        match name {
            _ if clock_rate != Self::CLOCK_RATE => None,
            name if name.eq_ignore_ascii_case("PCMA") => Some(Self::ALaw),
            name if name.eq_ignore_ascii_case("PCMU") => Some(Self::MuLaw),
            _ => None,
        }
    }

    /// The law of a static payload type (RFC 3551, table 4).
    pub fn of_payload_type(payload_type: u8) -> Option<Self> {
        match payload_type {
            0 => Some(Self::MuLaw),
            8 => Some(Self::ALaw),
            _ => None,
        }
    }

    /// The linear sample of a code, at 16 bits.
    pub fn decode(self, code: u8) -> i16 {
        match self {
            Self::ALaw => a_law(code),
            Self::MuLaw => mu_law(code),
        }
    }
}

/// Sign, segment of 3 bits, step of 4 bits; even bits are inverted. A code stands for the middle of its step.
fn a_law(code: u8) -> i16 {
    let code = code ^ 0x55;
    let step = (i16::from(code & 0x0f)) << 4;
    let size = match (code & 0x70) >> 4 {
        0 => step + 0x008,
        segment => (step + 0x108) << (segment - 1),
    };
    if code & 0x80 == 0 { -size } else { size }
}

/// Sign, segment of 3 bits, step of 4 bits; all bits are inverted. Segments begin at powers of 2 less a bias of 132.
fn mu_law(code: u8) -> i16 {
    let code = !code;
    let step = (i16::from(code & 0x0f)) << 3;
    let size = ((step + 0x84) << ((code & 0x70) >> 4)) - 0x84;
    if code & 0x80 == 0 { size } else { -size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_samples_of_the_tables_of_g711() {
        // Values of G.711's tables 1a to 2b, as 16 bits: 13-bit A-law times 8, 14-bit mu-law times 4.
        for (code, sample) in [(0xd5, 8), (0x55, -8), (0xaa, 32256), (0x2a, -32256), (0xd4, 24), (0x80, 5504)] {
            assert_eq!(G711::ALaw.decode(code), sample, "A-law {code:02x}");
        }
        for (code, sample) in [(0xff, 0), (0x7f, 0), (0x80, 32124), (0x00, -32124), (0xfe, 8), (0xf0, 120), (0xef, 132)]
        {
            assert_eq!(G711::MuLaw.decode(code), sample, "mu-law {code:02x}");
        }
    }

    #[test]
    fn both_laws_rise_from_silence_and_are_symmetric() {
        for (law, silence) in [(G711::ALaw, 0x55), (G711::MuLaw, 0xff)] {
            let mut sizes: Vec<_> = (0..128).map(|code| law.decode((code ^ silence) | 0x80)).collect();
            assert!(sizes.iter().all(|size| *size >= 0));
            sizes.sort_unstable();
            sizes.dedup();
            assert_eq!(sizes.len(), 128);
            for code in 0..=127 {
                assert_eq!(law.decode(code), -law.decode(code | 0x80));
            }
        }
    }

    #[test]
    fn laws_are_found_by_name_and_by_static_payload_type() {
        assert_eq!(G711::named("pcmu", 8000), Some(G711::MuLaw));
        assert_eq!(G711::named("PCMA", 8000), Some(G711::ALaw));
        assert_eq!(G711::named("PCMA", 16000), None);
        assert_eq!(G711::named("G722", 8000), None);
        assert_eq!((G711::of_payload_type(0), G711::of_payload_type(8)), (Some(G711::MuLaw), Some(G711::ALaw)));
        assert_eq!(G711::of_payload_type(9), None);
    }
}
