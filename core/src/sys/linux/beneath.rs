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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::error::Kind;
    use crate::sys::dir::Dir;

    /// From now on, openat2 fails with `errno` in this thread, as under kernels and filters that do not know it.
    fn without_openat2(errno: Errno) {
        let step = |code: u32, jt, jf, k| libc::sock_filter { code: code as u16, jt, jf, k };
        let number = libc::SYS_openat2 as u32;
        let mut filter = [
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 0),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, number),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ERRNO | errno as u32),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        ];
        let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
        // SAFETY: `program` and what it points to outlive the calls, which concern this thread alone.
        unsafe {
            assert_eq!(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
            assert_eq!(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program), 0);
        }
    }

    #[test]
    fn directories_work_where_openat2_is_not_to_be_had() {
        for errno in [Errno::ENOSYS, Errno::EPERM] {
            std::thread::spawn(move || {
                without_openat2(errno);
                let temp = tempfile::tempdir().unwrap();
                std::fs::write(temp.path().join("canary"), "x").unwrap();
                std::fs::create_dir(temp.path().join("in")).unwrap();
                symlink("../canary", temp.path().join("in/link")).unwrap();
                let outer = Dir::open(temp.path()).unwrap();
                let refused = resolve(
                    outer.to_file().unwrap().as_fd(),
                    Path::new("in"),
                    PASSING,
                    Mode::empty(),
                    ResolveFlag::empty(),
                );
                assert_eq!(refused.unwrap_err(), errno, "the filter works");

                let dir = outer.dir("in").unwrap();
                dir.ensure_dir("a/b").unwrap().create_new("new").unwrap().write_all(b"content").unwrap();
                let mut text = String::new();
                dir.read("a/b/new").unwrap().read_to_string(&mut text).unwrap();
                assert_eq!(text, "content");
                assert!(dir.version("a/b/new").is_some() && dir.version_in_memory("a/b/new").is_none());
                assert_eq!(dir.version("link"), None);
                for path in ["../canary", "link", "a/b/../b/new", "/etc/passwd"] {
                    assert_eq!(dir.read(path).unwrap_err().kind(), Kind::Corrupt, "{path}");
                }
                let nameless = dir.nameless().unwrap();
                nameless.file().write_all(b"whole").unwrap();
                dir.link(nameless, "whole").unwrap();
                assert_eq!(dir.entries().unwrap().len(), 3);
                dir.remove_tree("a").unwrap();
                assert!(dir.dir_if_any("a").unwrap().is_none());
                File::open(temp.path().join("canary")).unwrap();
            })
            .join()
            .unwrap();
        }
    }
}
