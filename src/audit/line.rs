//! Records as lines of JSON: one object per line, whatever the values are.
//!
//! `{"n":7,"time":"...","record":"...",FIELDS,"mac":"..."}`. Number and mac are put around the *body*, which is all that is
//! between them, when the line's place in the chain is known. A body holds no line end, and only characters that a
//! terminal shows as they are.

use std::fmt::{self, Write};

use time::OffsetDateTime;

use super::{Receiver, Record, Value};

/// The most bytes of a value, as it comes. The rest is left out, and `...` says so.
const MOST: usize = 1024;
/// The most sessions of one line.
const MOST_RECEIVERS: usize = 64;
/// Longer than any line: of 14 values none of which has more than [`MOST`] bytes, each up to six times as long as it came,
/// and of so many sessions.
pub(super) const MAX_LINE: usize = 512 * 1024;

/// Appends what a record says: as many bodies as it takes lines, each with a line end.
pub(super) fn bodies(out: &mut Vec<u8>, at: OffsetDateTime, record: &Record<'_>, mark: Option<&str>) {
    let from = out.len();
    out.extend_from_slice(b"\"time\":\"");
    stamp(out, at);
    out.extend_from_slice(b"\",\"record\":\"");
    out.extend_from_slice(record.kind.name().as_bytes());
    out.push(b'"');
    for (name, value) in record.fields {
        field(out, name, value);
    }
    if let Some(mark) = mark {
        field(out, "once", &Value::Text(mark));
    }
    let common = out.len() - from;
    let Some(receivers) = record.receivers else {
        out.push(b'\n');
        return;
    };
    let mut count = 0;
    receivers.each(&mut |receiver| {
        if count == MOST_RECEIVERS {
            out.extend_from_slice(b"]\n");
            // The part that is the same stands where the first body begins.
            out.extend_from_within(from..from + common);
            count = 0;
        }
        out.extend_from_slice(if count == 0 { b",\"receivers\":[" } else { b"," });
        self::receiver(out, &receiver);
        count += 1;
    });
    if count == 0 {
        out.truncate(from);
    } else {
        out.extend_from_slice(b"]\n");
    }
}

/// Appends a time in UTC, such as `2026-11-29T10:44:35.123456Z`.
pub(super) fn stamp(out: &mut Vec<u8>, at: OffsetDateTime) {
    digits::<4>(out, at.year().unsigned_abs());
    for (separator, number) in
        [(b'-', u8::from(at.month())), (b'-', at.day()), (b'T', at.hour()), (b':', at.minute()), (b':', at.second())]
    {
        out.push(separator);
        digits::<2>(out, number.into());
    }
    out.push(b'.');
    digits::<6>(out, at.microsecond());
    out.push(b'Z');
}

/// The same as a text.
pub(super) fn shown(at: OffsetDateTime) -> String {
    let mut text = Vec::new();
    stamp(&mut text, at);
    String::from_utf8(text).unwrap_or_default()
}

fn digits<const COUNT: usize>(out: &mut Vec<u8>, mut number: u32) {
    let mut digits = [b'0'; COUNT];
    for digit in digits.iter_mut().rev() {
        *digit += u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
    out.extend_from_slice(&digits);
}

fn field(out: &mut Vec<u8>, name: &str, value: &Value<'_>) {
    if matches!(value, Value::Absent) {
        return;
    }
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    match value {
        // Writing to memory doesn't fail.
        Value::Number(number) => drop(write!(Plain(out), "{number}")),
        value => text(out, value),
    }
}

fn text(out: &mut Vec<u8>, value: &Value<'_>) {
    out.push(b'"');
    let mut escaped = Escaped { out, left: MOST };
    // It fails when there is enough of it.
    let whole = match value {
        Value::Absent => Ok(()),
        Value::Number(number) => write!(escaped, "{number}"),
        Value::Shown(shown) => write!(escaped, "{shown}"),
        Value::Text(text) => escaped.write_str(text),
    };
    out.extend_from_slice(if whole.is_ok() { b"\"" } else { b"...\"" });
}

/// A disclosure names as many of them as there are sessions: they are looked at as a whole, not part by part.
fn receiver(out: &mut Vec<u8>, receiver: &Receiver<'_>) {
    let from = out.len();
    out.push(b'"');
    for part in receiver.parts() {
        out.extend_from_slice(part.as_bytes());
    }
    let inside = out.get(from + 1..).unwrap_or_default();
    if inside.len() <= MOST && is_plain(inside) {
        out.push(b'"');
    } else {
        out.truncate(from);
        text(out, &Value::shown(receiver));
    }
}

/// Whether all of it stands in a JSON string as it is. It goes to the end in any case, many bytes at once.
fn is_plain(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~') & (*byte != b'"') & (*byte != b'\\'))
}

struct Plain<'a>(&'a mut Vec<u8>);

