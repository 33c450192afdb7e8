//! Small pieces of the syntax of headers and bodies (RFC 3261, 25; RFC 2046) that we read ourselves.
//!
//! Each takes any text, and time in proportion to it.

use std::borrow::Cow;

/// Bytes as text, in which what isn't UTF-8 is replaced.
pub(super) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    // The check alone is much quicker than the replacement.
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Whether a character may be shown: it controls neither a terminal nor the direction of the text around it.
fn is_shown(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether all of a text may be shown.
pub(super) fn all_shown(text: &str) -> bool {
    // As nearly all texts are.
    text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) || text.chars().all(is_shown)
}

/// What may be shown of a text, up to `max` characters.
pub(super) fn shown(text: &str, max: usize) -> String {
    if text.len() <= max && all_shown(text) {
        return text.to_owned();
    }
    text.chars().filter(|c| is_shown(*c)).take(max).collect()
}

/// A host as a URI names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Host<'a> {
    /// What stands in brackets: it should be an IPv6 address.
    Bracketed(&'a str),
    /// A name, or an IPv4 address.
    Plain(&'a str),
}

/// Cuts `host[:port]` (RFC 3261, 25.1).
pub(super) fn host_port(text: &str) -> Option<(Host<'_>, Option<u16>)> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(text) => text.split_once(']').map(|(host, rest)| (Host::Bracketed(host), rest))?,
        None => {
            let (host, rest) = text.split_at_checked(text.find(':').unwrap_or(text.len()))?;
            (Host::Plain(host), rest)
        }
    };
    if rest.is_empty() {
        return (host != Host::Plain("")).then_some((host, None));
    }
    let port = rest.strip_prefix(':').filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((host, Some(port.parse().ok()?)))
}

/// The parts between the lines `--<boundary>` (RFC 2046, 5.1).
pub(super) fn parts<'a>(body: &'a [u8], boundary: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let (mut begun, mut at) = (None, 0);
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let behind = line.strip_prefix(b"--").and_then(|rest| rest.strip_prefix(boundary)).map(<[u8]>::trim_ascii_end);
        if let Some(behind) = behind.filter(|behind| behind.is_empty() || *behind == b"--") {
            parts.extend(begun.and_then(|begun| body.get(begun..at)));
            begun = behind.is_empty().then_some(at + line.len());
        }
        at += line.len();
    }
    // Where the last boundary is missing the part ends with the body.
    parts.extend(begun.and_then(|begun| body.get(begun..)));
    parts
}

/// Cuts `"name" <uri>;parameters` or `uri;parameters` (RFC 3261, 20.10) into name, URI and parameters.
///
/// `None` if it can't be read in one way only: a quote that stays open, a comma or a quote in a name without quotes,
/// blanks in the URI, something behind `>` that is no parameter.
pub(super) fn name_address(value: &str) -> Option<(Cow<'_, str>, &str, &str)> {
    let value = value.trim_ascii();
    let (name, rest) = match value.strip_prefix('"') {
        Some(quoted) => {
            let end = end_of_quoted(quoted)?;
            (unescape(quoted.get(..end)?), quoted.get(end + 1..)?.trim_ascii_start().strip_prefix('<')?)
        }
        None => {
            let Some((name, rest)) = value.split_once('<') else {
                // Without brackets the parameters belong to the header.
                let end = value.find(';').unwrap_or(value.len());
                let (uri, parameters) = (value.get(..end)?.trim_ascii_end(), value.get(end..)?);
                return (is_uri(uri) && !uri.contains(['?', ','])).then_some((Cow::Borrowed(""), uri, parameters));
            };
            if name.contains(['"', ',', ';']) {
                return None;
            }
            (Cow::Borrowed(name.trim_ascii_end()), rest)
        }
    };
    let (uri, parameters) = rest.split_once('>')?;
    let parameters = parameters.trim_ascii_start();
    (is_uri(uri) && (parameters.is_empty() || parameters.starts_with(';'))).then_some((name, uri, parameters))
}

/// The URI and the parameters of a From or To whose name breaks the grammar: `"name" uri;parameters`, or a name with a
/// comma and without quotes. Many send that, and others work on it (RFC 4475, 3.1.2.15). The name counts for nothing.
pub(super) fn address_behind_name(value: &str) -> Option<(&str, &str)> {
    let value = value.trim_ascii();
    let (_, uri, parameters) = match value.strip_prefix('"') {
        Some(quoted) => {
            let rest = quoted.get(end_of_quoted(quoted)? + 1..)?.trim_ascii_start();
            name_address(rest).filter(|(_, uri, _)| rest.starts_with(uri))?
        }
        None => {
            let bracket = value.find('<')?;
            let name = value.get(..bracket)?;
            name_address(value.get(bracket..)?).filter(|_| !name.contains(['"', ';']))?
        }
    };
    Some((uri, parameters))
}

/// Whether a text may be a URI: no blanks, no quotes, no brackets of its own.
fn is_uri(text: &str) -> bool {
    !text.is_empty() && !text.bytes().any(|byte| byte.is_ascii_whitespace() || b"<>\"".contains(&byte))
}

/// Where a quoted string ends whose opening quote is cut off.
fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| match byte {
        _ if std::mem::take(&mut escaped) => false,
        b'\\' => {
            escaped = true;
            false
        }
        byte => byte == b'"',
    })
}

