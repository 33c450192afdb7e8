//! Each operation, asked for by everybody.

use callgate::admin::accounts::Role;
use serde_json::json;

use crate::rig::{Operation, ROLES, Rig, operations};

#[tokio::test]
async fn r38_each_operation_is_refused_to_strangers_and_to_lesser_roles() {
    let rig = Rig::start().await;
    let mut logins = rig.logins().await;
    let mut stranger = rig.https(None).await;
    let mut wrong = rig.https(None).await;
    wrong.with_token("cgt_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    for Operation { method, path, least, described } in operations() {
        let Some(least) = least else { continue };
        let body = || (method != "GET").then(|| json!({ "nonsense": true }));
        for client in [&mut stranger, &mut wrong] {
            let answer = client.ask(method.clone(), &place(&path, None), &[], body()).await;
            assert_eq!(answer.code(), (401, "ADMIN_NOT_AUTHENTICATED"), "{method} {path}");
            assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer "));
        }
        if path == "/v1/logout" {
            continue;
        }
        for role in ROLES {
            let client = logins.get_mut(&role).unwrap();
            let answer = client.ask(method.clone(), &place(&path, Some(role)), &[], body()).await;
            let (status, code) = answer.code();
            if role < least {
                assert_eq!((status, code), (403, "ADMIN_NOT_ALLOWED"), "{method} {path} as {role}");
            } else {
                assert!(!code.starts_with("ADMIN_NOT"), "{method} {path} as {role}: {code}");
                assert!(status < 500, "{method} {path} as {role}: {}", answer.body);
            }
            assert!(
                described["responses"].get(status.to_string()).is_some(),
                "{method} {path}: {status} isn't described"
            );
            assert_eq!(answer.headers["cache-control"], "no-store", "{method} {path}");
        }
    }
    rig.served.stop().await;
}

#[tokio::test]
async fn r38_at_the_socket_its_own_user_needs_no_account() {
    let rig = Rig::start().await;
    let mut local = rig.local().await;
    let who = local.get("/v1/session").await.ok(200);
    assert_eq!((&who["role"], &who["by"], &who["account"]), (&json!("administrator"), &json!("socket"), &json!(null)));
    let socket = std::fs::metadata(rig.folder.path().join("callgate.sock")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&socket.permissions()) & 0o777, 0o600);
    rig.served.stop().await;
    assert!(!std::fs::exists(rig.folder.path().join("callgate.sock")).unwrap());
}

/// Of tokens everybody has to do with their own; nothing else is there.
fn place(path: &str, role: Option<Role>) -> String {
    let own = role.filter(|_| path.contains("/tokens")).map_or("nobody", Role::name);
    let mut path = path.replace("{account}", own);
    while let (Some(begin), Some(end)) = (path.find('{'), path.find('}')) {
        path.replace_range(begin..=end, "nothing");
    }
    path
}
