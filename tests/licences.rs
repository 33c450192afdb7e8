//! What is linked comes from crates.io under a licence that deny.toml allows, also where cargo-deny isn't installed.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::process::Command;

use serde_json::Value;

#[test]
fn every_crate_has_a_licence_that_is_allowed_and_comes_from_the_registry() {
    let deny = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml")).unwrap();
    let deny: toml::Table = deny.parse().unwrap();
    let list = |section: &str, key: &str| -> Vec<String> {
        let values = deny[section][key].as_array().unwrap().iter();
        values.map(|value| value.as_str().unwrap().to_string()).collect()
    };
    let (licences, registries) = (list("licenses", "allow"), list("sources", "allow-registry"));

    let mut broken = Vec::new();
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100, "only {} packages", packages.len());
    for package in packages {
        let name = format!("{} {}", package["name"].as_str().unwrap(), package["version"].as_str().unwrap());
        // Our own packages have no source.
        if let Some(source) = package["source"].as_str() {
            let registry = source.trim_start_matches("registry+");
            if !registries.iter().any(|allowed| allowed == registry) {
                broken.push(format!("{name} comes from {source}"));
            }
        }
        match package["license"].as_str() {
            Some(licence) if is_allowed(licence, &licences) => {}
            other => broken.push(format!("{name} has the licence {other:?}")),
        }
    }
    assert!(broken.is_empty(), "deny.toml doesn't allow this:\n  {}", broken.join("\n  "));
}

#[test]
fn alternatives_need_one_licence_and_conjunctions_all() {
    let allowed = ["MIT".to_string(), "ISC".to_string()];
    for good in ["MIT", "MIT OR GPL-3.0", "MIT/GPL-3.0", "MIT AND (GPL-3.0 OR ISC)", "GPL-3.0 OR MIT AND ISC"] {
        assert!(is_allowed(good, &allowed), "{good}");
    }
    for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "GPL-3.0 WITH x OR LGPL-2.1", ""] {
        assert!(!is_allowed(bad, &allowed), "{bad}");
    }
}

/// What cargo knows of all packages of this platform, without asking the network.
fn metadata() -> Value {
    let version = Command::new(env!("CARGO")).arg("-vV").output().unwrap();
    let version = String::from_utf8(version.stdout).unwrap();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", host]);
    let output = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Whether an SPDX expression can be met with these licences. AND binds closer than OR; `/` is an old way to write OR.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let met = alternatives(&mut rest, allowed);
    assert!(rest.is_empty(), "{expression:?} can't be read behind {rest:?}");
    met
}

fn alternatives(words: &mut &[&str], allowed: &[String]) -> bool {
    let mut met = conjunction(words, allowed);
    while take(words, "OR") {
        met |= conjunction(words, allowed);
    }
    met
}

fn conjunction(words: &mut &[&str], allowed: &[String]) -> bool {
    let mut met = licence(words, allowed);
    while take(words, "AND") {
        met &= licence(words, allowed);
    }
    met
}

fn licence(words: &mut &[&str], allowed: &[String]) -> bool {
    if take(words, "(") {
        let met = alternatives(words, allowed);
        assert!(take(words, ")"), "a bracket is open");
        return met;
    }
    let Some((name, rest)) = words.split_first() else { return false };
    *words = rest;
    // An exception only gives more; that it is a known one is for cargo-deny to judge.
    if take(words, "WITH") {
        *words = words.get(1..).unwrap_or_default();
    }
    allowed.iter().any(|licence| licence == name)
}

fn take(words: &mut &[&str], word: &str) -> bool {
    let is_next = words.first() == Some(&word);
    if is_next {
        *words = &words[1..];
    }
    is_next
}
