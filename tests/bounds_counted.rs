//! Each bound that an app can meet is counted under its own name, on the page that an operator sees (R41a, R43).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::collections::BTreeMap;

use callgate::{gateway::Page, http::Health, model::CallState};
use callgate_wire::v1::{self, ErrorCode, to_app, to_gateway::Message};
use common::{PASSWORD, TestGateway, TestUser, USERS, raw::RawClient, scripted::call};

const REFUSED: &str = "callgate_refusals_total";
const CLOSED: &str = "callgate_sessions_closed_total";
/// A user more for the clear door.
const OTHER: TestUser = TestUser { name: "other", ..USERS[2] };

/// The samples of refusals and closed sessions that aren't 0, by name and code.
fn counted(page: &Page) -> BTreeMap<(String, String), u64> {
    let page = page.render(&Health::default());
    let samples = page.lines().filter_map(|line| {
        let (name, rest) = line.split_once("{code=\"")?;
        let (code, count) = rest.split_once("\"} ")?;
        Some(((name.to_owned(), code.to_owned()), count.parse().ok()?))
    });
    samples.filter(|((name, _), count)| [REFUSED, CLOSED].contains(&name.as_str()) && *count > 0).collect()
}

async fn opened(gateway: &TestGateway, user: &str, instance: &str) -> Result<RawClient, ErrorCode> {
    // Past the tap, which would read for who doesn't.
    let mut client = RawClient::clear(gateway.gateway.clear_address().unwrap()).await;
    client.open_scram(user, instance, PASSWORD).await.map(|_| client)
}

/// Meets the bound that is answered by this code.
async fn meet(gateway: &TestGateway, code: ErrorCode, is_open: bool) {
    let clear = || RawClient::clear(gateway.gateway.clear_address().unwrap());
    match code {
        ErrorCode::FrameTooLarge if is_open => {
            let mut client = opened(gateway, "dashboard", "1").await.unwrap();
            client.send_bytes(&(64 * 1024 + 1u32).to_be_bytes()).await;
            assert_eq!(client.closed().await, Some(code));
        }
        ErrorCode::FrameTooLarge => {
            let mut client = clear().await;
            client.send_bytes(&(4 * 1024 + 1u32).to_be_bytes()).await;
            assert_eq!(client.closed().await, Some(code));
        }
        ErrorCode::OpenTimeout => assert_eq!(clear().await.closed().await, Some(code)),
        ErrorCode::TooManyConnections => {
            let mut first = clear().await;
            first.hello().await;
            let mut second = clear().await;
            assert_eq!(first.closed().await, Some(code));
            second.open_scram("dashboard", "1", PASSWORD).await.unwrap();
        }
        ErrorCode::TooManyTries => {
            let wrong = clear().await.open_scram("dashboard", "1", "wrong").await.err();
            assert_eq!(wrong, Some(ErrorCode::AuthenticationFailed));
            assert_eq!(clear().await.closed().await, Some(code));
        }
        ErrorCode::TooManySessionsOfUser => {
            let _first = opened(gateway, "dashboard", "1").await.unwrap();
            assert_eq!(opened(gateway, "dashboard", "2").await.err(), Some(code));
        }
        ErrorCode::TooManySessions => {
            let _first = opened(gateway, "dashboard", "1").await.unwrap();
            assert_eq!(opened(gateway, "other", "1").await.err(), Some(code));
        }
        ErrorCode::TooManyMonitors => {
            let mut client = opened(gateway, "dashboard", "1").await.unwrap();
            client.monitor("1001").await;
            let device = v1::MonitorDevice { device: "1002".into(), ..Default::default() };
            let request = client.send(Message::Monitor(device)).await;
            let answer = client.next().await.unwrap();
            assert_eq!(answer.reply_to, request);
            let Some(to_app::Message::Refusal(refusal)) = answer.message else { panic!("{answer:?}") };
            assert_eq!(refusal.error.unwrap().code(), code);
        }
        ErrorCode::SlowConsumer => {
            let mut slow = opened(gateway, "dashboard", "1").await.unwrap();
            slow.monitor("1001").await;
            let call = call("1001", 1);
            let batch: Vec<_> = (0..1000).map(|_| call.state(CallState::Connected)).collect();
            // Far more than the sockets' buffers hold.
            for _ in 0..100 {
                gateway.script.say(batch.clone()).await;
            }
            assert_eq!(slow.closed().await, Some(code));
        }
        code => panic!("nobody knows how to meet {code:?}"),
    }
}

#[tokio::test]
async fn r41a_each_refusal_is_counted_under_its_own_name() {
    let page = Page::install().unwrap();
    let guessed = (REFUSED, ErrorCode::AuthenticationFailed);
    for (limit, code, counts) in [
        ("", ErrorCode::FrameTooLarge, vec![(REFUSED, ErrorCode::FrameTooLarge)]),
        ("", ErrorCode::FrameTooLarge, vec![(CLOSED, ErrorCode::FrameTooLarge)]),
        ("open_seconds = 1", ErrorCode::OpenTimeout, vec![(REFUSED, ErrorCode::OpenTimeout)]),
        ("opening_connections = 1", ErrorCode::TooManyConnections, vec![(REFUSED, ErrorCode::TooManyConnections)]),
        ("tries_per_source_per_minute = 1", ErrorCode::TooManyTries, vec![guessed, (REFUSED, ErrorCode::TooManyTries)]),
        ("sessions_per_user = 1", ErrorCode::TooManySessionsOfUser, vec![(REFUSED, ErrorCode::TooManySessionsOfUser)]),
        ("sessions = 1", ErrorCode::TooManySessions, vec![(REFUSED, ErrorCode::TooManySessions)]),
        ("monitors_per_session = 1", ErrorCode::TooManyMonitors, vec![(REFUSED, ErrorCode::TooManyMonitors)]),
        ("queued_bytes_per_session = 65536", ErrorCode::SlowConsumer, vec![(CLOSED, ErrorCode::SlowConsumer)]),
    ] {
        let users = [USERS, &[OTHER]].concat();
        let gateway = TestGateway::start_unwatched(&users, &format!("[limits]\n{limit}\n")).await;
        let before = counted(&page);
        meet(&gateway, code, counts.iter().any(|(name, _)| *name == CLOSED)).await;
        // Who is still in is closed, and counted, by the stop.
        gateway.gateway.stop().await;
        let usual = [ErrorCode::GatewayStopping, ErrorCode::ConnectionLost, ErrorCode::ClosedByApp];
        let usual = usual.map(|code| code.as_str_name());
        let after = counted(&page);
        let rises: BTreeMap<_, _> = after
            .into_iter()
            .map(|(sample, count)| (sample.clone(), count - before.get(&sample).copied().unwrap_or(0)))
            .filter(|((_, code), rise)| *rise > 0 && !usual.contains(&code.as_str()))
            .collect();
        let expected: BTreeMap<_, _> =
            counts.iter().map(|(name, code)| ((name.to_string(), code.as_str_name().to_owned()), 1)).collect();
        assert_eq!(rises, expected, "{limit} {code:?}");
    }
}
