//! What is said of what the API answers.

use std::{collections::BTreeSet, fmt};

use anyhow::Result;
use callgate::{
    admin::api::{Acknowledged, Changed, Effects, Gone},
    client::admin::{Admin, Marked, Path},
    directory::DevicePattern,
};
use serde::{Serialize, de::DeserializeOwned};

use super::Form;
use crate::cli::{
    exit::Unusable,
    out::{Unwritten, counted, remark, say},
    table::Table,
};

/// How many names a cell of a table has; of more it says how many.
const NAMED: usize = 4;

impl Form {
    /// Whether JSON is wanted, and nothing else.
    pub(in crate::cli) fn is_json(self) -> bool {
        self.json
    }

    /// Prints a list.
    pub(in crate::cli) async fn list<T: DeserializeOwned + Serialize>(
        self,
        admin: &mut Admin,
        path: &Path,
        none: &str,
        table: impl FnOnce(&[T]) -> Table,
    ) -> Result<()> {
        let all: Vec<T> = admin.list(path).await?;
        if self.json { json(&all) } else { Ok(table(&all).print(none)?) }
    }

    /// Prints one thing.
    pub(in crate::cli) async fn show<T: DeserializeOwned + Serialize>(
        self,
        admin: &mut Admin,
        path: &Path,
        show: impl FnOnce(&T) -> Result<(), Unwritten>,
    ) -> Result<()> {
        let Marked { it, .. } = admin.read::<T>(path).await?;
        if self.json { json(&it) } else { Ok(show(&it)?) }
    }

    /// Says that something is as it should be.
    pub(in crate::cli) fn told(self, answer: &impl Serialize, what: fmt::Arguments<'_>) -> Result<()> {
        if self.json { json(answer) } else { Ok(say!("{what}")?) }
    }

    /// Says that something was made or changed, and what that did to open sessions.
    pub(in crate::cli) fn changed<T: Serialize>(self, changed: &Changed<T>, what: fmt::Arguments<'_>) -> Result<()> {
        self.acknowledged(changed, &changed.done, what)
    }

    /// Says that something is gone, what was revoked with it, and what that did to open sessions.
    pub(super) fn gone(self, gone: &Gone, what: fmt::Arguments<'_>) -> Result<()> {
        match gone.revoked {
            0 => self.acknowledged(gone, &gone.done, what),
            count => {
                let revoked = counted(count, "certificate", "certificates");
                self.acknowledged(gone, &gone.done, format_args!("{what}; {revoked} revoked"))
            }
        }
    }

    fn acknowledged(self, answer: &impl Serialize, done: &Acknowledged, what: fmt::Arguments<'_>) -> Result<()> {
        match effect(&done.effect) {
            _ if self.json => json(answer)?,
            None => say!("{what}")?,
            Some(effect) => say!("{what}; {effect}")?,
        }
        Ok(())
    }
}

/// What a change did to open sessions, in words.
fn effect(effect: &Effects) -> Option<String> {
    let sessions = |number| counted(number, "session", "sessions");
    let mut said = Vec::new();
    if effect.closed > 0 {
        said.push(format!("{} closed", sessions(effect.closed)));
    }
    if effect.changed > 0 {
        said.push(format!("{} of {} told of it", effect.changed, sessions(effect.sessions)));
    }
    if effect.withheld > 0 {
        said.push(format!("{} withheld", counted(effect.withheld, "key that waited", "keys that waited")));
    }
    (!said.is_empty()).then(|| said.join(", "))
}

/// Names that are less alike aren't offered for each other.
const NEAR: f64 = 0.8;

/// Adds to a set, and takes from it what must be there: a slip of the pen must not look like a right that is gone.
pub(super) fn change<T: Ord + Clone + fmt::Display>(
    set: &mut BTreeSet<T>,
    add: &[T],
    remove: &[T],
    whose: &str,
    what: &str,
) -> Result<()> {
    set.extend(add.iter().cloned());
    are_there(&*set, remove, whose, what)?;
    set.retain(|one| !remove.contains(one));
    Ok(())
}

/// Whether all that is to be removed is there.
pub(super) fn are_there<'a, T: PartialEq + fmt::Display + 'a>(
    there: impl IntoIterator<Item = &'a T> + Clone,
    remove: &[T],
    whose: &str,
    what: &str,
) -> Result<()> {
    match remove.iter().find(|one| !there.clone().into_iter().any(|other| other == *one)) {
        Some(one) => Err(not_there(whose, what, one, there).into()),
        None => Ok(()),
    }
}

/// What is to be removed isn't there; the nearest that is, if one is near.
pub(super) fn not_there<T: fmt::Display>(
    whose: &str,
    what: &str,
    name: impl fmt::Display,
    there: impl IntoIterator<Item = T>,
) -> Unusable {
    let name = name.to_string();
    let there = there.into_iter().map(|one| one.to_string());
    let alike = there.map(|one| (strsim::jaro_winkler(&name, &one), one)).filter(|(alike, _)| *alike >= NEAR);
    let near = alike.max_by(|a, b| a.0.total_cmp(&b.0));
    let near = near.map_or_else(String::new, |(_, near)| format!("; the nearest is {near:?}"));
    Unusable(format!("{whose} has no {what} {name:?}{near}: nothing is changed"))
}

/// Says what patterns know of wildcards, if one has characters that are such elsewhere. They may be meant as they are:
/// addresses of IPv6 have some, and are names of devices.
pub(super) fn warn_of_patterns<'a>(patterns: impl IntoIterator<Item = &'a DevicePattern>) {
    let is_meant = |text: &str| text.contains("]:");
    let unknown = |text: &str| text.contains(['[', ']', '{', '}']) && !is_meant(text);
    for pattern in patterns.into_iter().filter(|pattern| unknown(pattern.as_str())) {
        remark!(
            "warning: the pattern {pattern:?} means names with these brackets in them: only * (any number of characters) \
             and ? (one) stand for others"
        );
    }
}

/// Nobody said what to change.
pub(super) fn nothing() -> Unusable {
    Unusable("say what to change: --help has what can be".into())
}

/// Prints JSON, for people to read, too.
pub(in crate::cli) fn json(value: &(impl Serialize + ?Sized)) -> Result<()> {
    Ok(say!("{}", serde_json::to_string_pretty(value)?)?)
}

/// Some of the names, for a cell of a table.
pub(super) fn listed<T: fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    match names.get(..NAMED) {
        Some(first) if names.len() > NAMED => format!("{} and {} more", first.join(", "), names.len() - NAMED),
        _ => names.join(", "),
    }
}

/// All of the names.
pub(super) fn joined<T: fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// The same path, for what takes along what stands against it.
pub(super) fn cascading(path: Path, cascade: bool) -> Path {
    if cascade { path.with("cascade", "true") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r15_what_a_change_did_to_sessions_is_told_in_words() {
        let told = |sessions, changed, closed, withheld| effect(&Effects { sessions, changed, closed, withheld });
        assert_eq!(told(7, 0, 0, 0), None);
        assert_eq!(told(7, 2, 1, 0).unwrap(), "1 session closed, 2 of 7 sessions told of it");
        assert_eq!(told(1, 1, 0, 2).unwrap(), "1 of 1 session told of it, 2 keys that waited withheld");
    }

    #[test]
    fn of_many_names_some_are_listed() {
        assert_eq!(listed([1, 2, 3, 4]), "1, 2, 3, 4");
        assert_eq!(listed(1..=6), "1, 2, 3, 4 and 2 more");
    }
}
