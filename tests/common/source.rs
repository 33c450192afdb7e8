//! The source of the gateway as text: without comments and without the modules of tests.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    missing_docs,
    reason = "a test"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

/// A file, by its path from the root of the repository.
pub struct File {
    pub path: String,
    raw: String,
    /// What counts: empty lines stand for comments and tests, so that line numbers stay.
    code: String,
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`, tests of their own left out, in order.
pub fn files(folder: &str) -> Vec<File> {
    let mut paths = Vec::new();
    collect(&root().join(folder), &mut paths);
    paths.sort();
    paths.iter().map(|path| File::read(path)).filter(|file| !file.is_test()).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

impl File {
    fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        Self::of(path.strip_prefix(root()).unwrap().to_str().unwrap(), &text)
    }

    pub fn of(path: &str, text: &str) -> Self {
        Self { path: path.into(), raw: text.into(), code: code(text) }
    }

    fn is_test(&self) -> bool {
        self.path.ends_with("/tests.rs") || self.path.contains("/tests/")
    }

    pub fn mentions(&self, word: &str) -> bool {
        self.code.contains(word)
    }

    /// The numbers of the lines of code with this word in them.
    pub fn lines_with(&self, word: &str) -> Vec<usize> {
        (1..).zip(self.code.lines()).filter(|(_, line)| line.contains(word)).map(|(number, _)| number).collect()
    }

    /// The same, comments and tests included.
    pub fn raw_lines_with<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        (1..).zip(self.raw.lines()).filter(move |(_, line)| line.contains(word)).map(|(number, _)| number)
    }

    /// The modules of the crate's root that the code names, each with its line.
    pub fn rooms_used(&self) -> Vec<(usize, String)> {
        let mut used = Vec::new();
        for (at, path) in self.paths_from_root() {
            let line = self.code[..at].matches('\n').count() + 1;
            let names = match path.strip_prefix('{') {
                Some(group) => first_names(group),
                None => vec![name(path)],
            };
            used.extend(names.into_iter().filter(|name| !name.is_empty()).map(|name| (line, name)));
        }
        used
    }

    /// Where a path from the root begins, and what follows `crate::`, or as many `super::` as lead to the root.
    fn paths_from_root(&self) -> Vec<(usize, &str)> {
        let supers = "super::".repeat(self.depth());
        let mut starts = Vec::new();
        for prefix in ["crate::", supers.as_str()] {
            for (at, _) in self.code.match_indices(prefix) {
                let before = self.code[..at].chars().next_back().unwrap_or(' ');
                let is_longer_word = before.is_alphanumeric() || matches!(before, '_' | ':' | '$');
                if !is_longer_word {
                    starts.push((at, &self.code[at + prefix.len()..]));
                }
            }
        }
        starts
    }

    /// How far the file's module is from the root.
    fn depth(&self) -> usize {
        let inside = self.path.split("src/").nth(1).unwrap_or_default();
        let parts = inside.split('/').count();
        if inside.ends_with("mod.rs") { parts - 1 } else { parts }
    }
}

/// The text without comment lines and without `#[cfg(test)]` modules.
fn code(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let is_module = |next: &&str| next.trim_start().starts_with("mod ") && next.ends_with('{');
        if line.trim() == "#[cfg(test)]" && lines.peek().is_some_and(is_module) {
            // The formatter puts the closing brace under the attribute.
            let indent = &line[..line.len() - line.trim_start().len()];
            let end = format!("{indent}}}");
            code.push('\n');
            for inside in lines.by_ref() {
                code.push('\n');
                if inside == end {
                    break;
                }
            }
            continue;
        }
        if !line.trim_start().starts_with("//") {
            code.push_str(line);
        }
        code.push('\n');
    }
    code
}

/// The first names of the paths in a `{..}` group.
fn first_names(group: &str) -> Vec<String> {
    let (mut depth, mut names, mut expects_name) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => expects_name = true,
            c if expects_name && !c.is_whitespace() => {
                names.push(name(&group[at..]));
                expects_name = false;
            }
            _ => {}
        }
    }
    names
}

fn name(path: &str) -> String {
    path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}
