//! The commands that are clients.

pub mod media;
