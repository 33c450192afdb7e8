//! docs/RULES.md is true where a test can tell: the code and the tests that it names are there, it has every rule that
//! anything names, and what it calls enforced has code and a test.
//!
//! The lines under *Tests* are made from the names of the tests. Renew them with
//! `UPDATE=1 cargo test --test rules_docs`, and look at the difference.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "common/pages.rs"]
mod pages;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use pages::{pages, root};

const PAGE: &str = "docs/RULES.md";
/// Rules with a letter, each behind the rule of its number.
const LETTERED: [&str; 4] = ["R33a", "R41a", "R42a", "R42b"];
const LAST: u32 = 43;
const WIDTH: usize = 120;

#[test]
fn the_page_has_each_rule_once_and_in_order() {
    let mut expected = Vec::new();
    for number in 1..=LAST {
        expected.push(format!("R{number}"));
        let prefix = format!("R{number}");
        let lettered = |rule: &&&str| rule.trim_end_matches(char::is_alphabetic) == prefix;
        expected.extend(LETTERED.iter().filter(lettered).map(|rule| (*rule).to_owned()));
    }
    let text = page();
    let found: Vec<_> = rules(&text).into_iter().map(|rule| rule.name).collect();
    assert_eq!(found, expected);
}

#[test]
fn the_tests_of_each_rule_are_those_that_carry_its_number() {
    let text = page();
    let renewed = renew(&text, &numbered_tests());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(root().join(PAGE), &renewed).unwrap();
        return;
    }
    let differs = text.lines().zip(renewed.lines()).find(|(old, new)| old != new);
    let message = "is not up to date: UPDATE=1 cargo test --test rules_docs";
    assert!(text == renewed, "{PAGE} {message}; the first difference is {differs:#?}");
}

#[test]
fn what_the_page_says_of_a_rule_is_there() {
    let (text, tests, files) = (page(), numbered_tests(), sources());
    let mut broken = Vec::new();
    for rule in rules(&text) {
        let mut say = |what: String| broken.push(format!("{}: {what}", rule.name));
        for (file, item) in rule.code.iter().flat_map(|line| named(line)) {
            match (files.get(&file), item) {
                (None, _) => say(format!("{file} is not there")),
                (Some(source), Some(item)) if !declares(source, &item) => say(format!("{file} has no {item}")),
                _ => {}
            }
        }
        for (file, test) in rule.also.iter().flat_map(|line| named(line)).filter(|(_, test)| test.is_some()) {
            let there = |test: &String| files.get(&file).is_some_and(|source| tests_of(source).contains(test));
            if !test.as_ref().is_some_and(there) {
                say(format!("{file} has no test {test:?}"));
            }
        }
        let has_test = tests.contains_key(&rule.name) || rule.also.is_some();
        let missing = rule.state.contains("Missing: ");
        match rule.state.split('.').next() {
            Some("Enforced") if missing => say("is enforced, and something is missing".into()),
            Some("Enforced" | "Partly") if rule.code.is_none() || !has_test => {
                say("names no code, or has no test".into());
            }
            Some("Partly" | "Not yet") if !missing => say("doesn't say what is missing".into()),
            Some("Not yet") if rule.code.is_some() => say("has code, and so is there in part".into()),
            Some("Enforced" | "Partly" | "Not yet") => {}
            other => say(format!("{other:?} is no state")),
        }
    }
    assert!(broken.is_empty(), "{PAGE} says what isn't so:\n  {}", broken.join("\n  "));
}

