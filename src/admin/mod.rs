//! Administration: who may do what is changed here, while sessions run.
//!
//! An [`Administration`] carries one change at a time from the wish to its acknowledgement: judged, on record, durable, in
//! effect at the doors and behind them (R15, R21). Everything that administers goes through it, on the machine itself or
//! from afar. Of HTTP only [`api`] knows.

pub mod accounts;
mod actor;
mod administration;
pub mod api;
mod carrier;
pub mod explain;
mod gate;
mod journal;
mod outbox;
mod owed;
mod refused;
mod restore;
mod seed;
mod state;
#[cfg(test)]
mod tests;

pub use actor::{Actor, ShownToken, Standing};
pub use administration::{Administration, Imported};
pub use carrier::Done;
pub use gate::{By, Caller, Denied, Gate, LoggedIn};
pub use journal::{AdminRecord, Journal, JournalClosed, NoRandomness, Outcome};
pub use refused::Refused;
pub use restore::Restoration;
pub use seed::{Seed, Seeded};
pub use state::{OpenError, State};
