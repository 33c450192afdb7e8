//! Northbound: doors and workers.
