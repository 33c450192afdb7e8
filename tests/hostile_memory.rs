//! What apps leave behind that don't keep to the protocol: no memory.
//!
//! The figure is of the whole process, so no other test runs in it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use callgate_wire::v1::{self, to_gateway::Message};
use common::{
    PASSWORD, TestGateway, USERS,
    raw::{RawClient, frame},
};

#[tokio::test]
async fn hostile_connections_leave_no_memory_behind() {
    let gateway = TestGateway::start_with(USERS, "[limits]\ntries_per_source_per_minute = 1000000\n").await;
    let attack = async |rounds: usize| {
        for round in 0..rounds {
            let mut client = RawClient::clear(gateway.gateway.clear_address().unwrap()).await;
            let bytes = match round % 4 {
                0 => u32::MAX.to_be_bytes().to_vec(),
                1 => [&4096u32.to_be_bytes()[..], &[0xff; 4096]].concat(),
                2 => [&4096u32.to_be_bytes()[..], &[0; 4000]].concat(),
                _ => frame(1, Message::Hello(v1::Hello { software: "x".repeat(5000), ..Default::default() })),
            };
            let _ = client.try_send_bytes(&bytes).await;
            if round % 4 != 2 {
                client.closed().await;
            }
        }
    };
    attack(200).await;
    let before = common::resident_kib();
    attack(2000).await;
    let growth = common::resident_kib().saturating_sub(before);
    assert!(growth < 8 * 1024, "{growth} KiB more after 2,000 hostile connections");
    let mut witness = RawClient::clear(gateway.clear()).await;
    witness.open_scram("dashboard", "witness", PASSWORD).await.unwrap();
    drop(witness);
    gateway.finish().await;
}
