//! Which content a file has, as far as that can be told without reading it.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag, fstat, fstatat};

use super::dir::{Dir, fail};
use super::system::{beneath, facts};
use crate::error::Result;

/// What changes with the content of a file or a directory.
///
/// Every write sets the time of change, which no one can set back, and a replaced file has another inode. Times
/// advance in steps, though: only of a [settled](Self::is_settled) version is the same version the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    device: u64,
    inode: u64,
    size_bytes: u64,
    modified_ns: i128,
    changed_ns: i128,
}

/// More than a step of the times of Linux (10 ms at most), and than a write takes from setting the time to its end.
const STEP_NS: i128 = 100_000_000;

const SECOND_NS: i128 = 1_000_000_000;

impl Version {
    /// Tells whether a change from now on must show, by the clock as it was before this version was looked up.
    pub(crate) fn is_settled(&self, now_ns: i128) -> bool {
        // Some file systems keep whole seconds, or even ones only.
        let step_ns = if self.changed_ns % SECOND_NS == 0 { 2 * SECOND_NS + STEP_NS } else { STEP_NS };
        now_ns - self.changed_ns > step_ns
    }
}

impl From<FileStat> for Version {
    fn from(stat: FileStat) -> Self {
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * SECOND_NS + i128::from(nanos);
        Self {
            device: facts::device(&stat),
            inode: stat.st_ino,
            size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
            modified_ns: nanos(stat.st_mtime, stat.st_mtime_nsec),
            changed_ns: nanos(stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

impl Version {
    /// The version of an open file.
    pub(crate) fn of(file: &File) -> Option<Self> {
        fstat(file).ok().map(Self::from)
    }
}

impl Dir {
    /// The version of the regular file `relative`, found as for reading: no link is followed.
    pub(crate) fn version(&self, relative: &str) -> Option<Version> {
        regular(beneath::stat(self.as_fd(), Path::new(relative)))
    }

    /// As [`Dir::version`], where the kernel has all that it takes in memory, and tells: this never waits for the disk.
    pub(crate) fn version_in_memory(&self, relative: &str) -> Option<Version> {
        regular(beneath::stat_in_memory(self.as_fd(), Path::new(relative)))
    }

    /// The version of whatever `relative` leads to, in one system call: for noticing that something changed. What is
    /// then read is found more strictly.
    ///
    /// # Errors
    /// Those of the disk; a file that is not there has no version.
    pub(crate) fn version_at_a_glance(&self, relative: impl AsRef<Path>) -> Result<Option<Version>> {
        match fstatat(self, relative.as_ref(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Version::from(stat))),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(e) => Err(fail("look at", &self.join(relative), e)),
        }
    }

    /// The version of this directory: it changes with what is in it, but not with what is in that.
    ///
    /// # Errors
    /// Those of the disk.
    pub(crate) fn own_version(&self) -> Result<Version> {
        fstat(self).map(Version::from).map_err(|e| fail("look at", self.path(), e))
    }
}

fn regular(found: Result<FileStat, Errno>) -> Option<Version> {
    let stat = found.ok()?;
    (stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits()).then(|| Version::from(stat))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use super::*;
    use crate::types::Timestamp;

    fn now_ns() -> i128 {
        Timestamp::now().unix_nanos()
    }

    #[test]
    fn a_version_is_settled_once_a_later_write_cannot_bear_the_same_time() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        fs::write(temp.path().join("a"), "x").unwrap();
        let version = dir.version("a").unwrap();
        assert!(!version.is_settled(now_ns()));
        assert!(version.is_settled(now_ns() + 10 * SECOND_NS));
        let whole_seconds = Version { changed_ns: 5 * SECOND_NS, ..version };
        assert!(!whole_seconds.is_settled(7 * SECOND_NS));
        assert!(whole_seconds.is_settled(8 * SECOND_NS));
        assert!(!version.is_settled(version.changed_ns - SECOND_NS), "the clock was set back");
    }

    #[test]
    fn a_rewrite_of_the_same_length_that_hides_its_time_is_another_version() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let path = temp.path().join("a");
        fs::write(&path, "old").unwrap();
        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        while !dir.version("a").unwrap().is_settled(now_ns()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let before = dir.version("a").unwrap();
        fs::write(&path, "new").unwrap();
        File::open(&path).unwrap().set_modified(modified).unwrap();
        let after = dir.version("a").unwrap();
        assert_eq!(
            (before.inode, before.size_bytes, before.modified_ns),
            (after.inode, after.size_bytes, after.modified_ns)
        );
        assert_ne!(before, after);
    }

    #[test]
    fn only_a_regular_file_that_no_link_leads_to_has_a_version() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        fs::create_dir(temp.path().join("d")).unwrap();
        fs::write(temp.path().join("d/file"), "x").unwrap();
        symlink("d", temp.path().join("link")).unwrap();
        symlink("file", temp.path().join("d/link")).unwrap();
        assert!(dir.version("d/file").is_some());
        for path in ["link/file", "d/link", "d", "d/none", "none/file"] {
            assert_eq!(dir.version(path), None, "{path}");
            assert_eq!(dir.version_in_memory(path), None, "{path}");
        }
    }
}
