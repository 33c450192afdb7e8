//! Southbound: what a PBX says becomes events.

pub mod capture;
