//! `callgate serve` where nothing is set up: a gateway to try out, with a simulated switch, by the real binary.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use callgate::{
    model::{EventBody, Protection, Timestamp},
    switch::sim::{Sim, SimSettings},
};
use callgate_sdk::{
    Connector, Event, Events, Identity, Roots, Session,
    client::{Indicator, MediaOpened},
};
use common::{
    leaks,
    served::{Served, callgate},
};
use tempfile::TempDir;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// `callgate serve`, on ports that are free.
fn serve(folder: &Path) -> Command {
    let mut serve = callgate(folder, &["serve"]);
    serve
        .env("CALLGATE_DOORS__CLEAR", "127.0.0.1:0")
        .env("CALLGATE_DOORS__TLS", "127.0.0.1:0")
        .env("CALLGATE_METRICS__LISTEN", "127.0.0.1:0")
        .env("CALLGATE_ADMIN__LISTEN", "127.0.0.1:0")
        .stdout(Stdio::piped());
    serve
}

/// Starts it, and says what it said and where its TLS door is.
fn start(folder: TempDir) -> (Served, String) {
    let command = serve(folder.path());
    let mut served = Served::run(folder, command);
    let address = served.log_line("door=\"tls\" address=");
    (served, address)
}

/// Stops it in order: what it said, and what it logged.
fn stop(mut served: Served) -> (String, String) {
    let mut stdout = served.child.stdout.take().unwrap();
    let (code, log) = served.stop();
    assert_eq!(code, Some(0), "{log}");
    let mut said = String::new();
    stdout.read_to_string(&mut said).unwrap();
    (said, log)
}

/// The files of the folder with their bytes.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder.join("callgate")).unwrap().map(Result::unwrap);
    let file = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
    // The store and the audit log are written while they are open, and a socket can't be read.
    let is_kept = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let name = name.to_str().unwrap();
        !["audit", "callgate.redb", "callgate.sock"].iter().any(|live| name.starts_with(live))
    };
    entries.filter(is_kept).map(file).collect()
}

/// Every key that the first calls of the gateway will have is searched for in what it logs.
fn watch_keys() {
    let start = Instant::now();
    let mut sim = Sim::new("sim".parse().unwrap(), SimSettings::default(), 1, start, Timestamp(0));
    let mut events = Vec::new();
    while let Some(due) = sim.deadline().filter(|due| *due < start + 2 * PATIENCE) {
        sim.on_time(due, &mut events);
    }
    for event in events {
        let EventBody::MediaOpened(opened) = event.body else { continue };
        if let Protection::Keyed { keys, .. } = opened.protection {
            leaks::watch_key(&[keys.keys()[0].key.expose(), keys.keys()[0].salt.expose()].concat());
        }
    }
}

/// Opens a session by the files that the gateway made, and monitors everything.
async fn listen(folder: &Path, address: &str, user: &str) -> (Session, Events) {
    let read = |name: &str| fs::read(folder.join("callgate").join(name)).unwrap();
    let identity = Identity::from_pem(&read(&format!("{user}-1.pem")), &read(&format!("{user}-1.key"))).unwrap();
    let roots = Roots::from_pem(&read("ca.pem")).unwrap();
    let connector = Connector::tls(address, "localhost", identity, roots);
    let (session, events) = connector.open(user, "1").await.unwrap();
    let devices = session.devices("").await.unwrap();
    assert_eq!((devices.len(), devices[0].name.as_str()), (100, "sim-00001"));
    for device in devices {
        session.monitor(&device.name, &[]).await.unwrap();
    }
    (session, events)
}

