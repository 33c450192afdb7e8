//! docs/MONITORING.md is true where a test can tell: its metrics are those of the code, and the feed's lines are logged. To
//! renew its table: `UPDATE=1 cargo test --test monitoring_docs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "common/pages.rs"]
mod pages;

use std::{collections::BTreeSet, fs, path::Path};

use callgate::gateway::{METRICS, Metric, MetricKind};
use pages::root;

/// A metric's name, kind and labels.
type Counted = (String, &'static str, Vec<String>);

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

/// What the code counts, by its macros: a name that is written out, and labels.
fn counted() -> BTreeSet<Counted> {
    let code = sources(&root().join("src"));
    let mut counted = BTreeSet::new();
    for (kind, word) in [("counter", "counter!("), ("gauge", "gauge!("), ("histogram", "histogram!(")] {
        for (at, _) in code.match_indices(word) {
            let is_other = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let behind = &code[at + word.len()..];
            let mut depth = 1;
            let end = behind.find(|c| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth == 0
            });
            let arguments = behind[..end.expect("the macro has an end")].trim_start();
            if is_other || arguments.starts_with("metric.name") {
                // `describe_counter!`, and what goes over the whole table.
                continue;
            }
            let (name, rest) = arguments.split_once('"').unwrap().1.split_once('"').expect("its name is written out");
            let labels = rest.split("=>").filter_map(|before| quoted(before, '"').pop());
            let labels = labels.take(rest.matches("=>").count()).collect();
            counted.insert((name.to_owned(), kind, labels));
        }
    }
    counted
}

#[test]
fn r43_every_metric_of_the_code_stands_in_the_table_and_no_other() {
    let table: BTreeSet<Counted> = METRICS
        .iter()
        .map(|metric| {
            let labels = metric.labels.iter().map(ToString::to_string).collect();
            (metric.name.to_owned(), metric.kind.name(), labels)
        })
        .collect();
    let code = counted();
    let lacking: Vec<_> = code.difference(&table).collect();
    let invented: Vec<_> = table.difference(&code).collect();
    assert!(lacking.is_empty() && invented.is_empty(), "the table lacks {lacking:#?}, the code lacks {invented:#?}");
    assert!(code.len() >= 30, "only {} metrics were found: the scan sees too little", code.len());
}

#[test]
fn the_page_has_the_table() {
    const BEGIN: &str = "<!-- generated: metrics -->\n";
    const END: &str = "<!-- end -->";
    let committed = page();
    let (before, behind) = committed.split_once(BEGIN).unwrap();
    let (_, behind) = behind.split_once(END).unwrap();
    let mut table = String::from("| Metric | Kind | Labels | What it says |\n| --- | --- | --- | --- |\n");
    for Metric { name, kind, labels, help, .. } in METRICS {
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        table.push_str(&format!("| `{name}` | {} | {} | {help} |\n", kind.name(), labels.join(", ")));
    }
    let renewed = format!("{before}{BEGIN}\n{table}\n{END}{behind}");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(root().join("docs/MONITORING.md"), &renewed).unwrap();
    } else {
        let update = "run `UPDATE=1 cargo test --test monitoring_docs`";
        assert!(committed == renewed, "docs/MONITORING.md is out of date: {update}");
    }
}

/// What graphs and alerts ask for.
#[test]
fn alerts_and_the_dashboard_ask_for_metrics_that_there_are() {
    let known: BTreeSet<String> = METRICS
        .iter()
        .flat_map(|metric| match metric.kind {
            MetricKind::Histogram(_) => ["_bucket", "_sum", "_count"].map(|end| format!("{}{end}", metric.name)).into(),
            _ => vec![metric.name.to_owned()],
        })
        .collect();
    for (path, least) in [("deploy/prometheus/alerts.yml", 10), ("deploy/grafana/callgate.json", 20)] {
        let text = fs::read_to_string(root().join(path)).unwrap();
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let asked: BTreeSet<&str> = text.split(|c| !is_part(c)).filter(|word| word.starts_with("callgate_")).collect();
        let unknown: Vec<_> = asked.iter().filter(|name| !known.contains(**name)).collect();
        assert!(unknown.is_empty(), "{path} asks for {unknown:?}");
        assert!(asked.len() >= least, "{path} asks for {} metrics only", asked.len());
    }
}

/// Prometheus sees no rise in a counter that comes with its first count, so an alert would miss the first time.
#[test]
fn what_an_alert_waits_for_is_on_the_page_from_the_start() {
    let alerts = fs::read_to_string(root().join("deploy/prometheus/alerts.yml")).unwrap();
    let mut checked = 0;
    for asked in alerts.split("increase(").skip(1) {
        let asked = asked.split('[').next().unwrap();
        let (name, selectors) = asked.split_once('{').unwrap_or((asked, ""));
        let metric = METRICS.iter().find(|metric| metric.name == name).unwrap();
        if metric.labels.contains(&"switch") {
            // Each switch brings its own, or the alert looks for what is new, too.
            continue;
        }
        assert!(!metric.starts.is_empty(), "{name} isn't there from the start");
        for value in quoted(selectors, '"').iter().flat_map(|values| values.split('|')) {
            assert!(metric.starts.iter().any(|start| start.contains(&value)), "{name} doesn't start with {value}");
        }
        checked += 1;
    }
    assert!(checked >= 8, "only {checked} were found");
}

#[test]
fn every_alert_says_what_it_is_and_where_to_read_what_to_do() {
    let alerts = fs::read_to_string(root().join("deploy/prometheus/alerts.yml")).unwrap();
    let operations = fs::read_to_string(root().join("docs/OPERATIONS.md")).unwrap();
    let tests = fs::read_to_string(root().join("deploy/prometheus/alerts_test.yml")).unwrap();
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 10, "{names:?}");
    for name in &names {
        assert!(operations.contains(&format!("### {name}\n")), "docs/OPERATIONS.md has no chapter about {name}");
        assert!(tests.contains(&format!("alertname: {name}\n")), "alerts_test.yml doesn't test {name}");
    }
    for word in ["severity: ", "summary: ", "description: "] {
        assert_eq!(alerts.matches(word).count(), names.len(), "each alert has a `{word}`");
    }
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