#[test]
fn every_rule_that_anything_names_is_on_the_page() {
    let text = page();
    let known: BTreeSet<_> = rules(&text).into_iter().map(|rule| rule.name).collect();
    let mut texts: BTreeMap<String, String> = sources();
    texts.extend(pages());
    let mut broken = Vec::new();
    let mut seen = 0;
    for (path, text) in &texts {
        for (number, line) in (1..).zip(text.lines()) {
            for name in rules_in(line) {
                seen += 1;
                if !known.contains(&name) {
                    broken.push(format!("{path}:{number}: {name}"));
                }
            }
        }
    }
    for (rule, tests) in numbered_tests() {
        if !known.contains(&rule) {
            broken.push(format!("{tests:?}: {rule}"));
        }
    }
    assert!(seen > 300, "only {seen} rules were found: the scan sees too little");
    assert!(broken.is_empty(), "rules that {PAGE} doesn't know:\n  {}", broken.join("\n  "));
}

#[test]
fn the_scans_find_what_they_look_for() {
    assert_eq!(rules_in("R3, (R42b) and \"R41a\": no XR4, R4x, RFC 4, SR9 or R0"), ["R3", "R42b", "R41a"]);
    assert_eq!(rules_of("r2_r9_admission_for_every_combination"), ["R2", "R9"]);
    assert_eq!(rules_of("r20_no_dump_and_r41a_all_files"), ["R20", "R41a"]);
    let source =
        "#[tokio::test]\n#[ignore = \"x\"]\nasync fn r1_a() {}\nfn r2_helper() {}\n#[test]\nfn b() {\n  fn c() {}";
    assert_eq!(tests_of(source), ["r1_a", "b"]);
    assert_eq!(tests_of("proptest! {\n    #[test]\n    fn r7_p(x in 0..9) {"), ["r7_p"]);
    assert!(declares("pub(super) fn door(x", "door") && declares("pub static T: &[u8]", "T"));
    assert!(!declares("fn doors()", "door") && !declares("// fn door(", "do"));
    let rule = "## R1. Name\n\nText.\n\n**Partly.** Missing:\nwhat isn't there.\n\n- Code: `a/b.rs` `c`, `d`; `e/f.rs`\n- Tests:\n";
    let rules = rules(rule);
    assert_eq!((rules[0].name.as_str(), rules[0].state.as_str()), ("R1", "Partly. Missing: what isn't there."));
    let (b, f) = ("a/b.rs".to_owned(), "e/f.rs".to_owned());
    let expected = [(b.clone(), None), (b.clone(), Some("c".into())), (b, Some("d".into())), (f, None)];
    assert_eq!(named(rules[0].code.unwrap()), expected);
}

/// What the page says of a rule.
struct Rule<'a> {
    name: String,
    /// `Enforced. ...`, without its stars and on one line.
    state: String,
    code: Option<&'a str>,
    also: Option<&'a str>,
}

fn page() -> String {
    fs::read_to_string(root().join(PAGE)).unwrap()
}

fn rules(page: &str) -> Vec<Rule<'_>> {
    let sections = page.split("## ").skip(1);
    sections
        .map(|section| {
            let section = section.split("\n# ").next().unwrap();
            let name = section.split('.').next().unwrap().to_owned();
            let paragraphs: Vec<_> = section.split("\n\n").filter_map(|text| text.strip_prefix("**")).collect();
            assert_eq!(paragraphs.len(), 1, "{name} has one paragraph that says its state");
            let state = paragraphs[0].replacen("**", "", 1).split_whitespace().collect::<Vec<_>>().join(" ");
            let line = |label: &str| section.lines().find_map(|line| line.strip_prefix(label));
            Rule { name, state, code: line("- Code: "), also: line("- Also: ") }
        })
        .collect()
}

/// The files of a line such as `` `file` `item`, `item`; `file` ``, each by itself and with each of its items.
fn named(line: &str) -> Vec<(String, Option<String>)> {
    let mut named = Vec::new();
    let mut file = String::new();
    for word in line.split('`').skip(1).step_by(2) {
        if word.contains('/') {
            file = word.to_owned();
            named.push((file.clone(), None));
        } else {
            named.push((file.clone(), Some(word.to_owned())));
        }
    }
    named
}

