//! Southbound: what a PBX says becomes events.
