//! Opening beneath a directory: the kernel resolves the path, and refuses symbolic links and `..` on the way out.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::{FileStat, Mode, fstat};

use crate::sys::walk;

/// How a directory is opened that is only passed through: to search it is enough.
pub(in crate::sys) const PASSING: OFlag = OFlag::O_PATH;

/// Opens `relative` beneath `root`.
///
/// Kernels before 5.6 have no openat2, and filters of system calls that do not know it say that it is not there or not
/// permitted: it is walked there.
pub(in crate::sys) fn open(
    root: BorrowedFd<'_>,
    relative: &Path,
    flags: OFlag,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    match resolve(root, relative, flags, mode, ResolveFlag::empty()) {
        Err(Errno::ENOSYS | Errno::EPERM) => walk::open(root, relative, flags, mode),
        opened => opened,
    }
}

/// What `relative` beneath `root` is. No link on the way is followed; a link at its end is an error or no regular file.
pub(in crate::sys) fn stat(root: BorrowedFd<'_>, relative: &Path) -> Result<FileStat, Errno> {
    match resolve(root, relative, OFlag::O_PATH, Mode::empty(), ResolveFlag::empty()) {
        Ok(found) => fstat(&found),
        Err(Errno::ENOSYS | Errno::EPERM) => walk::stat(root, relative),
        Err(errno) => Err(errno),
    }
}

/// As [`stat`], where the kernel has all that it takes in memory: this never waits for the disk. Kernels before 5.12 cannot
/// tell.
pub(in crate::sys) fn stat_in_memory(root: BorrowedFd<'_>, relative: &Path) -> Result<FileStat, Errno> {
    // Not in nix.
    let cached = ResolveFlag::from_bits_retain(libc::RESOLVE_CACHED);
    fstat(resolve(root, relative, OFlag::O_PATH, Mode::empty(), cached)?)
}

fn resolve(
    root: BorrowedFd<'_>,
    relative: &Path,
    flags: OFlag,
    mode: Mode,
    more: ResolveFlag,
) -> Result<OwnedFd, Errno> {
    let resolve = more
        | ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).mode(mode).resolve(resolve);
    openat2(root.as_fd(), relative, how)
}
