//! What a driver does in the directory that holds the VMM's files.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::statvfs::fstatvfs;

use super::system::facts;

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
    Ok(facts::free_bytes(&fstatvfs(directory)?))
}

/// Opens what a VMM wrote in `directory`, with a mode of its own choice, and closes it to others than its owner; only
/// its owner or root can.
pub(crate) fn take_written(directory: &File, name: &str) -> io::Result<File> {
    let file = open_for_reading(directory, name)?;
    let owner = file.metadata()?.uid();
    if owner == nix::unistd::geteuid().as_raw() {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}

/// Gives a VMM that runs as `uid` access to `file`, a directory too: root makes that user the owner, and anyone else makes
/// it as open as `outer`, the directory around it that the host has opened to the VMM.
pub(crate) fn give_to(uid: u32, file: &File, outer: &File) -> io::Result<()> {
    let (ours, facts) = (nix::unistd::geteuid(), file.metadata()?);
    if uid == 0 || uid == ours.as_raw() {
        return Ok(());
    }
    if ours.is_root() {
        return std::os::unix::fs::fchown(file, Some(uid), None);
    }
    let bits = if facts.is_dir() { 0o777 } else { 0o666 };
    file.set_permissions(Permissions::from_mode(outer.metadata()?.mode() & bits))
}

/// Bytes that a file of `directory` takes of the disk.
pub(crate) fn allocated_bytes(directory: &File, name: &str) -> io::Result<u64> {
    Ok(open_for_reading(directory, name)?.metadata()?.blocks().saturating_mul(512))
}

/// Removes the file `name` of `directory`. Only tried: what stays is in no one's way.
pub(crate) fn remove_if_any(directory: &File, name: &str) {
    let _ = nix::unistd::unlinkat(directory, name, nix::unistd::UnlinkatFlags::NoRemoveDir);
}
