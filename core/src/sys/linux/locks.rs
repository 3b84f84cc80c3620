//! The requests of locks that belong to an open file description.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

/// Takes, or lets go of, what `lock` says; `EAGAIN` or `EACCES` where someone else has it.
pub(in crate::sys) fn set(file: impl AsFd, lock: &libc::flock) -> Result<(), Errno> {
    fcntl(file, FcntlArg::F_OFD_SETLK(lock)).map(drop)
}

/// Puts into `lock` what would keep it from being taken, or `F_UNLCK`.
pub(in crate::sys) fn look(file: impl AsFd, lock: &mut libc::flock) -> Result<(), Errno> {
    fcntl(file, FcntlArg::F_OFD_GETLK(lock)).map(drop)
}
