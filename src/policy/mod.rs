//! The pure decisions: who opens a session, and what a session may see of a media event.
//!
//! Two functions, both total, both returning the rule that decided. They know no session, no socket and no clock: who
//! calls them gathers the facts. `tests/policy_tables.rs` compares them with a table for every combination of facts.

mod admit;
mod disclose;

pub use admit::{Admission, Entrance, Verdict, admit};
pub use disclose::{Disclosure, Indication, MediaAccess, Reason, StreamProtection, disclose};

/// The rule that decided, such as `R10`: the same name in the log, the record and the answer (R43).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule(pub &'static str);
