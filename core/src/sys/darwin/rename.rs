//! Renames that replace nothing, and exchanges: APFS has both.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use nix::NixPath;
use nix::errno::Errno;

/// Renames `from` in one directory to `to` in another, where nothing of that name may be (`EEXIST`).
pub(in crate::sys) fn to_new(
    from: (BorrowedFd<'_>, &Path),
    to: (BorrowedFd<'_>, &Path),
) -> Result<(), Errno> {
    rename(from, to, libc::RENAME_EXCL)
}

/// Exchanges two entries of one directory, at once and whole.
pub(in crate::sys) fn exchange(directory: BorrowedFd<'_>, one: &Path, other: &Path) -> Result<(), Errno> {
    rename((directory, one), (directory, other), libc::RENAME_SWAP)
}

fn rename(
    (directory, from): (BorrowedFd<'_>, &Path),
    (target, to): (BorrowedFd<'_>, &Path),
    flags: libc::c_uint,
) -> Result<(), Errno> {
    let done = from.with_nix_path(|from| {
        to.with_nix_path(|to| {
            // SAFETY: both descriptors are open and both names end with a zero, for as long as the call lasts.
            unsafe {
                libc::renameatx_np(
                    directory.as_raw_fd(),
                    from.as_ptr(),
                    target.as_raw_fd(),
                    to.as_ptr(),
                    flags,
                )
            }
        })
    })??;
    Errno::result(done).map(drop)
}
