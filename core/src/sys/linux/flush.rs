//! Flushing the entries of a directory.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;

/// Flushes them to the disk.
pub(in crate::sys) fn directory(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    nix::unistd::fsync(directory)
}
