//! Keys: every suite and parameter that SDES can name, from the signalling to authenticated packets.

use crate::scene::{Answer, By, CM, Key, Scene, Voice, avp, cm, dialog, key, savp, sdp};

/// A call of A over P with ten packets each way, and what is said of it.
fn ten_each(offer: &str, answer: &str, a: &mut Voice, p: &mut Voice) -> Answer {
    let (mut scene, call) = (Scene::new(), dialog("c", "A P"));
    scene.call(&call, offer, answer).talk(&mut [a, p], 10).bye(&call, By::Caller);
    scene.decrypt()
}

/// The same under these keys, with one crypto line each.
fn under(ours: &Key, theirs: &Key) -> Answer {
    let (mut a, mut p) = (Voice::secure("a", "p", 0xa, ours), Voice::secure("p", "a", 0xb, theirs));
    ten_each(&savp("a", ours), &savp("p", theirs), &mut a, &mut p)
}

#[test]
fn r18_every_suite_is_decrypted() {
    for suite in [
        CM,
        "AES_CM_128_HMAC_SHA1_32",
        "AES_256_CM_HMAC_SHA1_80",
        "AES_256_CM_HMAC_SHA1_32",
        "AEAD_AES_128_GCM",
        "AEAD_AES_256_GCM",
    ] {
        let shown = if suite == CM { "CM" } else { suite };
        under(&key(suite, 1), &key(suite, 2)).is(
            0,
            &[&format!("c A sent {shown} keys a>p [a] 10/10"), &format!("c A received {shown} keys p>a [b] 10/10")],
        );
    }
}

#[test]
fn the_reversed_spelling_of_the_256_bit_suites_is_the_registered_suite() {
    for (field, shown) in
        [("AES_CM_256_HMAC_SHA1_80", "AES_256_CM_HMAC_SHA1_80"), ("AES_CM_256_HMAC_SHA1_32", "AES_256_CM_HMAC_SHA1_32")]
    {
        under(&key(field, 1), &key(field, 2)).is(
            0,
            &[&format!("c A sent {shown} keys a>p [a] 10/10"), &format!("c A received {shown} keys p>a [b] 10/10")],
        );
    }
}

#[test]
fn suites_that_the_sdk_doesn_t_decrypt_have_keys_and_nothing_authenticates() {
    for suite in ["F8_128_HMAC_SHA1_80", "AES_192_CM_HMAC_SHA1_80", "AES_192_CM_HMAC_SHA1_32"] {
        // What they are encrypted with instead doesn't matter.
        let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(1)), Voice::secure("p", "a", 0xb, &cm(2)));
        let answer = ten_each(&savp("a", &key(suite, 1)), &savp("p", &key(suite, 2)), &mut a, &mut p);
        answer.is(
            1,
            &[&format!("c A sent {suite} keys a>p [a] 0/10"), &format!("c A received {suite} keys p>a [b] 0/10")],
        );
        assert!(answer.words().contains(&format!("{suite} is not supported")), "{}", answer.words());
    }
}

#[test]
fn an_unknown_suite_leaves_the_keys_unknown() {
    let rows = ["c A sent - unknown a>p [a] 0/10", "c A received - unknown p>a [b] 0/10"];
    under(&key("DOUBLE_ROT13", 1), &key("DOUBLE_ROT13", 2)).is(0, &rows);
}

#[test]
fn a_suite_without_a_cipher_is_not_encrypted() {
    let rows = ["c A sent - clear a>p [a] 0/10", "c A received - clear p>a [b] 0/10"];
    let (mut a, mut p) = (Voice::clear("a", "p", 0xa), Voice::clear("p", "a", 0xb));
    let null = |to, seed| savp(to, &key("NULL_HMAC_SHA1_80", seed));
    ten_each(&null("a", 1), &null("p", 2), &mut a, &mut p).is(0, &rows);
    let open = |to, seed| savp(to, &cm(seed)).trim_end().to_owned() + " UNENCRYPTED_SRTP\r\n";
    ten_each(&open("a", 1), &open("p", 2), &mut a, &mut p).is(0, &rows);
}

#[test]
fn plain_rtp_is_counted() {
    let (mut a, mut p) = (Voice::clear("a", "p", 0xa), Voice::clear("p", "a", 0xb));
    let rows = ["c A sent - clear a>p [a] 0/10", "c A received - clear p>a [b] 0/10"];
    ten_each(&avp("a"), &avp("p"), &mut a, &mut p).is(0, &rows);
}

