//! What of a wrong setting may be shown (R20): a password may stand anywhere in the file, also where none belongs.
//!
//! So it isn't passwords that are left out. What is shown is what is known to be harmless: the values of our own settings
//! in their own tables, and nothing that is unknown, misplaced, or on a line of its own.

/// Settings whose values may be shown, by their whole names. Not `user.password`.
const HARMLESS: &[&str] = &[
    "mode",
    "lenient_doors",
    "doors.clear",
    "doors.tls",
    "doors.security_level",
    "metrics.security_level",
    "metrics.listen",
    "metrics.listen_tls",
    "admin.security_level",
    "admin.listen",
    "admin.socket",
    "tls.certificate",
    "tls.key",
    "tls.client_ca",
    "tls.ledger",
    "tls.own_ca",
    "tls.own_ca_key",
    "store.file",
    "audit.folder",
    "audit.key",
    "audit.checkpoints",
    "audit.log",
    "switch.name",
    "switch.kind",
    "switch.capture",
    "switch.speed",
    "switch.listen",
    "switch.security_level",
    "switch.queue_bytes",
    "user.name",
    "user.kind",
    "device.name",
    "device.description",
    "device.restricted",
    "device.line.number",
    "device.line.label",
    "device.line.restricted",
];
/// The same for lists: with anything else behind them it is unknown what that is.
const HARMLESS_LISTS: &[&str] = &[
    "door_networks",
    "metrics.networks",
    "admin.networks",
    "tls.client_crl",
    "stop.gateways",
    "switch.networks",
    "switch.pbx",
    "switch.suites",
    "user.groups",
    "user.devices",
    "device.addresses",
];
/// Numbers, and whole tables of them: what stands in quotes there is none.
const HARMLESS_NUMBERS: &[&str] = &[
    "heartbeat.",
    "stop.drain_seconds",
    "limits.",
    "audit.flush_milliseconds",
    "audit.segment_bytes",
    "audit.segment_hours",
    "audit.reserve_bytes",
    "audit.keep_segments",
    "audit.keep_days",
    "switch.devices",
    "switch.calls_per_second",
    "switch.call_seconds",
    "switch.ring_seconds",
    "switch.secure_percent",
    "switch.unanswered_percent",
    "switch.hold_percent",
    "switch.rekey_percent",
    "switch.seed",
];

const VERIFIER: &str = "SCRAM-SHA-256$";

/// What of `line` may be shown: its beginning, up to what could be a secret. `earlier` is the text before it.
pub(super) fn line(earlier: &str, line: &str) -> String {
    let inside_long_string = ["\"\"\"", "'''"].iter().any(|quotes| earlier.matches(quotes).count() % 2 == 1);
    let length = if inside_long_string {
        0
    } else if line.trim_start().starts_with('[') {
        line.find(|c: char| !(is_bare(c) || "[] \t".contains(c))).unwrap_or(line.len())
    } else {
        harmless_length(table(earlier), is_in_harmless_list(earlier), line)
    };
    match line.split_at_checked(length) {
        Some((shown, "")) => message(shown),
        Some((shown, _)) if shown.trim().is_empty() => "...".into(),
        Some((shown, _)) => message(&format!("{} ...", shown.trim_end())),
        None => "...".into(),
    }
}

/// An error's text without a verifier.
pub(super) fn message(text: &str) -> String {
    let mut shown = String::new();
    let mut rest = text;
    while let Some((before, verifier)) = rest.split_once(VERIFIER) {
        shown.extend([before, VERIFIER, "..."]);
        rest = verifier.trim_start_matches(|c: char| !(c.is_whitespace() || "\"'`".contains(c)));
    }
    shown + rest
}

/// What the parser says without the value that it says it of: "invalid type: string "pencil", expected a sequence".
pub(super) fn parser_message(text: &str) -> String {
    let Some((what, expected)) = text.strip_prefix("invalid ").and_then(|text| text.rsplit_once(", expected ")) else {
        return text.into();
    };
    let what = what.split(['"', '`', '\'']).next().unwrap_or_default().trim_end();
    format!("invalid {what}, expected {expected}")
}

/// The table that the next line is in. For what isn't a header, though it begins like one, nothing is harmless.
fn table(earlier: &str) -> &str {
    let header = earlier.lines().rev().map(str::trim).find(|line| line.starts_with('['));
    header.map_or("", |header| header.trim_matches(|c: char| "[] \t".contains(c)))
}

/// Whether the next line goes on with a list whose values may be shown: since its key there was nothing but texts in quotes.
fn is_in_harmless_list(earlier: &str) -> bool {
    let Some(first) = earlier.lines().rev().find(|line| !is_texts(line)) else { return false };
    let Some((key, list)) = first.split_once('=') else { return false };
    is_harmless(table(earlier), key.trim(), list.trim_start())
        && list.trim_start().strip_prefix('[').is_some_and(is_texts)
}

/// Texts in quotes, each with a comma behind it, and perhaps a comment.
fn is_texts(mut rest: &str) -> bool {
    loop {
        rest = rest.trim_start();
        match rest.chars().next() {
            None | Some('#') => return true,
            Some(first) if is_quote(first) => {
                let (_, after) = rest.split_at_checked(token_length(rest, first)).unwrap_or((rest, ""));
                let Some(after) = after.trim_start().strip_prefix(',') else { return false };
                rest = after;
            }
            Some(_) => return false,
        }
    }
}

