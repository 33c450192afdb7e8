//! The API without sockets: who may ask for what, and what is answered.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, sync::Arc};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{HeaderMap, Method, Request, StatusCode, header},
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{routes::Least, *};
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

#[tokio::test]
async fn r38_each_operation_is_for_its_role_and_those_above_it() {
    let rig = Rig::new().await;
    let mut logins = BTreeMap::new();
    for role in ROLES {
        logins.insert(role, rig.login_of(role).await);
    }
    let mut operations: Vec<_> = routes().split().2.into_iter().collect();
    operations.sort_by_key(|((method, path), _)| (path.clone(), method.to_string()));
    assert!(operations.len() > 15);
    for ((method, path), least) in operations {
        let ask = |role: Option<Role>| {
            // Of tokens everybody has to do with their own.
            let own = role.filter(|_| path.contains("/tokens")).map_or("nobody", Role::name);
            let path = path.replace("{account}", own).replace(['{', '}'], "x");
            let login = role.map(|role| logins[&role].clone());
            let headers: Vec<(&str, &str)> = login.iter().map(|login| ("authorization", login.as_str())).collect();
            let body = (method != Method::GET).then(|| json!({ "nonsense": true }));
            let asked = request(method.clone(), &path, &headers, body);
            let rig = &rig;
            async move { rig.send(remote(), asked).await }
        };
        let stranger = ask(None).await;
        let Least::Role(least) = least else {
            assert!(!stranger.code().1.starts_with("ADMIN_NOT"), "{method} {path}: {:?}", stranger.code());
            continue;
        };
        assert_eq!(stranger.code(), (401, "ADMIN_NOT_AUTHENTICATED"), "{method} {path}");
        assert_eq!(stranger.headers[header::WWW_AUTHENTICATE], "Bearer realm=\"callgate\"");
        if path == "/v1/logout" {
            continue;
        }
        for role in ROLES {
            let answer = ask(Some(role)).await;
            if role < least {
                assert_eq!(answer.code(), (403, "ADMIN_NOT_ALLOWED"), "{method} {path} as {role}");
            } else {
                let code = answer.code().1;
                assert!(!code.starts_with("ADMIN_NOT"), "{method} {path} as {role}: {code}");
                // Here no gateway runs.
                let is_served = answer.status.as_u16() < 500 || code == "GATEWAY_NOT_RUNNING";
                assert!(is_served, "{method} {path} as {role}: {:?}", answer.code());
            }
        }
    }
}

#[tokio::test]
async fn every_operation_is_described_with_each_answer_that_it_can_have() {
    let document: Value = serde_json::from_str(&openapi()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let table = routes().split().2;
    let mut described = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let method: Method = method.to_uppercase().parse().unwrap();
            let least = table[&(method.clone(), path.clone())];
            let responses = operation["responses"].as_object().unwrap();
            let has = |status: &str| responses.contains_key(status);
            assert!(responses.keys().any(|status| status.starts_with('2')), "{method} {path}");
            assert!(has("401") || least == Least::Anybody, "{method} {path}");
            assert!(has("400") && has("403") && has("414") && has("500"), "{method} {path}");
            if operation.get("requestBody").is_some() {
                assert!(["413", "415", "422"].into_iter().all(has), "{method} {path}");
            }
            if method != Method::GET {
                assert!(has("503"), "{method} {path}");
            }
            assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{method} {path}");
            described += 1;
        }
    }
    assert_eq!(described, table.len());
}

#[tokio::test]
async fn r38_from_the_setup_token_to_an_administrator_who_logs_in_and_out() {
    let rig = Rig::new().await;
    let token = rig.administration.first_setup_token().await.unwrap().unwrap();
    let ask = |method: Method, path: &str, headers: &[(&str, &str)], body: Option<Value>| {
        rig.send(remote(), request(method, path, headers, body))
    };
    let set_up = json!({ "token": token.tell(), "account": "root", "password": PASSWORD });
    let made = ask(Method::POST, "/v1/setup", &[], Some(set_up.clone())).await;
    assert_eq!((made.status.as_u16(), &made.body["item"]["role"]), (201, &json!("administrator")));
    assert_eq!(made.headers[header::LOCATION], "/v1/accounts/root");
    let again = ask(Method::POST, "/v1/setup", &[], Some(set_up)).await;
    assert_eq!(again.code(), (403, "SETUP_TOKEN_INVALID"));

    let wrong = json!({ "account": "root", "password": "wrong" });
    assert_eq!(ask(Method::POST, "/v1/login", &[], Some(wrong)).await.code(), (401, "ADMIN_NOT_AUTHENTICATED"));
    let login = json!({ "account": "root", "password": PASSWORD });
    let login = ask(Method::POST, "/v1/login", &[], Some(login)).await;
    assert_eq!((login.status.as_u16(), &login.headers[header::CACHE_CONTROL]), (200, &"no-store".parse().unwrap()));
    let bearer = format!("bearer {}", login.body["token"].as_str().unwrap());
    let headers = [("authorization", bearer.as_str())];
    let who = ask(Method::GET, "/v1/session", &headers, None).await;
    assert_eq!(who.body, json!({"actor": "account:root", "account": "root", "role": "administrator", "by": "session"}));
    assert_eq!(ask(Method::POST, "/v1/logout", &headers, None).await.status, StatusCode::NO_CONTENT);
    assert_eq!(ask(Method::GET, "/v1/session", &headers, None).await.status, StatusCode::UNAUTHORIZED);
    let local = rig.get("/v1/session").await.body;
    assert_eq!(local, json!({"actor": "uid:990", "account": null, "role": "administrator", "by": "socket"}));
}

