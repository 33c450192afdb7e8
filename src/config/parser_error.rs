//! The parser's errors in words of ours: which key it is, what belongs there, and what to write.
//!
//! The parser knows nothing but a place. What stands there is found by it in the text, and never said: it may be a
//! secret (R20).

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue, Error},
};

use super::{
    error::{Origin, Problem, list, nearest},
    raw::Raw,
    shown,
};

/// Tables of which there are several, each with two brackets.
const LISTS: [&str; 4] = ["switch", "user", "device", "device.line"];
/// Tables that there are once.
const SECTIONS: [&str; 7] = ["doors", "tls", "heartbeat", "stop", "limits", "metrics", "admin"];
/// What others call the place where a server listens.
const PLACES: [&str; 6] = ["port", "address", "host", "bind", "listen", "listen_address"];

/// What is wrong with `text`.
pub(super) fn problem(error: &Error, text: &str) -> Problem {
    let (table, _) = DeTable::parse_recoverable(text);
    let span = error.span();
    let found = span.as_ref().and_then(|span| find(table.get_ref(), "", span));
    let message = message(error.message(), found.as_ref(), text.get(span.clone().unwrap_or_default()));
    Problem { origin: span.map_or(Origin::Default, Origin::Text), message }
}

/// What stands at a place of the file.
struct Found<'a> {
    /// The dotted name of the key there; of an element that of its list.
    path: String,
    is_element: bool,
    value: &'a DeValue<'a>,
}

fn message(said: &str, found: Option<&Found<'_>>, marked: Option<&str>) -> String {
    let said = said.lines().next().unwrap_or_default();
    let quoted = said.split('`').nth(1).unwrap_or_default();
    match found {
        Some(found) if said.starts_with("unknown field ") => return unknown(said, found),
        Some(found) if said.starts_with("missing field ") => {
            return format!("{} has no `{quoted}`, and needs one", header(&found.path));
        }
        Some(found) if said.starts_with("invalid type: ") => {
            if let Some(message) = said.rsplit_once(", expected ").and_then(|(_, expected)| wrong_type(found, expected))
            {
                return message;
            }
        }
        _ => {}
    }
    match (said, marked) {
        ("duplicate key", Some(key)) if LISTS.contains(&key) => {
            format!("`{key}` is here a second time: of what there may be several, write each as {}", header(key))
        }
        ("duplicate key", _) => "this is here a second time: keep one of them".into(),
        _ if said.starts_with("string values must be quoted") => {
            "a value is missing here, or is text without quotes: write text as \"...\"".into()
        }
        _ => shown::parser_message(said),
    }
}

/// `None`: the parser's words are all that can be said.
fn wrong_type(found: &Found<'_>, expected: &str) -> Option<String> {
    let path = &found.path;
    let is_table = matches!(found.value, DeValue::Table(_));
    if SECTIONS.contains(&path.as_str()) {
        let brackets = if is_table { "there is one of it, in single brackets" } else { "it is a table" };
        return Some(format!("`{path}`: {brackets}: write [{path}], and its keys below it"));
    }
    if LISTS.contains(&path.as_str()) {
        let brackets = if is_table { "there may be several, in double brackets" } else { "it is a list of tables" };
        return Some(format!("`{path}`: {brackets}: write {} for each, and its keys below it", header(path)));
    }
    let (belongs, write) = match (expected, found.value) {
        ("i64", DeValue::Integer(_)) => return Some(format!("`{path}` is too large a number: write a smaller one")),
        ("i64", DeValue::String(text)) if text.trim().parse::<i64>().is_ok() => {
            ("a whole number", "take the quotes away")
        }
        ("i64", _) => ("a whole number", "write digits, without quotes and without a fraction"),
        ("f64", DeValue::String(text)) if text.trim().parse::<f64>().is_ok() => ("a number", "take the quotes away"),
        ("f64", _) => ("a number", "write digits, without quotes"),
        ("a boolean", _) => ("true or false", "write one of these two words, without quotes"),
        ("a string", DeValue::Array(_) | DeValue::Table(_)) => ("one text", "write it in quotes, and without brackets"),
        ("a string", _) => ("text", "put it in quotes"),
        ("a sequence", _) => ("a list", "put it in brackets, with commas between several"),
        _ => return None,
    };
    let key = path.rsplit('.').next().unwrap_or_default();
    let example = match belongs {
        "a list" => format!(", as in `{key} = [\"...\"]`"),
        "text" | "one text" if !found.is_element => format!(", as in `{key} = \"...\"`"),
        _ => String::new(),
    };
    let is = if found.is_element { "has in it" } else { "is" };
    Some(format!("`{path}` {is} {} where {belongs} belongs: {write}{example}", kind(found.value)))
}

fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// From serde's "unknown field `x`, expected one of `a`, `b`".
fn unknown(said: &str, found: &Found<'_>) -> String {
    let mut quoted = said.split('`').skip(1).step_by(2);
    let key = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.collect();
    let table = found.path.rsplit_once('.').map_or("", |(table, _)| table);
    let hint = if let Some(place) = belongs(key, table) {
        place
    } else if let Some(near) = nearest(key, known.iter().copied()) {
        let is_header = table.is_empty() && (LISTS.contains(&near) || SECTIONS.contains(&near));
        format!("did you mean `{}`?", if is_header { header(near) } else { near.into() })
    } else if PLACES.contains(&key) && table == "switch" {
        "did you mean `listen`?".into()
    } else if PLACES.contains(&key) && (table.is_empty() || SECTIONS.contains(&table)) {
        "where the gateway listens for apps is said by `clear` and `tls` under [doors]".into()
    } else if known.is_empty() {
        return format!("unknown key `{key}`: take it out");
    } else {
        format!("known are {}", list(known))
    };
    format!("unknown key `{key}`: {hint}")
}

/// Where a key that is in the wrong table belongs.
fn belongs(key: &str, table: &str) -> Option<String> {
    if PLACES.contains(&key) {
        return None;
    }
    let mut homes = Vec::new();
    Raw::default().each(&mut |setting, _| {
        let (home, name) = setting.rsplit_once('.').unwrap_or(("", &setting));
        // Of a list's tables names such as `key` are too common to say where they come from.
        if name == key && home != table && (home.is_empty() || table.is_empty() || SECTIONS.contains(&table)) {
            homes.push(home.to_owned());
        }
    });
    match homes.as_slice() {
        [] => None,
        [home] if home.is_empty() => Some("it belongs at the top of the file, above the first line in brackets".into()),
        homes => Some(format!("it belongs under [{}]", homes.join("] or ["))),
    }
}

/// How a table begins.
fn header(path: &str) -> String {
    if LISTS.contains(&path) { format!("[[{path}]]") } else { format!("[{path}]") }
}

/// The key or the value that has exactly this place.
fn find<'a>(table: &'a DeTable<'a>, path: &str, span: &Range<usize>) -> Option<Found<'a>> {
    table.iter().find_map(|(key, value)| {
        let path = if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
        if key.span() == *span {
            return Some(Found { path, is_element: false, value: value.get_ref() });
        }
        find_value(value, path, false, span)
    })
}

fn find_value<'a>(
    value: &'a Spanned<DeValue<'a>>,
    path: String,
    is_element: bool,
    span: &Range<usize>,
) -> Option<Found<'a>> {
    let inside = match value.get_ref() {
        DeValue::Table(table) => find(table, &path, span),
        DeValue::Array(values) => values.iter().find_map(|value| find_value(value, path.clone(), true, span)),
        _ => None,
    };
    let here = || (value.span() == *span).then(|| Found { path, is_element, value: value.get_ref() });
    inside.or_else(here)
}
