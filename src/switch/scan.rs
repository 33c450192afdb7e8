//! Cuts secrets out of a message before any library sees it.
//!
//! This module owns one pass over raw bytes, which need not be UTF-8 and need not be SIP. It knows no syntax but lines:
//! wherever a line holds a secret, the secret is overwritten in place by filler of the same length, and SDES keys are
//! handed on as [`InlineKey`]s, named by a number that stands in the filler. After [`redact`] the text can be parsed,
//! logged or kept: nothing in it is secret. When in doubt more is wiped, never less.
//!
//! Wiped are: the key of every `inline:`, wherever it stands; the values of the digest headers; `k=` and `a=key-mgmt:`
//! (MIKEY) and `a=ice-pwd:` of SDP. Lifetime, MKI and known session parameters of a crypto line stay readable.

use std::ops::Range;

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use memchr::{memchr, memchr_iter, memchr2};
use zeroize::Zeroizing;

use crate::model::Secret;

/// More keys than this in one message are wiped, but not kept.
pub const MAX_KEYS: usize = 128;

/// Key and salt that stood at an `inline:`, decoded.
pub struct InlineKey(Option<Secret>);

impl InlineKey {
    /// Key and salt one after the other; `None` if the text was not base64.
    pub fn secret(&self) -> Option<&Secret> {
        self.0.as_ref()
    }
}

/// The keys that were cut out of one message.
#[derive(Default)]
pub struct Keys(Vec<InlineKey>);

impl Keys {
    /// The key that stood where this filler stands now.
    pub fn of_filler(&self, filler: &str) -> Option<&InlineKey> {
        let number = filler.strip_prefix(MARK)?.get(..DIGITS)?.parse::<usize>().ok()?;
        self.0.get(number)
    }

