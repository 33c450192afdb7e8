//! A served gateway, those who administer it, and its apps.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::hmac;
use callgate::{
    admin::{Actor, Administration, Journal, Refused},
    audit::{AuditKey, AuditLog, Options, Records, Trail, checkpoints, verify},
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
use tokio::{
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{PATIENCE, given::Given, said::Said, until};

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

/// A served gateway, and who administers it.
pub struct World {
    served: Served,
    log: Arc<AuditLog>,
    given: Arc<Given>,
    folder: PathBuf,
}

/// Users with keys who will lose something: itself, its certificate, its right to keys.
pub struct Crowd {
    removed: (UserName, App),
    revoked: (Fingerprint, App),
    demoted: (UserName, App),
}

/// Hears what happens, each as a line.
pub trait Say: Fn(&str) + Copy + Send + Sync + 'static {}

impl<T: Fn(&str) + Copy + Send + Sync + 'static> Say for T {}

/// What an app got.
#[derive(Debug, Default)]
pub struct Seen {
    pub session: String,
    /// `STREAM GENERATION FINGERPRINT`
    pub keys: Vec<String>,
    pub unrecordable: usize,
    pub closed: Option<ErrorCode>,
}

impl World {
    pub async fn start(folder: &Path, options: Options) -> Self {
        let log = Arc::new(AuditLog::open(options).unwrap());
        if !folder.join("gateway.pem").exists() {
            init(folder, &Default::default(), OffsetDateTime::now_utc()).unwrap();
        }
        let config = Config::parse(CONFIG, "test.toml", folder, std::iter::empty()).unwrap();
        let administration = administration(&config, Arc::clone(&log) as Arc<dyn Journal>).await.unwrap();
        let given = Arc::new(Given::new(Arc::clone(&log)));
        let served = Served::start(config, administration, Arc::clone(&given) as Arc<dyn Trail>, None).await.unwrap();
        Self { served, log, given, folder: folder.into() }
    }

    fn administration(&self) -> &Administration {
        self.served.administration()
    }

    async fn change(&self, change: Change) -> Result<(), Refused> {
        self.administration().change(&Actor::Gateway, &change, Of::Latest, Cascade::All).await.map(drop)
    }

    /// Three users with keys come.
    pub async fn crowd(&self, name: impl Fn(&str) -> String, say: impl Say) -> Crowd {
        let name = |what: &str| -> UserName { name(what).parse().unwrap() };
        let (removed, revoked, demoted) = (name("removed"), name("revoked"), name("demoted"));
        let (removed_app, _) = self.app(&removed, say).await;
        let (revoked_app, certificate) = self.app(&revoked, say).await;
        let (demoted_app, _) = self.app(&demoted, say).await;
        Crowd { removed: (removed, removed_app), revoked: (certificate, revoked_app), demoted: (demoted, demoted_app) }
    }

    /// Each of them loses something, and that is so at once. `say` hears what was acknowledged. Returns what those saw who have
    /// lost their sessions, and the app of the one who has lost only keys.
    pub async fn take(&self, crowd: Crowd, say: impl Say) -> (Vec<Seen>, App) {
        let Crowd { removed: (removed, removed_app), revoked: (certificate, revoked_app), demoted } = crowd;
        self.change(Change::RemoveUser(removed.clone())).await.unwrap();
        self.assert_ended(&removed_app);
        say(&format!("done remove {removed}"));
        self.administration().revoke(&Actor::Gateway, certificate, "lost").await.unwrap();
        self.assert_ended(&revoked_app);
        say(&format!("done revoke {}", certificate.to_hex()));
        let mut seen = Vec::new();
        // Who is removed loses its certificates by it.
        for app in [removed_app, revoked_app] {
            let of_app = timeout(PATIENCE, app.reads).await.expect("it hears of its end").unwrap();
            assert_eq!(of_app.closed, Some(ErrorCode::CertificateRevoked), "closed while the log fails");
            seen.push(of_app);
        }
        let (demoted, demoted_app) = demoted;
        self.change(Change::PutUser(demoted.clone(), settings(&[Group::SrtpKeyMaterial]))).await.unwrap();
        self.given.acknowledged(&demoted_app.name());
        say(&format!("done put {demoted}"));
        (seen, demoted_app)
    }

    /// What was acknowledged just now has ended the session of this app: what it finds in its socket is what it was given before.
    fn assert_ended(&self, app: &App) {
        assert!(self.given.acknowledged(app.session.name()).is_closed, "acknowledged before the session is closed");
    }

    /// Each of these has got what it was given, and nothing was given after the acknowledgement that there is no more.
    pub fn assert_given(&self, seen: &[Seen]) {
        for app in seen {
            let given = self.given.account(&app.session);
            match app.closed {
                // It has read to its end.
                Some(_) => assert_eq!(app.keys.len(), given.keys, "keys of {}", app.session),
                None => assert!(app.keys.len() <= given.keys, "keys of {}", app.session),
            }
        }
    }

    /// A user would be made who gets keys: that needs its record first.
    pub async fn grant(&self, granted: &str, say: impl Say) -> Result<(), Refused> {
        let outcome = self.change(Change::PutUser(granted.parse().unwrap(), settings(&[]))).await;
        match &outcome {
            Ok(()) => say(&format!("done put {granted}")),
            // On a full disk the log may find room for the record, and then the store none for the user.
            Err(refused) => {
                let codes = [ErrorCode::AuditUnavailable, ErrorCode::StoreUnavailable];
                assert!(codes.contains(&refused.code()), "{refused}");
            }
        }
        outcome
    }

    /// An app of a new user who gets keys, and its certificate.
    pub async fn app(&self, user: &UserName, say: impl Say) -> (App, Fingerprint) {
        let issued = self.add(user).await;
        (App::open(self, user, &issued, say).await, Fingerprint(issued.sha256))
    }

    /// Whether records can be written.
    pub fn is_open(&self) -> bool {
        self.log.is_open()
    }

    /// Waits until records can be written.
    pub async fn until_open(&self) {
        until("the log heals", || self.is_open()).await;
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

    pub async fn until_delivered(&self) {
        while self.administration().heal().await.unwrap() {
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// What was acknowledged is so.
    pub fn assert_is_so(&self, done: &str) {
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
    pub async fn end(self, folder: &Path) -> Said {
        self.served.stop().await;
        drop(self.given);
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

pub struct App {
    session: Session,
    reads: JoinHandle<Seen>,
}

impl App {
    async fn open(world: &World, user: &UserName, issued: &Issued, say: impl Say) -> Self {
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

impl App {
    /// The name of its session.
    pub fn name(&self) -> String {
        self.session.name().to_owned()
    }

    /// Closes its session. What it got.
    pub async fn end(self) -> Seen {
        self.session.close().await;
        self.reads.await.unwrap()
    }
}

/// Reads to the end of the session.
async fn read(session: String, mut events: Events, log: Arc<AuditLog>, say: impl Say) -> Seen {
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

/// Those of a user who sees all devices and gets keys, `without` some groups.
fn settings(without: &[Group]) -> UserSettings {
    let all = [Group::CtiEnabled, Group::SecureConnection, Group::SrtpKeyMaterial, Group::ControlOfAllDevices];
    let groups: Groups = all.into_iter().filter(|group| !without.contains(group)).collect();
    UserSettings { groups, ..UserSettings::default() }
}

pub fn log_options(folder: &Path) -> Options {
    Options::new(folder.join("log"), folder.join("audit.key"), folder.join("checkpoints.jsonl"))
}
