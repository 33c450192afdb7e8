//! The fields of a log line, as `tracing_subscriber` writes them, in fewer steps.
//!
//! Its own way puts a style around each name and each `=`, also where there are no colours. A record has a dozen fields, and
//! one is written for each key that leaves.

use std::{error::Error, fmt};

use tracing::field::{Field, Visit};
use tracing_subscriber::{
    field::{RecordFields, VisitOutput},
    fmt::{
        FormatFields,
        format::{DefaultFields, DefaultVisitor, Writer},
    },
};

/// Writes fields as [`DefaultFields`] does, which it leaves colours, messages and errors to.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogFields;

impl<'w> FormatFields<'w> for LogFields {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'w>, fields: R) -> fmt::Result {
        if writer.has_ansi_escapes() {
            return DefaultFields::new().format_fields(writer, fields);
        }
        let mut plain = Plain { writer, is_first: true, result: Ok(()) };
        fields.record(&mut plain);
        plain.result
    }
}

struct Plain<'w> {
    writer: Writer<'w>,
    is_first: bool,
    result: fmt::Result,
}

impl Plain<'_> {
    fn field(&mut self, name: &str, value: impl FnOnce(&mut Writer<'_>) -> fmt::Result) {
        if self.result.is_err() || name.starts_with("log.") {
            return;
        }
        let separator = if std::mem::take(&mut self.is_first) { "" } else { " " };
        let writer = &mut self.writer;
        self.result = [separator, name.strip_prefix("r#").unwrap_or(name), "="]
            .into_iter()
            .try_for_each(|part| writer.write_str(part))
            .and_then(|()| value(writer));
    }

    fn by_default(&mut self, record: impl FnOnce(&mut DefaultVisitor<'_>)) {
        if self.result.is_ok() {
            let mut visitor = DefaultVisitor::new(self.writer.by_ref(), std::mem::take(&mut self.is_first));
            record(&mut visitor);
            self.result = visitor.finish();
        }
    }
}

impl Visit for Plain<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        let is_plain = value.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\');
        match field.name() {
            "message" => self.by_default(|visitor| visitor.record_str(field, value)),
            // As `Debug` writes it, which looks at each character.
            name if is_plain => self.field(name, |writer| {
                writer.write_char('"')?;
                writer.write_str(value)?;
                writer.write_char('"')
            }),
            name => self.field(name, |writer| write!(writer, "{value:?}")),
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.by_default(|visitor| visitor.record_error(field, value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.by_default(|visitor| visitor.record_debug(field, value)),
            name => self.field(name, |writer| write!(writer, "{value:?}")),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing::{error, info, warn};
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// What was logged.
    #[derive(Clone, Default)]
    pub(in super::super) struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        pub(in super::super) fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn lines() {
        let broken = io::Error::other("broken\u{1b}[31m");
        info!(target: "audit", record = "disclosed", user = %"app", number = 7, negative = -1, yes = true, key = ?"k\"k");
        info!(
            odd = "quote \" back \\ line \n \u{e9} \u{7f}",
            r#type = "raw",
            none = None::<u8>,
            "a message\u{1b}[31m {}",
            1
        );
        warn!(error = &broken as &dyn Error, after = 1.5);
        error!(error = %broken, debug = ?Some("x"));
        info!("alone");
    }

    #[test]
    fn fields_look_as_they_do_by_default() {
        for ansi in [false, true] {
            let (ours, default) = (Kept::default(), Kept::default());
            let plain = || tracing_subscriber::fmt().without_time().with_ansi(ansi);
            let subscriber = plain().with_writer(ours.clone()).fmt_fields(LogFields).finish();
            tracing::subscriber::with_default(subscriber, lines);
            tracing::subscriber::with_default(plain().with_writer(default.clone()).finish(), lines);
            let (ours, default) = (ours.text(), default.text());
            assert_eq!(ours, default);
            assert_eq!(ours.lines().count(), 5);
        }
    }
}