/// Every Rust file and the protocol, by its path.
fn sources() -> BTreeMap<String, String> {
    let mut sources = BTreeMap::new();
    for folder in ["benches", "examples", "fuzz", "proto", "sdk", "src", "tests"] {
        collect(&root().join(folder), &mut sources);
    }
    sources
}

fn collect(folder: &Path, sources: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        // What this test says itself proves nothing, and what a build made isn't ours.
        if path.is_dir() && !name.ends_with("target") {
            collect(&path, sources);
        } else if (name.ends_with(".rs") || name.ends_with(".proto")) && name != "tests/rules_docs.rs" {
            sources.insert(name, fs::read_to_string(&path).unwrap());
        }
    }
}

/// Tests by the rules in their names: file and name of each.
fn numbered_tests() -> BTreeMap<String, Vec<(String, String)>> {
    let mut tests: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (path, source) in sources() {
        for test in tests_of(&source) {
            for rule in rules_of(&test) {
                tests.entry(rule).or_default().push((path.clone(), test.clone()));
            }
        }
    }
    tests
}

/// The names of the functions behind a test attribute.
fn tests_of(source: &str) -> Vec<String> {
    let (mut tests, mut is_test) = (Vec::new(), false);
    for line in source.lines().map(str::trim_start) {
        is_test |= line.starts_with("#[test]") || line.starts_with("#[tokio::test");
        let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ");
        if let Some(rest) = rest.filter(|_| std::mem::take(&mut is_test)) {
            tests.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    tests
}

/// The rules in a test's name.
fn rules_of(test: &str) -> Vec<String> {
    test.split('_')
        .filter_map(|word| Some(format!("R{}", word.strip_prefix('r').filter(|rest| is_number(rest))?)))
        .collect()
}

/// The rules that a line of text names.
fn rules_in(line: &str) -> Vec<String> {
    let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    words.filter(|word| word.strip_prefix('R').is_some_and(is_number)).map(Into::into).collect()
}

/// One or two digits and perhaps a letter.
fn is_number(text: &str) -> bool {
    let digits = text.trim_end_matches(['a', 'b']);
    text.len() - digits.len() <= 1 && digits.parse::<u32>().is_ok_and(|number| (1..100).contains(&number))
}

fn declares(source: &str, item: &str) -> bool {
    let words = ["fn", "struct", "enum", "trait", "const", "static", "type", "mod"];
    let mut lines = source.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
    let declared = |(before, after): (&str, &str)| {
        let is_word = before.is_empty() || before.ends_with(' ');
        is_word && !after.starts_with(|c: char| c.is_alphanumeric() || c == '_')
    };
    lines.any(|line| words.iter().any(|word| line.split_once(&format!("{word} {item}")).is_some_and(declared)))
}

/// The page with the lines under each `- Tests:` made anew.
fn renew(page: &str, tests: &BTreeMap<String, Vec<(String, String)>>) -> String {
    let (mut renewed, mut rule, mut skips) = (String::new(), String::new(), false);
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            rule = heading.split('.').next().unwrap().to_owned();
        }
        if skips && line.starts_with("  ") {
            continue;
        }
        skips = line.starts_with("- Tests:");
        if !skips {
            renewed += &format!("{line}\n");
            continue;
        }
        let mut files: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (file, test) in tests.get(&rule).into_iter().flatten() {
            files.entry(file).or_default().push(test);
        }
        renewed += if files.is_empty() { "- Tests: none by its number\n" } else { "- Tests:\n" };
        for (file, tests) in files {
            let mut row = format!("  - `{file}`");
            for (i, test) in tests.into_iter().enumerate() {
                row += if i == 0 { ":" } else { "," };
                let last = row.rsplit('\n').next().unwrap();
                row +=
                    &if last.len() + test.len() + 4 > WIDTH { format!("\n    `{test}`") } else { format!(" `{test}`") };
            }
            renewed += &format!("{row}\n");
        }
    }
    renewed
}
