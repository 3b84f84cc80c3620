//! Crash states: whatever a power cut or a kill leaves of any operation, what was acknowledged is there and whole.

fn main() {}
