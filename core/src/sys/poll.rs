//! Waiting for several descriptors at once.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// What became of a descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    /// There is something to read, or the other end hung up.
    pub(crate) is_readable: bool,
    /// It cannot be waited for as it is.
    pub(crate) is_faulty: bool,
}

/// Waits until one of `descriptors` can be read or `timeout` is over (`None`: for ever).
pub(crate) fn wait_for<const N: usize>(
    descriptors: [BorrowedFd<'_>; N],
    timeout: Option<Duration>,
) -> io::Result<[Ready; N]> {
    let mut polled = descriptors.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
    let timeout = timeout
        .map_or(PollTimeout::NONE, |timeout| PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX));
    match poll(&mut polled, timeout) {
        Ok(_) | Err(Errno::EINTR) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(polled.map(|polled| {
        let found = polled.revents().unwrap_or(PollFlags::empty());
        Ready {
            is_readable: found.intersects(PollFlags::POLLIN | PollFlags::POLLHUP),
            is_faulty: found.intersects(PollFlags::POLLERR | PollFlags::POLLNVAL),
        }
    }))
}