#[tokio::test]
async fn lost_updates_are_refused_and_a_change_says_what_it_changes() {
    let rig = Rig::new().await;
    let account = json!({ "name": "eva", "role": "reader", "password": PASSWORD });
    let made = rig.post("/v1/accounts", account.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED);
    assert_eq!(rig.post("/v1/accounts", account).await.code(), (409, "ALREADY_EXISTS"));
    let read = rig.get("/v1/accounts/eva").await;
    assert_eq!((read.etag(), &read.body), (made.etag(), &made.body["item"]));
    let settings = |role: &str| Some(json!({ "role": role, "description": "night", "certificates": [] }));
    let put = |headers: &'static [(&'static str, &'static str)]| {
        rig.ask(Method::PUT, "/v1/accounts/eva", headers, settings("operator"))
    };
    assert_eq!(put(&[]).await.code(), (428, "VERSION_REQUIRED"));
    assert_eq!(put(&[("if-match", "\"v999\"")]).await.code(), (412, "VERSION_CONFLICT"));
    assert_eq!(put(&[("if-match", "W/\"v1\"")]).await.code(), (412, "VERSION_CONFLICT"));
    assert_eq!(put(&[("if-none-match", "*")]).await.code(), (400, "REQUEST_NOT_UNDERSTOOD"));
    let if_match = [("if-match", read.etag())];
    let changed = rig.ask(Method::PUT, "/v1/accounts/eva", &if_match, settings("operator")).await;
    assert_eq!((changed.status.as_u16(), &changed.body["item"]["role"]), (200, &json!("operator")));
    assert_ne!(changed.etag(), read.etag());
    let late = rig.ask(Method::PUT, "/v1/accounts/eva", &if_match, settings("reader")).await;
    assert_eq!(late.code(), (412, "VERSION_CONFLICT"));
    assert_eq!(rig.get("/v1/accounts/eva").await.body["role"], "operator");
    let late = rig.ask(Method::DELETE, "/v1/accounts/eva", &if_match, None).await;
    assert_eq!(late.code(), (412, "VERSION_CONFLICT"));
    assert_eq!(rig.ask(Method::DELETE, "/v1/accounts/eva", &[], None).await.status, StatusCode::OK);
    assert_eq!(rig.get("/v1/accounts/eva").await.code(), (404, "NOT_FOUND"));
}

