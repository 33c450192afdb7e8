//! What happens now: sessions, devices, calls, streams, and why somebody gets a key or doesn't.

use callgate::model::CallState;
use callgate_wire::v1::{ErrorCode, Indicator};
use serde_json::json;

use crate::{
    common::{
        USERS,
        scripted::{call, fresh_key},
    },
    rig::Rig,
};

/// A call of the device with one stream, which is encrypted.
async fn keyed_call(rig: &Rig, device: &'static str, id: u64) {
    let call = call(device, id);
    rig.script.say(vec![call.state(CallState::Connected), call.opened(id, 1, Some(&fresh_key()))]).await;
}

#[tokio::test]
async fn r12_r15_sessions_are_seen_with_what_they_get_and_closed() {
    let rig = Rig::start(USERS, "").await;
    let mut recorder = rig.session("recorder", "1").await;
    let mut viewer = rig.session("viewer", "7").await;
    for session in [&mut recorder, &mut viewer] {
        session.monitor("1001").await;
    }
    keyed_call(&rig, "1001", 1).await;
    assert_eq!(recorder.next_media_opened().await.indicator(), Indicator::KeysAvailable);
    assert_eq!(viewer.next_media_opened().await.indicator(), Indicator::UserNotAuthorized);

    let all = rig.get("/v1/sessions").await.ok(200)["items"].clone();
    let told: Vec<_> = all.as_array().unwrap().iter().map(|s| (s["user"].as_str().unwrap(), &s["denials"])).collect();
    assert_eq!(told, [("recorder", &json!(0)), ("viewer", &json!(1))]);
    let (of_recorder, of_viewer) = (&all[0], &all[1]);
    assert_eq!((&of_recorder["door"], &of_recorder["monitored_devices"]), (&json!("tls"), &json!(1)));
    assert!(of_recorder["certificate_expires"].as_str().unwrap().ends_with('Z'), "{of_recorder}");
    let names = |list: serde_json::Value| list["items"].as_array().unwrap().len();
    for (filter, count) in [("user=viewer", 1), ("user=viewer&instance=8", 0), ("door=clear", 0), ("door=tls", 2)] {
        assert_eq!(names(rig.get(&format!("/v1/sessions?{filter}")).await.ok(200)), count, "{filter}");
    }
    let path = format!("/v1/sessions/{}", of_viewer["session"].as_str().unwrap());
    assert_eq!(&rig.get(&path).await.ok(200), of_viewer);

    let closed = rig.delete(&path).await.ok(200);
    let effect = &closed["done"]["effect"];
    assert_eq!((&effect["closed"], &effect["sessions"]), (&json!(1), &json!(1)));
    assert_eq!(viewer.closed().await, Some(ErrorCode::ClosedByAdministrator));
    assert_eq!(rig.delete(&path).await.refused(), (404, "NOT_FOUND".into()));
    assert_eq!(rig.delete("/v1/sessions").await.refused(), (400, "REQUEST_NOT_UNDERSTOOD".into()));
    let none = rig.delete("/v1/sessions?user=recorder&instance=2").await.ok(200);
    assert_eq!(none["done"]["effect"]["closed"], 0);
    assert_eq!(rig.delete("/v1/sessions?user=recorder").await.ok(200)["done"]["effect"]["closed"], 1);
    assert_eq!(recorder.closed().await, Some(ErrorCode::ClosedByAdministrator));
    rig.finish().await;
}

