//! The binary: arguments and exit codes.
fn main() {}
