//! The `inline:` keys of a text, found without the code under test.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use callgate::{
    model::{Cipher, KeyMaterial, Suite},
    switch::{sdes::Material, sip::Message},
};

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Where the value of each `inline:` stands, blanks before it apart.
fn places(text: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut places = Vec::new();
    for (colon, _) in text.iter().enumerate().filter(|(_, byte)| **byte == b':') {
        let before = text[..colon].trim_ascii_end();
        if !before.last_chunk::<6>().is_some_and(|word| word.eq_ignore_ascii_case(b"inline")) {
            continue;
        }
        // A line that isn't continued ends what stands on it.
        let gap = &text[before.len()..=colon];
        if gap.windows(2).any(|pair| pair[0] == b'\n' && !b" \t".contains(&pair[1])) {
            continue;
        }
        let blanks = text[colon + 1..].iter().take_while(|byte| **byte == b' ' || **byte == b'\t').count();
        let start = colon + 1 + blanks;
        let ends = |byte: &u8| *byte == b'|' || *byte == b';' || byte.is_ascii_whitespace();
        let len = text[start..].iter().position(ends).unwrap_or(text.len() - start);
        places.push(start..start + len);
    }
    places
}

/// What each `inline:` decodes to.
pub fn keys(text: &[u8]) -> Vec<Vec<u8>> {
    let values = places(text).into_iter().map(|place| &text[place]);
    // One `inline:` may stand in the value of another.
    let values = values.flat_map(|value| value.rsplit(|byte| *byte == b':').next());
    values.filter_map(|value| BASE64.decode(value).ok()).collect()
}

/// No byte of a key is left where it stood.
pub fn assert_wiped(before: &[u8], after: &[u8]) {
    assert_eq!(before.len(), after.len());
    for place in places(before) {
        let left = &after[place.clone()];
        assert!(left.iter().all(|byte| b"*#0123456789\0".contains(byte)), "left at {place:?}: {left:?}");
    }
}

/// Every key of a message is one that stands in the text, in the lengths of its suite (R18).
pub fn assert_from(text: &[u8], message: &Message) {
    let Some(Ok(sdp)) = &message.sdp else { return };
    let known = keys(text);
    for line in sdp.lines.iter().flat_map(|line| &line.crypto) {
        if let Material::Known(material) = &line.material {
            assert_material(material, |key| known.iter().any(|known| known == key));
        }
    }
}

/// As [`assert_from`], of the keys that an event has.
pub fn assert_material(material: &KeyMaterial, is_known: impl Fn(&[u8]) -> bool) {
    let suite = material.suite();
    assert!(!material.keys().is_empty());
    for master in material.keys() {
        assert_eq!((master.key.len(), master.salt.len()), lengths(suite), "{suite}");
        let whole = [master.key.expose(), master.salt.expose()].concat();
        assert!(is_known(&whole), "a key that nobody sent");
    }
}

/// Key and salt in bytes (RFC 3711, 6188, 7714).
fn lengths(suite: Suite) -> (usize, usize) {
    assert!(suite.cipher() != Cipher::Null, "no key without a cipher");
    let name = suite.to_string();
    let key = match () {
        () if name.contains("256") => 32,
        () if name.contains("192") => 24,
        () => 16,
    };
    (key, if name.starts_with("AEAD") { 12 } else { 14 })
}
