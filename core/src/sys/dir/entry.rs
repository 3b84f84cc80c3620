//! Making, renaming and removing entries of a directory.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::renameat;
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

use super::{Dir, fail};
use crate::error::Result;
use crate::sys::system::rename;

impl Dir {
    /// Makes the directory `relative`, for its owner alone; an old one is an error (`EEXIST`).
    pub(crate) fn make_dir(&self, relative: impl AsRef<Path>) -> Result<Self> {
        let relative = relative.as_ref();
        let (parent, name) = self.parent_of(relative)?;
        let at = parent.as_ref().unwrap_or(self);
        mkdirat(&at.fd, name, Mode::S_IRWXU)
            .map_err(|e| fail("make the directory", &self.join(relative), e))?;
        self.dir(relative)
    }

    /// Opens the directory `relative`, making it, and what is missing above it, where it is not there.
    pub(crate) fn ensure_dir(&self, relative: impl AsRef<Path>) -> Result<Self> {
        let relative = relative.as_ref();
        let mut at = PathBuf::new();
        for component in relative.components() {
            at.push(component);
            if self.dir_if_any(&at)?.is_none() {
                match self.make_dir(&at) {
                    Err(error) if error.errno() != Some(libc::EEXIST) => return Err(error),
                    _ => {}
                }
            }
        }
        self.dir(relative)
    }

    /// Makes a symbolic link; it is never followed by this library.
    pub(crate) fn symlink(&self, target: &Path, relative: impl AsRef<Path>) -> Result<()> {
        let relative = relative.as_ref();
        let (parent, name) = self.parent_of(relative)?;
        let at = parent.as_ref().unwrap_or(self);
        symlinkat(target, &at.fd, name).map_err(|e| fail("create", &self.join(relative), e))
    }

    /// Where the symbolic link `name` of this directory points.
    pub(crate) fn read_link(&self, name: impl AsRef<Path>) -> Result<PathBuf> {
        nix::fcntl::readlinkat(&self.fd, name.as_ref())
            .map(PathBuf::from)
            .map_err(|e| fail("read the link", &self.join(name), e))
    }

    /// Renames `from` to `to` in `target`, over whatever is there.
    pub(crate) fn rename(&self, from: impl AsRef<Path>, target: &Self, to: impl AsRef<Path>) -> Result<()> {
        renameat(&self.fd, from.as_ref(), &target.fd, to.as_ref())
            .map_err(|e| fail("rename to", &target.join(to), e))
    }

    /// Renames `from` to `to` in `target`, where nothing of that name may be (`EEXIST`).
    pub(crate) fn rename_new(
        &self,
        from: impl AsRef<Path>,
        target: &Self,
        to: impl AsRef<Path>,
    ) -> Result<()> {
        rename::to_new((self.fd.as_fd(), from.as_ref()), (target.fd.as_fd(), to.as_ref()))
            .map_err(|e| fail("rename to", &target.join(to), e))
    }

    /// Exchanges two entries of this directory, at once and whole.
    pub(crate) fn exchange(&self, one: impl AsRef<Path>, other: impl AsRef<Path>) -> Result<()> {
        rename::exchange(self.fd.as_fd(), one.as_ref(), other.as_ref())
            .map_err(|e| fail("exchange with its replacement", &self.join(other), e))
    }

    /// Removes the file or link `name`. One that is gone already is fine.
    pub(crate) fn unlink(&self, name: impl AsRef<Path>) -> Result<()> {
        match unlinkat(&self.fd, name.as_ref(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(fail("remove", &self.join(name), e)),
        }
    }
}
