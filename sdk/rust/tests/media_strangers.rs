//! What comes from strangers: late joins, tampered, replayed, forged and mutated packets.

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

use callgate_sdk::media::{MediaError, StreamDecryptor, Suite, rtp::RtpError};
use proptest::prelude::*;
use support::{SSRC, Sender, key, keys, rtp};

const SUITE: Suite = Suite::AeadAes128Gcm;

fn decryptor(suite: Suite) -> StreamDecryptor {
    let mut decryptor = StreamDecryptor::new();
    decryptor.add_generation(1, suite.name(), &keys(&key(suite, 1))).unwrap();
    decryptor
}

#[test]
fn a_late_joiner_finds_the_rollover_counter() {
    for suite in Suite::ALL {
        for rounds in [0, 1, 2, 7, 16] {
            let mut sender = Sender::new(suite, &key(suite, 1));
            sender.skip_rounds(SSRC, rounds);
            let mut decryptor = decryptor(suite);
            for sequence in [0, 1, 2, 0x5000, 0xa000, 0xf000, 0xffff, 0, 1] {
                let plain = rtp(SSRC, sequence, b"voice");
                let opened = decryptor.decrypt(&sender.protect(&plain)).unwrap();
                assert_eq!(opened.packet, plain, "{suite:?} after {rounds} rounds");
            }
        }
    }
}

#[test]
fn a_late_joiner_may_begin_on_either_side_of_a_new_round() {
    let mut sender = Sender::new(SUITE, &key(SUITE, 1));
    sender.skip_rounds(SSRC, 2);
    let packets: Vec<_> = [0x4000, 0x8000, 0xc000, 0xfffe, 0xffff, 0, 1]
        .map(|sequence| sender.protect(&rtp(SSRC, sequence, b"a")))
        .into();
    // In order, and with the last packet of the round behind the first of the next.
    for order in [[3, 4, 5, 6], [5, 4, 6, 3], [4, 6, 5, 3]] {
        let mut decryptor = decryptor(SUITE);
        let rollovers = order.map(|i| decryptor.decrypt(&packets[i]).unwrap().rollover);
        assert_eq!(rollovers, order.map(|i| if i < 5 { 2 } else { 3 }));
    }
}

#[test]
fn the_search_has_the_limit_that_the_app_sets() {
    let mut sender = Sender::new(SUITE, &key(SUITE, 1));
    sender.skip_rounds(SSRC, 3);
    let packet = sender.protect(&rtp(SSRC, 0, b"a"));
    assert_eq!(decryptor(SUITE).with_rollover_search(2).decrypt(&packet), Err(MediaError::NotAuthentic));
    assert_eq!(decryptor(SUITE).with_rollover_search(3).decrypt(&packet).unwrap().rollover, 3);
}

#[test]
fn tampering_is_found_in_every_byte_and_harms_nothing() {
    for suite in Suite::ALL {
        let mut sender = Sender::new(suite, &key(suite, 1));
        let mut decryptor = decryptor(suite);
        decryptor.decrypt(&sender.protect(&rtp(SSRC, 1, b"voice"))).unwrap();
        let good = sender.protect(&rtp(SSRC, 2, b"voice"));
        for at in 0..good.len() {
            let mut tampered = good.clone();
            tampered[at] ^= 0x01;
            decryptor.decrypt(&tampered).unwrap_err();
        }
        assert_eq!(decryptor.decrypt(&good).unwrap().packet, rtp(SSRC, 2, b"voice"));
    }
}

#[test]
fn replayed_and_too_old_packets_are_refused_unless_the_app_says_otherwise() {
    for suite in Suite::ALL {
        let mut sender = Sender::new(suite, &key(suite, 1));
        let packets: Vec<_> = (0..100).map(|sequence| sender.protect(&rtp(SSRC, sequence, b"voice"))).collect();
        let mut live = decryptor(suite);
        let mut capture = decryptor(suite).without_replay_protection();
        for packet in packets.iter().skip(1) {
            live.decrypt(packet).unwrap();
            capture.decrypt(packet).unwrap();
        }
        for (packet, sequence) in [(&packets[99], 99), (&packets[50], 50), (&packets[0], 0)] {
            assert_eq!(live.decrypt(packet), Err(MediaError::Replayed { ssrc: SSRC, sequence }));
            capture.decrypt(packet).unwrap();
        }
    }
}

#[test]
fn reordered_packets_within_the_window_are_good() {
    let mut sender = Sender::new(SUITE, &key(SUITE, 1));
    let packets: Vec<_> = (0..60).map(|sequence| sender.protect(&rtp(SSRC, sequence, b"voice"))).collect();
    let mut decryptor = decryptor(SUITE);
    decryptor.decrypt(&packets[59]).unwrap();
    for packet in packets[..59].iter().rev() {
        decryptor.decrypt(packet).unwrap();
    }
}

