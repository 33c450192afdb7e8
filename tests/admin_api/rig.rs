//! A served gateway and who asks it.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::PathBuf, sync::Arc};

use bytes::Bytes;
use callgate::{
    admin::{Administration, accounts::Role},
    audit::LogTarget,
    config::Config,
    gateway::{Served, administration},
    trust::{Ca, Issued, Ledger, Validity, init, records_of_file},
};
use http_body_util::{BodyExt, Full};
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::Body,
    client::conn::http1::{SendRequest, handshake},
};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

pub const PASSWORD: &str = "correct horse battery";
pub const ROLES: [Role; 3] = [Role::Reader, Role::Operator, Role::Administrator];

const CONFIG: &str = "\
[doors]
clear = \"closed\"
tls = \"127.0.0.1:0\"
[admin]
listen = \"127.0.0.1:0\"
[[user]]
name = \"recorder\"
kind = \"application\"
devices = [\"1001\"]
groups = [\"Standard CTI Enabled\", \"Standard CTI Secure Connection\"]
[[device]]
name = \"1001\"
";

pub struct Rig {
    pub served: Served,
    pub folder: TempDir,
}

/// Somebody who asks, and what is sent with every request. The connection stays for as long as the gateway lets it.
pub struct Client {
    way: Way,
    sender: SendRequest<Full<Bytes>>,
    authorization: Option<String>,
}

/// How to connect.
enum Way {
    Https(SocketAddr, TlsConnector),
    Socket(PathBuf),
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
}

/// An operation of the API's description.
#[derive(Debug, Clone)]
pub struct Operation {
    pub method: Method,
    pub path: String,
    /// The role that it takes; `None`: anybody may ask.
    pub least: Option<Role>,
    pub described: Value,
}

impl Rig {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), &Default::default(), OffsetDateTime::now_utc()).unwrap();
        let config = Self::config(&folder, CONFIG);
        let administration = administration(&config, Arc::new(LogTarget)).await.unwrap();
        let served = Served::start(config, administration, Arc::new(LogTarget), None).await.unwrap();
        Self { served, folder }
    }

    fn config(folder: &TempDir, text: &str) -> Config {
        Config::parse(text, "test.toml", folder.path(), std::iter::empty()).unwrap()
    }

    /// The config is read again, with this in the place of something.
    pub async fn reload(&mut self, old: &str, new: &str) {
        assert!(CONFIG.contains(old));
        let config = Self::config(&self.folder, &CONFIG.replace(old, new));
        self.served.reload(config).await.unwrap().acknowledged().await.unwrap();
    }

    pub fn administration(&self) -> &Arc<Administration> {
        self.served.administration()
    }

    /// A certificate of the user `recorder`, which the ledger has.
    pub async fn issue(&self, instance: &str) -> Issued {
        let path = |name: &str| self.folder.path().join(name);
        let ca = Ca::load(&path("ca.pem"), &path("ca.key")).unwrap();
        let (now, ledger) = (OffsetDateTime::now_utc(), Ledger::open(path("ledger.jsonl")).unwrap());
        let validity = Validity::days(now, 30).unwrap();
        let issued = ca.issue_app(&"recorder".parse().unwrap(), &instance.parse().unwrap(), validity, now, &ledger);
        let records = records_of_file(&ledger.records().unwrap()).unwrap();
        self.administration().import(&callgate::admin::Actor::Gateway, &records).await.unwrap();
        issued.unwrap()
    }

    /// Over HTTPS, with a client certificate or without.
    pub async fn https(&self, certificate: Option<&Issued>) -> Client {
        self.try_https(certificate).await.expect("it is let in")
    }

    pub async fn try_https(&self, certificate: Option<&Issued>) -> std::io::Result<Client> {
        let mut roots = RootCertStore::empty();
        let ca = fs::read(self.folder.path().join("ca.pem")).unwrap();
        roots.add(CertificateDer::from_pem_slice(&ca).unwrap()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match certificate {
            None => builder.with_no_client_auth(),
            Some(app) => {
                let chain = vec![CertificateDer::from_pem_slice(app.certificate_pem.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(app.key_pem.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let address = self.served.gateway().administration().unwrap().tls_address().unwrap();
        Client::by(Way::Https(address, TlsConnector::from(Arc::new(config)))).await
    }

    /// At the unix socket.
    pub async fn local(&self) -> Client {
        let socket = self.folder.path().join("callgate.sock");
        Client::by(Way::Socket(socket)).await.unwrap()
    }

    /// Accounts that are named like their roles, and somebody who has logged in to each over HTTPS.
    pub async fn logins(&self) -> BTreeMap<Role, Client> {
        let mut local = self.local().await;
        let mut logins = BTreeMap::new();
        for role in ROLES {
            let account = json!({ "name": role.name(), "role": role.name(), "password": PASSWORD });
            local.post("/v1/accounts", account).await.ok(201);
            logins.insert(role, self.login(role.name()).await);
        }
        logins
    }

    pub async fn login(&self, account: &str) -> Client {
        let mut client = self.https(None).await;
        let login = client.post("/v1/login", json!({ "account": account, "password": PASSWORD })).await.ok(200);
        client.authorization = Some(format!("Bearer {}", login["token"].as_str().unwrap()));
        client
    }
}

impl Client {
    async fn by(way: Way) -> std::io::Result<Self> {
        let sender = way.connect().await?;
        Ok(Self { way, sender, authorization: None })
    }

    pub fn with_token(&mut self, token: &str) {
        self.authorization = Some(format!("Bearer {token}"));
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], None).await
    }

    pub async fn post(&mut self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, &[], Some(body)).await
    }

    pub async fn ask(&mut self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        let body = body.map(|body| ("application/json", body.to_string()));
        self.send(method, path, headers, body.as_ref().map(|(kind, body)| (*kind, body.as_bytes()))).await.unwrap()
    }

    /// Whatever it is: the body with its type.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<(&str, &[u8])>,
    ) -> Result<Answer, hyper::Error> {
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = self.authorization.as_deref().filter(|_| !names(headers, "authorization")) {
            request = request.header("authorization", authorization);
        }
        let request = match body {
            Some((kind, body)) => request.header("content-type", kind).body(Full::new(Bytes::copy_from_slice(body))),
            None => request.body(Full::default()),
        };
        if self.sender.ready().await.is_err() {
            self.sender = self.way.connect().await.unwrap();
        }
        let (parts, body) = self.sender.send_request(request.unwrap()).await?.into_parts();
        assert!(body.size_hint().upper().is_some(), "an answer says how long it is");
        let body = body.collect().await?.to_bytes();
        let body = if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into())
        };
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }
}

