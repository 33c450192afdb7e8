//! The audit log's disk fails while a served gateway is administered and keys are wanted (R21, R42): no key without its
//! record, whatever is taken is taken at once, and all of it is on record when the disk is mended, over a kill -9 too.
//!
//! The test that kills runs its own binary as the process: a test that does nothing unless a variable says what its part is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_lc_rs::hmac;
use callgate::{
    admin::{Actor, Administration, Journal, Refused},
    audit::{AuditKey, AuditLog, Fault, Flush, Options, Records, Touch, Trail, checkpoints, verify},
    config::Config,
    directory::{Cascade, Change, Of, UserSettings},
    gateway::{Served, administration},
    model::{Group, Groups, UserName},
    trust::{Ca, Fingerprint, Issued, Ledger, Validity, init, records_of_file},
};
use callgate_sdk::client::{
    Closed, Connector, Event, Events, Identity, Indicator, MediaOpened, Roots, Session, UnavailableReason,
};
use callgate_wire::v1::ErrorCode;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::{task::JoinHandle, time::sleep};

/// Says to the test's own process what its part is: the folder, what fails, and when.
const PART: &str = "CALLGATE_TEST_OUTAGE";
/// What that process says last.
const END: &str = "end";
/// A switch that isn't there, with some hundred keys in a second.
const CONFIG: &str = r#"
[admin]
listen = "127.0.0.1:0"

[doors]
clear = "closed"
tls = "127.0.0.1:0"
[[switch]]
name = "sim"
kind = "simulated"
devices = 40
calls_per_second = 40
call_seconds = 1
ring_seconds = 0
secure_percent = 100
unanswered_percent = 0
"#;

#[tokio::test(flavor = "multi_thread")]
async fn r15_r21_whichever_write_or_flush_fails_no_key_is_without_its_record_and_what_is_taken_is_taken_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(BadDisk::default());
    let world = World::start(folder.path(), &disk).await;
    let mut seen = Vec::new();
    static DONE: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let say = |line: &str| DONE.lock().unwrap().extend(line.strip_prefix("done ").map(str::to_owned));
    for (touch, at) in points().into_iter().filter(|(_, at)| is_long() || at % 3 == 1) {
        seen.extend(world.outage(touch, at, &say).await);
    }
    let said = world.end(folder.path()).await;
    DONE.lock().unwrap().iter().for_each(|line| said.assert_told(line, &["done", "recovered"]));
    let keys: usize = seen.iter().map(|seen| seen.keys.len()).sum();
    let unrecordable: usize = seen.iter().map(|seen| seen.unrecordable).sum();
    println!("{} sessions, {keys} keys, {unrecordable} not recordable", seen.len());
    assert!(keys > 100 && unrecordable > 5, "{keys} keys, {unrecordable} not recordable");
    said.check(&seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn r21_r42_nothing_that_was_acknowledged_is_lost_by_kill_9_while_the_disk_fails() {
    for (touch, at) in points().into_iter().filter(|(_, at)| is_long() || at % 4 == 1) {
        let folder = tempfile::tempdir().unwrap();
        let name = if touch == Touch::Write { "write" } else { "flush" };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["administers_until_it_is_killed", "--exact", "--nocapture", "--test-threads=1"])
            .env(PART, format!("{}:{name}:{at}", folder.path().display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let own = |line: &String| ["key ", "done ", END].iter().any(|begin| line.starts_with(begin));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).filter(own);
        let mut told: Vec<String> = Vec::new();
        // In the middle of what it takes away, or a little later: what would be granted last may be refused.
        let has_ended = |told: &[String]| told.last().is_some_and(|line| line == END);
        while told.iter().filter(|line| line.starts_with("done ")).count() < 1 + at % 4 && !has_ended(&told) {
            told.push(lines.next().expect("it has ended by itself"));
        }
        child.kill().unwrap();
        told.extend(lines);
        child.wait().unwrap();

        let world = World::start(folder.path(), &Arc::default()).await;
        for line in told.iter().filter_map(|line| line.strip_prefix("done ")) {
            world.assert_is_so(line);
        }
        world.until_delivered().await;
        let said = world.end(folder.path()).await;
        for line in told.iter().filter_map(|line| line.strip_prefix("done ")) {
            // That it was done may have waited for the disk in the process that is gone: then it is on record as begun.
            said.assert_told(line, &["done", "recovered", "begun"]);
        }
        let mut seen: HashMap<&str, Seen> = HashMap::new();
        for line in told.iter().filter_map(|line| line.strip_prefix("key ")) {
            let (session, key) = line.split_once(' ').unwrap();
            let of_session = seen.entry(session).or_default();
            of_session.session = session.into();
            of_session.keys.push(key.into());
        }
        said.check(&seen.into_values().collect::<Vec<_>>());
    }
}

/// The process that is killed: it says each key that its apps got, and each change that was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn administers_until_it_is_killed() {
    let Ok(part) = std::env::var(PART) else { return };
    let [at, touch, folder] = part.rsplitn(3, ':').collect::<Vec<_>>()[..] else { panic!("{part}") };
    let touch = if touch == "write" { Touch::Write } else { Touch::Flush };
    let disk = Arc::new(BadDisk::default());
    let world = World::start(Path::new(folder), &disk).await;
    let say = |line: &str| {
        let mut out = io::stdout().lock();
        // The test harness writes, too.
        out.write_all(format!("\n{line}\n").as_bytes()).unwrap();
        out.flush().unwrap();
    };
    world.outage(touch, at.parse().unwrap(), &say).await;
    say(END);
    std::future::pending::<()>().await;
}

