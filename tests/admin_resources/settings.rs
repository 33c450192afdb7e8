//! The settings in force, to read.

use std::fs;

use serde_json::json;

use crate::{common::USERS, rig::Rig};

const HEAD: &str = "
mode = \"mixed\"
lenient_doors = true
door_networks = [\"127.0.0.0/8\", \"::1\"]
[limits]
sessions = 77
[audit]
keep_days = 30
flush_milliseconds = 0
[[switch]]
name = \"pbx\"
kind = \"hep\"
listen = \"127.0.0.1:0\"
password_file = \"hep.password\"
pbx = [\"udp:192.0.2.1:5060\"]
";

#[tokio::test]
async fn r38_the_settings_in_force_are_read_and_no_secret_is_among_them() {
    let fill = |folder: &std::path::Path| fs::write(folder.join("hep.password"), "hunter2hunter2\n").unwrap();
    let rig = Rig::start_in(USERS, HEAD, fill).await;
    let answer = rig.get("/v1/settings").await;
    let settings = answer.ok(200);
    assert_eq!((&settings["mode"], &settings["lenient_doors"]), (&json!("mixed"), &json!(true)));
    let doors = &settings["doors"];
    assert_eq!((&doors["level"], &doors["clear"]), (&json!("unsecure+secure"), &json!("127.0.0.1:0")), "{doors}");
    assert_eq!(doors["networks"], json!(["127.0.0.0/8", "::1/128"]));
    assert_eq!((&settings["limits"]["sessions"], &settings["limits"]["open_seconds"]), (&json!(77), &json!(10)));
    let audit = &settings["audit"];
    assert_eq!((&audit["keep_days"], &audit["keep_segments"]), (&json!(30), &json!(null)), "{audit}");
    assert_eq!(audit["flush_milliseconds"], 0);
    let switch = &settings["switches"][0];
    assert_eq!((&switch["kind"], &switch["has_password"]), (&json!("hep"), &json!(true)), "{switch}");
    let certificates = settings["certificates"].as_array().unwrap();
    let kinds: Vec<_> = certificates.iter().map(|file| file["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["gateway", "client-ca"]);
    for file in certificates {
        assert!(file["days_left"].as_i64().unwrap() > 300, "{file}");
        assert!(file["not_after"].as_str().unwrap().ends_with('Z'), "{file}");
    }
    let text = String::from_utf8_lossy(&answer.body);
    for secret in ["hunter2", "hep.password", "gateway.key", "audit.key", "SCRAM", "PRIVATE"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let in_force = settings["certificates"].clone();
    fs::write(rig.folder.path().join("gateway.pem"), "another one").unwrap();
    fs::remove_file(rig.folder.path().join("ca.pem")).unwrap();
    let again = rig.get("/v1/settings").await.ok(200);
    assert_eq!(again["certificates"], in_force, "what is in the files counts from the next SIGHUP on");
    rig.finish().await;
}
