//! The records of a log that is going on, as they stand there, a bounded part of them at a time.

use std::{io, path::Path, time::Instant};

use serde_json::{Map, Value};

use super::{
    find::Query,
    search::{Bound, Reached, Stopped, begin, is_past},
};

/// Which records, and where to go on. What isn't set is not asked for.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// What they are about, as `record` says: `opened`, `administration` ...
    pub record: Option<String>,
    /// One of their values is this: a name, a session, a call, an address.
    pub about: Option<String>,
    /// Not before this time: the beginning of a time as records have it.
    pub from: Option<String>,
    /// Not after this time. `2026-11-29` is all of the day.
    pub to: Option<String>,
    /// Where an earlier part has stopped.
    pub after: Option<Reached>,
}

/// A part of the records.
#[derive(Debug, Clone, PartialEq)]
pub struct Listed {
    /// Each with all its fields, in the order of the log.
    pub records: Vec<Map<String, Value>>,
    /// The number and time of the last record that was looked at, if there was any.
    pub last: Option<(u64, String)>,
    /// Why it ends there.
    pub stopped: Stopped,
    /// Where the next part begins; `None`: there is no more.
    pub next: Option<Reached>,
}

/// Lists them, or goes on with it. It reads files, and doesn't ask whether the records are right.
///
/// # Errors
/// One of the files can't be read.
pub fn list(folder: &Path, listing: Listing, bound: &Bound) -> io::Result<Listed> {
    let began = Instant::now();
    let Listing { record, about, from, to, after } = listing;
    let mut lines = begin(folder, after, from.as_deref())?;
    let window = Query { from, to, ..Query::default() };
    let is_asked = |fields: &Map<String, Value>, time: &str| {
        let is_kind = record.as_deref().is_none_or(|asked| fields.get("record").is_some_and(|kind| kind == asked));
        let in_time = window.begins_before(time) && window.ends_after(time);
        is_kind && in_time && about.as_deref().is_none_or(|about| fields.values().any(|value| names(value, about)))
    };
    let (mut records, mut read, mut last) = (Vec::new(), 0, None);
    let (stopped, next) = loop {
        let here = lines.position();
        let Some(line) = lines.next()? else { break (Stopped::End, None) };
        read += line.len() as u64;
        // A segment's header is none.
        if let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(line)
            && let (Some(n), Some(Value::String(time))) = (fields.get("n").and_then(Value::as_u64), fields.get("time"))
        {
            if is_past(&window, time) {
                break (Stopped::End, None);
            }
            let asked = is_asked(&fields, time);
            if asked && records.len() == bound.items {
                break (Stopped::Full, Some(Reached::at(here)));
            }
            last = Some((n, time.clone()));
            if asked {
                records.push(fields);
            }
        }
        if read >= bound.bytes || began.elapsed() >= bound.time {
            break (Stopped::Bound, Some(Reached::at(lines.position())));
        }
    };
    Ok(Listed { records, last, stopped, next })
}

/// Whether a value is this text, has it in a list, or names it as one of `SESSION:USER:INSTANCE:DOOR`.
fn names(value: &Value, about: &str) -> bool {
    match value {
        Value::String(text) => text == about,
        Value::Array(receivers) => receivers.iter().any(|receiver| match receiver {
            Value::String(receiver) => receiver == about || receiver.split(':').any(|part| part == about),
            other => names(other, about),
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r21_a_record_is_about_whoever_one_of_its_values_names() {
        let record = serde_json::json!({ "n": 7, "user": "recorder", "receivers": ["s1:viewer:2:tls"] });
        let is_about = |about| record.as_object().unwrap().values().any(|value| names(value, about));
        for about in ["recorder", "viewer", "s1", "s1:viewer:2:tls"] {
            assert!(is_about(about), "{about}");
        }
        for other in ["record", "7", "", "s1:viewer"] {
            assert!(!is_about(other), "{other}");
        }
    }
}