#[test]
fn crypto_lines_in_rtp_avp_count_if_both_ends_have_them() {
    let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(1)), Voice::secure("p", "a", 0xb, &cm(2)));
    let offer = |to, seed| sdp(to, "RTP/AVP", &cm(seed).line(1));
    ten_each(&offer("a", 1), &offer("p", 2), &mut a, &mut p)
        .is(0, &["c A sent CM keys a>p [a] 10/10", "c A received CM keys p>a [b] 10/10"]);
    let (mut a, mut p) = (Voice::clear("a", "p", 0xa), Voice::clear("p", "a", 0xb));
    ten_each(&offer("a", 1), &avp("p"), &mut a, &mut p)
        .is(0, &["c A sent - clear a>p [a] 0/10", "c A received - clear p>a [b] 0/10"]);
}

#[test]
fn r42b_savp_answered_without_crypto_is_unknown() {
    let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(1)), Voice::secure("p", "a", 0xb, &cm(2)));
    ten_each(&savp("a", &cm(1)), &sdp("p", "RTP/SAVP", ""), &mut a, &mut p)
        .is(0, &["c A sent - unknown a>p [a] 0/10", "c A received - unknown p>a [b] 0/10"]);
}

#[test]
fn the_answer_s_tag_says_which_line_of_the_offer_counts() {
    let lines = [key("AEAD_AES_256_GCM", 1).line(1), cm(2).line(2), key("AES_CM_128_HMAC_SHA1_32", 3).line(3)];
    let offer = sdp("a", "RTP/SAVP", &lines.concat());
    let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(2)), Voice::secure("p", "a", 0xb, &cm(7)));
    ten_each(&offer, &sdp("p", "RTP/SAVP", &cm(7).line(2)), &mut a, &mut p)
        .is(0, &["c A sent CM keys a>p [a] 10/10", "c A received CM keys p>a [b] 10/10"]);
}

#[test]
fn packets_under_another_key_are_told_by_the_exit_code() {
    let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(9)), Voice::secure("p", "a", 0xb, &cm(2)));
    ten_each(&savp("a", &cm(1)), &savp("p", &cm(2)), &mut a, &mut p)
        .is(1, &["c A sent CM keys a>p [a] 0/10", "c A received CM keys p>a [b] 10/10"]);
}

#[test]
fn session_parameters_that_the_sdk_refuses_are_named() {
    for (parameter, word) in [("KDR=1", "derivation rate"), ("UNAUTHENTICATED_SRTP", "UNAUTHENTICATED_SRTP")] {
        let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(1)), Voice::secure("p", "a", 0xb, &cm(2)));
        let with = |sdp: String| sdp.trim_end().to_owned() + " " + parameter + "\r\n";
        let answer = ten_each(&with(savp("a", &cm(1))), &with(savp("p", &cm(2))), &mut a, &mut p);
        answer.is(1, &["c A sent CM keys a>p [a] 0/10", "c A received CM keys p>a [b] 0/10"]);
        assert!(answer.words().contains(word), "{}", answer.words());
    }
}

#[test]
fn lifetimes_and_mkis_of_any_length_are_read() {
    for suite in [CM, "AES_CM_128_HMAC_SHA1_32", "AEAD_AES_128_GCM"] {
        for len in [1, 4, 8, 128] {
            let (ours, theirs) = (key(suite, 1).with_mki(7, len), key(suite, 2).with_mki(200, len));
            let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &ours), Voice::secure("p", "a", 0xb, &theirs));
            // The lifetime stands before the MKI (RFC 4568, 6.1).
            let line = |to, key: &Key| savp(to, key).replacen('|', "|2^31|", 1);
            let shown = if suite == CM { "CM" } else { suite };
            ten_each(&line("a", &ours), &line("p", &theirs), &mut a, &mut p).is(
                0,
                &[&format!("c A sent {shown} keys a>p [a] 10/10"), &format!("c A received {shown} keys p>a [b] 10/10")],
            );
        }
    }
}

#[test]
fn several_keys_in_one_line_are_used_in_turn_and_a_declared_mki_need_not_be_sent() {
    let (one, two) = (cm(1).with_mki(1, 2), cm(2).with_mki(2, 2));
    let offer = sdp("a", "RTP/SAVP", &format!("a=crypto:1 {CM} {};{}\r\n", one.inline(), two.inline()));
    let theirs = cm(3).with_mki(1, 4);
    let (mut scene, call) = (Scene::new(), dialog("c", "A P"));
    let mut p = Voice::secure("p", "a", 0xb, &cm(3));
    let mut a = Voice::secure("a", "p", 0xa, &one);
    scene.call(&call, &offer, &savp("p", &theirs)).talk(&mut [&mut a, &mut p], 5);
    let mut a = a.rekeyed(&two);
    scene.talk(&mut [&mut a, &mut p], 5);
    let mut a = a.rekeyed(&one);
    scene.talk(&mut [&mut a], 5).bye(&call, By::Called);
    scene.decrypt().is(0, &["c A sent CM keys a>p [a] 15/15", "c A received CM keys p>a [b] 10/10"]);
}