#[tokio::test]
async fn a_creation_that_is_sent_again_is_done_once() {
    let rig = Rig::new().await;
    let create = |key: &'static str, name: &str| {
        let account = json!({ "name": name, "role": "reader" });
        let asked = request(Method::POST, "/v1/accounts", &[("idempotency-key", key)], Some(account));
        rig.send(local(), asked)
    };
    let first = create("k1", "eva").await;
    assert_eq!(first.status, StatusCode::CREATED);
    let again = create("k1", "eva").await;
    assert_eq!((again.status, &again.body, again.etag()), (first.status, &first.body, first.etag()));
    assert_eq!(create("k2", "eva").await.code(), (409, "ALREADY_EXISTS"));
    assert_eq!(create("k1", "ada").await.code(), (422, "IDEMPOTENCY_KEY_REUSED"));
    let (one, other) = tokio::join!(create("k3", "ida"), create("k3", "ida"));
    assert_eq!((one.status, &one.body), (other.status, &other.body));
    let long = "k".repeat(129);
    let asked = request(Method::POST, "/v1/accounts", &[("idempotency-key", &long)], Some(json!({})));
    assert_eq!(rig.send(local(), asked).await.code(), (400, "REQUEST_NOT_UNDERSTOOD"));

    // Who goes away has it done all the same, and learns of it by asking again.
    tokio::select! {
        biased;
        _ = create("k4", "uta") => panic!("it waits for its task"),
        () = std::future::ready(()) => {}
    }
    assert_eq!(create("k4", "uta").await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn r38_who_is_told_a_token_is_let_in_by_it_and_makes_no_other() {
    let rig = Rig::new().await;
    let reader = rig.login_of(Role::Reader).await;
    let new = |name: &str| Some(json!({ "name": name, "role": "reader", "days": 1 }));
    let by = |login: &str, method: Method, path: &str, body: Option<Value>| {
        rig.send(remote(), request(method, path, &[("authorization", login)], body))
    };
    let made = by(&reader, Method::POST, "/v1/accounts/reader/tokens", new("job")).await;
    assert_eq!(made.headers[header::LOCATION], "/v1/accounts/reader/tokens/job");
    assert_eq!(made.body["item"]["about"]["counts"], true);
    let token = format!("Bearer {}", made.body["item"]["token"].as_str().unwrap());
    let who = by(&token, Method::GET, "/v1/session", None).await.body;
    assert_eq!((&who["actor"], &who["by"]), (&json!("account:reader token:job"), &json!("token")));
    let other = by(&token, Method::POST, "/v1/accounts/reader/tokens", new("other")).await;
    assert_eq!(other.code(), (403, "ADMIN_NOT_ALLOWED"));
    rig.post("/v1/accounts", json!({ "name": "eva", "role": "reader" })).await;
    by(&reader, Method::POST, "/v1/accounts/reader/tokens", new("second")).await;
    let taken = by(&token, Method::DELETE, "/v1/accounts/reader/tokens/second", None).await;
    assert_eq!(taken.code(), (403, "ADMIN_NOT_ALLOWED"), "a reader's token takes no other one away");
    assert_eq!(by(&reader, Method::DELETE, "/v1/accounts/reader/tokens/second", None).await.status, StatusCode::OK);
    let of_another = by(&reader, Method::POST, "/v1/accounts/eva/tokens", new("job")).await;
    assert_eq!(of_another.code(), (403, "ADMIN_NOT_ALLOWED"));
    let listed = rig.get("/v1/accounts/reader/tokens?counts=true").await.body;
    assert_eq!((&listed["items"][0]["name"], &listed["next"]), (&json!("job"), &Value::Null));
    assert!(!listed.to_string().contains(token.split_once("cgt_").unwrap().1), "it was told once");
    let gone = by(&token, Method::DELETE, "/v1/accounts/reader/tokens/job", None).await;
    assert_eq!(gone.status, StatusCode::OK);
    assert_eq!(by(&token, Method::GET, "/v1/session", None).await.code(), (401, "ADMIN_NOT_AUTHENTICATED"));

    // One's own password ends one's logins.
    let passwords = json!({ "current": "wrong", "new": "another horse battery" });
    let wrong = by(&reader, Method::POST, "/v1/session/password", Some(passwords)).await;
    assert_eq!(wrong.code(), (401, "ADMIN_NOT_AUTHENTICATED"));
    let passwords = json!({ "current": PASSWORD, "new": "another horse battery" });
    let changed = by(&reader, Method::POST, "/v1/session/password", Some(passwords)).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    assert_eq!(by(&reader, Method::GET, "/v1/session", None).await.code(), (401, "ADMIN_NOT_AUTHENTICATED"));
}

#[tokio::test]
async fn r43_what_is_no_request_of_the_api_is_told_by_its_name() {
    let rig = Rig::new().await;
    let cases = [
        (Method::GET, "/v1/nothing", None, (404, "NOT_FOUND")),
        (Method::GET, "/", None, (404, "NOT_FOUND")),
        (Method::PATCH, "/v1/accounts", None, (405, "REQUEST_NOT_UNDERSTOOD")),
        (Method::GET, "/v1/accounts?color=red", None, (400, "REQUEST_NOT_UNDERSTOOD")),
        (Method::GET, "/v1/accounts?limit=0", None, (400, "REQUEST_NOT_UNDERSTOOD")),
        (Method::GET, "/v1/accounts?limit=-1", None, (400, "REQUEST_NOT_UNDERSTOOD")),
        (Method::GET, "/v1/accounts?cursor=x", None, (400, "PAGE_TOKEN_INVALID")),
        (Method::GET, "/v1/accounts/a%20b", None, (400, "REQUEST_NOT_UNDERSTOOD")),
        (Method::GET, "/v1/accounts/%ff", None, (400, "REQUEST_NOT_UNDERSTOOD")),
        (Method::POST, "/v1/accounts", None, (415, "REQUEST_NOT_UNDERSTOOD")),
        (Method::POST, "/v1/accounts", Some(json!({})), (422, "FIELD_INVALID")),
        (Method::POST, "/v1/accounts", Some(json!([1])), (422, "FIELD_INVALID")),
        (Method::POST, "/v1/accounts", Some(json!({"name": "a", "role": "king"})), (422, "FIELD_INVALID")),
    ];
    for (method, path, body, expected) in cases {
        let answer = rig.ask(method.clone(), path, &[], body).await;
        assert_eq!(answer.code(), expected, "{method} {path}: {}", answer.body);
        assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json", "{method} {path}");
        assert_eq!(answer.body["type"], format!("urn:callgate:error:{}", expected.1));
    }
    let method = rig.ask(Method::PATCH, "/v1/accounts", &[], None).await;
    let mut allowed: Vec<&str> = method.headers[header::ALLOW].to_str().unwrap().split(',').collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["GET", "HEAD", "POST"]);
    let long = rig.get(&format!("/v1/accounts?cursor={}", "x".repeat(5_000))).await;
    assert_eq!(long.code(), (414, "BODY_TOO_LARGE"));
    let large = json!({ "name": "a", "role": "reader", "description": "x".repeat(MAX_BODY) });
    assert_eq!(rig.post("/v1/accounts", large).await.code(), (413, "BODY_TOO_LARGE"));
    let half = Request::post("/v1/accounts").header("content-type", "application/json").body(Body::from("{"));
    assert_eq!(rig.send(local(), half.unwrap()).await.code(), (400, "REQUEST_NOT_UNDERSTOOD"));
    let long = rig.post("/v1/login", json!({ "account": "a", "password": 4711 })).await;
    assert_eq!(long.code(), (422, "FIELD_INVALID"));
    assert!(!long.body.to_string().contains("4711"), "{}", long.body);
}

