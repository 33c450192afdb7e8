//! Who may ask for what, from the first administrator on (R38).

use std::collections::BTreeMap;

use super::*;
use crate::admin::api::routes::Least;

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
