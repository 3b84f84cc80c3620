//! Every unsafe block and every raw system call, each with its SAFETY; what differs between systems.

pub(crate) mod lz4;
pub(crate) mod priority;
pub(crate) mod sparse;
