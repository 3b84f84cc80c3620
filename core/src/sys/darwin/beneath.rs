//! Opening beneath a directory.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{FileStat, Mode};

use crate::sys::walk;

/// How a directory is opened that is only passed through.
pub(in crate::sys) const PASSING: OFlag = OFlag::O_RDONLY;

/// Opens `relative` beneath `root`.
pub(in crate::sys) fn open(
    root: BorrowedFd<'_>,
    relative: &Path,
    flags: OFlag,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    walk::open(root, relative, flags, mode)
}

/// What `relative` beneath `root` is. No link on the way is followed.
pub(in crate::sys) fn stat(root: BorrowedFd<'_>, relative: &Path) -> Result<FileStat, Errno> {
    walk::stat(root, relative)
}

/// Fails: this kernel does not tell what it has in memory.
pub(in crate::sys) fn stat_in_memory(_root: BorrowedFd<'_>, _relative: &Path) -> Result<FileStat, Errno> {
    Err(Errno::EAGAIN)
}
