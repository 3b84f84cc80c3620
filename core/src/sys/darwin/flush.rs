//! Flushing the entries of a directory. Files are flushed by the standard library, which asks for the same.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Flushes them, and the cache of the drive, which a mere fsync leaves as it is.
pub(in crate::sys) fn directory(directory: BorrowedFd<'_>) -> Result<(), Errno> {
    match fcntl(directory, FcntlArg::F_FULLFSYNC) {
        // Some file systems have no more than an fsync.
        Err(Errno::ENOTSUP | Errno::EINVAL | Errno::ENOTTY) => nix::unistd::fsync(directory),
        done => done.map(drop),
    }
}
