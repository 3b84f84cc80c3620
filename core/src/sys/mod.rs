//! Every unsafe block and every raw system call, each with its SAFETY; what differs between systems.

pub(crate) mod disk;
pub(crate) mod process;
pub(crate) mod socket;
