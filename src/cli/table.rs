//! Tables for people: columns with headings, each as wide as what is in it. Scripts have `--json`.
//!
//! What comes from outside is shown without control characters, and colours come only on a terminal.

use std::io::{self, IsTerminal};

use callgate::client::shown;
use rustix::termios::tcgetwinsize;

use super::out::{Unwritten, say};

/// Blanks between two columns.
const GAP: usize = 2;
/// What is left of the last column of a narrow terminal.
const LEAST: usize = 8;

const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

/// What is in one place of a table.
pub(super) struct Cell {
    text: String,
    mood: Mood,
}

/// How a cell is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mood {
    /// Something that somebody should look at.
    Bad,
    /// As it should be.
    Good,
    /// Nothing special.
    Plain,
    /// Of no account any more.
    Past,
}

/// Rows of cells under headings.
pub(super) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// Where it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Look {
    colour: bool,
    /// Columns of the terminal: the last cell of a row is cut to them. Elsewhere nothing is.
    columns: Option<usize>,
}

impl Look {
    /// That of standard output.
    fn of_stdout() -> Self {
        if !io::stdout().is_terminal() {
            return Self::default();
        }
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let columns =
            tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0);
        Self { colour: !no_colour && !dumb, columns }
    }
}

impl Table {
    pub(super) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.into(), rows: Vec::new() }
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// Prints it; `none` if it has no rows.
    pub(super) fn print(&self, none: &str) -> Result<(), Unwritten> {
        if self.rows.is_empty() {
            return say!("{none}");
        }
        self.lines(Look::of_stdout()).iter().try_for_each(|line| say!("{line}"))
    }

    fn lines(&self, look: Look) -> Vec<String> {
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| heading.len()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.width());
            }
        }
        let headings: Vec<Cell> = self.headings.iter().map(|heading| (*heading).into()).collect();
        let heading = line(&headings, &widths, Look { colour: false, ..look });
        let heading = if look.colour { format!("{BOLD}{heading}{RESET}") } else { heading };
        let rows = self.rows.iter().map(|row| line(row, &widths, look));
        std::iter::once(heading).filter(|_| !self.headings.is_empty()).chain(rows).collect()
    }
}

/// What is known of one thing: a name and a value in each line.
pub(super) fn fields<'a>(fields: impl IntoIterator<Item = (&'a str, Cell)>) -> Result<(), Unwritten> {
    let rows = fields.into_iter().map(|(name, value)| vec![Cell::from(name), value]).collect();
    let table = Table { headings: Vec::new(), rows };
    let name = table.rows.iter().filter_map(|row| row.first()).map(Cell::width).max().unwrap_or_default();
    let look = Look { columns: None, ..Look::of_stdout() };
    table.rows.iter().try_for_each(|row| say!("{}", line(row, &[name, 0], look)))
}

fn line(cells: &[Cell], widths: &[usize], look: Look) -> String {
    let mut line = String::new();
    let mut at = 0;
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let is_last = index + 1 == cells.len();
        let room = look.columns.filter(|_| is_last).map(|columns| columns.saturating_sub(at).max(LEAST));
        let text = cut(&cell.text, room);
        let blanks = if is_last { 0 } else { width.saturating_sub(text.chars().count()) + GAP };
        at += width + GAP;
        match cell.mood.colour().filter(|_| look.colour && !text.is_empty()) {
            Some(colour) => line.push_str(&format!("{colour}{text}{RESET}")),
            None => line.push_str(&text),
        }
        line.extend(std::iter::repeat_n(' ', blanks));
    }
    line.truncate(line.trim_end().len());
    line
}

fn cut(text: &str, room: Option<usize>) -> String {
    match room {
        Some(room) if text.chars().count() > room => {
            text.chars().take(room.saturating_sub(1)).chain(std::iter::once('…')).collect()
        }
        _ => text.into(),
    }
}

impl Cell {
    pub(super) fn is(mut self, mood: Mood) -> Self {
        self.mood = mood;
        self
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl Mood {
    fn colour(self) -> Option<&'static str> {
        match self {
            Self::Bad => Some("\x1b[31m"),
            Self::Good => Some("\x1b[32m"),
            Self::Plain => None,
            Self::Past => Some("\x1b[2m"),
        }
    }
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: shown(text.as_ref()), mood: Mood::Plain }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["NAME", "KIND", "DESCRIPTION"]);
        table.row(["recorder".into(), Cell::from("application").is(Mood::Good), "of the whole house".into()]);
        table.row(["ö".into(), "".into(), "".into()]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_what_is_in_them_and_no_line_ends_with_blanks() {
        let expected = ["NAME      KIND         DESCRIPTION", "recorder  application  of the whole house", "ö"];
        assert_eq!(table().lines(Look::default()), expected);
    }

    #[test]
    fn a_terminal_has_colours_and_cuts_the_last_column() {
        let lines = table().lines(Look { colour: true, columns: Some(32) });
        assert_eq!(lines[0], "\x1b[1mNAME      KIND         DESCRIPT…\x1b[0m");
        assert_eq!(lines[1], "recorder  \x1b[32mapplication\x1b[0m  of the w…");
        let narrow = table().lines(Look { colour: false, columns: Some(1) });
        assert_eq!(narrow[1], "recorder  application  of the …", "some of it is always there");
    }

    #[test]
    fn what_comes_from_outside_moves_no_cursor() {
        let mut table = Table::new(&["NAME"]);
        table.row(["a\x1b[2J\nb\u{202e}c".into()]);
        assert_eq!(table.lines(Look::default())[1], "a?[2J?b?c");
    }
}
