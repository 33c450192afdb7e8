//! Key material in, plain packets out: every suite, MKIs, generations, sources.

#![cfg(feature = "media")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::cast_possible_truncation,
    missing_docs,
    dead_code,
    reason = "tests"
)]

#[path = "support/media.rs"]
mod support;

use callgate_sdk::{
    SrtpKey, SrtpKeys,
    media::{MediaError, StreamDecryptor, Suite},
};
use support::{SSRC, Sender, key, keys, rtp};

const SUITE: Suite = Suite::AesCm128HmacSha1_80;

fn decryptor(suite: Suite, key_material: &SrtpKeys) -> StreamDecryptor {
    let mut decryptor = StreamDecryptor::new();
    decryptor.add_generation(1, suite.name(), key_material).unwrap();
    decryptor
}

#[test]
fn every_suite_round_trips_with_and_without_an_mki() {
    for suite in Suite::ALL {
        for mki in [vec![], vec![7], vec![1, 2, 3, 4], vec![9; 128]] {
            let key = key(suite, 1).with_mki(mki);
            let mut sender = Sender::new(suite, &key);
            let mut decryptor = decryptor(suite, &keys(&key));
            for sequence in 65_530..65_536u32 + 10 {
                let plain = rtp(SSRC, sequence as u16, b"one twentieth of a second");
                let opened = decryptor.decrypt(&sender.protect(&plain)).unwrap();
                assert_eq!(opened.packet, plain, "{suite:?}");
                assert_eq!(opened.payload().unwrap(), &b"one twentieth of a second"[..]);
                assert_eq!((opened.generation, opened.ssrc, opened.rollover), (1, SSRC, sequence >> 16));
            }
        }
    }
}

#[test]
fn contributing_sources_header_extensions_and_empty_payloads_survive() {
    let one_byte = [&[0xbe, 0xde, 0, 2][..], &[0x10, 5, 0, 0x21, 1, 2, 0, 0]].concat();
    let two_byte = [&[0x10, 0, 0, 2][..], &[1, 0, 2, 3, 7, 7, 7, 0]].concat();
    let other = [&[0x12, 0x34, 0, 1][..], &[1, 2, 3, 4]].concat();
    for suite in Suite::ALL {
        let key = key(suite, 1);
        let mut sender = Sender::new(suite, &key);
        let mut decryptor = decryptor(suite, &keys(&key));
        for (sequence, extension) in [&one_byte, &two_byte, &other].into_iter().enumerate() {
            let mut plain = rtp(SSRC, sequence as u16, &[]);
            plain[0] |= 0x12;
            plain.extend([1, 1, 1, 1, 2, 2, 2, 2]);
            plain.extend(extension);
            plain.extend(b"voice");
            let opened = decryptor.decrypt(&sender.protect(&plain)).unwrap();
            assert_eq!(opened.packet, plain);
            assert_eq!(opened.payload().unwrap(), &b"voice"[..]);
        }
        let plain = rtp(SSRC, 3, &[]);
        assert_eq!(decryptor.decrypt(&sender.protect(&plain)).unwrap().packet, plain);
    }
}

#[test]
fn header_extensions_that_would_mislead_the_library_are_refused() {
    let mut decryptor = decryptor(SUITE, &keys(&key(SUITE, 1)));
    for (extension, profile) in [
        ([0xbe, 0xde, 0, 1, 0x1f, 0, 0, 0], 0xbede),
        ([0xbe, 0xde, 0, 1, 0xf0, 0, 0, 0], 0xbede),
        ([0x10, 0x00, 0, 1, 1, 200, 0, 0], 0x1000),
        ([0x10, 0x00, 0, 1, 0, 0, 0, 1], 0x1000),
        ([0xc0, 0xde, 0, 1, 0, 0, 0, 0], 0xc0de),
    ] {
        let mut packet = rtp(SSRC, 1, &[]);
        packet[0] |= 0x10;
        packet.extend(extension);
        packet.extend([0; 40]);
        assert_eq!(decryptor.decrypt(&packet), Err(MediaError::HeaderExtension { profile }));
    }
}

