//! The commands that are clients: they use a gateway as third parties would, through the SDK.
//!
//! Nothing here prints: what a person or a script is shown is the command line's matter.

pub mod admin;
mod app;
pub mod decrypt;
pub mod demo;
mod error;
pub mod media;
mod rig;
mod voices;
pub mod watch;

pub use error::ClientError;
pub use watch::shown;
