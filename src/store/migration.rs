//! From an older format of the store to the present one, step by step.
//!
//! A step gets all values and leaves them as the next format has them. It is pure; who opens the store writes what came of
//! it to a new file, which takes the old one's place as a whole. A crash leaves the old one or the new one.

use std::collections::BTreeMap;

use super::content::{Content, Values};

/// From one format to the next. The first in a table is from format 1 to 2.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// What is different, for the log.
    pub what: &'static str,
    /// Changes all values, by the names of their buckets, or says what it can't make sense of.
    pub run: fn(&mut BTreeMap<String, Values>) -> Result<(), String>,
}

/// All steps up to now. A step is never changed once a release has it.
pub(super) const STEPS: &[Step] = &[];

/// The format behind the last of these steps.
pub(super) fn newest(steps: &[Step]) -> u32 {
    u32::try_from(steps.len()).unwrap_or(u32::MAX).saturating_add(1)
}

/// Takes content to the newest format. Its format must be one of those known here.
///
/// # Errors
/// What a step says.
pub(super) fn migrate(content: &mut Content, steps: &[Step]) -> Result<(), String> {
    let done = usize::try_from(content.format.saturating_sub(1)).unwrap_or(usize::MAX);
    for step in steps.iter().skip(done) {
        let mut values = content.values();
        (step.run)(&mut values).map_err(|reason| format!("format {}: {}: {reason}", content.format, step.what))?;
        content.replace(values);
        content.format += 1;
    }
    match content.foreign_bucket() {
        Some(bucket) => Err(format!("it has a bucket {bucket}, which format {} has not", content.format)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Epoch, Version, content::Held},
        *,
    };

    /// Format 1 called users people, and their values began with a blank.
    const MADE_UP: &[Step] =
        &[Step { what: "people are users", run: rename }, Step { what: "no blank before a value", run: strip }];

    fn rename(buckets: &mut BTreeMap<String, Values>) -> Result<(), String> {
        let people = buckets.remove("people").ok_or("no people")?;
        buckets.insert("users".into(), people);
        Ok(())
    }

    fn strip(buckets: &mut BTreeMap<String, Values>) -> Result<(), String> {
        for (key, value) in buckets.get_mut("users").into_iter().flatten() {
            *value = value.strip_prefix(b" ").ok_or(format!("{key} has no blank"))?.into();
        }
        Ok(())
    }

    fn content(format: u32, bucket: &str, value: &[u8]) -> Content {
        let ann = ("ann".to_owned(), Held { version: Version(3), value: value.into() });
        let devices =
            ("devices".to_owned(), [("d".into(), Held { version: Version(2), value: b"x".as_slice().into() })]);
        let buckets = BTreeMap::from([(bucket.to_owned(), [ann].into()), (devices.0, devices.1.into())]);
        Content { format, epoch: Epoch(5), version: Version(7), buckets }
    }

    #[test]
    fn each_format_becomes_the_newest_and_what_changed_has_a_new_version() {
        for (format, bucket, value) in [(1, "people", " a"), (2, "users", " a"), (3, "users", "a")] {
            let mut content = content(format, bucket, value.as_bytes());
            migrate(&mut content, MADE_UP).unwrap();
            assert_eq!((content.format, content.epoch), (newest(MADE_UP), Epoch(5)), "{format}");
            let ann = &content.buckets["users"]["ann"];
            assert_eq!(&*ann.value, b"a", "{format}");
            assert_eq!(ann.version > Version(7), format < 3, "a value that was changed: {format}");
            assert_eq!(content.buckets["devices"]["d"].version, Version(2), "one that was not: {format}");
            assert!(content.version >= ann.version, "{format}");
        }
    }

    #[test]
    fn what_a_step_does_not_understand_is_said() {
        for (format, bucket, said) in [
            (1, "persons", "format 1: people are users: no people"),
            (2, "users", "format 2: no blank before a value: ann has no blank"),
            (3, "odd", "it has a bucket odd, which format 3 has not"),
        ] {
            assert_eq!(migrate(&mut content(format, bucket, b"a"), MADE_UP).unwrap_err(), said);
        }
    }
}
