//! Administration: who may do what is changed here, while sessions run.
//!
//! An [`Administration`] carries one change at a time from the wish to its acknowledgement: judged, on record, durable, in
//! effect at the doors and behind them (R15, R21). Everything that administers goes through it, on the machine itself or
//! from afar. It knows nothing of HTTP.

mod actor;
mod administration;
mod journal;
mod outbox;
mod refused;
mod restore;
mod seed;
mod state;
#[cfg(test)]
mod tests;

pub use actor::Actor;
pub use administration::{Administration, Done};
pub use journal::{AdminRecord, Journal, JournalClosed, Outcome};
pub use refused::Refused;
pub use restore::Restoration;
pub use seed::{Seed, Seeded};
pub use state::{OpenError, State};
