//! What a driver does in the directory that it was given for the VMM's files.

use std::fs::File;
use std::io;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statvfs::fstatvfs;

/// Makes a file in `directory` for writing alone: QEMU takes no descriptor that could read, too. An old file of
/// that name, a symbolic link included, is an error (`EEXIST`).
pub(crate) fn create_for_writing(directory: &File, name: &str) -> io::Result<File> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
    Ok(File::from(openat(directory, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?))
}

/// Opens a file in `directory` for reading alone. A symbolic link is an error; a FIFO is opened without waiting for
/// its writer, so the caller looks at what it got.
pub(crate) fn open_for_reading(directory: &File, name: &str) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    Ok(File::from(openat(directory, name, flags, Mode::empty())?))
}

/// Bytes that an ordinary user can still write to the file system of `directory`.
pub(crate) fn free_bytes(directory: &File) -> io::Result<u64> {
    let facts = fstatvfs(directory)?;
    Ok(facts.blocks_available().saturating_mul(facts.fragment_size()))
}
