//! The pure decisions: who opens a session, and what a session may see of a media event.
//!
//! Two functions, both total, both returning the rule that decided, and a third that asks them what stands against what.
//! They know no session, no socket and no clock: who calls them gathers the facts. `tests/policy_tables.rs` compares them
//! with a table for every combination of facts.

mod admit;
mod disclose;
mod explain;

pub use admit::{Admission, Entrance, Verdict, admit};
pub use disclose::{Disclosure, Indication, MediaAccess, Reason, StreamProtection, disclose};
pub use explain::{
    Case, Certificate, Check, Condition, KEY_GROUPS, OnDoor, Stream, against_admission, against_disclosure, explain,
};

/// The rule that decided, such as `R10`: the same name in the log, the record and the answer (R43).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rule(pub &'static str);
