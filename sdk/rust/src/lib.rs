//! placeholder

#![forbid(unsafe_code)]

#[cfg(feature = "client")]
pub mod client;
mod keys;
#[cfg(feature = "media")]
pub mod media;

pub use callgate_wire as wire;
#[cfg(feature = "client")]
pub use client::{Connector, Event, Events, Identity, Roots, Session};
pub use keys::{Secret, SrtpKey, SrtpKeys};
