//! docs/MONITORING.md is true where a test can tell: its counters are those of the code, and the feed's lines are logged.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "common/pages.rs"]
mod pages;

use std::{collections::BTreeSet, fs, path::Path};

use pages::root;

/// A counter's name and labels.
type Counter = (String, Vec<String>);

fn page() -> String {
    fs::read_to_string(root().join("docs/MONITORING.md")).unwrap()
}

/// All source text below a folder.
fn sources(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            text.push_str(&sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    text
}

/// What stands between quotes of this kind.
fn quoted(text: &str, quote: char) -> Vec<String> {
    text.split(quote).skip(1).step_by(2).map(str::to_owned).collect()
}

fn counters_of_the_code() -> BTreeSet<Counter> {
    let code = sources(&root().join("src"));
    code.split("counter!(")
        .skip(1)
        .map(|behind| {
            let mut depth = 1;
            let end = behind.find(|c| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth == 0
            });
            let arguments = behind[..end.expect("the macro has an end")].trim_start();
            let (name, rest) = arguments.split_once('"').unwrap().1.split_once('"').expect("its name is written out");
            let labels = rest.split("=>").filter_map(|before| quoted(before, '"').pop());
            (name.to_owned(), labels.take(rest.matches("=>").count()).collect())
        })
        .collect()
}

fn counters_of_the_page() -> BTreeSet<Counter> {
    let page = page();
    let rows = page.lines().filter(|line| line.starts_with("| `callgate_"));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        (quoted(cells[1], '`').remove(0), quoted(cells[2], '`'))
    })
    .collect()
}

#[test]
fn r43_every_counter_of_the_code_stands_in_the_page_and_no_other() {
    let (code, page) = (counters_of_the_code(), counters_of_the_page());
    let lacking: Vec<_> = code.difference(&page).collect();
    let invented: Vec<_> = page.difference(&code).collect();
    assert!(lacking.is_empty() && invented.is_empty(), "the page lacks {lacking:#?}, the code lacks {invented:#?}");
    assert!(code.len() >= 17, "only {} counters were found: the scan sees too little", code.len());
}

#[test]
fn every_line_of_a_feed_that_the_page_names_is_logged() {
    let page = page();
    let chapter = page.split("### A live feed").nth(1).unwrap().split("\n## ").next().unwrap();
    let code = sources(&root().join("src/switch/listen"));
    let lines: Vec<String> =
        chapter.lines().filter(|line| line.starts_with("| `")).map(|line| quoted(line, '`').remove(0)).collect();
    for line in &lines {
        assert!(code.contains(&format!("\"{line}")), "no file in src/switch/listen logs {line:?}");
    }
    let logged = code.matches("info!(").count() + code.matches("warn!(").count();
    assert_eq!(lines.len(), logged, "as many lines as the code logs");
}
