//! What happened, for good: who opened a session, who got which key and who didn't, what was administered (R21).
//!
//! A [`Record`] goes to a [`Trail`]. What gives something away (a key, a certificate, a right) is written first, and is
//! given only if that succeeded; what takes something away is done at once, and written now or when the trail heals.

mod chain;
mod checkpoint;
mod disk;
mod entry;
mod find;
mod finding;
mod folder;
mod line;
mod listing;
mod log;
mod log_target;
mod reading;
mod record;
mod repeats;
mod search;
mod segment;
mod trail;
mod verify;

pub use chain::{AuditKey, KeyError, Mac};
pub use checkpoint::{Checkpoint, NoCheckpoint, Says};
pub use disk::{Fault, Touch};
pub use entry::Entry;
pub use find::{Came, Finder, Found, Query, beginning};
pub use finding::{Finding, Place};
pub use folder::{Folder, Limit, Line, Lines, Segment};
pub use listing::{Listed, Listing, list};
pub use log::{AuditLog, Flush, OpenError, Options};
pub use log_target::LogTarget;
pub use reading::{Position, Records, Signed, checkpoints, verify};
pub use record::{Class, Kind, Receiver, Receivers, Record, Value};
pub use repeats::{Noted, Repeated, Repeats};
pub use search::{Bound, NotReached, Part, Reached, Search, Stopped, search};
pub use segment::{Head, Header, Why, file_name, number_of};
pub use trail::{Closed, Trail};
pub use verify::{Report, Verifier};
