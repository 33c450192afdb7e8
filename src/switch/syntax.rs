//! Small pieces of the syntax of headers and bodies (RFC 3261, 25; RFC 2046) that we read ourselves.
//!
//! Each takes any text, and time in proportion to it.

/// Whether a character may be shown: it controls neither a terminal nor the direction of the text around it.
pub(super) fn is_shown(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What may be shown of a text, up to `max` characters.
pub(super) fn shown(text: &str, max: usize) -> String {
    text.chars().filter(|c| is_shown(*c)).take(max).collect()
}

/// Cuts the message at the first empty line, whatever its line ends are.
pub(super) fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let mut start = 0;
    let mut begun = false;
    while let Some(feed) = text.get(start..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n')) {
        let end = start + feed + 1;
        let empty = text.get(start..end).unwrap_or_default().trim_ascii().is_empty();
        // Empty lines before the start line are allowed (RFC 3261, 7.5).
        if empty && begun {
            return (text.get(..start).unwrap_or_default(), text.get(end..).unwrap_or_default());
        }
        begun |= !empty;
        start = end;
    }
    (text, &[])
}

/// The parts between the lines `--<boundary>` (RFC 2046, 5.1).
pub(super) fn parts<'a>(body: &'a [u8], boundary: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let (mut begun, mut at) = (None, 0);
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        if line.strip_prefix(b"--").is_some_and(|rest| rest.starts_with(boundary)) {
            parts.extend(begun.and_then(|begun| body.get(begun..at)));
            begun = Some(at + line.len());
        }
        at += line.len();
    }
    parts
}

/// Cuts `"name" <uri>;parameters` or `uri;parameters` (RFC 3261, 20.10) into name, URI and parameters.
pub(super) fn name_address(value: &str) -> Option<(String, &str, &str)> {
    let value = value.trim();
    let mut quoted = false;
    let mut escaped = false;
    let open = value.find(|c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        c == '<' && !quoted
    });
    let Some(open) = open else {
        // Without brackets the parameters belong to the header.
        let (uri, parameters) = value.split_once(';').unwrap_or((value, ""));
        return (!uri.trim().is_empty()).then(|| (String::new(), uri.trim(), parameters));
    };
    let (name, rest) = (value.get(..open)?.trim(), value.get(open + 1..)?);
    let (uri, parameters) = rest.split_once('>')?;
    let name = match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(quoted) => unescape(quoted),
        None => name.to_owned(),
    };
    Some((name, uri.trim(), parameters))
}

fn unescape(quoted: &str) -> String {
    let mut plain = String::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        plain.extend(if c == '\\' { chars.next() } else { Some(c) });
    }
    plain
}

/// The value of a `;name=value`, without quotes.
pub(super) fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    parameters.split(';').find_map(|parameter| {
        let (key, value) = parameter.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// The entries of a comma-separated header; commas in quotes and brackets don't count.
pub(super) fn list(value: &str) -> Vec<String> {
    let mut entries = vec![String::new()];
    let (mut quoted, mut bracketed) = (false, false);
    for c in value.chars() {
        match c {
            '"' => quoted = !quoted,
            '<' if !quoted => bracketed = true,
            '>' if !quoted => bracketed = false,
            ',' if !quoted && !bracketed => {
                entries.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(entry) = entries.last_mut() {
            entry.push(c);
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_ends_at_the_first_empty_line() {
        assert_eq!(split(b"a\r\nb\r\n\r\nc\r\n\r\nd"), (&b"a\r\nb\r\n"[..], &b"c\r\n\r\nd"[..]));
        assert_eq!(split(b"\n\na\n\nb"), (&b"\n\na\n"[..], &b"b"[..]));
        assert_eq!(split(b"a\n"), (&b"a\n"[..], &b""[..]));
    }

    #[test]
    fn names_and_addresses_are_told_apart() {
        for (value, name, uri, parameters) in [
            ("<sip:a@b>;tag=1", "", "sip:a@b", ";tag=1"),
            ("A B <sip:a@b;x=y>", "A B", "sip:a@b;x=y", ""),
            ("\"<\\\">\" <sip:a@b>;tag=1", "<\">", "sip:a@b", ";tag=1"),
            ("sip:a@b;tag=1", "", "sip:a@b", "tag=1"),
        ] {
            assert_eq!(name_address(value), Some((name.to_owned(), uri, parameters)), "{value}");
        }
        for value in ["", ";tag=1", "<sip:a@b", "\"<sip:a@b>"] {
            assert!(name_address(value).is_none_or(|(_, uri, _)| uri.contains('"')), "{value}");
        }
    }

    #[test]
    fn commas_in_quotes_and_brackets_separate_nothing() {
        assert_eq!(list("\"a,b\" <sip:c,d>,<sip:e>"), ["\"a,b\" <sip:c,d>", "<sip:e>"]);
    }
}
