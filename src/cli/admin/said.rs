//! What is said of what the API answers.

use std::fmt;

use anyhow::Result;
use callgate::client::admin::{Admin, Path};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::Form;
use crate::cli::{
    out::{Unwritten, counted, say},
    table::Table,
};

/// How many names a cell of a table has; of more it says how many.
const NAMED: usize = 4;

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
            let all: Vec<Value> = admin.list(path).await?;
            return json(&all);
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
}

fn json(value: &(impl serde::Serialize + ?Sized)) -> Result<()> {
    Ok(say!("{}", serde_json::to_string_pretty(value)?)?)
}

/// Names in one cell.
pub(super) fn listed<T: fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    match names.get(..NAMED) {
        Some(first) if names.len() > NAMED => format!("{} and {} more", first.join(", "), names.len() - NAMED),
        _ => names.join(", "),
    }
}

/// The same path, for what takes what stands against it along.
pub(super) fn cascading(path: Path, cascade: bool) -> Path {
    if cascade { path.with("cascade", "true") } else { path }
}

/// All of the names.
pub(super) fn joined<T: fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    if names.is_empty() { "none".into() } else { names.join(", ") }
}
