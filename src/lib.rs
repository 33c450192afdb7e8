//! Callgate: an open CTI gateway.
//!
//! It stands between telephone switches and the applications that watch calls, and gives the SRTP keys of a call to
//! exactly those that may have them. `docs/ARCHITECTURE.md` shows the house and the way of a call through it.
#![forbid(unsafe_code)]

// The floors of the house, from the ground up: a module uses only modules above it in this list.
pub mod model;

pub mod policy;
pub mod store;
pub mod switch;

pub mod directory;

pub mod audit;

pub mod config;

pub mod trust;

pub mod http;

pub mod hub;

pub mod cti;

pub mod admin;

pub mod gateway;

pub mod client;
