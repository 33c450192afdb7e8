//! Southbound: what a PBX says becomes events.
//!
//! [`Switch`] is what every connector to a PBX is: it reports events and takes commands. All parsing is pure; a
//! connector is the thin shell around it.

pub mod capture;
pub mod counts;
pub mod feed;
mod head;
pub mod hep;
pub mod listen;
pub mod replay;
pub mod scan;
pub mod sdes;
pub mod sdp;
pub mod sim;
pub mod sip;
mod syntax;
pub mod tracker;

mod connector;
mod desk;

pub use connector::{Action, Command, CommandError, KnownDevices, Running, Switch, SwitchError, SwitchIo};