/// How much of the line, from its beginning, is keys and harmless values.
fn harmless_length(table: &str, mut harmless: bool, line: &str) -> usize {
    let mut rest = line;
    loop {
        let shown = line.len().saturating_sub(rest.len());
        let Some(first) = rest.chars().next() else { return shown };
        let (token, after) = rest.split_at_checked(token_length(rest, first)).unwrap_or((rest, ""));
        let value = after.trim_start().strip_prefix('=').map(str::trim_start);
        let is_word = is_bare(first) || is_quote(first);
        match value {
            Some(value) if is_word => harmless = is_harmless(table, token, value),
            _ if is_word && harmless => {}
            _ if first == '=' && !harmless => return shown.saturating_add(1),
            _ if "=[]{}, \t".contains(first) => {}
            _ => return shown,
        }
        rest = after;
    }
}

fn token_length(rest: &str, first: char) -> usize {
    if is_quote(first) {
        let mut escaped = false;
        let end = rest.char_indices().skip(1).find(|(_, c)| {
            let ends = *c == first && !escaped;
            escaped = *c == '\\' && first == '"' && !escaped;
            ends
        });
        end.map_or(rest.len(), |(at, _)| at.saturating_add(1))
    } else if is_bare(first) {
        rest.find(|c| !is_bare(c)).unwrap_or(rest.len())
    } else {
        first.len_utf8()
    }
}

fn is_harmless(table: &str, key: &str, value: &str) -> bool {
    let name = if table.is_empty() { key.into() } else { format!("{table}.{key}") };
    HARMLESS.contains(&name.as_str())
        || HARMLESS_LISTS.contains(&name.as_str()) && value.starts_with('[')
        || HARMLESS_NUMBERS.iter().any(|known| name.starts_with(known)) && !value.starts_with(is_quote)
}

/// Part of a bare key, a number, a word.
fn is_bare(c: char) -> bool {
    c.is_alphanumeric() || "_-+.".contains(c)
}

fn is_quote(c: char) -> bool {
    c == '"' || c == '\''
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_values_are_shown_where_they_belong() {
        for (earlier, text) in [
            ("", "mode = \"mixd\""),
            ("", "doors.clear = \"localhost\""),
            ("[limits]\n", "sessions = -1"),
            ("[[user]]\n", "groups = [\"Standard CTI Enabeld\"]"),
            ("[[device]]\nname = \"a\"\n[[ device.line ]]\n", "number = 0"),
            ("", "[[user"),
            ("", ""),
        ] {
            assert_eq!(line(earlier, text), text);
        }
    }

    #[test]
    fn values_of_a_list_over_several_lines_are_shown() {
        let text = "    \"Standard CTI Enabeld\",";
        for begin in ["groups = [\n", "groups = [ # see below\n\n", "groups = [\"a\",\n  'b', # c = [\n"] {
            assert_eq!(line(&format!("[[user]]\n{begin}"), text), text, "{begin}");
        }
        for begin in [
            "password = [\n",
            "groups = [\"a\"]\n",
            "groups = [\"a\"\n",
            "groups = [\n]\n",
            "groups =\n",
            "groups = [\npassword = \n",
            "groups = \"[\n",
            "",
        ] {
            assert_eq!(line(&format!("[[user]]\n{begin}"), text), "...", "{begin}");
        }
        let earlier = "[[user]]\ngroups = [\n";
        assert_eq!(line(earlier, "  \"a\", # pencil"), "  \"a\", ...");
        assert_eq!(line(earlier, "password = \"pencil\""), "password = ...");
    }

    #[test]
    fn r20_what_could_be_a_secret_is_not_shown() {
        for (earlier, text, expected) in [
            ("", "claer = \"pencil\"", "claer = ..."),
            ("", "password = pencil", "password = ..."),
            ("", "\"my key\" = \"pencil\"", "\"my key\" = ..."),
            ("[[user]]\n", "key = \"pencil\"", "key = ..."),
            ("[[users]]\n", "name = \"pencil\"", "name = ..."),
            ("[[user]]\n", "devices = \"pencil\"", "devices = ..."),
            ("[[user]]\n", "name = \"a\" # pencil", "name = \"a\" ..."),
            ("[[user]]\n", "name = \"a\\\"b\", password = \"pencil\"", "name = \"a\\\"b\", password = ..."),
            ("[limits]\n", "sessions = \"pencil\"", "sessions = ..."),
            ("user = [\n", "  { name = \"a\", password =", "  { name = ..."),
            ("user = [{ name = \"a\", password =\n", "\"pencil\" }]", "..."),
            ("[[user]]\n", "password: pencil", "..."),
            ("[[user]]\n", "pencil", "..."),
            ("[[user]]\n", "= \"pencil\"", "= ..."),
            ("[[user]]\ndevices = [\n[\"a\"],\n", "name = \"pencil\"", "name = ..."),
            ("[[user]]\ngroups = [\n", "[\"pencil\"]", "[ ..."),
            ("[[user]]\npassword = \"\"\"\n", "pencil", "..."),
            ("[[device]]\n", "description = \"SCRAM-SHA-256$4096:pencil\"", "description = \"SCRAM-SHA-256$...\""),
        ] {
            assert_eq!(line(earlier, text), expected, "{text}");
        }
    }

    #[test]
    fn r20_the_parser_s_words_have_no_value() {
        for (text, expected) in [
            (
                "invalid type: string \"a, expected \\\"b\", expected a sequence",
                "invalid type: string, expected a sequence",
            ),
            ("invalid type: integer `1234567`, expected a string", "invalid type: integer, expected a string"),
            ("unknown field `a`", "unknown field `a`"),
        ] {
            assert_eq!(parser_message(text), expected);
        }
        assert_eq!(message("two \"SCRAM-SHA-256$1:b$c\" there"), "two \"SCRAM-SHA-256$...\" there");
    }
}
