//! `callgate session`
