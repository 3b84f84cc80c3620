//! Byte-range locks that belong to an open file description (OFD locks).
//!
//! They need no clock and no clean-up: the kernel drops them with the last descriptor, so a dead owner is known at
//! once. POSIX locks would be lost by an unrelated close in this process, `flock` knows no ranges and does not
//! exclude OFD locks (reliability.md 5.1).

use std::fs::File;
use std::io;
use std::path::Path;

use nix::errno::Errno;

use super::fork::ForkClosed;
use super::system::locks;
use crate::error::{Error, Result};

/// Whether others may hold the same byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    Exclusive,
    Shared,
}

/// A held lock on one byte of a file. Dropping it lets go.
#[derive(Debug)]
pub(crate) struct ByteLock {
    file: ForkClosed,
    byte: i64,
    owner: u32,
}

impl Drop for ByteLock {
    /// Lets go at once. To close the descriptor is not enough: a child that the host is just about to start has a
    /// copy of it until it runs its program. In a forked child nothing is let go of, the lock is its parent's.
    fn drop(&mut self) {
        if std::process::id() == self.owner {
            let lock =
                libc::flock { l_type: libc::F_UNLCK as libc::c_short, ..range(self.byte, Sharing::Shared) };
            // Where it fails, closing the descriptor lets go a moment later.
            let _ = locks::set(&self.file, &lock);
        }
    }
}

impl ByteLock {
    /// Takes the lock on `byte` of `file`, which must be a descriptor of its own; `None` when someone else has it.
    pub(crate) fn try_take(file: File, byte: i64, sharing: Sharing, path: &Path) -> Result<Option<Self>> {
        let file = ForkClosed::new(file);
        let lock = range(byte, sharing);
        match locks::set(&file, &lock) {
            Ok(()) => Ok(Some(Self { file, byte, owner: std::process::id() })),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(None),
            Err(e) => Err(Error::io("lock", path, &io::Error::from(e))),
        }
    }

    /// Tells whether someone has `byte` of `file`, without getting in anyone's way.
    pub(crate) fn is_taken(file: &File, byte: i64, path: &Path) -> Result<bool> {
        let mut lock = range(byte, Sharing::Exclusive);
        locks::look(file, &mut lock).map_err(|e| Error::io("lock", path, &io::Error::from(e)))?;
        Ok(lock.l_type != libc::F_UNLCK as libc::c_short)
    }
}

fn range(byte: i64, sharing: Sharing) -> libc::flock {
    libc::flock {
        l_type: match sharing {
            Sharing::Exclusive => libc::F_WRLCK as libc::c_short,
            Sharing::Shared => libc::F_RDLCK as libc::c_short,
        },
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: byte,
        l_len: 1,
        l_pid: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    fn take(path: &Path, byte: i64, sharing: Sharing) -> Option<ByteLock> {
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        ByteLock::try_take(file, byte, sharing, path).unwrap()
    }

    #[test]
    fn a_byte_has_one_owner_or_many_readers_and_bytes_are_independent() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("lock");
        let owner = take(&path, 0, Sharing::Exclusive).unwrap();
        assert!(take(&path, 0, Sharing::Exclusive).is_none());
        assert!(ByteLock::is_taken(&File::open(&path).unwrap(), 0, &path).unwrap());
        assert!(!ByteLock::is_taken(&File::open(&path).unwrap(), 1, &path).unwrap());
        let readers = [take(&path, 1, Sharing::Shared).unwrap(), take(&path, 1, Sharing::Shared).unwrap()];
        assert!(take(&path, 1, Sharing::Exclusive).is_none());
        drop((owner, readers));
        assert!(take(&path, 0, Sharing::Exclusive).is_some());
        assert!(take(&path, 1, Sharing::Exclusive).is_some());
    }

    #[test]
    fn a_lock_that_was_let_go_is_free_though_a_child_still_has_a_copy_of_its_descriptor() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("lock");
        let owner = take(&path, 0, Sharing::Exclusive).unwrap();
        let copy = owner.file.as_fd().try_clone_to_owned().unwrap();
        drop(owner);
        assert!(take(&path, 0, Sharing::Exclusive).is_some());
        drop(copy);
    }
}
