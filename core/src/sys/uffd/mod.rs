//! userfaultfd: whoever holds the descriptor answers the page faults of the process that made it.

#[cfg(all(test, target_os = "linux"))]
pub(crate) mod client;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(not(target_os = "linux"))]
pub(crate) use elsewhere::Uffd;
#[cfg(target_os = "linux")]
pub(crate) use linux::Uffd;

/// What the kernel tells of the memory behind a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A thread waits for the page with this address, which is missing.
    Missing(u64),
    /// A page was touched in a way that nobody answers here: it is write-protected, or in a page cache already.
    OtherFault(u64),
    /// The pages of this range were given back. Whoever did so goes on once this was read.
    Removed(u64, u64),
    /// A fork or a move of memory.
    Other(u8),
}

/// The facts about a descriptor that its maker decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Features {
    pub(crate) tells_removes: bool,
    pub(crate) tells_forks_or_moves: bool,
}

/// No other system has it, and no one can hold such a descriptor there.
#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::fs::File;
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd};

    use super::{Event, Features};

    #[derive(Debug)]
    pub(crate) enum Uffd {}

    impl Uffd {
        pub(crate) fn take(_file: File) -> io::Result<Option<Self>> {
            Ok(None)
        }
        pub(crate) fn never_wait(&self) -> io::Result<()> {
            match *self {}
        }
        pub(crate) fn features(&self) -> io::Result<Features> {
            match *self {}
        }
        pub(crate) fn events(&self, _events: &mut Vec<Event>) -> io::Result<()> {
            match *self {}
        }
        pub(crate) fn copy(&self, _address: u64, _bytes: &[u8]) -> io::Result<u64> {
            match *self {}
        }
        pub(crate) fn zero(&self, _address: u64, _len: u64) -> io::Result<u64> {
            match *self {}
        }
        pub(crate) fn poison(&self, _address: u64, _len: u64) -> io::Result<u64> {
            match *self {}
        }
        pub(crate) fn wake(&self, _address: u64, _len: u64) -> io::Result<()> {
            match *self {}
        }
        pub(crate) fn let_go(&self, _address: u64, _len: u64) -> io::Result<()> {
            match *self {}
        }
    }

    impl AsFd for Uffd {
        fn as_fd(&self) -> BorrowedFd<'_> {
            match *self {}
        }
    }
}
