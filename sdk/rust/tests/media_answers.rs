//! Packets that libsrtp made: the known answers of its own test driver. The counter mode keys are those of RFC 3711, B.3,
//! and RFC 6188, 7.2. They keep our decryptor and our sender from being wrong together.

#![cfg(feature = "media")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, missing_docs, reason = "tests")]

use callgate_sdk::{
    SrtpKey, SrtpKeys,
    media::{MediaError, StreamDecryptor},
};

/// Suite, master key, master salt, and the packet of 16 bytes of 0xab.
const ANSWERS: [(&str, &str, &str, &str); 3] = [
    (
        "AES_CM_128_HMAC_SHA1_80",
        "e1f97a0d3e018be0d64fa32c06de4139",
        "0ec675ad498afeebb6960b3aabe6",
        "800f1234decafbadcafebabe4e55dc4ce79978d88ca4d215949d2402b78d6acc99ea179b8dbb",
    ),
    (
        "AES_256_CM_HMAC_SHA1_80",
        "f0f04914b513f2763a1b1fa130f10e2998f6f6e43e4309d1e622a0e332b9f1b6",
        "3b04803de51ee7c96423ab5b78d2",
        "800f1234decafbadcafebabef1d9de17ff251ff1aa007774b0b4b40da08d9d9a5b3a55d8873b",
    ),
    (
        "AEAD_AES_128_GCM",
        "000102030405060708090a0b0c0d0e0f",
        "a0a1a2a3a4a5a6a7a8a9aaab",
        "800f1234decafbadcafebabec5002ede04cfdd2eb91159e0880aa06ed2976826f796b201df3131a127e8a392",
    ),
];

const PLAIN: &str = "800f1234decafbadcafebabeabababababababababababababababab";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

fn decryptor(suite: &str, key: &str, salt: &str, mki: &[u8]) -> StreamDecryptor {
    let key = SrtpKey::new(bytes(key), bytes(salt)).with_mki(mki.to_vec());
    let mut decryptor = StreamDecryptor::new();
    decryptor.add_generation(1, suite, &SrtpKeys::new(vec![key])).unwrap();
    decryptor
}

#[test]
fn packets_of_another_implementation_decrypt() {
    for (suite, key, salt, packet) in ANSWERS {
        let opened = decryptor(suite, key, salt, &[]).decrypt(&bytes(packet));
        assert_eq!(opened.unwrap().packet, bytes(PLAIN), "{suite}");
    }
}

#[test]
fn the_mki_stands_before_the_tag_in_counter_mode_and_at_the_end_in_gcm() {
    let mki = [0xe1, 0xf9, 0x7a, 0x0d];
    for (suite, key, salt, packet) in ANSWERS {
        let gcm = suite.starts_with("AEAD");
        let packet = bytes(packet);
        let with_mki = |from_the_end: usize| {
            let mut packet = packet.clone();
            let at = packet.len() - from_the_end;
            packet.splice(at..at, mki);
            packet
        };
        let (right, wrong) = if gcm { (0, 16) } else { (10, 0) };
        let opened = decryptor(suite, key, salt, &mki).decrypt(&with_mki(right));
        assert_eq!(opened.unwrap().packet, bytes(PLAIN), "{suite}");
        let refused = decryptor(suite, key, salt, &mki).decrypt(&with_mki(wrong));
        assert!(matches!(refused, Err(MediaError::UnknownMki { .. })), "{suite}");
    }
}
