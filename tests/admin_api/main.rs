//! The administration's API, as a served gateway has it: over HTTPS, and at the unix socket.
//!
//! What its operations are is taken from its own description, so that none can be forgotten here.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test that can't go on has failed"
)]

mod access;
mod backup;
mod changes;
mod nonsense;
mod rig;
mod roles;
