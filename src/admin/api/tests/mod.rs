//! The API without sockets: who may ask for what, and what is answered.

mod access;
mod requests;

use std::{net::SocketAddr, path::Path, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::{
    admin::{
        Seed,
        accounts::{LockoutRules, Role, SessionRules},
    },
    audit::LogTarget,
    http::Peer,
    store::Memory,
};

const PASSWORD: &str = "correct horse battery";
const OWN_UID: u32 = 990;
const ROLES: [Role; 3] = [Role::Reader, Role::Operator, Role::Administrator];

struct Rig {
    router: Router,
    administration: Arc<Administration>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn etag(&self) -> &str {
        self.headers[header::ETAG].to_str().unwrap()
    }

    fn code(&self) -> (u16, &str) {
        (self.status.as_u16(), self.body["code"].as_str().unwrap_or_default())
    }
}

fn remote() -> Peer {
    Peer::Tls { address: SocketAddr::from(([192, 0, 2, 1], 40_000)), certificate: None }
}

fn local() -> Peer {
    Peer::Unix { uid: OWN_UID, pid: None }
}

/// The settings that count without a config.
fn settings() -> watch::Receiver<Arc<Config>> {
    let config = Config::parse("", "test.toml", Path::new("/"), std::iter::empty()).unwrap();
    watch::channel(Arc::new(config)).1
}

impl Rig {
    async fn new() -> Self {
        let (administration, _) =
            Administration::open(Arc::new(Memory::new()), Arc::new(LogTarget), Seed::default()).await.unwrap();
        let administration = Arc::new(administration);
        let rules = (SessionRules::default(), LockoutRules::default());
        let gate = Gate::new(Arc::clone(&administration), OWN_UID, rules.0, rules.1).unwrap();
        let parts = Parts {
            administration: Arc::clone(&administration),
            gate: Arc::new(gate),
            config: settings(),
            live: None,
            audit: None,
            health: http::Health::default(),
        };
        Self { router: router(parts).unwrap(), administration }
    }

    async fn send(&self, peer: Peer, request: Request<Body>) -> Answer {
        let mut request = request;
        request.extensions_mut().insert(peer);
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        let kind = parts.headers.get(header::CONTENT_TYPE).map_or("", |kind| kind.to_str().unwrap());
        let body = match kind {
            "" => Value::Null,
            "application/json" | problem::PROBLEM_JSON => serde_json::from_slice(&body).unwrap(),
            _ => String::from_utf8_lossy(&body).into(),
        };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        self.send(local(), request(method, path, headers, body)).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, &[], Some(body)).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], None).await
    }

    /// Somebody of this role who has logged in, as `Authorization` has it.
    async fn login_of(&self, role: Role) -> String {
        let account = json!({ "name": role.name(), "role": role.name(), "password": PASSWORD });
        assert_eq!(self.post("/v1/accounts", account).await.status, StatusCode::CREATED);
        let login = json!({ "account": role.name(), "password": PASSWORD });
        let answer = self.send(remote(), request(Method::POST, "/v1/login", &[], Some(login))).await;
        format!("Bearer {}", answer.body["token"].as_str().unwrap())
    }
}

fn request(method: Method, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    match body {
        Some(body) => request.header("content-type", "application/json").body(Body::from(body.to_string())),
        None => request.body(Body::empty()),
    }
    .unwrap()
}
