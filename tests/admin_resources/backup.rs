//! A backup as a download.

use serde_json::Value;

use crate::{common::USERS, rig::Rig};

#[tokio::test]
async fn r21_a_backup_is_on_record_before_it_is_sent() {
    let rig = Rig::start(USERS, "").await;
    let backup = rig.ask("POST", "/v1/backup", &[], None).await;
    assert_eq!(backup.status, 200);
    assert!(backup.header("content-disposition").unwrap().contains(".backup"));
    let lines: Vec<Value> =
        String::from_utf8_lossy(&backup.body).lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert!(lines[0]["callgate_backup"].is_object() && lines.last().unwrap()["end"]["entries"] == lines.len() - 2);
    let log = std::fs::read_to_string(rig.folder.path().join("audit/audit-0000000001.jsonl")).unwrap();
    let records: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> =
        records.iter().filter(|record| record["verb"] == "back up").map(|record| &record["outcome"]).collect();
    assert_eq!(told, ["begun", "done"]);
    rig.finish().await;
}
