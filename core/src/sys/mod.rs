//! Every unsafe block and every raw system call, each with its SAFETY; what differs between systems.

pub(crate) mod affinity;
pub(crate) mod clone;
pub(crate) mod dir;
pub(crate) mod disk;
pub(crate) mod fork;
pub(crate) mod host;
pub(crate) mod lock;
pub(crate) mod lz4;
pub(crate) mod memfd;
pub(crate) mod poll;
pub(crate) mod priority;
pub(crate) mod process;
pub(crate) mod socket;
pub(crate) mod sparse;
mod tree;
pub(crate) mod uffd;
pub(crate) mod version;
pub(crate) mod watch;
