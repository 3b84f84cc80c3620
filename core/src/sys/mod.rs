//! Every unsafe block and every raw system call, each with its SAFETY.
//!
//! What systems do differently lies in `linux/` and `darwin/`, file by file under the same names; the rest of the library knows
//! nothing of it.

pub(crate) mod dir;
pub(crate) mod disk;
pub(crate) mod fork;
pub(crate) mod guard;
pub(crate) mod lock;
pub(crate) mod lz4;
pub(crate) mod poll;
pub(crate) mod socket;
#[cfg_attr(target_os = "macos", path = "darwin/mod.rs")]
#[cfg_attr(not(target_os = "macos"), path = "linux/mod.rs")]
mod system;
mod tree;
pub(crate) mod uffd;
pub(crate) mod version;
mod walk;

pub(crate) use self::system::{affinity, clone, host, memfd, pidfd, priority, process, sparse, watch};
