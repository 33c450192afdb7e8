//! The search for leaked keys finds what it must find: a test that can't fail proves nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a test"
)]

#[allow(dead_code, reason = "each test binary uses a part")]
#[path = "common/leaks.rs"]
mod leaks;

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE},
};
use bytes::Bytes;

/// High and low bytes, and those that escapes treat on their own: NUL, tab, line feed, quotes, backslash.
fn key() -> Vec<u8> {
    let mut key: Vec<u8> = (0..30u8).map(|i| i.wrapping_mul(73) ^ 0xa5).collect();
    key[3..9].copy_from_slice(b"\0\t\n\"\\'");
    key[20..26].copy_from_slice(b"\x7f\x01\r'a\"");
    key
}

/// `bytes` as somebody could print them.
fn printed(bytes: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let hex = |separator: &str| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(separator);
    let text = |text: String| text.into_bytes();
    vec![
        ("raw", bytes.to_vec()),
        ("a slice's debug", text(format!("{bytes:?}"))),
        ("JSON numbers", serde_json::to_vec(bytes).unwrap()),
        ("a hex list", text(format!("{bytes:02x?}"))),
        ("an upper hex list", text(format!("{bytes:02X?}"))),
        ("an unpadded hex list", text(format!("{bytes:x?}"))),
        ("a hex list with prefix", text(format!("{bytes:#04x?}").replace(",\n    ", ", "))),
        ("bytes' debug", text(format!("{:?}", Bytes::copy_from_slice(bytes)))),
        ("bytes' hex", text(format!("{:x}", Bytes::copy_from_slice(bytes)))),
        ("escape_ascii", text(bytes.escape_ascii().to_string())),
        ("hex", text(hex(""))),
        ("upper hex", text(hex("").to_uppercase())),
        ("spaced hex", text(hex(" "))),
        ("hex with colons", text(hex(":").to_uppercase())),
        ("hex escapes", text(format!("\\x{}", hex("\\x")))),
        ("base64", text(BASE64_STANDARD.encode(bytes))),
        ("base64 without padding", text(BASE64_STANDARD_NO_PAD.encode(bytes))),
        ("URL-safe base64", text(BASE64_URL_SAFE.encode(bytes))),
        ("base64 behind one byte", text(BASE64_STANDARD.encode([b"x", bytes].concat()))),
        ("URL-safe base64 behind two", text(BASE64_URL_SAFE.encode([b"xy", bytes].concat()))),
    ]
}

#[test]
fn r20_a_key_is_found_in_every_form_that_it_could_be_printed_in() {
    let key = key();
    for (name, form) in printed(&key) {
        let planted = [b"2026-01-01 TRACE some::code: key=", &form[..], b" and more\n"].concat();
        assert!(leaks::find_key(&key, &planted).is_some(), "{name}: {}", String::from_utf8_lossy(&planted));
    }
    let lossy = String::from_utf8_lossy(b"0123456789abcd\xff0123456789abc").into_owned();
    assert!(leaks::find_key(b"0123456789abcd\xff0123456789abc", lossy.as_bytes()).is_some());
}

#[test]
fn a_key_as_it_is_isn_t_taken_for_the_letters_in_it() {
    let key = b"\x80letters\xff\xfe0123456789abcdefghi\xff";
    assert_eq!(leaks::find_key(key, key), Some("as it is"));
}

#[test]
fn r20_any_twelve_bytes_of_a_key_are_found() {
    let key = key();
    for at in 0..=key.len() - 12 {
        for (name, form) in printed(&key[at..at + 12]) {
            assert!(leaks::find_key(&key, &form).is_some(), "{name} of 12 bytes from {at}");
        }
    }
}

#[test]
fn another_key_and_a_long_log_are_not_taken_for_it() {
    let other: Vec<u8> = key().iter().map(|byte| byte.wrapping_add(1)).collect();
    for (name, form) in printed(&other) {
        assert_eq!(leaks::find_key(&key(), &form), None, "{name}");
    }
    let log = "2026-01-01 TRACE some::code: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 00 00 00 00 AAAAAAAAAAAAAAAA\n".repeat(20_000);
    assert_eq!(leaks::find_key(&key(), log.as_bytes()), None);
}

#[test]
#[should_panic(expected = "a key is in the logs, as numbers")]
fn r20_a_key_in_the_logs_fails_the_test() {
    leaks::watch_logs();
    leaks::watch_key(&key());
    tracing::trace!(key = ?key(), "on purpose");
    leaks::assert_no_key_in_logs();
}
