//! What is changed by several at once, and by who goes away.

use hyper::Method;
use serde_json::{Value, json};

use crate::rig::Rig;

fn settings(description: &str) -> Value {
    json!({ "role": "reader", "description": description, "certificates": [] })
}

#[tokio::test]
async fn of_several_who_change_the_same_state_one_gets_through() {
    let rig = Rig::start().await;
    let mut local = rig.local().await;
    local.post("/v1/accounts", json!({ "name": "eva", "role": "reader" })).await.ok(201);
    for round in 0..10 {
        let etag = local.get("/v1/accounts/eva").await.etag();
        let mut tasks = Vec::new();
        for n in 0..4 {
            let (mut client, etag) = (rig.local().await, etag.clone());
            tasks.push(tokio::spawn(async move {
                let change = settings(&format!("{round} {n}"));
                client.ask(Method::PUT, "/v1/accounts/eva", &[("if-match", &etag)], Some(change)).await
            }));
        }
        let mut won = Vec::new();
        for task in tasks {
            let answer = task.await.unwrap();
            match answer.status.as_u16() {
                200 => won.push(answer.body["item"]["description"].clone()),
                _ => assert_eq!(answer.code(), (412, "VERSION_CONFLICT")),
            }
        }
        assert_eq!(won.len(), 1, "{won:?}");
        assert_eq!(local.get("/v1/accounts/eva").await.ok(200)["description"], won[0]);
    }
    rig.served.stop().await;
}

#[tokio::test]
async fn a_creation_is_made_once_however_often_it_is_sent_and_whoever_goes_away() {
    let rig = Rig::start().await;
    for n in 0..10 {
        let account = json!({ "name": format!("a{n}"), "role": "reader" });
        let key = format!("key-{n}");
        let send = async || {
            let mut client = rig.local().await;
            client.ask(Method::POST, "/v1/accounts", &[("idempotency-key", &key)], Some(account.clone())).await
        };
        // One goes away in the middle; it may have been too early for anything to have begun.
        let gone = tokio::time::timeout(std::time::Duration::from_micros(n * 150), send()).await;
        let (one, other) = tokio::join!(send(), send());
        assert_eq!(
            (one.status, other.status),
            (hyper::StatusCode::CREATED, hyper::StatusCode::CREATED),
            "{}",
            one.body
        );
        assert_eq!((&one.body, one.etag()), (&other.body, other.etag()));
        if let Ok(first) = gone {
            assert_eq!(first.body, one.body);
        }
    }
    let listed = rig.local().await.get("/v1/accounts").await.ok(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 10);
    rig.served.stop().await;
}

#[tokio::test]
async fn r41a_a_body_has_a_bound_whether_its_length_is_told_or_not() {
    let rig = Rig::start().await;
    let large = json!({ "name": "eva", "role": "reader", "description": "x".repeat(callgate::admin::api::MAX_BODY) });
    for headers in [&[][..], &[("idempotency-key", "k")]] {
        let answer = rig.local().await.ask(Method::POST, "/v1/accounts", headers, Some(large.clone())).await;
        assert_eq!(answer.code(), (413, "BODY_TOO_LARGE"));
        let mut chunked = rig.local().await;
        let headers = [headers, &[("transfer-encoding", "chunked")]].concat();
        let text = large.to_string();
        let answer = chunked.send(Method::POST, "/v1/accounts", &headers, Some(("application/json", text.as_bytes())));
        assert_eq!(answer.await.unwrap().code(), (413, "BODY_TOO_LARGE"));
    }
    assert_eq!(rig.local().await.get("/v1/accounts/eva").await.code(), (404, "NOT_FOUND"));
    rig.served.stop().await;
}