#[test]
fn several_keys_are_told_apart_by_their_mki() {
    for suite in Suite::ALL {
        let all: Vec<SrtpKey> = (1..=3).map(|seed| key(suite, seed).with_mki(vec![0, seed])).collect();
        let mut decryptor = decryptor(suite, &SrtpKeys::new(all.clone()));
        let mut senders: Vec<Sender> = all.iter().map(|key| Sender::new(suite, key)).collect();
        for sequence in 0..9 {
            let plain = rtp(SSRC, sequence, b"voice");
            let packet = senders[usize::from(sequence) % 3].protect(&plain);
            assert_eq!(decryptor.decrypt(&packet).unwrap().packet, plain);
        }
    }
}

#[test]
fn an_unknown_mki_is_named() {
    let declared = key(SUITE, 1).with_mki(vec![0, 1]);
    let mut sender = Sender::new(SUITE, &key(SUITE, 1).with_mki(vec![0, 9]));
    let packet = sender.protect(&rtp(SSRC, 1, b"voice"));
    let unknown = MediaError::UnknownMki { mki: vec![0, 9] };
    assert_eq!(decryptor(SUITE, &keys(&declared)).decrypt(&packet), Err(unknown));
}

#[test]
fn a_sender_that_declares_an_mki_and_sends_none_is_heard() {
    for suite in Suite::ALL {
        let declared = key(suite, 1).with_mki(vec![0, 0, 0, 1]);
        let mut sender = Sender::new(suite, &key(suite, 1));
        let mut decryptor = decryptor(suite, &keys(&declared));
        for sequence in 0..3 {
            let plain = rtp(SSRC, sequence, b"voice");
            assert_eq!(decryptor.decrypt(&sender.protect(&plain)).unwrap().packet, plain);
        }
    }
}

#[test]
fn r22_both_generations_are_valid_until_the_first_packet_of_the_new_one() {
    let (old, new) = (key(SUITE, 1), key(SUITE, 2));
    let (mut old_sender, mut new_sender) = (Sender::new(SUITE, &old), Sender::new(SUITE, &new));
    let mut decryptor = decryptor(SUITE, &keys(&old));
    let generation =
        |decryptor: &mut StreamDecryptor, packet: Vec<u8>| decryptor.decrypt(&packet).map(|d| d.generation);

    assert_eq!(generation(&mut decryptor, old_sender.protect(&rtp(SSRC, 1, b"a"))), Ok(1));
    decryptor.add_generation(2, SUITE.name(), &keys(&new)).unwrap();
    assert_eq!(generation(&mut decryptor, old_sender.protect(&rtp(SSRC, 2, b"b"))), Ok(1));
    assert_eq!(generation(&mut decryptor, new_sender.protect(&rtp(SSRC, 3, b"c"))), Ok(2));
    let late = old_sender.protect(&rtp(SSRC, 4, b"d"));
    assert_eq!(generation(&mut decryptor, late), Err(MediaError::NotAuthentic));
    // A replayed event brings the old generation again: it stays dropped.
    decryptor.add_generation(1, SUITE.name(), &keys(&old)).unwrap();
    let late = old_sender.protect(&rtp(SSRC, 5, b"e"));
    assert_eq!(generation(&mut decryptor, late), Err(MediaError::NotAuthentic));
}

#[test]
fn r22_a_rekey_may_carry_the_rollover_counter_on_or_begin_anew() {
    for rounds in [0, 3] {
        let (old, new) = (key(SUITE, 1), key(SUITE, 2));
        let (mut old_sender, mut new_sender) = (Sender::new(SUITE, &old), Sender::new(SUITE, &new));
        let mut decryptor = decryptor(SUITE, &keys(&old));
        old_sender.skip_rounds(SSRC, 3);
        assert_eq!(decryptor.decrypt(&old_sender.protect(&rtp(SSRC, 1, b"a"))).unwrap().rollover, 3);
        let mut decryptor = decryptor.with_rollover_search(0);
        decryptor.add_generation(2, SUITE.name(), &keys(&new)).unwrap();
        new_sender.skip_rounds(SSRC, rounds);
        assert_eq!(decryptor.decrypt(&new_sender.protect(&rtp(SSRC, 2, b"b"))).unwrap().rollover, rounds);
    }
}

