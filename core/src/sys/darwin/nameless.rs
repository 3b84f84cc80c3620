//! Files that get their name when they are whole.
//!
//! This system gives no name to a file that has none, so each has a name of its own until then, which listings leave out. A
//! crash leaves the file; the next one in its directory takes its place.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::{beneath, rename};

const NAME: &str = ".libhypeman-unfinished";

/// A file under a name that no one looks for. Whoever makes it holds the lock under which alone that is done in its directory.
#[derive(Debug)]
pub(crate) struct Nameless {
    file: File,
    directory: OwnedFd,
    has_name: bool,
}

impl Nameless {
    pub(in crate::sys) fn create(directory: BorrowedFd<'_>) -> Result<Self, Errno> {
        match unlinkat(directory, NAME, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        let own = directory.try_clone_to_owned().map_err(|_| Errno::last())?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_RDWR;
        let fd = beneath::open(directory, Path::new(NAME), flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        Ok(Self { file: File::from(fd), directory: own, has_name: false })
    }

    /// Gives it the name `name` in `directory`, where it was made; an old file of that name is an error (`EEXIST`).
    pub(in crate::sys) fn link(mut self, directory: BorrowedFd<'_>, name: &Path) -> Result<(), Errno> {
        rename::to_new((self.directory.as_fd(), Path::new(NAME)), (directory, name))?;
        self.has_name = true;
        Ok(())
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

impl Drop for Nameless {
    fn drop(&mut self) {
        if !self.has_name {
            let _ = unlinkat(&self.directory, NAME, UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Whether an entry of that name is such a file.
pub(in crate::sys) fn is_one(name: &[u8]) -> bool {
    name == NAME.as_bytes()
}
