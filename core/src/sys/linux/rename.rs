//! Renames that replace nothing, and exchanges.

use std::os::fd::BorrowedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{RenameFlags, renameat2};

/// Renames `from` in one directory to `to` in another, where nothing of that name may be (`EEXIST`).
pub(in crate::sys) fn to_new(
    (directory, from): (BorrowedFd<'_>, &Path),
    (target, to): (BorrowedFd<'_>, &Path),
) -> Result<(), Errno> {
    renameat2(directory, from, target, to, RenameFlags::RENAME_NOREPLACE)
}

/// Exchanges two entries of one directory, at once and whole.
pub(in crate::sys) fn exchange(directory: BorrowedFd<'_>, one: &Path, other: &Path) -> Result<(), Errno> {
    renameat2(directory, one, directory, other, RenameFlags::RENAME_EXCHANGE)
}
