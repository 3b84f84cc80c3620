//! An open directory and everything that is done beneath it.
//!
//! All paths of the store go through here: the kernel resolves them beneath the descriptor and refuses symbolic
//! links and `..` (`openat2`), and nothing is created with more access than its owner's.

use std::ffi::OsString;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, RenameFlags, ResolveFlag, openat2, renameat, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, unlinkat};

use crate::error::{Error, Kind, Result};

/// An open directory, and the path under which it was opened, for messages.
#[derive(Debug)]
pub(crate) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
}

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
        self.open_resolved(relative, flags, ResolveFlag::empty())
    }

    /// Opens `relative` beneath this directory, with `more` rules on how it is found.
    pub(super) fn open_resolved(
        &self,
        relative: &Path,
        flags: OFlag,
        more: ResolveFlag,
    ) -> Result<OwnedFd, Errno> {
        // A mode where nothing is made is an error to openat2. O_TMPFILE has the bit of O_DIRECTORY in it.
        let makes = flags.contains(OFlag::O_CREAT) || flags.contains(OFlag::O_TMPFILE);
        let mode = if makes { Mode::S_IRUSR | Mode::S_IWUSR } else { Mode::empty() };
        let resolve = more
            | ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let how = OpenHow::new().flags(flags | OFlag::O_CLOEXEC).mode(mode).resolve(resolve);
        openat2(&self.fd, relative, how)
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

    /// Makes a file without a name in this directory: a crash leaves nothing of it.
    pub(crate) fn nameless(&self) -> Result<File> {
        let fd = self
            .open_beneath(Path::new("."), OFlag::O_TMPFILE | OFlag::O_RDWR)
            .map_err(|e| fail("create a file in", &self.path, e))?;
        Ok(File::from(fd))
    }

    /// Gives a [`Dir::nameless`] file its name; an old one is an error (`EEXIST`).
    pub(crate) fn link(&self, nameless: &File, name: impl AsRef<Path>) -> Result<()> {
        use std::os::fd::AsRawFd;
        let source = format!("/proc/self/fd/{}", nameless.as_raw_fd());
        linkat(AT_FDCWD, source.as_str(), &self.fd, name.as_ref(), AtFlags::AT_SYMLINK_FOLLOW)
            .map_err(|e| fail("create", &self.join(name), e))
    }

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
        renameat2(&self.fd, from.as_ref(), &target.fd, to.as_ref(), RenameFlags::RENAME_NOREPLACE)
            .map_err(|e| fail("rename to", &target.join(to), e))
    }

    /// Exchanges two entries of this directory, at once and whole.
    pub(crate) fn exchange(&self, one: impl AsRef<Path>, other: impl AsRef<Path>) -> Result<()> {
        renameat2(&self.fd, one.as_ref(), &self.fd, other.as_ref(), RenameFlags::RENAME_EXCHANGE)
            .map_err(|e| fail("exchange with its replacement", &self.join(other), e))
    }

    /// Removes the file or link `name`. One that is gone already is fine.
    pub(crate) fn unlink(&self, name: impl AsRef<Path>) -> Result<()> {
        match unlinkat(&self.fd, name.as_ref(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(fail("remove", &self.join(name), e)),
        }
    }

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

    /// Flushes the entries of this directory to the disk.
    pub(crate) fn sync(&self) -> Result<()> {
        nix::unistd::fsync(&self.fd).map_err(|e| fail("flush the directory", &self.path, e))
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

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: OsString,
    pub(crate) kind: EntryKind,
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
            device: stat.st_dev,
            inode: stat.st_ino,
            size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
            allocated_bytes: u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512),
            modified_ns: nanos(stat.st_mtime, stat.st_mtime_nsec),
            changed_ns: nanos(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

/// An error of a call on `path`. What the kernel refuses to resolve is a store that someone tampered with.
pub(super) fn fail(action: &str, path: &Path, errno: Errno) -> Error {
    match errno {
        Errno::ELOOP | Errno::EXDEV if action.starts_with("open") || action == "create" => Error::new(
            Kind::Corrupt,
            format!(
                "{} leads through a symbolic link or out of its directory; it was not followed",
                path.display()
            ),
        )
        .at(path),
        Errno::ENOSYS => {
            Error::new(Kind::NotSupported, "this kernel is too old: libhypeman needs Linux 5.6 or newer")
        }
        _ => Error::io(action, path, &io::Error::from(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        (temp, dir)
    }

    #[test]
    fn nothing_outside_the_directory_can_be_reached() {
        let (temp, dir) = scratch();
        std::fs::create_dir(temp.path().join("in")).unwrap();
        std::fs::write(temp.path().join("canary"), "x").unwrap();
        std::os::unix::fs::symlink("../canary", temp.path().join("in/link")).unwrap();
        let inside = dir.dir("in").unwrap();
        for path in ["../canary", "link", "/etc/passwd"] {
            assert_eq!(inside.read(path).unwrap_err().kind(), Kind::Corrupt, "{path}");
        }
        inside.remove_tree("link").unwrap();
        assert!(temp.path().join("canary").exists());
    }

    #[test]
    fn a_fifo_in_the_place_of_a_file_neither_blocks_nor_passes() {
        let (temp, dir) = scratch();
        nix::unistd::mkfifo(&temp.path().join("fifo"), Mode::S_IRWXU).unwrap();
        assert_eq!(dir.read("fifo").unwrap_err().kind(), Kind::Corrupt);
    }

    #[test]
    fn files_are_for_their_owner_alone_and_never_replaced_by_mistake() {
        let (temp, dir) = scratch();
        dir.create_new("a").unwrap();
        assert_eq!(dir.create_new("a").unwrap_err().errno(), Some(libc::EEXIST));
        dir.make_dir("d").unwrap();
        for (name, mode) in [("a", 0o600), ("d", 0o700)] {
            assert_eq!(std::fs::metadata(temp.path().join(name)).unwrap().mode() & 0o7777, mode);
        }
        dir.create_new("b").unwrap();
        assert_eq!(dir.rename_new("a", &dir, "b").unwrap_err().errno(), Some(libc::EEXIST));
    }

    #[test]
    fn a_nameless_file_appears_whole_with_its_name() {
        let (temp, dir) = scratch();
        let file = dir.nameless().unwrap();
        use std::io::Write;
        (&file).write_all(b"whole").unwrap();
        assert!(dir.entries().unwrap().is_empty());
        dir.link(&file, "memory.zst").unwrap();
        assert_eq!(std::fs::read(temp.path().join("memory.zst")).unwrap(), b"whole");
        assert_eq!(std::fs::metadata(temp.path().join("memory.zst")).unwrap().mode() & 0o7777, 0o600);
    }
}
