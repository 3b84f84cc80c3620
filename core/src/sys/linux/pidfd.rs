//! A process by a descriptor: what is done to it is never done to another that got its pid.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{getsockopt, sockopt};
use nix::unistd::Pid;

use super::sockets::peer;

#[derive(Debug)]
pub(crate) struct PidFd(OwnedFd);

impl PidFd {
    /// Process `pid`, of which the caller knows that it still is the one that is meant.
    pub(in crate::sys) fn of(pid: Pid) -> io::Result<Self> {
        // SAFETY: takes numbers alone; the result is checked.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it, for us. It is closed in programs that the host starts.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    /// Who made the connection `stream`; `None` where that is this process itself, is not seen from here, or is gone.
    pub(crate) fn of_peer(stream: &UnixStream) -> Option<Self> {
        let (pid, _) = peer(stream).ok()?;
        if u32::try_from(pid).ok()? == std::process::id() {
            return None;
        }
        match getsockopt(stream, sockopt::PeerPidfd) {
            Ok(fd) => Some(Self(fd)),
            // Before Linux 6.5 the pid is all that there is.
            Err(Errno::ENOPROTOOPT) if pid > 0 => Self::of(Pid::from_raw(pid)).ok(),
            Err(_) => None,
        }
    }

    pub(crate) fn signal(&self, signal: Signal) -> io::Result<()> {
        let (fd, signal) = (self.0.as_raw_fd(), signal as libc::c_int);
        // SAFETY: a descriptor that lives as long as the call, and numbers.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd, signal, 0_usize, 0) };
        Errno::result(sent).map(drop).map_err(io::Error::from)
    }
}

impl AsFd for PidFd {
    /// It can be read, by `poll`, once the process has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn a_signal_reaches_the_process_and_no_other_once_it_is_gone() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let process = PidFd::of(Pid::from_raw(child.id() as libc::pid_t)).unwrap();
        process.signal(Signal::SIGBUS).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGBUS));
        assert_eq!(process.signal(Signal::SIGBUS).unwrap_err().raw_os_error(), Some(libc::ESRCH));
    }

    #[test]
    fn a_connection_of_this_process_is_no_other_ones() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert!(PidFd::of_peer(&ours).is_none());
    }
}
