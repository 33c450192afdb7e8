//! What is asked and answered, and what is no request.

use super::*;
use crate::admin::api::routes::Least;

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
