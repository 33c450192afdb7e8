//! The commands of docs/API.md are run as they stand there, in their order, at a gateway that serves.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "common/pages.rs"]
mod pages;
#[path = "common/skipped.rs"]
mod skipped;

use std::{fs, path::Path, process::Command, sync::Arc};

use callgate::{
    audit::{AuditLog, Options},
    config::Config,
    gateway::{Served, administration},
    trust::{Ca, Ledger, Validity, init},
};
use serde_json::Value;
use tempfile::TempDir;
use time::OffsetDateTime;

use pages::{blocks, root};
use skipped::skipped;

const PAGE: &str = "docs/API.md";

const CONFIG: &str = "\
[doors]
clear = \"closed\"
tls = \"127.0.0.1:0\"
[admin]
listen = \"127.0.0.1:0\"
[tls]
client_ca = \"clients.pem\"
own_ca = \"ca.pem\"
own_ca_key = \"ca.key\"
[audit]
reserve_bytes = 0
[[user]]
name = \"recorder\"
kind = \"application\"
devices = [\"1001\"]
groups = [\"Standard CTI Enabled\", \"Standard CTI Secure Connection\"]
[[device]]
name = \"1001\"
addresses = [\"udp:192.0.2.7:5060\"]
";

/// The commands, with what each run has otherwise: the port and the setup token.
fn script(port: u16, setup: &str) -> String {
    let page = fs::read_to_string(root().join(PAGE)).unwrap();
    let mut script = "set -eu\n".to_owned();
    for block in blocks(&page).iter().filter(|block| block.language == "sh") {
        script.push_str(&format!("echo; echo '== line {}'\n{}\n", block.line, block.lines.join("\n")));
    }
    for example in ["https://localhost:8443", "SETUP=cgsetup_..."] {
        assert!(script.contains(example), "{example}");
    }
    script
        .replace("https://localhost:8443", &format!("https://localhost:{port}"))
        .replace("SETUP=cgsetup_...", &format!("SETUP='{setup}'"))
}

/// A gateway's folder, and beside it the certificate of an app that another CA issued.
fn folder() -> TempDir {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("callgate");
    let now = OffsetDateTime::now_utc();
    init(&folder, &Default::default(), now).unwrap();
    let other = Ca::make("Other CA", Validity::days(now, 100).unwrap()).unwrap();
    let own = fs::read_to_string(folder.join("ca.pem")).unwrap();
    fs::write(folder.join("clients.pem"), own + other.certificate_pem()).unwrap();
    fs::write(place.path().join("other.jsonl"), "").unwrap();
    let ledger = Ledger::open(place.path().join("other.jsonl")).unwrap();
    let (user, instance) = ("recorder".parse().unwrap(), "2".parse().unwrap());
    let app = other.issue_app(&user, &instance, Validity::days(now, 30).unwrap(), now, &ledger).unwrap();
    fs::write(place.path().join("app.pem"), &app.certificate_pem).unwrap();
    place
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_of_the_page_works_in_its_place() {
    let version = Command::new("curl").arg("--version").output();
    let version = version.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    // `--json` and `%header{}` are of 7.82 and 7.84.
    let number = |at: usize| version.split([' ', '.']).nth(at)?.parse::<u32>().ok();
    if (number(1), number(2)) < (Some(7), Some(84)) {
        skipped("curl", "7.84 or later is not here: the commands of the page were not run");
        return;
    }
    let place = folder();
    let config = Config::parse(CONFIG, "test.toml", &place.path().join("callgate"), std::iter::empty()).unwrap();
    let log = Arc::new(AuditLog::open(Options { reserve_bytes: 0, ..config.audit.clone() }).unwrap());
    let administration = administration(&config, Arc::clone(&log) as _).await.unwrap();
    let served = Served::start(config, administration, log, None).await.unwrap();
    let setup = served.administration().first_setup_token().await.unwrap().unwrap();
    let port = served.gateway().administration().unwrap().tls_address().unwrap().port();
    let script = script(port, setup.tell());
    let at = place.path().to_owned();
    let ran = tokio::task::spawn_blocking(move || Command::new("sh").arg("-c").arg(script).current_dir(at).output());
    let ran = ran.await.unwrap().unwrap();
    let (out, err) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    assert!(ran.status.success() && err.is_empty(), "{}\n{out}\n{err}", ran.status);
    for refused in ["\"VERSION_CONFLICT\"", "\"NOT_FOUND\""] {
        assert_eq!(out.matches(refused).count(), 1, "{refused}: {out}");
    }
    assert_eq!(out.matches("\"urn:callgate:error:").count(), 2, "no other command is refused: {out}");

    // What they say that they do is done.
    let state = served.administration().state();
    let revoked = state.certificates.values().map(|(_, record)| record.revoked.as_ref().map(|known| &*known.reason));
    assert_eq!(revoked.collect::<Vec<_>>(), [Some("key compromise: laptop lost")]);
    let device = state.directory.device("1001").unwrap();
    assert_eq!((&*device.description, device.restricted), ("Reception", true));
    assert_eq!(device.addresses, ["udp:192.0.2.7:5060".parse().unwrap()], "what restricts it takes nothing else away");
    assert!(state.directory.user("desk 1").is_some() && state.directory.device("1004").is_none());
    assert!(state.accounts.have_administrator(None, &state.certificates, OffsetDateTime::now_utc()));
    assert_eq!(out.matches("-----BEGIN X509 CRL-----").count(), 1);
    let file = |name: &str| fs::read(place.path().join(name)).unwrap();
    assert_eq!(file("callgate.crl")[0], 0x30);
    assert!(file("store.backup").starts_with(b"{\"callgate_backup\":"));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(place.path().join("store.backup")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o600);
    let description: Value = serde_json::from_slice(&file("openapi.json")).unwrap();
    assert!(description["openapi"].as_str().unwrap().starts_with("3.1"));
    assert_all_are_shown(&fs::read_to_string(root().join(PAGE)).unwrap(), &description);
    served.stop().await;
}

/// Each resource of the description is asked for by a command of the page, or named in it.
fn assert_all_are_shown(page: &str, description: &Value) {
    for path in description["paths"].as_object().unwrap().keys() {
        let resource = Path::new(path).iter().take(if path.starts_with("/v1/live") { 4 } else { 3 });
        let resource: Vec<_> = resource.skip(1).map(|part| part.to_str().unwrap()).collect();
        let resource = format!("/{}", resource.join("/"));
        assert!(page.contains(&resource), "{resource} isn't on the page");
    }
}