#[tokio::test]
async fn how_the_gateway_is_is_told_to_readers() {
    let (rig, health) = (Rig::new().await, http::Health::default());
    let empty = rig.get("/v1/health").await.body;
    assert_eq!((&empty["alive"], &empty["ready"], &empty["parts"]), (&json!(true), &json!(true), &json!({})));
    let gate = Gate::new(Arc::clone(&rig.administration), OWN_UID, SessionRules::default(), LockoutRules::default());
    let parts = Parts {
        administration: Arc::clone(&rig.administration),
        gate: Arc::new(gate.unwrap()),
        config: settings(),
        live: None,
        audit: None,
        health: health.clone(),
    };
    let rig = Rig { router: router(parts).unwrap(), ..rig };
    let hub = health.part("hub", http::Need::Alive);
    hub.down("it has ended");
    let told = rig.get("/v1/health").await.body;
    assert_eq!((&told["alive"], &told["ready"]), (&json!(false), &json!(false)));
    assert_eq!(told["parts"]["hub"], json!({ "state": "down", "need": "alive", "detail": "it has ended" }));
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let rig = Rig::new().await;
    for n in 0..5 {
        let role = if n == 3 { "operator" } else { "reader" };
        rig.post("/v1/accounts", json!({ "name": format!("u{n}"), "role": role })).await;
    }
    let mut names = Vec::new();
    let mut path = "/v1/accounts?limit=2&role=reader".to_owned();
    loop {
        let page = rig.get(&path).await.body;
        names.extend(page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/accounts?limit=2&role=reader&cursor={next}");
    }
    assert_eq!(names, ["u0", "u1", "u2", "u4"]);
}

#[tokio::test]
async fn r38_who_is_disabled_is_out_at_once_and_the_last_administrator_stays() {
    let rig = Rig::new().await;
    let login = rig.login_of(Role::Administrator).await;
    let disable = rig.post("/v1/accounts/administrator/disable", json!({})).await;
    assert_eq!(disable.code(), (409, "LAST_ADMINISTRATOR"));
    rig.post("/v1/accounts", json!({ "name": "root", "role": "administrator", "password": PASSWORD })).await;
    assert_eq!(rig.post("/v1/accounts/administrator/disable", json!({})).await.status, StatusCode::OK);
    let late = request(Method::GET, "/v1/accounts", &[("authorization", &login)], None);
    assert_eq!(rig.send(remote(), late).await.code(), (401, "ADMIN_NOT_AUTHENTICATED"));
    assert!(rig.administration.state().accounts.account(&"administrator".parse().unwrap()).unwrap().record.disabled);
}
