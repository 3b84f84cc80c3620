//! Copies that the file system or the kernel makes itself.

use std::ffi::CString;
use std::fs::{File, Permissions};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, OFlag, fcntl, openat, renameat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Not in libc (sys/clonefile.h): a clone that root makes is root's, as a copy would be.
const CLONE_NOOWNERCOPY: u32 = 2;

/// Lets a clone of `source` take the place of `target`, a new and empty file; `false` where the file system or the files cannot.
///
/// Only new files can be clones here: `target` itself keeps its descriptor, but not its name, so it is opened anew by whoever goes
/// on with it.
pub(crate) fn reflink(source: &File, target: &File) -> Result<bool, Errno> {
    let mut path = PathBuf::new();
    if fcntl(target, FcntlArg::F_GETPATH(&mut path)).is_err() {
        return Ok(false);
    }
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().map(Path::new)) else {
        return Ok(false);
    };
    let parent = File::open(parent).map_err(errno)?;
    let facts = target.metadata().map_err(errno)?;
    let is_there = |name: &Path| {
        fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok_and(|now| now.st_ino == facts.ino())
    };
    if !is_there(name) {
        return Ok(false);
    }
    // No other file of this directory has this number while `target` is there.
    let scratch = format!(".libhypeman-clone-{}", facts.ino());
    let remove = || {
        let _ = unlinkat(&parent, scratch.as_str(), UnlinkatFlags::NoRemoveDir);
    };
    remove();
    let clone_name = CString::new(scratch.as_str()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: both descriptors are open, and the name ends with a zero, for as long as the call lasts.
    let done = unsafe {
        libc::fclonefileat(
            source.as_raw_fd(),
            parent.as_fd().as_raw_fd(),
            clone_name.as_ptr(),
            CLONE_NOOWNERCOPY,
        )
    };
    match Errno::result(done) {
        Ok(_) => {}
        Err(Errno::ENOTSUP | Errno::EXDEV | Errno::EINVAL | Errno::EPERM) => return Ok(false),
        Err(errno) => return Err(errno),
    }
    // A clone has the mode of its source; what it replaces is for its owner alone.
    let placed = set_mode(&parent, &scratch, facts.mode())
        .and_then(|()| renameat(&parent, scratch.as_str(), &parent, name));
    if placed.is_err() {
        remove();
    }
    placed.map(|()| true)
}

fn set_mode(directory: &File, name: &str, mode: u32) -> Result<(), Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let clone = File::from(openat(directory, name, flags, Mode::empty())?);
    clone.set_permissions(Permissions::from_mode(mode & 0o7777)).map_err(errno)
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Copies nothing: this kernel copies no ranges.
pub(crate) fn copy_range(_source: (&File, i64), _target: (&File, i64), _len: usize) -> Result<usize, Errno> {
    Ok(0)
}
