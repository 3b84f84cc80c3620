//! Finding a path beneath a directory component by component: for kernels that cannot do it in one call.
//!
//! Each component is opened by its name alone in the directory before it, and is refused where it is a symbolic link. Whoever
//! renames or replaces directories meanwhile sends this nowhere but to where they then lie: there is no way up, as `..` is
//! refused too.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};

use super::system::beneath::PASSING;

/// Opens `relative` beneath `root`.
///
/// # Errors
/// `EXDEV` for a path that leads out or has a `..`, `ELOOP` where a component is a symbolic link.
pub(super) fn open(
    root: BorrowedFd<'_>,
    relative: &Path,
    flags: OFlag,
    mode: Mode,
) -> Result<OwnedFd, Errno> {
    let (parent, name) = parent_of(root, relative)?;
    open_one(parent.as_ref().map_or(root, AsFd::as_fd), name, flags, mode)
}

/// What `relative` beneath `root` is; it may be a symbolic link, its parents may not.
///
/// # Errors
/// As [`open`].
pub(super) fn stat(root: BorrowedFd<'_>, relative: &Path) -> Result<FileStat, Errno> {
    let (parent, name) = parent_of(root, relative)?;
    fstatat(parent.as_ref().map_or(root, AsFd::as_fd), name, AtFlags::AT_SYMLINK_NOFOLLOW)
}

/// Splits `relative` into its opened parent (`None`: `root`) and its last component, which is `.` for `root` itself.
fn parent_of<'p>(root: BorrowedFd<'_>, relative: &'p Path) -> Result<(Option<OwnedFd>, &'p Path), Errno> {
    if relative.as_os_str().is_empty() {
        return Err(Errno::ENOENT);
    }
    let mut parent: Option<OwnedFd> = None;
    let mut name = Path::new(".");
    for component in relative.components() {
        let next = match component {
            Component::CurDir => continue,
            Component::Normal(next) => Path::new(next),
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(Errno::EXDEV),
        };
        if name != Path::new(".") {
            let at = parent.as_ref().map_or(root, AsFd::as_fd);
            parent = Some(open_one(at, name, PASSING | OFlag::O_DIRECTORY, Mode::empty())?);
        }
        name = next;
    }
    Ok((parent, name))
}

fn open_one(at: BorrowedFd<'_>, name: &Path, flags: OFlag, mode: Mode) -> Result<OwnedFd, Errno> {
    match openat(at, name, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, mode) {
        // Asked for a directory, a system may say no more of a link than that it is none.
        Err(Errno::ENOTDIR) if is_symlink(at, name) => Err(Errno::ELOOP),
        opened => opened,
    }
}

fn is_symlink(at: BorrowedFd<'_>, name: &Path) -> bool {
    fstatat(at, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFLNK.bits())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::sys::system::{beneath, rename};

    const READ: OFlag = OFlag::O_RDONLY;

    fn text(fd: OwnedFd) -> String {
        let mut text = String::new();
        File::from(fd).read_to_string(&mut text).unwrap();
        text
    }

    /// A directory `in` with files at two depths and links of each kind, and a canary beside it.
    fn place() -> (tempfile::TempDir, File) {
        let temp = tempfile::tempdir().unwrap();
        let inside = temp.path().join("in");
        fs::create_dir_all(inside.join("a/b")).unwrap();
        fs::write(inside.join("file"), "top").unwrap();
        fs::write(inside.join("a/b/file"), "deep").unwrap();
        fs::write(temp.path().join("canary"), "canary").unwrap();
        symlink("file", inside.join("to-a-file")).unwrap();
        symlink("a", inside.join("to-a-directory")).unwrap();
        symlink("../canary", inside.join("a/out")).unwrap();
        let root = File::open(inside).unwrap();
        (temp, root)
    }

    #[test]
    fn what_lies_beneath_is_found_and_nothing_else_is() {
        let (_temp, root) = place();
        let open = |path: &str| open(root.as_fd(), Path::new(path), READ, Mode::empty());
        for (path, content) in [("file", "top"), ("./a/./b/file", "deep"), ("a//b/file", "deep")] {
            assert_eq!(text(open(path).unwrap()), content, "{path}");
        }
        for (path, errno) in [
            ("../canary", Errno::EXDEV),
            ("a/../file", Errno::EXDEV),
            ("..", Errno::EXDEV),
            ("/etc/passwd", Errno::EXDEV),
            ("to-a-file", Errno::ELOOP),
            ("to-a-directory/b/file", Errno::ELOOP),
            ("a/out", Errno::ELOOP),
            ("file/b", Errno::ENOTDIR),
            ("a/none", Errno::ENOENT),
            ("none/file", Errno::ENOENT),
            ("", Errno::ENOENT),
        ] {
            assert_eq!(open(path).unwrap_err(), errno, "{path}");
        }
    }

    #[test]
    fn it_answers_as_the_system_does_where_that_can_do_it_in_one_call() {
        let (_temp, root) = place();
        let directory = READ | OFlag::O_DIRECTORY;
        let new = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
        for (path, flags) in [
            ("file", READ),
            ("a/b", directory),
            (".", directory),
            ("to-a-directory", directory),
            ("to-a-directory/b", directory),
            ("to-a-file", READ),
            ("to-a-file", new),
            ("a/out", READ),
            ("../canary", READ),
            ("/etc", directory),
            ("file", directory),
            ("file", new),
            ("none/none", new),
        ] {
            let mode = if flags.contains(OFlag::O_CREAT) { Mode::S_IRUSR } else { Mode::empty() };
            let walked = open(root.as_fd(), Path::new(path), flags, mode).map(drop);
            let at_once = beneath::open(root.as_fd(), Path::new(path), flags, mode).map(drop);
            assert_eq!(walked, at_once, "{path}");
        }
        assert_eq!(stat(root.as_fd(), Path::new("a/b/file")).unwrap().st_size, 4);
        assert_eq!(stat(root.as_fd(), Path::new("to-a-directory/b")).unwrap_err(), Errno::ELOOP);
    }

    #[test]
    fn whoever_exchanges_directories_for_links_meanwhile_never_leads_it_out() {
        let (temp, root) = place();
        let inside = temp.path().join("in");
        fs::create_dir_all(temp.path().join("b")).unwrap();
        fs::write(temp.path().join("b/file"), "canary").unwrap();
        // `a/b/file` is good as long as `a` is the directory, and leads to the canary as long as it is this link.
        symlink("..", inside.join("evil")).unwrap();
        let is_over = AtomicBool::new(false);
        let (mut found, mut refused) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    rename::exchange(root.as_fd(), Path::new("a"), Path::new("evil")).unwrap();
                }
            });
            for _ in 0..200_000 {
                match open(root.as_fd(), Path::new("a/b/file"), READ, Mode::empty()) {
                    Ok(fd) => {
                        found += 1;
                        if text(fd) != "deep" {
                            is_over.store(true, Ordering::Relaxed);
                            panic!("led out");
                        }
                    }
                    Err(Errno::ELOOP | Errno::ENOTDIR) => refused += 1,
                    Err(errno) => {
                        is_over.store(true, Ordering::Relaxed);
                        panic!("{errno}");
                    }
                }
                if found > 1000 && refused > 1000 {
                    break;
                }
            }
            is_over.store(true, Ordering::Relaxed);
        });
        assert!(found > 0 && refused > 0, "there was no race: {found} found, {refused} refused");
    }
}
