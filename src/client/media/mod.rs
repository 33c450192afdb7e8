//! What comes after the keys: streams put together of events and packets, and their account.
//!
//! Pure. It knows events only as an app has them, and never shows a key. Voices are written by the SDK.

pub mod assemble;
pub mod report;
