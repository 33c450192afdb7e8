//! What happened, for good: who opened a session, who got which key and who didn't, what was administered (R21).
//!
//! A [`Record`] goes to a [`Trail`]. What gives something away (a key, a certificate, a right) is written first, and is
//! given only if that succeeded; what takes something away is done at once, and written now or when the trail heals.

mod log_target;
mod record;
mod trail;

pub use log_target::LogTarget;
pub use record::{Class, Kind, Receiver, Receivers, Record, Value};
pub use trail::{Closed, Trail};