/// The first stream with this indicator.
async fn media(events: &mut Events, wanted: fn(Indicator) -> bool) -> MediaOpened {
    let search = async {
        loop {
            match events.next().await {
                Some(Event::MediaOpened(_, media)) if wanted(media.indicator) => return *media,
                Some(_) => {}
                None => panic!("the session is closed: {:?}", events.closed()),
            }
        }
    };
    tokio::time::timeout(PATIENCE, search).await.expect("no such stream")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_to_try_out_is_made_and_found_again() {
    watch_keys();
    let (served, address) = start(tempfile::tempdir().unwrap());
    let folder = served.folder.path().to_owned();
    let (_app_session, mut app) = listen(&folder, &address, "app").await;
    let (_viewer_session, mut viewer) = listen(&folder, &address, "viewer").await;
    let keyed = media(&mut app, |indicator| indicator == Indicator::KeysAvailable).await;
    assert!(keyed.keys.is_some());
    let withheld = media(&mut viewer, |indicator| indicator == Indicator::UserNotAuthorized).await;
    assert!(withheld.keys.is_none());
    let made = files(&folder);

    let (said, log) = stop(served);
    assert!(log.contains("this switch is simulated: calls and keys are made up, and no media are sent"), "{log}");
    for word in
        ["callgate/callgate.toml", "app-1.pem", "viewer-1.pem", "no media", "Next", "first_app", "callgate init"]
    {
        assert!(said.contains(word), "{word:?} is not in\n{said}");
    }
    for name in made.keys().filter(|name| name.ends_with(".pem")) {
        let is_told = said.contains(name.as_str()) || ["ca.pem", "gateway.pem"].contains(&name.as_str());
        assert!(is_told, "{name} is not in\n{said}");
    }
}

#[test]
fn an_empty_folder_is_used_and_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("callgate")).unwrap();
    let (served, _) = start(folder);
    let (said, _) = stop(served);
    assert!(said.contains("The folder callgate was empty, and is its folder now:"), "{said}");
}

#[test]
fn the_second_start_takes_what_the_first_one_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    let (first, _) = start(folder);
    let made = files(&path);
    // The folder goes with the one that serves: this one is kept.
    let kept = tempfile::tempdir().unwrap();
    fs::rename(path.join("callgate"), kept.path().join("callgate")).unwrap();
    stop(first);

    let path = kept.path().to_owned();
    let (second, _) = start(kept);
    assert_eq!(files(&path), made, "nothing is made anew");
    let (said, log) = stop(second);
    assert!(log.contains("this config is used"), "{log}");
    assert_eq!(said, "", "it was said already");
}

/// Without the log.
fn quiet(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_callgate"));
    command.current_dir(folder).args(arguments).env("CALLGATE_LOG", "warn").stdin(Stdio::null()).output().unwrap()
}

/// Runs it to its end, which must be a refusal: what it said.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let output = quiet(folder, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(output.stdout, b"");
    said
}

#[test]
fn a_folder_that_is_no_gateway_s_is_left_alone_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("callgate");
    fs::create_dir(&inside).unwrap();
    // A set-up that lost its config, or a folder of sources.
    for name in ["ca.key", "Cargo.toml"] {
        fs::write(inside.join(name), "precious").unwrap();
        let said = refused(folder.path(), &["serve"]);
        assert!(said.starts_with("callgate: callgate: is there and has no callgate.toml in it"), "{said}");
        assert!(said.contains("--config") && said.contains("`callgate init DIR`"), "{said}");
        assert_eq!(files(folder.path()), BTreeMap::from([(name.to_owned(), b"precious".to_vec())]));
        fs::remove_file(inside.join(name)).unwrap();
    }
}

#[test]
fn a_folder_that_others_could_have_made_is_not_taken_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("callgate");
    fs::create_dir(&inside).unwrap();
    fs::write(inside.join("callgate.toml"), "").unwrap();
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o777)).unwrap();
    let said = refused(folder.path(), &["serve"]);
    assert!(said.contains("others may write into this folder (mode 0777)") && said.contains("--config"), "{said}");
}

#[test]
fn a_check_makes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let said = refused(folder.path(), &["serve", "--check"]);
    assert!(said.contains("callgate/callgate.toml: there is no such file to check"), "{said}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn what_is_made_passes_the_check_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("callgate");
    callgate::trust::try_out(&inside, time::OffsetDateTime::now_utc()).unwrap();
    let output = quiet(folder.path(), &["serve", "--check"]);
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(out.starts_with("ok callgate/callgate.toml: 1 switch; "), "{out}{err}");
    assert!(out.contains("is to be made, and gets 2 users and 100 devices from the config;"), "{out}{err}");
    assert_eq!(err, "");
}
