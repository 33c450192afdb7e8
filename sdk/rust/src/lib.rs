//! placeholder

#![forbid(unsafe_code)]

mod keys;
#[cfg(feature = "media")]
pub mod media;

pub use keys::{Secret, SrtpKey, SrtpKeys};
