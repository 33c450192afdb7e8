//! A search in a log that is going on, a bounded part of it at a time.
//!
//! All parts together tell what one search of the whole log tells: what was disclosed, and what of it came to nothing. Where
//! the second is in a later part than the first it is told there, as [`Came::TakenBack`](super::Came::TakenBack).

use std::{
    fmt, io,
    ops::RangeInclusive,
    path::Path,
    str::FromStr,
    time::{Duration, Instant},
};

use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{
    entry::Entry,
    find::{Finder, Found, Query},
    line::shown,
    reading::{Position, Records},
};

/// A key that is withheld is so when the session's backlog is judged again, or when the session ends. So much later is
/// looked for that behind the time that is asked for.
const LATER: time::Duration = time::Duration::hours(1);

/// What is looked for, and where to go on.
#[derive(Debug, Clone)]
pub struct Search {
    /// What.
    pub query: Query,
    /// Refusals, too.
    pub refused: bool,
    /// Where an earlier part has stopped.
    pub after: Option<Reached>,
}

/// How much is done for one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bound {
    /// The most that is told.
    pub items: usize,
    /// The most bytes of records that are read.
    pub bytes: u64,
    /// The time.
    pub time: Duration,
}

/// What a part has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What was found, in the order of the records.
    pub found: Vec<Found>,
    /// Nothing was given by these records, also by those of earlier parts.
    pub void: Vec<RangeInclusive<u64>>,
    /// The number and time of the last record that was looked at, if there was any.
    pub last: Option<(u64, String)>,
    /// Why it ends there.
    pub stopped: Stopped,
    /// Where the next part begins; `None`: there is no more.
    pub next: Option<Reached>,
}

/// Why a part ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Enough was read.
    Bound,
    /// The log has no more, or nothing of the time that is asked for.
    End,
    /// Enough was found.
    Full,
}

/// How far a search has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    position: Position,
    /// So many of what is found in the next record were told.
    told: usize,
}

/// Goes on with a search. It reads files.
///
/// # Errors
/// One of them can't be read.
pub fn search(folder: &Path, search: Search, bound: &Bound) -> io::Result<Part> {
    let began = Instant::now();
    let Search { query, refused, after } = search;
    let mut records = begin(folder, after, query.from.as_deref())?;
    let mut told = after.map_or(0, |after| after.told);
    let mut finder = Finder::of_part(query.clone(), refused, told);
    let (mut read, mut last_n, mut last_time) = (0, None, String::new());
    let (stopped, next) = loop {
        let (here, before) = (records.position(), finder.len());
        let Some(line) = records.next()? else { break (Stopped::End, None) };
        read += line.len() as u64;
        if let Some(entry) = Entry::read(line) {
            if is_past(&query, &entry.time) {
                break (Stopped::End, None);
            }
            finder.record(&entry);
            if finder.len() > bound.items {
                let told = told + bound.items.saturating_sub(before);
                break (Stopped::Full, Some(Reached { position: here, told }));
            }
            told = 0;
            last_n = Some(entry.n);
            last_time.clear();
            last_time.push_str(&entry.time);
        }
        if read >= bound.bytes || began.elapsed() >= bound.time {
            break (Stopped::Bound, Some(Reached { position: records.position(), told: 0 }));
        }
    };
    let (mut found, void) = finder.finish_part();
    found.truncate(bound.items);
    Ok(Part { found, void, last: last_n.map(|n| (n, last_time)), stopped, next })
}

/// The records from where an earlier part has stopped, or else from this beginning of a time on.
pub(super) fn begin(folder: &Path, after: Option<Reached>, from: Option<&str>) -> io::Result<Records> {
    match (after, from.and_then(first_moment)) {
        (Some(Reached { position, .. }), _) => Ok(Records::at(folder, position)),
        (None, Some(from)) => Records::since(folder, from),
        (None, None) => Ok(Records::of(folder)),
    }
}

/// Whether nothing that is asked for can be in later records.
pub(super) fn is_past(query: &Query, time: &str) -> bool {
    let earlier = || Some(shown(OffsetDateTime::parse(time, &Rfc3339).ok()?.checked_sub(LATER)?));
    !query.ends_after(time) && earlier().is_some_and(|earlier| !query.ends_after(&earlier))
}

/// The first moment that begins so.
fn first_moment(beginning: &str) -> Option<OffsetDateTime> {
    let rest = "0000-01-01T00:00:00.000000".get(beginning.len()..)?;
    OffsetDateTime::parse(&format!("{beginning}{rest}Z"), &Rfc3339).ok()
}

impl Reached {
    /// Where records are read on, none of which was told in part.
    pub(super) fn at(position: Position) -> Self {
        Self { position, told: 0 }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position: Position { segment, offset, n }, told } = self;
        write!(f, "{segment}.{offset}.{n}.{told}")
    }
}

/// A text that no part has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotReached;

impl FromStr for Reached {
    type Err = NotReached;

    fn from_str(text: &str) -> Result<Self, NotReached> {
        let numbers: Vec<u64> = text.split('.').map_while(|number| number.parse().ok()).collect();
        let [segment, offset, n, told] = numbers[..] else { return Err(NotReached) };
        let reached =
            Self { position: Position { segment, offset, n }, told: usize::try_from(told).map_err(|_| NotReached)? };
        if reached.to_string() == text { Ok(reached) } else { Err(NotReached) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(to: &str) -> Query {
        Query { to: Some(to.into()), ..Query::default() }
    }

    #[test]
    fn r21_what_is_withheld_within_an_hour_behind_the_end_is_looked_for() {
        for (to, time, is_over) in [
            ("2026-11-29", "2026-11-29T23:59:59.999999Z", false),
            ("2026-11-29", "2026-11-30T00:59:59.999999Z", false),
            ("2026-11-29", "2026-11-30T01:00:00.000000Z", true),
            ("2026-11-29T10:44", "2026-11-29T11:44:59.000000Z", false),
            ("2026-11-29T10:44", "2026-11-29T11:45:00.000000Z", true),
            ("2026-11-29", "no time", false),
        ] {
            assert_eq!(is_past(&query(to), time), is_over, "{to} {time}");
        }
        assert!(!is_past(&Query::default(), "2999-01-01T00:00:00.000000Z"));
    }

    #[test]
    fn a_search_begins_at_the_first_moment_that_is_meant() {
        let unix = |beginning| first_moment(beginning).map(OffsetDateTime::unix_timestamp);
        assert_eq!(unix("2026"), Some(1_767_225_600));
        assert_eq!(unix("2026-11-29T10"), unix("2026-11-29T10:00:00.000000"));
        assert_eq!(unix("2026-13"), None, "it is no month, and all is searched");
    }

    #[test]
    fn where_a_part_has_stopped_is_told_as_a_text() {
        let reached = Reached { position: Position { segment: 3, offset: 2048, n: 17 }, told: 2 };
        assert_eq!(reached.to_string().parse(), Ok(reached));
        for wrong in ["", "3.2048.17", "3.2048.17.2.1", "3.2048.17.x", "+3.2048.17.2", "3.2048.17.2 "] {
            assert_eq!(wrong.parse::<Reached>(), Err(NotReached), "{wrong}");
        }
    }
}
