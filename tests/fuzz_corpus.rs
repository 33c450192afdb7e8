//! Every committed input of the fuzz targets runs through their harnesses: what was found once stays mended.
//!
//! The inputs of the target `session` are run beside the code that they are about, in `src/cti/fuzzing.rs`.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "test code")]

#[path = "../fuzz/harness/mod.rs"]
mod harness;

use std::{fs, path::Path};

fn run(target: &str, harness: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut inputs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{target} has no corpus");
    for input in inputs {
        println!("{}", input.display());
        harness(&fs::read(input).unwrap());
    }
}

#[test]
fn calls() {
    run("call", harness::call);
}

#[test]
fn captures() {
    run("capture", harness::capture);
}

#[test]
fn frames() {
    run("frames", harness::frames);
}

#[test]
fn hep() {
    run("hep", harness::hep);
}

#[test]
fn sip() {
    run("sip", harness::sip);
}