#[test]
fn r22_the_same_generation_again_keeps_the_rollover_counter() {
    let key = key(SUITE, 1);
    let mut sender = Sender::new(SUITE, &key);
    let mut decryptor = decryptor(SUITE, &keys(&key)).with_rollover_search(0);
    for sequence in [0, 0x4000, 0x8000, 0xc000, 0xffff, 0] {
        decryptor.decrypt(&sender.protect(&rtp(SSRC, sequence, b"a"))).unwrap();
    }
    decryptor.add_generation(1, SUITE.name(), &keys(&key)).unwrap();
    assert_eq!(decryptor.decrypt(&sender.protect(&rtp(SSRC, 1, b"a"))).unwrap().rollover, 1);
    let other = keys(&support::key(SUITE, 9));
    assert_eq!(decryptor.add_generation(1, SUITE.name(), &other), Err(MediaError::GenerationConflict(1)));
}

#[test]
fn sources_follow_each_other_and_run_side_by_side_under_one_key() {
    for suite in Suite::ALL {
        let key = key(suite, 1);
        let mut sender = Sender::new(suite, &key);
        let mut decryptor = decryptor(suite, &keys(&key));
        for sequence in 0..20u16 {
            for ssrc in [1, 2, 3] {
                let plain = rtp(ssrc, sequence.wrapping_sub(10 * ssrc as u16), b"voice");
                assert_eq!(decryptor.decrypt(&sender.protect(&plain)).unwrap().packet, plain);
            }
        }
    }
}

#[test]
fn r18_what_is_refused_is_refused_by_name() {
    let mut decryptor = StreamDecryptor::new();
    let good = key(SUITE, 1);
    let mut add = |suite: &str, keys: &SrtpKeys| decryptor.add_generation(1, suite, keys);
    for name in ["AES_192_CM_HMAC_SHA1_80", "AES_192_CM_HMAC_SHA1_32", "F8_128_HMAC_SHA1_80", "NULL_HMAC_SHA1_80"] {
        let error = add(name, &keys(&good)).unwrap_err();
        assert!(matches!(error, MediaError::UnsupportedSuite(refused) if refused == name), "{error}");
        assert!(error.to_string().contains(name));
    }
    assert_eq!(add("ROT13", &keys(&good)), Err(MediaError::UnknownSuite("ROT13".into())));

    let mut derived = keys(&good);
    derived.key_derivation_rate_log2 = 24;
    assert_eq!(add(SUITE.name(), &derived), Err(MediaError::KeyDerivationRate { log2: 24 }));
    let mut unauthenticated = keys(&good);
    unauthenticated.unauthenticated_srtp = true;
    assert_eq!(add(SUITE.name(), &unauthenticated), Err(MediaError::UnauthenticatedSrtp));

    let short = SrtpKey::new(vec![0; 15], vec![0; 14]);
    assert_eq!(add(SUITE.name(), &keys(&short)), Err(MediaError::KeyLength { expected: 16, actual: 15 }));
    let salt = SrtpKey::new(vec![0; 16], vec![0; 14]);
    assert_eq!(add("AEAD_AES_128_GCM", &keys(&salt)), Err(MediaError::SaltLength { expected: 12, actual: 14 }));
    assert_eq!(add(SUITE.name(), &SrtpKeys::new(vec![])), Err(MediaError::NoKey));
    let many = SrtpKeys::new((0..17).map(|i| key(SUITE, i).with_mki(vec![i])).collect());
    assert_eq!(add(SUITE.name(), &many), Err(MediaError::TooManyKeys { count: 17, limit: 16 }));
    for mkis in [[vec![], vec![]], [vec![1], vec![1]], [vec![1], vec![1, 2]]] {
        let ambiguous = SrtpKeys::new(mkis.into_iter().map(|mki| good.clone().with_mki(mki)).collect());
        assert_eq!(add(SUITE.name(), &ambiguous), Err(MediaError::AmbiguousMki));
    }
    let packet = Sender::new(SUITE, &good).protect(&rtp(SSRC, 1, b"a"));
    assert_eq!(decryptor.decrypt(&packet), Err(MediaError::NoGeneration));
}
