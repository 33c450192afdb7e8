//! `callgate decrypt` against captures that are written here after the RFCs, packet by packet.
//!
//! Every run is the real command at trace level. Of each the shape of the JSON object is checked, and that no key is on
//! standard output or standard error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]
#![allow(unreachable_pub, reason = "a test")]

mod answer;
mod calls;
mod capture;
mod captures;
mod keys;
#[path = "../common/leaks.rs"]
mod leaks;
mod odd_dialogs;
mod scene;
mod unusable;
mod voice;
