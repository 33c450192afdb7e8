//! What was measured, and the page that is made of it: `docs/PERFORMANCE.md` and its plots.
//!
//! Pure: results in, text out. `tests/performance_docs.rs` makes the page anew and compares.

pub mod page;
pub mod plot;
pub mod results;
