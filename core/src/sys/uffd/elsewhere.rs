//! Systems without it: no one can hold such a descriptor there.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::{Event, Features};

/// Whether this system has it.
pub(crate) const IS_THERE: bool = false;

/// What no one has: every request fails.
#[derive(Debug)]
pub(crate) struct Uffd(File);

impl Uffd {
    /// None: whatever `file` is, it is no such descriptor.
    pub(crate) fn take(file: File) -> io::Result<Option<Self>> {
        Ok(Some(Self(file)).filter(|_| IS_THERE))
    }

    pub(crate) fn never_wait(&self) -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn features(&self) -> io::Result<Features> {
        unsupported()
    }

    pub(crate) fn events(&self, _events: &mut Vec<Event>) -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn copy(&self, _address: u64, _bytes: &[u8]) -> io::Result<u64> {
        unsupported()
    }

    pub(crate) fn zero(&self, _address: u64, _len: u64) -> io::Result<u64> {
        unsupported()
    }

    pub(crate) fn poison(&self, _address: u64, _len: u64) -> io::Result<u64> {
        unsupported()
    }

    pub(crate) fn wake(&self, _address: u64, _len: u64) -> io::Result<()> {
        unsupported()
    }

    pub(crate) fn let_go(&self, _address: u64, _len: u64) -> io::Result<()> {
        unsupported()
    }
}

impl AsFd for Uffd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn unsupported<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}
