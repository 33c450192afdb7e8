//! Requests that nobody means, made by chance from the API's own description: whatever comes, the answer is a described one,
//! and never a fault of the gateway's.

use std::fmt::Write as _;

use callgate::admin::accounts::Role;
use hyper::Method;
use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use serde_json::{Map, Value, json};

use crate::rig::{Client, Operation, Rig, operations};

/// How often each operation is asked for.
const TIMES: usize = 60;

#[tokio::test]
async fn no_request_is_answered_by_a_fault_or_by_what_is_not_described() {
    let rig = Rig::start().await;
    let mut logins = rig.logins().await;
    let mut local = rig.local().await;
    let mut chance = Chance::new();
    let document: Value = serde_json::from_str(&callgate::admin::api::openapi()).unwrap();
    let mut done = 0;
    for n in 0..TIMES {
        for operation in operations() {
            let client = if n % 3 == 0 { logins.get_mut(&Role::Reader).unwrap() } else { &mut local };
            done += usize::from(ask(client, &operation, &document, &mut chance).await < 400);
            // Who is in can have been thrown out by chance.
            if client.get("/v1/session").await.status == 401 && n % 3 == 0 {
                break;
            }
        }
    }
    assert!(done > 2 * TIMES, "only {done} were no nonsense");
    local.get("/v1/session").await.ok(200);
    rig.served.stop().await;
}

async fn ask(client: &mut Client, operation: &Operation, document: &Value, chance: &mut Chance) -> u16 {
    let Operation { method, path, described, .. } = operation;
    let mut target = String::new();
    for part in path.split('/').skip(1) {
        let part = if part.starts_with('{') { chance.segment() } else { part.to_owned() };
        write!(target, "/{part}").unwrap();
    }
    let parameters = described["parameters"].as_array().cloned().unwrap_or_default();
    let mut headers = Vec::new();
    let mut query = Vec::new();
    for parameter in &parameters {
        let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
        match parameter["in"].as_str().unwrap() {
            "query" if chance.one_in(2) => {
                let value = chance.value(schema, document, 0);
                query.push(format!("{}={}", escaped(name), escaped(&plain(&value))));
            }
            "header" if chance.one_in(2) => headers.push((name.to_owned(), chance.header())),
            _ => {}
        }
    }
    if chance.one_in(8) {
        query.push(chance.segment());
    }
    if !query.is_empty() {
        write!(target, "?{}", query.join("&")).unwrap();
    }
    let body = described.pointer("/requestBody/content/application~1json/schema");
    let body = match body {
        Some(_) if chance.one_in(10) => Some(chance.bytes()),
        Some(schema) => Some(chance.value(schema, document, 0).to_string().into_bytes()),
        None if *method != Method::GET && chance.one_in(2) => Some(chance.bytes()),
        None => None,
    };
    let kind = if chance.one_in(12) { "text/plain" } else { "application/json" };
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let body = body.as_deref().map(|body| (kind, body));
    let answer = client.send(method.clone(), &target, &headers, body).await.unwrap();
    let shown = || {
        let body = body.map(|(kind, body)| format!("{kind} {}", String::from_utf8_lossy(body)));
        format!("{method} {target} {headers:?} {body:?}: {} {}", answer.status, answer.body)
    };
    let status = answer.status.as_u16();
    assert!(status < 500, "{}", shown());
    // A segment by chance may make it another path.
    let is_described = described["responses"].get(status.to_string()).is_some();
    assert!(is_described || matches!(status, 404 | 405), "{}", shown());
    if status >= 400 {
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{}", shown());
        assert!(answer.body["code"].is_string() && answer.body["status"] == status, "{}", shown());
    }
    status
}

/// The same chance in every run.
struct Chance(TestRunner);

impl Chance {
    fn new() -> Self {
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        Self(TestRunner::new_with_rng(Config::default(), rng))
    }

    fn draw<T: std::fmt::Debug>(&mut self, strategy: impl Strategy<Value = T>) -> T {
        strategy.new_tree(&mut self.0).unwrap().current()
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.draw(0..n) == 0
    }

    fn text(&mut self) -> String {
        self.draw(prop_oneof![
            Just("reader".to_owned()),
            Just("recorder".to_owned()),
            Just("1001".to_owned()),
            "[a-z]{0,12}",
            "\\PC{0,20}",
            "[0-9.:/_-]{0,20}",
            Just("x".repeat(3_000)),
        ])
    }

    fn segment(&mut self) -> String {
        let text = self.text();
        if self.one_in(20) { "%ff%00".into() } else { escaped(&text) }
    }

    fn header(&mut self) -> String {
        self.draw(prop_oneof![
            Just("*".to_owned()),
            (0_u64..50).prop_map(|n| format!("\"v{n}\"")),
            Just(format!("\"v{}\"", u64::MAX)),
            "[ -~]{0,30}",
            "[a-z0-9]{1,8}",
        ])
    }

    fn bytes(&mut self) -> Vec<u8> {
        self.draw(prop_oneof![
            vec(any::<u8>(), 0..40),
            Just(b"{".to_vec()),
            Just(b"null".to_vec()),
            Just(b"[[[[".repeat(500)),
            Just(vec![b'['; 200_000]),
            Just(br#"{"a":1,"a":2}"#.to_vec()),
        ])
    }

    /// A value of this schema most of the time, and else any.
    fn value(&mut self, schema: &Value, document: &Value, depth: usize) -> Value {
        if let Some(reference) = schema["$ref"].as_str() {
            return self.value(document.pointer(&reference[1..]).unwrap(), document, depth);
        }
        if depth > 4 || self.one_in(6) {
            return self.any();
        }
        for of in ["oneOf", "anyOf", "allOf"] {
            if let Some(schemas) = schema[of].as_array() {
                let which = self.draw(0..schemas.len());
                return self.value(&schemas[which], document, depth + 1);
            }
        }
        if let Some(values) = schema["enum"].as_array() {
            let which = self.draw(0..values.len());
            return values[which].clone();
        }
        let kinds = schema["type"].as_array().cloned().unwrap_or_else(|| vec![schema["type"].clone()]);
        let which = self.draw(0..kinds.len());
        match kinds[which].as_str().unwrap_or_default() {
            "object" => {
                let mut object = Map::new();
                for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                    if !self.one_in(6) {
                        object.insert(name.clone(), self.value(schema, document, depth + 1));
                    }
                }
                object.into()
            }
            "array" => {
                let len = self.draw(0..4_usize);
                (0..len).map(|_| self.value(&schema["items"], document, depth + 1)).collect()
            }
            "string" => self.text().into(),
            "integer" => self.draw(-1_i64..600).into(),
            "boolean" => self.draw(any::<bool>()).into(),
            _ => self.any(),
        }
    }

    fn any(&mut self) -> Value {
        let text = self.text();
        self.draw(prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            Just(json!(1e300)),
            Just(json!([])),
            Just(json!({ "a": [1] })),
            Just(Value::from(text)),
        ])
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), Into::into)
}

/// For a path or a query.
fn escaped(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").unwrap();
        }
        escaped
    })
}
