//! Records as lines of the log, for a gateway without an audit log: one in another process's service, or in a test.

use super::{Closed, Receivers, Record, Trail, record::log};

/// The most sessions in one line.
const MOST: usize = 64;
/// Room for so many with names of the usual length; bytes.
const USUAL: usize = 48 * MOST;

/// The `tracing` target `audit`. It can't refuse a record, and nobody can verify it.
#[derive(Debug, Clone, Copy, Default)]
pub struct LogTarget;

impl Trail for LogTarget {
    fn write_all(&self, records: &[Record<'_>]) -> Result<(), Closed> {
        records.iter().for_each(|record| self.write_soon(record));
        Ok(())
    }

    fn write_soon(&self, record: &Record<'_>) {
        match record.receivers {
            None => log(record, None),
            Some(receivers) => log_each(record, receivers),
        }
    }

    fn write_once(&self, _mark: &str, record: &Record<'_>) -> Result<(), Closed> {
        self.write(record)
    }

    fn is_open(&self) -> bool {
        true
    }
}

/// The sessions stand as `SESSION:USER:INSTANCE:DOOR`, with a `/` between two of them.
fn log_each(record: &Record<'_>, receivers: &dyn Receivers) {
    if !tracing::enabled!(target: "audit", tracing::Level::INFO) {
        return;
    }
    let (mut named, mut count) = (String::with_capacity(USUAL), 0);
    receivers.each(&mut |receiver| {
        if count > 0 {
            named.push('/');
        }
        named.extend(receiver.parts());
        count += 1;
        if count == MOST {
            log(record, Some(&named));
            named.clear();
            count = 0;
        }
    });
    if count > 0 {
        log(record, Some(&named));
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{AuditLog, Kind, Options, Receiver, Value},
        *,
    };
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The lines that `work` logs, without time and level.
    fn logged(work: impl FnOnce()) -> Vec<String> {
        let kept = Kept::default();
        let writer = kept.clone();
        let subscriber = tracing_subscriber::fmt().without_time().with_level(false).with_ansi(false);
        tracing::subscriber::with_default(subscriber.with_writer(move || writer.clone()).finish(), work);
        let bytes = kept.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_record_is_a_line_with_its_fields_in_the_order_of_its_kind() {
        let peer = std::net::IpAddr::from([192, 0, 2, 7]);
        let lines = logged(|| {
            let fields = [("user", None::<&str>.into()), ("number", 7_u32.into()), ("peer", Value::shown(&peer))];
            LogTarget.write(&Record::new(Kind::ConnectionRefused, &fields)).unwrap();
            LogTarget.write_soon(&Record::new(Kind::RequestRefused, &[("subject", "a\nb\"".into())]));
            LogTarget.write_once("mark", &Record::new(Kind::Administration, &[("kind", "user".into())])).unwrap();
        });
        assert_eq!(
            lines,
            [
                r#"audit: record="refused" peer=192.0.2.7 number=7"#,
                r#"audit: record="refused" subject="a\nb\"""#,
                r#"audit: record="administration" kind="user""#
            ]
        );
    }

    #[test]
    fn r21_the_audit_log_logs_its_records_too_if_that_is_set() {
        for (log, expected) in [
            (false, &[][..]),
            (
                true,
                &[
                    "audit: record=\"disclosed\" receivers=\"s1:u:1:tls\" call=\"c1\"",
                    "audit: record=\"closed\" session=\"s1\"",
                ],
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let file = |name: &str| folder.path().join(name);
            let options = Options { log, ..Options::new(file("log"), file("key"), file("checkpoints")) };
            let audit = AuditLog::open(options).unwrap();
            let lines = logged(|| {
                let receivers = |tell: &mut dyn FnMut(Receiver<'_>)| {
                    tell(Receiver { session: "s1", user: "u", instance: "1", door: "tls" });
                };
                audit.write(&Record::new(Kind::Disclosed, &[("call", "c1".into())]).to(&receivers)).unwrap();
                audit.write_soon(&Record::new(Kind::Closed, &[("session", "s1".into())]));
            });
            assert_eq!(lines, expected);
        }
    }

    #[test]
    fn many_sessions_are_several_lines_and_none_are_none() {
        let to = |count: usize| {
            let receivers = move |tell: &mut dyn FnMut(Receiver<'_>)| {
                for session in 0..count {
                    tell(Receiver { session: &format!("s{session}"), user: "u", instance: "1", door: "tls" });
                }
            };
            let lines = logged(|| LogTarget.write(&Record::new(Kind::Disclosed, &[]).to(&receivers)).unwrap());
            lines.iter().map(|line| line.split('/').count()).collect::<Vec<_>>()
        };
        assert_eq!(to(0), [0; 0]);
        assert_eq!((to(1), to(64), to(65), to(130)), (vec![1], vec![64], vec![64, 1], vec![64, 64, 2]));
        let two = logged(|| {
            let receivers = |tell: &mut dyn FnMut(Receiver<'_>)| {
                tell(Receiver { session: "s1", user: "a b@c", instance: "1", door: "tls" });
                tell(Receiver { session: "s2", user: "d", instance: "x9", door: "clear" });
            };
            LogTarget.write(&Record::new(Kind::KeyRefused, &[("device", "1001".into())]).to(&receivers)).unwrap();
        });
        assert_eq!(two, [r#"audit: record="refused" receivers="s1:a b@c:1:tls/s2:d:x9:clear" device="1001""#]);
    }
}
