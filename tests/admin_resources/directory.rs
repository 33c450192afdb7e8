//! Users, groups and devices.

use callgate_wire::v1::ErrorCode;
use serde_json::{Value, json};

use crate::{common::USERS, rig::Rig};

const ENABLED: &str = "Standard CTI Enabled";
const SECURE: &str = "Standard CTI Secure Connection";
const KEYS: &str = "Standard CTI Allow Reception of SRTP Key Material";

fn user(groups: &[&str], devices: &[&str]) -> Value {
    json!({ "kind": "application", "description": "", "groups": groups, "own_groups": [], "devices": devices,
            "patterns": [], "locked": false, "password_on_tls": false })
}

fn device(restricted: bool) -> Value {
    json!({ "description": "", "addresses": [], "lines": [], "restricted": restricted })
}

#[tokio::test]
async fn a_user_is_made_read_changed_and_removed() {
    let rig = Rig::start(USERS, "").await;
    let new = json!({ "name": "desk 1", "kind": "end-user", "groups": [ENABLED], "devices": ["1001"],
                      "patterns": ["100?"], "password": "correct horse" });
    let made = rig.post("/v1/users", new.clone()).await;
    let item = made.ok(201)["item"].clone();
    assert_eq!(made.header("location"), Some("/v1/users/desk%201"));
    assert_eq!((&item["name"], &item["kind"], &item["associated"]), (&"desk 1".into(), &"end-user".into(), &3.into()));
    assert_eq!(item["has_password"], true);
    assert!(!String::from_utf8_lossy(&made.body).contains("horse"));
    assert_eq!(rig.post("/v1/users", new).await.refused(), (409, "ALREADY_EXISTS".into()));

    let read = rig.get("/v1/users/desk%201").await;
    assert_eq!((&read.ok(200), read.etag()), (&item, made.etag()));
    let mut changed = user(&[ENABLED], &[]);
    changed["description"] = "Reception".into();
    assert_eq!(
        rig.ask("PUT", "/v1/users/desk%201", &[], Some(changed.clone())).await.refused(),
        (428, "VERSION_REQUIRED".into())
    );
    let put = rig.put("/v1/users/desk%201", made.etag(), changed.clone()).await;
    let done = put.ok(200);
    assert_eq!((&done["item"]["description"], &done["item"]["has_password"]), (&"Reception".into(), &true.into()));
    assert!(done["done"]["rights"].as_u64().unwrap() > 1 && done["done"]["change"].as_str().unwrap().len() == 16);
    assert_eq!(rig.put("/v1/users/desk%201", made.etag(), changed).await.refused(), (412, "VERSION_CONFLICT".into()));

    assert_eq!(rig.ask("DELETE", "/v1/users/desk%201", &[("If-Match", made.etag())], None).await.status, 412);
    rig.delete("/v1/users/desk%201").await.ok(200);
    assert_eq!(rig.get("/v1/users/desk%201").await.refused(), (404, "NOT_FOUND".into()));
    rig.finish().await;
}

#[tokio::test]
async fn a_put_makes_only_what_is_new_and_changes_only_what_is_there() {
    let rig = Rig::start(USERS, "").await;
    let new = [("If-None-Match", "*")];
    for (path, body) in [
        ("/v1/users/u", user(&[], &[])),
        ("/v1/groups/g", json!({ "description": "", "devices": [], "patterns": [] })),
        ("/v1/devices/d", device(false)),
    ] {
        assert_eq!(rig.put(path, "*", body.clone()).await.refused(), (412, "VERSION_CONFLICT".into()), "{path}");
        let made = rig.ask("PUT", path, &new, Some(body.clone())).await;
        made.ok(201);
        assert_eq!(made.header("location"), Some(path));
        assert_eq!(rig.ask("PUT", path, &new, Some(body.clone())).await.refused(), (412, "ALREADY_EXISTS".into()));
        rig.put(path, "*", body.clone()).await.ok(200);
        // Sent twice, as by a client whose connection broke: done once.
        let list = path.rsplit_once('/').unwrap().0;
        let mut twice = json!({ "name": "twice" });
        let keyed = [("Idempotency-Key", path)];
        let first = rig.ask("POST", list, &keyed, Some(twice.clone())).await;
        let again = rig.ask("POST", list, &keyed, Some(twice.clone())).await;
        assert_eq!((first.ok(201), first.etag()), (again.ok(201), again.etag()));
        twice["description"] = "another".into();
        assert_eq!(rig.ask("POST", list, &keyed, Some(twice)).await.refused().1, "IDEMPOTENCY_KEY_REUSED");
    }
    rig.finish().await;
}