fn unescape(quoted: &str) -> Cow<'_, str> {
    if !quoted.contains('\\') {
        return quoted.into();
    }
    let mut plain = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain.into()
}

/// Name and value of each parameter; `None` in place of one without a name.
pub(super) struct Parameters<'a>(Option<&'a str>);

impl<'a> Parameters<'a> {
    /// Those of `;name=value;name`, or none of an empty text.
    pub(super) fn of(text: &'a str) -> Self {
        Self(text.trim_ascii_start().strip_prefix(';'))
    }

    /// Those behind a `;` that is cut off already.
    pub(super) fn behind(text: &'a str) -> Self {
        Self(Some(text))
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Option<(&'a str, Option<&'a str>)>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.0?;
        let end = find_outside(text, b';').unwrap_or(text.len());
        self.0 = text.get(end + 1..);
        let parameter = text.get(..end).unwrap_or_default();
        let (name, value) = match parameter.split_once('=') {
            Some((name, value)) => (name.trim_ascii(), Some(value.trim_ascii().trim_matches('"'))),
            None => (parameter.trim_ascii(), None),
        };
        Some((!name.is_empty()).then_some((name, value)))
    }
}

/// The value of a `;name=value`, without quotes.
pub(super) fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    Parameters::behind(parameters).flatten().find_map(|(key, value)| value.filter(|_| key.eq_ignore_ascii_case(name)))
}

/// The entries of a comma-separated header; commas in quotes and brackets don't count.
pub(super) fn list(value: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(value);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = find_outside(text, b',').unwrap_or(text.len());
        rest = text.get(end + 1..);
        text.get(..end)
    })
}

/// Where `separator` stands for the first time outside quotes and brackets.
fn find_outside(text: &str, separator: u8) -> Option<usize> {
    let (mut quoted, mut escaped, mut bracketed) = (false, false, false);
    text.bytes().position(|byte| {
        match byte {
            _ if std::mem::take(&mut escaped) => {}
            b'\\' => escaped = quoted,
            b'"' => quoted = !quoted,
            b'<' if !quoted => bracketed = true,
            b'>' if !quoted => bracketed = false,
            _ => return byte == separator && !quoted && !bracketed,
        }
        false
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        for (value, name, uri, parameters) in [
            ("<sip:a@b>;tag=1", "", "sip:a@b", ";tag=1"),
            ("A B <sip:a@b;x=y>", "A B", "sip:a@b;x=y", ""),
            ("\"<\\\">\" <sip:a@b>;tag=1", "<\">", "sip:a@b", ";tag=1"),
            ("sip:a@b ; tag=1", "", "sip:a@b", "; tag=1"),
            ("a<sip:a@b>", "a", "sip:a@b", ""),
        ] {
            assert_eq!(name_address(value), Some((name.into(), uri, parameters)), "{value}");
        }
        for value in [
            "",
            ";tag=1",
            "<sip:a@b",
            "\"<sip:a@b>",
            "\"a\" b <sip:a@b>",
            "a, b <sip:a@b>",
            "< sip:a@b>",
            "<>",
            "<sip:a@b> x;tag=1",
            "sip:a@b x",
        ] {
            assert_eq!(name_address(value), None, "{value}");
        }
    }

    #[test]
    fn names_against_the_grammar_hide_no_tag() {
        for (value, parameters) in
            [("\"Anonymous\" sip:anon@h;tag=x", ";tag=x"), ("Watson, Thomas <sip:t@h>;tag=x", ";tag=x")]
        {
            assert_eq!(name_address(value), None);
            assert_eq!(address_behind_name(value).map(|(_, parameters)| parameters), Some(parameters), "{value}");
        }
        for value in
            ["\"a <sip:b@h>;tag=x", "a;tag=y <sip:b@h>;tag=x", "a, < sip:b@h>", "\"a\" b, <sip:a@h>", "a\" <sip:b>"]
        {
            assert_eq!(address_behind_name(value), None, "{value}");
        }
    }

    #[test]
    fn parts_are_between_whole_boundary_lines() {
        let read = |body: &'static str| parts(body.as_bytes(), b"x");
        assert_eq!(read("pre\n--x\na\n--xy\nb\n--x--\npost"), [&b"a\n--xy\nb\n"[..]]);
        assert_eq!(read("--x \r\na\n--x\nb"), [&b"a\n"[..], b"b"]);
    }

    #[test]
    fn parameters_end_outside_quotes_and_each_has_a_name() {
        let read: Vec<_> = Parameters::of(" ; a = 1;b;c=\"x;\\\";d=2\"").collect();
        assert_eq!(read, [Some(("a", Some("1"))), Some(("b", None)), Some(("c", Some("x;\\\";d=2")))]);
        assert_eq!(Parameters::of("").count(), 0);
        assert!(Parameters::of(";;").all(|parameter| parameter.is_none()));
        assert_eq!(parameter("x=\";tag=1\";TAG = 2;tag=3", "tag"), Some("2"));
    }

    #[test]
    fn commas_in_quotes_and_brackets_separate_nothing() {
        assert!(list("\"a,b\" <sip:c,d>,<sip:e>").eq(["\"a,b\" <sip:c,d>", "<sip:e>"]));
    }
}
