//! Making a guard, and speaking to it.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::time::{Duration, Instant};

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
use crate::sys::pidfd::PidFd;
use crate::sys::poll::wait_for;
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

/// What the guard says of a VM that it was told of.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct Answer {
    pub(super) token: u64,
    /// 1 where it will be its end, should the host die.
    pub(super) is_taken: u64,
}

impl Answer {
    fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: two `u64`, of which any bytes are good ones, without padding; borrowed for as long.
        unsafe { std::slice::from_raw_parts_mut((&raw mut *self).cast(), size_of::<Self>()) }
    }
}

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
    process: PidFd,
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
    /// whose VMM, where it is known, is `vmm`. One that is not is ended by its memory alone.
    ///
    /// # Errors
    /// Where it has no room for one more, such as descriptors; or does not answer.
    pub(crate) fn watch(
        &self,
        token: u64,
        uffd: &Uffd,
        vmm: Option<&PidFd>,
        areas: impl Iterator<Item = Area>,
    ) -> io::Result<()> {
        let mut message = Message::new(WATCH, token);
        for (place, area) in message.areas.iter_mut().zip(areas) {
            *place = area;
            message.count += 1;
        }
        let mut descriptors = vec![uffd.as_fd().as_raw_fd()];
        descriptors.extend(vmm.map(|vmm| vmm.as_fd().as_raw_fd()));
        self.send(&message, &descriptors)?;
        self.answer_for(token)
    }

    /// What it says of the VM that it was told of. What it says of earlier ones came too late for them.
    fn answer_for(&self, token: u64) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            wait_for([self.socket.as_fd()], Some(until.saturating_duration_since(Instant::now())))?;
            let mut answer = Answer::default();
            match recv(self.socket.as_fd().as_raw_fd(), answer.bytes_mut(), MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return Err(io::Error::other("it has ended")),
                Ok(_) if answer.token == token && answer.is_taken == 1 => return Ok(()),
                Ok(_) if answer.token == token => {
                    return Err(io::Error::other("it has room, or descriptors, for no more VMs"));
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) if Instant::now() < until => {}
                Err(Errno::EAGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Leaves a VM alone from now on. One that it does not know is fine.
    pub(crate) fn forget(&self, token: u64) -> io::Result<()> {
        self.send(&Message::new(FORGET, token), &[])
    }

    /// Ends the guard, and none of its VMs.
    pub(crate) fn stop(self) {
        let told = self.send(&Message::new(STOP, 0), &[]);
        let ended = told.and_then(|()| wait_for([self.process.as_fd()], Some(PATIENCE)));
        if !matches!(ended, Ok([end]) if end.is_readable) {
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
    let host = PidFd::of(Pid::this())?;
    let (keep, end) = kept(make as *const () as u64)?;
    let inherited = Inherited { socket: theirs.as_raw_fd(), host: host.as_fd().as_raw_fd(), keep, end };
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
    let pid = Pid::from_raw(pid as libc::pid_t);
    let ready = PidFd::of(pid).and_then(|process| {
        wait_for([socket.as_fd()], Some(PATIENCE))?;
        let mut answer = Answer::default();
        match recv(socket.as_fd().as_raw_fd(), answer.bytes_mut(), MsgFlags::MSG_DONTWAIT)? {
            0 => Err(io::Error::other("it ended at once")),
            _ => Ok(process),
        }
    });
    match ready {
        Ok(process) => Ok(Guard { socket, pid, process }),
        Err(error) => {
            let _ = kill(pid, Signal::SIGKILL);
            reap(pid);
            Err(error)
        }
    }
}