impl Write for Plain<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// Writes a text as the inside of a JSON string.
struct Escaped<'a> {
    out: &'a mut Vec<u8>,
    left: usize,
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if text.len() <= self.left && is_plain(text.as_bytes()) {
            self.left -= text.len();
            self.out.extend_from_slice(text.as_bytes());
            return Ok(());
        }
        text.chars().try_for_each(|c| self.write_char(c))
    }

    fn write_char(&mut self, c: char) -> fmt::Result {
        self.left = self.left.checked_sub(c.len_utf8()).ok_or(fmt::Error)?;
        match c {
            '"' | '\\' => self.out.extend_from_slice(&[b'\\', c as u8]),
            c if is_unseen(c) => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    write!(Plain(self.out), "\\u{unit:04x}")?;
                }
            }
            c => self.out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
        Ok(())
    }
}

/// Characters that end lines somewhere, steer a terminal, or change how what stands around them is read.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::{
        super::{Kind, Receiver},
        *,
    };

    fn made(record: &Record<'_>) -> Vec<String> {
        let mut out = b"before\n".to_vec();
        bodies(&mut out, datetime!(2026-01-09 08:07:06.000_405 UTC), record, None);
        let out = String::from_utf8(out).unwrap();
        out.strip_prefix("before\n").unwrap().split_terminator('\n').map(str::to_owned).collect()
    }

    fn parsed(body: &str) -> serde_json::Value {
        serde_json::from_str(&format!("{{{body}}}")).unwrap()
    }

    #[test]
    fn a_body_has_time_kind_and_fields() {
        let shown = 7.5;
        let fields = [
            ("user", "ann".into()),
            ("number", 7_u32.into()),
            ("rule", Value::shown(&shown)),
            ("cause", Value::Absent),
        ];
        assert_eq!(
            made(&Record::new(Kind::ConnectionRefused, &fields)),
            [r#""time":"2026-01-09T08:07:06.000405Z","record":"refused","user":"ann","number":7,"rule":"7.5""#]
        );
    }

    #[test]
    fn what_is_long_is_cut_where_a_character_ends_and_says_so() {
        let long = "ü".repeat(600);
        let cut = &parsed(&made(&Record::new(Kind::RequestRefused, &[("subject", (&*long).into())]))[0])["subject"];
        assert_eq!(*cut, format!("{}...", "ü".repeat(512)));
    }

    #[test]
    fn the_longest_record_fits_into_a_line() {
        let worst = "\u{2028}".repeat(MOST);
        let fields: Vec<_> = Kind::Withheld.fields().iter().map(|name| (*name, Value::Text(&worst))).collect();
        let body = &made(&Record::new(Kind::Withheld, &fields))[0];
        let name = "\"".repeat(128);
        let receivers = |tell: &mut dyn FnMut(Receiver<'_>)| {
            (0..MOST_RECEIVERS)
                .for_each(|_| tell(Receiver { session: &name, user: &name, instance: &name, door: "clear" }));
        };
        let more = &made(&Record::new(Kind::Disclosed, &[]).to(&receivers))[0];
        assert!(body.len() + more.len() + 200 < MAX_LINE, "{} {}", body.len(), more.len());
    }

    /// Anything, and often what is special to somebody.
    fn texts() -> impl Strategy<Value = String> {
        let special = prop::sample::select(vec![
            "\n",
            "\r",
            "\"",
            "\\",
            "\0",
            "\u{1b}[2J",
            "\u{7f}",
            "\u{85}",
            "\u{9b}",
            "\u{2028}",
            "\u{2029}",
            "\u{202e}",
            "\u{feff}",
            "\u{e0041}",
            "\",\"mac\":\"",
            "\"}\n{\"n\":1,",
            "\u{1f512}",
        ]);
        prop::collection::vec(prop_oneof![special.prop_map(str::to_owned), any::<String>()], 0..6)
            .prop_map(|it| it.concat())
    }

    proptest! {
        #[test]
        fn r21_no_value_breaks_or_forges_a_line(texts in prop::collection::vec(texts(), 3), session in texts()) {
            let shown = format!("{:?}", texts[2]);
            let fields = [("user", texts[0].as_str().into()), ("cause", Value::shown(&texts[1])), ("owner", Value::shown(&shown))];
            let receivers = |tell: &mut dyn FnMut(Receiver<'_>)| {
                tell(Receiver { session: &session, user: "u", instance: "1", door: "tls" });
            };
            let lines = made(&Record::new(Kind::ConnectionRefused, &fields).to(&receivers));
            prop_assert_eq!(lines.len(), 1);
            prop_assert!(!lines[0].chars().any(is_unseen));
            let line = parsed(&lines[0]);
            let names: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
            prop_assert_eq!(names, ["cause", "owner", "receivers", "record", "time", "user"]);
            for (name, text) in [("user", &texts[0]), ("cause", &texts[1]), ("owner", &shown)] {
                let kept = line[name].as_str().unwrap();
                prop_assert!(kept == text || text.starts_with(kept.strip_suffix("...").unwrap()));
            }
            let whole = [&session, ":u:1:tls"].concat();
            prop_assert!(whole.len() > MOST || line["receivers"][0] == whole);
        }
    }
}
