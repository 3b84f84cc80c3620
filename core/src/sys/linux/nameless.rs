//! Files that get their name when they are whole.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag};
use nix::sys::stat::Mode;
use nix::unistd::linkat;

use super::beneath;

/// A file without a name: a crash leaves nothing of it.
#[derive(Debug)]
pub(crate) struct Nameless(File);

impl Nameless {
    pub(in crate::sys) fn create(directory: BorrowedFd<'_>) -> Result<Self, Errno> {
        let flags = OFlag::O_TMPFILE | OFlag::O_RDWR;
        let fd = beneath::open(directory, Path::new("."), flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        Ok(Self(File::from(fd)))
    }

    /// Gives it the name `name` in `directory`, where it was made; an old file of that name is an error (`EEXIST`).
    pub(in crate::sys) fn link(self, directory: BorrowedFd<'_>, name: &Path) -> Result<(), Errno> {
        let source = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        linkat(AT_FDCWD, source.as_str(), directory, name, AtFlags::AT_SYMLINK_FOLLOW)
    }

    pub(crate) fn file(&self) -> &File {
        &self.0
    }
}

/// Whether an entry of that name is such a file: they have no name.
pub(in crate::sys) fn is_one(_name: &[u8]) -> bool {
    false
}
