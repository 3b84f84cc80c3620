//! Opening and making regular files of a directory.

use std::fs::{File, Permissions};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::OFlag;

use super::{Dir, fail};
use crate::error::{Error, Kind, Result};
use crate::sys::system::nameless::Nameless;

impl Dir {
    /// Opens a regular file for reading. Never blocks on a FIFO and never follows a link.
    pub(crate) fn read(&self, relative: impl AsRef<Path>) -> Result<File> {
        self.open_regular(relative.as_ref(), OFlag::O_RDONLY | OFlag::O_NONBLOCK)
    }

    /// Opens a regular file for reading, if there is one.
    pub(crate) fn read_if_any(&self, relative: impl AsRef<Path>) -> Result<Option<File>> {
        match self.read(relative) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the file `relative` for writing at its end, making it where it is missing.
    pub(crate) fn append(&self, relative: impl AsRef<Path>) -> Result<File> {
        self.open_regular(relative.as_ref(), OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT)
    }

    /// Opens the file `relative` for reading and writing, making it where it is missing.
    pub(crate) fn open_or_create(&self, relative: impl AsRef<Path>) -> Result<File> {
        self.open_regular(relative.as_ref(), OFlag::O_RDWR | OFlag::O_CREAT)
    }

    /// Makes a new file; an old one is an error (`EEXIST`).
    pub(crate) fn create_new(&self, relative: impl AsRef<Path>) -> Result<File> {
        self.open_regular(relative.as_ref(), OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL)
    }

    fn open_regular(&self, relative: &Path, flags: OFlag) -> Result<File> {
        let path = self.join(relative);
        let creates = flags.contains(OFlag::O_CREAT);
        let action = if creates { "create" } else { "open" };
        let file = File::from(self.open_beneath(relative, flags).map_err(|e| fail(action, &path, e))?);
        let metadata = file.metadata().map_err(|e| Error::io("look at", &path, &e))?;
        if !metadata.is_file() {
            return Err(
                Error::new(Kind::Corrupt, format!("{} is not a regular file", path.display())).at(path)
            );
        }
        // A default ACL of the directory may have added access that the mode asked not to give.
        if creates && metadata.mode() & 0o7777 != 0o600 {
            file.set_permissions(Permissions::from_mode(0o600))
                .map_err(|e| Error::io("set the mode of", &path, &e))?;
        }
        Ok(file)
    }

    /// Makes a file in this directory that is not seen there until it is [linked](Self::link). One at a time: whoever calls
    /// this holds a lock, or has made the directory.
    pub(crate) fn nameless(&self) -> Result<Nameless> {
        Nameless::create(self.fd.as_fd()).map_err(|e| fail("create a file in", &self.path, e))
    }

    /// Gives a file of [`Dir::nameless`] its name; an old one is an error (`EEXIST`).
    pub(crate) fn link(&self, nameless: Nameless, name: impl AsRef<Path>) -> Result<()> {
        nameless.link(self.fd.as_fd(), name.as_ref()).map_err(|e| fail("create", &self.join(name), e))
    }
}
