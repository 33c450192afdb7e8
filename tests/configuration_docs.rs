//! docs/CONFIGURATION.md has every key that the config knows, no other, and the defaults of those in sections. So has the first
//! config that `callgate init` writes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::{collections::BTreeMap, fs, path::Path};

/// Keys by section, each with its default where the source shows one.
type Keys = BTreeMap<String, Option<String>>;

#[test]
fn the_page_has_every_key_of_the_config_and_no_other() {
    let (known, page) = (known(), page());
    assert!(known.len() > 30, "the source is written otherwise than this test reads it: {known:#?}");
    let names = |keys: &Keys| keys.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&known), names(&page));
    for (key, default) in known.iter().filter(|(_, default)| default.is_some()) {
        assert_eq!(default, &page[key], "the default of {key}");
    }
}

#[test]
fn the_first_config_shows_every_key_and_its_default() {
    let (known, first) = (known(), first());
    let names = |keys: &Keys| keys.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&known), names(&first));
    for (key, default) in known.iter().filter(|(_, default)| default.is_some()) {
        assert_eq!(default, &first[key], "the default of {key}");
    }
}

/// Reads what `callgate init` writes, examples included: headers, and keys with their values.
fn first() -> Keys {
    let first = read("src/trust/first.toml");
    let (mut section, mut keys) = (String::new(), Keys::new());
    for line in first.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line)) {
        if let Some(name) = line.strip_prefix('[') {
            let name = name.trim_matches(['[', ']']);
            section = format!("{name}.");
            // A list within a table is a key of it.
            keys.extend(name.contains('.').then(|| (name.to_owned(), None)));
        } else if let Some((key, value)) = line.split_once(" = ").filter(|(key, _)| !key.starts_with(['#', ' '])) {
            let value = value.split(" #").next().unwrap().trim().trim_matches('"');
            keys.insert(format!("{section}{key}"), Some(value.to_owned()));
        }
    }
    keys
}

/// Reads the source: `section!(Doors { clear: String = "...", ... });`, and the structs of what is a list.
fn known() -> Keys {
    const STRUCTS: [(&str, &str); 5] =
        [("Raw", ""), ("Switch", "switch."), ("User", "user."), ("Device", "device."), ("Line", "device.line.")];
    let source = read("src/config/raw.rs");
    let mut keys = Keys::new();
    for section in source.split("\nsection!(").skip(1) {
        let (name, rest) = section.split_once("});").unwrap().0.split_once(" {").unwrap();
        for setting in rest.trim().split(", ").flat_map(|part| part.split(",\n")) {
            let Some((key, default)) =
                setting.split_once(':').and_then(|(key, rest)| Some((key, rest.split_once(" = ")?.1)))
            else {
                continue;
            };
            let default =
                default.trim().trim_matches(['"', ' ', ',']).replace('_', if default.contains('"') { "_" } else { "" });
            keys.insert(format!("{}.{}", name.to_lowercase(), key.trim()), Some(default));
        }
    }
    let sections: Vec<String> = keys.keys().map(|key| key.split('.').next().unwrap().to_owned()).collect();
    for (name, prefix) in STRUCTS {
        let body = source.split_once(&format!("struct {name} {{\n")).unwrap().1.split_once("\n}").unwrap().0;
        for line in body.lines() {
            let Some((key, _)) = line.trim().strip_prefix("pub(super) ").and_then(|line| line.split_once(": ")) else {
                continue;
            };
            let is_list = STRUCTS.iter().any(|(_, prefix)| *prefix == format!("{key}."));
            if !(name == "Raw" && (is_list || sections.iter().any(|section| section == key))) {
                keys.insert(format!("{prefix}{key}"), None);
            }
        }
    }
    keys
}

/// Reads the tables: a heading such as `## [doors]` or `## [[user]]`, then rows.
fn page() -> Keys {
    let page = read("docs/CONFIGURATION.md");
    let (mut section, mut keys) = (String::new(), Keys::new());
    for line in page.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            let name = heading.trim_matches(['[', ']']);
            section = if name == heading { String::new() } else { format!("{name}.") };
        }
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let key = cells.get(1).and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
        if let Some(key) = key.filter(|_| line.starts_with('|')) {
            assert_eq!(cells.len(), 7, "{line}");
            let known = keys.insert(format!("{section}{key}"), Some(cells[3].trim_matches('`').to_owned()));
            assert!(known.is_none(), "{line}");
        }
    }
    keys
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}
