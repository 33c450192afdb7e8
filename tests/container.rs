//! The Dockerfile, as far as it can be judged without building it; `.ci/container` compiles what it copies.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::{fs, path::Path, process::Command};

/// An instruction and its words.
struct Line {
    instruction: String,
    words: Vec<String>,
}

fn read(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).unwrap()
}

fn dockerfile() -> Vec<Line> {
    let text = read("Dockerfile");
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            assert!(!line.ends_with('\\'), "this test reads one line for each instruction: {line}");
            let mut words = line.split_whitespace().map(String::from);
            Line { instruction: words.next().unwrap(), words: words.collect() }
        })
        .collect()
}

/// The words of all instructions of this name.
fn all<'a>(lines: &'a [Line], instruction: &str) -> Vec<&'a [String]> {
    lines.iter().filter(|line| line.instruction == instruction).map(|line| line.words.as_slice()).collect()
}

#[test]
fn base_images_are_arguments_with_defaults() {
    let lines = dockerfile();
    let first = lines.iter().position(|line| line.instruction == "FROM").unwrap();
    let arguments: Vec<_> = lines[..first].iter().map(|line| line.words[0].split_once('=').unwrap()).collect();
    assert!(arguments.iter().all(|(_, default)| default.contains('/') && default.contains(':')), "{arguments:?}");
    let from = all(&lines, "FROM");
    assert_eq!(from.len(), 2, "one stage builds, one runs");
    for words in from {
        let name = words[0].strip_prefix("${").and_then(|word| word.strip_suffix('}')).unwrap();
        assert!(arguments.iter().any(|(argument, _)| *argument == name), "{name} is no argument before the first FROM");
    }
}

#[test]
fn what_is_copied_is_there_and_nothing_else_is_sent() {
    let lines = dockerfile();
    let copies = all(&lines, "COPY").into_iter().filter(|words| !words[0].starts_with("--"));
    let mut copied: Vec<String> = copies.flat_map(|words| words[..words.len() - 1].to_vec()).collect();
    for path in &copied {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{path} is not there");
    }
    let ignored = read(".dockerignore");
    let mut rules = ignored.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    assert_eq!(rules.next(), Some("*"), "what isn't named stays out, keys above all");
    let mut sent: Vec<_> = rules.map(|rule| rule.strip_prefix('!').unwrap().to_owned()).collect();
    copied.sort();
    sent.sort();
    assert_eq!(sent, copied);
    assert!(all(&lines, "ADD").is_empty());
}

#[test]
fn it_runs_the_gateway_and_not_as_root() {
    let lines = dockerfile();
    let last = lines.iter().rposition(|line| line.instruction == "FROM").unwrap();
    let stage = &lines[last..];
    let (user, group) = all(stage, "USER")[0][0].split_once(':').unwrap();
    assert!([user, group].iter().all(|id| id.parse::<u32>().unwrap() > 0));
    assert!(all(stage, "RUN").is_empty(), "the image that it runs in need not have a shell");
    assert_eq!(all(stage, "EXPOSE")[0], ["2748/tcp", "2749/tcp", "8443/tcp", "9060/udp", "9464/tcp"]);

    let (copied, entry) = (all(stage, "COPY")[0].last().unwrap(), &all(stage, "ENTRYPOINT")[0]);
    assert_eq!(entry[0], format!("[{copied:?}]"));
    let arguments: Vec<String> = serde_json::from_str(&all(stage, "CMD")[0].join(" ")).unwrap();

    // The first start of the container, in a folder that is empty as its volume is.
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_callgate")).current_dir(folder.path()).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["init", "."]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run(&[&arguments[..], &["--check"]].concat());
}