#[tokio::test]
async fn lists_come_in_pages_and_by_their_filters() {
    let rig = Rig::start(USERS, "").await;
    let group = json!({ "name": "floor 1", "patterns": ["1003"] });
    rig.post("/v1/groups", group).await.ok(201);
    rig.post("/v1/users", json!({ "name": "one", "kind": "end-user", "own_groups": ["floor 1"] })).await.ok(201);
    for (list, expected) in [
        ("/v1/users", "dashboard one recorder viewer"),
        ("/v1/users?kind=end-user", "one"),
        ("/v1/users?group=floor%201", "one"),
        ("/v1/users?group=Standard%20CTI%20Secure%20Connection", "recorder viewer"),
        ("/v1/users?device=1003", "one"),
        ("/v1/users?contains=RE", "recorder"),
        ("/v1/devices", "1001 1002 1003"),
        ("/v1/devices?user=one", "1003"),
        ("/v1/devices?restricted=true", ""),
        ("/v1/devices?described=true&contains=2", "1002"),
        ("/v1/groups?standard=false", "floor 1"),
    ] {
        for limit in [1, 2, 500] {
            assert_eq!(rig.names(list, limit).await.join(" "), expected, "{list} {limit}");
        }
    }
    assert_eq!(rig.names("/v1/groups", 3).await.len(), 9);
    assert_eq!(rig.get("/v1/users?colour=red").await.refused(), (400, "REQUEST_NOT_UNDERSTOOD".into()));
    assert_eq!(rig.get("/v1/devices?user=nobody").await.refused(), (404, "NOT_FOUND".into()));
    let cursor = rig.get("/v1/users?limit=1").await.ok(200)["next"].as_str().unwrap().to_owned();
    assert_eq!(rig.get(&format!("/v1/devices?cursor={cursor}")).await.refused(), (400, "PAGE_TOKEN_INVALID".into()));
    rig.finish().await;
}

#[tokio::test]
async fn r7_standard_groups_are_shown_and_stay_as_they_are() {
    let rig = Rig::start(USERS, "").await;
    let path = "/v1/groups/Standard%20CTI%20Enabled";
    let shown = rig.get(path).await;
    let group = shown.ok(200);
    assert_eq!((&group["standard"], &group["members"]), (&true.into(), &3.into()));
    assert_eq!(shown.header("etag"), None);
    let body = json!({ "description": "", "devices": [], "patterns": [] });
    assert_eq!(rig.put(path, "*", body.clone()).await.refused(), (409, "STANDARD_GROUP".into()));
    assert_eq!(rig.delete(path).await.refused(), (409, "STANDARD_GROUP".into()));
    let alike = json!({ "name": "standard cti enabled" });
    assert_eq!(rig.post("/v1/groups", alike).await.refused(), (409, "STANDARD_GROUP".into()));
    rig.finish().await;
}

#[tokio::test]
async fn r8_r15_the_srtp_group_needs_the_other_two_and_a_cascade_reaches_the_session() {
    let rig = Rig::start(USERS, "").await;
    let mut session = rig.session("recorder", "1").await;
    session.monitor("1001").await;
    let alone = rig.post("/v1/users", json!({ "name": "u", "groups": [KEYS, ENABLED] })).await;
    assert_eq!(alone.refused(), (422, "GROUP_NEEDS_OTHERS".into()));
    let etag = rig.get("/v1/users/recorder").await.etag().to_owned();
    let without = user(&[ENABLED, KEYS], &["1001"]);
    assert_eq!(
        rig.put("/v1/users/recorder", &etag, without.clone()).await.refused(),
        (409, "GROUP_STILL_NEEDED".into())
    );
    let done = rig.put("/v1/users/recorder?cascade=true", &etag, without).await.ok(200);
    assert_eq!(done["item"]["groups"], json!([ENABLED]));
    assert_eq!(done["done"]["effect"]["closed"], 1, "it is not its door any more");
    assert_eq!(session.closed().await, Some(ErrorCode::UserNotAuthorizedForSecurity));
    rig.finish().await;
}

#[tokio::test]
async fn r9_r13_r15_groups_of_devices_and_restrictions_reach_the_session_before_they_are_answered() {
    let rig = Rig::start(USERS, "").await;
    let mut session = rig.session("recorder", "1").await;
    session.monitor("1001").await;
    let restrict = rig.put("/v1/devices/1001", "*", device(true)).await.ok(200);
    assert_eq!(
        (&restrict["done"]["effect"]["sessions"], &restrict["done"]["effect"]["changed"]),
        (&1.into(), &1.into())
    );
    assert_eq!(rig.names("/v1/devices?user=recorder", 9).await, ["1002"]);
    let nothing = rig.put("/v1/users/recorder", "*", user(&[SECURE], &["1001"])).await.ok(200);
    assert_eq!(nothing["done"]["effect"]["closed"], 1);
    assert_eq!(session.closed().await, Some(ErrorCode::CtiNotEnabled));
    rig.finish().await;
}

#[tokio::test]
async fn what_others_name_goes_only_by_a_cascade() {
    let rig = Rig::start(USERS, "").await;
    rig.post("/v1/groups", json!({ "name": "g", "devices": ["1003"] })).await.ok(201);
    rig.post("/v1/users", json!({ "name": "u", "own_groups": ["g"] })).await.ok(201);
    for path in ["/v1/devices/1001", "/v1/devices/1003", "/v1/groups/g"] {
        assert_eq!(rig.delete(path).await.refused(), (409, "STILL_REFERENCED".into()), "{path}");
        rig.delete(&format!("{path}?cascade=true")).await.ok(200);
        assert_eq!(rig.get(path).await.status, 404, "{path}");
    }
    assert_eq!(rig.get("/v1/users/recorder").await.ok(200)["devices"], json!(["1002"]));
    assert_eq!(rig.get("/v1/users/u").await.ok(200)["own_groups"], json!([]));
    rig.finish().await;
}