    /// Whether there is a key whose filler stands in none of `texts`.
    pub fn any_besides<'a>(&self, texts: impl Iterator<Item = &'a str>) -> bool {
        let mut found = vec![false; self.0.len()];
        if found.is_empty() {
            return false;
        }
        for filler in texts.flat_map(|text| text.split(MARK).skip(1)) {
            let number = filler.get(..DIGITS).and_then(|number| number.parse::<usize>().ok());
            if let Some(found) = number.and_then(|number| found.get_mut(number)) {
                *found = true;
            }
        }
        found.contains(&false)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

const FILLER: u8 = b'*';
const MARK: char = '#';
const DIGITS: usize = 5;

const DIGEST_HEADERS: [&[u8]; 6] = [
    b"authorization",
    b"proxy-authorization",
    b"www-authenticate",
    b"proxy-authenticate",
    b"authentication-info",
    b"proxy-authentication-info",
];
const SECRET_ATTRIBUTES: [&[u8]; 2] = [b"key-mgmt", b"ice-pwd"];

/// Unpadded and over-padded keys are met in the field; the key is the same. The length is judged by the suite (R18).
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// Overwrites every secret in `message`, and returns the SDES keys among them.
pub fn redact(message: &mut [u8]) -> Keys {
    let mut keys = Keys::default();
    let mut start = 0;
    let mut after_key = false;
    while start < message.len() {
        let end = logical_line_end(message, start);
        if let Some(line) = message.get_mut(start..end) {
            // The rest of a key that a line end cut in two.
            if after_key && is_rest_of_key(line) {
                wipe(line, 0..line.len());
            } else {
                after_key = may_hold_secret(line) && redact_line(line, &mut keys);
            }
        }
        start = end;
    }
    keys
}

/// A quick look at a line: `false` only if [`redact_line`] would find nothing in it.
fn may_hold_secret(line: &[u8]) -> bool {
    // Each name whose value is wiped, and `a=crypto:`, begins with one of these.
    let first = line.iter().find(|byte| !byte.is_ascii_whitespace());
    if first.is_some_and(|first| b"akpwAKPW".contains(first)) {
        return true;
    }
    // Or behind a CR or an LF, where something stands behind it.
    let behind_cr = memchr2(b'\r', b'\n', line).and_then(|at| line.get(at + 1..)).unwrap_or_default();
    if !behind_cr.trim_ascii_start().is_empty() {
        return true;
    }
    memchr_iter(b':', line).any(|colon| {
        let before = line.get(..colon).unwrap_or_default();
        before.trim_ascii_end().last().is_some_and(|last| last.eq_ignore_ascii_case(&b'e'))
    })
}

/// Where the line that begins at `start` ends, with the continuation lines that belong to it (RFC 3261, 7.3.1).
fn logical_line_end(message: &[u8], start: usize) -> usize {
    let mut at = start;
    loop {
        let rest = message.get(at..).unwrap_or_default();
        let Some(feed) = memchr(b'\n', rest) else { return message.len() };
        at += feed + 1;
        if !matches!(message.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
}

/// Returns whether the line held a key.
fn redact_line(line: &mut [u8], keys: &mut Keys) -> bool {
    if let Some(from) = whole_value_behind_cr(line) {
        wipe(line, from..line.len());
        // What stands before it may be a line of its own.
        redact_key(line.get_mut(..from).unwrap_or_default(), keys);
        return false;
    }
    redact_key(line, keys)
}

/// Cuts out the keys of a line that isn't wiped as a whole. Returns whether there was one.
fn redact_key(line: &mut [u8], keys: &mut Keys) -> bool {
    // A crypto line is judged from its key parameters on, so that a key behind a misspelt `inline:` is wiped too. What
    // begins in a part of blanks begins in the next one, too: so no blanks are looked through twice.
    let mut begin = 0;
    let crypto = line.split_inclusive(|byte| matches!(byte, b'\r' | b'\n')).find_map(|part| {
        let rest = line.get(begin..).filter(|_| !part.trim_ascii_start().is_empty());
        let from = rest.and_then(crypto_parameters).map(|from| begin + from);
        begin += part.len();
        from
    });
    let inline = find_inline(line, 0).map(|found| found.start);
    let from = crypto.into_iter().chain(inline).min();
    if let Some(from) = from {
        redact_parameters(line, from, keys);
    }
    from.is_some()
}

/// Whether a line is base64 up to its end, its blank or its `|`, and no line of SDP.
fn is_rest_of_key(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let word =
        line.split(|byte| *byte == b'|' || *byte == b';' || byte.is_ascii_whitespace()).next().unwrap_or_default();
    line.get(1) != Some(&b'=')
        && !word.is_empty()
        && word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte))
}

/// As [`whole_value`]. Some take a lone CR for a line end, and no blank for a continuation: a header may begin behind
/// any CR or LF.
fn whole_value_behind_cr(line: &[u8]) -> Option<usize> {
    let mut begin = 0;
    line.split_inclusive(|byte| matches!(byte, b'\r' | b'\n')).find_map(|part| {
        let from = whole_value(part).map(|from| begin + from);
        begin += part.len();
        from
    })
}

/// Where the value begins that must be wiped as a whole, if the line is of that kind.
fn whole_value(line: &[u8]) -> Option<usize> {
    let begin = skip_blanks(line, 0);
    if let Some(colon) = memchr(b':', line) {
        let name = line.get(begin..colon)?.trim_ascii();
        if DIGEST_HEADERS.iter().any(|header| name.eq_ignore_ascii_case(header)) {
            return Some(colon + 1);
        }
        if let Some(attribute) = after_key(name, b'a')
            && SECRET_ATTRIBUTES.iter().any(|secret| attribute.eq_ignore_ascii_case(secret))
        {
            return Some(colon + 1);
        }
    }
    let key = line.get(begin..).and_then(|rest| after_key(rest, b'k'))?;
    Some(line.len() - key.len())
}

/// What follows `<letter>=`, blanks apart.
fn after_key(text: &[u8], letter: u8) -> Option<&[u8]> {
    let (first, rest) = text.split_first()?;
    let rest = rest.trim_ascii_start().strip_prefix(b"=")?;
    first.eq_ignore_ascii_case(&letter).then(|| rest.trim_ascii_start())
}

/// Where the key parameters of an `a=crypto:<tag> <suite> <parameters>` begin. Looks no further than the first byte that
/// is not of such a line.
fn crypto_parameters(line: &[u8]) -> Option<usize> {
    const NAME: &[u8] = b"crypto";
    let (name, rest) = after_key(line.trim_ascii_start(), b'a')?.split_at_checked(NAME.len())?;
    let value = rest.trim_ascii_start().strip_prefix(b":").filter(|_| name.eq_ignore_ascii_case(NAME))?;
    let mut at = line.len() - value.len();
    for _ in 0..2 {
        at = skip_blanks(line, at);
        at += line.get(at..)?.iter().take_while(|byte| !byte.is_ascii_whitespace()).count();
    }
    // A key that stands before its place, as where the suite is missing, is found as `inline:`.
    let inline = find_inline(line, 0).map_or(line.len(), |found| found.start);
    Some(at.min(inline))
}

fn skip_blanks(line: &[u8], at: usize) -> usize {
    at + line.get(at..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_whitespace()).count()
}

/// The next `inline:`, in any case and with blanks before its colon.
fn find_inline(line: &[u8], from: usize) -> Option<Range<usize>> {
    const WORD: &[u8] = b"inline";
    let mut at = from;
    loop {
        let colon = at + memchr(b':', line.get(at..)?)?;
        let before = line.get(from..colon)?.trim_ascii_end();
        let start = before.len().checked_sub(WORD.len());
        if let Some(start) = start.filter(|start| before.get(*start..).is_some_and(|w| w.eq_ignore_ascii_case(WORD))) {
            return Some(from + start..colon + 1);
        }
        at = colon + 1;
    }
}

/// Wipes from `from` to the end of the line all that is not known to be harmless. Takes time in proportion to the line.
fn redact_parameters(line: &mut [u8], from: usize, keys: &mut Keys) {
    let mut at = from;
    let mut inline = find_inline(line, at);
    while at < line.len() {
        if inline.as_ref().is_some_and(|found| found.start < at) {
            inline = find_inline(line, at);
        }
        if let Some(found) = inline.clone().filter(|found| found.start == at) {
            let start = skip_blanks(line, found.end);
            let end = start + span(line, start, |byte| !is_delimiter(byte));
            take_key(line, start..end, keys);
            at = redact_key_fields(line, end.max(found.end));
            continue;
        }
        let Some(byte) = line.get(at).copied() else { return };
        if byte == b';' || byte.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        // One word: a session parameter, or something unknown. An `inline:` inside it (FEC_KEY=inline:…) ends it.
        let next = inline.as_ref().map_or(line.len(), |found| found.start);
        let end = (at + span(line, at, |byte| byte != b';' && !byte.is_ascii_whitespace())).min(next);
        if !line.get(at..end).is_some_and(is_session_parameter) {
            // The leading "-" of an optional parameter (RFC 4568, 6.3.7) is kept: it says that it may be ignored.
            let optional = usize::from(byte == b'-');
            wipe(line, at + optional..end);
        }
        at = end;
    }
}

/// Goes over `|lifetime|MKI:length` and wipes fields that are neither (RFC 4568, 6.1).
fn redact_key_fields(line: &mut [u8], from: usize) -> usize {
    let mut at = from;
    while line.get(at) == Some(&b'|') {
        let end = at + 1 + span(line, at + 1, |byte| !is_delimiter(byte));
        // A lifetime has at most 15 digits, and so many digits can't be a key: those would have to be 40.
        let harmless =
            |field: &[u8]| field.len() <= 24 && field.iter().all(|b| b.is_ascii_digit() || b"^:".contains(b));
        if !line.get(at + 1..end).is_some_and(harmless) {
            wipe(line, at + 1..end);
        }
        at = end;
    }
    at
}

fn take_key(line: &mut [u8], range: Range<usize>, keys: &mut Keys) {
    let Some(text) = line.get_mut(range) else { return };
    if text.is_empty() {
        return;
    }
    let number = keys.0.len();
    let kept = number < MAX_KEYS;
    if kept {
        keys.0.push(InlineKey(decode(text)));
    }
    text.fill(FILLER);
    let mark = format!("{MARK}{number:0DIGITS$}");
    if let Some(place) = text.get_mut(..mark.len()).filter(|_| kept) {
        place.copy_from_slice(mark.as_bytes());
    }
}

fn decode(text: &[u8]) -> Option<Secret> {
    let mut buffer = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let len = BASE64.decode_slice(text, &mut buffer).ok()?;
    Some(Secret::new(buffer.get(..len)?.to_vec()))
}

fn is_delimiter(byte: u8) -> bool {
    byte == b'|' || byte == b';' || byte.is_ascii_whitespace()
}

/// The session parameters of RFC 4568, 6.3, with the values that they may have. None can hold a key.
fn is_session_parameter(word: &[u8]) -> bool {
    const WORDS: [&[u8]; 7] = [
        b"UNENCRYPTED_SRTP",
        b"UNENCRYPTED_SRTCP",
        b"UNAUTHENTICATED_SRTP",
        b"FEC_ORDER=FEC_SRTP",
        b"FEC_ORDER=SRTP_FEC",
        b"FEC_KEY=",
        b"-",
    ];
    let numeric = |name: &[u8]| {
        let value = word.get(name.len()..).unwrap_or_default();
        word.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name))
            && value.len() <= 8
            && value.iter().all(u8::is_ascii_digit)
    };
    WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)) || numeric(b"KDR=") || numeric(b"WSH=")
}