impl Way {
    async fn connect(&self) -> std::io::Result<SendRequest<Full<Bytes>>> {
        match self {
            Self::Https(address, tls) => {
                let tcp = TcpStream::connect(address).await?;
                begin(tls.connect("localhost".try_into().unwrap(), tcp).await?).await
            }
            Self::Socket(path) => begin(UnixStream::connect(path).await?).await,
        }
    }
}

async fn begin(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> std::io::Result<SendRequest<Full<Bytes>>> {
    let (sender, connection) = handshake(TokioIo::new(io)).await.map_err(std::io::Error::other)?;
    tokio::spawn(connection);
    Ok(sender)
}

impl Answer {
    /// What was answered when all went well.
    #[track_caller]
    pub fn ok(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// Status and code of a refusal.
    pub fn code(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["code"].as_str().unwrap_or_default())
    }

    pub fn etag(&self) -> String {
        self.headers["etag"].to_str().unwrap().into()
    }
}

/// Every operation, by path and method.
pub fn operations() -> Vec<Operation> {
    let document: Value = serde_json::from_str(&callgate::admin::api::openapi()).unwrap();
    let mut operations = Vec::new();
    for (path, described) in document["paths"].as_object().unwrap() {
        for (method, described) in described.as_object().unwrap() {
            let least = ROLES.into_iter().find(|role| described["x-least-role"] == role.name());
            assert!(least.is_some() || described["x-least-role"] == "none", "{path}");
            let method = method.to_uppercase().parse().unwrap();
            operations.push(Operation { method, path: path.clone(), least, described: described.clone() });
        }
    }
    assert!(operations.len() >= 19);
    operations
}

fn names(headers: &[(&str, &str)], name: &str) -> bool {
    headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
}
