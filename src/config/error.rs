//! Errors that name their place.

use std::{fmt, io, ops::Range, path::PathBuf};

use super::shown;

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{}: can't be read: {cause}{}", path.display(), mend(cause))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Something in it is wrong.
    #[error(transparent)]
    Invalid(Box<Invalid>),
}

fn mend(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => {
            ": name the gateway's config with --config, or make a first one with `callgate init DIR`"
        }
        _ => "",
    }
}

/// What is wrong with the settings, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct Invalid {
    /// What errors call the file.
    pub origin: String,
    /// What is wrong, with the nearest known name if there is one.
    pub message: String,
    /// Where.
    pub place: Place,
}

/// Where a wrong setting comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// A place in the file.
    Line {
        /// Counted from 1.
        line: usize,
        /// In characters, counted from 1.
        column: usize,
        /// How many characters are wrong; at least 1.
        width: usize,
        /// The beginning of the line, up to what could be a secret.
        text: String,
    },
    /// An environment variable.
    Variable(String),
    /// The file as a whole.
    Whole,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Line { line, column, width, text } => {
                let number = line.to_string();
                let margin = " ".repeat(number.len());
                writeln!(f, "{}:{line}:{column}: {}", self.origin, self.message)?;
                writeln!(f, "{margin} |")?;
                writeln!(f, "{number} | {text}")?;
                write!(f, "{margin} | {}{}", " ".repeat(column.saturating_sub(1)), "^".repeat(*width))
            }
            Place::Variable(name) => write!(f, "environment variable {name}: {}", self.message),
            Place::Whole => write!(f, "{}: {}", self.origin, self.message),
        }
    }
}

/// A wrong setting, before its place in the text is worked out.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) origin: Origin,
    pub(super) message: String,
}

/// Where a value comes from.
#[derive(Debug, Clone, Default)]
pub(super) enum Origin {
    #[default]
    Default,
    Text(Range<usize>),
    Variable(String),
}

impl Problem {
    pub(super) fn new(origin: &Origin, message: impl Into<String>) -> Self {
        Self { origin: origin.clone(), message: message.into() }
    }

    pub(super) fn into_invalid(self, text: &str, origin: &str) -> Invalid {
        let place = match self.origin {
            Origin::Default => Place::Whole,
            Origin::Text(range) => place(text, &range),
            Origin::Variable(name) => Place::Variable(name),
        };
        Invalid { origin: origin.into(), message: shown::message(&self.message), place }
    }
}

/// The known name that `found` is most probably meant to be.
pub(super) fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = found.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::jaro_winkler(&folded, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness >= 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// "`a`, `b`, `c`"
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

fn place(text: &str, range: &Range<usize>) -> Place {
    let start = (0..=range.start.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    let (before, after) = text.split_at(start);
    let line_start = before.rfind('\n').map_or(0, |at| at.saturating_add(1));
    let (earlier, head) = before.split_at(line_start);
    let tail = after.lines().next().unwrap_or_default();
    let column = head.chars().count().saturating_add(1);
    let marked = after.get(..range.end.saturating_sub(start)).unwrap_or(tail);
    let width = marked.lines().next().unwrap_or_default().chars().count().max(1);
    let line = earlier.matches('\n').count().saturating_add(1);
    // Tabs would shift the marks below the line.
    let shown = shown::line(earlier, &format!("{head}{tail}").replace('\t', " "));
    let width = width.min(shown.chars().count().saturating_sub(column).saturating_add(1)).max(1);
    Place::Line { line, column, width, text: shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_characters_from_1() {
        let text = "a = 1\n\"ä\" = x\n";
        let at = text.find('x').unwrap();
        assert_eq!(
            place(text, &(at..at + 1)),
            Place::Line { line: 2, column: 7, width: 1, text: "\"ä\" = ...".into() }
        );
        assert_eq!(place("", &(5..9)), Place::Line { line: 1, column: 1, width: 1, text: String::new() });
    }

    #[test]
    fn r20_no_password_stands_in_an_error() {
        for text in ["password = \"pencil", "user = [{ name = \"a\", password = \"pencil", "password = \"\"\"\npencil"]
        {
            let Place::Line { text, .. } = place(text, &(text.len()..text.len())) else { panic!() };
            assert!(!text.contains("pencil"), "{text}");
        }
    }
}
