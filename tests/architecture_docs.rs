//! The pages are true where a test can tell: every path that they name is there, and no room is left out.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "common/pages.rs"]
mod pages;

use std::{collections::BTreeSet, fs};

use pages::{pages, root};

/// Words that begin so are paths from the root of the repository.
const FOLDERS: &[&str] =
    &[".ci/", "benches/", "certs/", "deploy/", "docs/", "examples/", "fuzz/", "proto/", "sdk/", "src/", "tests/"];

#[test]
fn every_path_that_a_page_names_is_there() {
    let mut broken = Vec::new();
    let mut seen = 0;
    for (page, text) in pages() {
        for (number, line) in (1..).zip(text.lines()) {
            for path in paths(line) {
                seen += 1;
                if !root().join(&path).exists() {
                    broken.push(format!("{page}:{number}: {path} is not there"));
                }
            }
        }
    }
    assert!(seen > 50, "only {seen} paths were found: the scan sees too little");
    assert!(broken.is_empty(), "pages name what doesn't exist:\n  {}", broken.join("\n  "));
}

#[test]
fn architecture_names_every_room_of_the_house() {
    let text = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let named: BTreeSet<String> = text.lines().filter(|line| line.starts_with("| ")).flat_map(paths).collect();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let path = if entry.path().is_dir() { format!("src/{name}/") } else { format!("src/{name}") };
        assert!(path == "src/lib.rs" || named.contains(&path), "docs/ARCHITECTURE.md, \"The house\", lacks {path}");
    }
}

#[test]
fn the_floors_of_architecture_are_those_of_the_library() {
    let text = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| ") && line.contains("`src/"));
    let mut rooms: Vec<String> = rows
        .filter(|line| line.split('|').nth(1).is_some_and(|floor| floor.trim().parse::<u8>().is_ok()))
        .filter_map(|line| paths(line).into_iter().next())
        .map(|path| path.trim_start_matches("src/").trim_end_matches('/').to_string())
        .filter(|room| room != "main.rs")
        .collect();
    rooms.reverse();
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared: Vec<&str> = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(rooms, declared, "the table reads from the top down, src/lib.rs from the ground up");
}

#[test]
fn the_scan_finds_paths_and_nothing_else() {
    let line = "See `src/cti/door.rs`, (docs/X.md) and CHANGELOG.md. Not callgate/callgate.toml, https://a.b/src/x.md.";
    assert_eq!(paths(line), ["src/cti/door.rs", "docs/X.md", "CHANGELOG.md"]);
}

/// The words of a line that are paths of this repository.
fn paths(line: &str) -> Vec<String> {
    let is_part = |c: char| c.is_alphanumeric() || "_./-:".contains(c);
    let words = line.split(|c| !is_part(c)).map(|word| word.trim_end_matches(['.', ':', '-']));
    let is_path = |word: &&str| {
        FOLDERS.iter().any(|folder| word.starts_with(folder))
            || !word.contains('/') && (word.ends_with(".md") || word.starts_with("LICENSE-") || *word == "deny.toml")
    };
    words.filter(is_path).map(Into::into).collect()
}
