//! An open directory and everything that is done beneath it.
//!
//! All paths of the store go through here: they are resolved beneath the descriptor, symbolic links and ways out are
//! refused (`openat2`, else a walk), and nothing is created with more access than its owner's. Files are opened and made by
//! `file.rs`, entries changed by `entry.rs` and looked at by `look.rs`.

mod entry;
mod file;
mod look;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

pub(crate) use self::look::{Entry, EntryKind};
use super::system::{beneath, flush};
use crate::error::{Error, Kind, Result};

/// An open directory, and the path under which it was opened, for messages.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

impl Dir {
    /// Opens a trusted root. Symbolic links on the way to it are followed: the host named it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let fd =
            nix::fcntl::open(path, flags, Mode::empty()).map_err(|e| fail("open the directory", path, e))?;
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Makes `path` and what is missing above it, for its owner alone, and opens it. Returns the directories that may
    /// have a new entry by that: the one that holds `path` in any case, as an earlier opener may have died right after
    /// it made `path`.
    pub(crate) fn create_root(path: &Path) -> Result<(Self, Vec<Self>)> {
        let parents = path.ancestors().skip(1).filter(|parent| !parent.as_os_str().is_empty());
        let missing = path.ancestors().skip(1).take_while(|above| !above.exists()).count();
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|e| Error::io("make the directory", path, &e))?;
        // One that may not be read cannot be flushed.
        let parents = parents.take(missing + 1).filter_map(|parent| Self::open(parent).ok()).collect();
        Ok((Self::open(path)?, parents))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn join(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.path.join(relative)
    }

    /// The directory as a file, for what passes descriptors on.
    pub(crate) fn to_file(&self) -> Result<File> {
        let fd = self.fd.try_clone().map_err(|e| Error::io("open", &self.path, &e))?;
        Ok(File::from(fd))
    }

    fn open_beneath(&self, relative: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        // A mode where nothing is made is an error to openat2.
        let makes = flags.contains(OFlag::O_CREAT);
        let mode = if makes { Mode::S_IRUSR | Mode::S_IWUSR } else { Mode::empty() };
        beneath::open(self.fd.as_fd(), relative, flags, mode)
    }

    /// Opens the directory `relative`.
    pub(crate) fn dir(&self, relative: impl AsRef<Path>) -> Result<Self> {
        let relative = relative.as_ref();
        let fd = self
            .open_beneath(relative, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
            .map_err(|e| fail("open the directory", &self.join(relative), e))?;
        Ok(Self { fd, path: self.join(relative) })
    }

    /// Opens the directory `relative`, if there is one.
    pub(crate) fn dir_if_any(&self, relative: impl AsRef<Path>) -> Result<Option<Self>> {
        match self.dir(relative) {
            Ok(dir) => Ok(Some(dir)),
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Flushes the entries of this directory to the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        flush::directory(self.fd.as_fd()).map_err(|e| fail("flush the directory", &self.path, e))
    }

    /// Splits `relative` into the directory that holds it (`None`: this one) and its last component.
    fn parent_of<'p>(&self, relative: &'p Path) -> Result<(Option<Self>, &'p Path)> {
        let name = relative.file_name().map(Path::new).ok_or_else(|| {
            Error::new(Kind::Internal, format!("{} has no last component", self.join(relative).display()))
        })?;
        match relative.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => Ok((Some(self.dir(parent)?), name)),
            _ => Ok((None, name)),
        }
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// An error of a call on `path`. What the kernel refuses to resolve is a store that someone tampered with.
pub(in crate::sys) fn fail(action: &str, path: &Path, errno: Errno) -> Error {
    match errno {
        Errno::ELOOP | Errno::EXDEV if action.starts_with("open") || action == "create" => Error::new(
            Kind::Corrupt,
            format!(
                "{} leads through a symbolic link or out of its directory; it was not followed",
                path.display()
            ),
        )
        .at(path),
        _ => Error::io(action, path, &io::Error::from(errno)),
    }
}
