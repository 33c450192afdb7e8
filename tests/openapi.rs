//! docs/openapi.json is the description of the administration's API that the gateway itself sends.
//!
//! Renew it with `UPDATE=1 cargo test --test openapi`, and look at the difference.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;

fn path() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/openapi.json")
}

#[test]
fn the_page_is_what_the_gateway_sends() {
    let made = callgate::admin::api::openapi();
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path(), &made).unwrap();
        return;
    }
    let page = fs::read_to_string(path()).unwrap();
    let differs = page.lines().zip(made.lines()).find(|(old, new)| old != new);
    assert!(
        page == made,
        "docs/openapi.json is not up to date: UPDATE=1 cargo test --test openapi; first {differs:#?}"
    );
}

#[test]
fn every_reference_leads_somewhere_and_every_answer_is_used() {
    let document: Value = serde_json::from_str(&callgate::admin::api::openapi()).unwrap();
    let mut references = BTreeSet::new();
    collect(&document, &mut references);
    for reference in &references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for name in document["components"]["responses"].as_object().unwrap().keys() {
        let reference = format!("#/components/responses/{name}");
        assert!(references.contains(&reference), "nothing refers to {reference}");
    }
}

#[test]
fn every_operation_has_a_name_of_its_own() {
    let document: Value = serde_json::from_str(&callgate::admin::api::openapi()).unwrap();
    let mut names = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for operation in operations.as_object().unwrap().values() {
            let name = operation["operationId"].as_str().unwrap();
            assert!(names.insert(name.to_owned()), "{path}: {name} is another operation already");
        }
    }
}

#[test]
fn every_field_and_parameter_says_what_it_is() {
    let document: Value = serde_json::from_str(&callgate::admin::api::openapi()).unwrap();
    let mut silent = Vec::new();
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            // What may be null has it beside its reference.
            let branches = schema["oneOf"].as_array().into_iter().flatten();
            if !branches.chain([schema]).any(|schema| schema.get("description").is_some()) {
                silent.push(format!("{name}.{field}"));
            }
        }
    }
    for (path, operations) in document["paths"].as_object().unwrap() {
        for parameter in operations.as_object().unwrap().values().filter_map(|o| o["parameters"].as_array()).flatten() {
            if parameter.get("description").is_none() {
                silent.push(format!("{path} {}", parameter["name"]));
            }
        }
    }
    assert!(silent.is_empty(), "no description: {silent:#?}");
}

fn collect(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get("$ref") {
                references.insert(reference.clone());
            }
            fields.values().for_each(|value| collect(value, references));
        }
        Value::Array(items) => items.iter().for_each(|value| collect(value, references)),
        _ => {}
    }
}