#[tokio::test]
async fn r19_r20_calls_and_streams_are_seen_and_no_key() {
    let rig = Rig::start(USERS, "").await;
    for (device, call) in [("1001", 1), ("1001", 2), ("1002", 3)] {
        keyed_call(&rig, device, call).await;
    }
    // Until the hub has taken the last of them.
    while rig.get("/v1/live/streams?device=1002").await.ok(200)["items"].as_array().unwrap().is_empty() {}
    let devices = rig.get("/v1/live/devices?busy=true").await.ok(200)["items"].clone();
    assert_eq!(devices.as_array().unwrap().len(), 2);
    assert_eq!((&devices[0]["name"], &devices[0]["configured"]), (&json!("1001"), &json!(true)));
    let one = rig.get("/v1/live/devices/1001").await.ok(200);
    assert_eq!(one, devices[0]);
    assert_eq!(rig.get("/v1/live/devices/1009").await.refused(), (404, "NOT_FOUND".into()));

    let calls = rig.get("/v1/live/calls").await.ok(200)["items"].clone();
    assert_eq!(calls.as_array().unwrap().len(), 3);
    assert_eq!((&calls[0]["state"], &calls[0]["security"]), (&json!("connected"), &json!("secure")));
    // A page at a time, each item once.
    for (list, count) in [("/v1/live/calls", 3), ("/v1/live/streams", 3), ("/v1/live/devices", 3)] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = rig.get(&format!("{list}?limit=1{cursor}")).await.ok(200);
            seen.extend(page["items"].as_array().unwrap().iter().map(ToString::to_string));
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        seen.dedup();
        assert_eq!(seen.len(), count, "{list}");
    }
    let call = calls[2]["call"].as_str().unwrap();
    let streams = rig.get(&format!("/v1/live/streams?device=1002&call={call}")).await.ok(200)["items"].clone();
    let opened = &streams[0]["opened"];
    assert_eq!((&opened["protection"], &opened["flows"]), (&json!("keyed"), &json!(true)));
    assert_eq!((&opened["suite"], &streams[0]["generation"]), (&json!("AES_CM_128_HMAC_SHA1_80"), &json!(1)));
    assert_eq!(rig.get("/v1/live/streams?device=100").await.ok(200)["items"], json!([]), "a name, and no part of one");
    rig.finish().await;
}

#[tokio::test]
async fn r43_each_rule_is_explained_by_the_rights_of_now() {
    let rig = Rig::start(USERS, "").await;
    let _session = rig.session("recorder", "1").await;
    let explain = |query: &'static str| {
        let rig = &rig;
        async move { rig.get(&format!("/v1/explain?{query}")).await }
    };
    let said = explain("user=recorder&device=1001&door=tls").await.ok(200);
    assert!(said["answer"].as_str().unwrap().contains("gets the keys"), "{said}");
    assert_eq!(said["doors"].as_array().unwrap().len(), 1);

    let body = json!({ "description": "", "addresses": [], "lines": [], "restricted": true });
    rig.put("/v1/devices/1001", "*", body).await.ok(200);
    let said = explain("user=recorder&device=1001&door=tls").await.ok(200);
    assert!(said["answer"].as_str().unwrap().contains("doesn't see 1001"), "{said}");
    let rules = said["doors"][0]["disclosing"].as_array().unwrap();
    let against: Vec<_> = rules.iter().filter(|rule| rule["holds"] == false).map(|rule| &rule["mend"]).collect();
    assert_eq!(against, [&json!("callgate device unrestrict 1001")]);

    let said = explain("user=viewer&device=192.0.2.9:5060&instance=3").await.ok(200);
    assert!(!said.to_string().contains("config"), "nothing of it is changed in the config: {said}");
    assert_eq!(explain("user=nobody&device=1001").await.refused(), (404, "NOT_FOUND".into()));
    assert_eq!(explain("user=viewer&device=nothing").await.refused(), (404, "NOT_FOUND".into()));
    assert_eq!(explain("user=viewer&device=192.0.2.9").await.refused(), (422, "FIELD_INVALID".into()));
    assert_eq!(explain("device=1001").await.refused(), (400, "REQUEST_NOT_UNDERSTOOD".into()));
    let said = explain("user=recorder").await.ok(200);
    assert_eq!((&said["device"], said["doors"].as_array().unwrap().len()), (&json!(null), 2));
    assert!(said["answer"].as_str().unwrap().contains("keys of SRTP streams of devices that it sees"), "{said}");
    let groups = rig.get("/v1/users/recorder").await.ok(200)["groups"].clone();
    let alone = json!({ "kind": "application", "description": "", "groups": groups, "own_groups": [], "devices": [],
                        "patterns": [], "locked": false, "password_on_tls": false });
    rig.put("/v1/users/recorder", "*", alone).await.ok(200);
    let said = explain("user=recorder").await.ok(200);
    assert!(said["answer"].as_str().unwrap().ends_with("and has no device."), "{said}");
    rig.finish().await;
}
