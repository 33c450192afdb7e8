//! A backup over the API, and the store that comes of it.

use std::fs;

use callgate::{
    admin::{Actor, Restoration, accounts::Role},
    store::{self, Bucket, Restore},
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::rig::{PASSWORD, Rig};

#[tokio::test]
async fn r42_a_backup_that_was_downloaded_is_the_store_of_that_moment() {
    let rig = Rig::start().await;
    let mut logins = rig.logins().await;
    // More than is sent at once.
    let mut local = rig.local().await;
    for number in 0..300 {
        let device = json!({ "name": format!("d{number:03}"), "description": "x".repeat(400) });
        local.post("/v1/devices", device).await.ok(201);
    }
    for role in [Role::Reader, Role::Operator] {
        let refused = logins.get_mut(&role).unwrap().post("/v1/backup", Value::Null).await;
        assert_eq!(refused.code(), (403, "ADMIN_NOT_ALLOWED"), "{role}");
    }
    let administrator = logins.get_mut(&Role::Administrator).unwrap();
    let answer = administrator.post("/v1/backup", Value::Null).await;
    assert_eq!(answer.headers["content-type"], "application/x-ndjson");
    let length: usize = answer.headers["content-length"].to_str().unwrap().parse().unwrap();
    let backup = answer.ok(200).as_str().unwrap().to_owned();
    assert!(backup.len() == length && length > 128 * 1024, "{length}");
    assert!(!backup.contains(PASSWORD));
    local.ask(hyper::Method::DELETE, "/v1/devices/d007", &[], None).await.ok(200);
    let keyed = [("idempotency-key", "once")];
    let refused = local.ask(hyper::Method::POST, "/v1/backup", &keyed, None).await;
    assert_eq!(refused.code(), (400, "REQUEST_NOT_UNDERSTOOD"));

    let path = rig.folder.path().join("callgate.backup");
    fs::write(&path, &backup).unwrap();
    let store = rig.folder.path().join("callgate.redb");
    drop((local, logins));
    rig.served.stop().await;
    let restoration = Restoration::new(&Actor::Gateway, OffsetDateTime::now_utc()).unwrap();
    let plan = || Restore::plan(&path, &store, &store::Options::default(), &restoration);
    let planned = (0..500).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        plan().ok()
    });
    let planned = planned.expect("nobody has the store open any more");
    let devices = planned.differences().iter().filter(|known| known.bucket == Bucket::DEVICES);
    let different: Vec<_> = devices.map(|known| known.key.as_str()).collect();
    assert_eq!(different, ["d007"]);
    // One that was cut off isn't taken.
    fs::write(&path, &backup[..backup.len() - 40]).unwrap();
    drop(planned);
    assert!(plan().is_err());
}
