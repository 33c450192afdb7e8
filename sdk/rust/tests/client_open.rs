//! Opening on the clear door, against a gateway that a test scripts.

#![cfg(feature = "client")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, missing_docs, dead_code, reason = "tests")]

#[path = "support/gateway.rs"]
mod support;

use std::time::Duration;

use callgate_sdk::{
    Connector,
    client::{OpenError, ProtocolError},
    wire::{
        FrameError,
        v1::{self, Error, ErrorCode, to_app},
    },
};
use support::{PASSWORD, USER, listen};

#[tokio::test]
async fn a_session_opens_by_scram() {
    let (address, gateway) = listen(async |mut peer| {
        peer.open_by_scram(30).await;
        peer.read().await
    })
    .await;
    let connector = Connector::clear(address, USER, PASSWORD);
    // Opening may be a task of its own.
    let opening = tokio::spawn(async move { connector.open(USER, "desk1").await });
    let (session, events) = opening.await.unwrap().unwrap();
    assert_eq!((session.name(), session.device_count(), session.heartbeat().as_secs()), ("s-1", 3, 30));
    assert_eq!(session.epoch(), 77);
    assert_eq!(session.closed(), None);
    drop((session, events));
    // Dropping all handles is an orderly end.
    let last = gateway.await.unwrap().unwrap().message;
    let Some(v1::to_gateway::Message::Close(close)) = last else { panic!("{last:?}") };
    assert_eq!(close.reason.unwrap().code(), ErrorCode::ClosedByApp);
}

#[tokio::test]
async fn r14_a_gateway_with_a_wrong_signature_is_refused() {
    for tamper in
        [|data: &mut Vec<u8>| data[2] = if data[2] == b'A' { b'B' } else { b'A' }, |data: &mut Vec<u8>| data.clear()]
    {
        let (address, gateway) = listen(async move |mut peer| {
            let mut server_final = peer.scram().await.unwrap();
            tamper(&mut server_final);
            peer.opened(30, server_final).await;
        })
        .await;
        let refused = Connector::clear(address, USER, PASSWORD).open(USER, "desk1").await;
        assert_eq!(refused.err(), Some(OpenError::GatewayNotAuthentic));
        gateway.await.unwrap();
    }
}

#[tokio::test]
async fn r14_a_gateway_that_opens_without_any_proof_is_refused() {
    let (address, _gateway) = listen(async |mut peer| {
        peer.welcome().await;
        peer.open_request().await;
        peer.opened(30, vec![]).await;
    })
    .await;
    let refused = Connector::clear(address, USER, PASSWORD).open(USER, "desk1").await;
    assert_eq!(refused.err(), Some(OpenError::GatewayNotAuthentic));
}

#[tokio::test]
async fn r14_a_wrong_password_is_refused_and_never_sent() {
    let (address, gateway) = listen(async |mut peer| {
        assert_eq!(peer.scram().await, None);
        peer.refuse(ErrorCode::AuthenticationFailed).await;
    })
    .await;
    let refused = Connector::clear(address, USER, "guess").open(USER, "desk1").await;
    let Err(OpenError::Refused(refusal)) = refused else { panic!("{refused:?}") };
    assert_eq!(refusal.code(), Some(ErrorCode::AuthenticationFailed));
    gateway.await.unwrap();
}

#[tokio::test]
async fn r10_a_refusal_keeps_code_rule_text_and_mend() {
    let (address, _gateway) = listen(async |mut peer| {
        peer.welcome().await;
        peer.open_request().await;
        peer.refuse(ErrorCode::ConnectionOnInvalidPort).await;
    })
    .await;
    let refused = Connector::clear(address, USER, PASSWORD).open(USER, "desk1").await;
    let Err(OpenError::Refused(refusal)) = refused else { panic!("{refused:?}") };
    assert_eq!((refusal.number, refusal.rule.as_str()), (202, "R10"));
    assert!(refusal.to_string().contains("CONNECTION_ON_INVALID_PORT (202)") && refusal.mend.contains("2749"));
}

#[tokio::test]
async fn what_is_not_the_protocol_ends_the_try() {
    let too_large = FrameError::TooLarge { len: 0x0001_0000, limit: 4096 };
    let cases: [(&'static [u8], OpenError); 3] = [
        (&[0, 1, 0, 0], ProtocolError::Frame(too_large).into()),
        // Welcome with version 2.
        (&[0, 0, 0, 6, 0x12, 4, 0x0a, 2, 0x08, 2], ProtocolError::Version(2).into()),
        (&[0, 0, 0, 3, 0x22, 1, 0x0a], OpenError::ConnectionLost(String::new())),
    ];
    for (bytes, expected) in cases {
        let (address, _gateway) = listen(async move |mut peer| {
            peer.request().await;
            peer.raw(bytes).await;
        })
        .await;
        let error = Connector::clear(address, USER, PASSWORD).open(USER, "desk1").await.unwrap_err();
        if expected != OpenError::ConnectionLost(String::new()) {
            assert_eq!(error, expected);
        } else {
            assert!(
                matches!(error, OpenError::Protocol(ProtocolError::Frame(FrameError::Malformed { .. }))),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn a_close_before_the_session_is_open_says_why() {
    let (address, _gateway) = listen(async |mut peer| {
        peer.request().await;
        let reason = Some(Error::from(ErrorCode::TooManyConnections));
        peer.say(0, to_app::Message::Close(v1::Close { reason })).await;
    })
    .await;
    let error = Connector::clear(address, USER, PASSWORD).open(USER, "desk1").await.unwrap_err();
    assert!(matches!(error, OpenError::Closed(refusal) if refusal.code() == Some(ErrorCode::TooManyConnections)));
}

#[tokio::test]
async fn silence_nobody_and_a_cut_are_told_apart() {
    let (address, _gateway) = listen(async |mut peer| {
        peer.welcome().await;
        std::future::pending::<()>().await;
    })
    .await;
    let limit = Duration::from_millis(100);
    let error = Connector::clear(address, USER, PASSWORD).timeout(limit).open(USER, "desk1").await.unwrap_err();
    assert_eq!(error, OpenError::Timeout(limit));

    let (address, gateway) = listen(async |mut peer| peer.welcome().await).await;
    let error = Connector::clear(address.clone(), USER, PASSWORD).open(USER, "desk1").await.unwrap_err();
    assert!(matches!(error, OpenError::ConnectionLost(_)), "{error}");
    gateway.await.unwrap();

    let error = Connector::clear(address, USER, PASSWORD).open(USER, "desk1").await.unwrap_err();
    assert!(matches!(error, OpenError::Unreachable { kind: std::io::ErrorKind::ConnectionRefused, .. }), "{error}");
}