#[test]
fn r22_after_a_rekey_by_either_side_the_packets_of_both_generations_authenticate() {
    let (mut scene, call) = (Scene::new(), dialog("c", "A P"));
    let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(1)), Voice::secure("p", "a", 0xb, &cm(2)));
    scene.call(&call, &savp("a", &cm(1)), &savp("p", &cm(2))).talk(&mut [&mut a, &mut p], 10);
    scene.reinvite(&call, By::Caller, 10, &savp("a", &cm(3)), &savp("p", &cm(2)));
    // Some packets under the old key are still on their way.
    scene.talk(&mut [&mut a, &mut p], 2);
    let mut a = a.rekeyed(&cm(3));
    scene.talk(&mut [&mut a, &mut p], 10);
    scene.reinvite(&call, By::Called, 20, &savp("p", &cm(4)), &savp("a", &cm(3)));
    let mut p = p.rekeyed(&cm(4));
    scene.talk(&mut [&mut a, &mut p], 10).bye(&call, By::Called);
    scene.decrypt().is(0, &["c A sent CM keys a>p [a] 32/32", "c A received CM keys p>a [b] 32/32"]);
}

#[test]
fn r22_a_rekey_may_change_the_suite_and_come_by_update() {
    let (mut scene, call) = (Scene::new(), dialog("c", "A P"));
    let gcm = key("AEAD_AES_256_GCM", 3);
    let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(1)), Voice::secure("p", "a", 0xb, &cm(2)));
    scene.call(&call, &savp("a", &cm(1)), &savp("p", &cm(2))).talk(&mut [&mut a, &mut p], 10);
    let gcm_back = key("AEAD_AES_256_GCM", 4);
    scene.request(&call, By::Caller, "UPDATE", 10, &savp("a", &gcm));
    scene.response(&call, By::Caller, 200, "10 UPDATE", &savp("p", &gcm_back));
    let (mut a, mut p) = (a.rekeyed(&gcm), p.rekeyed(&gcm_back));
    scene.talk(&mut [&mut a, &mut p], 10).bye(&call, By::Called);
    let rows = ["c A sent AEAD_AES_256_GCM keys a>p [a] 20/20", "c A received AEAD_AES_256_GCM keys p>a [b] 20/20"];
    scene.decrypt().is(0, &rows);
}

#[test]
fn r22_a_rejected_re_invite_leaves_the_old_keys_in_force() {
    let (mut scene, call) = (Scene::new(), dialog("c", "A P"));
    let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(1)), Voice::secure("p", "a", 0xb, &cm(2)));
    scene.call(&call, &savp("a", &cm(1)), &savp("p", &cm(2))).talk(&mut [&mut a, &mut p], 10);
    scene.request(&call, By::Caller, "INVITE", 10, &savp("a2", &key("AEAD_AES_128_GCM", 3)));
    scene.response(&call, By::Caller, 488, "10 INVITE", "").request(&call, By::Caller, "ACK", 10, "");
    scene.talk(&mut [&mut a, &mut p], 10).bye(&call, By::Caller);
    scene.decrypt().is(0, &["c A sent CM keys a>p [a] 20/20", "c A received CM keys p>a [b] 20/20"]);
}

#[test]
fn sequence_numbers_begin_anew_and_sources_follow_one_another() {
    let (mut scene, call) = (Scene::new(), dialog("c", "A P"));
    let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(1)), Voice::secure("p", "a", 0xb, &cm(2)));
    (a.sequence, p.sequence) = (65_500, 65_535);
    scene.call(&call, &savp("a", &cm(1)), &savp("p", &cm(2))).talk(&mut [&mut a, &mut p], 60);
    for ssrc in [0xc, 0xd] {
        let mut next = Voice::secure("p", "a", ssrc, &cm(2));
        next.sequence = 65_530;
        scene.talk(&mut [&mut a, &mut next], 20);
    }
    scene.bye(&call, By::Caller);
    scene.decrypt().is(0, &["c A sent CM keys a>p [a] 100/100", "c A received CM keys p>a [b c d] 100/100"]);
}

