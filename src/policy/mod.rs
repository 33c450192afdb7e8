//! The pure decisions: who opens a session, and what a session may see of a media event.
