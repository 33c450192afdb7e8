//! SDES: the crypto lines of a session description (RFC 4568).
//!
//! A line whose suite or parameters aren't understood is kept as unusable: if it is the accepted one, the key is
//! unknown. Nothing is guessed (R42b), padded or cut (R18).

use std::sync::Arc;

use super::scan::Keys;
use crate::model::{Cipher, KeyMaterial, MasterKey, Mki, SessionParameters, Suite};

/// One `a=crypto` line.
#[derive(Debug, Clone)]
pub struct CryptoLine {
    /// The tag, 1 to 9 digits; `None` if it is unreadable.
    pub tag: Option<u32>,
    /// The suite, if it is known.
    pub suite: Option<Suite>,
    /// What it says about the stream of the end that wrote it.
    pub material: Material,
}

/// What a crypto line is worth.
#[derive(Debug, Clone)]
pub enum Material {
    /// The media aren't encrypted: `UNENCRYPTED_SRTP`, or a suite without a cipher.
    Clear,
    /// The key material.
    Known(Arc<KeyMaterial>),
    /// Something in the line isn't understood, or the key doesn't fit its suite.
    Unusable,
}

impl CryptoLine {
    /// Reads `<tag> <suite> <key parameters> [<session parameters>]`, redacted; `keys` are those that were cut out.
    pub fn parse(value: &str, keys: &Keys) -> Self {
        let mut words = value.split_ascii_whitespace();
        let tag = words
            .next()
            .filter(|tag| (1..=9).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|tag| tag.parse().ok());
        let suite = words.next().and_then(|suite| suite.parse::<Suite>().ok());
        let material = suite.and_then(|suite| {
            let key_parameters = words.next()?;
            let parameters = session_parameters(words)?;
            if parameters.unencrypted_srtp || suite.cipher() == Cipher::Null {
                return Some(Material::Clear);
            }
            let masters = key_parameters.split(';').map(|text| master_key(suite, text, keys)).collect::<Option<_>>()?;
            KeyMaterial::new(suite, masters, parameters).ok().map(|known| Material::Known(known.into()))
        });
        Self { tag, suite, material: material.unwrap_or(Material::Unusable) }
    }
}

/// Reads `inline:<key>[|<lifetime>][|<MKI>:<length>]` (RFC 4568, 6.1). A lone field is the MKI if it has a colon.
fn master_key(suite: Suite, text: &str, keys: &Keys) -> Option<MasterKey> {
    let mut fields = text.split('|');
    let (method, filler) = fields.next()?.split_once(':')?;
    if !method.eq_ignore_ascii_case("inline") {
        return None;
    }
    let (mut lifetime, mut mki) = (None, None);
    for field in fields {
        match field.split_once(':') {
            Some((value, len)) if mki.is_none() => mki = Some(mki_bytes(value, len)?),
            None if mki.is_none() && lifetime.is_none() => lifetime = Some(lifetime_packets(field)?),
            _ => return None,
        }
    }
    MasterKey::new(suite, keys.of_filler(filler)?.secret()?, mki, lifetime).ok()
}

/// A decimal number, or a power of two written `2^n`; at most 2^48 packets (RFC 3711, 9.2).
fn lifetime_packets(text: &str) -> Option<u64> {
    let packets = match text.strip_prefix("2^") {
        Some(exponent) => 1u64.checked_shl(exponent.parse().ok()?)?,
        None => text.parse().ok()?,
    };
    (1..=1 << 48).contains(&packets).then_some(packets)
}

