//! Who appears in tests of guards beside them.

use std::fs;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

/// The guards among the children of process `pid`, ended or not.
pub(crate) fn guards_of(pid: u32) -> Vec<u32> {
    let mut guards = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let parent =
            stat.rsplit_once(')').and_then(|(_, after)| after.split(' ').nth(2)?.parse::<u32>().ok());
        if parent == Some(pid) && stat.contains("(hypeman-guard)") {
            guards.push(entry.file_name().to_str().unwrap().parse().unwrap());
        }
    }
    guards
}

/// Makes a child that keeps every descriptor of this process open, and lives until `lasts` seconds are over. No handler
/// that closes anything runs in it.
pub(crate) fn child_with_all_descriptors(lasts: i64) -> Pid {
    // SAFETY: the child has memory of its own, does one system call and ends.
    unsafe {
        let pid = libc::syscall(libc::SYS_clone, Signal::SIGCHLD as u64, 0_u64, 0_u64, 0_u64, 0_u64);
        if pid == 0 {
            let time = libc::timespec { tv_sec: lasts, tv_nsec: 0 };
            libc::syscall(libc::SYS_nanosleep, &raw const time, 0_u64);
            libc::_exit(0);
        }
        Pid::from_raw(pid as i32)
    }
}

/// Has this process live on when it is sent a SIGBUS. What the kernel sends for poison ends it all the same.
pub(crate) fn ignore_sigbus() {
    // SAFETY: no handler is called.
    unsafe { signal(Signal::SIGBUS, SigHandler::SigIgn) }.unwrap();
}

/// A connection to the socket at `path` that a process made which is gone: nobody knows who has it.
pub(crate) fn connection_of_no_one(path: &Path) -> UnixStream {
    let ours: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    let address = UnixAddr::new(path).unwrap();
    // SAFETY: the child does one system call and ends.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => waitpid(child, None).unwrap(),
        ForkResult::Child => {
            let connected = connect(ours.as_raw_fd(), &address);
            // SAFETY: ends this process alone, at once.
            unsafe { libc::_exit(i32::from(connected.is_err())) }
        }
    };
    UnixStream::from(ours)
}