#[test]
fn a_capture_that_begins_in_mid_call_finds_the_roll_over_counter_once_a_re_invite_shows_the_keys() {
    let (mut scene, call) = (Scene::new(), dialog("c", "A P"));
    let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(1)), Voice::secure("p", "a", 0xb, &cm(2)));
    a.skip_rounds(2);
    p.skip_rounds(9);
    a.sequence = 65_530;
    scene.talk(&mut [&mut a, &mut p], 10);
    scene.reinvite(&call, By::Called, 10, &savp("p", &cm(2)), &savp("a", &cm(1)));
    scene.talk(&mut [&mut a, &mut p], 10).bye(&call, By::Caller);
    scene.decrypt().is(0, &["c A sent CM keys a>p [a] 20/20", "c A received CM keys p>a [b] 20/20"]);
}

#[test]
fn header_extensions_contributing_sources_padding_and_dtmf_are_part_of_rtp() {
    let (mut scene, call) = (Scene::new(), dialog("c", "A P"));
    let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(1)), Voice::secure("p", "a", 0xb, &cm(2)));
    scene.call(&call, &savp("a", &cm(1)), &savp("p", &cm(2))).talk(&mut [&mut a, &mut p], 3);
    a.payload_type = 101 | 0x80;
    scene.talk(&mut [&mut a], 1);
    let rich = [
        &[0xb2, 0, 0, 50, 0, 0, 0, 0, 0, 0, 0, 0xb][..],
        &[1, 1, 1, 1, 2, 2, 2, 2],
        &[0xbe, 0xde, 0, 1, 0x10, 5, 0, 0],
        &[9, 9, 9, 3, 0, 0, 3],
    ]
    .concat();
    let rich = p.protect(&rich);
    scene.udp("p", "a", &rich).bye(&call, By::Caller);
    scene.decrypt().is(0, &["c A sent CM keys a>p [a] 4/4", "c A received CM keys p>a [b] 4/4"]);
}

#[test]
fn a_source_may_jump_in_its_sequence_numbers() {
    // A PBX that puts another voice under the same SSRC; what libsrtp makes of it is a roll-over counter of 0 still.
    let (mut scene, call) = (Scene::new(), dialog("c", "A P"));
    let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(1)), Voice::secure("p", "a", 0xb, &cm(2)));
    scene.call(&call, &savp("a", &cm(1)), &savp("p", &cm(2))).talk(&mut [&mut a, &mut p], 5);
    for sequence in [30_000, 50_000, 65_530] {
        let mut p = Voice::secure("p", "a", 0xb, &cm(2));
        p.sequence = sequence;
        scene.talk(&mut [&mut p], 5);
    }
    let mut p = Voice::secure("p", "a", 0xb, &cm(2));
    p.sequence = 40_000;
    scene.talk(&mut [&mut p], 5).bye(&call, By::Caller);
    scene.decrypt().is(0, &["c A sent CM keys a>p [a] 5/5", "c A received CM keys p>a [b] 25/25"]);
}

#[test]
fn a_far_jump_at_the_beginning_keeps_the_roll_over_counter_of_0() {
    let (mut scene, call) = (Scene::new(), dialog("c", "A P"));
    let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(1)), Voice::secure("p", "a", 0xb, &cm(2)));
    scene.call(&call, &savp("a", &cm(1)), &savp("p", &cm(2))).talk(&mut [&mut a, &mut p], 5);
    let mut p = Voice::secure("p", "a", 0xb, &cm(2));
    p.sequence = 40_000;
    scene.talk(&mut [&mut p], 5).bye(&call, By::Caller);
    scene.decrypt().is(0, &["c A sent CM keys a>p [a] 5/5", "c A received CM keys p>a [b] 10/10"]);
}

#[test]
fn after_a_gap_in_the_capture_the_roll_over_counter_is_found_again() {
    let (mut scene, call) = (Scene::new(), dialog("c", "A P"));
    let (mut a, mut p) = (Voice::secure("a", "p", 0xa, &cm(1)), Voice::secure("p", "a", 0xb, &cm(2)));
    scene.call(&call, &savp("a", &cm(1)), &savp("p", &cm(2))).talk(&mut [&mut a, &mut p], 5);
    a.skip_rounds(1);
    p.skip_rounds(3);
    scene.wait(4_000_000).talk(&mut [&mut a, &mut p], 5).bye(&call, By::Caller);
    scene.decrypt().is(0, &["c A sent CM keys a>p [a] 10/10", "c A received CM keys p>a [b] 10/10"]);
}
