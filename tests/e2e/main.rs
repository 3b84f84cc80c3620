//! Real VMs.
fn main() {}
