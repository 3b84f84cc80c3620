//! Making a guard, and speaking to it.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recv, sendmsg, setsockopt, socketpair,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

use super::child::{self, Inherited};
use super::keep::kept;
use super::{Area, MOST_AREAS};
use crate::sys::fork::ForkClosed;
use crate::sys::poll::wait_for;
use crate::sys::socket::peer;
use crate::sys::uffd::Uffd;

/// The child uses a few pages of it, and in a debug build a few more.
const STACK_BYTES: usize = 256 << 10;
/// How long a guard may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take to take a message. It waits for nothing else.
const SEND_MS: i64 = 1000;

/// What the guard is told. Words alone, so that it has no gaps.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Message {
    pub(super) kind: u64,
    pub(super) token: u64,
    pub(super) count: u64,
    pub(super) areas: [Area; MOST_AREAS],
}

/// What comes with this are the userfaultfd of a new VM and, where it is known, the pidfd of its VMM.
pub(super) const WATCH: u64 = 1;
/// The VM is gone, or needs no one any more.
pub(super) const FORGET: u64 = 2;
/// Nobody is to be ended.
pub(super) const STOP: u64 = 3;

impl Message {
    fn new(kind: u64, token: u64) -> Self {
        Self { kind, token, count: 0, areas: [Area::default(); MOST_AREAS] }
    }

    fn bytes(&self) -> &[u8] {
        // SAFETY: the struct is made of `u64` alone, without padding, and lives as long as the borrow.
        unsafe { std::slice::from_raw_parts((&raw const *self).cast(), size_of::<Self>()) }
    }
}

/// The end of a guard that this process has. Dropping it is like dying: what ends a guard in peace is [`Guard::stop`].
#[derive(Debug)]
pub(crate) struct Guard {
    socket: ForkClosed,
    pid: Pid,
}

impl Guard {
    /// Makes a guard, and returns when it has nothing of this process any more.
    ///
    /// # Errors
    /// Where the kernel, a limit or a filter of system calls keeps this process from having a child.
    pub(crate) fn start() -> io::Result<Self> {
        // The child goes on in a copy of the stack of its thread, and that is all that it keeps: a small one, and one
        // that no code of the host is on.
        let thread = std::thread::Builder::new().name("hypeman-guard".to_owned()).stack_size(STACK_BYTES);
        thread.spawn(make)?.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
    }

    /// Makes it the end of a VM if this process dies: of the one whose faults `uffd` tells, with memory in `areas`, and
    /// whose VMM is at the other end of `connection`.
    pub(crate) fn watch(
        &self,
        token: u64,
        uffd: &Uffd,
        connection: &UnixStream,
        areas: impl Iterator<Item = Area>,
    ) -> io::Result<()> {
        let mut message = Message::new(WATCH, token);
        for (place, area) in message.areas.iter_mut().zip(areas) {
            *place = area;
            message.count += 1;
        }
        // One that this process cannot see, or that has just ended, is known by its memory alone.
        let vmm = peer(connection).ok().filter(|(pid, _)| *pid > 0);
        let vmm = vmm.and_then(|(pid, _)| pidfd(Pid::from_raw(pid)).ok());
        let mut descriptors = vec![uffd.as_fd().as_raw_fd()];
        descriptors.extend(vmm.as_ref().map(AsRawFd::as_raw_fd));
        self.send(&message, &descriptors)
    }

    /// Leaves a VM alone from now on. One that it does not know is fine.
    pub(crate) fn forget(&self, token: u64) -> io::Result<()> {
        self.send(&Message::new(FORGET, token), &[])
    }

    /// Ends the guard, and none of its VMs.
    pub(crate) fn stop(self) {
        let told = self.send(&Message::new(STOP, 0), &[]);
        // It closes its end by ending.
        let closed = told.and_then(|()| wait_for([self.socket.as_fd()], Some(PATIENCE)));
        if !matches!(closed, Ok([end]) if end.is_readable || end.is_faulty) {
            // Somebody has stopped it, perhaps. What it would do once it sees this process end is not asked for.
            let _ = kill(self.pid, Signal::SIGKILL);
        }
        reap(self.pid);
    }

    fn send(&self, message: &Message, descriptors: &[RawFd]) -> io::Result<()> {
        let rights = [ControlMessage::ScmRights(descriptors)];
        let control = if descriptors.is_empty() { &[][..] } else { &rights };
        let slices = [IoSlice::new(message.bytes())];
        sendmsg::<()>(self.socket.as_fd().as_raw_fd(), &slices, control, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }
}

/// Waits for the end of a child that no `wait` of the host sees, because it ends without a signal.
fn reap(pid: Pid) {
    while waitpid(pid, Some(WaitPidFlag::__WCLONE)) == Err(Errno::EINTR) {}
}

/// On a thread that does nothing else, with a stack of its own.
fn make() -> io::Result<Guard> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    setsockopt(&ours, sockopt::SendTimeout, &TimeVal::milliseconds(SEND_MS))?;
    let socket = ForkClosed::new(File::from(ours));
    // A child that the host forks may keep our end of the socket open; what tells of this process alone is this.
    let host = pidfd(Pid::this())?;
    let (keep, end) = kept(make as *const () as u64)?;
    let inherited = Inherited { socket: theirs.as_raw_fd(), host: host.as_raw_fd(), keep, end };
    // No handler of the host may run in the child.
    SigSet::all().thread_block()?;
    // SAFETY: without CLONE_VM the child has memory and stack of its own, a copy of ours. It may not use what another
    // thread was in the middle of: `child::run` uses system calls alone, and never returns. Without a signal to send at its
    // end (the flags are 0), neither a handler nor a `wait` of the host notices it.
    let pid = unsafe { libc::syscall(libc::SYS_clone, 0_u64, 0_u64, 0_u64, 0_u64, 0_u64) };
    match pid {
        0 => child::run(&inherited),
        1.. => {}
        _ => return Err(io::Error::last_os_error()),
    }
    drop((theirs, host));
    let guard = Guard { socket, pid: Pid::from_raw(pid as libc::pid_t) };
    let ready = wait_for([guard.socket.as_fd()], Some(PATIENCE)).and_then(|_| {
        let mut word = [0; 1];
        Ok(recv(guard.socket.as_fd().as_raw_fd(), &mut word, MsgFlags::MSG_DONTWAIT)?)
    });
    match ready {
        Ok(1) => Ok(guard),
        failed => {
            let _ = kill(guard.pid, Signal::SIGKILL);
            reap(guard.pid);
            Err(failed.err().unwrap_or_else(|| io::Error::other("it ended at once")))
        }
    }
}

fn pidfd(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers alone; the result is checked.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made it, for us. It is closed in programs that the host starts.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}
