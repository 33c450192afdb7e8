//! The order of what is given away, taken back and acknowledged. What a session still finds in its socket may be old; what is
//! said to the trail after an acknowledgement is not.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex},
};

use aws_lc_rs::hmac;
use callgate::audit::{AuditLog, Closed, Kind, Record, Trail, Value};

/// The log, with a look at what goes to it: what can't be recorded now is seen, too.
#[derive(Debug)]
pub struct Given {
    log: Arc<AuditLog>,
    sessions: Mutex<HashMap<String, Account>>,
}

/// What one session was given.
#[derive(Debug, Default, Clone, Copy)]
pub struct Account {
    /// Keys that are on record as disclosed, without those that were withheld after all.
    pub keys: usize,
    /// Its end was said.
    pub is_closed: bool,
    /// It was acknowledged that it gets no key any more.
    is_over: bool,
    /// Keys that it was given nevertheless.
    late: usize,
}

impl Given {
    pub fn new(log: Arc<AuditLog>) -> Self {
        Self { log, sessions: Mutex::default() }
    }

    /// It was acknowledged just now that this session gets no key any more. How it stands at that moment.
    pub fn acknowledged(&self, session: &str) -> Account {
        let mut sessions = self.sessions.lock().unwrap();
        let account = sessions.entry(session.into()).or_default();
        account.is_over = true;
        *account
    }

    /// What this session was given. **None of it after the acknowledgement that it gets no more.**
    pub fn account(&self, session: &str) -> Account {
        let account = self.sessions.lock().unwrap()[session];
        assert_eq!(account.late, 0, "{session} was given keys after the acknowledgement");
        account
    }

    fn hear(&self, record: &Record<'_>) {
        match (record.kind(), record.receivers()) {
            (Kind::Disclosed, Some(receivers)) => receivers.each(&mut |receiver| {
                self.of(receiver.session, |account| {
                    account.keys += 1;
                    account.late += usize::from(account.is_over);
                });
            }),
            (Kind::Withheld, _) => self.of(session(record), |account| account.keys -= 1),
            (Kind::Closed, _) => self.of(session(record), |account| account.is_closed = true),
            _ => {}
        }
    }

    fn of(&self, session: &str, change: impl FnOnce(&mut Account)) {
        change(self.sessions.lock().unwrap().entry(session.into()).or_default());
    }
}

impl Trail for Given {
    fn write_all(&self, records: &[Record<'_>]) -> Result<(), Closed> {
        self.log.write_all(records)?;
        records.iter().for_each(|record| self.hear(record));
        Ok(())
    }

    fn write_soon(&self, record: &Record<'_>) {
        self.log.write_soon(record);
        self.hear(record);
    }

    fn write_once(&self, mark: &str, record: &Record<'_>) -> Result<(), Closed> {
        self.log.write_once(mark, record)
    }

    fn is_open(&self) -> bool {
        self.log.is_open()
    }

    fn folder(&self) -> Option<&Path> {
        self.log.folder()
    }

    fn fingerprint_key(&self) -> Option<&hmac::Key> {
        self.log.fingerprint_key()
    }
}

/// The session that a record is about.
fn session<'a>(record: &Record<'a>) -> &'a str {
    let session = record.fields().iter().find(|(name, _)| *name == "session");
    let Some((_, Value::Text(session))) = session else { panic!("{record:?} names no session") };
    session
}
