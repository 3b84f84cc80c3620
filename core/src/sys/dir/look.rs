//! What is in a directory.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};

use super::{Dir, fail};
use crate::error::Result;
use crate::sys::system::{facts, nameless};

/// What an entry of a directory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EntryKind {
    File,
    Directory,
    Symlink,
    Socket,
    /// A FIFO or a device.
    Special,
}

/// What is known of a file without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) kind: EntryKind,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size_bytes: u64,
    pub(crate) allocated_bytes: u64,
    /// Changes of content and of metadata, in nanoseconds.
    pub(crate) modified_ns: i128,
    pub(crate) changed_ns: i128,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: OsString,
    pub(crate) kind: EntryKind,
}

impl Dir {
    /// What `relative` is, if it is there. A link is not followed.
    pub(crate) fn stat(&self, relative: impl AsRef<Path>) -> Result<Option<Stat>> {
        let relative = relative.as_ref();
        let (parent, name) = match self.parent_of(relative) {
            Ok(parts) => parts,
            Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        let at = parent.as_ref().unwrap_or(self);
        match fstatat(&at.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Stat::from(stat))),
            Err(Errno::ENOENT) => Ok(None),
            Err(e) => Err(fail("look at", &self.join(relative), e)),
        }
    }

    /// What this directory itself is.
    pub(crate) fn stat_self(&self) -> Result<Stat> {
        fstat(&self.fd).map(Stat::from).map_err(|e| fail("look at", &self.path, e))
    }

    /// What is in this directory, but for `.` and `..`, by name.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>> {
        let mut entries = self.all_entries()?;
        entries.retain(|entry| !nameless::is_one(entry.name.as_bytes()));
        Ok(entries)
    }

    /// The same, with files that are not whole yet.
    pub(in crate::sys) fn all_entries(&self) -> Result<Vec<Entry>> {
        let failed = |e| fail("read the directory", &self.path, e);
        // A descriptor of its own: the position of a directory stream belongs to the open file description.
        let own = self.open_beneath(Path::new("."), OFlag::O_RDONLY | OFlag::O_DIRECTORY).map_err(failed)?;
        let mut stream = nix::dir::Dir::from_fd(own).map_err(failed)?;
        let mut entries = Vec::new();
        for entry in stream.iter() {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let kind = entry.file_type().map(|kind| match kind {
                nix::dir::Type::File => EntryKind::File,
                nix::dir::Type::Directory => EntryKind::Directory,
                nix::dir::Type::Symlink => EntryKind::Symlink,
                nix::dir::Type::Socket => EntryKind::Socket,
                nix::dir::Type::Fifo | nix::dir::Type::CharacterDevice | nix::dir::Type::BlockDevice => {
                    EntryKind::Special
                }
            });
            let name = OsString::from_vec(name.to_vec());
            // Some file systems do not tell the kind of an entry.
            let kind = match kind {
                Some(kind) => kind,
                None => match self.stat(Path::new(&name))? {
                    Some(stat) => stat.kind,
                    None => continue,
                },
            };
            entries.push(Entry { name, kind });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }
}

impl From<FileStat> for Stat {
    fn from(stat: FileStat) -> Self {
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            kind: match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
                SFlag::S_IFREG => EntryKind::File,
                SFlag::S_IFDIR => EntryKind::Directory,
                SFlag::S_IFLNK => EntryKind::Symlink,
                SFlag::S_IFSOCK => EntryKind::Socket,
                _ => EntryKind::Special,
            },
            device: facts::device(&stat),
            inode: stat.st_ino,
            size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
            allocated_bytes: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
            modified_ns: nanos(stat.st_mtime, stat.st_mtime_nsec),
            changed_ns: nanos(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}
