//! docs/PROTOCOL.md says what the `.proto` and the table of errors say. To renew its generated parts:
//! `UPDATE=1 cargo test --test protocol_docs`.
//!
//! A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`; the rest is written by hand.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod reference;

use std::{collections::BTreeSet, env, fs, path::Path};

use reference::{errors, limits, proto::Proto};

const BEGIN: &str = "<!-- generated: ";
const BEGIN_END: &str = " -->\n";
const END: &str = "<!-- end -->";

#[test]
fn the_generated_parts_are_what_the_proto_and_the_error_table_make() {
    let path = root().join("docs/PROTOCOL.md");
    let committed = fs::read_to_string(&path).unwrap();
    let (renewed, names) = renew(&committed);
    for needed in ["messages", "enums", "errors", "limits"] {
        assert!(names.contains(needed), "docs/PROTOCOL.md has no generated part `{needed}`");
    }
    if env::var_os("UPDATE").is_some() {
        fs::write(&path, &renewed).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap();
    let differs = committed.lines().zip(renewed.lines()).find(|(is, should)| is != should);
    assert!(
        committed == renewed,
        "docs/PROTOCOL.md is out of date: run `UPDATE=1 cargo test --test protocol_docs`; first difference: {differs:#?}"
    );
}

#[test]
fn every_message_field_and_value_has_a_meaning() {
    let unexplained = Proto::compile(&root()).unexplained();
    assert!(unexplained.is_empty(), "no comment in cti.proto for {unexplained:#?}");
}

#[test]
fn links_inside_the_page_lead_somewhere() {
    let page = fs::read_to_string(root().join("docs/PROTOCOL.md")).unwrap();
    let anchors: BTreeSet<_> = page.lines().filter(|line| line.starts_with('#')).map(anchor).collect();
    for link in page.split("](#").skip(1) {
        let target = link.split(')').next().unwrap();
        assert!(anchors.contains(target), "no heading for #{target}");
    }
}

#[test]
fn files_that_the_page_names_are_there() {
    let page = fs::read_to_string(root().join("docs/PROTOCOL.md")).unwrap();
    for link in page.split("](../").skip(1) {
        let target = link.split(')').next().unwrap();
        assert!(root().join(target).exists(), "no file {target}");
    }
}

/// The page with its generated parts made anew, and their names.
fn renew(page: &str) -> (String, BTreeSet<String>) {
    let proto = Proto::compile(&root());
    let (mut renewed, mut names, mut rest) = (String::new(), BTreeSet::new(), page);
    while let Some((before, behind)) = rest.split_once(BEGIN) {
        let (name, old_and_rest) = behind.split_once(BEGIN_END).unwrap();
        let (_, behind) = old_and_rest.split_once(END).unwrap_or_else(|| panic!("no end of the part `{name}`"));
        let part = match name.split_once(' ') {
            None if name == "messages" => proto.messages(),
            None if name == "enums" => proto.enums(),
            None if name == "errors" => errors(),
            None if name == "limits" => limits(),
            Some(("frame", vector)) => frame(vector),
            _ => panic!("what is the generated part `{name}`?"),
        };
        names.insert(name.to_owned());
        renewed.push_str(&format!("{before}{BEGIN}{name}{BEGIN_END}\n{}\n\n{END}", part.trim()));
        rest = behind;
    }
    renewed.push_str(rest);
    (renewed, names)
}

/// A golden frame: its bytes, and the message.
fn frame(vector: &str) -> String {
    let path = root().join("sdk/wire/tests/golden").join(format!("{vector}.txt"));
    let file = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{vector}: {error}"));
    let (_, frame) = file.split_once("\n\n").unwrap();
    format!("```text\n{}\n```", frame.trim())
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars().filter(|c| c.is_alphanumeric() || "- _".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}
