//! What is said of what the API answers.

use std::fmt;

use anyhow::Result;
use callgate::client::admin::{Admin, Path};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::Form;
use crate::cli::{
    out::{Unwritten, counted, say},
    table::Table,
};

/// How many names a cell of a table has; of more it says how many.
const NAMED: usize = 4;

/// What a change did to open sessions.
#[derive(Deserialize)]
struct Effect {
    sessions: usize,
    changed: usize,
    closed: usize,
    withheld: usize,
}

impl Form {
    /// Prints a list.
    pub(super) async fn list<T: DeserializeOwned>(
        self,
        admin: &mut Admin,
        path: &Path,
        none: &str,
        table: impl FnOnce(&[T]) -> Table,
    ) -> Result<()> {
        if self.json {
            return json(&admin.list::<Value>(path).await?);
        }
        Ok(table(&admin.list::<T>(path).await?).print(none)?)
    }

    /// Prints one thing.
    pub(super) async fn show<T: DeserializeOwned>(
        self,
        admin: &mut Admin,
        path: &Path,
        show: impl FnOnce(&T) -> Result<(), Unwritten>,
    ) -> Result<()> {
        if self.json {
            return json(&admin.read::<Value>(path).await?.it);
        }
        Ok(show(&admin.read::<T>(path).await?.it)?)
    }

    /// Says that a change is made, and what it did to open sessions, if to any.
    pub(super) fn done(self, answer: &Value, what: fmt::Arguments<'_>) -> Result<()> {
        if self.json {
            return json(answer);
        }
        let effect = answer.get("effect").and_then(|effect| Effect::deserialize(effect).ok());
        match effect.map(|effect| effect.to_string()) {
            Some(effect) if !effect.is_empty() => say!("{what}; {effect}")?,
            _ => say!("{what}")?,
        }
        Ok(())
    }
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sessions = |number| counted(number, "session", "sessions");
        let mut said = Vec::new();
        if self.closed > 0 {
            said.push(format!("{} closed", sessions(self.closed)));
        }
        if self.changed > 0 {
            said.push(format!("{} of {} told of it", self.changed, sessions(self.sessions)));
        }
        if self.withheld > 0 {
            said.push(format!("{} withheld", counted(self.withheld, "key that waited", "keys that waited")));
        }
        f.write_str(&said.join(", "))
    }
}

/// Prints JSON, for people to read, too.
pub(super) fn json(value: &(impl Serialize + ?Sized)) -> Result<()> {
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
        let effect = |sessions, changed, closed, withheld| Effect { sessions, changed, closed, withheld }.to_string();
        assert_eq!(effect(7, 0, 0, 0), "");
        assert_eq!(effect(7, 2, 1, 0), "1 session closed, 2 of 7 sessions told of it");
        assert_eq!(effect(1, 1, 0, 2), "1 of 1 session told of it, 2 keys that waited withheld");
    }

    #[test]
    fn of_many_names_some_are_listed() {
        assert_eq!(listed([1, 2, 3, 4]), "1, 2, 3, 4");
        assert_eq!(listed(1..=6), "1, 2, 3, 4 and 2 more");
    }
}
