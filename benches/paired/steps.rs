//! Takes what the benchmark `pipeline` has left behind into the report.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

use super::{
    process,
    results::{StepRow, StepsResults},
};

#[derive(clap::Args)]
pub struct Steps {
    /// Where criterion has left its results
    #[arg(long, value_name = "FOLDER", default_value = "target/criterion")]
    from: PathBuf,
    /// Where the results go
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Steps {
    pub fn run(self) {
        let mut rows = Vec::new();
        find(&self.from, &mut rows);
        assert!(!rows.is_empty(), "nothing in {}: run the benchmark `pipeline` first", self.from.display());
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        process::write(&self.out, &StepsResults { machine: process::machine(), rows });
    }
}

/// Every folder `new` has a benchmark's last results.
fn find(folder: &Path, rows: &mut Vec<StepRow>) {
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        if entry.file_name() != "new" {
            find(&entry.path(), rows);
            continue;
        }
        let json = |name: &str| -> Value {
            serde_json::from_str(&fs::read_to_string(entry.path().join(name)).unwrap()).unwrap()
        };
        let (benchmark, estimates) = (json("benchmark.json"), json("estimates.json"));
        rows.push(StepRow {
            name: benchmark["full_id"].as_str().unwrap().into(),
            nanos: estimates["median"]["point_estimate"].as_f64().unwrap(),
            elements: benchmark["throughput"]["Elements"].as_u64().unwrap_or(1),
        });
    }
}
