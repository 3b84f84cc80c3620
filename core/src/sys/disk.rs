//! What a driver does in the directory that holds the VMM's files.

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

/// Opens a regular file in `directory` for reading. A symbolic link is an error (`ELOOP`), and so is anything that is no
/// regular file (`InvalidInput`): opening it waits for nothing.
pub(crate) fn open_for_reading(directory: &File, name: &str) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = File::from(openat(directory, name, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

/// Bytes that an ordinary user can still write to the file system of `directory`.
pub(crate) fn free_bytes(directory: &File) -> io::Result<u64> {
    let facts = fstatvfs(directory)?;
    Ok(facts.blocks_available().saturating_mul(facts.fragment_size()))
}
