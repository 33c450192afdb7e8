//! A gateway with sessions and calls, and its administration over HTTP on a unix socket: root and its own user are
//! administrators there.

#![allow(unreachable_pub, missing_docs, reason = "a test")]

use std::{path::Path, sync::Arc};

use callgate::{
    admin::{
        Administration, Gate, Seed,
        accounts::{LockoutRules, SessionRules},
        api::{Parts, router},
    },
    audit::{self, AuditLog},
    config::{Config, HttpConfig, HttpListen},
    gateway::{Gateway, Options},
    http::{HttpLimits, HttpService, HttpSettings, UnixPlace},
    model::{AllowedNetworks, Service},
    store::Memory,
    trust::{Issued, init},
};
use rustls::ClientConfig;
use serde_json::Value;
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

use crate::common::{TestUser, config_text, leaks, raw::RawClient, scripted, scripted::Script, tls_client};

pub struct Rig {
    pub gateway: Gateway,
    pub administration: Arc<Administration>,
    pub script: Script,
    pub folder: TempDir,
    service: HttpService,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let line = self
            .head
            .lines()
            .find(|line| line.split_once(':').is_some_and(|(of_line, _)| of_line.eq_ignore_ascii_case(name)))?;
        Some(line.split_once(':').unwrap().1.trim())
    }

    pub fn etag(&self) -> &str {
        self.header("etag").unwrap_or_else(|| panic!("no ETag: {self:?}"))
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Status and code of a refusal.
    pub fn refused(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        (self.status, self.json()["code"].as_str().unwrap().to_owned())
    }

    /// What was answered when all went well.
    #[track_caller]
    pub fn ok(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }
}

impl Rig {
    /// With these users, the devices 1001 to 1003, and more lines of config in front.
    pub async fn start(users: &[TestUser], head: &str) -> Self {
        Self::start_in(users, head, |_| {}).await
    }

    /// The same with more in its folder.
    pub async fn start_in(users: &[TestUser], head: &str, fill: impl FnOnce(&Path)) -> Self {
        leaks::watch_logs();
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), &Default::default(), OffsetDateTime::now_utc()).unwrap();
        fill(folder.path());
        let config = Config::parse(&config_text(users, head), "test.toml", folder.path(), std::iter::empty()).unwrap();
        let seed = Seed { directory: Arc::clone(&config.directory), ..Seed::default() };
        let log = audit::Options { reserve_bytes: 0, ..config.audit.clone() };
        let log = Arc::new(AuditLog::open(log).unwrap());
        let (administration, _) =
            Administration::open(Arc::new(Memory::new()), Arc::clone(&log) as _, seed).await.unwrap();
        let administration = Arc::new(administration);
        let audit = config.audit.folder.clone();
        let options = Options { ledger: Some(administration.ledger()), trail: log, ..Options::default() };
        let mut gateway = Gateway::start_with(config, options).await.unwrap();
        administration.go_live(gateway.live_rights());
        let (switch, script) = scripted::switch();
        gateway.attach(switch);

        let own_uid = rustix::process::getuid().as_raw();
        let gate = Gate::new(Arc::clone(&administration), own_uid, SessionRules::default(), LockoutRules::default());
        let parts = Parts {
            administration: Arc::clone(&administration),
            gate: Arc::new(gate.unwrap()),
            config: gateway.settings(),
            live: Some(gateway.live()),
            audit: Some(audit),
            health: gateway.health().clone(),
        };
        let settings = HttpSettings {
            service: Service::Admin,
            config: HttpConfig { listen: HttpListen::Closed, networks: AllowedNetworks::Only(Vec::new()) },
            unix: Some(UnixPlace { path: folder.path().join("admin.sock"), mode: 0o600 }),
            limits: HttpLimits::default(),
            tls: None,
        };
        let service = HttpService::start(settings, router(parts).unwrap()).await.unwrap();
        Self { gateway, administration, script, folder, service }
    }

    /// Asks over the unix socket.
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        request.push_str(&format!("\r\n{body}"));
        let mut io = UnixStream::connect(self.folder.path().join("admin.sock")).await.unwrap();
        io.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        io.read_to_end(&mut answer).await.unwrap();
        let end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let body = match head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
            true => dechunked(&answer[end..]),
            false => answer[end..].to_vec(),
        };
        leaks::assert_no_key(path, &body);
        Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), head, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path, &[], Some(body)).await
    }

    pub async fn put(&self, path: &str, etag: &str, body: Value) -> Answer {
        self.ask("PUT", path, &[("If-Match", etag)], Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path, &[], None).await
    }

    /// The names on all pages of a list.
    pub async fn names(&self, list: &str, limit: usize) -> Vec<String> {
        self.fields(list, "name", limit).await
    }

    /// The same of another field.
    pub async fn fields(&self, list: &str, field: &str, limit: usize) -> Vec<String> {
        let (mut names, mut cursor) = (Vec::new(), String::new());
        loop {
            let mark = if list.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{list}{mark}limit={limit}{cursor}")).await.ok(200);
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            names.extend(items.iter().map(|item| item[field].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return names,
            }
        }
    }

    /// A certificate of this user that the ledger's file has.
    pub async fn issue(&self, user: &str, instance: &str) -> Issued {
        let path = |name: &str| self.folder.path().join(name);
        let ca = callgate::trust::Ca::load(&path("ca.pem"), &path("ca.key")).unwrap();
        let ledger = callgate::trust::Ledger::open(path("ledger.jsonl")).unwrap();
        let now = OffsetDateTime::now_utc();
        let validity = callgate::trust::Validity::days(now, 30).unwrap();
        let issued = ca.issue_app(&user.parse().unwrap(), &instance.parse().unwrap(), validity, now, &ledger).unwrap();
        let records = callgate::trust::records_of_file(&ledger.records().unwrap()).unwrap();
        self.administration.import(&callgate::admin::Actor::Gateway, &records).await.unwrap();
        issued
    }

    /// What connects with this certificate.
    pub fn client(&self, issued: &Issued) -> Arc<ClientConfig> {
        let ca = std::fs::read_to_string(self.folder.path().join("ca.pem")).unwrap();
        tls_client(&ca, &issued.certificate_pem, &issued.key_pem)
    }

    /// A session of this user by a certificate of its own.
    pub async fn session(&self, user: &str, instance: &str) -> RawClient {
        let issued = self.issue(user, instance).await;
        self.session_by(&issued, user, instance).await
    }

    /// The same by this one.
    pub async fn session_by(&self, issued: &Issued, user: &str, instance: &str) -> RawClient {
        let mut session = RawClient::tls(self.gateway.tls_address().unwrap(), self.client(issued)).await;
        session.open(user, instance).await.unwrap();
        session
    }

    pub async fn finish(self) {
        self.service.stop().await;
        self.gateway.stop().await;
        leaks::assert_no_key_in_logs();
    }
}

fn dechunked(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|window| window == b"\r\n").unwrap();
        let len = usize::from_str_radix(std::str::from_utf8(&chunks[..end]).unwrap(), 16).unwrap();
        if len == 0 {
            return body;
        }
        body.extend_from_slice(&chunks[end + 2..end + 2 + len]);
        chunks = &chunks[end + 2 + len + 2..];
    }
}
