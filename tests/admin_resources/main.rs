//! The resources of the administration, over real HTTP, at a gateway with sessions: what is answered, and what it did to them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

#[path = "../common/mod.rs"]
mod common;

mod backup;
mod certificates;
mod directory;
mod disclosures;
mod live;
mod opening;
mod rig;
mod settings;
mod stopping;
