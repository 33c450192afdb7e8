//! Southbound: what a PBX says becomes events.

pub mod feed;
pub mod hep;
pub mod scan;
pub mod sdes;
pub mod sdp;
pub mod sip;
mod syntax;
pub mod tracker;