#[test]
fn a_flood_of_forged_sources_leaves_known_ones_alone_and_lets_late_ones_in() {
    let mut known = Sender::new(SUITE, &key(SUITE, 1));
    let mut late = Sender::new(SUITE, &key(SUITE, 1));
    late.skip_rounds(7, 5);
    let mut decryptor = decryptor(SUITE);
    decryptor.decrypt(&known.protect(&rtp(SSRC, 0, b"a"))).unwrap();
    let mut late_came_in = None;
    for i in 0..3_000u16 {
        for forged in 0..3 {
            let packet = rtp(1_000_000 + u32::from(i) * 3 + forged, i, &[0; 40]);
            assert_eq!(decryptor.decrypt(&packet), Err(MediaError::NotAuthentic));
        }
        decryptor.decrypt(&known.protect(&rtp(SSRC, i + 1, b"a"))).unwrap();
        if i >= 1_000 && decryptor.decrypt(&late.protect(&rtp(7, i, b"a"))).is_ok() {
            late_came_in.get_or_insert(i - 1_000);
        }
    }
    assert!(late_came_in.is_some_and(|packets| packets <= 200), "{late_came_in:?}");
}

#[test]
fn one_key_has_a_bounded_number_of_sources() {
    let mut sender = Sender::new(SUITE, &key(SUITE, 1));
    let mut decryptor = decryptor(SUITE);
    for ssrc in 0..256 {
        decryptor.decrypt(&sender.protect(&rtp(ssrc, 0, b"a"))).unwrap();
    }
    let one_more = sender.protect(&rtp(256, 0, b"a"));
    assert_eq!(decryptor.decrypt(&one_more), Err(MediaError::TooManySources { limit: 256 }));
    decryptor.decrypt(&sender.protect(&rtp(0, 1, b"a"))).unwrap();
}

#[test]
fn rtcp_and_other_traffic_is_not_rtp() {
    let mut decryptor = decryptor(SUITE);
    for kind in 192..=223 {
        let packet = [&[0x80, kind][..], &[0; 30]].concat();
        assert_eq!(decryptor.decrypt(&packet), Err(MediaError::NotRtp(RtpError::Rtcp(kind))));
    }
    assert_eq!(decryptor.decrypt(&[]), Err(MediaError::NotRtp(RtpError::TooShort)));
    assert_eq!(decryptor.decrypt(&[0; 20]), Err(MediaError::NotRtp(RtpError::Version(0))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutated_packets_never_panic_and_never_authenticate(
        suite in prop::sample::select(Suite::ALL.to_vec()),
        mki in prop::collection::vec(any::<u8>(), 0..5),
        payload in prop::collection::vec(any::<u8>(), 0..50),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..6),
    ) {
        let key = key(suite, 1).with_mki(mki);
        let mut decryptor = StreamDecryptor::new().with_rollover_search(2);
        decryptor.add_generation(1, suite.name(), &keys(&key)).unwrap();
        let good = Sender::new(suite, &key).protect(&rtp(SSRC, 9, &payload));
        let mut changed = good.clone();
        for (at, bits) in changes {
            let at = at.index(changed.len());
            changed[at] ^= bits;
        }
        prop_assume!(changed != good);
        // A change of the MKI alone falls back to no MKI, and so still has to authenticate.
        prop_assert!(decryptor.decrypt(&changed).is_err());
        prop_assert_eq!(decryptor.decrypt(&good).unwrap().packet, rtp(SSRC, 9, &payload));
    }

    #[test]
    fn packets_cut_short_do_not_authenticate(
        suite in prop::sample::select(Suite::ALL.to_vec()),
        payload in prop::collection::vec(any::<u8>(), 0..50),
        cut in any::<prop::sample::Index>(),
    ) {
        let good = Sender::new(suite, &key(suite, 1)).protect(&rtp(SSRC, 9, &payload));
        prop_assert!(decryptor(suite).decrypt(&good[..cut.index(good.len())]).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        suite in prop::sample::select(Suite::ALL.to_vec()),
        first in any::<u8>(),
        extension in prop::sample::select(vec![[0xbeu8, 0xde], [0x10, 0x00], [0x00, 0x00]]),
        words in 0u8..4,
        rest in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut decryptor = decryptor(suite).with_rollover_search(1);
        let mut packet = rtp(SSRC, 9, &[]);
        packet[0] = 0x80 | (first & 0x31);
        packet.extend(std::iter::repeat_n(0, usize::from(first & 0x01) * 4));
        packet.extend(extension);
        packet.extend([0, words]);
        packet.extend(&rest);
        prop_assert!(decryptor.decrypt(&packet).is_err());
        prop_assert!(decryptor.decrypt(&rest).is_err());
    }
}