/// Each write and each flush of the first 50.
fn points() -> Vec<(Touch, usize)> {
    (1..=50).flat_map(|at| [(Touch::Write, at), (Touch::Flush, at)]).collect()
}

fn is_long() -> bool {
    std::env::var_os("CALLGATE_LONG").is_some()
}

/// A disk of which some touch fails, and from then on each, until it is mended.
#[derive(Default)]
struct BadDisk(Mutex<Health>);

#[derive(Default)]
enum Health {
    #[default]
    Good,
    /// Until so many touches of this kind are done.
    Until(Touch, usize),
    Broken,
}

impl BadDisk {
    fn fault(self: &Arc<Self>) -> Fault {
        let disk = Arc::clone(self);
        Fault::new(move |touch| {
            let mut health = disk.0.lock().unwrap();
            match &mut *health {
                Health::Until(kind, left) if *kind == touch => {
                    *left -= 1;
                    if *left == 0 {
                        *health = Health::Broken;
                    }
                }
                _ => {}
            }
            match *health {
                // EIO
                Health::Broken => Err(io::Error::from_raw_os_error(5)),
                _ => Ok(()),
            }
        })
    }

    fn set(&self, health: Health) {
        *self.0.lock().unwrap() = health;
    }

    fn is_broken(&self) -> bool {
        matches!(*self.0.lock().unwrap(), Health::Broken)
    }
}

/// A served gateway, and who administers it.
struct World {
    served: Served,
    log: Arc<AuditLog>,
    disk: Arc<BadDisk>,
    folder: PathBuf,
}

/// What an app got.
#[derive(Debug, Default)]
struct Seen {
    session: String,
    /// `STREAM GENERATION FINGERPRINT`
    keys: Vec<String>,
    unrecordable: usize,
    closed: Option<ErrorCode>,
}

impl World {
    async fn start(folder: &Path, disk: &Arc<BadDisk>) -> Self {
        let options = Options {
            flush: Flush::Every(Duration::from_millis(2)),
            reserve_bytes: 0,
            retry: Duration::from_millis(1),
            fault: Some(disk.fault()),
            ..log_options(folder)
        };
        let log = Arc::new(AuditLog::open(options).unwrap());
        if !folder.join("gateway.pem").exists() {
            init(folder, &Default::default(), OffsetDateTime::now_utc()).unwrap();
        }
        let config = Config::parse(CONFIG, "test.toml", folder, std::iter::empty()).unwrap();
        let administration = administration(&config, Arc::clone(&log) as Arc<dyn Journal>).await.unwrap();
        let served = Served::start(config, administration, Arc::clone(&log) as Arc<dyn Trail>, None).await.unwrap();
        Self { served, log, disk: Arc::clone(disk), folder: folder.into() }
    }