#[tokio::test]
async fn r14_a_password_is_set_as_a_verifier_and_told_to_nobody() {
    let rig = Rig::start(USERS, "").await;
    let path = "/v1/users/viewer/password";
    for (length, status) in [(257, 422), (256, 200), (8, 200)] {
        let password = json!({ "password": "ö".repeat(length) });
        assert_eq!(rig.put(path, "*", password).await.status, status, "{length} characters");
    }
    let new = json!({ "name": "short", "password": "1" });
    for short in [rig.put(path, "*", json!({ "password": "pencils" })).await, rig.post("/v1/users", new).await] {
        assert_eq!(short.refused(), (422, "FIELD_INVALID".into()));
        let detail = short.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("password: it has ") && detail.ends_with("from 8 to 256 are allowed"), "{detail}");
    }
    assert_eq!(rig.put(path, "*", json!({})).await.refused(), (422, "FIELD_INVALID".into()));
    assert_eq!(rig.put(path, "*", json!({ "verifier": "plain" })).await.refused(), (422, "FIELD_INVALID".into()));
    assert_eq!(rig.put(path, "*", json!({ "password": "\u{7}" })).await.refused(), (422, "FIELD_INVALID".into()));
    let verifier = callgate::directory::ScramVerifier::generate("pencil", 4096).unwrap().to_line();
    let set = rig.put(path, "*", json!({ "verifier": &*verifier })).await;
    assert_eq!(set.ok(200)["item"]["has_password"], true);
    let shown = rig.put(path, "*", json!({ "password": "other pencil" })).await;
    for answer in [&set, &shown, &rig.get("/v1/users/viewer").await] {
        let text = String::from_utf8_lossy(&answer.body);
        assert!(!text.contains("pencil") && !text.contains("SCRAM"), "{text}");
    }
    assert_eq!(rig.delete(path).await.ok(200)["item"]["has_password"], false);

    // With the rest of the user, in one change.
    let put = async |password: Value| {
        let mut user = json!({ "kind": "application", "description": "together", "groups": [], "own_groups": [],
                               "devices": [], "patterns": [], "locked": false, "password_on_tls": false });
        user.as_object_mut().unwrap().extend(password.as_object().unwrap().clone());
        rig.put("/v1/users/viewer", "*", user).await
    };
    let both = json!({ "password": "another pencil", "no_password": true });
    for refused in [put(json!({ "password": "pencils" })).await, put(both).await] {
        assert_eq!(refused.refused(), (422, "FIELD_INVALID".into()));
    }
    assert_ne!(rig.get("/v1/users/viewer").await.ok(200)["description"], "together", "nothing is changed");
    for (password, has_one) in
        [(json!({ "password": "another pencil" }), true), (json!({}), true), (json!({ "no_password": true }), false)]
    {
        assert_eq!(put(password.clone()).await.ok(200)["item"]["has_password"], has_one, "{password}");
    }
    let mut stale = user(&[ENABLED], &[]);
    stale["password"] = "another pencil".into();
    assert_eq!(rig.put("/v1/users/viewer", "\"v1\"", stale).await.refused(), (412, "VERSION_CONFLICT".into()));
    assert_eq!(rig.get("/v1/users/viewer").await.ok(200)["has_password"], false);
    rig.finish().await;
}

#[tokio::test]
async fn r43_what_is_wrong_with_a_body_is_said_with_its_field() {
    let rig = Rig::start(USERS, "").await;
    for (path, body, said) in [
        ("/v1/users", json!({ "name": "a/b" }), "name: a user name must not contain '/'"),
        ("/v1/users", json!({ "name": "u", "groups": ["Admins"] }), "groups"),
        ("/v1/users", json!({ "name": "u", "devices": ["9"] }), "devices: there is no device \"9\""),
        ("/v1/users", json!({ "name": "u", "own_groups": ["x"] }), "own_groups: there is no group \"x\""),
        ("/v1/users", json!({ "name": "u", "colour": "red" }), "unknown field `colour`"),
        ("/v1/groups", json!(["list", "", [], []]), "the body is a list: one JSON object is expected"),
        ("/v1/devices", json!({ "name": "d", "addresses": ["udp:127.0.0.1:16010"] }), "belongs to the device \"1001\""),
        ("/v1/devices", json!({ "name": "d", "lines": [{ "number": 0 }] }), "line 0: numbers from 1 to 65535"),
        ("/v1/devices", json!({ "name": "d", "lines": [{ "number": 2, "restricted": true }] }), "can't be restricted"),
    ] {
        let refused = rig.post(path, body).await;
        assert_eq!(refused.refused(), (422, "FIELD_INVALID".into()), "{refused:?}");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(said), "{said}: {detail}");
    }
    rig.finish().await;
}
