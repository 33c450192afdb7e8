//! While sessions have time to go elsewhere, rights are what the administration says, as ever.

use std::time::Duration;

use callgate_wire::v1::{ErrorCode, Indicator, to_app};
use serde_json::json;
use tokio::time::timeout;

use crate::{
    common::{
        USERS,
        raw::RawClient,
        scripted::{call, fresh_key},
    },
    opening::put,
    rig::Rig,
};

const HEAD: &str = "[stop]\ngateways = [\"cti2.example.org:2749\"]\ndrain_seconds = 300\n";

async fn told_to_leave(session: &mut RawClient) {
    session.wait_for(|message| matches!(message, to_app::Message::GatewayLeaving(_)).then_some(())).await;
}

#[tokio::test]
async fn r15_r42_changes_are_in_effect_also_while_sessions_have_time_to_go() {
    let mut rig = Rig::start(USERS, HEAD).await;
    let mut recorder = rig.session("recorder", "1").await;
    let mut second = rig.session("recorder", "2").await;
    recorder.monitor("1001").await;
    second.monitor("1001").await;
    let drained = tokio::spawn(rig.gateway.drain());
    told_to_leave(&mut recorder).await;
    told_to_leave(&mut second).await;
    rig.script.say(vec![call("1001", 1).opened(1, 1, Some(&fresh_key()))]).await;
    for session in [&mut recorder, &mut second] {
        assert_eq!(session.next_media_opened().await.indicator(), Indicator::KeysAvailable);
    }

    let restricted = json!({ "description": "", "addresses": [], "lines": [], "restricted": true });
    let done = rig.put("/v1/devices/1001", "*", restricted).await.ok(200)["done"].clone();
    assert_eq!((&done["effect"]["sessions"], &done["effect"]["changed"]), (&2.into(), &2.into()));
    rig.script.say(vec![call("1001", 1).opened(2, 1, Some(&fresh_key()))]).await;
    for session in [&mut recorder, &mut second] {
        session.wait_for(|message| matches!(message, to_app::Message::DeviceOutOfService(_)).then_some(())).await;
    }
    let done = put(&rig, "locked", true).await;
    assert_eq!(done["effect"]["closed"], 2);
    for session in [&mut recorder, &mut second] {
        // Nothing came in between.
        let left = session.next().await.and_then(|left| left.message);
        let Some(to_app::Message::Close(close)) = &left else { panic!("{left:?}") };
        assert_eq!(close.reason.as_ref().unwrap().code(), ErrorCode::AuthenticationFailed);
    }
    timeout(Duration::from_secs(60), drained).await.expect("nobody is left").unwrap();
    rig.finish().await;
}