    fn administration(&self) -> &Administration {
        self.served.administration()
    }

    async fn change(&self, change: Change) -> Result<(), Refused> {
        self.administration().change(&Actor::Gateway, &change, Of::Latest, Cascade::All).await.map(drop)
    }

    /// Users with keys come, the disk fails, and each loses something. `say` hears what was acknowledged.
    async fn outage(&self, touch: Touch, at: usize, say: &(impl Fn(&str) + Copy + Send + Sync + 'static)) -> Vec<Seen> {
        let name = |what: &str| -> UserName { format!("{what}{touch:?}{at}").parse().unwrap() };
        let (removed, revoked, demoted) = (name("removed"), name("revoked"), name("demoted"));
        let mut apps = Vec::new();
        let mut certificates = Vec::new();
        for user in [&removed, &revoked, &demoted] {
            let issued = self.add(user).await;
            apps.push(App::open(self, user, &issued, *say).await);
            certificates.push(Fingerprint(issued.sha256));
        }
        self.disk.set(Health::Until(touch, at));
        // Once it has failed, and once while it is about to.
        let waits = at.is_multiple_of(2);
        while waits && !self.disk.is_broken() {
            sleep(Duration::from_millis(1)).await;
        }
        self.change(Change::RemoveUser(removed.clone())).await.unwrap();
        say(&format!("done remove {removed}"));
        let sha256 = certificates[1];
        self.administration().revoke(&Actor::Gateway, sha256, "lost").await.unwrap();
        say(&format!("done revoke {}", sha256.to_hex()));
        let [removed_app, revoked_app, demoted_app] = apps.try_into().ok().unwrap();
        let mut seen = Vec::new();
        // Who is removed loses its certificates by it.
        for app in [removed_app, revoked_app] {
            let of_app = app.reads.await.unwrap();
            assert_eq!(of_app.closed, Some(ErrorCode::CertificateRevoked), "closed while the log fails");
            seen.push(of_app);
        }
        self.change(Change::PutUser(demoted.clone(), settings(&[Group::SrtpKeyMaterial]))).await.unwrap();
        say(&format!("done put {demoted}"));
        // What gives something needs its record first.
        let granted = name("granted");
        let was_open = self.log.is_open();
        let outcome = self.change(Change::PutUser(granted.clone(), settings(&[]))).await;
        match &outcome {
            Ok(()) => say(&format!("done put {granted}")),
            Err(refused) => assert_eq!(refused.code(), ErrorCode::AuditUnavailable, "{refused}"),
        }
        assert!(was_open || outcome.is_err() || self.log.is_open(), "granted while the log was closed");

        self.disk.set(Health::Good);
        while !self.log.is_open() {
            sleep(Duration::from_millis(1)).await;
        }
        self.until_delivered().await;
        demoted_app.session.close().await;
        seen.push(demoted_app.reads.await.unwrap());
        seen
    }

    /// A user who gets keys, with a certificate.
    async fn add(&self, user: &UserName) -> Issued {
        self.change(Change::PutUser(user.clone(), settings(&[]))).await.unwrap();
        let now = OffsetDateTime::now_utc();
        let ca = Ca::load(&self.folder.join("ca.pem"), &self.folder.join("ca.key")).unwrap();
        let file = self.folder.join(format!("issued-{user}.jsonl"));
        fs::write(&file, "").unwrap();
        let ledger = Ledger::open(file).unwrap();
        let validity = Validity::days(now, 30).unwrap();
        let issued = ca.issue_app(user, &"1".parse().unwrap(), validity, now, &ledger).unwrap();
        for (fingerprint, record) in records_of_file(&ledger.records().unwrap()).unwrap() {
            self.administration().add_certificate(&Actor::Gateway, fingerprint, &record).await.unwrap();
        }
        issued
    }

    async fn until_delivered(&self) {
        while self.administration().heal().await.unwrap() {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// What was acknowledged is so.
    fn assert_is_so(&self, done: &str) {
        let state = self.administration().state();
        let (verb, name) = done.split_once(' ').unwrap();
        let user = state.directory.user(name);
        match verb {
            "remove" => assert!(user.is_none(), "{done}"),
            "put" => {
                let may_have_keys = user.unwrap_or_else(|| panic!("{done}")).groups.contains(Group::SrtpKeyMaterial);
                assert_eq!(may_have_keys, name.starts_with("granted"), "{done}");
            }
            _ => {
                let (_, record) = &state.certificates[&Fingerprint::from_hex(name).unwrap()];
                assert!(record.revoked.is_some(), "{done}");
            }
        }
    }

    /// Stops all, and reads the log.
    async fn end(self, folder: &Path) -> Said {
        self.served.stop().await;
        let mut log = self.log;
        let log = loop {
            match Arc::try_unwrap(log) {
                Ok(log) => break log,
                Err(shared) => log = shared,
            }
            sleep(Duration::from_millis(5)).await;
        };
        drop(log);
        let key = AuditKey::read(&folder.join("audit.key")).unwrap();
        let signed = checkpoints(&folder.join("checkpoints.jsonl"), &key).unwrap();
        let report = verify(&folder.join("log"), &key, &signed.checkpoints).unwrap();
        assert_eq!((report.findings, report.found), (Vec::new(), 0));
        let mut records = Records::of(&folder.join("log"));
        let mut all: Vec<Value> = Vec::new();
        while let Some(line) = records.next().unwrap() {
            all.push(serde_json::from_slice(line).unwrap());
        }
        Said(all)
    }
}

struct App {
    session: Session,
    reads: JoinHandle<Seen>,
}

impl App {
    async fn open(world: &World, user: &UserName, issued: &Issued, say: impl Fn(&str) + Send + Sync + 'static) -> Self {
        let identity = Identity::from_pem(issued.certificate_pem.as_bytes(), issued.key_pem.as_bytes()).unwrap();
        let roots = Roots::from_pem(&fs::read(world.folder.join("ca.pem")).unwrap()).unwrap();
        let address = world.served.tls_address().unwrap().to_string();
        let connector = Connector::tls(address, "localhost", identity, roots).event_queue(10_000);
        let (session, events) = connector.open(user.as_str(), "1").await.unwrap();
        for device in 1..=40 {
            session.monitor(&format!("sim-{device:05}"), &[]).await.unwrap();
        }
        let (name, log) = (session.name().to_owned(), Arc::clone(&world.log));
        Self { session, reads: tokio::spawn(read(name, events, log, say)) }
    }
}

/// Reads to the end of the session.
async fn read(session: String, mut events: Events, log: Arc<AuditLog>, say: impl Fn(&str)) -> Seen {
    let (mut seen, mut may_have_keys) = (Seen { session, ..Seen::default() }, true);
    while let Some(event) = events.next().await {
        match event {
            Event::CapabilityChanged(changed) => may_have_keys = changed.keys,
            Event::MediaOpened(_, opened) if opened.keys.is_some() => {
                assert!(may_have_keys, "a key after all were taken");
                let key = format!("{} {} {}", opened.stream, opened.generation, fingerprint(&*log, &opened));
                say(&format!("key {} {key}", seen.session));
                seen.keys.push(key);
            }
            Event::MediaOpened(_, opened) => {
                let reason = Indicator::KeysUnavailable(UnavailableReason::AuditUnavailable);
                seen.unrecordable += usize::from(opened.indicator == reason);
            }
            _ => {}
        }
    }
    seen.closed = match events.closed() {
        Some(Closed::ByGateway(refusal)) => refusal.code(),
        _ => None,
    };
    seen
}

fn fingerprint(trail: &dyn Trail, opened: &MediaOpened) -> String {
    let mut context = hmac::Context::with_key(trail.fingerprint_key().unwrap());
    context.update(opened.suite.as_ref().unwrap().as_bytes());
    for key in &opened.keys.as_ref().unwrap().keys {
        context.update(key.key.expose());
        context.update(key.salt.expose());
    }
    context.sign().as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All records of a log.
struct Said(Vec<Value>);

impl Said {
    /// Each key that an app got is on record for its session, as often as it came, and so is each refusal and each end.
    fn check(&self, seen: &[Seen]) {
        let void: Vec<_> = self.of("log").filter(|record| record["event"] == "void").collect();
        let is_void = |record: &&Value| {
            let n = record["n"].as_u64();
            void.iter().any(|void| void["first"].as_u64() <= n && n <= void["last"].as_u64())
        };
        let (mut disclosed, mut unrecordable) = (HashMap::new(), HashMap::new());
        for record in self.of("disclosed").filter(|record| !is_void(record)) {
            let key = format!("{} {} {}", text(record, "stream"), record["generation"], text(record, "fingerprint"));
            for session in receivers(record) {
                *disclosed.entry((session, key.clone())).or_insert(0) += 1;
            }
        }
        for record in self.of("refused").filter(|record| record["reason"] == "AUDIT_UNAVAILABLE") {
            for session in receivers(record) {
                *unrecordable.entry(session).or_insert(0) += 1;
            }
        }
        for app in seen {
            let mut count = HashMap::new();
            for key in &app.keys {
                *count.entry(key.clone()).or_insert(0) += 1;
            }
            for (key, count) in count {
                let recorded = disclosed.get(&(app.session.clone(), key.clone())).copied().unwrap_or(0);
                assert!(count <= recorded, "{} got {key} {count} times, on record are {recorded}", app.session);
            }
            let recorded = unrecordable.get(&app.session).copied().unwrap_or(0);
            assert!(app.unrecordable <= recorded, "{}: {} refusals, {recorded}", app.session, app.unrecordable);
            if app.closed.is_some() {
                let ends = self.of("closed").filter(|record| record["session"] == app.session.as_str()).count();
                assert_eq!(ends, 1, "the end of {}", app.session);
            }
        }
    }

    /// A change that was acknowledged is on record, with one of these outcomes.
    fn assert_told(&self, done: &str, outcomes: &[&str]) {
        let (verb, name) = done.split_once(' ').unwrap();
        let is = |record: &Value| {
            record["verb"] == verb && record["name"] == name && outcomes.contains(&text(record, "outcome"))
        };
        assert!(self.of("administration").any(is), "{done} is not on record");
    }

    fn of(&self, kind: &str) -> impl Iterator<Item = &Value> {
        self.0.iter().filter(move |record| record["record"] == kind)
    }
}

fn text<'a>(record: &'a Value, field: &str) -> &'a str {
    record[field].as_str().unwrap_or_default()
}

fn receivers(record: &Value) -> impl Iterator<Item = String> {
    let receivers = record["receivers"].as_array().into_iter().flatten();
    receivers.map(|receiver| receiver.as_str().unwrap().split(':').next().unwrap().to_owned())
}

/// Those of a user who sees all devices and gets keys, `without` some groups.
fn settings(without: &[Group]) -> UserSettings {
    let all = [Group::CtiEnabled, Group::SecureConnection, Group::SrtpKeyMaterial, Group::ControlOfAllDevices];
    let groups: Groups = all.into_iter().filter(|group| !without.contains(group)).collect();
    UserSettings { groups, ..UserSettings::default() }
}

fn log_options(folder: &Path) -> Options {
    Options::new(folder.join("log"), folder.join("audit.key"), folder.join("checkpoints.jsonl"))
}