fn span(line: &[u8], from: usize, inside: impl Fn(u8) -> bool) -> usize {
    line.get(from..).unwrap_or_default().iter().take_while(|byte| inside(**byte)).count()
}

/// Overwrites all but blanks and line ends, so that the text keeps its lines.
fn wipe(line: &mut [u8], range: Range<usize>) {
    for byte in line.get_mut(range).unwrap_or_default() {
        if !byte.is_ascii_whitespace() {
            *byte = FILLER;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
    const OTHER: &str = "d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj";

    fn redacted(text: &str) -> (String, Keys) {
        let mut bytes = text.as_bytes().to_vec();
        let keys = redact(&mut bytes);
        assert_eq!(bytes.len(), text.len());
        (String::from_utf8(bytes).unwrap(), keys)
    }

    #[test]
    fn r20_a_key_is_cut_out_and_named_by_its_filler() {
        let (text, keys) = redacted(&format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}|2^20|1:4\r\na=x\r\n"));
        let filler = format!("#00000{}", "*".repeat(34));
        assert_eq!(text, format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{filler}|2^20|1:4\r\na=x\r\n"));
        // The sample of RFC 4568, 6.1: 16 bytes of key and 14 of salt.
        assert_eq!(keys.of_filler(&filler).unwrap().secret().unwrap().len(), 30);
        assert!(keys.of_filler("#00001****").is_none() && keys.of_filler("****").is_none());
    }

    #[test]
    fn r20_several_keys_and_session_parameters_stay_in_order() {
        let (text, keys) = redacted(&format!(
            "a=crypto:2 S inline:{KEY}|2^20|1:4;inline:{OTHER}|2:4 KDR=3 WSH=128 FEC_KEY=inline:{KEY} -X=abc NEW=abc"
        ));
        let fill = "*".repeat(34);
        assert_eq!(
            text,
            format!(
                "a=crypto:2 S inline:#00000{fill}|2^20|1:4;inline:#00001{fill}|2:4 KDR=3 WSH=128 \
                 FEC_KEY=inline:#00002{fill} -***** *******"
            )
        );
        assert_eq!(keys.len(), 3);
    }

    #[test]
    fn r20_no_spelling_of_inline_leaves_a_key_behind() {
        for text in [
            format!("a=crypto:1 S InLiNe:{KEY}\n"),
            format!("a=crypto:1 S inline :{KEY}\n"),
            format!("a=crypto:1 S inline: {KEY}\n"),
            format!("a=crypto:1 S inline:\r\n {KEY}\r\n"),
            format!("a=crypto:1 S inline:AAAA {KEY}\n"),
            format!("a=crypto:1 S inline:AAAA\r\n\t{KEY}\r\n"),
            format!("a=crypto:1 S inline:AAAA\r\n{KEY}|2^20\r\n"),
            format!("a=crypto:1 S inline:AAAA\nBBBB\n{KEY}\n"),
            format!("a=crypto:1 S inline:AAAA|{KEY}\n"),
            format!("a=crypto:1 S inlin:{KEY}\n"),
            format!("A = Crypto : 1 S {KEY}\n"),
            format!("a=crypto:1 inline:{KEY}"),
            format!("a=crypto:inline:{KEY}"),
            format!("X-Note: inline:{KEY}\r\n"),
            format!("\0\0inline:{KEY}\0\0"),
            format!("{{\"sdp\":\"a=crypto:1 S inline:{KEY}\\r\\na=x\"}}"),
            format!("x inline:;inline:{KEY}"),
            format!("inline:inline:{KEY}"),
            format!("inlineinline:{KEY}"),
        ] {
            assert!(!redacted(&text).0.contains(KEY), "{text:?}");
        }
    }

    #[test]
    fn r20_digest_headers_are_wiped_with_their_continuations() {
        for name in [
            "Authorization",
            "proxy-AUTHORIZATION",
            "WWW-Authenticate ",
            "Proxy-Authenticate\t",
            "Authentication-Info",
            "Proxy-Authentication-Info",
            "X-A: y\rAuthorization",
        ] {
            let (text, _) =
                redacted(&format!("{name}: Digest\r\n response=\"c0ffee\"\r\n\tx=c0ffee\r\nTo: c0ffee\r\n"));
            assert!(text.ends_with("\r\nTo: c0ffee\r\n"), "{text:?}");
            assert_eq!(text.matches("c0ffee").count(), 1, "{text:?}");
        }
    }

    #[test]
    fn r20_what_begins_behind_a_bare_line_end_is_wiped_too() {
        for text in [
            "X: y\n Authorization: Digest response=\"c0ffee\"\r\n",
            "X: y\r Authorization: Digest response=\"c0ffee\"\r\n",
            "s=-\n\ta=crypto:1 AES_CM_128_HMAC_SHA1_80 c0ffeeWVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVu\r\n",
            "s=-\r\n a=crypto:1 AES_CM_128_HMAC_SHA1_80 c0ffeeWVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVu\r\n",
        ] {
            assert!(!redacted(text).0.contains("c0ffee"), "{text:?}");
        }
    }

    #[test]
    fn r20_the_other_keys_of_sdp_are_wiped() {
        let (text, keys) = redacted("k=clear:pass\r\na=key-mgmt:mikey AQAF\r\na=ice-pwd:hush\r\nk: 100rel\r\n");
        assert_eq!(text, "k=**********\r\na=key-mgmt:***** ****\r\na=ice-pwd:****\r\nk: 100rel\r\n");
        assert!(keys.is_empty());
    }

    proptest::proptest! {
        /// The quick look never passes over what the thorough one would wipe.
        #[test]
        fn r20_no_line_is_passed_over_that_holds_a_secret(
            pieces in proptest::collection::vec(proptest::sample::select(vec![
                " ", "\t", "\r", "\n", "\r\n ", ":", "=", ";", "|", "X", "a", "A", "k", "K", "crypto", "inline", "InLine",
                "Authorization", "www-authenticate", "Proxy-Authenticate", "key-mgmt", "ice-pwd", KEY, "\0", "\u{c}", "\u{b}",
            ]), 0..12),
        ) {
            let line = pieces.concat().into_bytes();
            let (mut wiped, mut keys) = (line.clone(), Keys::default());
            let held = redact_line(&mut wiped, &mut keys);
            proptest::prop_assert!(may_hold_secret(&line) || !held && wiped == line && keys.is_empty());
        }
    }

    #[test]
    fn what_is_no_base64_is_wiped_but_no_key() {
        let (text, keys) = redacted("inline:%%%%%%%%%%");
        assert_eq!(text, "inline:#00000****");
        assert!(keys.of_filler("#00000****").unwrap().secret().is_none());
    }

    #[test]
    fn r41a_the_number_of_keys_has_a_bound() {
        let (text, keys) = redacted(&format!("inline:{KEY}\n").repeat(MAX_KEYS + 5));
        assert_eq!(keys.len(), MAX_KEYS);
        assert!(!text.contains(KEY));
    }
}
