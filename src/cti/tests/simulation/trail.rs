//! A trail that fails when the schedule says so, and counts who got which key.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use crate::audit::{Closed, Kind, Record, Trail, Value};

/// What it does with the next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Open,
    /// It says that it is open, and finds out by the next write that it isn't.
    Failing,
    Closed,
    /// It says that it has written, and hasn't: to see that this is found.
    Lying,
}

/// How often something is on record of a session and a generation of a stream.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Recorded {
    pub(super) disclosed: usize,
    pub(super) withheld: usize,
    pub(super) refused: usize,
}

#[derive(Debug)]
pub(super) struct FlakyTrail {
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    mode: Mode,
    /// By session and by what [`name`] makes of the generation.
    records: HashMap<(String, String), Recorded>,
}

impl FlakyTrail {
    pub(super) fn new(mode: Mode) -> Self {
        Self { kept: Mutex::new(Kept { mode, records: HashMap::new() }) }
    }

    pub(super) fn mode(&self) -> Mode {
        self.kept().mode
    }

    pub(super) fn set(&self, mode: Mode) {
        self.kept().mode = mode;
    }

    /// What is on record of this session and generation.
    pub(super) fn of(&self, session: &str, generation: &str) -> Recorded {
        self.kept().records.get(&(session.to_owned(), generation.to_owned())).copied().unwrap_or_default()
    }

    /// What is on record of this session, of all generations.
    pub(super) fn of_session(&self, session: &str) -> Recorded {
        let kept = self.kept();
        let mut all = Recorded::default();
        for (_, recorded) in kept.records.iter().filter(|((of, _), _)| of == session) {
            all.disclosed += recorded.disclosed;
            all.withheld += recorded.withheld;
            all.refused += recorded.refused;
        }
        all
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }
}

impl Trail for FlakyTrail {
    fn write_all(&self, records: &[Record<'_>]) -> Result<(), Closed> {
        let mut kept = self.kept();
        match kept.mode {
            Mode::Open => records.iter().for_each(|record| kept.keep(record)),
            Mode::Lying => {}
            Mode::Failing | Mode::Closed => {
                kept.mode = Mode::Closed;
                return Err(Closed);
            }
        }
        Ok(())
    }

    fn write_soon(&self, record: &Record<'_>) {
        self.kept().keep(record);
    }

    fn write_once(&self, _mark: &str, _record: &Record<'_>) -> Result<(), Closed> {
        Err(Closed)
    }

    fn is_open(&self) -> bool {
        self.mode() != Mode::Closed
    }
}

impl Kept {
    fn keep(&mut self, record: &Record<'_>) {
        let field = |name| match record.fields().iter().find(|(known, _)| *known == name) {
            Some((_, Value::Text(text))) => (*text).to_owned(),
            Some((_, Value::Number(number))) => number.to_string(),
            Some((_, Value::Shown(shown))) => shown.to_string(),
            Some((_, Value::Absent)) | None => String::new(),
        };
        let mut sessions = Vec::new();
        match (record.kind(), record.receivers()) {
            (Kind::Disclosed | Kind::KeyRefused, Some(receivers)) => {
                receivers.each(&mut |receiver| sessions.push(receiver.session.to_owned()));
            }
            (Kind::Withheld, None) => sessions.push(field("session")),
            _ => return,
        }
        let generation = name(&field("device"), &field("call"), &field("stream"), &field("generation"));
        for session in sessions {
            let recorded = self.records.entry((session, generation.clone())).or_default();
            match record.kind() {
                Kind::Disclosed => recorded.disclosed += 1,
                Kind::Withheld => recorded.withheld += 1,
                _ => recorded.refused += 1,
            }
        }
    }
}

/// A generation of a stream at a device.
pub(super) fn name(device: &str, call: &str, stream: &str, generation: &str) -> String {
    format!("{device} {call} {stream} {generation}")
}