/// The MKI as it stands in packets: the decimal number `value`, big endian in `len` bytes.
fn mki_bytes(value: &str, len: &str) -> Option<Mki> {
    let len: usize = len.parse().ok().filter(|len| (1..=128).contains(len))?;
    if value.is_empty() {
        return None;
    }
    let mut bytes = vec![0u8; len];
    for digit in value.chars() {
        let mut carry = digit.to_digit(10)?;
        for byte in bytes.iter_mut().rev() {
            let sum = u32::from(*byte) * 10 + carry;
            *byte = u8::try_from(sum & 0xff).ok()?;
            carry = sum >> 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Mki::new(&bytes).ok()
}

/// Session parameters (RFC 4568, 6.3). `None` if a mandatory one isn't understood: one without a leading "-" (6.3.7).
fn session_parameters<'a>(words: impl Iterator<Item = &'a str>) -> Option<SessionParameters> {
    let mut parameters = SessionParameters::default();
    for word in words {
        let upper = word.to_ascii_uppercase();
        match upper.split_once('=') {
            None if upper == "UNENCRYPTED_SRTP" => parameters.unencrypted_srtp = true,
            None if upper == "UNENCRYPTED_SRTCP" => parameters.unencrypted_srtcp = true,
            None if upper == "UNAUTHENTICATED_SRTP" => parameters.unauthenticated_srtp = true,
            Some(("KDR", rate)) => {
                parameters.key_derivation_rate_log2 = rate.parse().ok().filter(|rate| *rate <= 24)?;
            }
            Some(("WSH", size)) => parameters.window_size_hint = size.parse().ok()?,
            // They tell of packets for error correction, and change nothing of the media's own.
            Some(("FEC_ORDER" | "FEC_KEY", _)) => {}
            _ if upper.starts_with('-') => {}
            _ => return None,
        }
    }
    Some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::scan;

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
    const OTHER: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

    fn line(value: &str) -> CryptoLine {
        let mut text = format!("a=crypto:{value}").into_bytes();
        let keys = scan::redact(&mut text);
        let text = String::from_utf8(text).unwrap();
        CryptoLine::parse(text.strip_prefix("a=crypto:").unwrap(), &keys)
    }

    fn known(value: &str) -> Option<Arc<KeyMaterial>> {
        match line(value).material {
            Material::Known(known) => Some(known),
            _ => None,
        }
    }

    #[test]
    fn r18_the_sample_of_rfc_4568_is_read() {
        let known = known(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4 FEC_ORDER=FEC_SRTP")).unwrap();
        let [master] = known.keys() else { panic!() };
        assert_eq!(master.key.expose(), b"YS___semctl () {");
        assert_eq!(master.salt.expose(), b"\t220;}\n}\nunles");
        assert_eq!(master.lifetime, Some(1 << 20));
        assert_eq!(master.mki.as_ref().unwrap().as_bytes(), [0, 0, 0, 1]);
    }

    #[test]
    fn r18_several_keys_with_mkis_are_read() {
        let value =
            format!("3 AES_CM_128_HMAC_SHA1_32 inline:{KEY}|1066:4;inline:{OTHER}|1048576|1067:4 KDR=2 WSH=1024");
        let known = known(&value).unwrap();
        let mkis: Vec<_> = known.keys().iter().map(|key| key.mki.as_ref().unwrap().as_bytes().to_vec()).collect();
        assert_eq!(mkis, [[0, 0, 4, 42], [0, 0, 4, 43]]);
        assert_eq!(known.keys()[1].lifetime, Some(1 << 20));
        assert_eq!((known.parameters().key_derivation_rate_log2, known.parameters().window_size_hint), (2, 1024));
    }

    #[test]
    fn r18_what_isn_t_understood_or_doesn_t_fit_is_unusable() {
        for value in [
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{}", &KEY[..36]),
            format!("1 AEAD_AES_256_GCM inline:{KEY}"),
            format!("1 ROT13 inline:{KEY}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} NEW_PARAMETER"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} KDR=25"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|1:4|2^20"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|256:1"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^49"),
            format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY};inline:{OTHER}"),
            format!("1 AES_CM_128_HMAC_SHA1_80 other:{KEY}"),
            "1 AES_CM_128_HMAC_SHA1_80".into(),
            String::new(),
        ] {
            assert!(matches!(line(&value).material, Material::Unusable), "{value}");
        }
        assert!(known(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} -NEW=1")).is_some());
    }

    #[test]
    fn streams_that_are_not_encrypted_are_clear() {
        let unencrypted = line(&format!("1 AES_CM_128_HMAC_SHA1_80 inline:{KEY} UNENCRYPTED_SRTP"));
        assert!(matches!(unencrypted.material, Material::Clear));
        assert!(matches!(line(&format!("1 NULL_HMAC_SHA1_80 inline:{KEY}")).material, Material::Clear));
    }
}
