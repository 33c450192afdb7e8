//! What comes after the keys: streams put together of events and packets, their account, and their voices.
//!
//! Pure but for the writing of a WAV file. It knows events only as an app has them, and never shows a key.

pub mod assemble;
pub mod g711;
pub mod report;
pub mod wav;
