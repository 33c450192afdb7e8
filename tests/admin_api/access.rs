//! Who is let in, and for how long.

use callgate::trust::Fingerprint;
use serde_json::json;

use crate::rig::{PASSWORD, Rig};

#[tokio::test]
async fn r38_from_the_first_start_to_an_administrator() {
    let rig = Rig::start().await;
    let token = rig.administration().first_setup_token().await.unwrap().unwrap();
    let mut client = rig.https(None).await;
    let set_up = |token: &str| json!({ "token": token, "account": "root", "password": PASSWORD });
    assert_eq!(client.post("/v1/setup", set_up("cgsetup_guessed")).await.code(), (403, "SETUP_TOKEN_INVALID"));
    let login = json!({ "account": "root", "password": PASSWORD });
    assert_eq!(client.post("/v1/login", login).await.code(), (401, "ADMIN_NOT_AUTHENTICATED"), "there is no default");
    client.post("/v1/setup", set_up(token.tell())).await.ok(201);
    assert_eq!(client.post("/v1/setup", set_up(token.tell())).await.code(), (403, "SETUP_TOKEN_INVALID"));
    let mut root = rig.login("root").await;
    assert_eq!(root.get("/v1/session").await.ok(200)["role"], "administrator");
    root.ask(hyper::Method::POST, "/v1/logout", &[], None).await.ok(204);
    assert_eq!(root.get("/v1/session").await.code(), (401, "ADMIN_NOT_AUTHENTICATED"));
    rig.served.stop().await;
}

#[tokio::test]
async fn r38_logins_and_tokens_end_at_once_when_their_account_changes() {
    let rig = Rig::start().await;
    let mut logins = rig.logins().await;
    let mut administrator = logins.remove(&callgate::admin::accounts::Role::Administrator).unwrap();
    let mut reader = logins.remove(&callgate::admin::accounts::Role::Reader).unwrap();
    let new = json!({ "name": "job", "role": "reader", "days": 1 });
    let made = reader.post("/v1/accounts/reader/tokens", new).await.ok(201);
    let mut job = rig.https(None).await;
    job.with_token(made["item"]["token"].as_str().unwrap());
    job.get("/v1/session").await.ok(200);
    let settings = json!({ "role": "operator", "description": "", "certificates": [] });
    let read = administrator.get("/v1/accounts/reader").await;
    let if_match = [("if-match", &*read.etag())];
    administrator.ask(hyper::Method::PUT, "/v1/accounts/reader", &if_match, Some(settings)).await.ok(200);
    for client in [&mut reader, &mut job] {
        assert_eq!(
            client.get("/v1/session").await.code(),
            (401, "ADMIN_NOT_AUTHENTICATED"),
            "over the same connection"
        );
    }
    administrator.get("/v1/session").await.ok(200);
    rig.served.stop().await;
}

#[tokio::test]
async fn r38_a_client_certificate_lets_in_until_account_or_ledger_say_otherwise() {
    let rig = Rig::start().await;
    let issued = rig.issue("7").await;
    let sha256 = Fingerprint(issued.sha256).to_hex();
    let mut local = rig.local().await;
    let mut shown = rig.https(Some(&issued)).await;
    assert_eq!(shown.get("/v1/session").await.code(), (401, "ADMIN_NOT_AUTHENTICATED"), "no account lists it");
    local.post("/v1/accounts", json!({ "name": "robot", "role": "operator", "certificates": [sha256] })).await.ok(201);
    let who = shown.get("/v1/session").await.ok(200);
    assert_eq!((&who["actor"], &who["by"]), (&json!("account:robot"), &json!("certificate")));
    local.ask(hyper::Method::POST, "/v1/accounts/robot/disable", &[], None).await.ok(200);
    assert_eq!(shown.get("/v1/session").await.code(), (401, "ADMIN_NOT_AUTHENTICATED"));
    local.ask(hyper::Method::POST, "/v1/accounts/robot/enable", &[], None).await.ok(200);
    shown.get("/v1/session").await.ok(200);
    let actor = callgate::admin::Actor::Gateway;
    rig.administration().revoke(&actor, Fingerprint(issued.sha256), "lost").await.unwrap();
    assert_eq!(shown.get("/v1/session").await.code(), (401, "ADMIN_NOT_AUTHENTICATED"), "over the same connection");
    assert!(!is_let_in(&rig, &issued).await);
    rig.served.stop().await;
}

