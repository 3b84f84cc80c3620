//! Systems without userfaultfd: there is nothing to guard.

use std::io;

use super::Area;
use crate::sys::pidfd::PidFd;
use crate::sys::uffd::Uffd;

/// What no one has.
#[derive(Debug)]
pub(crate) enum Guard {}

impl Guard {
    pub(crate) fn start() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn watch(
        &self,
        _token: u64,
        _uffd: &Uffd,
        _vmm: Option<&PidFd>,
        _areas: impl Iterator<Item = Area>,
    ) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn forget(&self, _token: u64) -> io::Result<()> {
        match *self {}
    }

    pub(crate) fn stop(self) {
        match self {}
    }
}
