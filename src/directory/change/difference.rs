//! What is different by a change, in few words.

use std::{collections::BTreeSet, fmt::Display};

/// How many names are told of each kind.
const SHOWN: usize = 20;

/// What was found different so far.
#[derive(Debug, Default)]
pub(super) struct Difference(Vec<String>);

impl Difference {
    /// Names that came, and names that went.
    pub(super) fn names<T: Display + Ord>(
        &mut self,
        what: &str,
        before: impl IntoIterator<Item = T>,
        after: impl IntoIterator<Item = T>,
    ) {
        let (before, after) = (before.into_iter().collect::<BTreeSet<_>>(), after.into_iter().collect::<BTreeSet<_>>());
        self.told_of("+", what, after.difference(&before));
        self.told_of("-", what, before.difference(&after));
    }

    /// Something that is no name: that it is different, and not what it was.
    pub(super) fn value<T: PartialEq>(&mut self, what: &str, before: &T, after: &T) {
        if before != after {
            self.0.push(format!("~{what}"));
        }
    }

    /// Something that there was none of, or that is another one now.
    pub(super) fn came(&mut self, what: &str) {
        self.0.push(format!("+{what}"));
    }

    /// Something that there is none of any more.
    pub(super) fn went(&mut self, what: &str) {
        self.0.push(format!("-{what}"));
    }

    /// Something that is or isn't.
    pub(super) fn switch(&mut self, what: &str, before: bool, after: bool) {
        match (before, after) {
            (false, true) => self.came(what),
            (true, false) => self.went(what),
            _ => {}
        }
    }

    /// All of it.
    pub(super) fn told(self) -> String {
        self.0.join(", ")
    }

    fn told_of<'a, T: Display + 'a>(&mut self, sign: &str, what: &str, names: impl Iterator<Item = &'a T>) {
        let mut more: usize = 0;
        for (index, name) in names.enumerate() {
            if index < SHOWN {
                self.0.push(format!("{sign}{what} {name}"));
            } else {
                more = more.saturating_add(1);
            }
        }
        if more > 0 {
            self.0.push(format!("{sign}{more} more of {what}"));
        }
    }
}
