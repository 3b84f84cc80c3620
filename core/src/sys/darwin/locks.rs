//! The requests of locks that belong to an open file description.
//!
//! The kernel has had them since OS X 10.11, with these numbers; the SDK names them since macOS 14. `flock`, the alternative, would
//! take a file for each byte and cannot be asked who has it without getting in their way.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// Takes, or lets go of, what `lock` says; `EAGAIN` or `EACCES` where someone else has it.
pub(in crate::sys) fn set(file: impl AsFd, lock: &libc::flock) -> Result<(), Errno> {
    // SAFETY: the descriptor is open; the kernel only reads `lock`, which outlives the call.
    let done = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_OFD_SETLK, &raw const *lock) };
    Errno::result(done).map(drop)
}

/// Puts into `lock` what would keep it from being taken, or `F_UNLCK`.
pub(in crate::sys) fn look(file: impl AsFd, lock: &mut libc::flock) -> Result<(), Errno> {
    // SAFETY: the descriptor is open; `lock` is ours to write to, and outlives the call.
    let done = unsafe { libc::fcntl(file.as_fd().as_raw_fd(), libc::F_OFD_GETLK, &raw mut *lock) };
    Errno::result(done).map(drop)
}
