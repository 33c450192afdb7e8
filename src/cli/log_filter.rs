//! What `--log-level` and `CALLGATE_LOG` may say: a level for all, or for single parts. A filter's own parser takes a misspelt level for a part's
//! name, and then next to nothing is logged.

use std::fmt;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// What logs of ours are called by. Libraries have names of their own, which nobody knows all.
const OURS: [&str; 2] = ["audit", "callgate"];
/// The rooms of the house, and the binary's own.
const ROOMS: [&str; 15] = [
    "admin",
    "audit",
    "cli",
    "client",
    "config",
    "cti",
    "directory",
    "gateway",
    "http",
    "hub",
    "model",
    "policy",
    "store",
    "switch",
    "trust",
];
const ROOM: &str = "callgate::";
/// How many letters may be wrong in a name that is taken for one of ours.
const NEAR: usize = 2;

/// What is wrong with a filter.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WrongFilter<'a> {
    /// It stands where a level belongs.
    Level(&'a str),
    /// A part without a level.
    NoLevel(&'a str),
    /// No part of ours is called so, and the second would be one.
    Part(&'a str, String),
    /// There is nothing in it.
    Nothing,
}

/// Checks all that can be known of a filter, which is `LEVEL` and `PART=LEVEL`, with commas between them.
///
/// # Errors
/// [`WrongFilter`].
pub(super) fn check(filter: &str) -> Result<(), WrongFilter<'_>> {
    let mut directives = filter.split(',').map(str::trim).filter(|directive| !directive.is_empty()).peekable();
    if directives.peek().is_none() {
        return Err(WrongFilter::Nothing);
    }
    directives.try_for_each(|directive| match directive.split_once('=') {
        None if is_level(directive) => Ok(()),
        None => Err(bare(directive)),
        Some((part, level)) => {
            known(part)?;
            if is_level(level) { Ok(()) } else { Err(WrongFilter::Level(level)) }
        }
    })
}

/// A word that is alone and no level.
fn bare(word: &str) -> WrongFilter<'_> {
    let is_part = word.contains("::") || OURS.contains(&word);
    if is_part { known(word).err().unwrap_or(WrongFilter::NoLevel(word)) } else { WrongFilter::Level(word) }
}

fn is_level(word: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word))
}

/// Refuses a part that can't be meant as it is written.
fn known(part: &str) -> Result<(), WrongFilter<'_>> {
    let instead = |name: String| Err(WrongFilter::Part(part, name));
    if let Some(inside) = part.strip_prefix(ROOM) {
        let room = inside.split("::").next().unwrap_or_default();
        return match nearest(room, &ROOMS) {
            _ if ROOMS.contains(&room) => Ok(()),
            Some(near) => instead(format!("{ROOM}{near}")),
            None => instead("callgate".into()),
        };
    }
    let first = part.split("::").next().unwrap_or_default();
    match nearest(first, &OURS) {
        Some(near) if !OURS.contains(&first) => instead(near.into()),
        _ => Ok(()),
    }
}

fn nearest(word: &str, known: &[&'static str]) -> Option<&'static str> {
    let distance = |name: &&str| strsim::damerau_levenshtein(word, name);
    known.iter().copied().filter(|name| distance(name) <= NEAR).min_by_key(distance)
}

impl fmt::Display for WrongFilter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let levels = LEVELS.join(", ");
        match self {
            Self::Level(word) => {
                write!(f, "{word:?} is no level")?;
                if let Some(near) = nearest(&word.to_lowercase(), &LEVELS) {
                    write!(f, ": did you mean {near:?}?")?;
                }
            }
            Self::NoLevel(part) => write!(f, "{part:?} has no level: write {part}=debug")?,
            Self::Part(part, near) => write!(f, "nothing logs as {part:?}: did you mean {near:?}?")?,
            Self::Nothing => write!(f, "it is empty")?,
        }
        write!(f, " (levels are {levels}; a level for one part is PART=LEVEL, as in info,callgate::cti=debug)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_parts_with_levels_are_taken() {
        for filter in [
            "info",
            "OFF",
            "info,callgate::cti=debug",
            " warn , callgate::switch::listen=trace,",
            "callgate=debug,audit=info,rustls=warn,tokio::net=off",
        ] {
            assert_eq!(check(filter), Ok(()), "{filter}");
        }
    }

    #[test]
    fn what_is_misspelt_is_refused_with_what_was_meant() {
        for (filter, words) in [
            ("inof", "\"inof\" is no level: did you mean \"info\"?"),
            ("Debgu", "\"Debgu\" is no level: did you mean \"debug\"?"),
            ("verbose", "\"verbose\" is no level (levels are off, error, warn, info, debug, trace;"),
            ("callgate=debgu", "\"debgu\" is no level: did you mean \"debug\"?"),
            ("info,callgate::cti=", "\"\" is no level"),
            ("info,callgate::cti", "\"callgate::cti\" has no level: write callgate::cti=debug"),
            ("audit", "\"audit\" has no level"),
            ("calgate=debug", "nothing logs as \"calgate\": did you mean \"callgate\"?"),
            ("callgate::swich=debug", "did you mean \"callgate::switch\"?"),
            ("callgate::listener=debug", "did you mean \"callgate\"?"),
            ("audti=info", "did you mean \"audit\"?"),
            ("", "it is empty"),
            (",", "it is empty"),
        ] {
            let said = check(filter).unwrap_err().to_string();
            assert!(said.contains(words), "{filter}: {said}");
            assert!(said.contains("off, error, warn, info, debug, trace") && said.contains("PART=LEVEL"), "{said}");
        }
    }

    #[test]
    fn every_room_of_the_house_can_be_named() {
        let library = include_str!("../lib.rs");
        let mut rooms: Vec<&str> = library
            .lines()
            .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
            .chain(["cli"])
            .collect();
        rooms.sort_unstable();
        assert_eq!(rooms, ROOMS);
    }
}