/// A browser shows the certificate of who sits before it for any page, and asks for what needs no body without a question before.
#[tokio::test]
async fn r38_a_page_of_another_origin_changes_nothing_by_the_certificate_of_who_looks_at_it() {
    let rig = Rig::start().await;
    let issued = rig.issue("7").await;
    let sha256 = Fingerprint(issued.sha256).to_hex();
    let mut local = rig.local().await;
    let account = json!({ "name": "eva", "role": "administrator", "certificates": [sha256] });
    local.post("/v1/accounts", account).await.ok(201);
    local.post("/v1/accounts", json!({ "name": "bob", "role": "reader" })).await.ok(201);
    let mut browser = rig.https(Some(&issued)).await;
    let mut disable = async |headers: &[(&str, &str)]| {
        browser.ask(hyper::Method::POST, "/v1/accounts/bob/disable", headers, None).await
    };
    for headers in [
        &[("origin", "https://evil.example")][..],
        &[("origin", "null")],
        &[("origin", "http://localhost")],
        &[("sec-fetch-site", "cross-site"), ("origin", "https://localhost")],
        &[("sec-fetch-site", "same-site")],
    ] {
        assert_eq!(disable(headers).await.code(), (403, "ADMIN_NOT_ALLOWED"), "{headers:?}");
    }
    assert_eq!(local.get("/v1/accounts/bob").await.ok(200)["disabled"], false);
    for headers in [&[("origin", "https://localhost")][..], &[("sec-fetch-site", "same-origin")], &[]] {
        disable(headers).await.ok(200);
    }
    browser.ask(hyper::Method::GET, "/v1/session", &[("origin", "https://evil.example")], None).await.ok(200);
    rig.served.stop().await;
}

/// By TLS 1.3 a client hears of it only when it asks for something.
async fn is_let_in(rig: &Rig, issued: &callgate::trust::Issued) -> bool {
    let Ok(mut client) = rig.try_https(Some(issued)).await else { return false };
    client.send(hyper::Method::GET, "/v1/session", &[], None).await.is_ok()
}

#[tokio::test]
async fn r38_who_guesses_passwords_waits_and_is_told_how_long() {
    let rig = Rig::start().await;
    rig.logins().await;
    let mut client = rig.https(None).await;
    let mut login = async |account: &str, password: &str| {
        client.post("/v1/login", json!({ "account": account, "password": password })).await
    };
    for _ in 0..5 {
        assert_eq!(login("reader", "wrong").await.code(), (401, "ADMIN_NOT_AUTHENTICATED"));
    }
    let (locked, unknown) = (login("reader", PASSWORD).await, login("nobody", PASSWORD).await);
    assert_eq!((locked.status, &locked.body), (unknown.status, &unknown.body), "nobody learns what was wrong");
    let mut local = rig.local().await;
    assert_eq!(local.get("/v1/accounts/reader").await.ok(200)["locked"], true);
    assert_eq!(local.ask(hyper::Method::POST, "/v1/accounts/reader/unlock", &[], None).await.ok(200)["locked"], false);
    assert_eq!(login("reader", PASSWORD).await.status, 200);
    let mut last = login("operator", "wrong").await;
    for n in 0..20 {
        if last.status == 429 {
            break;
        }
        last = login(&format!("nobody{n}"), "wrong").await;
    }
    assert_eq!(last.code(), (429, "ADMIN_LOCKED_OUT"));
    let seconds: u64 = last.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    assert_eq!(login("administrator", PASSWORD).await.code(), (429, "ADMIN_LOCKED_OUT"), "from this address");
    local.post("/v1/login", json!({ "account": "administrator", "password": PASSWORD })).await.ok(200);
    rig.served.stop().await;
}

#[tokio::test]
async fn r5_a_reload_says_who_may_connect_from_then_on() {
    let mut rig = Rig::start().await;
    let mut before = rig.https(None).await;
    let networks = "listen = \"127.0.0.1:0\"\nnetworks = [\"192.0.2.0/24\"]\n[[user]]";
    rig.reload("listen = \"127.0.0.1:0\"\n[[user]]", networks).await;
    assert!(rig.try_https(None).await.is_err());
    before.get("/v1/openapi.json").await.ok(200);
    rig.local().await.get("/v1/session").await.ok(200);
    rig.reload("[doors]", "[doors]").await;
    rig.https(None).await.get("/v1/openapi.json").await.ok(200);
    rig.served.stop().await;
}
